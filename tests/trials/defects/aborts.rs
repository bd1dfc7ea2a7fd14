//! Defects in aborts and in the order of things: the plan is altered after it was made.

#![expect(clippy::indexing_slicing, reason = "reading and writing JSON of a known shape")]

use super::writes::{actions, drop_actions, fields, first, is_updating, recorded, rollout_ref, status_patch};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate::{
    controllers::Planner,
    json::At as _,
    plan::{Action, ObjectRef, Plan, Precondition, StatusChange},
    rollout::{plan, snapshot::Snapshot},
};
use tidegate_trials::oracle::Rule;

const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";

/// Name, planner, the seed that shows it, and the promise that is broken.
pub(crate) const ALL: &[(&str, Planner, u64, Rule)] = &[
    ("an abort raises the weight", abort_raises, 47, Rule::T5),
    ("an abort leaves the weight", abort_leaves_weight, 141, Rule::T5),
    ("stable pods go in an abort", stable_goes_in_abort, 23, Rule::T4),
    ("an abort is taken back", abort_taken_back, 4, Rule::T5),
    ("weights of stable and canary are swapped", swapped_weights, 7, Rule::T2),
    (
        "promotion before the last step",
        promotion_before_last_step,
        8,
        Rule::D3,
    ),
    (
        "a new version goes on at the old step",
        new_version_goes_on,
        55,
        Rule::D3,
    ),
    ("a status on any version", unpinned_status, 0, Rule::C3),
    ("two analysis runs for one gate", two_runs, 3, Rule::D2),
    ("a ReplicaSet of another template", other_template, 0, Rule::D5),
    ("the whole selector is replaced", whole_selector, 1, Rule::T8),
    ("the Ingress is never written", no_ingress, 7, Rule::C1),
    ("old pods are never taken away", never_smaller, 1, Rule::C1),
];

fn is_aborted(snapshot: &Snapshot<'_>) -> bool {
    snapshot.rollout.status.as_ref().is_some_and(|status| status.abort)
}

fn weighed(plan: &mut Plan, change: impl Fn(i64) -> i64) {
    for action in actions(plan).filter(|action| action.target().kind == "Ingress") {
        let annotations = fields(action).and_then(|fields| fields.pointer_mut("/metadata/annotations"));
        if let Some(Value::String(weight)) = annotations.and_then(|all| all.get_mut(WEIGHT)) {
            *weight = change(weight.parse().unwrap_or(0)).to_string();
        }
    }
}

fn abort_raises(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if is_aborted(snapshot) {
        weighed(&mut plan, |_| 100);
    }
    plan
}

fn abort_leaves_weight(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if is_aborted(snapshot) {
        drop_actions(&mut plan, |action| action.target().kind == "Ingress");
    }
    plan
}

/// Whether an abort was observed so long ago; wakes the planner then.
fn aborted_for(snapshot: &Snapshot<'_>, seconds: i64, plan: &mut Plan) -> bool {
    let status = serde_json::to_value(&snapshot.rollout.status).unwrap_or_default();
    let since: Option<Timestamp> = status["abortedAt"].as_str().and_then(|since| since.parse().ok());
    let since = since.filter(|_| is_aborted(snapshot));
    let Some(at) = since.and_then(|since| since.checked_add(SignedDuration::from_secs(seconds)).ok()) else {
        return false;
    };
    if snapshot.now < at {
        plan.wake(at);
    }
    snapshot.now >= at
}

/// All but one of them.
fn stable_goes_in_abort(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let stable = recorded(snapshot, "stableRS");
    let set = snapshot.replica_sets.iter().find(|set| set.pod_hash() == stable);
    if let Some(set) = set.filter(|_| aborted_for(snapshot, 5, &mut plan)) {
        let metadata = &set.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let target = ObjectRef::namespaced("apps/v1", "ReplicaSet", namespace, set.name());
        drop_actions(&mut plan, |action| action.target() == target);
        if set.replicas() > 1 {
            first(
                &mut plan,
                Action::Merge {
                    target,
                    patch: json!({"spec": {"replicas": 1}}),
                    manager: "tidegate-scale",
                    precondition: Some(Precondition {
                        uid: metadata.uid.clone(),
                        resource_version: metadata.resource_version.clone(),
                    }),
                },
            );
        }
    }
    plan
}

