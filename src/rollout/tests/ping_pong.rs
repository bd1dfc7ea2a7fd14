//! Updates whose Services swap roles at each promotion. The judge looks after every pass: no selector changes of a
//! Service that gets requests, or got some while the data plane may still be on its way (guarantees T2, T3 and T7).

use super::{
    fixtures::{hash, image, paused, phase, resume, rollout, selected, service},
    world::World,
};
use crate::{api::well_known, plan::Plan};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap};

const PAIR: [&str; 2] = ["web-ping", "web-pong"];

fn strategy(steps: Value) -> Value {
    json!({"canary": {"pingPong": {"pingService": "web-ping", "pongService": "web-pong"}, "steps": steps,
        "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web", "namespace": "shop"}}}}})
}

fn steps() -> Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}])
}

fn http_route(services: [&str; 2]) -> Value {
    let backend = |name: &str| json!({"kind": "Service", "name": name, "port": 80, "weight": 1});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web", "generation": 1},
        "spec": {"rules": [{"backendRefs": services.map(backend)}]}})
}

/// The share of a Service in the HTTPRoute.
fn share(world: &World, service: &str) -> i64 {
    let backends = &world.get("HTTPRoute", "web")["spec"]["rules"][0]["backendRefs"];
    let mut named = backends.as_array().unwrap().iter();
    named
        .find(|backend| backend["name"] == service)
        .map_or(0, |backend| backend["weight"].as_i64().unwrap())
}

fn shares(world: &World) -> [i64; 2] {
    PAIR.map(|service| share(world, service))
}

fn leads(world: &World) -> [Value; 2] {
    PAIR.map(|service| selected(world, service))
}

fn stable(world: &World) -> &str {
    world.status()["canary"]["stablePingPong"].as_str().unwrap_or_default()
}

/// What a Service led to when it was last looked at, and when it last got requests.
type Sight = (Value, Option<Timestamp>);

#[derive(Default)]
struct Judge(RefCell<BTreeMap<String, Sight>>);

impl Judge {
    fn look(&self, world: &World) {
        let mut seen = self.0.borrow_mut();
        let names = world.objects.keys().filter(|(kind, _)| kind == "Service");
        for (_, name) in names {
            let (lead, weight) = (selected(world, name), share(world, name));
            let before = seen.get(name).cloned();
            let used = before.as_ref().and_then(|(_, used)| *used);
            let drain = i64::from(world.settings.drain_seconds);
            let in_use = weight > 0 || used.is_some_and(|used| world.now.duration_since(used).as_secs() < drain);
            if let Some((before, _)) = before.filter(|(before, _)| !before.is_null() && in_use) {
                assert_eq!(before, lead, "the selector of {name} changed, which gets {weight} %");
            }
            if weight > 0 && !lead.is_null() && phase(world, "Healthy") {
                assert!(
                    world.set_replicas(lead.as_str().unwrap()) > 0,
                    "T2: {name} leads to no pods"
                );
            }
            let used = if weight > 0 { Some(world.now) } else { used };
            seen.insert(name.clone(), (lead, used));
        }
    }

    fn until(&self, world: &mut World, what: &str, done: impl Fn(&World, &Plan) -> bool) {
        world.run_until(what, |world, plan| {
            self.look(world);
            done(world, plan)
        });
    }

    fn paused(&self, world: &mut World) {
        self.until(world, "paused", |world, _| phase(world, "Paused"));
    }

    fn settle(&self, world: &mut World) {
        self.until(world, "settled", |_, plan| {
            plan.writes_nothing() && plan.requeue == crate::plan::Requeue::AwaitChange
        });
    }
}

