//! What routers write: edits bound to the version they were decided on. And whose an object is, and what share of
//! requests two weights make.

use super::foreign::{Foreign, ForeignKind};
use crate::{
    api::{rollout::Rollout, well_known},
    plan::{Action, ObjectRef, Precondition, Propagation},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::fmt::Display;

/// Field manager of the weights.
pub(super) const MANAGER: &str = "tidegate-traffic";
/// A larger weight is taken for this one, so that sums stay in range.
const WEIGHT_MAX: i64 = 1_000_000_000;

/// The object of this kind and name.
pub(super) fn find<'a>(objects: &[Foreign<'a>], kind: ForeignKind, namespace: &str, name: &str) -> Option<Foreign<'a>> {
    let mut objects = objects.iter().copied();
    objects.find(|object| object.kind == kind && object.name() == name && object.namespace() == namespace)
}

/// That an object is not there, for people.
pub(super) fn not_found(kind: ForeignKind, namespace: &str, name: &str) -> String {
    format!("{kind} \"{name}\" in namespace \"{namespace}\" not found")
}

/// A merge patch. Lists are written whole: what somebody else changed in them since must not be lost.
pub(super) fn merge(live: &Foreign<'_>, patch: Value) -> Action {
    Action::Merge {
        target: target(live),
        patch,
        manager: MANAGER,
        precondition: Some(version(&live.object.metadata)),
    }
}

/// The end of an object of our own.
pub(super) fn remove(live: &Foreign<'_>) -> Action {
    Action::Delete {
        target: target(live),
        precondition: version(&live.object.metadata),
        propagation: Propagation::Background,
    }
}

fn target(live: &Foreign<'_>) -> ObjectRef {
    ObjectRef::namespaced(live.api_version(), live.kind.kind(), live.namespace(), live.name())
}

/// The identity and version an object was read in.
pub(super) fn version(metadata: &ObjectMeta) -> Precondition {
    Precondition {
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
    }
}

/// The name of a Rollout.
pub(super) fn name(rollout: &Rollout) -> &str {
    rollout.metadata.name.as_deref().unwrap_or_default()
}

/// The namespace of a Rollout.
pub(super) fn namespace(rollout: &Rollout) -> &str {
    rollout.metadata.namespace.as_deref().unwrap_or_default()
}

/// The owner reference of what a Rollout controls (reference, rollouts 3.3).
pub(super) fn owner(rollout: &Rollout) -> Value {
    json!({
        "apiVersion": crate::api::API_VERSION, "kind": "Rollout",
        "name": rollout.metadata.name, "uid": rollout.metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether a Rollout controls an object.
pub(super) fn controlled_by(metadata: &ObjectMeta, rollout: &Rollout) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners
        .filter(|owner| owner.controller == Some(true))
        .any(|owner| Some(&owner.uid) == rollout.metadata.uid.as_ref())
}

/// That an object of the name we need is somebody else's; `what` says what the object would be.
pub(super) fn not_ours(what: &dyn Display, metadata: &ObjectMeta) -> String {
    let name = metadata.name.as_deref().unwrap_or_default();
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    let owner = owner.map_or_else(|| "nobody".to_owned(), |owner| format!("{} {}", owner.kind, owner.name));
    format!("{what} `{name}` controlled by different object ({owner})")
}

/// That an object whose pods a Rollout chooses is not managed by another one.
pub(super) fn unmanaged_or(live: &Foreign<'_>, rollout: &str) -> Result<(), String> {
    let annotations = live.object.metadata.annotations.as_ref();
    let owner = annotations.and_then(|all| all.get(well_known::MANAGED_BY_ROLLOUT));
    match owner.filter(|owner| *owner != rollout) {
        Some(owner) => Err(format!(
            "{} \"{}\" is managed by another Rollout ({owner})",
            live.kind,
            live.name()
        )),
        None => Ok(()),
    }
}

/// The names of a Rollout's managed routes, in their order.
pub(super) fn managed_names(rollout: &Rollout) -> impl Iterator<Item = &str> {
    let canary = rollout.spec.strategy.canary.as_ref();
    let routing = canary.and_then(|canary| canary.traffic_routing.as_ref());
    let managed = routing.into_iter().flat_map(|routing| &routing.managed_routes);
    managed.map(|managed| managed.name.as_str())
}

/// The canary's share of two weights, out of `total`. Rounded up, so that a share is never taken for none.
pub(super) fn share(canary: i64, stable: i64, total: i32) -> i32 {
    let (canary, stable) = (canary.clamp(0, WEIGHT_MAX), stable.clamp(0, WEIGHT_MAX));
    let total = i64::from(total);
    let share = if canary == 0 || canary + stable == total {
        canary
    } else {
        (canary * total + canary + stable - 1) / (canary + stable)
    };
    i32::try_from(share).unwrap_or(i32::MAX)
}

/// Whether an object has every desired field; what the API server filled in beside them does not count.
pub(super) fn carries(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired
            .iter()
            .all(|(key, desired)| live.get(key).is_some_and(|live| carries(live, desired))),
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len() && live.iter().zip(desired).all(|(live, desired)| carries(live, desired))
        }
        _ => live == desired,
    }
}

/// What brings the `spec` of an object that we own whole to the desired one; `None` when it is there. Fields that the
/// API server fills in stay, fields of the specification that are desired no more go.
pub(super) fn spec_patch(live: &Foreign<'_>, desired: &Value) -> Option<Value> {
    let spec = live.spec().unwrap_or(&Value::Null);
    let forgotten = |(key, value): (&String, &Value)| desired.get(key).is_none() && !value.is_null();
    let more = spec.as_object().is_some_and(|spec| spec.iter().any(forgotten));
    if carries(spec, desired) && !more {
        return None;
    }
    crate::plan::merge_patch(spec, desired)
}
