use super::world::World;
use crate::{api::well_known, plan::Requeue};
use serde_json::{Value, json};

pub(super) fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": "web"}}})
}

pub(super) fn ingress() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {
        "ingressClassName": "nginx", "rules": [{"host": "web.example.com", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web-stable", "port": {"number": 80}}}}]}}]}})
}

pub(super) fn rollout(strategy: Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": {
        "replicas": 5, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "demo:v1"}]}}}})
}

pub(super) fn template(interval: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "check"}, "spec": {
        "metrics": [{"name": "errors", "interval": interval, "count": 3, "successCondition": "result[0] < 0.1",
            "provider": {"prometheus": {"address": "http://127.0.0.1:9", "query": "up"}}}]}})
}

pub(super) fn nginx(steps: Value) -> Value {
    json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "steps": steps,
        "trafficRouting": {"nginx": {"stableIngress": "web"}}}})
}

/// A world with a promoted v1.
pub(super) fn deployed(strategy: Value) -> World {
    let mut world = World::of(&[
        rollout(strategy),
        service("web-canary"),
        service("web-stable"),
        ingress(),
        template("10s"),
    ]);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy", "{:#}", world.status());
    world.events.clear();
    world.weights.clear();
    world
}

pub(super) fn image(world: &mut World, image: &str) {
    let containers = json!([{"name": "web", "image": image}]);
    world.patch(
        "Rollout",
        "web",
        &json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    );
}

pub(super) fn phase(world: &World, phase: &str) -> bool {
    world.status()["phase"] == phase
}

pub(super) fn paused(world: &mut World) {
    world.run_until("paused", |world, _| phase(world, "Paused"));
}

pub(super) fn resume(world: &mut World) {
    world.patch("Rollout", "web", &json!({"status": {"pauseConditions": null}}));
}

pub(super) fn hash(world: &World, field: &str) -> String {
    world.status()[field].as_str().unwrap().to_owned()
}

pub(super) fn steps() -> Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1h"}}])
}

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
fn an_abort_takes_the_weight_back_and_the_pods_later() {
    for step in [1, 3] {
        let mut world = deployed(nginx(steps()));
        let old = hash(&world, "stableRS");
        image(&mut world, "demo:v2");
        paused(&mut world);
        if step == 3 {
            resume(&mut world);
            world.run_until("step 3", |world, _| {
                world.status()["currentStepIndex"] == 3 && phase(world, "Paused")
            });
        }
        let new = hash(&world, "currentPodHash");
        world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
        world.pass();
        assert_eq!(world.weight(), 0, "one pass is enough");
        assert!(world.set_replicas(&new) > 0);
        assert!(phase(&world, "Degraded"));
        assert_eq!(
            world.status()["message"],
            "RolloutAborted: Rollout aborted update to revision 2"
        );
        world.settle();
        assert_eq!((world.set_replicas(&new), world.set_replicas(&old)), (0, 5));
        assert_eq!(
            world.get("Service", "web-canary")["spec"]["selector"][well_known::POD_TEMPLATE_HASH],
            Value::from(old)
        );
        assert_eq!(world.status()["currentStepIndex"], 0);
    }
}

#[test]
fn a_retry_starts_again_with_the_same_pods() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    world.pass();
    world.patch("Rollout", "web", &json!({"status": {"abort": false}}));
    paused(&mut world);
    assert_eq!((hash(&world, "currentPodHash"), world.weight()), (new, 20));
    assert!(world.status().get("abortedAt").is_none());
}

#[test]
fn a_failed_analysis_aborts_in_the_pass_that_sees_it() {
    let steps = json!([{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "check"}]}}, {"setWeight": 60}]);
    let mut world = deployed(nginx(steps));
    image(&mut world, "demo:v2");
    let run = format!("web-{}-2-1", world.plan_hash());
    world.run_until("a run", |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), run.clone()))
    });
    assert_eq!(
        world.get("AnalysisRun", &run)["metadata"]["labels"]["rollout-type"],
        "Step"
    );
    world.patch(
        "AnalysisRun",
        &run,
        &json!({"status": {"phase": "Failed", "message": "too many errors"}}),
    );
    world.pass();
    assert_eq!(world.weight(), 0);
    assert_eq!(
        world.status()["message"],
        "RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase error/failed: too many errors"
    );
    // D2: a retry judges anew, under a name of its own, and only once.
    world.patch("Rollout", "web", &json!({"status": {"abort": false}}));
    let again = format!("{run}.1");
    world.run_until("a second run", |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), again.clone()))
    });
    for _ in 0..5 {
        world.pass();
    }
    let runs = world.objects.keys().filter(|(kind, _)| kind == "AnalysisRun").count();
    assert_eq!(runs, 2);
}

