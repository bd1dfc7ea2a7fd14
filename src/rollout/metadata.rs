//! Metadata that pods have because of the role of their version: `canaryMetadata`, `stableMetadata`, `previewMetadata`
//! and `activeMetadata` (reference, rollouts 3.6).
//!
//! The pod template of the ReplicaSet comes first, so that new pods are born with it; then the pods that are there get
//! just the keys that changed. The ReplicaSet's annotation remembers which keys these are until a list of its pods shows
//! none that differs: a crash forgets nothing (guarantee C4), and at rest nobody lists pods.

use super::{
    anti_affinity,
    decision::Decision,
    injected::{PARTS, Part, Record, field, set_field},
    retire::belongs,
    snapshot::Pods,
    view::{View, later},
};
use crate::{
    api::{replica_set::ReplicaSet, strategy::PodTemplateMetadata, well_known},
    plan::{Action, ObjectRef, PodWrite, Precondition, merge_patch},
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Field manager of what is injected into ReplicaSets.
const MANAGER: &str = "tidegate-metadata";
/// Pods patched in one pass, so that a large ReplicaSet does not hold up everything else.
const PATCHED_AT_ONCE_MAX: usize = 200;
/// Seconds until the pods are looked at again after some were patched.
const CHECK_SECONDS: i64 = 10;

/// What a version is during an update.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// Stable or active, or about to be the first such.
    Lasting,
    /// Canary or preview.
    Passing,
}

fn role(view: &View<'_>, hash: &str) -> Option<Role> {
    let is_new = hash == view.revisions.hash;
    let is_stable = !hash.is_empty() && hash == view.status.stable_rs;
    if is_stable || (is_new && view.is_initial()) {
        return Some(Role::Lasting);
    }
    is_new.then_some(Role::Passing)
}

/// The metadata of a role.
fn of_role<'a>(view: &View<'a>, role: Option<Role>) -> Option<&'a PodTemplateMetadata> {
    let strategy = &view.spec.strategy;
    let (lasting, passing) = match (&strategy.canary, &strategy.blue_green) {
        (Some(canary), _) => (&canary.stable_metadata, &canary.canary_metadata),
        (None, Some(blue_green)) => (&blue_green.active_metadata, &blue_green.preview_metadata),
        (None, None) => return None,
    };
    match role? {
        Role::Lasting => lasting.as_ref(),
        Role::Passing => passing.as_ref(),
    }
}

fn fields(metadata: &PodTemplateMetadata, part: Part) -> &BTreeMap<String, String> {
    match part {
        Part::Labels => &metadata.labels,
        Part::Annotations => &metadata.annotations,
    }
}

/// The pod template of a ReplicaSet of this hash with what its role asks for, and the record of it. `user` is the pod
/// template of the Rollout where the ReplicaSet is of that.
fn injected(
    view: &View<'_>,
    hash: &str,
    (mut template, mut record): (Value, Record),
    user: Option<&Value>,
) -> (Value, Record) {
    let wanted = of_role(view, role(view, hash));
    let none = BTreeMap::new();
    for part in PARTS {
        let wanted = wanted.map_or(&none, |metadata| fields(metadata, part));
        let before = std::mem::take(record.injected_mut(part));
        let covered = record.covered.get_mut(part);
        let mut touched = Vec::new();
        for key in before.keys().filter(|key| !wanted.contains_key(*key)) {
            let covered = covered.remove(key);
            let original = covered.as_deref().or_else(|| field(user?, part, key));
            set_field(&mut template, part, key, original);
            touched.push(key.clone());
        }
        for (key, value) in wanted {
            let there = field(&template, part, key).map(str::to_owned);
            if there.as_ref() != Some(value) {
                set_field(&mut template, part, key, Some(value));
                touched.push(key.clone());
            }
            if let Some(there) = there.filter(|_| !before.contains_key(key)) {
                covered.insert(key.clone(), there);
            }
        }
        record.pending.get_mut(part).extend(touched);
        record.injected_mut(part).clone_from(wanted);
    }
    (template, record)
}

/// Completes the pod template of a ReplicaSet that is to be created; returns the annotation to go with it.
pub(crate) fn of_new_set(view: &View<'_>, template: &mut Value) -> Option<String> {
    let bare = (std::mem::take(template), Record::default());
    let (full, mut record) = injected(view, &view.revisions.hash, bare, None);
    *template = full;
    anti_affinity::settle_new(view, template);
    // There are no pods of before.
    record.pending = Default::default();
    record.text()
}

/// Writes to the pod templates of ReplicaSets whose role asks for something else than they have.
pub(crate) fn writes(view: &View<'_>) -> Vec<Action> {
    let sets = view.revisions.all().into_iter().filter(|set| belongs(view, set));
    sets.filter_map(|set| write(view, set)).collect()
}

