//! Clusters as Argo Rollouts left them: taking over moves nothing.

use super::world::World;
use crate::plan::Requeue;
use serde_json::Value;

fn recorded(file: &str) -> World {
    let path = format!(
        "{}/tests/data/takeover/rollouts/{file}.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let list: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut world = World::of(list["items"].as_array().unwrap());
    world.now = "2026-11-21T01:29:05Z".parse().unwrap();
    world
}

fn check(file: &str) {
    let mut world = recorded(file);
    let before = world.status().clone();
    for _ in 0..3 {
        let plan = world.pass();
        let writes: Vec<_> = plan.stages.iter().flat_map(|stage| &stage.0).collect();
        assert!(writes.is_empty(), "{file}: {writes:#?}");
        assert!(plan.events.is_empty(), "{file}: {:#?}", plan.events);
    }
    let after = world.status();
    for field in [
        "phase",
        "message",
        "stableRS",
        "currentPodHash",
        "currentStepHash",
        "currentStepIndex",
        "abort",
        "pauseConditions",
    ] {
        assert_eq!(before.get(field), after.get(field), "{file}: {field}");
    }
    assert_eq!(before["conditions"], after["conditions"], "{file}");
    assert_eq!(before["canary"]["weights"], after["canary"]["weights"], "{file}");
    let plan = world.pass();
    assert!(
        plan.writes_nothing() || plan.requeue != Requeue::AwaitChange,
        "{file}: {plan:#?}"
    );
}

#[test]
fn nothing_moves_when_a_recorded_rollout_is_taken_over() {
    for file in [
        "healthy-nginx",
        "paused-nginx",
        "paused-basic",
        "scaled-while-paused-basic",
        "retried-nginx",
        "aborted-nginx",
        "paused-bluegreen",
        "aborted-bluegreen",
    ] {
        check(file);
    }
}

/// D5: the hash of a recorded revision stays, whoever computed it, also when its ReplicaSet has to be made anew.
#[test]
fn a_deleted_replica_set_of_a_recorded_rollout_comes_back_under_its_name() {
    let mut world = recorded("healthy-nginx");
    let stable = world.status()["stableRS"].as_str().unwrap().to_owned();
    world.remove("ReplicaSet", &format!("web-{stable}"));
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy", "{:#}", world.status());
    assert_eq!(
        (world.status()["stableRS"].as_str(), world.set_replicas(&stable)),
        (Some(stable.as_str()), 5)
    );
}
