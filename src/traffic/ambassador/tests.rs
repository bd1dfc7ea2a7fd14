use crate::{
    plan::Action,
    traffic::testing::{Ask, Bench, weight},
};
use serde_json::{Value, json};

fn mapping(name: &str, service: &str) -> Value {
    json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "metadata": {"name": name, "labels": {"host": "edge"}},
        "spec": {"hostname": "*", "prefix": "/", "service": service, "timeout_ms": 500}})
}

fn bench(objects: &[Value]) -> Bench {
    Bench::of(json!({"ambassador": {"mappings": ["a", "b"]}}), json!([]), objects)
}

fn two() -> Bench {
    bench(&[mapping("a", "stable:80"), mapping("b", "https://stable.shop:443")])
}

#[test]
fn a_canary_mapping_is_made_with_its_weight_and_follows_it() {
    let mut bench = two();
    assert!(
        bench.routed(weight(0)).edits.is_empty(),
        "none is needed for a weight of 0"
    );
    bench.make(weight(20));
    let mut expected = mapping("a-canary", "canary:80");
    expected["spec"]["weight"] = json!(20);
    expected["metadata"]["annotations"] = json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "web"});
    assert_eq!(bench.get("Mapping", "a-canary"), expected);
    assert_eq!(
        bench.get("Mapping", "b-canary")["spec"]["service"],
        "https://canary.shop:443"
    );
    assert_eq!(bench.get("Mapping", "a"), mapping("a", "stable:80"));
    bench.make(weight(60));
    assert_eq!(bench.get("Mapping", "b-canary")["spec"]["weight"], 60);
    bench.patch("Mapping", "a", json!({"spec": {"timeout_ms": 900, "prefix": null}}));
    bench.make(weight(60));
    assert_eq!(bench.get("Mapping", "a-canary")["spec"]["timeout_ms"], 900);
    assert!(bench.get("Mapping", "a-canary")["spec"].get("prefix").is_none());
}

#[test]
fn the_weight_goes_first_and_the_mapping_when_the_data_plane_follows() {
    let mut bench = two();
    bench.make(weight(20));
    assert!(bench.make(weight(0)).reweighted);
    assert_eq!(
        bench.get("Mapping", "a-canary")["spec"]["weight"],
        0,
        "it is still there"
    );
    let over = Ask {
        quiet: true,
        ..weight(0)
    };
    let routing = bench.routed(over);
    assert!(routing.edits.iter().all(|edit| matches!(edit, Action::Delete { .. })) && routing.edits.len() == 2);
    assert!(!routing.reweighted, "no request goes elsewhere by that");
    bench.make(over);
    assert!(bench.find("Mapping", "a-canary").is_none() && bench.find("Mapping", "a").is_some());
}

#[test]
fn a_weight_that_still_stands_is_never_deleted() {
    let mut bench = two();
    bench.make(weight(20));
    let routing = bench.routed(Ask {
        quiet: true,
        ..weight(0)
    });
    assert!(
        routing.edits.iter().all(|edit| matches!(edit, Action::Merge { .. })),
        "{:?}",
        routing.edits
    );
}

#[test]
fn what_does_not_fit_holds_up_no_other_mapping_and_no_abort() {
    let mut bench = two();
    bench.make(weight(20));
    bench.patch("Mapping", "a", json!({"spec": {"weight": 5}}));
    let routing = bench.routed(weight(0));
    assert_eq!(routing.problems, ["Ambassador mapping \"a\" can not define weight"]);
    assert_eq!(routing.edits.len(), 2, "both weights go");
    bench.patch(
        "Mapping",
        "a",
        json!({"spec": {"weight": null, "service": "elsewhere"}}),
    );
    assert_eq!(
        bench.problems(weight(20)),
        ["Mapping \"a\" leads to \"elsewhere\", expected the stable Service \"stable\""]
    );
    bench.remove("Mapping", "a");
    assert_eq!(
        bench.problems(weight(20)),
        ["Mapping \"a\" in namespace \"shop\" not found"]
    );
}

#[test]
fn one_that_the_original_made_is_taken_over_and_one_of_a_user_is_not() {
    let mut made = mapping("a-canary", "canary:80");
    made["spec"]["weight"] = json!(20);
    let mut bench = two();
    bench.put(made);
    assert_eq!(bench.seen().weight, 20);
    bench.patch("Mapping", "a-canary", json!({"spec": {"service": "other"}}));
    assert_eq!(bench.seen().weight, 0);
    assert_eq!(
        bench.problems(weight(20)),
        ["Mapping `a-canary` controlled by different object (nobody)"]
    );
}
