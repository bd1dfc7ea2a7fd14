//! The nginx router is taken out of the specification in the middle of an update: requests leave the canary Ingress
//! first (guarantees T3 and T5), then pods are the weights.

use super::{
    fixtures::{deployed, hash, image, paused, phase, resume, selected},
    world::World,
};
use serde_json::{Value, json};

fn strategy() -> Value {
    json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable",
        "steps": [{"setWeight": 60}, {"pause": {}}, {"setWeight": 80}, {"pause": {}}],
        "trafficRouting": {"nginx": {"stableIngress": "web", "additionalIngressAnnotations": {"canary-by-header": "X-Canary"}}}}})
}

fn without_router(world: &mut World) {
    world.patch(
        "Rollout",
        "web",
        &json!({"spec": {"strategy": {"canary": {"trafficRouting": null}}}}),
    );
}

fn header(world: &World) -> Value {
    world.get("Ingress", "web-web-canary")["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-by-header"]
        .clone()
}

#[test]
fn a_router_taken_out_in_mid_update_is_left_before_pods_move() {
    let mut world = deployed(strategy());
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    assert_eq!((world.weight(), header(&world)), (60, json!("X-Canary")));
    without_router(&mut world);
    world.pass();
    assert_eq!((world.weight(), header(&world)), (0, Value::Null));
    assert_eq!(world.status()["waitingFor"]["reason"], "WaitingForDataPlane");
    let left = world.now;
    world.run_until("pods move", |world, _| {
        (world.set_replicas(&old), world.set_replicas(&new)) != (5, 3)
    });
    assert!(
        world.now.duration_since(left).as_secs() >= 5,
        "before the drain time was over"
    );
    world.settle();
    assert_eq!((world.set_replicas(&old), world.set_replicas(&new)), (2, 3));
    assert!(
        world.status()["canary"].get("weights").is_none(),
        "{:#}",
        world.status()
    );
    assert_eq!(
        world.status()["currentStepIndex"],
        1,
        "its steps stand where they stood"
    );
    for _ in 0..2 {
        resume(&mut world);
        world.settle();
    }
    assert!(phase(&world, "Healthy"), "{:#}", world.status());
}

#[test]
fn a_router_taken_out_in_an_abort_leads_nobody_to_the_canary() {
    let mut world = deployed(strategy());
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    without_router(&mut world);
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    world.pass();
    assert_eq!(world.weight(), 0);
    world.settle();
    assert!(phase(&world, "Degraded"));
    assert_eq!(world.set_replicas(&old), 5);
}

#[test]
fn a_canary_that_becomes_blue_green_leaves_its_ingress() {
    let mut world = deployed(strategy());
    image(&mut world, "demo:v2");
    paused(&mut world);
    let blue_green =
        json!({"canary": null, "blueGreen": {"activeService": "web-stable", "previewService": "web-canary"}});
    world.patch("Rollout", "web", &json!({"spec": {"strategy": blue_green}}));
    world.pass();
    assert_eq!((world.weight(), header(&world)), (0, Value::Null));
    world.settle();
    assert!(phase(&world, "Healthy"), "{:#}", world.status());
}

/// T3: the Service of the canary keeps its pods while the data plane may still send it requests.
#[test]
fn a_canary_that_becomes_blue_green_keeps_its_service_until_requests_have_left() {
    let mut world = deployed(strategy());
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    let blue_green =
        json!({"canary": null, "blueGreen": {"activeService": "web-stable", "autoPromotionEnabled": false}});
    world.patch("Rollout", "web", &json!({"spec": {"strategy": blue_green}}));
    world.run_until("the weight is gone", |world, _| world.weight() == 0);
    let left = world.now;
    world.run_until("the Service is let go", |world, _| {
        selected(world, "web-canary") != json!(new)
    });
    let drained = i64::from(world.settings.drain_seconds);
    assert!(
        world.now.duration_since(left).as_secs() >= drained,
        "before the drain time was over"
    );
    assert_eq!(selected(&world, "web-canary"), Value::Null);
    world.settle();
    assert!(
        world.status()["canary"].get("weights").is_none(),
        "{:#}",
        world.status()
    );
}
