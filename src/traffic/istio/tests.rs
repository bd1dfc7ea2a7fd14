use crate::traffic::testing::{Ask, Bench, steps, weight};
use serde_json::{Value, json};

const INVALID_HTTP: &str = "Istio VirtualService has invalid HTTP routes. Error: VirtualService \"web\"";

fn to(host: &str, weight: Option<i32>) -> Value {
    let mut entry = json!({"destination": {"host": host, "port": {"number": 80}}});
    if let Some(weight) = weight {
        entry["weight"] = json!(weight);
    }
    entry
}

fn primary(canary: i32) -> Value {
    json!({"name": "primary", "match": [{"uri": {"prefix": "/shop"}}], "rewrite": {"uri": "/"}, "timeout": "5s",
        "route": [to("stable", Some(100 - canary)), to("canary.shop.svc.cluster.local", Some(canary))]})
}

fn virtual_service(http: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"},
        "spec": {"hosts": ["web"], "gateways": ["edge"], "http": http}})
}

fn with_static(canary: i32) -> Value {
    let assets = json!({"name": "static", "match": [{"uri": {"prefix": "/static"}}], "route": [to("assets", None)]});
    virtual_service(json!([primary(canary), assets]))
}

fn bench(istio: Value, objects: &[Value]) -> Bench {
    Bench::of(json!({"istio": istio}), steps(), objects)
}

fn one() -> Value {
    json!({"virtualService": {"name": "web", "routes": ["primary"]}})
}

fn at_step(index: usize, canary: i32) -> Ask {
    Ask {
        index: Some(index),
        ..weight(canary)
    }
}

#[test]
fn weights_are_written_and_nothing_else_changes() {
    let mut bench = bench(one(), &[with_static(50)]);
    assert_eq!(bench.seen().weight, 50);
    for canary in [20, 100, 0] {
        assert!(bench.make(weight(canary)).reweighted);
        assert_eq!(bench.get("VirtualService", "web"), with_static(canary));
    }
}

#[test]
fn other_destinations_keep_their_weight_out_of_the_stable_share() {
    let route = |canary: i32, stable: i32| {
        virtual_service(
            json!([{"route": [to("stable", Some(stable)), to("canary", Some(canary)), to("extra", Some(10))]}]),
        )
    };
    let mut bench = bench(json!({"virtualService": {"name": "web"}}), &[route(0, 90)]);
    for (canary, stable) in [(20, 70), (89, 1)] {
        bench.make(weight(canary));
        assert_eq!(bench.get("VirtualService", "web"), route(canary, stable));
    }
    bench.make(weight(100));
    assert_eq!(
        bench.get("VirtualService", "web"),
        route(90, 0),
        "all that the two versions get"
    );
    assert_eq!(
        bench.problems(weight(95)),
        [format!(
            "{INVALID_HTTP}: spec.http[0] has 10 of 100 at other destinations, which leaves no room for weight 95"
        )]
    );
}

#[test]
fn tls_and_tcp_routes_are_picked_by_port_and_hosts() {
    let pair = |canary: i32| json!([to("stable", Some(100 - canary)), to("canary", Some(canary))]);
    let object = |first: i32, second: i32| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"}, "spec": {
            "tls": [
                {"match": [{"port": 443, "sniHosts": ["a.example.com", "b.example.com"]}], "route": pair(first)},
                {"match": [{"port": 443, "sniHosts": ["c.example.com"]}], "route": pair(7)}],
            "tcp": [{"match": [{"port": 3306}], "route": pair(second)}, {"match": [{"port": 9}], "route": [to("x", None)]}]}})
    };
    let picks = json!({"virtualService": {"name": "web", "tcpRoutes": [{"port": 3306}],
        "tlsRoutes": [{"port": 443, "sniHosts": ["b.example.com", "a.example.com"]}]}});
    let mut bench = bench(picks, &[object(0, 0)]);
    bench.make(weight(30));
    assert_eq!(bench.get("VirtualService", "web"), object(30, 30));
    bench.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"}, "spec": {}}));
    assert_eq!(
        bench.problems(weight(30)),
        [
            "Istio VirtualService has invalid TLS routes. Error: VirtualService \"web\" has no route of port 443 and hosts [b.example.com,a.example.com]",
            "Istio VirtualService has invalid TCP routes. Error: VirtualService \"web\" has no route of port 3306",
        ]
    );
}

