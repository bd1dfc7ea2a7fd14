use super::*;
use serde_json::{Map, json};

#[track_caller]
fn check(kind: &str, object: Value, expected: &[(&str, Option<&str>)]) {
    let found = unknown_fields(kind, &object);
    let found: Vec<_> = found
        .iter()
        .map(|field| (field.path.as_str(), field.suggestion.as_deref()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn names_the_path_and_what_was_meant() {
    check(
        "Rollout",
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "web", "anything": 1 },
            "spec": {
                "replica": 3,
                "strategy": { "canary": { "steps": [{ "setWeight": 5 }, { "setWeigth": 20 }, { "pause": { "time": 1 } }] } },
            },
        }),
        &[
            ("spec.replica", Some("replicas")),
            ("spec.strategy.canary.steps[1].setWeigth", Some("setWeight")),
            ("spec.strategy.canary.steps[2].pause.time", None),
        ],
    );
}

#[test]
fn letter_case_is_a_slip() {
    check(
        "Rollout",
        json!({ "spec": { "strategy": { "bluegreen": {} } } }),
        &[("spec.strategy.bluegreen", Some("blueGreen"))],
    );
    check(
        "Application",
        json!({ "spec": { "source": { "repoUrl": "x" } } }),
        &[("spec.source.repoUrl", Some("repoURL"))],
    );
}

#[test]
fn trees_that_are_passed_on_are_left_alone() {
    check(
        "Rollout",
        json!({
            "status": { "nonsense": true },
            "spec": {
                "template": { "spec": { "brandNew": true } },
                "strategy": { "canary": {
                    "trafficRouting": { "plugins": { "a/b": { "x": 1 } } },
                    "canaryMetadata": { "labels": { "any.thing/at-all": "x" } },
                } },
            },
        }),
        &[],
    );
    check("Deployment", json!({ "spec": { "nonsense": true } }), &[]);
}

#[test]
fn odd_names_are_quoted() {
    check(
        "AppProject",
        json!({ "spec": { "a.b": 1 } }),
        &[("spec[\"a.b\"]", None)],
    );
    check("AppProject", json!({ "": 2 }), &[("[\"\"]", None)]);
}

#[test]
fn counts_edits() {
    for (left, right, expected) in [
        ("", "", 0),
        ("pause", "pause", 0),
        ("setweigth", "setweight", 1),
        ("pauses", "pause", 1),
        ("paus", "pause", 1),
        ("canary", "stable", 6),
        ("", "abc", 3),
    ] {
        assert_eq!(distance(left, right), expected, "{left} {right}");
        assert_eq!(distance(right, left), expected, "{right} {left}");
    }
}

#[test]
fn bounded() {
    let many: Map<String, Value> = (0..1000).map(|n| (format!("x{n}"), Value::Null)).collect();
    assert_eq!(
        unknown_fields("Rollout", &json!({ "spec": many })).len(),
        UNKNOWN_FIELDS_MAX
    );
    let long = "x".repeat(1_000_000);
    assert_eq!(unknown_fields("Rollout", &json!({ "spec": { long: 1 } })).len(), 1);
}
