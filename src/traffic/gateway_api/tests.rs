use super::*;
use crate::{
    api::rollout::Rollout,
    plan::Action,
    traffic::{
        Weights,
        routes::{Route, routes_at},
    },
};
use kube::core::DynamicObject;

fn rollout(steps: Value) -> Rollout {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"strategy": {"canary": {
            "trafficRouting": {"managedRoutes": [{"name": "by-header"}, {"name": "copy"}], "plugins": {}},
            "steps": steps,
        }}},
    }))
    .unwrap()
}

/// An HTTPRoute as an API server stores it: with the defaults of its definition.
fn http_route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3},
        "spec": {
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/shop"}}],
                    "filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
                    "backendRefs": [backend("stable", 1), backend("canary", 1)],
                    "timeouts": {"request": "5s"},
                },
                {"name": "static", "matches": [{"path": {"type": "PathPrefix", "value": "/static"}}], "backendRefs": [backend("assets", 1)]},
            ],
        },
    })
}

fn backend(name: &str, weight: i32) -> Value {
    json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight})
}

fn object(value: &Value) -> DynamicObject {
    serde_json::from_value(value.clone()).unwrap()
}

fn gateway() -> GatewayApi {
    GatewayApi::parse(&json!({"httpRoute": "web", "namespace": "shop"})).unwrap()
}

fn routed(rollout: &Rollout, live: &Value, canary: i32, routes: Option<&[Route<'_>]>) -> Routing {
    let live = object(live);
    let foreign = Foreign {
        kind: ForeignKind::HttpRoute,
        object: &live,
    };
    gateway().route(&wanted(rollout, canary, routes), &[foreign])
}

fn wanted<'a>(rollout: &'a Rollout, canary: i32, routes: Option<&'a [Route<'a>]>) -> Wanted<'a> {
    Wanted {
        rollout,
        stable_service: "stable",
        canary_service: "canary",
        weights: Weights { canary, total: 100 },
        routes,
        stable_hash: None,
        canary_hash: None,
        quiet: false,
    }
}

fn seen(live: &Value) -> Seen {
    let live = object(live);
    let foreign = Foreign {
        kind: ForeignKind::HttpRoute,
        object: &live,
    };
    gateway().seen(&wanted(&rollout(json!([])), 0, None), &[foreign])
}

/// The object after the edit; `None` when there is none.
fn edited(live: &Value, routing: &Routing) -> Option<Value> {
    assert!(routing.problems.is_empty(), "{:?}", routing.problems);
    let Action::Merge {
        patch, precondition, ..
    } = routing.edits.first()?
    else {
        panic!("{:?}", routing.edits)
    };
    assert_eq!(precondition.as_ref().unwrap().resource_version.as_deref(), Some("7"));
    let mut after = live.clone();
    json_patch::merge(&mut after, patch);
    Some(after)
}

#[test]
fn weights_are_written_and_nothing_else_changes() {
    let (rollout, before) = (rollout(json!([])), http_route());
    assert_eq!(seen(&before).weight, 50, "backendRefs without weights share alike");
    let after = edited(&before, &routed(&rollout, &before, 20, Some(&[]))).unwrap();
    let mut expected = before;
    expected["spec"]["rules"][0]["backendRefs"] = json!([backend("stable", 80), backend("canary", 20)]);
    assert_eq!(after, expected);
    assert_eq!(seen(&after).weight, 20);
    let again = routed(&rollout, &after, 20, Some(&[]));
    assert!(again.written && again.edits.is_empty() && !again.reweighted);
}

#[test]
fn a_header_route_is_a_narrower_copy_of_the_rule() {
    let steps = json!([
        {"setHeaderRoute": {"name": "by-header", "match": [
            {"headerName": "x-canary", "headerValue": {"exact": "yes"}}, {"headerName": "agent", "headerValue": {"prefix": "a.b"}}]}},
        {"setHeaderRoute": {"name": "by-header"}},
    ]);
    let (rollout, before) = (rollout(steps), http_route());
    let canary = rollout.spec.strategy.canary.as_ref().unwrap();
    let routes = routes_at(canary, 0);
    let after = edited(&before, &routed(&rollout, &before, 0, Some(&routes))).unwrap();
    let made = &after["spec"]["rules"][0];
    assert_eq!(made["name"], "by-header");
    assert_eq!(
        made["matches"],
        json!([{"path": {"type": "PathPrefix", "value": "/shop"}, "headers": [
            {"name": "x-canary", "type": "Exact", "value": "yes"},
            {"name": "agent", "type": "RegularExpression", "value": r"^a\.b.*"}]}])
    );
    assert_eq!(made["backendRefs"], json!([backend("canary", 1)]));
    assert_eq!(made["filters"], before["spec"]["rules"][0]["filters"]);
    assert_eq!(made["timeouts"], before["spec"]["rules"][0]["timeouts"]);
    assert_eq!(after["spec"]["rules"][2], before["spec"]["rules"][1]);
    assert!(seen(&after).routed_apart && seen(&after).weight == 0);
    assert!(routed(&rollout, &after, 0, Some(&routes)).written, "it is made once");
    assert!(
        routed(&rollout, &after, 0, None).written,
        "it stays when nobody says what should be"
    );
    let gone = edited(&after, &routed(&rollout, &after, 0, Some(&routes_at(canary, 1)))).unwrap();
    assert_eq!(gone["spec"]["rules"].as_array().unwrap().len(), 2);
    assert!(!seen(&gone).routed_apart);
}

