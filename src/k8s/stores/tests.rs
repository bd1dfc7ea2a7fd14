use super::*;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

type Woken = Arc<Mutex<BTreeSet<String>>>;

/// Stores with two Rollouts, `web` and `api`, and the names woken so far.
fn stores() -> (Stores, Woken) {
    let stores = Stores::default();
    put(&stores.rollouts, rollout("web", "web-svc", "quality"));
    put(&stores.rollouts, rollout("api", "api-svc", "other"));
    let woken = Woken::default();
    let log = Arc::clone(&woken);
    stores.wake_rollouts(move |key| {
        log.lock().unwrap().insert(key.to_string());
    });
    (stores, woken)
}

fn rollout(name: &str, service: &str, template: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "strategy": {"canary": {
            "stableService": service,
            "trafficRouting": {"nginx": {"stableIngress": "front"}},
            "steps": [{"analysis": {"templates": [{"templateName": template}]}}]}}}})
}

fn put<K: Stored>(store: &Store<K>, object: Value) {
    store.put(serde_json::from_value(object).unwrap());
}

#[track_caller]
fn expect(woken: &Woken, names: &[&str]) {
    let found: Vec<String> = std::mem::take(&mut *woken.lock().unwrap()).into_iter().collect();
    assert_eq!(found, names);
}

#[test]
fn a_service_wakes_the_rollouts_that_name_it_or_manage_it() {
    let (stores, woken) = stores();
    put(
        &stores.services,
        json!({"metadata": {"namespace": "shop", "name": "web-svc", "resourceVersion": "1"}}),
    );
    expect(&woken, &["shop/web"]);
    put(
        &stores.services,
        json!({"metadata": {"namespace": "elsewhere", "name": "web-svc", "resourceVersion": "1"}}),
    );
    expect(&woken, &[]);
    let managed = json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "api"});
    put(
        &stores.services,
        json!({"metadata": {"namespace": "shop", "name": "old", "resourceVersion": "1", "annotations": managed}}),
    );
    expect(&woken, &["shop/api"]);
    // The annotation is taken away by hand: the Rollout that had it must hear of it.
    put(
        &stores.services,
        json!({"metadata": {"namespace": "shop", "name": "old", "resourceVersion": "2"}}),
    );
    expect(&woken, &["shop/api"]);
}

#[test]
fn an_ingress_wakes_by_name_by_derived_name_and_by_owner() {
    let (stores, woken) = stores();
    let ingress = |name: &str| json!({"metadata": {"namespace": "shop", "name": name, "resourceVersion": "1"}});
    put(&stores.ingresses, ingress("front"));
    expect(&woken, &["shop/api", "shop/web"]);
    put(&stores.ingresses, ingress("web-front-canary"));
    expect(&woken, &["shop/web"]);
}

#[test]
fn a_template_wakes_through_other_templates_even_in_a_circle() {
    let (stores, woken) = stores();
    let template = |name: &str, leads_to: &str, cluster: bool| {
        json!({"metadata": {"namespace": "shop", "name": name, "resourceVersion": "1"},
            "spec": {"templates": [{"templateName": leads_to, "clusterScope": cluster}]}})
    };
    put(&stores.analysis_templates, template("quality", "base", true));
    put(&stores.analysis_templates, template("loop-a", "loop-b", false));
    put(&stores.analysis_templates, template("loop-b", "loop-a", false));
    expect(&woken, &["shop/web"]);
    put(
        &stores.cluster_analysis_templates,
        json!({"metadata": {"name": "base", "resourceVersion": "1"}}),
    );
    expect(&woken, &["shop/web"]);
}

#[test]
fn a_replica_set_wakes_its_owner_and_an_orphan_those_that_may_adopt_it() {
    let (stores, woken) = stores();
    let owned = json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "api", "uid": "uid-api", "controller": true}]);
    put(
        &stores.replica_sets,
        json!({"metadata": {"namespace": "shop", "name": "r", "resourceVersion": "1", "ownerReferences": owned}}),
    );
    expect(&woken, &["shop/api"]);
    // Orphaned: both the former owner and the one whose selector matches.
    put(
        &stores.replica_sets,
        json!({"metadata": {"namespace": "shop", "name": "r", "resourceVersion": "2", "labels": {"app": "web"}}}),
    );
    expect(&woken, &["shop/api", "shop/web"]);
    let foreign =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": "d", "controller": true}]);
    put(
        &stores.replica_sets,
        json!({"metadata": {"namespace": "shop", "name": "d", "resourceVersion": "3", "ownerReferences": foreign}}),
    );
    expect(&woken, &[]);
}

#[test]
fn a_replica_set_of_a_deployment_is_kept_without_its_template() {
    let replica_set = |kind: &str| {
        let owner = json!([{"apiVersion": "x/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]);
        let mut replica_set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "r", "ownerReferences": owner}, "spec": {"template": {"spec": {}}}}))
        .unwrap();
        replica_set.prune();
        replica_set.spec.template
    };
    assert!(replica_set("Deployment").is_null());
    assert!(replica_set("Rollout").is_object());
}

#[test]
fn a_selector_that_says_nothing_selects_nothing() {
    let object: ReplicaSet =
        serde_json::from_value(json!({"metadata": {"labels": {"app": "web", "tier": "front"}}})).unwrap();
    let selects = |selector: Value| selects(Some(&serde_json::from_value(selector).unwrap()), &object);
    assert!(selects(json!({"matchLabels": {"app": "web"}})));
    assert!(!selects(json!({"matchLabels": {"app": "api"}})));
    assert!(selects(
        json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}]})
    ));
    assert!(!selects(json!({})));
    assert!(!super::selects::<ReplicaSet>(None, &object));
}
