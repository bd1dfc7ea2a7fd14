//! What of an update is let through: identity, endpoint, metadata, generation.

use super::{
    commit::{bump_generation, finalizers, is_deleting, metadata_of},
    faults::Verb,
    kinds::{Key, Kind},
    refusal::{Refused, bad_request, conflict, invalid, stale},
    state::{meta, uid_of},
};
use serde_json::Value;

/// The name, kind, uid and version an update names must be those of the object.
pub(super) fn check_identity(verb: Verb, key: &Key, old: &Value, new: &Value) -> Result<(), Refused> {
    let facts = key.kind.facts();
    if !new.is_object() {
        return Err(bad_request("the body must be an object"));
    }
    for (field, served) in [("apiVersion", facts.api_version), ("kind", facts.kind)] {
        let found = new.get(field).and_then(Value::as_str).unwrap_or_default();
        if !found.is_empty() && found != served {
            return Err(bad_request(format!(
                "the {field} in the data ({found}) does not match the expected {field} ({served})"
            )));
        }
    }
    let name = meta(new, "name");
    if !name.is_empty() && name != key.name {
        return Err(bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.name
        )));
    }
    let namespace = meta(new, "namespace");
    if !namespace.is_empty() && namespace != key.namespace {
        return Err(bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let (asked, found) = (uid_of(new), uid_of(old));
    let is_another = !asked.is_empty() && asked != found;
    if is_another && verb == Verb::Update {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}");
        return Err(conflict(key.kind, &key.name, &why));
    }
    let version = meta(new, "resourceVersion");
    if !version.is_empty() && version != meta(old, "resourceVersion") {
        return Err(stale(key.kind, &key.name));
    }
    if is_another {
        let message = format!("Invalid value: \"{asked}\": field is immutable");
        return Err(invalid(key, &[("metadata.uid", message)]));
    }
    if is_deleting(old) && finalizers(new).any(|new| !finalizers(old).any(|old| old == new)) {
        let message = "Forbidden: no new finalizers can be added if the object is being deleted";
        return Err(invalid(key, &[("metadata.finalizers", message.to_owned())]));
    }
    Ok(())
}

/// The part of a write its endpoint lets through.
pub(super) fn settled(kind: Kind, subresource: &str, old: &Value, mut new: Value) -> Value {
    let facts = kind.facts();
    match subresource {
        "status" => {
            let status = new.as_object_mut().and_then(|new| new.remove("status"));
            let managed = metadata_of(&mut new).and_then(|metadata| metadata.remove("managedFields"));
            let mut kept = old.clone();
            if let Some(object) = kept.as_object_mut() {
                match status.filter(|status| !status.is_null()) {
                    Some(status) => object.insert("status".to_owned(), status),
                    None => object.remove("status"),
                };
            }
            if let (Some(managed), Some(metadata)) = (managed, metadata_of(&mut kept)) {
                metadata.insert("managedFields".to_owned(), managed);
            }
            kept
        }
        _ => {
            if kind == Kind::Service {
                keep_address(old, &mut new);
            }
            if facts.has_status
                && let Some(object) = new.as_object_mut()
            {
                match old.get("status") {
                    Some(status) => object.insert("status".to_owned(), status.clone()),
                    None => object.remove("status"),
                };
            }
            new
        }
    }
}

/// An address once given stays when an update says nothing about it.
fn keep_address(old: &Value, new: &mut Value) {
    let (Some(before), Some(spec)) = (old.get("spec"), new.get_mut("spec").and_then(Value::as_object_mut)) else {
        return;
    };
    for field in ["clusterIP", "clusterIPs"] {
        if let (None, Some(value)) = (spec.get(field), before.get(field)) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

/// What clients cannot change.
pub(super) fn restore_metadata(old: &Value, new: &mut Value) {
    if let (Some(object), Some(before)) = (new.as_object_mut(), old.as_object()) {
        for field in ["apiVersion", "kind"] {
            if let Some(value) = before.get(field) {
                object.insert(field.to_owned(), value.clone());
            }
        }
    }
    let (Some(metadata), Some(before)) = (metadata_of(new), old.get("metadata").and_then(Value::as_object)) else {
        return;
    };
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match before.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    // Empty maps and lists are not kept.
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_hollow = match metadata.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if is_hollow {
            metadata.remove(field);
        }
    }
}

/// The generation counts changes of what the user asks for.
pub(super) fn raise_generation(kind: Kind, old: &Value, new: &mut Value) {
    let facts = kind.facts();
    if !facts.has_generation {
        return;
    }
    let is_asked = |field: &str| match field {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => !facts.has_status,
        _ => true,
    };
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        return;
    };
    let mut fields = before.keys().chain(after.keys()).filter(|field| is_asked(field));
    if fields.all(|field| before.get(field) == after.get(field)) {
        return;
    }
    bump_generation(new);
}