/// Hazard 5: one that needs nothing, or is wrong, kept the next from being edited.
#[test]
fn each_of_several_virtual_services_is_looked_at_for_itself() {
    let mut second = virtual_service(json!([primary(0)]));
    second["metadata"]["name"] = json!("second");
    let several =
        json!({"virtualServices": [{"name": "web", "routes": ["primary"]}, {"name": "second.shop"}, {"name": "gone"}]});
    let mut bench = bench(several, &[with_static(20), second]);
    assert!(!bench.seen().everywhere && bench.seen().weight == 20);
    let routing = bench.routed(weight(20));
    assert_eq!(
        routing.problems,
        ["VirtualService \"gone\" in namespace \"shop\" not found"]
    );
    bench.carry_out(&routing.edits);
    assert_eq!(
        bench.get("VirtualService", "second")["spec"]["http"],
        json!([primary(20)])
    );
    let routing = bench.routed(at_step(0, 20));
    assert_eq!(routing.edits.len(), 2, "header routes are made in both");
}

#[test]
fn a_header_route_is_a_narrower_copy_of_the_route() {
    let mut bench = bench(one(), &[with_static(0)]);
    bench.make(at_step(0, 0));
    let http = bench.get("VirtualService", "web")["spec"]["http"].clone();
    assert_eq!(
        http[0],
        json!({"name": "by-header", "rewrite": {"uri": "/"}, "timeout": "5s",
            "match": [{"uri": {"prefix": "/shop"}, "headers": {"x-canary": {"exact": "yes"}}}],
            "route": [to("canary.shop.svc.cluster.local", Some(100))]})
    );
    assert_eq!(
        http.as_array().unwrap()[1..],
        *with_static(0)["spec"]["http"].as_array().unwrap()
    );
    assert!(bench.seen().routed_apart && bench.seen().weight == 0);
    assert!(
        bench.routed(weight(0)).written,
        "it stays when nobody says what should be"
    );
    bench.make(at_step(0, 40));
    bench.make(at_step(1, 40));
    assert_eq!(bench.get("VirtualService", "web"), with_static(40));
    assert!(!bench.seen().routed_apart);
}

#[test]
fn a_mirror_copies_what_both_match_and_follows_the_weights() {
    let mut bench = bench(one(), &[with_static(10)]);
    bench.make(at_step(2, 10));
    let mut expected = primary(10);
    expected["name"] = json!("copy");
    expected["match"] = json!([{"uri": {"prefix": "/shop"}, "method": {"exact": "GET"}}]);
    expected["mirror"] = to("canary.shop.svc.cluster.local", None)["destination"].clone();
    expected["mirrorPercentage"] = json!({"value": 35});
    assert_eq!(bench.get("VirtualService", "web")["spec"]["http"][0], expected);
    bench.make(weight(30));
    let copied = bench.get("VirtualService", "web")["spec"]["http"][0]["route"].clone();
    assert_eq!(copied, primary(30)["route"], "a mirror that stays has the weights too");
}

#[test]
fn an_abort_goes_through_a_route_that_does_not_fit() {
    let route = |canary: i32, first: i32| json!({"name": "primary", "route": [to("stable", Some(first)), to("canary", Some(canary)), to("stable", Some(30))]});
    let mut bench = bench(one(), &[virtual_service(json!([primary(0)]))]);
    bench.make(at_step(0, 0));
    let made = bench.get("VirtualService", "web")["spec"]["http"][0].clone();
    bench.patch(
        "VirtualService",
        "web",
        json!({"spec": {"http": [made, route(20, 50)]}}),
    );
    let routing = bench.routed(Ask {
        index: Some(1),
        ..weight(0)
    });
    assert_eq!(
        routing.problems,
        [format!(
            "{INVALID_HTTP}: route \"primary\" has 2 destinations of the stable version (Service \"stable\", or its subset), expected 1"
        )]
    );
    bench.carry_out(&routing.edits);
    assert_eq!(
        bench.get("VirtualService", "web")["spec"]["http"],
        json!([route(0, 70)])
    );
    assert_eq!((bench.seen().weight, bench.seen().routed_apart), (0, false));
}

