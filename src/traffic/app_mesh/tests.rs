use crate::traffic::testing::{Ask, Bench, weight};
use serde_json::{Value, json};

fn target(node: &str, weight: i32) -> Value {
    json!({"virtualNodeRef": {"name": node}, "weight": weight})
}

fn router(canary: i32) -> Value {
    json!({"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": "VirtualRouter", "metadata": {"name": "router"}, "spec": {
        "listeners": [{"portMapping": {"port": 80, "protocol": "http"}}],
        "routes": [
            {"name": "primary", "httpRoute": {"match": {"prefix": "/"}, "retryPolicy": {"maxRetries": 2},
                "action": {"weightedTargets": [target("node-canary", canary), target("node-stable", 100 - canary)]}}},
            {"name": "other", "tcpRoute": {"action": {"weightedTargets": [target("elsewhere", 1)]}}}]}})
}

fn node(name: &str, hash: &str) -> Value {
    json!({"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": "VirtualNode", "metadata": {"name": name}, "spec": {
        "podSelector": {"matchLabels": {"app": "web", "rollouts-pod-template-hash": hash}}, "listeners": []}})
}

fn bench() -> Bench {
    let service = json!({"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": "VirtualService", "metadata": {"name": "web"},
        "spec": {"provider": {"virtualRouter": {"virtualRouterRef": {"name": "router"}}}}});
    let routing = json!({"appMesh": {"virtualService": {"name": "web", "routes": ["primary"]}, "virtualNodeGroup": {
        "canaryVirtualNodeRef": {"name": "node-canary"}, "stableVirtualNodeRef": {"name": "node-stable"}}}});
    Bench::of(
        routing,
        json!([]),
        &[
            service,
            router(0),
            node("node-canary", "canary-hash"),
            node("node-stable", "stable-hash"),
        ],
    )
}

#[test]
fn weights_are_written_and_nothing_else_changes() {
    let mut bench = bench();
    for canary in [20, 100, 0] {
        assert!(bench.make(weight(canary)).reweighted);
        assert_eq!(bench.get("VirtualRouter", "router"), router(canary));
    }
    assert_eq!(
        bench.get("VirtualNode", "node-canary"),
        node("node-canary", "canary-hash")
    );
}

#[test]
fn the_nodes_lead_to_the_pods_they_should() {
    let mut bench = bench();
    let ask = Ask {
        hashes: Some(("new", "old")),
        ..weight(0)
    };
    assert!(bench.make(ask).reweighted);
    let led = bench.get("VirtualNode", "node-canary");
    assert_eq!(led["spec"], node("node-canary", "new")["spec"]);
    assert_eq!(
        led["metadata"]["annotations"]["argo-rollouts.argoproj.io/managed-by-rollouts"],
        "web"
    );
    let seen = bench.seen();
    assert_eq!(
        (seen.canary_leads, seen.stable_leads),
        (vec!["new".to_owned()], vec!["old".to_owned()])
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let mut bench = bench();
    let mut three = router(0);
    let targets = three["spec"]["routes"][0]
        .pointer_mut("/httpRoute/action/weightedTargets")
        .unwrap();
    targets.as_array_mut().unwrap().push(target("third", 0));
    bench.put(three);
    assert_eq!(
        bench.problems(weight(20)),
        ["Invalid number of weightedTargets (3) for AppMesh virtual-router router and route primary, expected 2"]
    );
    bench.put(
        json!({"apiVersion": "appmesh.k8s.aws/v1beta2", "kind": "VirtualService", "metadata": {"name": "web"},
        "spec": {"provider": {"virtualNode": {}}}}),
    );
    bench.remove("VirtualNode", "node-canary");
    assert_eq!(
        bench.problems(weight(20)),
        [
            "App Mesh VirtualService \"web\" has no VirtualRouter in spec.provider.virtualRouter.virtualRouterRef",
            "VirtualNode \"node-canary\" in namespace \"shop\" not found",
        ]
    );
}

/// App Mesh refuses a pod that two nodes select, so that only one that stands apart finds other pods again.
#[test]
fn nodes_of_a_gone_rollout_are_released_as_far_as_they_stay_apart() {
    let mut bench = bench();
    bench.make(Ask {
        hashes: Some(("new", "old")),
        ..weight(0)
    });
    let edits = bench.released();
    bench.carry_out(&edits);
    for (name, hash) in [("node-canary", "new"), ("node-stable", "old")] {
        let released = bench.get("VirtualNode", name);
        assert_eq!(released["spec"], node(name, hash)["spec"]);
        assert_eq!(released["metadata"], json!({"name": name, "annotations": {}}));
    }
    let track = json!({"spec": {"podSelector": {"matchLabels": {"track": "canary"}}}});
    bench.patch("VirtualNode", "node-canary", track);
    let other = json!({"spec": {"podSelector": {"matchLabels": {"track": "stable"}}}});
    bench.patch("VirtualNode", "node-stable", other);
    let edits = bench.released();
    bench.carry_out(&edits);
    let labels = bench.get("VirtualNode", "node-canary")["spec"]["podSelector"]["matchLabels"].clone();
    assert_eq!(labels, json!({"app": "web", "track": "canary"}));
}
