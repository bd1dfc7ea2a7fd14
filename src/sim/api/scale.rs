//! The scale subresource.

use super::{
    commit::{By, Inner, Ownership, metadata_of},
    kinds::Key,
    refusal::{Refused, invalid, not_found},
    state::{meta, uid_of},
    stored::Stored,
};
use crate::json::At as _;
use serde_json::{Value, json};
use std::sync::Arc;

impl Inner {
    /// The scale subresource as it is read.
    pub(super) fn scale_of(&self, key: &Key) -> Result<Value, Refused> {
        let stored = self.existing(key)?;
        self.serves(key, "scale")?;
        let Some(scale) = key.kind.facts().scale else {
            return Err(not_found(key.kind, &key.name));
        };
        let object = &*stored.value;
        let number = |pointer: &str| object.at(pointer).and_then(Value::as_i64).unwrap_or_default();
        let selector = match object.at(scale.selector) {
            Some(Value::String(text)) => text.clone(),
            Some(selector) => selector_text(selector),
            None => String::new(),
        };
        let mut status = json!({"replicas": number(scale.status_replicas)});
        if !selector.is_empty()
            && let Some(status) = status.as_object_mut()
        {
            status.insert("selector".to_owned(), json!(selector));
        }
        let mut metadata = json!({"name": key.name, "uid": uid_of(object), "resourceVersion": meta(object, "resourceVersion"),
            "creationTimestamp": meta(object, "creationTimestamp")});
        if !key.namespace.is_empty()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.insert("namespace".to_owned(), json!(key.namespace));
        }
        let spec = match object.at(scale.spec_replicas) {
            Some(replicas) => json!({"replicas": replicas}),
            None => json!({}),
        };
        Ok(
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}),
        )
    }

    /// Takes over the replicas of a scale object, whose version, when given, must be the present one.
    pub(super) fn update_scale(&mut self, by: &By, key: &Key, scale: &Value) -> Result<Arc<Stored>, Refused> {
        let before = self.existing(key)?;
        self.serves(key, "scale")?;
        let replicas = scale.at("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
        if replicas < 0 {
            let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
            return Err(invalid(key, &[("spec.replicas", message)]));
        }
        let mut object = Value::clone(&before.value);
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("replicas".to_owned(), json!(replicas));
        }
        if let Some(metadata) = metadata_of(&mut object) {
            for field in ["uid", "resourceVersion"] {
                let asked = meta(scale, field);
                if !asked.is_empty() {
                    metadata.insert(field.to_owned(), json!(asked));
                }
            }
        }
        self.finish(by, key, &before, object, Ownership::Changed)
    }
}

/// A `LabelSelector` as a text.
pub(super) fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    for (label, value) in labels.into_iter().flatten() {
        parts.push(format!("{label}={}", value.as_str().unwrap_or_default()));
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match expression.get("operator").and_then(Value::as_str) {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}
