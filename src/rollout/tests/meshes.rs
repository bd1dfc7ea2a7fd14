//! Updates that meshes carry: subsets instead of Services, and objects that a router makes and takes away.

use super::{
    fixtures::{hash, image, paused, phase, resume, rollout, service},
    world::World,
};
use serde_json::{Value, json};

fn steps() -> Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}])
}

fn subsets(labels: Value) -> Value {
    let subset = |name: &str| json!({"name": name, "labels": labels});
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "web"},
        "spec": {"host": "web", "subsets": [subset("stable"), subset("canary"), {"name": "mine", "labels": {"version": "v0"}}]}})
}

/// Without Services: the subsets of a DestinationRule tell the versions apart.
fn by_subset() -> World {
    let entry = |subset: &str, weight: i32| json!({"destination": {"host": "web", "subset": subset}, "weight": weight});
    let mut world = World::of(&[
        rollout(json!({"canary": {"steps": steps(), "trafficRouting": {"istio": {
            "virtualService": {"name": "web"},
            "destinationRule": {"name": "web", "canarySubsetName": "canary", "stableSubsetName": "stable"}}}}})),
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"},
            "spec": {"http": [{"route": [entry("stable", 100), entry("canary", 0)]}]}}),
        subsets(json!({"app": "web"})),
    ]);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy", "{:#}", world.status());
    world.weights.clear();
    world
}

#[test]
fn subsets_lead_to_the_pods_that_services_would_select() {
    let mut world = by_subset();
    let first = hash(&world, "stableRS");
    assert_eq!(
        (world.selected("web-stable"), world.selected("web-canary")),
        (json!(first), json!(first))
    );
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert_eq!(world.weight(), 20);
    let second = hash(&world, "currentPodHash");
    assert_eq!(
        (world.selected("web-stable"), world.selected("web-canary")),
        (json!(first), json!(second))
    );
    resume(&mut world);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy");
    assert_eq!(world.weights, [20, 60, 100, 0]);
    assert_eq!(
        (world.selected("web-stable"), world.selected("web-canary")),
        (json!(second), json!(second))
    );
    assert_eq!(world.set_replicas(&first), 0);
    let rule = world.get("DestinationRule", "web");
    assert_eq!(rule["spec"]["subsets"][2], subsets(json!({}))["spec"]["subsets"][2]);
}

#[test]
fn an_abort_takes_the_weight_first_and_leads_the_subset_back() {
    let mut world = by_subset();
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    world.settle();
    assert_eq!(world.weights, [20, 0]);
    assert_eq!(world.selected("web-canary"), json!(hash(&world, "stableRS")));
    assert_eq!(world.set_replicas(&hash(&world, "currentPodHash")), 0);
}

#[test]
fn a_subset_that_lost_its_pods_is_repaired() {
    let mut world = by_subset();
    image(&mut world, "demo:v2");
    paused(&mut world);
    let led = (world.selected("web-stable"), world.selected("web-canary"));
    let mut synced = subsets(json!({"app": "web"}));
    synced["metadata"]["uid"] = world.get("DestinationRule", "web")["metadata"]["uid"].clone();
    world.put(synced);
    world.pass();
    assert_eq!((world.selected("web-stable"), world.selected("web-canary")), led);
    assert_eq!(world.weight(), 20);
}

