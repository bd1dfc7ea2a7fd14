//! An update goes forward: steps, pauses, promotion, scaling, a newer image, blue-green.

use super::fixtures::{deployed, hash, image, nginx, paused, phase, resume, selected, steps};
use crate::{api::well_known, plan::Requeue};
use serde_json::{Value, json};

#[test]
fn first_deployment_goes_out_at_once_and_is_promoted() {
    let world = deployed(nginx(steps()));
    let status = world.status();
    assert_eq!(status["stableRS"], status["currentPodHash"]);
    assert_eq!(status["currentStepIndex"], 4);
    assert_eq!(world.set_replicas(&hash(&world, "stableRS")), 5);
    for service in ["web-stable", "web-canary"] {
        assert_eq!(
            world.get("Service", service)["spec"]["selector"][well_known::POD_TEMPLATE_HASH],
            status["stableRS"]
        );
    }
    assert_eq!(world.weight(), 0);
    assert!(world.passes <= 6, "{} passes", world.passes);
}

#[test]
fn an_update_walks_its_steps_and_is_promoted() {
    let mut world = deployed(nginx(steps()));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    assert_ne!(old, new);
    assert_eq!(
        (world.weight(), world.set_replicas(&new), world.set_replicas(&old)),
        (20, 1, 5)
    );
    assert_eq!(world.status()["waitingFor"]["reason"], "CanaryPauseStep");
    resume(&mut world);
    world.run_until("the second pause", |world, _| {
        world.status()["currentStepIndex"] == 3 && phase(world, "Paused")
    });
    assert_eq!((world.weight(), world.set_replicas(&new)), (60, 3));
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy");
    assert_eq!(world.status()["stableRS"], Value::from(new.as_str()));
    assert_eq!((world.set_replicas(&new), world.set_replicas(&old)), (5, 0));
    assert_eq!(world.weights, [20, 60, 100, 0]);
    assert_eq!(
        world
            .reasons()
            .iter()
            .filter(|reason| **reason == "RolloutStepCompleted")
            .count(),
        4
    );
    assert!(world.reasons().contains(&"RolloutCompleted"));
    assert_eq!(
        world.get("Rollout", "web")["metadata"]["annotations"][well_known::REVISION],
        "2"
    );
}

#[test]
fn a_timed_pause_counts_from_the_settled_weight() {
    let mut world = deployed(nginx(json!([{"setWeight": 50}, {"pause": {"duration": "10s"}}])));
    image(&mut world, "demo:v2");
    world.run_until("weight", |world, _| world.weight() == 50);
    let written = world.now;
    paused(&mut world);
    assert!(
        world.now.duration_since(written).as_secs() >= 5,
        "the pause began before the drain"
    );
    let plan = world.pass();
    let Requeue::At(until) = plan.requeue else {
        panic!("no wake-up")
    };
    assert!((9..=10).contains(&until.duration_since(world.now).as_secs()));
}

#[test]
fn full_promotion_skips_steps_but_not_capacity() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    world.patch("Rollout", "web", &json!({"status": {"promoteFull": true}}));
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!(hash(&world, "stableRS"), new);
    assert_eq!(world.weights, [20, 100, 0]);
    assert!(world.status().get("promoteFull").is_none());
}

#[test]
fn scaling_in_mid_step_keeps_the_weight() {
    let mut world = deployed(nginx(steps()));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    world.patch("Rollout", "web", &json!({"spec": {"replicas": 10}}));
    for _ in 0..4 {
        world.pass();
    }
    assert_eq!(
        (world.set_replicas(&old), world.set_replicas(&new), world.weight()),
        (10, 2, 20)
    );
    world.patch("Rollout", "web", &json!({"spec": {"replicas": 5}}));
    for _ in 0..4 {
        world.pass();
    }
    assert_eq!(
        (world.set_replicas(&old), world.set_replicas(&new), world.weight()),
        (5, 1, 20)
    );
}

#[test]
fn the_users_pause_halts_the_update() {
    let mut world = deployed(nginx(
        json!([{"setWeight": 20}, {"pause": {"duration": 1}}, {"setWeight": 60}]),
    ));
    image(&mut world, "demo:v2");
    world.run_until("weight 20", |world, _| world.weight() == 20);
    world.patch("Rollout", "web", &json!({"spec": {"paused": true}}));
    for _ in 0..10 {
        world.pass();
        world.wait(10);
    }
    assert_eq!(
        (world.weight(), world.status()["message"].as_str()),
        (20, Some("manually paused"))
    );
    world.patch("Rollout", "web", &json!({"spec": {"paused": false}}));
    world.settle();
    assert!(phase(&world, "Healthy"));
}

#[test]
fn pods_are_weights_without_a_router() {
    let steps = json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]);
    let mut world = deployed(json!({"canary": {"steps": steps}}));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    assert_eq!((world.set_replicas(&new), world.set_replicas(&old)), (1, 4));
    world.patch("Rollout", "web", &json!({"spec": {"replicas": 8}}));
    for _ in 0..6 {
        world.pass();
    }
    // As the original was seen to do.
    assert_eq!((world.set_replicas(&new), world.set_replicas(&old)), (2, 7));
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    world.settle();
    assert_eq!((world.set_replicas(&new), world.set_replicas(&old)), (0, 8));
}

#[test]
fn blue_green_waits_for_a_person_and_switches_at_once() {
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary", "autoPromotionEnabled": false}});
    let mut world = deployed(strategy);
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    assert_eq!(
        (selected(&world, "web-stable"), selected(&world, "web-canary")),
        (json!(old), json!(new))
    );
    // Losing the selector opens no gate.
    world.patch(
        "Service",
        "web-stable",
        &json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: null}}}),
    );
    world.pass();
    assert_eq!(selected(&world, "web-stable"), json!(old));
    resume(&mut world);
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!(selected(&world, "web-stable"), json!(new));
    assert_eq!((world.set_replicas(&new), world.set_replicas(&old)), (5, 0));
}

#[test]
fn a_second_update_takes_the_weight_back_before_the_service_moves() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    image(&mut world, "demo:v3");
    world.pass();
    assert_eq!(world.weight(), 0);
    assert_eq!(
        selected(&world, "web-canary"),
        Value::from(second.as_str()),
        "not under a weight the data plane may still use"
    );
    paused(&mut world);
    let third = hash(&world, "currentPodHash");
    assert_eq!(
        (selected(&world, "web-canary"), world.weight()),
        (Value::from(third.as_str()), 20)
    );
    resume(&mut world);
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!((world.set_replicas(&second), world.set_replicas(&third)), (0, 5));
}

#[test]
fn back_to_the_stable_image_ends_the_update() {
    let mut world = deployed(nginx(steps()));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    image(&mut world, "demo:v1");
    world.pass();
    assert_eq!(world.weight(), 0);
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!(hash(&world, "stableRS"), old);
    assert_eq!(
        world.get("Rollout", "web")["metadata"]["annotations"][well_known::REVISION],
        "3"
    );
}
