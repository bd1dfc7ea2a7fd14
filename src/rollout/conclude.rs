//! From a decision to a plan: writes for what differs, events, wake-ups, and the status.

use super::{
    deadline,
    decision::{Deadline, Decision, Sizing},
    made_from, metadata, ping_pong, restart,
    retire::{belongs, history},
    revision::history_after_reuse,
    rollback_window, services, status, template,
    validate::Problem,
    view::View,
    workload,
};
use crate::{
    api::{replica_set::ReplicaSet, well_known},
    json::At as _,
    plan::{Action, EventKind, EventRecord, ObjectRef, Plan, Precondition, StatusChange, merge_patch},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Field manager of sizes, deadlines and revisions of ReplicaSets.
const SCALE_MANAGER: &str = "tidegate-scale";
/// Field manager of what is written into the Rollout beside its status.
const ROLLOUT_MANAGER: &str = "tidegate";
/// Seconds after which a ReplicaSet that was created should have been seen.
const CREATION_SHOWS_UP_SECONDS: i64 = 10;
/// Annotations of a Rollout that its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 8] = [
    well_known::LAST_APPLIED,
    well_known::REVISION,
    well_known::REVISION_HISTORY,
    well_known::DESIRED_REPLICAS,
    well_known::NOTIFIED,
    well_known::EPHEMERAL_METADATA,
    well_known::WAS_STABLE,
    well_known::MADE_FROM,
];

/// Turns a decision into a plan.
pub(crate) fn conclude(view: &View<'_>, mut decision: Decision<'_>, problems: &[Problem]) -> Plan {
    let mut plan = Plan::default();
    let mut events = Vec::new();
    if view.revisions.new.is_none() && !decision.frozen {
        creation_shows_up(view, &mut decision);
    }
    if !decision.frozen {
        restart::carry_out(view, &mut decision);
        metadata::patch_pods(view, &mut decision);
        plan.pods = std::mem::take(&mut decision.pods);
        write_objects(view, &mut decision, &mut plan, &mut events);
    }
    let status = status::of(view, &decision, problems, &mut events);
    events.extend(decision.events.iter().cloned());
    events.extend(status::closing_events(view, &decision));
    plan.events = events
        .into_iter()
        .map(|(kind, reason, message)| event(view, kind, reason, message))
        .collect();
    for wake in &decision.wakes {
        plan.wake((*wake).max(view.now()));
    }
    if let Some(overdue) = deadline::wake_at(view).filter(|_| !decision.at_waiting_step) {
        plan.wake(overdue);
    }
    if let Some(waiting) = &decision.waiting {
        plan.because("Waiting", format!("{}: {}", waiting.reason, waiting.message));
    }
    for problem in problems {
        plan.because("InvalidSpec", problem.to_string());
    }
    let mut plan = finish(view, plan, &status);
    workload::scale_down::add(view, &decision, &mut plan);
    plan
}

/// A ReplicaSet that was created and is not seen: a store that lags, or a name that somebody else holds. Names it,
/// rather than wait in silence (guarantee D6).
fn creation_shows_up(view: &View<'_>, decision: &mut Decision<'_>) {
    if view.name_is_taken() {
        decision.wakes.push(view.now());
        return;
    }
    let Some(created) = view.created_since() else { return };
    let overdue = super::view::later(created, CREATION_SHOWS_UP_SECONDS);
    if overdue > view.now() {
        decision.wakes.push(overdue);
        return;
    }
    let message = format!(
        "ReplicaSet \"{}\" was created and is not there: its name may be taken by a ReplicaSet that is not this Rollout's",
        new_name(view)
    );
    decision.waiting = None;
    decision.wait_for("WaitingForReplicaSet", message, None);
}

/// The plan for a ReplicaSet whose name is taken by somebody else's.
pub(crate) fn collided(view: &View<'_>) -> Plan {
    let decision = Decision::frozen(view);
    let mut status = status::of(view, &decision, &[], &mut Vec::new());
    let count = Some(view.status.collision_count.unwrap_or(0).saturating_add(1));
    status.collision_count = count;
    status.current_pod_hash = template::hash(&view.spec.template.clone().unwrap_or_default(), count);
    // Nothing was created.
    status.conditions.clone_from(&view.status.conditions);
    let mut plan = Plan::default();
    plan.because(
        "NameCollision",
        format!("ReplicaSet \"{}\" belongs to somebody else", new_name(view)),
    );
    plan.wake(view.now());
    finish(view, plan, &status)
}