fn deployed(steps: Value) -> (World, Judge) {
    let mut world = World::of(&[
        rollout(strategy(steps)),
        service("web-ping"),
        service("web-pong"),
        http_route(PAIR),
    ]);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy", "{:#}", world.status());
    assert_eq!((stable(&world), shares(&world)), ("ping", [100, 0]));
    let judge = Judge::default();
    judge.look(&world);
    (world, judge)
}

#[test]
fn the_services_swap_roles_at_each_promotion() {
    let (mut world, judge) = deployed(steps());
    for (version, before, after, weights, rest) in [
        ("v2", "ping", "pong", [80, 20], [0, 100]),
        ("v3", "pong", "ping", [20, 80], [100, 0]),
        ("v4", "ping", "pong", [80, 20], [0, 100]),
    ] {
        let old = hash(&world, "stableRS");
        image(&mut world, &format!("demo:{version}"));
        judge.paused(&mut world);
        assert_eq!((stable(&world), shares(&world)), (before, weights), "{version}");
        let recorded = &world.status()["canary"]["weights"];
        assert_eq!(recorded["stable"]["serviceName"], format!("web-{before}"));
        assert_eq!(recorded["canary"]["serviceName"], format!("web-{after}"));
        resume(&mut world);
        judge.until(&mut world, "promoted", |world, _| stable(world) == after);
        assert_eq!(shares(&world), rest, "promotion moves no request");
        let recorded = &world.status()["canary"]["weights"];
        assert_eq!(recorded["stable"]["serviceName"], format!("web-{after}"));
        assert_eq!(recorded["stable"]["weight"], 100);
        assert_eq!(world.status()["stableRS"], world.status()["currentPodHash"]);
        judge.settle(&mut world);
        let new = hash(&world, "stableRS");
        assert_eq!(world.status()["phase"], "Healthy", "{:#}", world.status());
        assert_eq!((shares(&world), world.set_replicas(&old)), (rest, 0));
        assert_eq!(leads(&world), [json!(new), json!(new)], "the idle one has endpoints");
    }
}

/// The judge must be able to say no.
#[test]
#[should_panic(expected = "the selector of web-ping changed, which gets 0 %")]
fn the_judge_sees_a_selector_that_changes_before_the_data_plane_follows() {
    let (mut world, judge) = deployed(steps());
    let mut route = world.get("HTTPRoute", "web").clone();
    route["spec"]["rules"] = json!([{"backendRefs": [
        {"kind": "Service", "name": "web-ping", "weight": 0}, {"kind": "Service", "name": "web-pong", "weight": 100}]}]);
    world.put(route);
    world.wait(1);
    judge.look(&world);
    let selector = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: "another"}}});
    world.patch("Service", "web-ping", &selector);
    judge.look(&world);
}

#[test]
fn an_abort_moves_no_selector_under_traffic_and_a_retry_starts_over() {
    let (mut world, judge) = deployed(steps());
    image(&mut world, "demo:v2");
    judge.paused(&mut world);
    let (first, second) = (hash(&world, "stableRS"), hash(&world, "currentPodHash"));
    assert_eq!(leads(&world), [json!(first), json!(second)]);
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    judge.settle(&mut world);
    assert_eq!((stable(&world), shares(&world)), ("ping", [100, 0]));
    assert_eq!(
        (world.set_replicas(&second), leads(&world)),
        (0, [json!(first), json!(first)])
    );
    world.patch("Rollout", "web", &json!({"status": {"abort": false}}));
    judge.paused(&mut world);
    assert_eq!(
        (shares(&world), leads(&world)),
        ([80, 20], [json!(first), json!(second)])
    );
    resume(&mut world);
    judge.settle(&mut world);
    assert_eq!((stable(&world), shares(&world)), ("pong", [0, 100]));
}

/// Hazard 11: the original asks only the canary and stable Services whether a ReplicaSet is in use.
#[test]
fn hazard_11_an_overtaken_version_keeps_its_pods_while_a_ping_pong_service_leads_to_it() {
    let (mut world, judge) = deployed(steps());
    image(&mut world, "demo:v2");
    judge.paused(&mut world);
    let overtaken = hash(&world, "currentPodHash");
    image(&mut world, "demo:v3");
    judge.until(&mut world, "the weight is taken back", |world, _| {
        assert!(world.set_replicas(&overtaken) > 0);
        shares(world) == [100, 0]
    });
    let taken = world.now;
    judge.until(&mut world, "no pods of the overtaken version", |world, _| {
        let has_pods = world.set_replicas(&overtaken) > 0;
        assert!(
            has_pods || selected(world, "web-pong") != overtaken,
            "pong lost its pods"
        );
        !has_pods
    });
    assert!(world.now.duration_since(taken).as_secs() >= i64::from(world.settings.drain_seconds));
    judge.paused(&mut world);
    assert_eq!(
        leads(&world),
        [json!(hash(&world, "stableRS")), json!(hash(&world, "currentPodHash"))]
    );
    resume(&mut world);
    judge.settle(&mut world);
    assert_eq!((stable(&world), shares(&world)), ("pong", [0, 100]));
}

#[test]
fn back_to_the_stable_version_swaps_nothing() {
    let (mut world, judge) = deployed(steps());
    image(&mut world, "demo:v2");
    judge.paused(&mut world);
    image(&mut world, "demo:v1");
    judge.settle(&mut world);
    assert_eq!((stable(&world), shares(&world)), ("ping", [100, 0]));
    let first = hash(&world, "stableRS");
    assert_eq!(leads(&world), [json!(first), json!(first)]);
    assert!(phase(&world, "Healthy"));
}

