//! What others than the controller ask of its decisions: `lint`, before anything is in a cluster, and `undo`.

use super::{
    injected,
    snapshot::{Pods, Settings, Snapshot},
    template,
    validate::{self, Problem},
    view::View,
    workload::{Referred, WORKLOAD_NAME, resolve},
};
use crate::api::{replica_set::ReplicaSet, rollout::Rollout};
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
    let resolved = rollout.spec.workload_ref.as_ref().map(|_| resolve(rollout, None, []));
    let snapshot = Snapshot {
        rollout: resolved.as_ref().unwrap_or(rollout),
        referred: Referred::not_looked_for(rollout),
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
    // Nobody looked for the workload.
    problems.retain(|problem| problem.field != WORKLOAD_NAME || problem.found.is_none());
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

/// Whether a ReplicaSet is that of this pod template of a Rollout (guarantee D5).
pub fn is_of_template(set: &ReplicaSet, present: &Value) -> bool {
    injected::is_of(present, set, false)
}

/// What a ReplicaSet that is made from this pod template remembers of it.
#[cfg(test)]
pub(crate) fn made_from(template: &Value) -> String {
    super::made_from::of_new_set(template)
}

/// Whether two pod templates ask for the same pods (guarantee D5). The pod-template-hash label does not count.
pub fn same_template(left: &Value, right: &Value) -> bool {
    template::same_meaning(left, right)
}
