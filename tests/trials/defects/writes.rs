//! Defects in what is decided: the plan is altered after it was made.

#![expect(clippy::indexing_slicing, reason = "reading and writing JSON of a known shape")]

use serde_json::{Value, json};
use tidegate::{
    controllers::Planner,
    json::At as _,
    plan::{Action, ObjectRef, Plan, Requeue, StatusChange},
    rollout::{plan, snapshot::Snapshot},
};
use tidegate_trials::oracle::Rule;

/// Name, planner, the seed that shows it, and the promise that is broken.
pub(crate) const ALL: &[(&str, Planner, u64, Rule)] = &[
    ("two steps at once", double_step, 14, Rule::D3),
    ("a step back at every pause", step_back, 7, Rule::D3),
    ("weights do not add up", weights_off, 7, Rule::T1),
    ("the weight is ten times as high", weight_times_ten, 7, Rule::T1),
    ("pods go at once", no_delay, 20, Rule::T3),
    ("one pod too many goes", one_more_goes, 4, Rule::T6),
    ("one pod too many comes", one_more_comes, 0, Rule::T6),
    ("the active Service is switched first", switch_first, 3, Rule::T2),
    ("the canary Service is moved first", canary_service_first, 1, Rule::T2),
    ("Services are never repaired", no_services, 56, Rule::T7),
    ("the canary Service stays behind", canary_service_stays, 41, Rule::T7),
    ("an annotation of others is taken away", foreign_annotation, 1, Rule::T8),
    ("the stable Ingress is written", stable_ingress, 7, Rule::T8),
    ("spec.paused is taken back", unpauses, 0, Rule::T8),
    ("a new name for every analysis run", run_names, 7, Rule::D3),
    ("analysis runs are never stopped", runs_go_on, 13, Rule::D2),
    ("a second ReplicaSet of the same template", twins, 1, Rule::D5),
    ("the status does not say what is waited for", silent, 31, Rule::D6),
    ("the status is never written", no_status, 1, Rule::C1),
    ("every pass writes an annotation", restless, 0, Rule::C1),
    ("the same status again and again", same_status, 0, Rule::C1),
    ("deletions on any version", unpinned_deletion, 8, Rule::C3),
    ("smaller sizes on any version", unpinned_size, 1, Rule::C3),
    ("promotion without the data plane", early_promotion, 18, Rule::T2),
    ("no wake-up by time", no_wake, 7, Rule::D6),
    ("an old ReplicaSet is deleted with its pods", deletes_old, 1, Rule::T3),
];

pub(super) fn actions(plan: &mut Plan) -> impl Iterator<Item = &mut Action> {
    plan.stages.iter_mut().flat_map(|stage| &mut stage.0)
}

pub(super) fn fields(action: &mut Action) -> Option<&mut Value> {
    match action {
        Action::Create { object } => Some(object),
        Action::Apply { fields, .. } => Some(fields),
        Action::Merge { patch, .. } => Some(patch),
        Action::Delete { .. } => None,
    }
}

pub(super) fn status_patch(plan: &mut Plan) -> Option<&mut Value> {
    match &mut plan.status {
        StatusChange::Merge { patch, .. } => patch.get_mut("status"),
        StatusChange::Unchanged => None,
    }
}

pub(super) fn drop_actions(plan: &mut Plan, dropped: impl Fn(&Action) -> bool) {
    for stage in &mut plan.stages {
        stage.0.retain(|action| !dropped(action));
    }
    plan.stages.retain(|stage| !stage.0.is_empty());
}

pub(super) fn recorded(snapshot: &Snapshot<'_>, field: &str) -> String {
    let status = serde_json::to_value(&snapshot.rollout.status).unwrap_or_default();
    status[field].as_str().unwrap_or_default().to_owned()
}

pub(super) fn rollout_ref(snapshot: &Snapshot<'_>) -> ObjectRef {
    let metadata = &snapshot.rollout.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectRef::namespaced(
        tidegate::api::API_VERSION,
        "Rollout",
        &text(&metadata.namespace),
        &text(&metadata.name),
    )
}