#[test]
fn success_without_evidence_does_not_pass_a_gate() {
    let steps = json!([{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "check"}]}}]);
    let mut world = deployed(nginx(steps));
    image(&mut world, "demo:v2");
    let run = format!("web-{}-2-1", world.plan_hash());
    world.run_until("a run", |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), run.clone()))
    });
    world.patch(
        "AnalysisRun",
        &run,
        &json!({"status": {"phase": "Successful", "message": "Run Terminated"}}),
    );
    world.run_until("paused", |world, _| phase(world, "Paused"));
    assert_eq!(world.status()["message"], "InconclusiveAnalysisRun");
    assert_eq!(world.status()["currentStepIndex"], 1);
    let good = json!({"status": {"phase": "Successful", "completedAt": "2026-01-01T00:00:00Z", "metricResults": [
        {"name": "errors", "phase": "Successful", "count": 3, "successful": 3}]}});
    resume(&mut world);
    let again = format!("{run}.1");
    world.run_until("a second run", |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), again.clone()))
    });
    world.patch("AnalysisRun", &again, &good);
    world.settle();
    assert!(phase(&world, "Healthy"));
}

#[test]
fn a_failing_background_analysis_aborts_at_any_step() {
    let mut strategy = nginx(steps());
    strategy["canary"]["analysis"] = json!({"templates": [{"templateName": "check"}], "startingStep": 1});
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    let run = format!("web-{}-2", world.plan_hash());
    world.run_until("a run", |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), run.clone()))
    });
    assert_eq!(world.status()["currentStepIndex"], 1);
    paused(&mut world);
    world.patch(
        "AnalysisRun",
        &run,
        &json!({"status": {"phase": "Error", "message": "m"}}),
    );
    world.pass();
    assert_eq!(world.weight(), 0);
    assert!(
        world.status()["message"]
            .as_str()
            .unwrap()
            .contains("Background analysis phase error/failed: m")
    );
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
    let selected =
        |world: &World| world.get("Service", "web-canary")["spec"]["selector"][well_known::POD_TEMPLATE_HASH].clone();
    assert_eq!(
        selected(&world),
        Value::from(second.as_str()),
        "not under a weight the data plane may still use"
    );
    paused(&mut world);
    let third = hash(&world, "currentPodHash");
    assert_eq!((selected(&world), world.weight()), (Value::from(third.as_str()), 20));
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
    let selected = |world: &World, name: &str| {
        world.get("Service", name)["spec"]["selector"][well_known::POD_TEMPLATE_HASH].clone()
    };
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
fn a_version_that_never_gets_ready_gets_no_weight_and_times_out() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2-crash");
    world.broken = vec![world.plan_hash()];
    world.run_until("timed out", |world, _| phase(world, "Degraded"));
    assert!(
        world.status()["message"]
            .as_str()
            .unwrap()
            .starts_with("ProgressDeadlineExceeded: ")
    );
    assert_eq!(world.weight(), 0);
    assert_eq!(world.weights, Vec::<i64>::new());
}

#[test]
fn a_deadline_may_abort() {
    let mut world = deployed(nginx(steps()));
    world.patch(
        "Rollout",
        "web",
        &json!({"spec": {"progressDeadlineAbort": true, "progressDeadlineSeconds": 60}}),
    );
    image(&mut world, "demo:v2-crash");
    world.broken = vec![world.plan_hash()];
    world.run_until("aborted", |world, _| world.status()["abort"] == true);
    assert!(
        world.status()["message"]
            .as_str()
            .unwrap()
            .contains("has timed out progressing")
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
fn blue_green_waits_for_a_person_and_switches_at_once() {
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary", "autoPromotionEnabled": false}});
    let mut world = deployed(strategy);
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    let selected = |world: &World, name: &str| {
        world.get("Service", name)["spec"]["selector"][well_known::POD_TEMPLATE_HASH].clone()
    };
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

impl World {
    /// The hash of the template as it stands, from a plan.
    pub(super) fn plan_hash(&self) -> String {
        let plan = self.plan();
        let created = plan
            .stages
            .iter()
            .flat_map(|stage| &stage.0)
            .find_map(|action| match action {
                crate::plan::Action::Create { object } if object["kind"] == "ReplicaSet" => Some(object.clone()),
                _ => None,
            });
        match created {
            Some(set) => set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH]
                .as_str()
                .unwrap()
                .to_owned(),
            None => hash(self, "currentPodHash"),
        }
    }
}
