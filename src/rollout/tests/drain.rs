//! T3 for the clock of a step: no pause or analysis begins to count before the drain time has fully passed since the last
//! write of a weight, whoever wrote it, however late in its second, and however slowly.

use super::{
    fixtures::{deployed, hash, image, ingress, nginx, paused, phase, resume, rollout, service, steps},
    world::World,
};
use crate::api::well_known;
use jiff::SignedDuration;
use serde_json::{Value, json};

const DRAIN_SECONDS: u32 = 2;

fn drains(strategy: Value) -> World {
    let mut world = deployed(strategy);
    world.settings.drain_seconds = DRAIN_SECONDS;
    world
}

/// Goes on until `index` is reached, and judges the time since the last write of a weight.
#[track_caller]
fn drained_before(world: &mut World, index: usize, case: &str) {
    world.run_until(case, |world, _| world.status()["currentStepIndex"] == json!(index));
    let waited = world.now.duration_since(world.reweighted_at());
    assert!(
        waited >= SignedDuration::from_secs(DRAIN_SECONDS.into()),
        "{case}: left after {waited:#}"
    );
}

#[test]
fn a_weight_step_is_left_only_when_its_own_write_has_drained() {
    let fractions = [0, 1, 400, 950, 999];
    let latencies = [0, 40, 900, 3100];
    for (fraction, latency) in fractions.iter().flat_map(|f| latencies.iter().map(move |l| (*f, *l))) {
        let case = format!("decided {fraction} ms into a second, written {latency} ms later");
        let mut world = drains(nginx(
            json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 40}, {"pause": {"duration": 1}}]),
        ));
        image(&mut world, "demo:v2");
        world.now += SignedDuration::from_millis(fraction);
        world.latency = SignedDuration::from_millis(latency);
        drained_before(&mut world, 1, &case);
        paused(&mut world);
        resume(&mut world);
        drained_before(&mut world, 3, &case);
    }
}

#[test]
fn a_weight_step_at_the_standing_weight_is_left_at_once() {
    let mut world = drains(nginx(
        json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 20}, {"pause": {}}]),
    ));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let written = world.reweighted_at();
    let before = world.now;
    resume(&mut world);
    world.run_until("step 3", |world, _| world.status()["currentStepIndex"] == 3);
    assert_eq!((world.reweighted_at(), world.now), (written, before));
}

#[test]
fn a_weight_that_somebody_moved_drains_anew() {
    let mut world = drains(nginx(json!([{"setWeight": 20}, {"setWeight": 40}, {"pause": {}}])));
    image(&mut world, "demo:v2");
    world.run_until("weight 40", |world, _| world.weight() == 40);
    for percent in ["90", "0"] {
        world.wait(1);
        let edited = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": percent}}});
        world.patch("Ingress", "web-web-canary", &edited);
        world.pass();
        assert_eq!(world.weight(), 40);
    }
    drained_before(&mut world, 2, "edited by hand");
}

#[test]
fn a_weight_whose_status_was_lost_drains_from_when_it_is_seen() {
    let mut world = drains(nginx(
        json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 40}, {"pause": {}}]),
    ));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let status = world.status().clone();
    resume(&mut world);
    world.run_until("weight 40", |world, _| world.weight() == 40);
    let mut lost = status["canary"].clone();
    lost["weights"]["verified"] = Value::Null;
    world.patch("Rollout", "web", &json!({"status": {"canary": lost}}));
    drained_before(&mut world, 3, "status lost");
}

/// The second of two Ingresses is written later than the first, as after a crash between the two.
#[test]
fn every_ingress_drains() {
    let strategy = json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "steps": steps(),
        "trafficRouting": {"nginx": {"stableIngresses": ["web", "other"]}}}});
    let mut other = ingress();
    other["metadata"]["name"] = json!("other");
    let mut world = World::of(&[
        rollout(strategy),
        service("web-canary"),
        service("web-stable"),
        ingress(),
        other,
    ]);
    world.settings.drain_seconds = DRAIN_SECONDS;
    world.settle();
    image(&mut world, "demo:v2");
    world.run_until("weight 20", |world, _| world.weight() == 20);
    world.wait(60);
    let zero = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "0"}}});
    world.patch("Ingress", "web-other-canary", &zero);
    world.run_until("both", |world, _| {
        world.get("Ingress", "web-other-canary")["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"]
            == "20"
    });
    drained_before(&mut world, 1, "the second Ingress");
}

/// After promotion the weight stays until the data plane knows where the stable Service leads now, also when that
/// Service followed late.
#[test]
fn the_weight_goes_only_when_the_switch_of_the_stable_service_has_drained() {
    let mut world = drains(nginx(json!([{"setWeight": 50}])));
    image(&mut world, "demo:v2");
    world.run_until("promoted", |world, _| {
        world.status()["stableRS"] == world.status()["currentPodHash"]
    });
    world.wait(60);
    let new = hash(&world, "stableRS");
    world.run_until("the switch", |world, _| {
        world.get("Service", "web-stable")["spec"]["selector"][well_known::POD_TEMPLATE_HASH] == json!(new)
    });
    let switched = world.now;
    world.run_until("weight 0", |world, _| world.weight() == 0);
    assert!(world.now.duration_since(switched).as_secs() >= i64::from(DRAIN_SECONDS));
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert!(world.status()["canary"]["weights"].get("verified").is_none());
}

#[test]
fn a_raise_whose_status_is_lost_and_that_is_taken_back_is_not_forgotten() {
    let mut world = drains(nginx(json!([{"setWeight": 40}, {"pause": {}}])));
    image(&mut world, "demo:v2");
    world.run_until("a weight announced or written", |world, plan| {
        world.weight() == 40
            || world.status()["canary"]["weights"]["canary"]["weight"] == 40
            || !plan.writes_nothing() && world.weight() > 0
    });
    // From here on no status is written, whatever is decided.
    let mut raised = None;
    for _ in 0..6 {
        let before = world.get("Rollout", "web").clone();
        world.pass();
        if world.weight() > 0 && raised.is_none() {
            raised = Some(world.now);
            world.patch(
                "Rollout",
                "web",
                &json!({"spec": {"strategy": {"canary": {"steps": [{"pause": {}}]}}}}),
            );
        } else if raised.is_some() {
            let mut status = before["status"].clone();
            status["observedGeneration"] = world.status()["observedGeneration"].clone();
            let mut rollout = world.get("Rollout", "web").clone();
            rollout["status"] = status;
            world.put(rollout);
        }
    }
    assert!(raised.is_some(), "the weight is raised once it was announced");
    assert_eq!(world.weight(), 0);
    let canary = hash(&world, "currentPodHash");
    assert!(world.set_replicas(&canary) > 0, "requests may still be on their way");
}