pub(super) fn first(plan: &mut Plan, action: Action) {
    match plan.stages.first_mut() {
        Some(stage) => stage.0.insert(0, action),
        None => plan.stage(vec![action]),
    }
}

fn double_step(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let steps = snapshot
        .rollout
        .spec
        .strategy
        .canary
        .as_ref()
        .map_or(0, |canary| canary.steps.len());
    if let Some(index) = status_patch(&mut plan).and_then(|patch| patch.get_mut("currentStepIndex"))
        && let Some(to) = index.as_u64().filter(|to| *to > 0 && *to < steps as u64)
    {
        *index = json!(to + 1);
    }
    plan
}

fn step_back(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let index = snapshot
        .rollout
        .status
        .as_ref()
        .and_then(|status| status.current_step_index)
        .unwrap_or(0);
    if let Some(patch) = status_patch(&mut plan)
        && patch.get("pauseConditions").is_some_and(|pauses| !pauses.is_null())
        && index > 0
    {
        patch["currentStepIndex"] = json!(index - 1);
    }
    plan
}

fn weights_off(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if let Some(Value::Number(weight)) =
        status_patch(&mut plan).and_then(|patch| patch.pointer_mut("/canary/weights/stable/weight"))
    {
        *weight = (weight.as_i64().unwrap_or(0) + 1).into();
    }
    plan
}

fn weight_times_ten(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan).filter(|action| action.target().kind == "Ingress") {
        let annotations = fields(action).and_then(|fields| fields.pointer_mut("/metadata/annotations"));
        if let Some(Value::String(weight)) =
            annotations.and_then(|all| all.get_mut("nginx.ingress.kubernetes.io/canary-weight"))
        {
            weight.push('0');
        }
    }
    plan
}

fn no_delay(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan).filter(|action| action.target().kind == "ReplicaSet") {
        if let Action::Apply { fields, .. } = action
            && fields.at("/metadata/annotations/scale-down-deadline").is_some()
        {
            fields["spec"]["replicas"] = json!(0);
        }
    }
    plan
}

fn sized(snapshot: &Snapshot<'_>, mut change: impl FnMut(&str, i32, i64) -> i64) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan).filter(|action| action.target().kind == "ReplicaSet") {
        let name = action.target().name;
        let set = snapshot.replica_sets.iter().find(|set| set.name() == name);
        let (hash, before) = set.map_or(("", 0), |set| (set.pod_hash(), set.replicas()));
        if let Some(Value::Number(size)) = fields(action).and_then(|fields| fields.pointer_mut("/spec/replicas")) {
            let after = size.as_i64().unwrap_or(0);
            *size = change(hash, before, after).max(0).into();
        }
    }
    plan
}

fn one_more_goes(snapshot: &Snapshot<'_>) -> Plan {
    sized(
        snapshot,
        |_, before, after| if after < i64::from(before) { after - 1 } else { after },
    )
}

fn one_more_comes(snapshot: &Snapshot<'_>) -> Plan {
    sized(
        snapshot,
        |_, before, after| if after > i64::from(before) { after + 1 } else { after },
    )
}

pub(super) fn select(snapshot: &Snapshot<'_>, service: &str, hash: &str) -> Option<Action> {
    let live = snapshot
        .services
        .iter()
        .find(|live| live.metadata.name.as_deref() == Some(service))?;
    let selected = live.spec.as_ref()?.selector.as_ref()?.get("rollouts-pod-template-hash");
    if selected.map(String::as_str) == Some(hash) || hash.is_empty() {
        return None;
    }
    let namespace = live.metadata.namespace.as_deref().unwrap_or_default();
    Some(Action::Merge {
        target: ObjectRef::namespaced("v1", "Service", namespace, service),
        patch: json!({"spec": {"selector": {"rollouts-pod-template-hash": hash}}}),
        manager: "tidegate-services",
        precondition: None,
    })
}

