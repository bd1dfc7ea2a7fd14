//! What is wrong with an object of ours, by the functions the controller uses.

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use serde::de::DeserializeOwned;

use super::{Object, Problem};
use crate::analysis::args::{Known, resolve_metric};
use crate::analysis::validate;
use crate::api::analysis::{
    AnalysisRun, AnalysisTemplate, AnalysisTemplateSpec, ClusterAnalysisTemplate, DryRun, MeasurementRetention, Metric,
};
use crate::api::experiment::Experiment;
use crate::api::rollout::Rollout;
use crate::api::{API_VERSION, scalar::IntOrString};
use crate::lang::expr::Condition;
use crate::rollout::check::flaws;
use crate::rollout::snapshot::{Pods, Settings, Snapshot};

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
    let snapshot = Snapshot {
        rollout,
        replica_sets: Vec::new(),
        services: services.iter().collect(),
        ingresses: ingresses.iter().collect(),
        foreign: Vec::new(),
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
    let mut problems = Vec::new();
    // One that only refers to others has no metrics of its own.
    if !spec.metrics.is_empty() || spec.templates.is_empty() {
        let metrics: Vec<Metric> = spec.metrics.iter().map(|metric| settled(metric, spec)).collect();
        let found = validate::problems(&metrics, &spec.dry_run, &spec.measurement_retention);
        problems.extend(found.into_iter().map(|message| located(object, &message)));
    }
    for (index, metric) in spec.metrics.iter().enumerate() {
        for (field, text) in [
            ("successCondition", &metric.success_condition),
            ("failureCondition", &metric.failure_condition),
        ] {
            // One with arguments in it is no condition yet.
            if text.is_empty() || text.contains("{{") {
                continue;
            }
            if let Err(error) = Condition::parse(text) {
                let field = format!("spec.metrics[{index}].{field}");
                problems.push(object.problem(&field, error.to_string(), "condition"));
            }
        }
    }
    problems.extend(repeated(object, &spec.dry_run, &spec.measurement_retention));
    problems
}

/// Rules that name the same metrics: only one of them can count.
fn repeated(object: &Object, dry_run: &[DryRun], retention: &[MeasurementRetention]) -> Vec<Problem> {
    let twice = |names: Vec<&str>, field: &str, rules: &str| -> Vec<Problem> {
        let again = names
            .iter()
            .enumerate()
            .filter(|(index, name)| names.iter().take(*index).any(|earlier| earlier == *name));
        again
            .map(|(index, name)| {
                let message = format!("two {rules} metric rules have the same name '{name}'");
                object.problem(&format!("spec.{field}[{index}].metricName"), message, "invalid")
            })
            .collect()
    };
    let names = dry_run.iter().map(|rule| rule.metric_name.as_str()).collect();
    let mut problems = twice(names, "dryRun", "Dry-Run");
    let names = retention.iter().map(|rule| rule.metric_name.as_str()).collect();
    problems.extend(twice(names, "measurementRetention", "Measurement Retention"));
    problems
}

/// `metrics[2]: what` is at `spec.metrics[2]`.
fn located(object: &Object, message: &str) -> Problem {
    match message.split_once("]: ") {
        Some((field, rest)) if field.contains('[') => object.problem(&format!("spec.{field}]"), rest, "invalid"),
        _ => object.problem("spec.metrics", message, "invalid"),
    }
}

/// A metric with the values of arguments that are known; numbers and durations that depend on others are left out.
fn settled(metric: &Metric, spec: &AnalysisTemplateSpec) -> Metric {
    if let Ok(settled) = Known::public(&spec.args).and_then(|known| resolve_metric(metric, &known)) {
        return settled;
    }
    let mut metric = metric.clone();
    let open = |text: &str| text.contains("{{");
    if open(&metric.interval) {
        // Without one, a count above 1 would be taken for a mistake.
        metric.interval = "1m".to_owned();
    }
    if open(&metric.initial_delay) {
        metric.initial_delay = String::new();
    }
    for number in [
        &mut metric.count,
        &mut metric.failure_limit,
        &mut metric.inconclusive_limit,
        &mut metric.consecutive_error_limit,
        &mut metric.consecutive_success_limit,
    ] {
        if matches!(number, Some(IntOrString::String(text)) if open(text)) {
            *number = None;
        }
    }
    metric
}

/// Experiments, as their controller judges them.
fn experiment(object: &Object, experiment: &Experiment) -> Vec<Problem> {
    let problems = crate::experiment::problems(experiment).into_iter();
    problems
        .map(|problem| object.problem(&problem.field, problem.message, "invalid"))
        .collect()
}
