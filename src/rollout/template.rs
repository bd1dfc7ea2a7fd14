//! The meaning of a pod template: when two of them are equal, and a digest of that meaning (guarantee D5).
//!
//! A template is compared as raw JSON after dropping what the API server fills in by itself, so that a template and the
//! copy of it in a ReplicaSet are equal, whoever created that ReplicaSet. Nothing is decoded into types: a field that
//! is newer than this program counts like any other.

mod normal_form;

use super::anti_affinity;
use crate::{api::well_known, lang::hash};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Whether two pod templates ask for the same pods. The pod-template-hash label does not count.
pub(crate) fn same_meaning(left: &Value, right: &Value) -> bool {
    normal_form::of(left) == normal_form::of(right)
}

/// Whether two pod templates ask for the same pods of a server that knows the fields which this program's Kubernetes types
/// have, and no others. Tells less than `same_meaning`: what is unknown here may well be known to the server.
pub(crate) fn same_known_meaning(left: &Value, right: &Value) -> bool {
    let known = |template: &Value| {
        // Amounts are numbers or text; the types want text.
        let typed: PodTemplateSpec = serde_json::from_value(normal_form::of(template)).ok()?;
        Some(normal_form::of(&serde_json::to_value(typed).ok()?))
    };
    known(left).is_some_and(|left| known(right) == Some(left))
}

/// Characters of a digest, a hexadecimal digit each: enough that nobody can find another template of the same digest.
const DIGEST_CHARACTERS: usize = 32;

/// A digest of what is written in a pod template, defaults and unknown fields included, without what controllers put
/// into it. It is stored, so it must stay the same in every later version (guarantee D5): it does not follow the normal
/// form.
pub(crate) fn digest(template: &Value) -> String {
    let sum = Sha256::digest(canonical_json(&written(template)).as_bytes());
    let mut text = sum.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    text.truncate(DIGEST_CHARACTERS);
    text
}

/// A template without null members, the hash label and our anti-affinity, and without the maps that may be left empty
/// where something was injected and taken out again.
fn written(template: &Value) -> Value {
    let mut template = template.clone();
    drop_nulls(&mut template);
    let Some(whole) = template.as_object_mut() else {
        return template;
    };
    if let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(well_known::POD_TEMPLATE_HASH);
        }
        drop_empty(metadata, "labels");
        drop_empty(metadata, "annotations");
    }
    drop_empty(whole, "metadata");
    if let Some(spec) = whole.get_mut("spec").and_then(Value::as_object_mut) {
        anti_affinity::strip(spec);
        if let Some(affinity) = spec.get_mut("affinity").and_then(Value::as_object_mut) {
            drop_empty(affinity, "podAntiAffinity");
        }
        drop_empty(spec, "affinity");
    }
    template
}

fn drop_empty(map: &mut Map<String, Value>, key: &str) {
    if map.get(key).is_some_and(normal_form::is_empty) {
        map.remove(key);
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The pod-template-hash of a new revision. Never used to find an existing ReplicaSet when its label or its template
/// already says which revision it is.
pub(crate) fn hash(template: &Value, collision_count: Option<i32>) -> String {
    let mut text = canonical_json(&normal_form::of(template));
    if let Some(count) = collision_count {
        text.push_str(&count.to_string());
    }
    hash::short(text.as_bytes())
}

/// The hash of `canary.steps`, equal to the original's (reference, rollouts 2.2).
pub(crate) fn steps_hash(steps_json: &str) -> String {
    let escaped = steps_json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    hash::short(escaped.as_bytes())
}

/// JSON with sorted keys, whatever map order `serde_json` was built with.
fn canonical_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let members: Vec<String> = keys
                .into_iter()
                .filter_map(|key| {
                    map.get(key)
                        .map(|value| format!("{}:{}", Value::from(key.as_str()), canonical_json(value)))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical_json).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests;
