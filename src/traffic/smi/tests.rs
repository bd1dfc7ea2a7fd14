use crate::traffic::testing::{Bench, weight};
use serde_json::{Value, json};

fn bench(objects: &[Value]) -> Bench {
    Bench::of(json!({"smi": {"rootService": "root"}}), json!([]), objects)
}

fn split(version: &str, canary: &Value, stable: &Value) -> Value {
    json!({"apiVersion": format!("split.smi-spec.io/{version}"), "kind": "TrafficSplit",
        "metadata": {"name": "web", "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "name": "web", "uid": "r", "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"service": "root", "backends": [{"service": "canary", "weight": canary}, {"service": "stable", "weight": stable}]}})
}

#[test]
fn a_split_is_made_once_and_then_reweighted() {
    let mut bench = bench(&[]);
    let made = bench.make(weight(0));
    assert_eq!(made.events[0].0, "TrafficSplitCreated");
    assert!(!made.reweighted, "no request goes elsewhere by that");
    assert_eq!(
        bench.get("TrafficSplit", "web"),
        split("v1alpha1", &json!("0"), &json!("100"))
    );
    for canary in [30, 100, 0] {
        let routing = bench.make(weight(canary));
        assert!(routing.reweighted && routing.events.is_empty());
    }
}

#[test]
fn weights_are_numbers_from_the_second_version_on() {
    let mut bench = bench(&[split("v1alpha2", &json!(5), &json!(95))]);
    assert_eq!(bench.seen().weight, 5);
    bench.make(weight(40));
    assert_eq!(
        bench.get("TrafficSplit", "web"),
        split("v1alpha2", &json!(40), &json!(60))
    );
}

#[test]
fn weights_of_the_first_version_may_be_quantities() {
    let seen = |canary: Value, stable: Value| bench(&[split("v1alpha1", &canary, &stable)]).seen().weight;
    assert_eq!(seen(json!("250m"), json!("750m")), 25);
    assert_eq!(seen(json!("1"), json!("1")), 50);
    assert_eq!(seen(json!("20"), json!("80")), 20);
}

#[test]
fn a_split_of_somebody_else_is_left_alone() {
    let mut foreign = split("v1alpha1", &json!("50"), &json!("50"));
    foreign["metadata"]["ownerReferences"] = json!([]);
    let bench = bench(&[foreign]);
    let routing = bench.routed(weight(20));
    assert_eq!(
        routing.problems,
        ["TrafficSplit `web` controlled by different object (nobody)"]
    );
    assert!(routing.edits.is_empty() && bench.seen().weight == 0);
}
