//! apps/v1 StatefulSet; never Degraded.

use super::{Code, Health, count, is_behind};
use crate::json::At as _;
use crate::sync::resource::{number, text};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    if count(object, "/status/observedGeneration") == 0 || is_behind(object) {
        return Health::new(
            Code::Progressing,
            "Waiting for statefulset spec update to be observed...",
        );
    }
    let ready = count(object, "/status/readyReplicas");
    let updated = count(object, "/status/updatedReplicas");
    if let Some(wanted) = number(object, "/spec/replicas").filter(|wanted| ready < *wanted) {
        return Health::new(
            Code::Progressing,
            format!("Waiting for {} pods to be ready...", wanted - ready),
        );
    }
    let strategy = text(object, "/spec/updateStrategy/type");
    if strategy == "RollingUpdate"
        && let Some(rolling) = object
            .at("/spec/updateStrategy/rollingUpdate")
            .filter(|rolling| !rolling.is_null())
    {
        let partition = number(rolling, "/partition").unwrap_or(0);
        let wanted = count(object, "/spec/replicas") - partition;
        return if updated < wanted {
            let message = format!(
                "Waiting for partitioned roll out to finish: {updated} out of {wanted} new pods have been updated..."
            );
            Health::new(Code::Progressing, message)
        } else {
            Health::new(
                Code::Healthy,
                format!("partitioned roll out complete: {updated} new pods have been updated..."),
            )
        };
    }
    if strategy == "OnDelete" {
        return Health::new(Code::Healthy, format!("statefulset has {ready} ready pods"));
    }
    let update_revision = text(object, "/status/updateRevision");
    let current_revision = text(object, "/status/currentRevision");
    if update_revision != current_revision {
        return Health::new(
            Code::Progressing,
            format!(
                "waiting for statefulset rolling update to complete {updated} pods at revision {update_revision}..."
            ),
        );
    }
    let current = count(object, "/status/currentReplicas");
    Health::new(
        Code::Healthy,
        format!("statefulset rolling update complete {current} pods at revision {current_revision}..."),
    )
}
