//! Whole plans at typical moments. Reviewing a change of a decision is reading these.

use super::{
    fixtures::{deployed, image, ingress, nginx, paused, resume, rollout, service, steps},
    world::World,
};
use serde_json::json;

#[test]
fn initial() {
    let world = World::of(&[
        rollout(nginx(steps())),
        service("web-canary"),
        service("web-stable"),
        ingress(),
    ]);
    insta::assert_yaml_snapshot!(world.plan());
}

#[test]
fn step_raise() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    world.pass();
    world.pass();
    // The status announces the weight.
    world.pass();
    insta::assert_yaml_snapshot!(world.plan());
}

#[test]
fn abort() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    insta::assert_yaml_snapshot!(world.plan());
}

#[test]
fn promotion() {
    let mut world = deployed(nginx(json!([{"setWeight": 50}, {"pause": {}}])));
    image(&mut world, "demo:v2");
    paused(&mut world);
    resume(&mut world);
    world.run_until("weight 100", |world, _| world.weight() == 100);
    world.pass();
    world.wait(10);
    insta::assert_yaml_snapshot!(world.plan());
}

#[test]
fn blue_green_switch() {
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary"}});
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    world.pass();
    insta::assert_yaml_snapshot!(world.plan());
}

#[test]
fn invalid_spec() {
    let mut world = deployed(nginx(steps()));
    world.remove("Service", "web-stable");
    insta::assert_yaml_snapshot!(world.plan());
}
