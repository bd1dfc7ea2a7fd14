//! Hazards that the reference lists for the original (rollouts, section 13), by number: none of them is here.

use super::{
    fixtures::{
        available, deployed, hash, image, ingress, nginx, paused, phase, resume, rollout, selected, service, steps,
        template,
    },
    world::World,
};
use crate::{api::well_known, plan::Requeue};
use serde_json::{Value, json};

fn abort(world: &mut World) {
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
}

#[test]
fn hazard_1_a_long_abort_delay_keeps_the_pods_that_long() {
    let mut strategy = nginx(steps());
    strategy["canary"]["abortScaleDownDelaySeconds"] = json!(3600);
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    abort(&mut world);
    for _ in 0..20 {
        world.pass();
        world.wait(60);
    }
    assert_eq!((world.set_replicas(&new), world.weight()), (1, 0));
    world.settle();
    assert_eq!(world.set_replicas(&new), 0);
}

#[test]
fn hazard_2_a_scale_down_delay_of_zero_still_scales_down() {
    let mut canary = nginx(json!([]));
    canary["canary"]["scaleDownDelaySeconds"] = json!(0);
    let blue_green = json!({"blueGreen": {"activeService": "web-stable", "scaleDownDelaySeconds": 0}});
    for strategy in [canary, blue_green] {
        let mut world = deployed(strategy);
        let old = hash(&world, "stableRS");
        image(&mut world, "demo:v2");
        world.settle();
        assert!(phase(&world, "Healthy"));
        assert_eq!(world.set_replicas(&old), 0);
    }
}

/// A Service whose mark was lost gets it back, so that it can be let go of later. (That errors strip no selector is seen
/// in the simulated cluster, `hazard_3_errors_strip_no_selector`.)
#[test]
fn hazard_3_a_service_that_lost_its_mark_is_let_go_of_when_it_is_named_no_more() {
    let mut world = deployed(nginx(steps()));
    let stable = hash(&world, "stableRS");
    let unmarked = json!({"metadata": {"annotations": {well_known::MANAGED_BY_ROLLOUT: null}}});
    world.patch("Service", "web-stable", &unmarked);
    world.settle();
    let marks = |world: &World| world.get("Service", "web-stable")["metadata"]["annotations"].clone();
    assert_eq!(
        (
            selected(&world, "web-stable"),
            &marks(&world)[well_known::MANAGED_BY_ROLLOUT]
        ),
        (json!(stable), &json!("web"))
    );
    let bare = json!({"spec": {"strategy": {"canary": {
        "stableService": null, "canaryService": null, "trafficRouting": null}}}});
    world.patch("Rollout", "web", &bare);
    world.settle();
    assert_eq!(
        (
            selected(&world, "web-stable"),
            &marks(&world)[well_known::MANAGED_BY_ROLLOUT]
        ),
        (Value::Null, &Value::Null)
    );
    assert_eq!(
        world.get("Service", "web-stable")["spec"]["selector"],
        json!({"app": "web"})
    );
}

/// One Ingress of several that is missing keeps no other from its weight.
#[test]
fn hazard_5_every_ingress_gets_its_weight() {
    let strategy = json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "steps": steps(),
        "trafficRouting": {"nginx": {"stableIngresses": ["other", "web"]}}}});
    let mut other = ingress();
    other["metadata"]["name"] = json!("other");
    let mut world = World::of(&[
        rollout(strategy),
        service("web-canary"),
        service("web-stable"),
        ingress(),
        other,
    ]);
    world.settle();
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert_eq!(world.weight(), 20);
    world.remove("Ingress", "other");
    abort(&mut world);
    world.pass();
    for name in ["web-web-canary", "web-other-canary"] {
        let annotations = &world.get("Ingress", name)["metadata"]["annotations"];
        assert_eq!(annotations["nginx.ingress.kubernetes.io/canary-weight"], "0", "{name}");
    }
}

/// Stable pods that are not ready hold up neither repairs nor the way back.
#[test]
fn hazard_6_unready_stable_pods_block_no_repair() {
    let mut world = deployed(nginx(steps()));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    available(&mut world, &old, 2);
    let edited = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "90"}}});
    world.patch("Ingress", "web-web-canary", &edited);
    world.pass();
    assert_eq!(world.weight(), 20);
    available(&mut world, &old, 2);
    abort(&mut world);
    world.pass();
    assert_eq!(world.weight(), 0);
}

#[test]
fn hazard_7_a_full_promotion_of_a_dynamic_scale_stays_within_the_total() {
    let mut strategy = nginx(steps());
    strategy["canary"]["dynamicStableScale"] = json!(true);
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.patch(
        "Rollout",
        "web",
        &json!({"status": {"promoteFull": true}, "spec": {"replicas": 2}}),
    );
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert!(
        world.weights.iter().all(|weight| (0..=100).contains(weight)),
        "{:?}",
        world.weights
    );
}

