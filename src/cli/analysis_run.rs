//! `create analysisrun`: a run of a template, with values for its arguments. The run is put together by the functions the
//! controller uses, so that what is created can also be run.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use serde_json::Value;

use super::error::{CliError, Kind};
use super::verbs::Session;
use super::words::CreateAnalysisRun;
use super::{files, near};
use crate::analysis::template::{AnalysisParts, NESTING_MAX, TemplateSet, referred, run_spec};
use crate::api::analysis::{
    AnalysisRun, AnalysisRunSpec, AnalysisTemplate, AnalysisTemplateSpec, Argument, ClusterAnalysisTemplate,
};
use crate::api::{GROUP, strategy::AnalysisTemplateRef, well_known};

/// The templates that are known.
#[derive(Default)]
struct Templates {
    namespaced: Vec<AnalysisTemplate>,
    cluster: Vec<ClusterAnalysisTemplate>,
}

impl Templates {
    fn with<T>(&self, read: impl FnOnce(&TemplateSet<'_>) -> T) -> T {
        let namespaced: Vec<&AnalysisTemplate> = self.namespaced.iter().collect();
        let cluster: Vec<&ClusterAnalysisTemplate> = self.cluster.iter().collect();
        read(&TemplateSet {
            namespaced: &namespaced,
            cluster: &cluster,
        })
    }

    /// The names of every argument that a template of these declares.
    fn arguments(&self) -> Vec<String> {
        let specs = self.namespaced.iter().map(|template| &template.spec);
        let specs = specs.chain(self.cluster.iter().map(|template| &template.spec));
        let names: BTreeSet<&String> = specs
            .flat_map(|spec: &AnalysisTemplateSpec| &spec.args)
            .map(|argument| &argument.name)
            .collect();
        names.into_iter().cloned().collect()
    }
}

impl Session {
    /// `create analysisrun`.
    pub(super) async fn create_analysis_run(&mut self, args: &CreateAnalysisRun) -> Result<(), CliError> {
        let mut templates = Templates::default();
        let root = self.root(args, &mut templates).await?;
        self.complete(&root, &mut templates).await?;
        let spec = spec(&root, &templates, &args.arguments)?;
        let labels = args
            .instance_id
            .clone()
            .map(|id| BTreeMap::from([(well_known::INSTANCE_ID.to_owned(), id)]));
        let generate_name = args.generate_name.clone();
        let run = AnalysisRun {
            metadata: ObjectMeta {
                name: args.name.clone(),
                generate_name: args
                    .name
                    .is_none()
                    .then(|| generate_name.unwrap_or_else(|| format!("{}-", root.template_name))),
                labels,
                ..ObjectMeta::default()
            },
            spec,
            ..AnalysisRun::default()
        };
        let created = self
            .cluster
            .create(&run)
            .await
            .map_err(|error| CliError::kube(&error))?;
        let name = created.metadata.name.unwrap_or_default();
        self.terminal.line(&format!("analysisrun.{GROUP}/{name} created"))
    }

    /// The template asked for; one from a file is put to those known.
    async fn root(&self, args: &CreateAnalysisRun, known: &mut Templates) -> Result<AnalysisTemplateRef, CliError> {
        let Some(path) = &args.source.from_file else {
            let name = args.source.from.clone().unwrap_or_default();
            return Ok(AnalysisTemplateRef {
                template_name: name,
                cluster_scope: Some(args.global),
            });
        };
        let mut root = None;
        for object in files::objects(path)? {
            let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
            let failed =
                |error: serde_json::Error| CliError::new(Kind::Request, format!("`{}`: {error}", path.display()));
            let reference = match kind {
                "AnalysisTemplate" => {
                    let template: AnalysisTemplate = serde_json::from_value(object).map_err(failed)?;
                    let name = template.metadata.name.clone().unwrap_or_default();
                    known.namespaced.push(template);
                    (name, false)
                }
                "ClusterAnalysisTemplate" => {
                    let template: ClusterAnalysisTemplate = serde_json::from_value(object).map_err(failed)?;
                    let name = template.metadata.name.clone().unwrap_or_default();
                    known.cluster.push(template);
                    (name, true)
                }
                _ => continue,
            };
            // The first is the one to run; further ones may be those it refers to.
            root = root.or(Some(reference));
        }
        let message = format!(
            "`{}` holds no AnalysisTemplate or ClusterAnalysisTemplate",
            path.display()
        );
        let (name, cluster) = root.ok_or_else(|| CliError::new(Kind::Request, message))?;
        Ok(AnalysisTemplateRef {
            template_name: name,
            cluster_scope: Some(cluster),
        })
    }

