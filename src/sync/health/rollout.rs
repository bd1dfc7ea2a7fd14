//! argoproj.io Rollout: its phase, once its status describes the present generation (reference, rollouts 2.3).

use super::{Code, Health, conditions};
use crate::{
    api::well_known::WORKLOAD_GENERATION,
    json::At as _,
    sync::resource::{annotation, number, text},
};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    if !is_observed(object) {
        return Health::new(Code::Progressing, "waiting for rollout spec update to be observed");
    }
    if conditions(object).any(|(kind, ..)| kind == "InvalidSpec") {
        return Health::new(Code::Degraded, text(object, "/status/message"));
    }
    if waits_to_unpause(object) {
        return Health::new(Code::Progressing, "waiting for rollout to unpause");
    }
    if let Some(workload) = annotation(object, WORKLOAD_GENERATION)
        && workload != text(object, "/status/workloadObservedGeneration")
    {
        return Health::new(
            Code::Progressing,
            "waiting for rollout spec update to be observed for the reference workload",
        );
    }
    let code = match text(object, "/status/phase") {
        "Healthy" => Code::Healthy,
        "Paused" => Code::Suspended,
        "Degraded" => Code::Degraded,
        "Progressing" | "" => Code::Progressing,
        _ => Code::Unknown,
    };
    Health::new(code, text(object, "/status/message"))
}

/// Whether the status describes the present generation. It is text; what is no number was written by a version that
/// stored a hash, and counts as observed.
fn is_observed(object: &Value) -> bool {
    let observed = match object.at("/status/observedGeneration") {
        None | Some(Value::Null) => return false,
        Some(Value::String(text)) if text.is_empty() => return false,
        Some(Value::String(text)) => text.parse().ok(),
        Some(other) => other.as_i64(),
    };
    observed.is_none_or(|observed: i64| observed >= number(object, "/metadata/generation").unwrap_or(0))
}

fn waits_to_unpause(object: &Value) -> bool {
    let pauses = object
        .at("/status/pauseConditions")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    object.at("/status/controllerPause") == Some(&Value::Bool(true)) && !pauses
}
