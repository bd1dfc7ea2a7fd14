use super::*;
use crate::{
    api::{replica_set::ReplicaSet, rollout::Rollout},
    rollout::snapshot::{Pods, Settings, Snapshot},
};
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T12:00:00Z";
const OLD: &str = "2026-01-01T00:00:00Z";
const YOUNG: &str = "2026-01-01T11:30:00Z";

fn rollout(replicas: i32, unavailable: &Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "R", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "restartAt": "2026-01-01T11:00:00Z",
            "strategy": {"canary": {"maxUnavailable": unavailable}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "demo:v2"}]}}},
        "status": {"stableRS": "stable", "currentPodHash": "new", "observedGeneration": "1"}})
}

fn set(hash: &str, image: &str, replicas: i32, available: i32) -> ReplicaSet {
    serde_json::from_value(json!({"metadata": {"name": format!("web-{hash}"), "namespace": "shop", "uid": hash,
            "labels": {"rollouts-pod-template-hash": hash}, "creationTimestamp": OLD,
            "annotations": {"rollout.argoproj.io/revision": if hash == "new" { "2" } else { "1" }},
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "R", "controller": true}]},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]}}},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}}))
    .unwrap()
}

/// A pod of a ReplicaSet: its name, when it was made, and whether it is ready.
fn pod(hash: &str, name: &str, created: &str, ready: bool) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": created,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{hash}"), "uid": hash, "controller": true}]},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}}))
    .unwrap()
}

struct Outcome {
    evicted: Vec<String>,
    restart: Restart,
}

fn outcome(rollout: &Value, sets: &[ReplicaSet], pods: Pods<'_>) -> Outcome {
    let rollout: Rollout = serde_json::from_value(rollout.clone()).unwrap();
    let settings = Settings::default();
    let snapshot = Snapshot {
        rollout: &rollout,
        referred: None,
        scaled_down: Vec::new(),
        replica_sets: sets.iter().collect(),
        services: vec![],
        ingresses: vec![],
        foreign: vec![],
        unserved: &[],
        served: &[],
        analysis_runs: vec![],
        experiments: vec![],
        analysis_templates: vec![],
        cluster_analysis_templates: vec![],
        pods,
        settings: &settings,
        now: NOW.parse().unwrap(),
    };
    let view = View::of(&snapshot);
    let mut decision = Decision::default();
    carry_out(&view, &mut decision);
    let evicted = decision.pods.iter().map(|write| write.target().name.clone()).collect();
    Outcome {
        evicted,
        restart: decision.restart,
    }
}

fn evicted(replicas: i32, unavailable: &Value, sets: &[ReplicaSet], pods: &[Pod]) -> Vec<String> {
    outcome(&rollout(replicas, unavailable), sets, Pods::Listed(pods)).evicted
}

fn stable(replicas: i32, available: i32) -> ReplicaSet {
    set("stable", "demo:v1", replicas, available)
}

#[test]
fn as_many_go_as_may_be_missing_the_oldest_first() {
    let sets = [stable(4, 4)];
    let pods = [
        pod("stable", "b", "2026-01-01T00:00:02Z", true),
        pod("stable", "a", "2026-01-01T00:00:01Z", true),
        pod("stable", "c", "2026-01-01T00:00:03Z", true),
        pod("stable", "young", YOUNG, true),
    ];
    assert_eq!(evicted(4, &json!(1), &sets, &pods), ["a"]);
    assert_eq!(evicted(4, &json!(2), &sets, &pods), ["a", "b"]);
    assert_eq!(evicted(4, &json!(0), &sets, &pods), ["a"], "one may go at least");
    // Nine are wanted, and four are there.
    assert_eq!(evicted(9, &json!(1), &sets, &pods), Vec::<String>::new());
}

#[test]
fn stable_pods_go_before_new_ones_and_those_before_others() {
    let sets = [set("old", "demo:v0", 1, 1), set("new", "demo:v2", 1, 1), stable(2, 2)];
    let pods = [
        pod("old", "old", OLD, true),
        pod("new", "new", OLD, true),
        pod("stable", "stable-1", OLD, true),
        pod("stable", "stable-2", OLD, true),
    ];
    // The last ready one of two stable pods stays for now.
    assert_eq!(evicted(4, &json!(4), &sets, &pods), ["stable-1", "new", "old"]);
    assert_eq!(evicted(4, &json!(1), &sets, &pods), ["stable-1"]);
}

#[test]
fn pods_that_are_not_ready_cost_no_availability_and_go_a_few_at_a_time() {
    let sets = [stable(3, 1)];
    let pods = [
        pod("stable", "a", OLD, true),
        pod("stable", "b", OLD, false),
        pod("stable", "c", OLD, false),
    ];
    assert_eq!(evicted(3, &json!(1), &sets, &pods), ["b"]);
    // While its successor is not ready, the next one stays.
    let pods = [
        pod("stable", "a", OLD, true),
        pod("stable", "b", YOUNG, false),
        pod("stable", "c", OLD, false),
    ];
    assert_eq!(evicted(3, &json!(1), &sets, &pods), Vec::<String>::new());
}

#[test]
fn a_status_that_counts_pods_that_are_gone_is_not_believed() {
    let pods = [pod("stable", "a", OLD, true), pod("stable", "b", OLD, true)];
    assert_eq!(evicted(3, &json!(1), &[stable(3, 3)], &pods), Vec::<String>::new());
    let found = outcome(&rollout(1, &json!(1)), &[stable(1, 1)], Pods::Listed(&[]));
    assert_eq!((found.restart.done, found.restart.waiting.is_some()), (None, true));
}

#[test]
fn a_pod_that_is_going_and_one_of_somebody_else_are_left_alone() {
    let mut going = pod("stable", "a", OLD, true);
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    let pods = [going, pod("somebody", "b", OLD, true), pod("stable", "c", YOUNG, true)];
    let found = outcome(&rollout(1, &json!(1)), &[stable(1, 1)], Pods::Listed(&pods));
    assert_eq!(found.evicted, Vec::<String>::new());
    assert_eq!(
        serde_json::to_value(found.restart.done).unwrap(),
        "2026-01-01T11:00:00Z"
    );
}

#[test]
fn what_cannot_be_listed_is_said_and_ends_nothing() {
    let found = outcome(&rollout(1, &json!(1)), &[stable(1, 1)], Pods::Unlistable("Forbidden"));
    assert_eq!(found.restart.done, None);
    let waiting = found.restart.waiting.unwrap();
    assert_eq!(waiting.message, "the pods cannot be listed (Forbidden)");
    let found = outcome(&rollout(1, &json!(1)), &[stable(1, 1)], Pods::Unlisted);
    assert_eq!(found.restart.done, None);
}

#[test]
fn a_time_to_come_is_waited_for() {
    let mut later = rollout(1, &json!(1));
    later["spec"]["restartAt"] = json!("2026-01-01T18:00:00Z");
    let found = outcome(&later, &[stable(1, 1)], Pods::Unlisted);
    let until = found.restart.waiting.unwrap().until;
    assert_eq!(serde_json::to_value(until).unwrap(), "2026-01-01T18:00:00Z");
    let mut over = rollout(1, &json!(1));
    over["status"]["restartedAt"] = over["spec"]["restartAt"].clone();
    assert!(
        outcome(&over, &[stable(1, 1)], Pods::Listed(&[]))
            .restart
            .done
            .is_none()
    );
}
