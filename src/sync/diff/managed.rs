//! What we wrote before: our entry in `metadata.managedFields`, and the annotation older tools left.

use crate::api::well_known::{LAST_APPLIED, SYNC_MANAGER};
use crate::json::At as _;
use serde_json::{Map, Value};

/// Manager of `kubectl apply` without `--server-side`.
const KUBECTL_CLIENT_SIDE: &str = "kubectl-client-side-apply";

/// The fields we own by server-side apply, as a `fieldsV1` tree; empty when we never applied the object.
pub fn owned_by_us(live: &Value) -> Value {
    entries(live)
        .filter(|entry| {
            is(entry, "manager", SYNC_MANAGER) && is(entry, "operation", "Apply") && !has_subresource(entry)
        })
        .filter_map(|entry| entry.get("fieldsV1"))
        .next()
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()))
}

/// The object as `kubectl apply` or a client-side sync last wrote it. Counts only until we have applied it ourselves:
/// from then on nobody keeps the annotation up to date.
pub fn last_applied(live: &Value) -> Option<Value> {
    let applied_by_us =
        entries(live).any(|entry| is(entry, "manager", SYNC_MANAGER) && is(entry, "operation", "Apply"));
    if applied_by_us {
        return None;
    }
    let text = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    serde_json::from_str(text).ok()
}

/// Whether the replica count is set through the `scale` subresource by something other than a person with kubectl,
/// that is: by an autoscaler.
pub fn scaled_by_autoscaler(live: &Value) -> bool {
    entries(live).any(|entry| {
        is(entry, "subresource", "scale")
            && !entry
                .get("manager")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .starts_with("kubectl")
            && entry.at("/fieldsV1/f:spec/f:replicas").is_some()
    })
}

/// Ownership by client-side apply moved to our server-side apply, so that a field removed from the source is removed
/// from the object. `None` when there is nothing to move. `named` is a further manager to take over from (annotation
/// `argocd.argoproj.io/client-side-apply-migration-manager`).
pub fn migrated(live: &Value, named: Option<&str>) -> Option<Vec<Value>> {
    let from = |entry: &Value| {
        let manager = entry.get("manager").and_then(Value::as_str).unwrap_or_default();
        !has_subresource(entry)
            && is(entry, "operation", "Update")
            && (manager == KUBECTL_CLIENT_SIDE || manager == SYNC_MANAGER || named == Some(manager))
    };
    if !entries(live).any(from) {
        return None;
    }
    let mut merged = owned_by_us(live);
    let mut kept = Vec::new();
    let mut template = None;
    for entry in entries(live) {
        if from(entry) {
            if let Some(fields) = entry.get("fieldsV1") {
                union(&mut merged, fields);
            }
            template.get_or_insert_with(|| entry.clone());
        } else if is(entry, "manager", SYNC_MANAGER) && is(entry, "operation", "Apply") && !has_subresource(entry) {
            template = Some(entry.clone());
        } else {
            kept.push(entry.clone());
        }
    }
    let mut ours = template?;
    let map = ours.as_object_mut()?;
    // The old tool's annotation is not part of any target; nobody needs to own it.
    if let Some(annotations) = merged
        .pointer_mut("/f:metadata/f:annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(&format!("f:{LAST_APPLIED}"));
    }
    map.insert("manager".into(), SYNC_MANAGER.into());
    map.insert("operation".into(), "Apply".into());
    map.insert("fieldsV1".into(), merged);
    kept.push(ours);
    Some(kept)
}

fn union(into: &mut Value, from: &Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        for (key, value) in from {
            union(
                into.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())),
                value,
            );
        }
    }
}

fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    live.at("/metadata/managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn is(entry: &Value, field: &str, value: &str) -> bool {
    entry.get(field).and_then(Value::as_str) == Some(value)
}

fn has_subresource(entry: &Value) -> bool {
    entry
        .get("subresource")
        .and_then(Value::as_str)
        .is_some_and(|subresource| !subresource.is_empty())
}
