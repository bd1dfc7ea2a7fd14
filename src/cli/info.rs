//! What clients show about a Rollout: phase, step and weights (reference, rollouts 2.3 and 8). Pure.

use serde_json::{Value, json};

use crate::api::{replica_set::ReplicaSet, rollout::Rollout, rollout_status::RolloutStatus, well_known};

use super::output::Format;
use super::style::{Icon, clean};
use super::{list, tree};

/// `Healthy`, `Progressing`, `Paused` or `Degraded`, and what that means here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Phase {
    /// The word.
    pub phase: String,
    /// One sentence, may be empty.
    pub message: String,
}

impl Phase {
    /// The phase as a client sees it: what the controller wrote, unless the controller has not yet seen what the user
    /// wrote.
    pub fn of(rollout: &Rollout) -> Self {
        let progressing = |message: &str| Self {
            phase: "Progressing".to_owned(),
            message: message.to_owned(),
        };
        let Some(status) = &rollout.status else {
            return progressing("waiting for rollout spec update to be observed");
        };
        // A status of version 0.9 holds a hash here and counts as observed.
        let observed: Option<i64> = status.observed_generation.parse().ok();
        let behind = observed.is_some_and(|observed| Some(observed) != rollout.metadata.generation);
        if behind || status.observed_generation.is_empty() {
            return progressing("waiting for rollout spec update to be observed");
        }
        if status.controller_pause && status.pause_conditions.is_empty() {
            return progressing("waiting for rollout to unpause");
        }
        let workload_generation = annotation(rollout, well_known::WORKLOAD_GENERATION);
        if rollout.spec.workload_ref.is_some()
            && workload_generation.unwrap_or_default() != status.workload_observed_generation
        {
            return progressing("waiting for rollout spec update to be observed for the reference workload");
        }
        if status.phase.is_empty() {
            return progressing("");
        }
        Self {
            phase: clean(&status.phase),
            message: clean(&status.message),
        }
    }

    /// `Paused - CanaryPauseStep`, or the phase alone.
    pub fn line(&self) -> String {
        if self.message.is_empty() {
            self.phase.clone()
        } else {
            format!("{} - {}", self.phase, self.message)
        }
    }

    /// What `status` writes for people; with more room, also what is waited for.
    pub(crate) fn shown(&self, rollout: &Rollout, format: Format) -> String {
        let waiting = rollout.status.as_ref().and_then(|status| status.waiting_for.as_ref());
        match (format, waiting) {
            (Format::Name, _) => list::resource_name(rollout),
            (Format::Text, _) | (_, None) => self.line(),
            (_, Some(waiting)) => {
                let until = waiting.until.as_ref().map(|until| format!(", until {}", until.0));
                let (message, until) = (clean(&waiting.message), until.unwrap_or_default());
                format!("{} (waits for: {message}{until})", self.line())
            }
        }
    }

    /// What `status` shows, for programs.
    pub(crate) fn facts(&self, rollout: &Rollout) -> Value {
        let waiting = rollout.status.as_ref().and_then(|status| status.waiting_for.as_ref());
        json!({
            "name": tree::name(&rollout.metadata),
            "namespace": tree::namespace(&rollout.metadata),
            "status": self.phase,
            "message": self.message,
            "waitingFor": waiting,
        })
    }

    pub(crate) fn icon(&self) -> Icon {
        match self.phase.as_str() {
            "Healthy" => Icon::Ok,
            "Degraded" => Icon::Bad,
            "Progressing" => Icon::Progressing,
            "Paused" => Icon::Paused,
            _ => Icon::Unknown,
        }
    }
}

/// An annotation of a Rollout.
pub(crate) fn annotation<'r>(rollout: &'r Rollout, key: &str) -> Option<&'r str> {
    rollout.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// `Canary`, `BlueGreen`, or `unknown`.
pub fn strategy(rollout: &Rollout) -> &'static str {
    match (&rollout.spec.strategy.canary, &rollout.spec.strategy.blue_green) {
        (Some(_), _) => "Canary",
        (None, Some(_)) => "BlueGreen",
        (None, None) => "unknown",
    }
}

/// `2/8`, when there are steps and the controller knows where it is.
pub fn step(rollout: &Rollout) -> Option<String> {
    let steps = rollout.spec.strategy.canary.as_ref()?.steps.len();
    let index = rollout.status.as_ref()?.current_step_index?;
    (steps > 0).then(|| format!("{index}/{steps}"))
}

/// The weight that the steps ask for now, in percent.
pub fn set_weight(rollout: &Rollout) -> i32 {
    let (Some(canary), Some(status)) = (&rollout.spec.strategy.canary, &rollout.status) else {
        return 0;
    };
    if status.abort {
        return 0;
    }
    let index = status.current_step_index.and_then(|index| usize::try_from(index).ok());
    match index {
        _ if is_promoted(status) => 100,
        Some(index) if index < canary.steps.len() => canary
            .steps
            .iter()
            .take(index + 1)
            .rev()
            .find_map(|step| step.set_weight)
            .unwrap_or(0),
        _ => 100,
    }
}

/// The weight the canary has now: as written to the routers, else its share of the available pods.
pub fn actual_weight<'s>(rollout: &Rollout, replica_sets: impl Iterator<Item = &'s ReplicaSet>) -> i32 {
    let (Some(canary), Some(status)) = (&rollout.spec.strategy.canary, &rollout.status) else {
        return 0;
    };
    if is_promoted(status) {
        return 100;
    }
    if canary.traffic_routing.is_some() {
        let weights = status.canary.as_ref().and_then(|canary| canary.weights.as_ref());
        return weights.map_or_else(|| set_weight(rollout), |weights| weights.canary.weight.0);
    }
    let of_canary: i64 = replica_sets
        .filter(|set| set.pod_hash() == status.current_pod_hash)
        .map(|set| i64::from(set.status.available_replicas))
        .sum();
    let share = (of_canary * 100)
        .checked_div(i64::from(status.available_replicas))
        .unwrap_or(0);
    i32::try_from(share).unwrap_or(0)
}

/// Whether the current pods are the stable ones.
pub(crate) fn is_promoted(status: &RolloutStatus) -> bool {
    !status.stable_rs.is_empty() && status.stable_rs == status.current_pod_hash
}
