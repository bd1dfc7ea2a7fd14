//! The stable ReplicaSet is deleted in the middle of an update: no evidence for the new version (guarantee D1).

use super::{
    fixtures::{deployed, hash, image, nginx, paused, phase, resume, selected, steps},
    world::World,
};
use serde_json::{Value, json};

/// A world in mid-update, at its first pause, whose stable ReplicaSet is deleted now. The lost name and the two hashes.
fn lost(strategy: Value) -> (World, String, String) {
    let mut world = deployed(strategy);
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    world.remove("ReplicaSet", &format!("web-{old}"));
    (world, old, new)
}

fn named(world: &World, old: &str) -> bool {
    let message = world.status()["waitingFor"]["message"].as_str().unwrap_or_default();
    message.contains(&format!("the stable ReplicaSet \"web-{old}\" is gone"))
}

#[test]
fn the_loss_of_the_stable_replica_set_promotes_nothing() {
    let blue_green = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary", "autoPromotionEnabled": false}});
    for strategy in [nginx(steps()), json!({"canary": {"steps": steps()}}), blue_green] {
        let (mut world, old, new) = lost(strategy);
        world.settle();
        assert_eq!(hash(&world, "stableRS"), old);
        assert!(phase(&world, "Paused"), "{:#}", world.status());
        assert!(named(&world, &old), "{:#}", world.status());
        let told = world
            .reasons()
            .iter()
            .filter(|reason| **reason == "StableReplicaSetMissing")
            .count();
        assert_eq!(told, 1, "told once");
        resume(&mut world);
        world.settle();
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
        assert_eq!((hash(&world, "stableRS"), world.set_replicas(&new)), (new, 5));
    }
}

#[test]
fn the_loss_of_the_stable_replica_set_passes_no_analysis() {
    let gate = json!({"analysis": {"templates": [{"templateName": "check"}]}});
    let mut world = deployed(nginx(json!([{"setWeight": 20}, gate])));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    let run = format!("web-{}-2-1", world.plan_hash());
    world.run_until("a run", |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), run.clone()))
    });
    world.remove("ReplicaSet", &format!("web-{old}"));
    for _ in 0..10 {
        world.pass();
        world.wait(10);
    }
    assert_eq!(
        (hash(&world, "stableRS"), world.status()["currentStepIndex"].clone()),
        (old, json!(1))
    );
}

/// T2: first the pods for all requests, then the requests.
#[test]
fn without_stable_pods_the_stable_service_leads_to_the_new_ones_once_they_can_take_all() {
    let (mut world, old, new) = lost(nginx(steps()));
    world.pass();
    assert_eq!(world.set_replicas(&new), 5);
    assert_eq!(
        selected(&world, "web-stable"),
        json!(old),
        "five pods were not available yet"
    );
    world.settle();
    assert_eq!(selected(&world, "web-stable"), json!(new));
    let weights = &world.status()["canary"]["weights"];
    assert_eq!(
        (&weights["stable"]["podTemplateHash"], world.weight()),
        (&json!(new), 20)
    );
}

#[test]
fn an_abort_without_a_stable_replica_set_keeps_the_pods_and_says_that_it_cannot_go_back() {
    for strategy in [nginx(steps()), json!({"canary": {"steps": steps()}})] {
        let (mut world, old, new) = lost(strategy);
        world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
        world.settle();
        world.wait(3600);
        world.settle();
        assert!(world.set_replicas(&new) > 0);
        let message = world.status()["message"].as_str().unwrap();
        assert!(
            message.starts_with("RolloutAborted: Rollout aborted update to revision 2"),
            "{message}"
        );
        assert!(
            message.contains(&format!("\"web-{old}\" is gone, so there is nothing to go back to")),
            "{message}"
        );
    }
}

#[test]
fn the_stable_pod_template_applied_again_brings_its_pods_back() {
    for aborted in [false, true] {
        let (mut world, old, new) = lost(nginx(steps()));
        world.settle();
        if aborted {
            world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
            world.settle();
        }
        image(&mut world, "demo:v1");
        world.settle();
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
        assert_eq!(
            (world.set_replicas(&old), world.set_replicas(&new), world.weight()),
            (5, 0, 0)
        );
        assert_eq!(selected(&world, "web-stable"), json!(old));
    }
}

/// A third version is split against the one that stands in for the stable one.
#[test]
fn a_newer_version_steps_beside_the_one_that_stands_in() {
    let (mut world, _, second) = lost(nginx(steps()));
    world.settle();
    image(&mut world, "demo:v3");
    paused(&mut world);
    let third = hash(&world, "currentPodHash");
    assert_eq!(
        (selected(&world, "web-stable"), selected(&world, "web-canary")),
        (json!(second), json!(third))
    );
    assert_eq!(
        (world.weight(), world.set_replicas(&second), world.set_replicas(&third)),
        (20, 5, 1)
    );
    resume(&mut world);
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!((world.set_replicas(&second), world.set_replicas(&third)), (0, 5));
}

/// With pods as weights and no surge, the last pod of the version that stands in for the lost one left no room for the
/// next: neither came nor went.
#[test]
fn without_a_surge_the_next_version_gets_past_the_one_that_stands_in() {
    for (replicas, is_broken) in [(1, false), (2, false), (2, true)] {
        let canary = json!({"canaryService": "web-canary", "stableService": "web-stable", "maxSurge": 0,
            "maxUnavailable": 1, "steps": [{"setWeight": 50}, {"pause": {}}]});
        let mut world = deployed(json!({ "canary": canary }));
        world.patch("Rollout", "web", &json!({"spec": {"replicas": replicas}}));
        world.settle();
        let old = hash(&world, "stableRS");
        image(&mut world, "demo:v2");
        world.pass();
        let second = hash(&world, "currentPodHash");
        world.remove("ReplicaSet", &format!("web-{old}"));
        paused(&mut world);
        assert_eq!(selected(&world, "web-stable"), json!(second), "{replicas} pods");
        if is_broken {
            world.broken.push(second);
            world.settle();
        }
        image(&mut world, "demo:v3");
        paused(&mut world);
        resume(&mut world);
        world.settle();
        let third = hash(&world, "currentPodHash");
        let found = (
            phase(&world, "Healthy"),
            hash(&world, "stableRS"),
            world.set_replicas(&third),
        );
        assert_eq!(found, (true, third.clone(), replicas), "{:#}", world.status());
        let message = world.status()["message"].as_str().unwrap_or_default().to_owned();
        assert!(!message.contains("is gone"), "{message}");
    }
}
