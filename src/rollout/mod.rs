//! Progressive delivery: decides everything about one Rollout from one snapshot.
//!
//! Pure and total. A bad specification is a condition in the plan's status, never an error.

mod anti_affinity;
mod blue_green;
mod canary;
pub mod check;
mod conclude;
mod deadline;
mod decision;
pub mod departure;
pub mod duration;
mod experiments;
mod field_path;
pub mod inert;
mod injected;
mod made_from;
mod metadata;
mod phase;
mod ping_pong;
mod progress;
mod replicas;
mod restart;
mod retire;
mod revision;
mod rollback_window;
mod runs;
mod services;
pub mod snapshot;
mod status;
mod step;
mod template;
mod validate;
mod view;
pub mod workload;

use crate::{
    api::{replica_set::ReplicaSet, well_known},
    plan::{Plan, StatusChange},
};
use decision::Decision;
use snapshot::Snapshot;
use view::View;

/// Decides what to do about a Rollout.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    if !is_ours(snapshot) || snapshot.rollout.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let view = View::of(snapshot);
    let problems = validate::problems(&view);
    // Guarantee T5: an abort goes through whatever else is wrong.
    if !problems.is_empty() && !view.progress.abort {
        return conclude::conclude(&view, Decision::frozen(&view), &problems);
    }
    let strategy = &snapshot.rollout.spec.strategy;
    let decision = match (&strategy.canary, &strategy.blue_green) {
        (Some(canary), _) => canary::decide(&view, canary),
        (None, Some(blue_green)) => blue_green::decide(&view, blue_green),
        (None, None) => Decision::frozen(&view),
    };
    conclude::conclude(&view, decision, &problems)
}

/// Which pods the decision needs to know, as a label selector; `None` when it needs none, as at rest.
pub fn pods_wanted(snapshot: &Snapshot<'_>) -> Option<String> {
    let rollout = snapshot.rollout;
    let ours = |set: &&ReplicaSet| {
        set.controller_uid()
            .is_some_and(|uid| rollout.metadata.uid.as_deref() == Some(uid))
    };
    let changed = || {
        snapshot
            .replica_sets
            .iter()
            .copied()
            .filter(ours)
            .any(metadata::needs_pods)
    };
    if !restart::is_due(snapshot) && !changed() {
        return None;
    }
    let selector = rollout.spec.selector.as_ref().map(status::selector_text);
    // Nothing is asked for everything there is.
    selector.filter(|text| !text.is_empty())
}

/// What to record when the API server refused the new ReplicaSet, for instance because its pod template is invalid.
/// Waits for a change: a refusal does not heal by asking again.
pub fn plan_after_refusal(snapshot: &Snapshot<'_>, refusal: &str) -> Plan {
    let view = View::of(snapshot);
    conclude::refused(&view, refusal)
}

/// What to record when the name of the new ReplicaSet turned out to be taken by one that this Rollout does not control:
/// the next plan uses another name.
pub fn plan_after_collision(snapshot: &Snapshot<'_>) -> Plan {
    conclude::collided(&View::of(snapshot))
}

/// The update that ends with this plan, for metrics.
pub fn finished(snapshot: &Snapshot<'_>, plan: &Plan) -> Option<duration::Finished> {
    let StatusChange::Merge { patch, .. } = &plan.status else {
        return None;
    };
    let status = snapshot.rollout.status.as_ref();
    duration::finished(status.and_then(|status| status.duration.as_ref()), patch)
}

/// Sharding by instance id is strict: without one, only Rollouts without the label are ours.
fn is_ours(snapshot: &Snapshot<'_>) -> bool {
    let labels = snapshot.rollout.metadata.labels.as_ref();
    let id = labels
        .and_then(|labels| labels.get(well_known::INSTANCE_ID))
        .map_or("", String::as_str);
    id == snapshot.settings.instance_id
}

/// The owner reference of children.
fn owner_reference(view: &View<'_>) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": "Rollout",
        "name": view.name(),
        "uid": view.snapshot.rollout.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

#[cfg(test)]
mod tests;