/// Whether there is a version to protect, and another one to roll out.
pub(super) fn is_updating(snapshot: &Snapshot<'_>) -> bool {
    let stable = recorded(snapshot, "stableRS");
    !stable.is_empty() && stable != recorded(snapshot, "currentPodHash")
}

fn switch_first(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if !is_updating(snapshot) {
        return plan;
    }
    let blue_green = snapshot.rollout.spec.strategy.blue_green.as_ref();
    let hash = recorded(snapshot, "currentPodHash");
    if let Some(action) = blue_green.and_then(|blue_green| select(snapshot, &blue_green.active_service, &hash)) {
        drop_actions(&mut plan, |other| other.target() == action.target());
        first(&mut plan, action);
    }
    plan
}

fn canary_service_first(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if !is_updating(snapshot) {
        return plan;
    }
    let canary = snapshot.rollout.spec.strategy.canary.as_ref();
    let hash = recorded(snapshot, "currentPodHash");
    if let Some(action) = canary.and_then(|canary| select(snapshot, &canary.canary_service, &hash)) {
        drop_actions(&mut plan, |other| other.target() == action.target());
        first(&mut plan, action);
    }
    plan
}

fn no_services(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let healthy = recorded(snapshot, "phase") == "Healthy";
    drop_actions(&mut plan, |action| healthy && action.target().kind == "Service");
    plan
}

fn canary_service_stays(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let promoted = recorded(snapshot, "stableRS") == recorded(snapshot, "currentPodHash");
    drop_actions(&mut plan, |action| {
        promoted && action.target().kind == "Service" && action.target().name == "web-canary"
    });
    plan
}

fn foreign_annotation(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan).filter(|action| action.target().kind == "Service") {
        if let Action::Merge { patch, .. } = action {
            patch["metadata"]["annotations"]["team.example.com/owner"] = Value::Null;
        }
    }
    plan
}

fn stable_ingress(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let stable = snapshot
        .ingresses
        .iter()
        .find(|ingress| ingress.metadata.name.as_deref() == Some("web"));
    let annotated = |ingress: &&&k8s_openapi::api::networking::v1::Ingress| {
        ingress
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key("tidegate"))
    };
    if let Some(ingress) = stable.filter(|ingress| !annotated(ingress)) {
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        first(
            &mut plan,
            Action::Merge {
                target: ObjectRef::namespaced("networking.k8s.io/v1", "Ingress", namespace, "web"),
                patch: json!({"metadata": {"annotations": {"tidegate": "was here"}}}),
                manager: "tidegate-traffic",
                precondition: None,
            },
        );
    }
    plan
}

fn unpauses(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if snapshot.rollout.spec.paused {
        let target = rollout_ref(snapshot);
        plan.status = StatusChange::Unchanged;
        first(
            &mut plan,
            Action::Merge {
                target,
                patch: json!({"spec": {"paused": false}}),
                manager: "tidegate",
                precondition: None,
            },
        );
    }
    plan
}

fn run_names(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan) {
        if let Action::Create { object } = action
            && object["kind"] == "AnalysisRun"
        {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            object["metadata"]["name"] = json!(format!("{name}-{}", snapshot.now.as_millisecond()));
        }
    }
    plan
}

fn runs_go_on(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    drop_actions(
        &mut plan,
        |action| matches!(action, Action::Merge { target, .. } if target.kind == "AnalysisRun"),
    );
    plan
}

fn twins(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let stable = recorded(snapshot, "stableRS");
    let set = snapshot.replica_sets.iter().find(|set| set.pod_hash() == stable);
    let name = set.map(|set| format!("{}-twin", set.name())).unwrap_or_default();
    if let Some(set) = set.filter(|_| snapshot.replica_sets.iter().all(|set| set.name() != name)) {
        let mut object = serde_json::to_value(set).unwrap_or_default();
        let owners = object["metadata"]["ownerReferences"].clone();
        let labels = object["metadata"]["labels"].clone();
        object["apiVersion"] = json!("apps/v1");
        object["kind"] = json!("ReplicaSet");
        object["metadata"] = json!({"name": name, "namespace": "shop", "ownerReferences": owners, "labels": labels});
        object["spec"]["replicas"] = json!(0);
        if let Value::Object(fields) = &mut object {
            fields.remove("status");
        }
        first(&mut plan, Action::Create { object });
    }
    plan
}

