use super::*;
use crate::k8s::{
    ledger::{LOOKS_MAX, Written},
    left,
    store::{Store, Stored},
};
use serde_json::{Value, json};

fn put<K: Stored>(store: &Store<K>, object: Value) {
    store.put(serde_json::from_value(object).unwrap());
}

fn stores() -> Stores {
    let stores = Stores::default();
    put(
        &stores.rollouts,
        json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "5"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "strategy": {"canary": {
                "stableService": "stable", "canaryService": "missing",
                "trafficRouting": {"nginx": {"stableIngress": "front"}},
                "analysis": {"templates": [{"templateName": "quality"}]}}}}}),
    );
    stores
}

fn look(stores: &Stores, ledger: &Ledger, instance_id: &str) -> Observation {
    let settings = Arc::new(Settings {
        instance_id: instance_id.to_owned(),
        ..Settings::default()
    });
    observe(
        stores,
        ledger,
        &settings,
        &ObjectKey::new("shop", "web"),
        Timestamp::UNIX_EPOCH,
    )
}

fn metadata(name: &str, owner: Option<&str>, labels: Value) -> Value {
    let owners: Vec<Value> = owner
        .map(|uid| json!({"apiVersion": "v1", "kind": "Rollout", "name": "web", "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    json!({"metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "4", "labels": labels, "ownerReferences": owners}})
}

fn names<K: kube::Resource>(objects: &[&K]) -> Vec<String> {
    objects
        .iter()
        .map(|object| object.meta().name.clone().unwrap())
        .collect()
}

#[test]
fn a_snapshot_holds_what_concerns_the_rollout_and_nothing_else() {
    let stores = stores();
    put(&stores.replica_sets, metadata("mine", Some("u"), json!({})));
    put(&stores.replica_sets, metadata("adoptable", None, json!({"app": "web"})));
    put(&stores.replica_sets, metadata("strange", None, json!({"app": "api"})));
    put(
        &stores.replica_sets,
        metadata("of-my-predecessor", Some("u-before"), json!({"app": "web"})),
    );
    put(&stores.services, metadata("stable", None, json!({})));
    put(&stores.services, metadata("unrelated", None, json!({})));
    put(&stores.ingresses, metadata("front", None, json!({})));
    put(&stores.ingresses, metadata("web-front-canary", Some("u"), json!({})));
    put(&stores.ingresses, metadata("forgotten", Some("u"), json!({})));
    put(&stores.analysis_runs, metadata("run", Some("u"), json!({})));
    put(
        &stores.analysis_templates,
        json!({"metadata": {"namespace": "shop", "name": "quality"}, "spec": {"templates": [
            {"templateName": "base", "clusterScope": true}, {"templateName": "quality"}, {"templateName": "nowhere"}]}}),
    );
    put(
        &stores.cluster_analysis_templates,
        json!({"metadata": {"name": "base"}}),
    );
    let Observation::Complete(observed) = look(&stores, &Ledger::default(), "") else {
        panic!("not complete")
    };
    let snapshot = observed.snapshot();
    assert_eq!(names(&snapshot.replica_sets), ["mine", "adoptable"]);
    assert_eq!(names(&snapshot.services), ["stable"]);
    assert_eq!(names(&snapshot.ingresses), ["forgotten", "front", "web-front-canary"]);
    assert_eq!(names(&snapshot.analysis_runs), ["run"]);
    assert_eq!(names(&snapshot.analysis_templates), ["quality"]);
    assert_eq!(names(&snapshot.cluster_analysis_templates), ["base"]);
}

#[test]
fn whoever_holds_a_name_of_the_experiment_of_a_step_is_seen() {
    let stores = stores();
    let mut rollout = serde_json::to_value(&*stores.rollouts.get(&ObjectKey::new("shop", "web")).unwrap()).unwrap();
    for name in ["web-h-2-0", "web-h-2-0-1", "web-h-2-0-2", "web-h-2-7"] {
        put(&stores.experiments, metadata(name, Some("u-before"), json!({})));
    }
    for (version, current) in (6..).zip(["web-h-2-0", "web-h-2-0-1", "web-h-2-0-2"]) {
        rollout["metadata"]["resourceVersion"] = json!(version.to_string());
        rollout["status"] = json!({"canary": {"currentExperiment": current}});
        put(&stores.rollouts, rollout.clone());
        let Observation::Complete(observed) = look(&stores, &Ledger::default(), "") else {
            panic!("not complete")
        };
        let mut found = names(&observed.snapshot().experiments);
        found.sort();
        assert_eq!(found, ["web-h-2-0", "web-h-2-0-1", "web-h-2-0-2"], "at {current}");
    }
}

