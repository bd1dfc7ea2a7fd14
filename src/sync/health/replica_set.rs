//! apps/v1 ReplicaSet.

use super::{Code, Health, conditions, count, is_behind};
use crate::sync::resource::number;
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    if is_behind(object) {
        return Health::new(
            Code::Progressing,
            "Waiting for rollout to finish: observed replica set generation less than desired generation",
        );
    }
    if let Some((_, _, _, message)) =
        conditions(object).find(|(kind, status, _, _)| *kind == "ReplicaFailure" && *status == "True")
    {
        return Health::new(Code::Degraded, message);
    }
    let available = count(object, "/status/availableReplicas");
    match number(object, "/spec/replicas") {
        Some(wanted) if available < wanted => Health::new(
            Code::Progressing,
            format!("Waiting for rollout to finish: {available} out of {wanted} new replicas are available..."),
        ),
        _ => Code::Healthy.into(),
    }
}
