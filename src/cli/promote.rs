//! What `promote` writes, decided on one version of the Rollout (guarantee D3: promoting twice skips nothing). Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::info::is_promoted;
use crate::api::rollout::Rollout;

/// The field manager of everything this command line writes.
pub const MANAGER: &str = "kubectl-tidegate";

/// A promotion that was written less than this ago may not have been seen by the controller. In seconds; managed fields
/// carry whole seconds, so that a smaller number could not be told apart.
const UNSEEN_SECONDS: i64 = 2;

/// What `promote` is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// `promote`: go on.
    Next,
    /// `promote --full`.
    Full,
    /// `promote -c`, deprecated.
    SkipStep,
    /// `promote -a`, deprecated.
    SkipSteps,
}

/// What a promotion amounts to for one version of a Rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum Promotion {
    /// Merge patches to write, each only if the object still has the version decided on.
    Write {
        /// For the object itself.
        spec: Option<Value>,
        /// For its status.
        status: Option<Value>,
    },
    /// Asked for already, and not yet acted on by the controller.
    Underway,
    /// Nothing to promote.
    Nothing,
}

/// Where a Rollout stands; a promotion decided at one place must not be written at another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    uid: Option<String>,
    pod_hash: String,
    step_index: Option<i32>,
}

impl Place {
    /// The place of a Rollout now.
    pub fn of(rollout: &Rollout) -> Self {
        let status = rollout.status.clone().unwrap_or_default();
        Self {
            uid: rollout.metadata.uid.clone(),
            pod_hash: status.current_pod_hash,
            step_index: status.current_step_index,
        }
    }
}

/// Decides what `promote` (with `full`: `promote --full`) writes.
pub fn decide(rollout: &Rollout, full: bool, now: Timestamp) -> Promotion {
    let status = rollout.status.clone().unwrap_or_default();
    if full {
        return match (is_promoted(&status), status.promote_full) {
            (true, _) => Promotion::Nothing,
            (false, true) => Promotion::Underway,
            (false, false) => Promotion::Write {
                spec: None,
                status: Some(json!({"status": {"promoteFull": true}})),
            },
        };
    }
    let spec = rollout.spec.paused.then(|| json!({"spec": {"paused": false}}));
    let status_patch = if status.pause_conditions.is_empty() {
        if spec.is_none() {
            return next_step(rollout, now);
        }
        None
    } else if status
        .pause_conditions
        .iter()
        .any(|pause| pause.reason.starts_with("Inconclusive"))
    {
        // Resuming alone would run the analysis again; the person judged it instead.
        let mut patch = json!({"pauseConditions": null, "controllerPause": false});
        if let (Some(next), Some(fields)) = (index_after(rollout), patch.as_object_mut()) {
            fields.insert("currentStepIndex".to_owned(), next.into());
        }
        Some(json!({"status": patch}))
    } else {
        Some(json!({"status": {"pauseConditions": null}}))
    };
    Promotion::Write {
        spec,
        status: status_patch,
    }
}

/// Skips the present step of a canary that is not paused.
fn next_step(rollout: &Rollout, now: Timestamp) -> Promotion {
    let status = rollout.status.clone().unwrap_or_default();
    let resumed = status.controller_pause;
    // The pause was lifted and the controller has not yet moved on: the same request again is not one to skip a step.
    if resumed || is_unseen(rollout, now) {
        return Promotion::Underway;
    }
    match index_after(rollout) {
        Some(next) if !is_promoted(&status) && !status.abort => Promotion::Write {
            spec: None,
            status: Some(json!({"status": {"pauseConditions": null, "currentStepIndex": next}})),
        },
        _ => Promotion::Nothing,
    }
}

/// The index behind the present step, when there is one.
pub(super) fn index_after(rollout: &Rollout) -> Option<i32> {
    let steps = i32::try_from(rollout.spec.strategy.canary.as_ref()?.steps.len()).ok()?;
    let index = rollout.status.as_ref()?.current_step_index.unwrap_or(0);
    (index < steps).then_some(index + 1)
}

/// Whether this command line moved the step and nobody wrote to the status since.
pub(super) fn is_unseen(rollout: &Rollout, now: Timestamp) -> bool {
    let fields = rollout.metadata.managed_fields.as_deref().unwrap_or_default();
    let (mut ours, mut others) = (None, None);
    for entry in fields {
        let Some(status) = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:status")) else {
            continue;
        };
        let written = entry.time.as_ref().map(|time| time.0);
        if entry.manager.as_deref() == Some(MANAGER) {
            if status.get("f:currentStepIndex").is_some() {
                ours = ours.max(written);
            }
        } else {
            others = others.max(written);
        }
    }
    let Some(ours) = ours else { return false };
    match others {
        Some(others) if others > ours => false,
        Some(others) if others == ours => now.duration_since(ours).as_secs() < UNSEEN_SECONDS,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
