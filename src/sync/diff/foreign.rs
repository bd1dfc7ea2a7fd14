//! Fields in which somebody else has the last word although the target or the API server would overwrite them
//! (guarantee S6): replicas under an autoscaler, the pod hash in Service selectors, ignored fields that are to be
//! respected. The live value is copied into what we apply, and the write is guarded by the version it was read at.

use super::{ignore::IgnoreRules, managed, normalize};
use crate::{api::well_known::POD_TEMPLATE_HASH, json::At as _, sync::resource::text};
use serde_json::Value;

/// What is applied for one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The body, in comparable form.
    pub body: Value,
    /// Whether it holds values copied from the live object, so that the write must name the version they were read at.
    pub has_live_values: bool,
}

/// Prepares a target for comparison and apply. `autoscaled`: an autoscaler of the same application points at it.
pub fn prepare(target: &Value, live: Option<&Value>, autoscaled: bool, respected: Option<&IgnoreRules>) -> Prepared {
    let mut body = normalize::target(target);
    let Some(live) = live else {
        return Prepared {
            body,
            has_live_values: false,
        };
    };
    let mut copied = false;
    if body.at("/spec/replicas").is_some()
        && (autoscaled || managed::scaled_by_autoscaler(live))
        && let Some(replicas) = live.at("/spec/replicas")
    {
        copied |= put(&mut body, "/spec/replicas", replicas);
    }
    if text(&body, "/kind") == "Service"
        && let Some(Value::Object(wanted)) = body.at("/spec/selector")
        && !wanted.contains_key(POD_TEMPLATE_HASH)
        && let Some(hash) = live
            .at("/spec/selector")
            .and_then(|selector| selector.get(POD_TEMPLATE_HASH))
    {
        // The API server replaces selectors as a whole, so leaving the hash out would remove it (guarantee T7).
        copied |= put(&mut body, &format!("/spec/selector/{POD_TEMPLATE_HASH}"), hash);
    }
    if let Some(rules) = respected {
        for pointer in rules.pointers() {
            if pointer.starts_with("/status") {
                continue;
            }
            if let (Some(_), Some(value)) = (body.at(pointer), live.at(pointer)) {
                copied |= put(&mut body, pointer, &value.clone());
            }
        }
    }
    Prepared {
        body,
        has_live_values: copied,
    }
}

/// Sets a value at a pointer whose parent is an object; true when it changed something or was already equal.
fn put(body: &mut Value, pointer: &str, value: &Value) -> bool {
    let Some((parent, field)) = pointer.rsplit_once('/') else {
        return false;
    };
    let field = field.replace("~1", "/").replace("~0", "~");
    match body.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(field, value.clone());
            true
        }
        Some(Value::Array(items)) => match field.parse().ok().and_then(|index: usize| items.get_mut(index)) {
            Some(item) => {
                *item = value.clone();
                true
            }
            None => false,
        },
        _ => false,
    }
}

/// The objects that HorizontalPodAutoscalers among the targets scale, as `(kind, namespace, name)`.
pub fn autoscaled(targets: &[&Value]) -> Vec<(String, String, String)> {
    targets
        .iter()
        .filter(|object| text(object, "/kind") == "HorizontalPodAutoscaler" || text(object, "/kind") == "ScaledObject")
        .map(|object| {
            let kind = text(object, "/spec/scaleTargetRef/kind");
            (
                if kind.is_empty() { "Deployment" } else { kind }.to_owned(),
                text(object, "/metadata/namespace").to_owned(),
                text(object, "/spec/scaleTargetRef/name").to_owned(),
            )
        })
        .collect()
}
