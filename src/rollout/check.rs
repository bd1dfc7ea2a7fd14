//! What others than the controller ask of its decisions: `lint`, before anything is in a cluster, and `undo`.

use super::{injected, snapshot::Snapshot, template, validate, view::View};
use crate::api::replica_set::ReplicaSet;
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
    let problems = validate::problems(&View::of(snapshot));
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
