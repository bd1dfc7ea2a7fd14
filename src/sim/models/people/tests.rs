use super::*;
use crate::sim::models::testing::Bench;

fn rollout(bench: &Bench, spec: Value, status: Value) -> Key {
    let key = bench.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}));
    bench
        .api
        .patch_status("test", &key, &Change::Merge(json!({ "status": status })))
        .unwrap();
    key
}

#[test]
fn verbs_write_what_the_command_line_writes() {
    let spec = json!({"replicas": 3, "strategy": {"canary": {"steps": [{"pause": {}}]}},
        "template": {"spec": {"containers": [{"name": "web", "image": "web:v1"}]}}});
    let paused = json!({"phase": "Paused", "controllerPause": true, "currentStepIndex": 0,
        "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]});
    let image = Verb::SetImage {
        container: "web".into(),
        image: "web:v2".into(),
    };
    for (verb, pointer, expect) in [
        (image, "/spec/template/spec/containers/0/image", json!("web:v2")),
        (Verb::Promote, "/status/pauseConditions", Value::Null),
        (Verb::PromoteFull, "/status/promoteFull", json!(true)),
        (Verb::Abort, "/status/abort", json!(true)),
        (Verb::Retry, "/status/abort", json!(false)),
        (Verb::Pause, "/spec/paused", json!(true)),
        (Verb::Scale(7), "/spec/replicas", json!(7)),
        (Verb::Steps(json!([])), "/spec/strategy/canary/steps", json!([])),
    ] {
        let bench = Bench::new();
        let key = rollout(&bench, spec.clone(), paused.clone());
        act(&bench.api, "user", &key, &verb, bench.now()).unwrap();
        assert_eq!(
            bench.get(&key).pointer(pointer).unwrap_or(&Value::Null),
            &expect,
            "{verb}"
        );
    }
}

#[test]
fn what_is_refused_is_told() {
    let bench = Bench::new();
    let key = rollout(
        &bench,
        json!({"template": {"spec": {"containers": [{"name": "web"}]}}}),
        json!({}),
    );
    let verb = Verb::SetImage {
        container: "wbe".into(),
        image: "x".into(),
    };
    let error = act(&bench.api, "user", &key, &verb, bench.now()).unwrap_err();
    assert!(error.contains("wbe"), "{error}");
    let missing = Verb::Delete {
        kind: Kind::Ingress,
        name: "none".into(),
    };
    assert!(
        act(&bench.api, "user", &key, &missing, bench.now())
            .unwrap_err()
            .contains("not found")
    );
}

#[test]
fn only_pauses_without_an_end_wait_for_a_person() {
    let pause = |reason: &str| {
        json!({"phase": "Paused", "currentStepIndex": 0,
        "pauseConditions": [{"reason": reason, "startTime": "2026-01-01T00:00:00Z"}]})
    };
    let steps = |pause: Value| json!({"strategy": {"canary": {"steps": [{"pause": pause}]}}});
    for (spec, status, expect) in [
        (steps(json!({})), pause("CanaryPauseStep"), true),
        (steps(json!({"duration": "5m"})), pause("CanaryPauseStep"), false),
        (steps(json!({})), pause("InconclusiveAnalysisRun"), true),
        (json!({"strategy": {"blueGreen": {}}}), pause("BlueGreenPause"), true),
        (
            json!({"strategy": {"blueGreen": {"autoPromotionSeconds": 30}}}),
            pause("BlueGreenPause"),
            false,
        ),
        (steps(json!({})), json!({"phase": "Healthy"}), false),
        (json!({"paused": true}), pause("CanaryPauseStep"), false),
    ] {
        let object = json!({"spec": spec, "status": status});
        assert_eq!(waits(&object).is_some(), expect, "{object}");
    }
}