/// Ten seconds after an abort the update goes on by itself.
fn abort_taken_back(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if !aborted_for(snapshot, 10, &mut plan) {
        return plan;
    }
    let metadata = &snapshot.rollout.metadata;
    plan.status = StatusChange::Merge {
        target: rollout_ref(snapshot),
        patch: json!({"status": {"abort": false, "abortedAt": null}}),
        subresource: true,
        precondition: Precondition {
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        },
    };
    plan
}

fn swapped_weights(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    weighed(&mut plan, |weight| 100 - weight);
    plan
}

fn promotion_before_last_step(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let canary = snapshot.rollout.spec.strategy.canary.as_ref();
    let steps = canary.map_or(0, |canary| canary.steps.len());
    let status = snapshot.rollout.status.clone().unwrap_or_default();
    let last = status
        .current_step_index
        .is_some_and(|index| usize::try_from(index).is_ok_and(|index| index + 1 == steps));
    if last
        && is_updating(snapshot)
        && !status.abort
        && let Some(patch) = status_patch(&mut plan)
        && patch.get("currentPodHash").is_none()
    {
        patch["stableRS"] = json!(status.current_pod_hash);
    }
    plan
}

fn new_version_goes_on(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let index = snapshot
        .rollout
        .status
        .as_ref()
        .and_then(|status| status.current_step_index);
    let updating = is_updating(snapshot) && !is_aborted(snapshot);
    if let Some(patch) = status_patch(&mut plan)
        && patch.get("currentPodHash").is_some()
        && patch.get("currentStepIndex").is_some()
        && let Some(index) = index.filter(|index| updating && *index > 0)
    {
        patch["currentStepIndex"] = json!(index);
    }
    plan
}

fn unpinned_status(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if let StatusChange::Merge { precondition, .. } = &mut plan.status {
        precondition.resource_version = None;
    }
    plan
}

fn two_runs(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for stage in &mut plan.stages {
        let twins: Vec<Action> = stage.0.iter().filter_map(twin).collect();
        stage.0.extend(twins);
    }
    plan
}

fn twin(action: &Action) -> Option<Action> {
    let Action::Create { object } = action else { return None };
    if object["kind"] != "AnalysisRun" {
        return None;
    }
    let mut object = object.clone();
    let name = format!("{}-again", object["metadata"]["name"].as_str().unwrap_or_default());
    object["metadata"]["name"] = json!(name);
    Some(Action::Create { object })
}

fn other_template(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan) {
        if let Action::Create { object } = action
            && object["kind"] == "ReplicaSet"
        {
            object["spec"]["template"]["metadata"]["annotations"] = json!({"started-by": "tidegate"});
        }
    }
    plan
}

fn whole_selector(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan).filter(|action| action.target().kind == "Service") {
        if let Some(Value::Object(selector)) = fields(action).and_then(|fields| fields.pointer_mut("/spec/selector")) {
            selector.insert("app".to_owned(), Value::Null);
        }
    }
    plan
}

fn no_ingress(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let stable = !recorded(snapshot, "stableRS").is_empty();
    drop_actions(&mut plan, |action| stable && action.target().kind == "Ingress");
    plan
}

/// Only what shrinks to nothing is left as it is.
fn never_smaller(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    drop_actions(&mut plan, |action| {
        let name = action.target().name;
        let before = snapshot.replica_sets.iter().find(|set| set.name() == name);
        let size = match action {
            Action::Apply { fields, .. } => fields.at("/spec/replicas"),
            Action::Merge { patch, .. } => patch.at("/spec/replicas"),
            Action::Create { .. } | Action::Delete { .. } => None,
        };
        action.target().kind == "ReplicaSet"
            && before
                .zip(size.and_then(Value::as_i64))
                .is_some_and(|(before, size)| size < i64::from(before.replicas()))
    });
    plan
}
