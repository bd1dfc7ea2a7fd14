//! What is wrong with an object of ours, by the functions the controller uses.

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use serde::de::DeserializeOwned;

use super::{Object, Problem};
use crate::analysis::check;
use crate::api::API_VERSION;
use crate::api::analysis::{AnalysisRun, AnalysisTemplate, AnalysisTemplateSpec, ClusterAnalysisTemplate};
use crate::api::experiment::Experiment;
use crate::api::rollout::Rollout;
use crate::api::workload::{Workload, WorkloadKind};
use crate::rollout::check::flaws;
use crate::rollout::snapshot::{Pods, Settings, Snapshot};
use crate::rollout::workload::{self, Referred};

/// Problems of one object; `objects` are all of the files.
pub(super) fn check(object: &Object, objects: &[Object]) -> Vec<Problem> {
    let told = match object.text("/kind") {
        "Rollout" => decoded::<Rollout>(object).map(|rollout| self::rollout(object, &rollout, objects)),
        "AnalysisTemplate" => decoded::<AnalysisTemplate>(object).map(|found| template(object, &found.spec)),
        "ClusterAnalysisTemplate" => {
            decoded::<ClusterAnalysisTemplate>(object).map(|found| template(object, &found.spec))
        }
        "AnalysisRun" => decoded::<AnalysisRun>(object).map(|run| {
            let spec = AnalysisTemplateSpec {
                metrics: run.spec.metrics,
                args: run.spec.args,
                dry_run: run.spec.dry_run,
                measurement_retention: run.spec.measurement_retention,
                templates: Vec::new(),
            };
            template(object, &spec)
        }),
        "Experiment" => decoded::<Experiment>(object).map(|found| experiment(object, &found)),
        _ => Ok(Vec::new()),
    };
    told.unwrap_or_else(|problem| vec![*problem])
}

fn decoded<K: DeserializeOwned>(object: &Object) -> Result<K, Box<Problem>> {
    serde_path_to_error::deserialize(&object.value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { path.as_str() };
        Box::new(object.problem(path, error.inner().to_string(), "type"))
    })
}

/// The objects of a kind in the same namespace (empty: that of the context) that can be read.
fn beside<K: DeserializeOwned>(object: &Object, objects: &[Object], api_version: &str, kind: &str) -> Vec<K> {
    let namespace = object.text("/metadata/namespace");
    objects
        .iter()
        .filter(|other| other.is(api_version, kind))
        .filter(|other| kind.starts_with("Cluster") || other.text("/metadata/namespace") == namespace)
        .filter_map(|other| serde_json::from_value(other.value.clone()).ok())
        .collect()
}

fn rollout(object: &Object, rollout: &Rollout, objects: &[Object]) -> Vec<Problem> {
    let services: Vec<Service> = beside(object, objects, "v1", "Service");
    let ingresses: Vec<Ingress> = beside(object, objects, "networking.k8s.io/v1", "Ingress");
    let templates: Vec<AnalysisTemplate> = beside(object, objects, API_VERSION, "AnalysisTemplate");
    let cluster: Vec<ClusterAnalysisTemplate> = beside(object, objects, API_VERSION, "ClusterAnalysisTemplate");
    let settings = Settings::default();
    let named = rollout.spec.workload_ref.as_ref();
    let kind = named.and_then(|named| WorkloadKind::of(&named.api_version, &named.kind));
    let workload = named.zip(kind).and_then(|(named, kind)| {
        let all: Vec<Workload> = beside(object, objects, kind.api_version(), kind.kind());
        all.into_iter().find(|workload| workload.name() == named.name)
    });
    let resolved = named.map(|_| workload::resolve(rollout, workload.as_ref(), []));
    let snapshot = Snapshot {
        rollout: resolved.as_ref().unwrap_or(rollout),
        referred: kind.map(|kind| Referred {
            kind,
            found: workload.as_ref(),
            refusal: None,
            has_own_template: rollout.spec.template.is_some(),
        }),
        scaled_down: Vec::new(),
        replica_sets: Vec::new(),
        services: services.iter().collect(),
        ingresses: ingresses.iter().collect(),
        foreign: Vec::new(),
        unserved: &[],
        served: &[],
        analysis_runs: Vec::new(),
        analysis_templates: templates.iter().collect(),
        cluster_analysis_templates: cluster.iter().collect(),
        pods: Pods::Unlisted,
        settings: &settings,
        now: Timestamp::UNIX_EPOCH,
    };
    flaws(&snapshot)
        .into_iter()
        // What is not in the files may be in the cluster.
        .filter(|flaw| !flaw.message.ends_with("not found"))
        .map(|flaw| object.problem(&flaw.field, flaw.message, "invalid"))
        .collect()
}

fn template(object: &Object, spec: &AnalysisTemplateSpec) -> Vec<Problem> {
    let flaws = check::flaws(spec).into_iter();
    flaws
        .map(|flaw| {
            let kind = if flaw.is_condition { "condition" } else { "invalid" };
            object.problem(&flaw.field, flaw.message, kind)
        })
        .collect()
}

/// Experiments, in the original's words (reference, rollouts 1.9).
fn experiment(object: &Object, experiment: &Experiment) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |field: String, message: String| problems.push(object.problem(&field, message, "invalid"));
    let name = experiment.metadata.name.as_deref().unwrap_or_default();
    let deadline = experiment.spec.progress_deadline_seconds.unwrap_or(600);
    let mut names: Vec<&str> = Vec::new();
    for (index, template) in experiment.spec.templates.iter().enumerate() {
        let at = format!("spec.templates[{index}]");
        if template.name.is_empty() {
            problem(
                format!("{at}.name"),
                format!("Experiment {name} has empty template name at index {index}"),
            );
        } else if names.contains(&template.name.as_str()) {
            problem(
                format!("{at}.name"),
                format!(
                    "Experiment {name} has repeated template name '{}' in templates",
                    template.name
                ),
            );
        }
        names.push(&template.name);
        let labels = template.selector.as_ref().map(|selector| {
            selector.match_labels.iter().flatten().count() + selector.match_expressions.iter().flatten().count()
        });
        match labels {
            None => problem(
                format!("{at}.selector"),
                format!("Rollout has missing field '.Spec.Templates[{index}].Selector'"),
            ),
            Some(0) => problem(
                format!("{at}.selector"),
                format!("This experiment is selecting all pods at index {index}. A non-empty selector is required."),
            ),
            Some(_) => {}
        }
        if template.min_ready_seconds > deadline {
            problem(
                format!("{at}.minReadySeconds"),
                format!("MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index {index}"),
            );
        }
    }
    let duration = &experiment.spec.duration;
    if !duration.is_empty()
        && let Err(error) = crate::lang::duration::parse(duration)
    {
        problem("spec.duration".to_owned(), error.to_string());
    }
    problems
}