/// The plan for a ReplicaSet that the API server refused.
pub(crate) fn refused(view: &View<'_>, refusal: &str) -> Plan {
    let decision = Decision::frozen(view);
    let mut status = status::of(view, &decision, &[], &mut Vec::new());
    let name = new_name(view);
    status::set_condition(
        &mut status.conditions,
        ("Progressing", "False", "ReplicaSetCreateError"),
        &format!("Failed to create new replica set \"{name}\": {refusal}"),
        view.now(),
    );
    "Degraded".clone_into(&mut status.phase);
    status.message = format!("ReplicaSetCreateError: Failed to create new replica set \"{name}\": {refusal}");
    let mut plan = Plan::default();
    plan.because("ReplicaSetCreateError", refusal);
    let text = format!("Failed to create new replica set \"{name}\": {refusal}");
    if view.status.message != status.message {
        plan.events
            .push(event(view, EventKind::Warning, "ReplicaSetCreateError", text));
    }
    finish(view, plan, &status)
}

fn finish(view: &View<'_>, mut plan: Plan, status: &crate::api::rollout_status::RolloutStatus) -> Plan {
    let to_json = |status| serde_json::to_value(status).unwrap_or_default();
    let metadata = &view.snapshot.rollout.metadata;
    if let Some(patch) = merge_patch(&to_json(&view.status), &to_json(status)) {
        plan.status = StatusChange::Merge {
            target: rollout_ref(view),
            patch: json!({ "status": patch }),
            subresource: true,
            precondition: Precondition {
                uid: metadata.uid.clone(),
                resource_version: metadata.resource_version.clone(),
            },
        };
    }
    plan
}

type Events = Vec<(EventKind, &'static str, String)>;

fn write_objects(view: &View<'_>, decision: &mut Decision<'_>, plan: &mut Plan, events: &mut Events) {
    // What only adds or redirects goes first, what takes away second: if the first is refused, nothing is lost.
    let mut additions = metadata_writes(view);
    additions.append(&mut decision.routes);
    let (patches, switched) = services::patches(view, &decision.selectors);
    additions.extend(patches);
    // An aborted update needs only the stable side.
    if workload::can_create(view) && !decision.progress.abort && !view.name_is_taken() {
        additions.push(Action::Create {
            object: new_replica_set(view, decision.create_with),
        });
        if view.created_since().is_none() {
            created_events(view, decision.create_with, events);
        }
    }
    events.extend(
        switched
            .into_iter()
            .map(|text| (EventKind::Normal, "SwitchService", text)),
    );
    let mut removals = Vec::new();
    for sizing in decision.sizes.iter().filter(|sizing| belongs(view, sizing.set)) {
        let before = sizing.set.replicas();
        if before != sizing.replicas {
            let verb = if sizing.replicas > before { "up" } else { "down" };
            let text = scaled(
                verb,
                sizing.set.name(),
                revision_of(view, sizing.set),
                before,
                sizing.replicas,
            );
            events.push((EventKind::Normal, "ScalingReplicaSet", text));
        }
        if let Some(action) = resize(view, sizing) {
            if sizing.replicas < before {
                removals.push(action)
            } else {
                additions.push(action)
            }
        }
    }
    let (deletions, starts): (Vec<_>, Vec<_>) = std::mem::take(&mut decision.runs)
        .into_iter()
        .partition(|action| matches!(action, Action::Delete { .. }));
    additions.extend(starts);
    removals.extend(deletions);
    removals.extend(history(view));
    if ping_pong::may_release(view) {
        removals.extend(services::releases(view, &named_services(view)));
    }
    plan.stage(additions);
    plan.stage(removals);
}

fn named_services<'a>(view: &'a View<'_>) -> Vec<&'a str> {
    let strategy = &view.spec.strategy;
    let canary = strategy
        .canary
        .iter()
        .flat_map(|canary| [canary.stable_service.as_str(), canary.canary_service.as_str()]);
    let pairs = strategy.canary.iter().filter_map(|canary| canary.ping_pong.as_ref());
    let ping_pong_pair = pairs.flat_map(|names| [names.ping_service.as_str(), names.pong_service.as_str()]);
    let blue_green = strategy
        .blue_green
        .iter()
        .flat_map(|bg| [bg.active_service.as_str(), bg.preview_service.as_str()]);
    let weights = view.status.canary.as_ref().and_then(|canary| canary.weights.as_ref());
    let in_use = ping_pong::recorded(weights).map(|sides| [sides.stable, sides.canary]);
    canary
        .chain(ping_pong_pair)
        .chain(in_use.into_iter().flatten())
        .chain(blue_green)
        .filter(|name| !name.is_empty())
        .collect()
}

/// What is written into the Rollout beside its status: the revision, the generation of its workload, and the number of
/// replicas when the user gave none.
fn rollout_write(view: &View<'_>, number: &str) -> Option<Action> {
    let metadata = &view.snapshot.rollout.metadata;
    let annotated = metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(well_known::REVISION));
    let mut patch = Map::new();
    let mut annotations = Map::new();
    if annotated.is_none_or(|annotated| annotated != number) {
        annotations.insert(well_known::REVISION.to_owned(), Value::from(number));
    }
    if let Some(generation) = workload::annotation(view) {
        annotations.insert(well_known::WORKLOAD_GENERATION.to_owned(), Value::from(generation));
    }
    if !annotations.is_empty() {
        patch.insert("metadata".to_owned(), json!({ "annotations": annotations }));
    }
    if view.spec.replicas.is_none() {
        patch.insert("spec".to_owned(), json!({ "replicas": view.replicas }));
    }
    (!patch.is_empty()).then(|| Action::Merge {
        target: rollout_ref(view),
        patch: Value::Object(patch),
        manager: ROLLOUT_MANAGER,
        precondition: Some(Precondition {
            uid: metadata.uid.clone(),
            // The status that follows is bound to the same version (guarantee C3).
            resource_version: metadata.resource_version.clone(),
        }),
    })
}