fn silent(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if let Some(Value::Object(patch)) = status_patch(&mut plan) {
        patch.remove("waitingFor");
    }
    plan
}

fn no_status(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    plan.status = StatusChange::Unchanged;
    plan
}

fn restless(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if let Some(set) = snapshot.replica_sets.first() {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        first(
            &mut plan,
            Action::Merge {
                target: ObjectRef::namespaced("apps/v1", "ReplicaSet", namespace, set.name()),
                patch: json!({"metadata": {"annotations": {"seen": snapshot.now.as_second().to_string()}}}),
                manager: "tidegate-scale",
                precondition: None,
            },
        );
        plan.wake(snapshot.now + jiff::SignedDuration::from_secs(5));
    }
    plan
}

fn same_status(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if plan.status == StatusChange::Unchanged {
        let metadata = &snapshot.rollout.metadata;
        plan.status = StatusChange::Merge {
            target: rollout_ref(snapshot),
            patch: json!({"status": {"phase": recorded(snapshot, "phase")}}),
            subresource: true,
            precondition: tidegate::plan::Precondition {
                uid: metadata.uid.clone(),
                resource_version: metadata.resource_version.clone(),
            },
        };
        plan.wake(snapshot.now + jiff::SignedDuration::from_secs(20));
    }
    plan
}

fn unpinned_deletion(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan) {
        if let Action::Delete { precondition, .. } = action {
            precondition.resource_version = None;
        }
    }
    plan
}

fn unpinned_size(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan).filter(|action| action.target().kind == "ReplicaSet") {
        if let Action::Apply { precondition, .. } | Action::Merge { precondition, .. } = action {
            *precondition = None;
        }
    }
    plan
}

/// Takes the last step for the end of the update.
fn early_promotion(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let steps = snapshot
        .rollout
        .spec
        .strategy
        .canary
        .as_ref()
        .map_or(0, |canary| canary.steps.len());
    let status = snapshot.rollout.status.clone().unwrap_or_default();
    let done = status
        .current_step_index
        .is_some_and(|index| usize::try_from(index).is_ok_and(|index| index >= steps));
    let routed = snapshot
        .rollout
        .spec
        .strategy
        .canary
        .as_ref()
        .is_some_and(|canary| canary.traffic_routing.is_some());
    let hash = status.current_pod_hash.clone();
    if done
        && routed
        && !status.abort
        && !hash.is_empty()
        && !status.stable_rs.is_empty()
        && let Some(patch) = status_patch(&mut plan)
        && patch.get("currentPodHash").is_none()
    {
        patch["stableRS"] = json!(hash);
    }
    plan
}

fn no_wake(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    if let Requeue::At(at) = plan.requeue
        && at > snapshot.now
    {
        plan.requeue = Requeue::AwaitChange;
    }
    plan
}

fn deletes_old(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let (stable, current) = (recorded(snapshot, "stableRS"), recorded(snapshot, "currentPodHash"));
    let old = snapshot.replica_sets.iter().find(|set| {
        set.replicas() > 0
            && set.pod_hash() != stable
            && set.pod_hash() != current
            && set.metadata.deletion_timestamp.is_none()
    });
    if let Some(set) = old {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let target = ObjectRef::namespaced("apps/v1", "ReplicaSet", namespace, set.name());
        drop_actions(&mut plan, |action| action.target() == target);
        first(
            &mut plan,
            Action::Delete {
                target,
                precondition: tidegate::plan::Precondition {
                    uid: set.metadata.uid.clone(),
                    resource_version: set.metadata.resource_version.clone(),
                },
                propagation: tidegate::plan::Propagation::Background,
            },
        );
    }
    plan
}