#[test]
fn a_promotion_in_full_swaps_once_everything_follows() {
    let (mut world, judge) = deployed(steps());
    image(&mut world, "demo:v2");
    judge.paused(&mut world);
    world.patch("Rollout", "web", &json!({"status": {"promoteFull": true}}));
    judge.settle(&mut world);
    assert_eq!((stable(&world), shares(&world)), ("pong", [0, 100]));
}

/// Guarantee C4: after each number of writes the process dies, and the next one ends in the same state.
#[test]
fn killed_between_any_two_writes_of_a_swap_it_ends_swapped() {
    for limit in 0..4 {
        let (mut world, judge) = deployed(steps());
        image(&mut world, "demo:v2");
        judge.paused(&mut world);
        resume(&mut world);
        for _ in 0..40 {
            world.pass_with(limit);
            judge.look(&world);
            world.pass();
            judge.look(&world);
            world.wait(1);
        }
        judge.settle(&mut world);
        assert_eq!((stable(&world), shares(&world)), ("pong", [0, 100]), "{limit} writes");
    }
}

#[test]
fn an_edited_selector_a_deleted_service_and_an_edited_weight_are_set_right() {
    let (mut world, judge) = deployed(steps());
    image(&mut world, "demo:v2");
    judge.paused(&mut world);
    let led = leads(&world);
    for (service, hash) in [
        ("web-pong", json!(null)),
        ("web-pong", led[0].clone()),
        ("web-ping", json!(null)),
        ("web-ping", led[1].clone()),
    ] {
        let selector = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: hash}}});
        world.patch("Service", service, &selector);
        world.pass();
        assert_eq!(leads(&world), led, "{service} to {hash}");
    }
    for name in PAIR {
        world.remove("Service", name);
        world.pass();
        let message = world.status()["message"].as_str().unwrap();
        let short = name.trim_start_matches("web-");
        assert!(
            message.contains(&format!("pingPong.{short}Service")) && message.contains("not found"),
            "{message}"
        );
        assert_eq!((shares(&world), stable(&world)), ([80, 20], "ping"));
        world.put(service(name));
        paused(&mut world);
        assert_eq!(
            (shares(&world), leads(&world)),
            ([80, 20], led.clone()),
            "{name} is back"
        );
    }
    let mut route = http_route(PAIR);
    route["metadata"]["uid"] = world.get("HTTPRoute", "web")["metadata"]["uid"].clone();
    world.put(route);
    world.pass();
    assert_eq!(shares(&world), [80, 20]);
}

/// As the original leaves it: the idle Service leads to the version before, whose pods are gone.
fn left_by_the_original(world: &mut World, old: &str) {
    let selector = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: old}}});
    world.patch("Service", "web-ping", &selector);
    world.patch(
        "Rollout",
        "web",
        &json!({"status": {"canary": {"weightsWrittenAt": null}}}),
    );
}

#[test]
fn taking_over_moves_nothing_and_the_next_update_goes_on_from_there() {
    let (mut world, judge) = deployed(steps());
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    judge.paused(&mut world);
    // In the middle of an update.
    world.patch(
        "Rollout",
        "web",
        &json!({"status": {"canary": {"weightsWrittenAt": null}}}),
    );
    assert!(world.plan().stages.is_empty(), "{:#?}", world.plan());
    resume(&mut world);
    judge.settle(&mut world);
    // At rest, and just after the promotion.
    left_by_the_original(&mut world, &old);
    let before = leads(&world);
    for _ in 0..3 {
        let plan = world.pass();
        assert!(plan.stages.is_empty(), "{:#?}", plan.stages);
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
    }
    assert_eq!(leads(&world), before);
    let judge = Judge::default();
    judge.look(&world);
    image(&mut world, "demo:v3");
    judge.paused(&mut world);
    assert_eq!((stable(&world), shares(&world)), ("pong", [20, 80]));
    resume(&mut world);
    judge.settle(&mut world);
    assert_eq!((stable(&world), shares(&world)), ("ping", [100, 0]));
}

