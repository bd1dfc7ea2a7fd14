//! apps/v1 Deployment.

use super::{Code, Health, conditions, count, is_behind};
use crate::json::At as _;
use crate::sync::resource::{number, text};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    if object.at("/spec/paused") == Some(&Value::Bool(true)) {
        return Health::new(Code::Suspended, "Deployment is paused");
    }
    if is_behind(object) {
        return Health::new(
            Code::Progressing,
            "Waiting for rollout to finish: observed deployment generation less than desired generation",
        );
    }
    if conditions(object).any(|(kind, _, reason, _)| kind == "Progressing" && reason == "ProgressDeadlineExceeded") {
        let name = text(object, "/metadata/name");
        return Health::new(
            Code::Degraded,
            format!("Deployment {name:?} exceeded its progress deadline"),
        );
    }
    let updated = count(object, "/status/updatedReplicas");
    let replicas = count(object, "/status/replicas");
    let available = count(object, "/status/availableReplicas");
    let waiting = |what: String| Health::new(Code::Progressing, format!("Waiting for rollout to finish: {what}"));
    match number(object, "/spec/replicas") {
        Some(wanted) if updated < wanted => {
            waiting(format!("{updated} out of {wanted} new replicas have been updated..."))
        }
        _ if replicas > updated => waiting(format!(
            "{} old replicas are pending termination...",
            replicas - updated
        )),
        _ if available < updated => waiting(format!("{available} of {updated} updated replicas are available...")),
        _ => Code::Healthy.into(),
    }
}
