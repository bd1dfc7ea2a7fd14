//! What others than the controller ask of its decisions: `lint`, before anything is in a cluster, and `undo`.

use super::{
    injected,
    snapshot::{Pods, Settings, Snapshot},
    template,
    validate::{self, Problem},
    view::View,
    workload::{self, Referred},
};
use crate::api::{replica_set::ReplicaSet, rollout::Rollout, workload::WorkloadKind};
use jiff::Timestamp;
use serde_json::Value;

/// One thing that is wrong with a Rollout or an object it names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flaw {
    /// Path of the field, for instance `spec.strategy.canary.steps[2].setWeight`.
    pub field: String,
    /// What was found there and what is wrong with it.
    pub message: String,
}

/// Everything that the controller would say is wrong, as in the condition `InvalidSpec`. The objects named are looked at
/// only when the specification itself is right.
pub fn flaws(snapshot: &Snapshot<'_>) -> Vec<Flaw> {
    told(validate::problems(&View::of(snapshot)))
}

/// Everything that is wrong with the specification by itself, whatever the objects are that it names.
pub fn spec_flaws(rollout: &Rollout) -> Vec<Flaw> {
    let settings = Settings::default();
    let named = rollout.spec.workload_ref.as_ref();
    let kind = named.and_then(|named| WorkloadKind::of(&named.api_version, &named.kind));
    let resolved = named.map(|_| workload::resolve(rollout, None, []));
    let snapshot = Snapshot {
        rollout: resolved.as_ref().unwrap_or(rollout),
        referred: kind.map(|kind| Referred {
            kind,
            found: None,
            refusal: None,
            has_own_template: rollout.spec.template.is_some(),
        }),
        scaled_down: Vec::new(),
        replica_sets: Vec::new(),
        services: Vec::new(),
        ingresses: Vec::new(),
        foreign: Vec::new(),
        unserved: &[],
        served: &[],
        analysis_runs: Vec::new(),
        experiments: Vec::new(),
        analysis_templates: Vec::new(),
        cluster_analysis_templates: Vec::new(),
        pods: Pods::Unlisted,
        settings: &settings,
        now: Timestamp::UNIX_EPOCH,
    };
    let mut problems = validate::own(&View::of(&snapshot));
    // A name that is given leads to something else than the specification itself.
    problems.retain(|problem| problem.field != "spec.workloadRef.name" || problem.found.is_none());
    told(problems)
}

fn told(problems: Vec<Problem>) -> Vec<Flaw> {
    problems
        .into_iter()
        .map(|problem| {
            let text = problem.to_string();
            let message = text
                .strip_prefix(&problem.field)
                .and_then(|rest| rest.strip_prefix(": "))
                .unwrap_or(&text)
                .to_owned();
            Flaw {
                field: problem.field,
                message,
            }
        })
        .collect()
}

/// The pod template of a ReplicaSet as the user wrote it, without anything that a controller put into it; `present` is
/// the template of the Rollout.
pub fn restored_template(set: &ReplicaSet, present: &Value) -> Value {
    injected::restored(set, present)
}

/// Whether two pod templates ask for the same pods (guarantee D5). The pod-template-hash label does not count.
pub fn same_template(left: &Value, right: &Value) -> bool {
    template::same_meaning(left, right)
}
