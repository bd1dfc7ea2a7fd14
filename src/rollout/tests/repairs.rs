//! Deleted and edited objects, wrong input, and a controller that dies: each is repaired.

use super::fixtures::{deployed, hash, image, nginx, paused, phase, resume, selected, steps};
use crate::{api::well_known, plan::Requeue};
use serde_json::json;

#[test]
fn deleted_and_edited_objects_are_repaired() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    let old = hash(&world, "stableRS");
    world.remove("Ingress", "web-web-canary");
    world.run_until("weight again", |world, _| world.weight() == 20);
    let spec = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: null}}});
    world.patch("Service", "web-canary", &spec);
    world.patch("Service", "web-stable", &spec);
    world.pass();
    assert_eq!(
        (selected(&world, "web-canary"), selected(&world, "web-stable")),
        (json!(new), json!(old))
    );
    world.remove("ReplicaSet", &format!("web-{new}"));
    world.pass();
    assert_eq!(world.weight(), 0, "no pod, no weight");
    world.run_until("pods and weight again", |world, _| {
        world.weight() == 20 && world.set_replicas(&new) == 1
    });
    assert_eq!(world.status()["currentStepIndex"], 1);
    assert!(phase(&world, "Paused"));
}

#[test]
fn wrong_input_is_named_and_heals() {
    let mut world = deployed(nginx(steps()));
    let stable = world.get("Service", "web-stable").clone();
    world.remove("Service", "web-stable");
    world.pass();
    let message = world.status()["message"].as_str().unwrap().to_owned();
    assert_eq!(
        message,
        "InvalidSpec: The Rollout \"web\" is invalid: spec.strategy.canary.stableService: Invalid value: \
        \"web-stable\": services \"web-stable\" not found"
    );
    assert!(world.pass().writes_nothing(), "said once");
    world.put(stable);
    world.settle();
    assert!(phase(&world, "Healthy"));
    let both = json!({"spec": {"strategy": {"blueGreen": {"activeService": "x"}}}});
    world.patch("Rollout", "web", &both);
    world.pass();
    assert!(
        world.status()["message"]
            .as_str()
            .unwrap()
            .contains("Multiple Strategies can not be listed")
    );
}

#[test]
fn killed_between_any_two_writes_it_ends_in_the_same_state() {
    let end = |kill_at: usize| {
        let mut world = deployed(nginx(steps()));
        image(&mut world, "demo:v2");
        for pass in 0..200 {
            // A pass that dies after `pass % 3` writes, every few passes.
            let limit = if pass % 4 == kill_at % 4 {
                kill_at % 3
            } else {
                usize::MAX
            };
            let plan = world.pass_with(limit);
            if phase(&world, "Paused") && world.status()["currentStepIndex"] == 1 {
                resume(&mut world);
            }
            if phase(&world, "Healthy") && plan.writes_nothing() && plan.requeue == Requeue::AwaitChange {
                break;
            }
            if let Requeue::At(at) = plan.requeue
                && plan.writes_nothing()
            {
                world.now = at.max(world.now);
            }
            world.wait(1);
        }
        let weights = world.weights.clone();
        (
            weights,
            world.status()["stableRS"].clone(),
            world.status()["currentStepIndex"].clone(),
        )
    };
    let undisturbed = end(usize::MAX - 3);
    assert_eq!(undisturbed.0, [20, 60, 100, 0]);
    for kill_at in 0..12 {
        assert_eq!(end(kill_at), undisturbed, "killed at {kill_at}");
    }
}