/// Hazard 13: the weight goes first, the Mapping when the data plane has followed, and no pass waits for that.
#[test]
fn a_canary_mapping_comes_with_the_first_weight_and_goes_after_the_last() {
    let mapping = json!({"apiVersion": "getambassador.io/v2", "kind": "Mapping", "metadata": {"name": "web"},
        "spec": {"prefix": "/", "service": "web-stable:80"}});
    let routing = json!({"ambassador": {"mappings": ["web"]}});
    let mut world = World::of(&[
        rollout(
            json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "steps": steps(),
            "trafficRouting": routing}}),
        ),
        service("web-canary"),
        service("web-stable"),
        mapping.clone(),
    ]);
    let is_there = |world: &World| {
        world
            .objects
            .contains_key(&("Mapping".to_owned(), "web-canary".to_owned()))
    };
    world.settle();
    assert!(phase(&world, "Healthy") && !is_there(&world));
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert_eq!(world.weight(), 20);
    resume(&mut world);
    world.run_until("the weight is taken back", |world, _| world.weights.last() == Some(&0));
    let taken = world.reweighted_at();
    assert!(is_there(&world));
    world.run_until("the Mapping goes", |world, _| !is_there(world));
    assert!(world.now.duration_since(taken).as_secs() >= i64::from(world.settings.drain_seconds));
    world.settle();
    assert!(phase(&world, "Healthy"), "{:#}", world.status());
    assert_eq!(world.weights, [20, 60, 100, 0]);
    assert_eq!(world.get("Mapping", "web")["spec"], mapping["spec"]);
}

#[test]
fn what_is_wrong_with_a_router_is_named_at_its_field() {
    let message = |routing: Value| {
        let mut world = World::of(&[rollout(
            json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable",
            "steps": steps(), "trafficRouting": routing}}),
        )]);
        world.pass();
        world.status()["message"].as_str().unwrap().to_owned()
    };
    for (routing, expected) in [
        (
            json!({"istio": {}}),
            "either VirtualService or VirtualServices must be configured",
        ),
        (
            json!({"istio": {"virtualService": {"name": "a"}, "virtualServices": [{"name": "b"}]}}),
            "trafficRouting.istio.virtualService: Invalid value: \"a,b\": either VirtualService or VirtualServices",
        ),
        (
            json!({"alb": {}}),
            "Either Ingress or Ingresses must be configured. Neither are configured.",
        ),
        (
            json!({"ambassador": {}}),
            "trafficRouting.ambassador.mappings: Required value",
        ),
        (
            json!({"traefik": {}}),
            "trafficRouting.traefik.weightedTraefikServiceName: Required value",
        ),
        (
            json!({"smi": {}, "maxTrafficWeight": 1000}),
            "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins",
        ),
    ] {
        let message = message(routing);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn hazard_18_a_mirror_with_a_matcher_of_nothing_is_invalid() {
    let mirror = json!({"name": "copy", "percentage": 5, "match": [{"headers": {"x-who": {}}}]});
    let mut world = World::of(&[rollout(
        json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable",
        "steps": [{"setMirrorRoute": mirror}],
        "trafficRouting": {"managedRoutes": [{"name": "copy"}], "istio": {"virtualService": {"name": "web"}}}}}),
    )]);
    world.pass();
    let message = world.status()["message"].as_str().unwrap();
    assert!(
        message.contains("steps[0].setMirrorRoute.match[0].headers[x-who]"),
        "{message}"
    );
}

#[test]
fn without_subsets_both_services_are_needed() {
    let routing = json!({"istio": {"virtualService": {"name": "web"}}});
    let mut world = World::of(&[rollout(
        json!({"canary": {"steps": steps(), "trafficRouting": routing}}),
    )]);
    world.pass();
    let message = world.status()["message"].as_str().unwrap();
    assert!(
        message.contains("Canary service and Stable service must to be set to use Traffic Routing"),
        "{message}"
    );
}

#[test]
fn a_weight_that_cannot_be_written_is_found_before_the_update() {
    let mut world = by_subset();
    let entry = |subset: &str, weight: i32| json!({"destination": {"host": "web", "subset": subset}, "weight": weight});
    let route = json!({"route": [entry("stable", 50), entry("canary", 0), entry("mine", 50)]});
    world.patch("VirtualService", "web", &json!({"spec": {"http": [route]}}));
    world.pass();
    let message = world.status()["message"].as_str().unwrap();
    assert!(message.contains("which leaves no room for weight 60"), "{message}");
}
