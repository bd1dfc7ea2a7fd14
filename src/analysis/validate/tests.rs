//! Every message of the reference, and the numbers of a valid metric.

use super::*;
use serde_json::{Value, json};

fn metric(mut fields: Value) -> Metric {
    let defaults = json!({"name": "m", "provider": {"web": {"url": "http://x"}}});
    for (key, value) in defaults.as_object().unwrap() {
        let map = fields.as_object_mut().unwrap();
        if !map.contains_key(key) {
            map.insert(key.clone(), value.clone());
        }
    }
    serde_json::from_value(fields).unwrap()
}

#[track_caller]
fn check(fields: Value, want: &str) {
    let found = problems(&[metric(fields.clone())], &[], &[]);
    let want: Vec<String> = if want.is_empty() {
        vec![]
    } else {
        vec![format!("metrics[0]: {want}")]
    };
    assert_eq!(found, want, "{fields}");
}

#[test]
fn every_message_is_the_originals() {
    check(json!({}), "");
    check(
        json!({"consecutiveSuccessLimit": -1}),
        "consecutiveSuccessLimit must be >= 0",
    );
    check(
        json!({"failureLimit": -2}),
        "failureLimit must be >= 0, or -1 to be disabled",
    );
    check(
        json!({"failureLimit": -1}),
        "failureLimit and consecutiveSuccessLimit cannot both be disabled",
    );
    check(json!({"failureLimit": -1, "consecutiveSuccessLimit": 1}), "");
    check(json!({"inconclusiveLimit": -1}), "inconclusiveLimit must be >= 0");
    check(
        json!({"consecutiveErrorLimit": -1}),
        "consecutiveErrorLimit must be >= 0",
    );
    check(
        json!({"interval": "1s", "count": 5, "failureLimit": 3, "consecutiveSuccessLimit": 3}),
        "count (5) must be >= failureLimit + consecutiveSuccessLimit (3 + 3) if both >= 0",
    );
    check(
        json!({"count": 1, "failureLimit": 2}),
        "count (1) must be >= failureLimit + consecutiveSuccessLimit (2 + 0) if both >= 0",
    );
    check(
        json!({"interval": "1s", "count": 2, "failureLimit": -1, "consecutiveSuccessLimit": 3}),
        "count must be >= consecutiveSuccessLimit",
    );
    check(
        json!({"count": 1, "inconclusiveLimit": 2}),
        "count must be >= inconclusiveLimit",
    );
    check(json!({"count": 2}), "interval must be specified when count > 1");
    check(
        json!({"interval": "soon"}),
        "invalid interval string: invalid duration \"soon\": a number is expected before each unit",
    );
    check(
        json!({"initialDelay": "1x"}),
        "invalid startDelay string: invalid duration \"1x\": its unit is unknown (expected ns, us, ms, s, m or h)",
    );
    check(json!({"provider": {}}), "no provider specified");
    check(
        json!({"provider": {"web": {}, "job": {}}}),
        "multiple providers specified",
    );
    check(
        json!({"count": "many"}),
        "invalid count \"many\": a whole number is expected",
    );
    check(
        json!({"failureLimit": 3_000_000_000_i64}),
        "invalid failureLimit \"3000000000\": a whole number is expected",
    );
}

#[test]
fn lists_of_metrics_and_rules_are_checked() {
    assert_eq!(problems(&[], &[], &[]), ["no metrics specified"]);
    let metrics = [metric(json!({"name": "a"})), metric(json!({"name": "a"}))];
    assert_eq!(problems(&metrics, &[], &[]), ["metrics[1]: duplicate name 'a'"]);
    let dry_run = [
        DryRun {
            metric_name: "a.*".into(),
        },
        DryRun {
            metric_name: "b".into(),
        },
    ];
    let retention = [MeasurementRetention {
        metric_name: "c".into(),
        limit: 1,
    }];
    let metrics = [metric(json!({"name": "ab1"}))];
    assert_eq!(
        problems(&metrics, &dry_run, &retention),
        ["measurementRetention[0]: Rule didn't match any metric name(s)"]
    );
    let found = problems(
        &metrics,
        &[
            DryRun {
                metric_name: "(".into(),
            },
            DryRun {
                metric_name: "x".into(),
            },
        ],
        &[],
    );
    assert!(found[0].starts_with("dryRun[0]: regex parse error"), "{found:?}");
    assert_eq!(found[1], "dryRun[1]: Rule didn't match any metric name(s)");
}

#[test]
fn numbers_may_be_text() {
    let limits = Limits::of(&metric(json!({
        "interval": "1m30s", "initialDelay": "5s", "count": "7", "failureLimit": "2", "inconclusiveLimit": "1",
        "consecutiveErrorLimit": "9", "consecutiveSuccessLimit": "3"
    })));
    let want = Limits {
        interval: Some(SignedDuration::from_secs(90)),
        initial_delay: SignedDuration::from_secs(5),
        count: Some(7),
        failure: Some(2),
        inconclusive: 1,
        consecutive_error: 9,
        consecutive_success: Some(3),
    };
    assert_eq!(limits, Ok(want));
}
