use crate::traffic::testing::{Bench, weight};
use serde_json::{Value, json};

fn service(canary: Option<i32>, stable: Option<i32>) -> Value {
    let entry = |name: &str, weight: Option<i32>| {
        let mut entry = json!({"name": name, "port": 80, "kind": "Service"});
        if let Some(weight) = weight {
            entry["weight"] = json!(weight);
        }
        entry
    };
    json!({"apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "metadata": {"name": "split"}, "spec": {"weighted": {
        "sticky": {"cookie": {"name": "who"}},
        "services": [entry("stable", stable), entry("canary", canary),
            {"name": "canary", "kind": "TraefikService", "weight": 7}, {"name": "canary", "namespace": "other", "weight": 7}]}}})
}

fn bench(object: Value) -> Bench {
    Bench::of(
        json!({"traefik": {"weightedTraefikServiceName": "split"}}),
        json!([]),
        &[object],
    )
}

#[test]
fn weights_are_written_and_nothing_else_changes() {
    let mut bench = bench(service(None, None));
    assert_eq!(bench.seen().weight, 50, "entries without weights share alike");
    for canary in [20, 100, 0] {
        assert!(bench.make(weight(canary)).reweighted);
        assert_eq!(
            bench.get("TraefikService", "split"),
            service(Some(canary), Some(100 - canary))
        );
    }
}

#[test]
fn a_service_that_is_not_there_is_named() {
    let mut bare = service(None, None);
    bare["spec"]["weighted"]["services"] = json!([{"name": "stable"}]);
    assert_eq!(
        bench(bare).problems(weight(20)),
        ["TraefikService \"split\": traefik canary service was not found (\"canary\")"]
    );
    let mut bench = bench(service(None, None));
    bench.remove("TraefikService", "split");
    assert_eq!(
        bench.problems(weight(20)),
        ["TraefikService \"split\" in namespace \"shop\" not found"]
    );
}