fn rule(canary: Option<&str>, stable: Option<&str>) -> Value {
    let subset = |name: &str, hash: Option<&str>| {
        let mut subset = json!({"name": name, "labels": {"app": "web"}, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
        if let Some(hash) = hash {
            subset["labels"]["rollouts-pod-template-hash"] = json!(hash);
        }
        subset
    };
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "web"}, "spec": {"host": "web",
        "subsets": [subset("stable", stable), subset("canary", canary), subset("extra", None), subset("mine", None)]}})
}

fn subset_route(canary: i32) -> Value {
    let entry = |subset: &str, weight: i32| json!({"destination": {"host": "web", "subset": subset}, "weight": weight});
    virtual_service(json!([{"route": [entry("stable", 80 - canary), entry("canary", canary), entry("extra", 20)]}]))
}

fn by_subset() -> Value {
    json!({"virtualService": {"name": "web"}, "destinationRule": {
        "name": "web", "canarySubsetName": "canary", "stableSubsetName": "stable", "additionalSubsetNames": ["extra"]}})
}

/// Hazard 10: other subsets were dropped.
#[test]
fn subsets_lead_to_their_pods_and_every_other_one_stays() {
    let mut bench = bench(by_subset(), &[subset_route(0), rule(None, None)]);
    assert_eq!(bench.seen().canary_leads, [""]);
    let ask = Ask {
        hashes: Some(("new", "old")),
        ..weight(30)
    };
    assert!(bench.make(ask).reweighted);
    assert_eq!(bench.get("VirtualService", "web"), subset_route(30));
    let led = bench.get("DestinationRule", "web");
    assert_eq!(led["spec"], rule(Some("new"), Some("old"))["spec"]);
    assert_eq!(
        led["metadata"]["annotations"]["argo-rollouts.argoproj.io/managed-by-rollouts"],
        "web"
    );
    assert_eq!(
        (bench.seen().canary_leads, bench.seen().stable_leads),
        (vec!["new".to_owned()], vec!["old".to_owned()])
    );
    bench.make(weight(0));
    assert_eq!(bench.get("DestinationRule", "web"), led, "nobody said where to lead");
}

#[test]
fn subsets_of_a_gone_rollout_lead_to_every_pod_again() {
    let mut bench = bench(by_subset(), &[subset_route(0), rule(None, None)]);
    let before = bench.get("DestinationRule", "web");
    bench.make(Ask {
        hashes: Some(("new", "old")),
        ..weight(30)
    });
    let edits = bench.released();
    bench.carry_out(&edits);
    let released = bench.get("DestinationRule", "web");
    assert_eq!(released["spec"], before["spec"]);
    assert_eq!(released["metadata"]["annotations"], json!({}));
}

#[test]
fn what_does_not_fit_is_named() {
    let mut bench = bench(
        by_subset(),
        &[virtual_service(json!([primary(0), primary(0)])), rule(None, None)],
    );
    assert_eq!(
        bench.problems(weight(20)),
        [format!(
            "{INVALID_HTTP} has 2 routes in spec.http, expected the names of those to split"
        )]
    );
    bench.put(virtual_service(
        json!([{"route": [to("stable", None), to("canary.elsewhere.svc", Some(3))]}]),
    ));
    assert_eq!(
        bench.problems(weight(20)),
        [format!(
            "{INVALID_HTTP}: spec.http[0] has 0 destinations of the canary version (Service \"canary\", or its subset), expected 1"
        )]
    );
    bench.put(subset_route(0));
    bench.patch(
        "DestinationRule",
        "web",
        json!({"metadata": {"annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "other"}}}),
    );
    let routing = bench.routed(weight(20));
    assert_eq!(
        routing.problems,
        ["DestinationRule \"web\" is managed by another Rollout (other)"]
    );
    assert_eq!(routing.edits.len(), 1, "the weight goes through");
    bench.put(rule(None, None));
    bench.patch(
        "DestinationRule",
        "web",
        json!({"spec": {"subsets": [{"name": "stable"}]}}),
    );
    assert_eq!(
        bench.problems(weight(20)),
        ["DestinationRule \"web\" has no subset \"canary\""]
    );
}