/// The original records `stablePingPong` only with the first promotion, and takes pong as the stable one until then. With
/// the weights it records the names of `stableService` and `canaryService`, if there are any.
#[test]
fn without_a_record_pong_is_the_stable_one_as_in_the_original() {
    let (mut world, judge) = deployed(steps());
    image(&mut world, "demo:v2");
    judge.paused(&mut world);
    resume(&mut world);
    judge.settle(&mut world);
    image(&mut world, "demo:v3");
    judge.paused(&mut world);
    for name in ["web-stable", "web-canary"] {
        world.put(service(name));
    }
    let updating = world.objects.clone();
    for both in [false, true] {
        for recorded in [Value::Null, json!("pong")] {
            world.objects.clone_from(&updating);
            let names = |name: &str| if both { json!(name) } else { Value::Null };
            let (named, led) = (names("web-stable"), names("web-canary"));
            let spec = json!({"spec": {"strategy": {"canary": {"stableService": named, "canaryService": led}}}});
            world.patch("Rollout", "web", &spec);
            world.patch(
                "Rollout",
                "web",
                &json!({"status": {"canary": {"stablePingPong": recorded, "weightsWrittenAt": null,
                "weights": {"stable": {"serviceName": named}, "canary": {"serviceName": led}}}}}),
            );
            for (name, hash) in [
                ("web-stable", hash(&world, "stableRS")),
                ("web-canary", hash(&world, "currentPodHash")),
            ] {
                let labels = json!({well_known::POD_TEMPLATE_HASH: hash});
                let managed = json!({well_known::MANAGED_BY_ROLLOUT: "web"});
                world.patch(
                    "Service",
                    name,
                    &json!({"metadata": {"annotations": managed}, "spec": {"selector": labels}}),
                );
                if !both {
                    world.remove("Service", name);
                }
            }
            for _ in 0..2 {
                let plan = world.pass();
                assert!(plan.stages.is_empty(), "{:#?}", plan.stages);
            }
            assert_eq!((stable(&world), shares(&world)), ("pong", [20, 80]));
            resume(&mut world);
            world.settle();
            assert_eq!((stable(&world), shares(&world)), ("ping", [100, 0]));
        }
    }
}

fn classic(steps: Value) -> Value {
    let mut strategy = strategy(steps);
    strategy["canary"]["pingPong"] = Value::Null;
    strategy["canary"]["stableService"] = json!("web-stable");
    strategy["canary"]["canaryService"] = json!("web-canary");
    strategy
}

/// From the stable and canary Services to ping-pong Services and back, at rest and in the middle of an update: requests
/// come together at the stable Service, go to the next one when that leads to the same pods, and the old ones are
/// released when the data plane has followed.
#[test]
fn services_are_switched_without_a_request_to_a_service_that_leads_elsewhere() {
    for in_mid_update in [false, true] {
        let all = ["web-ping", "web-pong", "web-stable", "web-canary"];
        let backend = |name: &str| json!({"kind": "Service", "name": name, "port": 80, "weight": 0});
        let mut route = http_route(PAIR);
        route["spec"]["rules"] = json!([{"backendRefs": all.map(backend)}]);
        let mut world = World::of(&[rollout(classic(steps())), route]);
        for name in all {
            world.put(service(name));
        }
        world.settle();
        assert_eq!(share(&world, "web-stable"), 100);
        if in_mid_update {
            image(&mut world, "demo:v2");
            paused(&mut world);
            assert_eq!(share(&world, "web-canary"), 20);
        }
        let judge = Judge::default();
        judge.look(&world);
        let canary = i64::from(in_mid_update) * 20;
        let (to, back) = (strategy(steps()), classic(steps()));
        for (way, strategy, stable, other, freed) in [
            ("to", &to, "web-pong", "web-ping", ["web-stable", "web-canary"]),
            ("back", &back, "web-stable", "web-canary", PAIR),
        ] {
            let mut canary_spec = strategy["canary"].clone();
            for field in ["pingPong", "stableService", "canaryService"] {
                if canary_spec[field].is_null() {
                    canary_spec[field] = Value::Null;
                }
            }
            world.patch(
                "Rollout",
                "web",
                &json!({"spec": {"strategy": {"canary": canary_spec}}}),
            );
            judge.until(&mut world, "switched", |world, plan| {
                share(world, stable) == 100 - canary
                    && share(world, other) == canary
                    && freed.iter().all(|name| selected(world, name).is_null())
                    && plan.writes_nothing()
            });
            assert_eq!(selected(&world, stable), hash(&world, "stableRS"), "{way}");
            assert_eq!(freed.map(|name| share(&world, name)), [0, 0], "{way}");
            let expected = if in_mid_update { "Paused" } else { "Healthy" };
            assert_eq!(world.status()["phase"], expected, "{way}: {:#}", world.status());
        }
        assert_eq!(self::stable(&world), "");
    }
}

