//! Updates that an HTTPRoute of Gateway API carries.

use super::{
    fixtures::{hash, image, paused, phase, resume, rollout, selected, service, template},
    world::{World, leads_apart},
};
use crate::plan::Requeue;
use serde_json::{Value, json};

fn strategy(steps: Value) -> Value {
    json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "steps": steps,
        "trafficRouting": {"managedRoutes": [{"name": "testers"}],
            "plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web", "namespace": "shop"}}}}})
}

fn http_route() -> Value {
    let backend = |name: &str| json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": 1});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web", "generation": 1},
        "spec": {"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [backend("web-stable"), backend("web-canary")]}]}})
}

fn deployed(steps: Value) -> World {
    let mut world = World::of(&[
        rollout(strategy(steps)),
        service("web-canary"),
        service("web-stable"),
        http_route(),
        template("10s"),
    ]);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy", "{:#}", world.status());
    assert_eq!(
        world.weight(),
        0,
        "backendRefs without weights were shared alike before"
    );
    world.events.clear();
    world.weights.clear();
    world
}

fn by_header(world: &World) -> bool {
    leads_apart(world.get("HTTPRoute", "web"))
}

fn testers() -> Value {
    json!({"setHeaderRoute": {"name": "testers", "match": [{"headerName": "x-tester", "headerValue": {"exact": "1"}}]}})
}

#[test]
fn weights_follow_the_steps() {
    let mut world = deployed(json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}]));
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert_eq!(world.weight(), 20);
    resume(&mut world);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy");
    assert_eq!(world.weights, [20, 60, 100, 0]);
}

#[test]
fn an_abort_takes_the_weight_first_and_the_pods_later() {
    let mut world = deployed(json!([{"setWeight": 40}, {"pause": {}}]));
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    world.settle();
    assert_eq!(world.weights, [40, 0]);
    assert_eq!(world.set_replicas(&hash(&world, "currentPodHash")), 0);
    assert_eq!(selected(&world, "web-canary"), hash(&world, "stableRS"));
}

#[test]
fn a_header_route_comes_when_pods_are_there_and_goes_before_they_go() {
    let mut world = deployed(json!([
        {"setCanaryScale": {"replicas": 1}}, testers(), {"pause": {}}, {"setHeaderRoute": {"name": "testers"}}, {"pause": {}}]));
    image(&mut world, "demo:v2");
    world.run_until("a header route", |world, _| by_header(world));
    assert_eq!(world.status()["currentStepIndex"], 1);
    let made = world.now;
    paused(&mut world);
    assert!(
        world.now.duration_since(made).as_secs() >= i64::from(world.settings.drain_seconds),
        "the pause begins when the data plane follows"
    );
    assert_eq!((world.weight(), by_header(&world)), (0, true));
    resume(&mut world);
    world.run_until("the end of the header route", |world, _| !by_header(world));
    let gone = world.now;
    world.run_until("the second pause", |world, _| world.status()["currentStepIndex"] == 4);
    assert!(world.now.duration_since(gone).as_secs() >= i64::from(world.settings.drain_seconds));
    resume(&mut world);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy");
}

#[test]
fn a_header_route_keeps_a_pod_that_answers() {
    let mut world = deployed(json!([
        testers(), {"pause": {}}, {"setCanaryScale": {"replicas": 0}}, {"pause": {}}, {"setHeaderRoute": {"name": "testers"}}, {"pause": {}}]));
    image(&mut world, "demo:v2");
    world.run_until("the first pause", |world, _| {
        world.status()["currentStepIndex"] == 1 && phase(world, "Paused")
    });
    let canary = hash(&world, "currentPodHash");
    assert!(
        by_header(&world) && world.set_replicas(&canary) == 1,
        "at a weight of 0"
    );
    resume(&mut world);
    world.run_until("the second pause", |world, _| {
        world.status()["currentStepIndex"] == 3 && phase(world, "Paused")
    });
    assert!(
        by_header(&world) && world.set_replicas(&canary) == 1,
        "although the step says 0"
    );
    resume(&mut world);
    world.run_until("the third pause", |world, _| {
        world.status()["currentStepIndex"] == 5 && phase(world, "Paused")
    });
    world.settle();
    assert!(!by_header(&world) && world.set_replicas(&canary) == 0);
}

#[test]
fn an_abort_takes_the_header_route_away_before_the_pods() {
    let mut world = deployed(json!([{"setCanaryScale": {"replicas": 2}}, testers(), {"pause": {}}]));
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert!(by_header(&world));
    let canary = hash(&world, "currentPodHash");
    world.patch(
        "Rollout",
        "web",
        &json!({"status": {"abort": true}, "spec": {"strategy": {"canary": {"abortScaleDownDelaySeconds": 1}}}}),
    );
    world.run_until("the end of the header route", |world, _| !by_header(world));
    let gone = world.now;
    assert_eq!(world.set_replicas(&canary), 2);
    world.run_until("no pods of the canary", |world, _| world.set_replicas(&canary) == 0);
    assert!(world.now.duration_since(gone).as_secs() >= i64::from(world.settings.drain_seconds));
}

