//! apps/v1 DaemonSet; never Degraded.

use super::{Code, Health, count, is_behind};
use crate::sync::resource::text;
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    if is_behind(object) {
        return Health::new(
            Code::Progressing,
            "Waiting for rollout to finish: observed daemon set generation less than desired generation",
        );
    }
    let name = text(object, "/metadata/name");
    let updated = count(object, "/status/updatedNumberScheduled");
    let desired = count(object, "/status/desiredNumberScheduled");
    let available = count(object, "/status/numberAvailable");
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::new(
            Code::Healthy,
            format!("daemon set {updated} out of {desired} new pods have been updated"),
        );
    }
    let waiting = |what: String| {
        Health::new(
            Code::Progressing,
            format!("Waiting for daemon set {name:?} rollout to finish: {what}"),
        )
    };
    if updated < desired {
        waiting(format!("{updated} out of {desired} new pods have been updated..."))
    } else if available < desired {
        waiting(format!("{available} of {desired} updated pods are available..."))
    } else {
        Code::Healthy.into()
    }
}