/// The last weight counts as reached only when the data plane follows it, like every other.
#[test]
fn hazard_8_the_last_weight_is_waited_for_too() {
    let mut world = deployed(nginx(json!([{"setWeight": 50}])));
    image(&mut world, "demo:v2");
    world.run_until("weight 100", |world, _| world.weight() == 100);
    let written = world.now;
    world.run_until("promoted", |world, _| {
        world.status()["stableRS"] == world.status()["currentPodHash"]
    });
    assert!(world.now.duration_since(written).as_secs() >= 5);
}

#[test]
fn hazard_17_a_step_of_two_kinds_is_invalid() {
    for step in [
        json!({"setWeight": 20, "setCanaryScale": {"replicas": 1}}),
        json!({"pause": {}, "plugin": {"name": "x"}}),
        json!({}),
    ] {
        let mut world = World::of(&[
            rollout(nginx(json!([{"setWeight": 5}, step]))),
            service("web-canary"),
            service("web-stable"),
            ingress(),
        ]);
        world.pass();
        let message = world.status()["message"].as_str().unwrap();
        assert!(message.contains("spec.strategy.canary.steps[1]"), "{message}");
        assert!(message.contains("Step must have one of the following set"), "{message}");
    }
}

/// A broken specification is said once and waits for a change, in no loop.
#[test]
fn hazard_19_a_broken_specification_wakes_nobody() {
    let mut world = World::of(&[
        rollout(nginx(steps())),
        service("web-canary"),
        ingress(),
        template("10s"),
    ]);
    assert!(!world.pass().writes_nothing());
    for _ in 0..3 {
        world.wait(3600);
        let plan = world.pass();
        assert!(plan.writes_nothing(), "{plan:#?}");
        assert_eq!(plan.requeue, Requeue::AwaitChange);
    }
}

fn blue_green(more: &Value) -> World {
    let mut strategy = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary"}});
    json_patch::merge(&mut strategy["blueGreen"], more);
    deployed(strategy)
}

#[test]
fn hazard_21_an_abort_after_the_switch_leads_back_whatever_the_new_pods_do() {
    let mut world = blue_green(&json!({"postPromotionAnalysis": {"templates": [{"templateName": "check"}]}}));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    let new = world.plan_hash();
    world.run_until("the switch", |world, _| selected(world, "web-stable") == json!(new));
    available(&mut world, &new, 0);
    world.broken = vec![new.clone()];
    abort(&mut world);
    world.pass();
    assert_eq!(selected(&world, "web-stable"), json!(old));
    world.settle();
    assert_eq!((world.set_replicas(&new), world.set_replicas(&old)), (0, 5));
    assert!(phase(&world, "Degraded"));
}

#[test]
fn hazard_22_a_lost_selector_opens_no_gate() {
    let mut world = blue_green(&json!({"prePromotionAnalysis": {"templates": [{"templateName": "check"}]}}));
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    world.run_until("the analysis", |world, _| {
        world.status()["waitingFor"]["reason"] == "WaitingForAnalysis"
    });
    let lost = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: null}}});
    world.patch("Service", "web-stable", &lost);
    for _ in 0..5 {
        world.pass();
    }
    assert_eq!(
        (selected(&world, "web-stable"), hash(&world, "stableRS")),
        (json!(old), old)
    );
    assert_eq!(world.status()["waitingFor"]["reason"], "WaitingForAnalysis");
}

#[test]
fn hazard_9_a_canary_ingress_that_is_named_no_more_carries_nothing() {
    let strategy = json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "steps": steps(),
        "trafficRouting": {"nginx": {"stableIngresses": ["other", "web"]}}}});
    let mut other = ingress();
    other["metadata"]["name"] = json!("other");
    let mut world = World::of(&[
        rollout(strategy),
        service("web-canary"),
        service("web-stable"),
        ingress(),
        other,
    ]);
    world.settle();
    image(&mut world, "demo:v2");
    paused(&mut world);
    let fewer = json!({"spec": {"strategy": {"canary": {"trafficRouting": {"nginx": {"stableIngresses": ["web"]}}}}}});
    world.patch("Rollout", "web", &fewer);
    world.pass();
    let annotations = &world.get("Ingress", "web-other-canary")["metadata"]["annotations"];
    assert_eq!(annotations["nginx.ingress.kubernetes.io/canary-weight"], "0");
    assert_eq!(world.weight(), 20);
    resume(&mut world);
    world.settle();
    assert!(phase(&world, "Healthy"));
}
