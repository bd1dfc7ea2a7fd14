//! `spec.paused` holds a first deployment and every update, whatever the strategy.

use super::{
    fixtures::{deployed, hash, image, ingress, nginx, phase, resume, rollout, selected, service, steps},
    world::World,
};
use crate::api::well_known;
use serde_json::{Value, json};

fn hold(world: &mut World, held: bool) {
    world.patch("Rollout", "web", &json!({"spec": {"paused": held}}));
}

fn blue_green() -> Value {
    json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary"}})
}

fn strategies() -> [Value; 3] {
    [nginx(steps()), json!({"canary": {"steps": steps()}}), blue_green()]
}

fn ends_well(world: &mut World) {
    for _ in 0..4 {
        world.settle();
        resume(world);
    }
    world.settle();
    assert!(phase(world, "Healthy"), "{:#}", world.status());
}

#[test]
fn a_first_deployment_that_is_paused_gets_no_pods() {
    for strategy in strategies() {
        let mut first = rollout(strategy);
        first["spec"]["paused"] = json!(true);
        let mut world = World::of(&[first, service("web-canary"), service("web-stable"), ingress()]);
        world.settle();
        assert_eq!(
            (
                world.status()["message"].as_str(),
                &world.status()["waitingFor"]["reason"]
            ),
            (Some("manually paused"), &json!("Paused"))
        );
        assert_eq!(world.set_replicas(&hash(&world, "currentPodHash")), 0);
        assert_eq!(world.status().get("stableRS"), None);
        hold(&mut world, false);
        ends_well(&mut world);
    }
}

#[test]
fn an_update_of_a_paused_rollout_changes_no_size_and_no_service() {
    for strategy in strategies() {
        let mut world = deployed(strategy);
        let old = hash(&world, "stableRS");
        let services = (selected(&world, "web-stable"), selected(&world, "web-canary"));
        hold(&mut world, true);
        image(&mut world, "demo:v2");
        world.settle();
        let new = hash(&world, "currentPodHash");
        assert_eq!((world.set_replicas(&old), world.set_replicas(&new)), (5, 0));
        assert_eq!(
            (selected(&world, "web-stable"), selected(&world, "web-canary")),
            services
        );
        assert!(phase(&world, "Paused"));
        hold(&mut world, false);
        ends_well(&mut world);
    }
}

#[test]
fn a_pause_in_the_middle_of_blue_green_holds_the_switch() {
    let mut world = deployed(blue_green());
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    world.pass();
    hold(&mut world, true);
    for _ in 0..5 {
        world.pass();
        world.wait(60);
    }
    assert_eq!(selected(&world, "web-stable"), json!(old));
    let lost = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: null}}});
    world.patch("Service", "web-stable", &lost);
    world.patch("Service", "web-canary", &lost);
    world.settle();
    assert_eq!(
        selected(&world, "web-stable"),
        json!(old),
        "a lost selector is repaired all the same"
    );
    assert_ne!(selected(&world, "web-canary"), Value::Null);
    hold(&mut world, false);
    ends_well(&mut world);
}