#[test]
fn a_mirror_copies_what_both_match() {
    let steps = json!([{"setMirrorRoute": {"name": "copy", "percentage": 35, "match": [
        {"method": {"exact": "get"}, "path": {"prefix": "/"}},
        {"path": {"exact": "/shop/cart"}},
        {"path": {"prefix": "/elsewhere"}}]}}]);
    let (rollout, before) = (rollout(steps), http_route());
    let canary = rollout.spec.strategy.canary.as_ref().unwrap();
    let routes = routes_at(canary, 0);
    let after = edited(&before, &routed(&rollout, &before, 10, Some(&routes))).unwrap();
    let made = &after["spec"]["rules"][0];
    assert_eq!(
        made["matches"],
        json!([{"method": "GET", "path": {"type": "PathPrefix", "value": "/shop"}}, {"path": {"type": "Exact", "value": "/shop/cart"}}])
    );
    assert_eq!(
        made["backendRefs"],
        json!([backend("stable", 90), backend("canary", 10)])
    );
    assert_eq!(
        made["filters"][1],
        json!({"type": "RequestMirror", "requestMirror": {
            "backendRef": {"group": "", "kind": "Service", "name": "canary", "port": 80}, "percent": 35}})
    );
    assert!(routed(&rollout, &after, 10, Some(&routes)).written);
    assert!(seen(&after).routed_apart);
}

#[test]
fn a_route_that_does_not_fit_is_named() {
    let rollout = rollout(json!([]));
    let mut live = http_route();
    live["spec"]["rules"][0]["backendRefs"] = json!([backend("stable", 1)]);
    assert_eq!(
        routed(&rollout, &live, 20, Some(&[])).problems,
        ["HTTPRoute \"web\" has no rule with backendRefs to both Services, \"stable\" and \"canary\""]
    );
    // A header route of ours that leads to the canary goes all the same when it is wanted no more.
    let ours = json!({"name": "by-header", "backendRefs": [backend("canary", 1)]});
    let mut apart = live.clone();
    apart["spec"]["rules"].as_array_mut().unwrap().insert(0, ours);
    let mut aborted = routed(&rollout, &apart, 0, Some(&[]));
    assert_eq!(std::mem::take(&mut aborted.problems).len(), 1);
    assert_eq!(
        edited(&apart, &aborted).unwrap()["spec"]["rules"],
        live["spec"]["rules"]
    );
    let missing = gateway().route(&wanted(&rollout, 20, Some(&[])), &[]);
    assert_eq!(missing.problems, ["HTTPRoute \"web\" in namespace \"shop\" not found"]);
    live["spec"]["rules"][0]["backendRefs"] =
        json!([{"kind": "ServiceImport", "name": "canary"}, backend("stable", 1)]);
    assert!(
        !routed(&rollout, &live, 20, Some(&[])).problems.is_empty(),
        "another kind is not ours"
    );
}

#[test]
fn a_gateway_that_has_not_taken_up_the_generation_lags() {
    let parent = |accepted: &str, generation: i64| {
        json!({"controllerName": "example.com/gateway", "conditions": [
            {"type": "Accepted", "status": accepted, "observedGeneration": generation, "reason": "NoMatchingParent"},
            {"type": "ResolvedRefs", "status": "True", "observedGeneration": generation}]})
    };
    let lag = |parents: Value| {
        let mut live = http_route();
        live["status"] = json!({"parents": parents});
        seen(&live).lag
    };
    assert_eq!(seen(&http_route()).lag, None, "nobody reports");
    assert_eq!(lag(json!([parent("True", 3)])), None);
    assert_eq!(
        lag(json!([parent("True", 3), parent("True", 2)])).as_deref(),
        Some("HTTPRoute \"web\": example.com/gateway has not taken up generation 3 yet")
    );
    assert_eq!(
        lag(json!([parent("False", 3)])).as_deref(),
        Some("HTTPRoute \"web\": example.com/gateway does not accept it: NoMatchingParent")
    );
    assert_eq!(
        lag(json!([parent("False", 3), parent("True", 3)])),
        None,
        "it sends it no requests"
    );
    let mut unresolved = parent("True", 3);
    unresolved["conditions"][1]["status"] = json!("False");
    unresolved["conditions"][1]["message"] = json!("no Service canary");
    assert_eq!(
        lag(json!([unresolved])).as_deref(),
        Some("HTTPRoute \"web\": example.com/gateway cannot follow its references: no Service canary")
    );
}

#[test]
fn configurations_are_read_and_what_is_wrong_is_named() {
    let parsed = GatewayApi::parse(&json!({
        "httpRoutes": [{"name": "a", "useHeaderRoutes": false}, {"name": "b"}], "grpcRoute": "g", "tcpRoutes": [{"name": "t"}],
        "namespace": "edge", "configMap": "old"}))
    .unwrap();
    let mut names: Vec<String> = parsed.routes.iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["GRPCRoute g", "HTTPRoute a", "HTTPRoute b", "TCPRoute t"]);
    assert_eq!(parsed.namespace.as_deref(), Some("edge"));
    assert!(parsed.knows_requests());
    let problems = |config: Value| {
        let problems = GatewayApi::parse(&config).unwrap_err();
        let told = problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        problems(json!({"httpRoutes": [{"nam": "a"}]})),
        ["httpRoutes[0].name: expected the name of a route"]
    );
    assert_eq!(
        problems(json!({"httpRoute": "a", "httpRutes": []})),
        ["httpRutes: this field is not known; did you mean httpRoutes?"]
    );
    assert_eq!(
        problems(json!({"namespace": "edge"})),
        [": expected at least one of httpRoutes, grpcRoutes, tcpRoutes, tlsRoutes"]
    );
}