#[test]
fn rollouts_of_other_instances_and_gone_ones_are_told_apart() {
    let stores = stores();
    assert!(matches!(
        look(&stores, &Ledger::default(), "blue"),
        Observation::Foreign
    ));
    put(
        &stores.rollouts,
        json!({"metadata": {"namespace": "shop", "name": "web", "resourceVersion": "6", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    assert!(matches!(look(&stores, &Ledger::default(), ""), Observation::Gone));
}

/// Also at a start, when nobody remembers the Rollout.
#[test]
fn what_a_gone_rollout_left_is_found_by_its_marks() {
    let stores = Stores::default();
    let marked = |name: &str, rollout: &str| {
        json!({"metadata": {"namespace": "shop", "name": name, "resourceVersion": "4",
            "annotations": {well_known::MANAGED_BY_ROLLOUT: rollout}}})
    };
    put(&stores.services, marked("stable", "web"));
    put(&stores.services, marked("of-another", "api"));
    put(&stores.services, marked("of-no-name", "../web"));
    let mut balancer = marked("balancer", "");
    balancer["metadata"]["annotations"] =
        json!({well_known::MANAGED_ALB_ANNOTATIONS: r#"{"web":["a/actions.b"],"api":[]}"#});
    put(&stores.ingresses, balancer);
    let rules = stores.foreign.store(ForeignKind::DestinationRule).unwrap();
    for (name, host) in [("here", "web"), ("elsewhere", "web.edge.svc.cluster.local")] {
        let mut rule = marked(name, "web");
        rule["spec"] = json!({"host": host});
        put(rules, rule);
    }
    let Observation::Left(left) = look(&stores, &Ledger::default(), "") else {
        panic!("nothing left")
    };
    let key = ObjectKey::new("shop", "web");
    let remains = left.remains(&key);
    assert_eq!(names(&remains.services), ["stable"]);
    assert_eq!(names(&remains.ingresses), ["balancer"]);
    let foreign: Vec<&str> = remains.foreign.iter().map(|object| object.name()).collect();
    assert_eq!(foreign, ["here"]);
    let named: Vec<String> = left::named(&stores).iter().map(ToString::to_string).collect();
    assert_eq!(named, ["shop/api", "shop/web"]);
}

#[test]
fn no_decision_is_made_on_a_view_from_before_our_own_writes() {
    let stores = stores();
    let ledger = Ledger::default();
    let subject = Subject::new("Rollout", ObjectKey::new("shop", "web"));
    let replica_set = ObjectRef::namespaced("apps/v1", "ReplicaSet", "shop", "new");
    let removed = ObjectRef::namespaced("apps/v1", "ReplicaSet", "shop", "old");
    let unwatched = ObjectRef::namespaced("networking.istio.io/v1", "VirtualService", "shop", "vs");
    put(&stores.replica_sets, metadata("old", Some("u"), json!({})));
    ledger.record(
        &subject,
        [
            (replica_set.clone(), Written::Version("7".to_owned())),
            (
                removed,
                Written::Deleted {
                    uid: Some("old".to_owned()),
                },
            ),
            (unwatched, Written::Version("1000".to_owned())),
        ],
    );
    assert!(matches!(look(&stores, &ledger, ""), Observation::Stale { behind } if behind == replica_set));
    let mut arrived = metadata("new", Some("u"), json!({}));
    arrived["metadata"]["resourceVersion"] = json!("8");
    put(&stores.replica_sets, arrived);
    assert!(
        matches!(look(&stores, &ledger, ""), Observation::Stale { .. }),
        "the deletion is not seen yet"
    );
    stores
        .replica_sets
        .remove(&serde_json::from_value(metadata("old", Some("u"), json!({}))).unwrap());
    assert!(matches!(look(&stores, &ledger, ""), Observation::Complete(_)));
}

#[test]
fn patience_with_a_store_that_does_not_follow_is_bounded() {
    let stores = stores();
    let ledger = Ledger::default();
    let subject = Subject::new("Rollout", ObjectKey::new("shop", "web"));
    ledger.record(
        &subject,
        [(
            ObjectRef::namespaced("v1", "Service", "shop", "s"),
            Written::Version("99".to_owned()),
        )],
    );
    for _ in 0..LOOKS_MAX {
        assert!(matches!(look(&stores, &ledger, ""), Observation::Stale { .. }));
    }
    for _ in 0..2 {
        assert!(matches!(look(&stores, &ledger, ""), Observation::Overdue { targets } if targets.len() == 1));
    }
    ledger.forget(&subject);
    assert!(matches!(look(&stores, &ledger, ""), Observation::Complete(_)));
}
