//! The scheduling table of the reference, 6.1.

use super::*;
use serde_json::{Value, json};

/// A second of the test's day.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn prepared(metric: Value) -> Prepared {
    let spec = json!({"metrics": [metric]});
    let mut all = prepare(&serde_json::from_value(spec).unwrap()).unwrap();
    all.remove(0)
}

fn metric(fields: Value) -> Value {
    let mut metric = json!({"name": "m", "provider": {"web": {"url": "http://x"}}});
    metric
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    metric
}

fn measured(phase: &str, finished: Option<i64>, resume: Option<i64>) -> MetricResult {
    let measurement = Measurement {
        phase: phase.to_owned(),
        started_at: Some(Time(at(0))),
        finished_at: finished.map(|second| Time(at(second))),
        resume_at: resume.map(|second| Time(at(second))),
        ..Measurement::default()
    };
    MetricResult {
        name: "m".into(),
        phase: "Running".into(),
        measurements: vec![measurement],
        ..MetricResult::default()
    }
}

fn seconds(next: Next) -> String {
    match next {
        Next::Nothing => "nothing".to_owned(),
        Next::At(at, attempt) => {
            let what = match attempt {
                Attempt::Begin => "begin",
                Attempt::Resume(_) => "resume",
                Attempt::Terminate(_) => "terminate",
            };
            if at == Timestamp::MIN {
                format!("{what} now")
            } else {
                format!("{what} at {}", at.as_second() - 1_000_000)
            }
        }
    }
}

#[test]
fn measurements_follow_the_table() {
    for (fields, result, terminating, want) in [
        (json!({}), None, false, "begin at 0"),
        (json!({"initialDelay": "1m"}), None, false, "begin at 60"),
        (json!({"initialDelay": "1m"}), None, true, "nothing"),
        (
            json!({"interval": "30s"}),
            Some(measured("Successful", Some(100), None)),
            false,
            "begin at 130",
        ),
        (
            json!({"interval": "30s", "initialDelay": "1m"}),
            Some(measured("Failed", Some(100), None)),
            false,
            "begin at 130",
        ),
        (
            json!({"interval": "30s"}),
            Some(measured("Error", Some(100), None)),
            false,
            "begin at 110",
        ),
        (
            json!({"interval": "5m"}),
            Some(measured("Error", Some(100), None)),
            false,
            "begin at 110",
        ),
        (
            json!({"interval": "2s"}),
            Some(measured("Error", Some(100), None)),
            false,
            "begin at 110",
        ),
        (
            json!({}),
            Some(measured("Error", Some(100), None)),
            false,
            "begin at 110",
        ),
        (
            json!({"interval": "10ms"}),
            Some(measured("Successful", Some(100), None)),
            false,
            "begin at 101",
        ),
        (
            json!({"interval": "30s"}),
            Some(measured("Successful", Some(100), None)),
            true,
            "nothing",
        ),
        (
            json!({}),
            Some(measured("Running", None, Some(7))),
            false,
            "resume at 7",
        ),
        (json!({}), Some(measured("Running", None, None)), false, "resume now"),
        (
            json!({}),
            Some(measured("Running", None, Some(7))),
            true,
            "terminate now",
        ),
    ] {
        let next = next(&prepared(metric(fields.clone())), result.as_ref(), at(0), terminating);
        assert_eq!(seconds(next), want, "{fields} {result:?}");
    }
    let done = MetricResult {
        phase: "Successful".into(),
        ..measured("Successful", Some(1), None)
    };
    assert_eq!(
        next(&prepared(metric(json!({"interval": "1s"}))), Some(&done), at(0), false),
        Next::Nothing
    );
}

#[test]
fn due_ones_are_numbered_and_the_others_set_the_alarm() {
    let spec: AnalysisRunSpec = serde_json::from_value(json!({"metrics": [
        metric(json!({"name": "late", "initialDelay": "5m"})),
        metric(json!({"name": "now"})),
        metric(json!({"name": "{{args.n}}", "interval": "10s"})),
        metric(json!({"name": "again", "interval": "10s"})),
    ], "args": [{"name": "n", "value": "soon"}]}))
    .unwrap();
    let result = |name: &str, finished| MetricResult {
        name: name.into(),
        count: 2,
        error: 1,
        ..measured("Successful", Some(finished), None)
    };
    let status = AnalysisRunStatus {
        started_at: Some(Time(at(0))),
        metric_results: vec![result("soon", 95), result("again", 90)],
        ..AnalysisRunStatus::default()
    };
    let (due, wake) = due(&prepare(&spec).unwrap(), &status, at(100), false);
    let due: Vec<_> = due
        .into_iter()
        .map(|due| (due.metric, due.index, due.sequence))
        .collect();
    assert_eq!(due, [("now".to_owned(), 1, 1), ("again".to_owned(), 3, 4)]);
    assert_eq!(wake, Some(at(105)));
}

#[test]
fn a_deciding_metric_or_a_request_ends_the_run() {
    let mut spec: AnalysisRunSpec = serde_json::from_value(json!({
        "metrics": [metric(json!({"name": "a"})), metric(json!({"name": "dry"}))],
        "dryRun": [{"metricName": "dry"}]}))
    .unwrap();
    let prepared = prepare(&spec).unwrap();
    let with = |name: &str, phase: &str| AnalysisRunStatus {
        metric_results: vec![MetricResult {
            name: name.into(),
            phase: phase.into(),
            ..MetricResult::default()
        }],
        ..AnalysisRunStatus::default()
    };
    for (name, phase, want) in [
        ("a", "Failed", true),
        ("a", "Error", true),
        ("a", "Inconclusive", true),
        ("a", "Successful", false),
        ("a", "Running", false),
        ("dry", "Failed", false),
    ] {
        assert_eq!(
            is_terminating(&spec, &with(name, phase), &prepared),
            want,
            "{name} {phase}"
        );
    }
    spec.terminate = true;
    assert!(is_terminating(&spec, &AnalysisRunStatus::default(), &prepared));
}

#[test]
fn what_cannot_be_measured_is_said_in_the_originals_words() {
    let unfit = |spec: Value| prepare(&serde_json::from_value(spec).unwrap()).unwrap_err().to_string();
    assert_eq!(unfit(json!({})), "Analysis spec invalid: no metrics specified");
    assert_eq!(
        unfit(json!({"metrics": [metric(json!({"count": 3}))]})),
        "Analysis spec invalid: metrics[0]: interval must be specified when count > 1"
    );
    assert_eq!(
        unfit(json!({"metrics": [metric(json!({"successCondition": "{{args.x}}"}))]})),
        "Unable to resolve metric arguments: failed to resolve {{args.x}}"
    );
    assert_eq!(
        unfit(json!({"metrics": [metric(json!({}))], "args": [{"name": "x"}]})),
        "Unable to resolve metric arguments: argument \"x\" was not supplied"
    );
}