/// Writes into the Rollout, adoption of ReplicaSets without owner, and the number of a revision that is used again.
fn metadata_writes(view: &View<'_>) -> Vec<Action> {
    let number = view.revisions.number.to_string();
    let mut writes = Vec::from_iter(rollout_write(view, &number));
    writes.extend(made_from::record(view));
    for set in view
        .revisions
        .all()
        .into_iter()
        .filter(|set| set.controller_uid().is_none())
    {
        let mut owners: Vec<Value> = set
            .metadata
            .owner_references
            .iter()
            .flatten()
            .filter_map(|owner| serde_json::to_value(owner).ok())
            .collect();
        owners.push(super::owner_reference(view));
        writes.push(merge_set(
            view,
            set,
            json!({ "metadata": { "ownerReferences": owners } }),
            true,
        ));
    }
    if let Some(set) = view
        .revisions
        .new
        .filter(|set| set.revision() != view.revisions.number && belongs(view, set))
    {
        let mut annotations = Map::new();
        annotations.insert(well_known::REVISION.to_owned(), Value::from(number));
        if let Some(history) = history_after_reuse(set) {
            annotations.insert(well_known::REVISION_HISTORY.to_owned(), Value::from(history));
        }
        writes.push(merge_set(
            view,
            set,
            json!({ "metadata": { "annotations": annotations } }),
            false,
        ));
    }
    writes.extend(view.revisions.new.and_then(|set| readiness(view, set)));
    writes.extend(rollback_window::record(view));
    writes.extend(metadata::writes(view));
    writes
}

/// `minReadySeconds` is no part of the pod template: a change makes no revision and counts for the pods that are there.
fn readiness(view: &View<'_>, set: &ReplicaSet) -> Option<Action> {
    let seconds = view.spec.min_ready_seconds;
    let differs = set.spec.min_ready_seconds != seconds && belongs(view, set);
    differs.then(|| merge_set(view, set, json!({ "spec": { "minReadySeconds": seconds } }), false))
}

fn merge_set(view: &View<'_>, set: &ReplicaSet, patch: Value, pinned: bool) -> Action {
    Action::Merge {
        target: set_ref(view, set),
        patch,
        manager: SCALE_MANAGER,
        precondition: Some(Precondition {
            uid: set.metadata.uid.clone(),
            resource_version: set.metadata.resource_version.clone().filter(|_| pinned),
        }),
    }
}

/// The write for a size or deadline that differs, always on the version it was decided on (guarantee C3): what keeps or
/// grows the size that was seen may shrink the size that is.
fn resize(view: &View<'_>, sizing: &Sizing<'_>) -> Option<Action> {
    let set = sizing.set;
    let desired = view.replicas.to_string();
    let sized =
        set.replicas() == sizing.replicas && set.annotation(well_known::DESIRED_REPLICAS) == Some(desired.as_str());
    // A ReplicaSet that stays at zero is not touched when only the Rollout's size changed.
    let idle = set.replicas() == 0 && sizing.replicas == 0;
    if (sized || idle) && sizing.deadline == Deadline::Keep {
        return None;
    }
    let mut annotations = Map::from_iter([(well_known::DESIRED_REPLICAS.to_owned(), Value::from(desired))]);
    if sizing.deadline == Deadline::Clear {
        annotations.insert(well_known::SCALE_DOWN_DEADLINE.to_owned(), Value::Null);
        let patch = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": sizing.replicas } });
        return Some(merge_set(view, set, patch, true));
    }
    let deadline = match sizing.deadline {
        Deadline::Set(at) => Some(rfc3339(at)),
        // What is not applied again goes: a ReplicaSet without pods waits for nothing.
        Deadline::Keep if sizing.replicas == 0 && set.replicas() > 0 => None,
        Deadline::Keep | Deadline::Clear => set.annotation(well_known::SCALE_DOWN_DEADLINE).map(str::to_owned),
    };
    if let Some(deadline) = deadline {
        annotations.insert(well_known::SCALE_DOWN_DEADLINE.to_owned(), Value::from(deadline));
    }
    Some(Action::Apply {
        target: set_ref(view, set),
        fields: json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": sizing.replicas } }),
        manager: SCALE_MANAGER,
        precondition: Some(Precondition {
            uid: set.metadata.uid.clone(),
            resource_version: set.metadata.resource_version.clone(),
        }),
    })
}