    /// Reads the templates that are needed, directly and through others. One that does not exist is left out unless it
    /// is the root: the error about it names who refers to it.
    async fn complete(&self, root: &AnalysisTemplateRef, known: &mut Templates) -> Result<(), CliError> {
        let failed = |error: kube::Error| CliError::kube(&error);
        for _ in 0..=NESTING_MAX {
            let needed = known.with(|templates| referred([root], templates));
            let name_of = |meta: &ObjectMeta| meta.name.clone().unwrap_or_default();
            let have: BTreeSet<String> = known.namespaced.iter().map(|found| name_of(&found.metadata)).collect();
            let have_cluster: BTreeSet<String> = known.cluster.iter().map(|found| name_of(&found.metadata)).collect();
            let before = (have.len(), have_cluster.len());
            for name in needed.namespaced.difference(&have) {
                let found = if *name == root.template_name {
                    Some(self.cluster.object::<AnalysisTemplate>(name).await?)
                } else {
                    self.cluster
                        .api::<AnalysisTemplate>()
                        .get_opt(name)
                        .await
                        .map_err(failed)?
                };
                known.namespaced.extend(found);
            }
            let api: Api<ClusterAnalysisTemplate> = Api::all(self.cluster.client.clone());
            for name in needed.cluster.difference(&have_cluster) {
                let found = api.get_opt(name).await.map_err(failed)?;
                if found.is_none() && *name == root.template_name {
                    let message = format!("clusteranalysistemplates.{GROUP} \"{name}\" not found");
                    return Err(CliError::new(Kind::Request, message));
                }
                known.cluster.extend(found);
            }
            if before == (known.namespaced.len(), known.cluster.len()) {
                break;
            }
        }
        Ok(())
    }
}

/// The specification of the run, or everything that is wrong with it.
fn spec(
    root: &AnalysisTemplateRef,
    templates: &Templates,
    given: &[(String, String)],
) -> Result<AnalysisRunSpec, CliError> {
    let known = templates.arguments();
    let unknown = given.iter().filter(|(name, _)| !known.contains(name)).map(|(name, _)| {
        let error = CliError::new(
            Kind::Request,
            format!("template `{}` has no argument `{name}`", root.template_name),
        );
        match near::closest(name, &known) {
            Some(closest) => error.hint(format!("did you mean `{closest}`?")),
            None => error,
        }
    });
    CliError::all(unknown.collect())?;
    let args = given.iter().map(|(name, value)| Argument {
        name: name.clone(),
        value: Some(value.clone()),
        value_from: None,
    });
    let roots = [root.clone()];
    let parts = AnalysisParts {
        templates: &roots,
        dry_run: &[],
        measurement_retention: &[],
    };
    let no_owner = |path: &str| {
        Err(format!(
            "`{path}` is a field of an owner, and this run has none; give a value with `-a`"
        ))
    };
    templates
        .with(|set| run_spec(parts, args.collect(), set, no_owner))
        .map_err(|problems| CliError::new(Kind::Request, problems.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn templates() -> Templates {
        let template = json!({"metadata": {"name": "success-rate"}, "spec": {
            "args": [{"name": "service"}, {"name": "threshold", "value": "0.9"}],
            "metrics": [{"name": "rate", "successCondition": "result > {{args.threshold}}",
                "provider": {"prometheus": {"address": "http://p", "query": "up{service=\"{{args.service}}\"}"}}}]}});
        Templates {
            namespaced: vec![serde_json::from_value(template).unwrap()],
            cluster: Vec::new(),
        }
    }

    fn run(given: &[(&str, &str)]) -> Result<AnalysisRunSpec, String> {
        let root = AnalysisTemplateRef {
            template_name: "success-rate".to_owned(),
            cluster_scope: Some(false),
        };
        let given: Vec<(String, String)> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        spec(&root, &templates(), &given).map_err(|error| error.to_string())
    }

    #[test]
    fn values_come_from_the_command_line_or_the_template() {
        let values: Vec<(String, Option<String>)> = run(&[("service", "web")])
            .unwrap()
            .args
            .into_iter()
            .map(|argument| (argument.name, argument.value))
            .collect();
        let expect = [("service", "web"), ("threshold", "0.9")];
        assert_eq!(
            values,
            expect.map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
        );
    }

    #[test]
    fn an_argument_without_a_value_or_of_another_name_is_refused() {
        let missing = run(&[]).unwrap_err();
        assert!(missing.contains("service"), "{missing}");
        assert_eq!(
            run(&[("service", "web"), ("treshold", "1")]).unwrap_err(),
            "Error: template `success-rate` has no argument `treshold`\nhint: did you mean `threshold`?"
        );
    }
}