fn write(view: &View<'_>, set: &ReplicaSet) -> Option<Action> {
    let is = |role: Option<&ReplicaSet>| role.is_some_and(|role| role.name() == set.name());
    let user = view.spec.template.as_ref().filter(|_| is(view.revisions.new));
    let before = Record::of(set);
    let (mut template, mut record) = injected(view, set.pod_hash(), (set.spec.template.clone(), before.clone()), user);
    let updates = !view.is_initial() && !view.is_promoted();
    if updates && is(view.revisions.new) {
        anti_affinity::settle_new(view, &mut template);
    } else if updates && is(view.revisions.stable) {
        anti_affinity::settle_stable(&mut template);
    }
    let change = merge_patch(&set.spec.template, &template);
    if !has_pods(set) || (change.is_none() && follows(view, set, &record)) {
        record.pending = Default::default();
    }
    if change.is_none() && record == before {
        return None;
    }
    let mut patch = Map::new();
    if record != before {
        let annotations = json!({ well_known::EPHEMERAL_METADATA: record.text() });
        patch.insert("metadata".to_owned(), json!({ "annotations": annotations }));
    }
    if let Some(change) = change {
        patch.insert("spec".to_owned(), json!({ "template": change }));
    }
    Some(Action::Merge {
        target: ObjectRef::namespaced("apps/v1", "ReplicaSet", view.namespace(), set.name()),
        patch: Value::Object(patch),
        manager: MANAGER,
        precondition: Some(Precondition {
            uid: set.metadata.uid.clone(),
            resource_version: set.metadata.resource_version.clone(),
        }),
    })
}

/// Whether every pod of a ReplicaSet is known to have what its template says.
fn follows(view: &View<'_>, set: &ReplicaSet, record: &Record) -> bool {
    let Pods::Listed(pods) = view.snapshot.pods else {
        return false;
    };
    is_caught_up(set) && pods_of(set, pods).all(|pod| difference(set, record, pod).is_none())
}

fn has_pods(set: &ReplicaSet) -> bool {
    set.replicas() > 0 || set.status.replicas > 0
}

/// Whether the ReplicaSet controller makes pods of the template as it is seen here: one it made of an older template
/// would be missing in a list.
fn is_caught_up(set: &ReplicaSet) -> bool {
    set.status.observed_generation >= set.metadata.generation.unwrap_or(0)
}

/// Whether a list of pods is needed to bring the metadata of this ReplicaSet's pods to its end.
pub(crate) fn needs_pods(set: &ReplicaSet) -> bool {
    has_pods(set) && is_caught_up(set) && Record::of(set).is_pending()
}

/// Pods of a ReplicaSet that are to stay.
pub(crate) fn pods_of<'p>(set: &ReplicaSet, pods: &'p [Pod]) -> impl Iterator<Item = &'p Pod> {
    let uid = set.metadata.uid.clone();
    pods.iter().filter(move |pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        pod.metadata.deletion_timestamp.is_none() && controllers.any(|owner| Some(&owner.uid) == uid.as_ref())
    })
}

/// The patch that gives a pod the keys in question as the template has them.
fn difference(set: &ReplicaSet, record: &Record, pod: &Pod) -> Option<Value> {
    let mut metadata = Map::new();
    for part in PARTS {
        let there = match part {
            Part::Labels => pod.metadata.labels.as_ref(),
            Part::Annotations => pod.metadata.annotations.as_ref(),
        };
        let mut changes = Map::new();
        for key in record.pending.get(part) {
            let wanted = field(&set.spec.template, part, key);
            let found = there.and_then(|there| there.get(key)).map(String::as_str);
            if wanted != found {
                changes.insert(key.clone(), wanted.map_or(Value::Null, Value::from));
            }
        }
        if !changes.is_empty() {
            metadata.insert(part.name().to_owned(), Value::Object(changes));
        }
    }
    (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
}

/// Brings the pods that are there to what the templates of their ReplicaSets say.
pub(crate) fn patch_pods(view: &View<'_>, decision: &mut Decision<'_>) {
    let sets = view.revisions.all().into_iter().filter(|set| belongs(view, set));
    let mut sets = sets.filter(|set| needs_pods(set)).peekable();
    let pods = match view.snapshot.pods {
        Pods::Listed(pods) => pods,
        Pods::Unlisted => return,
        Pods::Unlistable(_) => {
            // Nothing that is watched will say when they can be listed again.
            let check = sets.peek().map(|_| later(view.now(), CHECK_SECONDS));
            decision.wakes.extend(check);
            return;
        }
    };
    let mut patches = Vec::new();
    for set in sets {
        let record = Record::of(set);
        patches.extend(pods_of(set, pods).filter_map(|pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            Some(PodWrite::Patch {
                target: ObjectRef::namespaced("v1", "Pod", view.namespace(), name),
                uid: pod.metadata.uid.clone()?,
                patch: difference(set, &record, pod)?,
            })
        }));
    }
    if patches.is_empty() {
        return;
    }
    patches.truncate(PATCHED_AT_ONCE_MAX);
    decision.pods.extend(patches);
    decision.wakes.push(later(view.now(), CHECK_SECONDS));
}