#[test]
fn a_newer_version_does_not_inherit_a_header_route() {
    let mut world = deployed(json!([{"setCanaryScale": {"replicas": 1}}, {"pause": {}}, testers(), {"pause": {}}]));
    image(&mut world, "demo:v2");
    paused(&mut world);
    resume(&mut world);
    world.run_until("the second pause", |world, _| {
        world.status()["currentStepIndex"] == 3 && phase(world, "Paused")
    });
    let overtaken = hash(&world, "currentPodHash");
    assert_eq!(selected(&world, "web-canary"), overtaken);
    image(&mut world, "demo:v3");
    world.run_until("the Service moves on", |world, _| {
        selected(world, "web-canary") != overtaken
    });
    assert!(
        !by_header(&world),
        "its requests would reach the newest version, at no step's bidding"
    );
    world.run_until("the overtaken pods go", |world, _| world.set_replicas(&overtaken) == 0);
    assert!(!by_header(&world) && phase(&world, "Paused"));
}

#[test]
fn the_drain_time_begins_when_the_gateway_has_taken_up_the_weight() {
    let mut world = deployed(json!([{"setWeight": 20}, {"pause": {}}]));
    let accepted = |generation: i64| {
        json!({"status": {"parents": [{"controllerName": "example.com/gateway", "conditions": [
            {"type": "Accepted", "status": "True", "observedGeneration": generation}]}]}})
    };
    world.patch("HTTPRoute", "web", &accepted(1));
    image(&mut world, "demo:v2");
    world.run_until("the weight", |world, _| world.weight() == 20);
    world.patch("HTTPRoute", "web", &json!({"metadata": {"generation": 2}}));
    world.now += jiff::SignedDuration::from_secs(60);
    world.pass();
    world.pass();
    assert_eq!(world.status()["currentStepIndex"], 0);
    let waiting = &world.status()["waitingFor"]["message"];
    assert_eq!(
        waiting,
        "HTTPRoute \"web\": example.com/gateway has not taken up generation 2 yet"
    );
    let told = world.now;
    world.patch("HTTPRoute", "web", &accepted(2));
    paused(&mut world);
    assert!(world.now.duration_since(told).as_secs() >= i64::from(world.settings.drain_seconds));
}

/// A data plane that does not follow is waited for by watching it: no interval that could be set wrong.
#[test]
fn hazard_4_a_weight_that_is_not_taken_up_is_asked_for_neither_in_circles_nor_never() {
    let mut world = deployed(json!([{"setWeight": 20}, {"pause": {}}]));
    let taken_up = |generation: i64| {
        json!({"status": {"parents": [{"controllerName": "example.com/gateway", "conditions": [
            {"type": "Accepted", "status": "True", "observedGeneration": generation}]}]}})
    };
    world.patch("HTTPRoute", "web", &taken_up(1));
    image(&mut world, "demo:v2");
    world.run_until("the weight", |world, _| world.weight() == 20);
    world.patch("HTTPRoute", "web", &json!({"metadata": {"generation": 2}}));
    world.wait(30);
    world.pass();
    world.pass();
    for _ in 0..5 {
        world.wait(30);
        let plan = world.pass();
        assert!(plan.writes_nothing(), "{plan:#?}");
        let soonest = world.now + jiff::SignedDuration::from_secs(1);
        assert!(
            match plan.requeue {
                Requeue::AwaitChange => true,
                Requeue::At(at) => at >= soonest,
            },
            "{:?}",
            plan.requeue
        );
        assert_eq!(world.status()["canary"]["weights"]["verified"], false);
    }
    world.patch("HTTPRoute", "web", &taken_up(2));
    paused(&mut world);
    assert_ne!(world.status()["canary"]["weights"]["verified"], false);
}

#[test]
fn a_route_that_is_not_there_is_an_invalid_specification() {
    let mut world = deployed(json!([{"setWeight": 20}]));
    world.remove("HTTPRoute", "web");
    world.pass();
    let message = world.status()["message"].as_str().unwrap();
    assert!(
        message.contains("trafficRouting.plugins[argoproj-labs/gatewayAPI]") && message.ends_with("not found"),
        "{message}"
    );
}

#[test]
fn a_changed_weight_is_set_right() {
    let mut world = deployed(json!([{"setWeight": 20}, {"pause": {}}]));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let mut route = http_route();
    route["metadata"]["uid"] = world.get("HTTPRoute", "web")["metadata"]["uid"].clone();
    world.put(route);
    world.pass();
    assert_eq!(world.weight(), 20);
}
