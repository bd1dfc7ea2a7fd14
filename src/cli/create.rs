//! `create -f`: objects from files, as `kubectl create` would make them, and following the one that was made.

use std::path::PathBuf;

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::error::{CliError, Kind};
use super::output::Format;
use super::promote::MANAGER;
use super::verbs::Session;
use super::{files, near};
use crate::api::{API_VERSION, GROUP, VERSION};

/// What can be created: kind, plural, and whether it lives in a namespace.
const KINDS: [(&str, &str, bool); 5] = [
    ("Rollout", "rollouts", true),
    ("Experiment", "experiments", true),
    ("AnalysisRun", "analysisruns", true),
    ("AnalysisTemplate", "analysistemplates", true),
    ("ClusterAnalysisTemplate", "clusteranalysistemplates", false),
];

/// An object that is about to be created.
struct Wanted {
    resource: ApiResource,
    namespaced: bool,
    object: DynamicObject,
}

impl Wanted {
    fn of(value: Value) -> Result<Self, CliError> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (text("/apiVersion").to_owned(), text("/kind").to_owned());
        let Some((kind, plural, namespaced)) = KINDS
            .into_iter()
            .find(|(known, ..)| *known == kind && version == API_VERSION)
        else {
            return Err(unsupported(&version, &kind));
        };
        let failed = |error: serde_json::Error| CliError::new(Kind::Request, format!("{kind} cannot be read: {error}"));
        Ok(Self {
            resource: ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural),
            namespaced,
            object: serde_json::from_value(value).map_err(failed)?,
        })
    }

    fn name(&self) -> String {
        let meta = &self.object.metadata;
        let name = meta.name.as_deref().or(meta.generate_name.as_deref());
        name.unwrap_or_default().to_owned()
    }
}

fn unsupported(version: &str, kind: &str) -> CliError {
    let error = CliError::new(Kind::Request, format!("creates of {version:?} {kind:?} unsupported"));
    let kinds = KINDS.map(|(kind, ..)| kind.to_owned());
    match near::closest(kind, &kinds) {
        Some(closest) if closest == kind => error.hint(format!("the version is `{API_VERSION}`")),
        Some(closest) => error.hint(format!("did you mean `{closest}`?")),
        None => error.hint("`kubectl create -f` creates objects of every kind"),
    }
}

impl Session {
    /// `create -f`: everything in the files, also after one could not be created. Nothing is created while a file
    /// cannot be read.
    pub async fn create(&mut self, paths: &[PathBuf], follow: bool) -> Result<(), CliError> {
        let mut objects = Vec::new();
        for path in paths {
            objects.extend(files::objects(path)?);
        }
        if objects.is_empty() {
            return Err(CliError::new(Kind::Request, "there are no objects in the files"));
        }
        let wanted = objects.into_iter().map(Wanted::of);
        let wanted = wanted.collect::<Result<Vec<Wanted>, CliError>>()?;
        let mut errors = Vec::new();
        let mut followed = None;
        for wanted in wanted {
            match self.create_one(&wanted).await {
                Ok(name) => {
                    let kind = wanted.resource.kind.to_lowercase();
                    self.terminal.line(&format!("{kind}.{GROUP}/{name} created"))?;
                    if matches!(kind.as_str(), "rollout" | "experiment") {
                        followed = followed.or(Some((kind, name, wanted.object.metadata.namespace)));
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        CliError::all(errors)?;
        match followed {
            Some((kind, name, namespace)) if follow => {
                if let Some(namespace) = namespace {
                    self.cluster.namespace = namespace;
                }
                if kind == "rollout" {
                    self.get(&name, true, None, Format::Text).await
                } else {
                    self.get_experiment(&name, true, None, Format::Text).await
                }
            }
            _ => Ok(()),
        }
    }

    async fn create_one(&self, wanted: &Wanted) -> Result<String, CliError> {
        let client = self.cluster.client.clone();
        let stated = wanted.object.metadata.namespace.as_deref();
        let namespace = stated.unwrap_or(&self.cluster.namespace);
        if wanted.namespaced && self.cluster.namespace_was_given && namespace != self.cluster.namespace {
            let message = format!(
                "the namespace from the provided object \"{namespace}\" does not match the namespace \"{}\"",
                self.cluster.namespace
            );
            return Err(CliError::new(Kind::Request, message).hint(format!("pass `--namespace={namespace}`")));
        }
        let api: Api<DynamicObject> = if wanted.namespaced {
            Api::namespaced_with(client, namespace, &wanted.resource)
        } else {
            Api::all_with(client, &wanted.resource)
        };
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let created = api.create(&params, &wanted.object).await.map_err(|error| {
            let error = CliError::kube(&error);
            let (kind, name) = (wanted.resource.kind.to_lowercase(), wanted.name());
            CliError {
                message: format!("{kind}.{GROUP}/{name}: {}", error.message),
                ..error
            }
        })?;
        Ok(created.metadata.name.unwrap_or_default())
    }
}