#[test]
fn a_virtual_service_leads_to_the_pair() {
    let mut spec = strategy(steps());
    spec["canary"]["trafficRouting"] = json!({"istio": {"virtualService": {"name": "web"}}});
    let entry = |service: &str, weight: i32| json!({"destination": {"host": service}, "weight": weight});
    let mut world = World::of(&[
        rollout(spec),
        service("web-ping"),
        service("web-pong"),
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"},
            "spec": {"http": [{"route": [entry("web-ping", 100), entry("web-pong", 0)]}]}}),
    ]);
    let weights = |world: &World| {
        let route = &world.get("VirtualService", "web")["spec"]["http"][0]["route"];
        [0, 1].map(|index: usize| route[index]["weight"].as_i64().unwrap())
    };
    world.settle();
    for (version, after, during, rest) in [
        ("demo:v2", "pong", [80, 20], [0, 100]),
        ("demo:v3", "ping", [20, 80], [100, 0]),
    ] {
        image(&mut world, version);
        paused(&mut world);
        assert_eq!(weights(&world), during);
        resume(&mut world);
        world.settle();
        assert_eq!((stable(&world), weights(&world)), (after, rest));
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
    }
}

#[test]
fn a_load_balancers_action_leads_to_the_pair_and_keeps_its_root() {
    let mut spec = strategy(steps());
    spec["canary"]["trafficRouting"] = json!({"alb": {"ingress": "web", "servicePort": 80, "rootService": "web-root"}});
    let backend = json!({"service": {"name": "web-root", "port": {"name": "use-annotation"}}});
    let mut world = World::of(&[
        rollout(spec),
        service("web-ping"),
        service("web-pong"),
        service("web-root"),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {
            "ingressClassName": "alb", "rules": [{"http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}),
    ]);
    let weights = |world: &World| {
        let annotations = &world.get("Ingress", "web")["metadata"]["annotations"];
        let action = annotations["alb.ingress.kubernetes.io/actions.web-root"]
            .as_str()
            .unwrap();
        let action: Value = serde_json::from_str(action).unwrap();
        let groups = action["ForwardConfig"]["TargetGroups"].as_array().unwrap().clone();
        PAIR.map(|name| groups.iter().find(|group| group["ServiceName"] == name).unwrap()["Weight"].clone())
    };
    world.settle();
    assert_eq!((stable(&world), weights(&world)), ("ping", [json!(100), json!(0)]));
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert_eq!(weights(&world), [json!(80), json!(20)]);
    resume(&mut world);
    world.settle();
    assert_eq!((stable(&world), weights(&world)), ("pong", [json!(0), json!(100)]));
    assert!(phase(&world, "Healthy") && selected(&world, "web-root").is_null());
}

#[test]
fn what_is_wrong_with_the_pair_is_named_at_its_field() {
    for (patch, expected) in [
        (
            json!({"trafficRouting": {"plugins": null}}),
            "spec.strategy.canary.pingPong: Invalid value: \"\": Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only",
        ),
        (
            json!({"trafficRouting": {"nginx": {"stableIngress": "web"}}}),
            "spec.strategy.canary.pingPong: Invalid value: \"nginx\": Ping-pong feature works with the ALB",
        ),
        (
            json!({"pingPong": {"pongService": ""}}),
            "pingPong.pongService: Invalid value: \"\": Ping service and Pong service must to be set to use Ping-Pong feature",
        ),
        (
            json!({"pingPong": {"pongService": "web-ping"}}),
            "This rollout uses the same service for the ping and pong services, but two different services are required.",
        ),
        (
            json!({"trafficRouting": {"plugins": null, "alb": {"ingress": "web", "servicePort": 80}}}),
            "alb.rootService: Invalid value: \"\": Root service field is required for the configuration with ALB and ping-pong feature enabled",
        ),
        (
            json!({"trafficRouting": {"plugins": null, "istio": {"virtualService": {"name": "web"},
                "destinationRule": {"name": "web", "canarySubsetName": "canary", "stableSubsetName": "stable"}}}}),
            "istio.destinationRule: Invalid value: \"web\": expected no DestinationRule beside pingPong",
        ),
        (
            json!({}),
            "pingPong.pingService: Invalid value: \"web-ping\": services \"web-ping\" not found",
        ),
    ] {
        let mut world = World::of(&[rollout(strategy(steps()))]);
        world.patch("Rollout", "web", &json!({"spec": {"strategy": {"canary": patch}}}));
        world.pass();
        let message = world.status()["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
    }
}
