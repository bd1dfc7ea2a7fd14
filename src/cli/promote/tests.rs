use super::*;
use serde_json::json;

const NOW: &str = "2026-01-01T00:01:00Z";

/// A canary of three steps at step 1 with the given changes to its spec and status.
fn rollout(paused: bool, status: &Value, managed_fields: &Value) -> Rollout {
    let mut whole = json!({"observedGeneration": "1", "currentStepIndex": 1, "currentPodHash": "b", "stableRS": "a"});
    overlay(&mut whole, status);
    serde_json::from_value(json!({
        "metadata": {"name": "web", "managedFields": managed_fields},
        "spec": {"paused": paused, "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}]}}},
        "status": whole,
    }))
    .unwrap()
}

fn overlay(target: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().unwrap() {
        target[key] = value.clone();
    }
}

#[track_caller]
fn check(rollout: &Rollout, full: bool, expect: &Promotion) {
    assert_eq!(decide(rollout, full, NOW.parse().unwrap()), *expect);
}

fn status(patch: &Value) -> Promotion {
    Promotion::Write {
        spec: None,
        status: Some(json!({"status": patch})),
    }
}

fn pause(reason: &str) -> Value {
    json!({"controllerPause": true, "pauseConditions": [{"reason": reason, "startTime": "2026-01-01T00:00:00Z"}]})
}

#[test]
fn a_pause_is_lifted_and_nothing_else() {
    check(
        &rollout(false, &pause("CanaryPauseStep"), &json!([])),
        false,
        &status(&json!({"pauseConditions": null})),
    );
    let both = Promotion::Write {
        spec: Some(json!({"spec": {"paused": false}})),
        status: Some(json!({"status": {"pauseConditions": null}})),
    };
    check(&rollout(true, &pause("CanaryPauseStep"), &json!([])), false, &both);
    let spec_only = Promotion::Write {
        spec: Some(json!({"spec": {"paused": false}})),
        status: None,
    };
    check(&rollout(true, &json!({}), &json!([])), false, &spec_only);
}

#[test]
fn promoting_again_before_the_controller_acted_skips_nothing() {
    let lifted = json!({"controllerPause": true, "pauseConditions": []});
    check(&rollout(false, &lifted, &json!([])), false, &Promotion::Underway);
}

#[test]
fn an_inconclusive_analysis_is_passed_by_the_person_who_judged_it() {
    check(
        &rollout(false, &pause("InconclusiveAnalysisRun"), &json!([])),
        false,
        &status(&json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": 2})),
    );
}

#[test]
fn without_a_pause_the_step_is_skipped_once() {
    let next = status(&json!({"pauseConditions": null, "currentStepIndex": 2}));
    check(&rollout(false, &json!({}), &json!([])), false, &next);
    let entry = |manager: &str, time: &str| {
        json!({"manager": manager, "operation": "Update", "subresource": "status", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:currentStepIndex": {}}}})
    };
    for (ours, controller, expect) in [
        // Nobody has written since; the controller may be down.
        ("2026-01-01T00:00:30Z", "2026-01-01T00:00:20Z", &Promotion::Underway),
        ("2026-01-01T00:00:59Z", "2026-01-01T00:00:59Z", &Promotion::Underway),
        // In the same second, long ago: the controller did act.
        ("2026-01-01T00:00:30Z", "2026-01-01T00:00:30Z", &next),
        ("2026-01-01T00:00:30Z", "2026-01-01T00:00:31Z", &next),
    ] {
        let fields = json!([entry(MANAGER, ours), entry("tidegate-status", controller)]);
        check(&rollout(false, &json!({}), &fields), false, expect);
    }
}

#[test]
fn there_is_nothing_to_promote_behind_the_last_step_when_promoted_or_aborted() {
    check(
        &rollout(false, &json!({"currentStepIndex": 3}), &json!([])),
        false,
        &Promotion::Nothing,
    );
    check(
        &rollout(false, &json!({"stableRS": "b"}), &json!([])),
        false,
        &Promotion::Nothing,
    );
    check(
        &rollout(false, &json!({"abort": true}), &json!([])),
        false,
        &Promotion::Nothing,
    );
}

#[test]
fn full_promotion_is_asked_for_once() {
    check(
        &rollout(false, &json!({}), &json!([])),
        true,
        &status(&json!({"promoteFull": true})),
    );
    check(
        &rollout(false, &json!({"promoteFull": true}), &json!([])),
        true,
        &Promotion::Underway,
    );
    check(
        &rollout(false, &json!({"stableRS": "b"}), &json!([])),
        true,
        &Promotion::Nothing,
    );
}
