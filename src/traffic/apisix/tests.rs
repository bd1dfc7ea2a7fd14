use crate::{
    plan::Action,
    traffic::testing::{Ask, Bench, steps, weight},
};
use serde_json::{Value, json};

fn backend(name: &str, weight: i32) -> Value {
    json!({"serviceName": name, "servicePort": 80, "weight": weight, "resolveGranularity": "endpoint"})
}

fn route(canary: i32) -> Value {
    json!({"apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute",
        "metadata": {"name": "edge", "annotations": {"kubernetes.io/ingress.class": "apisix", "note": "mine"}},
        "spec": {"ingressClassName": "apisix", "http": [
            {"name": "web", "priority": 3, "match": {"hosts": ["web.example.com"], "paths": ["/*"]},
                "backends": [backend("stable", 100 - canary), backend("canary", canary)], "websocket": true},
            {"name": "assets", "match": {"paths": ["/static/*"]}, "backends": [backend("assets", 100)]}]}})
}

fn bench(objects: &[Value]) -> Bench {
    let routing = json!({"apisix": {"route": {"name": "edge", "rules": ["web"]}}});
    Bench::of(routing, steps(), objects)
}

fn at_step(index: usize, canary: i32) -> Ask {
    Ask {
        index: Some(index),
        ..weight(canary)
    }
}

#[test]
fn weights_are_written_and_nothing_else_changes() {
    let mut bench = bench(&[route(50)]);
    for canary in [20, 100, 0] {
        assert!(bench.make(weight(canary)).reweighted);
        assert_eq!(bench.get("ApisixRoute", "edge"), route(canary));
    }
}

#[test]
fn a_header_route_is_a_route_of_its_own_while_its_step_lasts() {
    let mut bench = bench(&[route(0)]);
    assert!(bench.make(at_step(0, 0)).reweighted);
    let made = bench.get("ApisixRoute", "by-header");
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "r");
    assert_eq!(
        made["metadata"]["annotations"],
        json!({"kubernetes.io/ingress.class": "apisix"})
    );
    // The second of two managed routes, so that its precedence is one higher than that of the next.
    assert_eq!(
        made["spec"],
        json!({"ingressClassName": "apisix", "http": [{"name": "web", "priority": 5, "websocket": true,
            "match": {"hosts": ["web.example.com"], "paths": ["/*"], "exprs": [
                {"subject": {"scope": "Header", "name": "x-canary"}, "op": "Equal", "value": "yes"}]},
            "backends": [backend("canary", 100)]}]})
    );
    assert!(bench.seen().routed_apart);
    bench.patch(
        "ApisixRoute",
        "by-header",
        json!({"spec": {"filledIn": null}, "status": {"conditions": []}}),
    );
    bench.make(at_step(0, 30));
    assert!(
        bench.routed(weight(30)).written,
        "it stays when nobody says what should be"
    );
    let over = bench.make(at_step(1, 30));
    assert!(over.reweighted && matches!(over.edits.as_slice(), [Action::Delete { .. }]));
    assert!(!bench.seen().routed_apart);
}

#[test]
fn what_the_server_fills_in_is_no_difference() {
    let mut bench = bench(&[route(0)]);
    bench.make(at_step(0, 0));
    let mut filled = bench.find("ApisixRoute", "by-header").unwrap().clone();
    filled["spec"]["http"][0]["match"]["exprs"][0]["set"] = json!([]);
    bench.put(filled);
    assert!(bench.routed(at_step(0, 0)).written);
}

#[test]
fn what_does_not_fit_is_named() {
    let mut bench = bench(&[route(0)]);
    assert!(bench.problems(at_step(2, 0)).is_empty(), "mirrors are another router's");
    let mut foreign = route(0);
    foreign["metadata"]["name"] = json!("by-header");
    bench.put(foreign);
    assert_eq!(
        bench.problems(at_step(0, 0)),
        ["ApisixRoute `by-header` controlled by different object (nobody)"]
    );
    let mut bare = route(0);
    bare["spec"]["http"][0]["backends"] = json!([backend("stable", 100)]);
    bench.put(bare);
    assert_eq!(
        bench.problems(weight(20)),
        ["ApisixRoute \"edge\" has no single backend for the canary service \"canary\" in rule \"web\""]
    );
    let mut renamed = route(0);
    renamed["spec"]["http"][0]["name"] = json!("site");
    bench.put(renamed);
    assert_eq!(
        bench.problems(weight(20)),
        ["ApisixRoute \"edge\" has no rule \"web\" in spec.http"]
    );
}
