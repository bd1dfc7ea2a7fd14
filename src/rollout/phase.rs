//! Phase and message of a Rollout: the first row that matches (reference, rollouts 2.3).

use super::{decision::Decision, ping_pong, view::View};
use crate::api::rollout_status::RolloutStatus;

/// `(phase, message)` of a status whose other fields are final.
pub(crate) fn of(view: &View<'_>, decision: &Decision<'_>, status: &RolloutStatus) -> (String, String) {
    let (phase, message) = decide(view, decision, status);
    (phase.to_owned(), message)
}

/// What a promoted canary still has to do once this decision is carried out: lead its Services to the promoted pods, and
/// take the weight back. The original is `Healthy` in this moment; whoever waits for that means that it is over.
pub(crate) fn unsettled(view: &View<'_>, decision: &Decision<'_>) -> Option<String> {
    let canary = view.spec.strategy.canary.as_ref()?;
    let sides = ping_pong::sides(canary, &view.status);
    // The other ping-pong Service leads to older pods until it is used again, and gets no requests.
    let other = if canary.ping_pong.is_some() { "" } else { sides.canary };
    for (role, service) in [("stable", sides.stable), ("canary", other)] {
        let will = decision.selectors.iter().find(|(name, _)| name == service);
        let selects = will
            .map(|(_, hash)| hash.as_str())
            .or_else(|| view.selected_hash(service));
        if selects.is_some_and(|selects| selects != view.revisions.hash) {
            return Some(format!("{role} service cutover pending"));
        }
    }
    if decision.hands_over {
        return Some("requests move to other Services".to_owned());
    }
    if decision.leads_elsewhere {
        return Some("subset cutover pending".to_owned());
    }
    let weight = decision.weights.as_ref().map_or(0, |weights| weights.canary.weight.0);
    (weight > 0).then(|| "waiting for the canary weight to return to 0".to_owned())
}

fn decide(view: &View<'_>, decision: &Decision<'_>, status: &RolloutStatus) -> (&'static str, String) {
    if let Some(invalid) = status.condition("InvalidSpec") {
        return ("Degraded", format!("InvalidSpec: {}", invalid.message));
    }
    let bad = |reason: &str| matches!(reason, "RolloutAborted" | "ProgressDeadlineExceeded");
    if let Some(condition) = status.conditions.iter().find(|condition| bad(&condition.reason)) {
        return ("Degraded", format!("{}: {}", condition.reason, condition.message));
    }
    if view.spec.paused {
        return ("Paused", "manually paused".to_owned());
    }
    if let Some(pause) = status.pause_conditions.first() {
        return ("Paused", pause.reason.clone());
    }
    let progressing = |message: &str| ("Progressing", message.to_owned());
    if view.spec.restart_at.is_some() && view.spec.restart_at != status.restarted_at {
        return progressing("rollout is restarting");
    }
    if status.updated_replicas < view.replicas {
        return progressing("more replicas need to be updated");
    }
    if status.available_replicas < status.updated_replicas {
        return progressing("updated replicas are still becoming available");
    }
    let promoted = !status.stable_rs.is_empty() && status.stable_rs == status.current_pod_hash;
    if let Some(blue_green) = &view.spec.strategy.blue_green {
        let active = status
            .blue_green
            .as_ref()
            .map_or("", |status| status.active_selector.as_str());
        if active.is_empty() || active != status.current_pod_hash {
            return progressing("active service cutover pending");
        }
        if !promoted && blue_green.post_promotion_analysis.is_some() {
            return progressing("waiting for analysis to complete");
        }
        if !promoted {
            return progressing("waiting for post-promotion verification to complete");
        }
    }
    if let Some(canary) = &view.spec.strategy.canary {
        if canary.traffic_routing.is_none() && status.replicas > status.updated_replicas {
            return progressing("old replicas are pending termination");
        }
        if !promoted {
            return progressing("waiting for all steps to complete");
        }
        if let Some(message) = unsettled(view, decision) {
            return ("Progressing", message);
        }
    }
    ("Healthy", String::new())
}