fn rfc3339(at: Timestamp) -> String {
    jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", at).unwrap_or_default()
}

/// The name of the ReplicaSet of the current pod template.
pub(crate) fn new_name(view: &View<'_>) -> String {
    view.new_name()
}

fn new_replica_set(view: &View<'_>, replicas: i32) -> Value {
    let hash = view.revisions.hash.as_str();
    let mut template = view.spec.template.clone().unwrap_or_default();
    let mut labels = template
        .at("/metadata/labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    labels.insert(well_known::POD_TEMPLATE_HASH.to_owned(), Value::from(hash));
    if let Some(whole) = template.as_object_mut() {
        let metadata = whole.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("labels".to_owned(), Value::Object(labels.clone()));
        }
    }
    let ephemeral = metadata::of_new_set(view, &mut template);
    let mut selector = serde_json::to_value(view.spec.selector.clone().unwrap_or_default()).unwrap_or_default();
    if let Some(selector) = selector.as_object_mut() {
        let match_labels = selector.entry("matchLabels").or_insert_with(|| json!({}));
        if let Some(match_labels) = match_labels.as_object_mut() {
            match_labels.insert(well_known::POD_TEMPLATE_HASH.to_owned(), Value::from(hash));
        }
    }
    let inherited = view.snapshot.rollout.metadata.annotations.iter().flatten();
    let mut annotations: Map<String, Value> = inherited
        .filter(|(key, _)| !NOT_INHERITED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    annotations.insert(
        well_known::REVISION.to_owned(),
        Value::from(view.revisions.number.to_string()),
    );
    annotations.insert(
        well_known::DESIRED_REPLICAS.to_owned(),
        Value::from(view.replicas.to_string()),
    );
    if let Some(user) = &view.spec.template {
        annotations.insert(
            well_known::MADE_FROM.to_owned(),
            Value::from(made_from::of_new_set(user)),
        );
    }
    annotations.extend(ephemeral.map(|record| (well_known::EPHEMERAL_METADATA.to_owned(), Value::from(record))));
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": new_name(view),
            "namespace": view.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [super::owner_reference(view)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": view.spec.min_ready_seconds,
            "selector": selector,
            "template": template,
        },
    })
}

fn created_events(view: &View<'_>, replicas: i32, events: &mut Events) {
    let number = view.revisions.number;
    let name = new_name(view);
    let mut add = |reason, text| events.push((EventKind::Normal, reason, text));
    if view.snapshot.rollout.status.is_none() {
        let text = format!(
            "Rollout resource added to informer: {}/{}",
            view.namespace(),
            view.name()
        );
        add("RolloutAddedToInformer", text);
    }
    add("RolloutUpdated", format!("Rollout updated to revision {number}"));
    add(
        "NewReplicaSetCreated",
        format!("Created ReplicaSet {name} (revision {number})"),
    );
    let text = format!(
        "Rollout not completed, started update to revision {number} ({})",
        view.revisions.hash
    );
    add("RolloutNotCompleted", text);
    if replicas > 0 {
        add("ScalingReplicaSet", scaled("up", &name, number, 0, replicas));
    }
}

fn scaled(verb: &str, name: &str, revision: i64, from: i32, to: i32) -> String {
    format!("Scaled {verb} ReplicaSet {name} (revision {revision}) from {from} to {to}")
}

fn revision_of(view: &View<'_>, set: &ReplicaSet) -> i64 {
    if view.revisions.new.is_some_and(|new| new.name() == set.name()) {
        view.revisions.number
    } else {
        set.revision()
    }
}

fn rollout_ref(view: &View<'_>) -> ObjectRef {
    ObjectRef::namespaced(crate::api::API_VERSION, "Rollout", view.namespace(), view.name())
}

fn set_ref(view: &View<'_>, set: &ReplicaSet) -> ObjectRef {
    ObjectRef::namespaced("apps/v1", "ReplicaSet", view.namespace(), set.name())
}

fn event(view: &View<'_>, kind: EventKind, reason: &str, message: String) -> EventRecord {
    EventRecord {
        about: rollout_ref(view),
        uid: view.snapshot.rollout.metadata.uid.clone(),
        kind,
        reason: reason.to_owned(),
        message,
    }
}
