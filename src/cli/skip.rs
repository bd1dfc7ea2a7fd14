//! What the deprecated `promote -c` and `promote -a` write: another step, whatever the present one waits for. Pure.

use jiff::Timestamp;
use serde_json::json;

use super::error::{CliError, Kind};
use super::info::is_promoted;
use super::promote::{Promotion, index_after, is_unseen};
use crate::api::rollout::Rollout;

/// Decides what skipping the present step, or `all` that are left, writes.
pub(crate) fn decide(rollout: &Rollout, all: bool, now: Timestamp) -> Result<Promotion, CliError> {
    let strategy = &rollout.spec.strategy;
    if strategy.blue_green.is_some() {
        return Err(CliError::new(
            Kind::Request,
            "Cannot skip steps of a bluegreen rollout. Run without a flags",
        ));
    }
    let steps = strategy.canary.as_ref().map_or(0, |canary| canary.steps.len());
    if steps == 0 {
        return Err(CliError::new(
            Kind::Request,
            "Cannot skip steps of a rollout without steps",
        ));
    }
    let status = rollout.status.clone().unwrap_or_default();
    // A pause was lifted, or a step skipped, and the controller has not acted on it yet.
    let lifted = status.controller_pause && status.pause_conditions.is_empty();
    if !all && (lifted || is_unseen(rollout, now)) {
        return Ok(Promotion::Underway);
    }
    let last = i32::try_from(steps).ok();
    let index = index_after(rollout).and_then(|next| if all { last } else { Some(next) });
    Ok(match index {
        // The pause of a step that is skipped must not hold, nor be taken for one that was lifted at the next step.
        Some(index) if !is_promoted(&status) && !status.abort => Promotion::Write {
            spec: None,
            status: Some(
                json!({"status": {"currentStepIndex": index, "pauseConditions": null, "controllerPause": false}}),
            ),
        },
        _ => Promotion::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[track_caller]
    fn check(strategy: &Value, status: &Value, all: bool, expect: Result<Option<i32>, &str>) {
        let rollout: Rollout = serde_json::from_value(
            json!({"metadata": {"name": "web"}, "spec": {"strategy": strategy}, "status": status}),
        )
        .unwrap();
        let found = decide(&rollout, all, "2026-01-01T00:00:00Z".parse().unwrap());
        let found = found.map(|promotion| match promotion {
            Promotion::Write { status, .. } => {
                let status = status.unwrap();
                assert_eq!(status["status"]["controllerPause"], false);
                Some(i32::try_from(status["status"]["currentStepIndex"].as_i64().unwrap()).unwrap())
            }
            Promotion::Underway | Promotion::Nothing => None,
        });
        assert_eq!(
            found.as_ref().map_err(|error| error.message.as_str()),
            expect.as_ref().map_err(|text| *text)
        );
    }

    #[test]
    fn steps_are_skipped_by_index() {
        let canary = json!({"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}]}});
        let at = |index: i32| json!({"currentStepIndex": index, "currentPodHash": "b", "stableRS": "a"});
        check(&canary, &at(1), false, Ok(Some(2)));
        check(&canary, &at(1), true, Ok(Some(3)));
        check(&canary, &at(3), false, Ok(None));
        check(&canary, &at(3), true, Ok(None));
        let mut paused = at(1);
        paused["pauseConditions"] = json!([{"reason": "CanaryPauseStep"}]);
        paused["controllerPause"] = json!(true);
        check(&canary, &paused, false, Ok(Some(2)));
        paused["pauseConditions"] = json!([]);
        check(&canary, &paused, false, Ok(None));
        let mut aborted = at(1);
        aborted["abort"] = json!(true);
        check(&canary, &aborted, true, Ok(None));
    }

    #[test]
    fn what_has_no_steps_cannot_skip_any() {
        let no_steps = Err("Cannot skip steps of a rollout without steps");
        check(&json!({"canary": {}}), &json!({}), false, no_steps);
        check(&json!({}), &json!({}), true, no_steps);
        let blue_green = Err("Cannot skip steps of a bluegreen rollout. Run without a flags");
        check(
            &json!({"blueGreen": {"activeService": "a"}}),
            &json!({}),
            true,
            blue_green,
        );
    }
}
