//! Brings objects into the form in which they are compared and applied: without what only the API server writes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// Metadata that only the API server writes.
const SERVER_METADATA: &[&str] = &[
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The comparable form of a rendered object; also the form in which it is applied.
///
/// Nulls mean "absent"; `status` belongs to controllers (`ignoreResourceStatusField: all`); `stringData` of a Secret
/// becomes `data`; the rules of an aggregated ClusterRole belong to the aggregation.
pub fn target(object: &Value) -> Value {
    let mut object = live(object);
    drop_nulls(&mut object);
    match (
        object.get("apiVersion").and_then(Value::as_str),
        object.get("kind").and_then(Value::as_str),
    ) {
        (Some("v1"), Some("Secret")) => secret(&mut object),
        (Some("rbac.authorization.k8s.io/v1"), Some("ClusterRole")) => aggregated(&mut object),
        _ => {}
    }
    object
}

/// The comparable form of a live object.
pub fn live(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in SERVER_METADATA {
                metadata.remove(*field);
            }
        }
    }
    object
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn secret(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(plain)) = map.remove("stringData") else {
        return;
    };
    let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if let Some(data) = data.as_object_mut() {
        for (key, value) in plain {
            // The API server refuses anything but text here; keep it as it is, so that it says so.
            let encoded = value
                .as_str()
                .map_or(value.clone(), |text| Value::String(STANDARD.encode(text)));
            data.insert(key, encoded);
        }
    }
}

fn aggregated(object: &mut Value) {
    if let Some(map) = object.as_object_mut().filter(|map| map.contains_key("aggregationRule")) {
        map.remove("rules");
    }
}
