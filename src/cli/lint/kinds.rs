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
use crate::traffic::foreign::{Foreign, ForeignKind, ForeignObject};

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

/// The objects of routers' kinds, of all namespaces: a Rollout may name one of another.
fn routed(objects: &[Object]) -> Vec<(ForeignKind, ForeignObject)> {
    let read = objects.iter().filter_map(|object| {
        let (group, _) = object.text("/apiVersion").split_once('/')?;
        let kind = ForeignKind::of(group, object.text("/kind"))?;
        Some((kind, serde_json::from_value(object.value.clone()).ok()?))
    });
    read.collect()
}

fn rollout(object: &Object, rollout: &Rollout, objects: &[Object]) -> Vec<Problem> {
    let services: Vec<Service> = beside(object, objects, "v1", "Service");
    let ingresses: Vec<Ingress> = beside(object, objects, "networking.k8s.io/v1", "Ingress");
    let templates: Vec<AnalysisTemplate> = beside(object, objects, API_VERSION, "AnalysisTemplate");
    let cluster: Vec<ClusterAnalysisTemplate> = beside(object, objects, API_VERSION, "ClusterAnalysisTemplate");
    let foreign = routed(objects);
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
        foreign: foreign
            .iter()
            .map(|(kind, object)| Foreign { kind: *kind, object })
            .collect(),
        unserved: &[],
        served: &[],
        analysis_runs: Vec::new(),
        experiments: Vec::new(),
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

/// Experiments, as their controller judges them.
fn experiment(object: &Object, experiment: &Experiment) -> Vec<Problem> {
    let problems = crate::experiment::problems(experiment).into_iter();
    problems
        .map(|problem| object.problem(&problem.field, problem.message, "invalid"))
        .collect()
}
