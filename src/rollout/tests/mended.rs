//! What the chaos runs and a reading against the reference found, each as a small story.

use super::{
    fixtures::{available, deployed, hash, image, nginx, paused, phase, resume, selected, steps},
    world::World,
};
use crate::{api::well_known, plan::Requeue, rollout::snapshot::Snapshot};
use serde_json::{Value, json};

fn status(world: &mut World, patch: &Value) {
    world.patch("Rollout", "web", &json!({ "status": patch }));
}

fn analysis() -> Value {
    json!({"analysis": {"templates": [{"templateName": "check"}]}})
}

fn finish(world: &mut World, run: &str, phase: &str) {
    let results = json!([{"name": "errors", "phase": phase, "count": 3, "successful": 3}]);
    let patch = json!({"status": {"phase": phase, "completedAt": "2026-01-01T00:00:00Z", "metricResults": results}});
    world.patch("AnalysisRun", run, &patch);
}

fn run_exists(world: &mut World, run: &str) {
    world.run_until(run, |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), run.into()))
    });
}

#[test]
fn an_abort_goes_through_without_the_stable_ingress() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let rules = world.get("Ingress", "web-web-canary")["spec"].clone();
    world.remove("Ingress", "web");
    status(&mut world, &json!({"abort": true}));
    world.pass();
    assert_eq!(world.weight(), 0);
    assert_eq!(
        world.get("Ingress", "web-web-canary")["spec"],
        rules,
        "nothing else is touched"
    );
    assert!(world.status()["message"].as_str().unwrap().starts_with("InvalidSpec"));
    world.settle();
}

/// D1: the command line moves the index on while the first analysis still measures.
#[test]
fn the_analysis_of_a_skipped_step_is_no_evidence_for_the_next() {
    let mut world = deployed(nginx(json!([analysis(), analysis(), {"pause": {}}])));
    image(&mut world, "demo:v2");
    let base = format!("web-{}-2", world.plan_hash());
    let (first, second) = (format!("{base}-0"), format!("{base}-1"));
    run_exists(&mut world, &first);
    status(&mut world, &json!({"currentStepIndex": 1}));
    run_exists(&mut world, &second);
    assert_eq!(world.get("AnalysisRun", &first)["spec"]["terminate"], true);
    finish(&mut world, &first, "Successful");
    for _ in 0..3 {
        world.pass();
    }
    assert_eq!(world.status()["currentStepIndex"], 1);
    finish(&mut world, &second, "Successful");
    paused(&mut world);
    assert_eq!(world.status()["currentStepIndex"], 2);
}

/// A background analysis without a verdict holds the steps until a person decides, whichever way the person says so.
#[test]
fn an_inconclusive_background_analysis_holds_the_steps() {
    for decided in [
        json!({"pauseConditions": null}),
        json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": 1}),
    ] {
        let mut strategy =
            nginx(json!([{"setWeight": 20}, {"pause": {"duration": 1}}, {"setWeight": 60}, {"pause": {}}]));
        strategy["canary"]["analysis"] = json!({"templates": [{"templateName": "check"}]});
        let mut world = deployed(strategy);
        image(&mut world, "demo:v2");
        let run = format!("web-{}-2", world.plan_hash());
        run_exists(&mut world, &run);
        finish(&mut world, &run, "Inconclusive");
        for _ in 0..10 {
            world.pass();
            world.wait(10);
        }
        assert_eq!(world.status()["message"], "InconclusiveAnalysisRun");
        assert_eq!(world.status()["currentStepIndex"], 0);
        status(&mut world, &decided);
        run_exists(&mut world, &format!("{run}.1"));
        world.run_until("weight 60", |world, _| world.weight() == 60);
    }
}

/// T3: the user scales down while a lower weight is on its way to the data plane.
#[test]
fn scaling_down_under_a_falling_weight_keeps_the_pods_it_needs() {
    let mut world = deployed(nginx(
        json!([{"setWeight": 80}, {"pause": {}}, {"setWeight": 20}, {"pause": {}}]),
    ));
    world.patch("Rollout", "web", &json!({"spec": {"replicas": 10}}));
    world.settle();
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    resume(&mut world);
    world.run_until("weight 20", |world, _| world.weight() == 20);
    world.patch("Rollout", "web", &json!({"spec": {"replicas": 5}}));
    world.pass();
    assert!(
        world.set_replicas(&new) >= 4,
        "the data plane may still send 80 of 100 requests"
    );
    paused(&mut world);
    assert_eq!(world.set_replicas(&new), 1);
}

#[test]
fn a_rollout_of_no_pods_can_be_updated() {
    for strategy in [
        nginx(json!([{"setWeight": 20}])),
        json!({"blueGreen": {"activeService": "web-stable"}}),
    ] {
        let mut world = deployed(strategy);
        world.patch("Rollout", "web", &json!({"spec": {"replicas": 0}}));
        world.settle();
        image(&mut world, "demo:v2");
        world.settle();
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
        let new = hash(&world, "stableRS");
        assert_eq!((selected(&world, "web-stable"), world.weight()), (json!(new), 0));
    }
}

/// The clock of the update before ran on while its old pods waited to be scaled down; the next one begins with its own.
#[test]
fn an_update_to_older_pods_does_not_begin_overdue() {
    let mut world = deployed(nginx(json!([{"setWeight": 20}, {"pause": {}}])));
    let deadline = json!({"progressDeadlineSeconds": 40, "progressDeadlineAbort": true,
        "strategy": {"canary": {"scaleDownDelaySeconds": 600}}});
    world.patch("Rollout", "web", &json!({ "spec": deadline }));
    image(&mut world, "demo:v2");
    paused(&mut world);
    resume(&mut world);
    world.run_until("Healthy", |world, _| phase(world, "Healthy"));
    world.wait(60);
    image(&mut world, "demo:v1");
    for _ in 0..3 {
        world.pass();
        assert_eq!(world.status()["abort"], Value::Null, "{:#}", world.status());
    }
    paused(&mut world);
}

#[test]
fn a_timeout_is_said_once_and_wakes_nobody() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2-crash");
    world.broken = vec![world.plan_hash()];
    world.run_until("timed out", |world, _| phase(world, "Degraded"));
    for _ in 0..3 {
        let plan = world.pass();
        assert!(
            plan.writes_nothing() && plan.requeue == Requeue::AwaitChange,
            "{plan:#?}"
        );
    }
}

/// T3 without a router: the Service of the stable pods never leads to nobody.
#[test]
fn the_stable_service_of_a_basic_canary_keeps_a_pod_until_promotion() {
    for surge in [0, 1] {
        let strategy = json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "maxSurge": surge,
            "maxUnavailable": 1}});
        let mut world = deployed(strategy);
        let old = hash(&world, "stableRS");
        image(&mut world, "demo:v2");
        let new = world.plan_hash();
        world.run_until("healthy", |world, _| {
            let behind = selected(world, "web-stable");
            let pods = if behind == json!(old) {
                world.set_replicas(&old)
            } else {
                world.set_replicas(&new)
            };
            assert!(pods > 0, "web-stable leads to nobody");
            world.status()["stableRS"] == json!(new) && world.set_replicas(&old) == 0 && world.set_replicas(&new) == 5
        });
        world.settle();
        assert!(phase(&world, "Healthy"));
    }
}

#[test]
fn a_cure_for_failing_stable_pods_is_not_held_up_by_them() {
    let mut world = deployed(json!({"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}));
    let old = hash(&world, "stableRS");
    world.broken = vec![old.clone()];
    available(&mut world, &old, 0);
    image(&mut world, "demo:v2");
    paused(&mut world);
    resume(&mut world);
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!(world.set_replicas(&old), 0);
}

/// T4: a newer image, or the stable one again, while no stable pod is there: requests stay with the pods that serve.
#[test]
fn an_interrupted_canary_keeps_its_requests_while_no_stable_pod_is_there() {
    for next in ["demo:v3", "demo:v1"] {
        let mut world = deployed(nginx(steps()));
        let old = hash(&world, "stableRS");
        image(&mut world, "demo:v2");
        paused(&mut world);
        world.broken = vec![old.clone()];
        available(&mut world, &old, 0);
        image(&mut world, next);
        for _ in 0..4 {
            world.pass();
        }
        assert_eq!(world.weight(), 20, "{next}");
        // A newer version takes the requests over; the stable one, once it is back, all of them.
        world.broken = vec![];
        if next == "demo:v1" {
            world.run_until("weight 0", |world, _| world.weight() == 0);
        } else {
            let newest = json!(hash(&world, "currentPodHash"));
            world.run_until("v3 serves", |world, _| selected(world, "web-canary") == newest);
            assert_eq!(world.weight(), 20);
        }
    }
}

fn dynamic() -> World {
    let mut strategy = nginx(json!([{"setWeight": 60}, {"pause": {}}]));
    strategy["canary"]["dynamicStableScale"] = json!(true);
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.run_until("the stable side shrinks", |world, _| {
        world.set_replicas(&hash(world, "stableRS")) == 2
    });
    world
}

/// ingress-nginx answers 503 for a stable Service without endpoints, whatever the weight.
#[test]
fn the_stable_service_of_a_dynamic_scale_keeps_an_endpoint() {
    let mut world = dynamic();
    let old = hash(&world, "stableRS");
    resume(&mut world);
    world.run_until("promoted", |world, _| {
        assert!(selected(world, "web-stable") != json!(old) || world.set_replicas(&old) > 0);
        world.status()["stableRS"] != json!(old)
    });
    world.settle();
    assert_eq!(world.set_replicas(&old), 0);
}

/// T2 for the stable side: it grows back before it gets all requests.
#[test]
fn back_to_stable_waits_until_a_dynamic_scale_has_grown_back() {
    let mut world = dynamic();
    let (old, new) = (hash(&world, "stableRS"), hash(&world, "currentPodHash"));
    image(&mut world, "demo:v1");
    world.broken = vec![old.clone()];
    available(&mut world, &old, 2);
    let weight = world.plan();
    assert!(!format!("{weight:?}").contains("canary-weight\": String(\"0\")"));
    world.broken = vec![];
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!(
        (world.weight(), world.set_replicas(&old), world.set_replicas(&new)),
        (0, 5, 0)
    );
}

/// T6: what `setCanaryScale` takes from the canary below the weight's share, the stable side brings.
#[test]
fn a_small_canary_of_a_dynamic_scale_leaves_the_missing_pods_to_the_stable_side() {
    let steps =
        json!([{"setWeight": 60}, {"pause": {"duration": 20}}, {"setCanaryScale": {"replicas": 1}}, {"pause": {}}]);
    let mut strategy = nginx(steps);
    strategy["canary"]["dynamicStableScale"] = json!(true);
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    world.run_until("the last pause", |world, _| {
        let available = world.status()["availableReplicas"].as_i64().unwrap_or(5);
        assert!(
            available >= 4,
            "{available} available pods of 5, one of which may be missing"
        );
        world.status()["currentStepIndex"] == 3
    });
    let (old, new) = (hash(&world, "stableRS"), hash(&world, "currentPodHash"));
    assert_eq!((world.set_replicas(&old), world.set_replicas(&new)), (3, 1));
}

#[test]
fn a_replica_set_edited_in_place_is_replaced_under_another_name() {
    let mut world = deployed(nginx(steps()));
    let old = hash(&world, "stableRS");
    let edited = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "demo:evil"}]}}}});
    world.patch("ReplicaSet", &format!("web-{old}"), &edited);
    world.settle();
    assert_eq!(world.status()["collisionCount"], 1);
    let current = hash(&world, "currentPodHash");
    assert_ne!(current, old);
    assert!(world.set_replicas(&current) > 0);
}

#[test]
fn a_creation_that_never_shows_up_is_named() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    let name = format!("web-{}", world.plan_hash());
    for _ in 0..5 {
        world.pass();
        world.objects.remove(&("ReplicaSet".to_owned(), name.clone()));
        world.wait(3);
    }
    let waiting = &world.status()["waitingFor"];
    assert_eq!(waiting["reason"], "WaitingForReplicaSet");
    assert!(waiting["message"].as_str().unwrap().contains(&name));
    let created = world
        .reasons()
        .iter()
        .filter(|reason| **reason == "NewReplicaSetCreated")
        .count();
    assert_eq!(created, 1, "told once");
    world.settle();
}

#[test]
fn a_collision_leads_to_another_name() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    let taken = world.plan_hash();
    let rollout = serde_json::from_value(world.get("Rollout", "web").clone()).unwrap();
    let plan = crate::rollout::plan_after_collision(&Snapshot {
        rollout: &rollout,
        referred: None,
        scaled_down: vec![],
        replica_sets: vec![],
        services: vec![],
        ingresses: vec![],
        foreign: vec![],
        unserved: &[],
        served: &[],
        analysis_runs: vec![],
        experiments: vec![],
        analysis_templates: vec![],
        cluster_analysis_templates: vec![],
        pods: crate::rollout::snapshot::Pods::Unlisted,
        settings: &world.settings,
        now: world.now,
    });
    let crate::plan::StatusChange::Merge { patch, .. } = plan.status else {
        panic!("no status")
    };
    assert_eq!(patch["status"]["collisionCount"], 1);
    status(&mut world, &json!({"collisionCount": 1}));
    assert_ne!(world.plan_hash(), taken);
}

#[test]
fn time_spent_waiting_for_a_person_is_counted() {
    let mut world = deployed(nginx(json!([{"pause": {"duration": 10}}, {"pause": {}}])));
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert!(world.status()["duration"].get("manualPauseStartedAt").is_none());
    world.run_until("the open pause", |world, _| world.status()["currentStepIndex"] == 1);
    assert!(world.status()["duration"].get("manualPauseStartedAt").is_some());
    world.wait(100);
    resume(&mut world);
    world.settle();
    let duration = &world.status()["duration"];
    assert_eq!(duration["totalManualPauseDurationSeconds"], 100);
    assert!(duration.get("manualPauseStartedAt").is_none());
    assert_eq!(duration["completionStatus"], "Promoted");
}

#[test]
fn an_aborted_update_creates_no_replica_set() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    status(&mut world, &json!({"abort": true}));
    world.remove("ReplicaSet", &format!("web-{new}"));
    world.settle();
    assert!(!world.objects.contains_key(&("ReplicaSet".into(), format!("web-{new}"))));
    status(&mut world, &json!({"abort": false}));
    paused(&mut world);
    assert_eq!((world.set_replicas(&new), world.weight()), (1, 20));
}

#[test]
fn a_paused_rollout_deploys_nothing_at_first() {
    let mut world = deployed(nginx(steps()));
    let mut rollout = world.get("Rollout", "web").clone();
    for (kind, name) in world.objects.keys().cloned().collect::<Vec<_>>() {
        if kind == "ReplicaSet" {
            world.remove(&kind, &name);
        }
    }
    rollout.as_object_mut().unwrap().remove("status");
    rollout["spec"]["paused"] = json!(true);
    world.put(rollout);
    world.settle();
    assert_eq!(world.status()["message"], "manually paused");
    assert_eq!(world.set_replicas(&hash(&world, "currentPodHash")), 0);
    world.patch("Rollout", "web", &json!({"spec": {"paused": false}}));
    world.settle();
    assert!(phase(&world, "Healthy"));
}

/// Whoever waits for `Healthy` means that the update is over: Services and weight included.
#[test]
fn healthy_waits_for_the_services_and_the_weight() {
    let mut world = deployed(nginx(json!([{"setWeight": 50}])));
    image(&mut world, "demo:v2");
    let new = world.plan_hash();
    let messages = std::cell::RefCell::new(Vec::new());
    world.run_until("healthy", |world, _| {
        messages
            .borrow_mut()
            .push(world.status()["message"].as_str().unwrap_or_default().to_owned());
        phase(world, "Healthy")
    });
    assert_eq!((selected(&world, "web-stable"), world.weight()), (json!(new), 0));
    let messages = messages.into_inner();
    for said in [
        "stable service cutover pending",
        "waiting for the canary weight to return to 0",
    ] {
        assert!(messages.iter().any(|message| message == said), "{said}: {messages:#?}");
    }
}

/// At rest as well: a selector that was edited is said to be repaired until it is.
#[test]
fn an_edited_selector_at_rest_is_repaired_and_ends_healthy() {
    let mut world = deployed(nginx(steps()));
    let edited = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: "gone"}}});
    world.patch("Service", "web-stable", &edited);
    world.settle();
    assert!(phase(&world, "Healthy"));
    assert_eq!(selected(&world, "web-stable"), json!(hash(&world, "stableRS")));
}

/// A version that is gone holds up no deadline: the update after the first one times out as well.
#[test]
fn the_deadline_of_a_later_update_runs_although_versions_were_scaled_down() {
    let mut world = deployed(nginx(steps()));
    let first = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    status(&mut world, &json!({"promoteFull": true}));
    world.settle();
    assert_eq!((phase(&world, "Healthy"), world.set_replicas(&first)), (true, 0));
    // As the original, or an older version of this controller, may have left it.
    let left = json!({"metadata": {"annotations": {well_known::SCALE_DOWN_DEADLINE: "2026-01-01T00:00:00Z"}}});
    world.patch("ReplicaSet", &format!("web-{first}"), &left);
    image(&mut world, "demo:v3-crash");
    world.broken = vec![world.plan_hash()];
    world.run_until("timed out", |world, _| phase(world, "Degraded"));
    let message = world.status()["message"].as_str().unwrap();
    assert!(message.starts_with("ProgressDeadlineExceeded: "), "{message}");
}

#[test]
fn a_changed_min_ready_seconds_reaches_the_pods_that_are_there() {
    let mut world = deployed(nginx(steps()));
    let stable = format!("web-{}", hash(&world, "stableRS"));
    world.patch("Rollout", "web", &json!({"spec": {"minReadySeconds": 7}}));
    world.settle();
    assert_eq!(world.get("ReplicaSet", &stable)["spec"]["minReadySeconds"], 7);
    assert_eq!(
        hash(&world, "currentPodHash"),
        hash(&world, "stableRS"),
        "no revision comes of it"
    );
    assert!(world.pass().writes_nothing());
    world.patch("Rollout", "web", &json!({"spec": {"minReadySeconds": 600}}));
    world.pass();
    let message = world.status()["message"].as_str().unwrap();
    assert!(message.contains("must be greater than minReadySeconds"), "{message}");
}

#[test]
fn versions_beyond_the_limit_wait_for_the_data_plane_only() {
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "scaleDownDelaySeconds": 3600,
        "scaleDownDelayRevisionLimit": 1}});
    let mut world = deployed(strategy);
    let mut replaced = Vec::new();
    for version in ["demo:v2", "demo:v3", "demo:v4"] {
        replaced.push(hash(&world, "stableRS"));
        image(&mut world, version);
        world.run_until("promoted", |world, _| {
            world.status()["stableRS"] == world.status()["currentPodHash"] && phase(world, "Healthy")
        });
    }
    let before = world.now;
    world.run_until("one old version is left", |world, _| {
        let standing = replaced.iter().filter(|hash| world.set_replicas(hash) > 0);
        standing.count() == 1
    });
    assert!(world.now.duration_since(before).as_secs() < 60);
    assert!(world.set_replicas(&replaced[2]) > 0, "the newest of them stays");
}

/// What was said about the aborted update is not said of the next one, whose ReplicaSet happens to be there.
#[test]
fn an_update_to_a_version_that_is_there_is_not_called_aborted() {
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    paused(&mut world);
    image(&mut world, "demo:v3");
    paused(&mut world);
    status(&mut world, &json!({"abort": true}));
    world.run_until("aborted", |world, _| phase(world, "Degraded"));
    image(&mut world, "demo:v2");
    world.pass();
    let status = world.status();
    assert_eq!(
        (&status["abort"], &status["phase"]),
        (&Value::Null, &json!("Progressing")),
        "{status:#}"
    );
    let conditions = status["conditions"].as_array().unwrap();
    let progressing = conditions.iter().find(|condition| condition["type"] == "Progressing");
    assert_eq!(progressing.unwrap()["reason"], "RolloutRetry");
}

/// T3: a canary that is to have no pods gives back its requests first.
#[test]
fn a_canary_scaled_to_nothing_gives_back_its_requests_first() {
    let mut world = deployed(nginx(json!([
        {"setWeight": 50}, {"pause": {"duration": 60}}, {"setCanaryScale": {"replicas": 0}}, {"pause": {}}])));
    image(&mut world, "demo:v2");
    world.run_until("the weight is taken back", |world, _| {
        let canary = hash(world, "currentPodHash");
        assert!(
            world.weight() == 0 || world.status()["currentStepIndex"] == 0 || world.set_replicas(&canary) > 0,
            "{:#}",
            world.status()
        );
        world.status()["currentStepIndex"] == 2 && world.weight() == 0
    });
    let (canary, given_back) = (hash(&world, "currentPodHash"), world.now);
    assert!(world.set_replicas(&canary) > 0);
    paused(&mut world);
    assert_eq!((world.set_replicas(&canary), world.weight()), (0, 0));
    assert!(world.now.duration_since(given_back).as_secs() >= i64::from(world.settings.drain_seconds));
}

#[test]
fn a_scale_step_that_names_nothing_changes_nothing() {
    let mut world = deployed(nginx(json!([{"setWeight": 50}, {"setCanaryScale": {}}, {"pause": {}}])));
    image(&mut world, "demo:v2");
    paused(&mut world);
    assert_eq!(world.weight(), 50);
    assert!(world.set_replicas(&hash(&world, "currentPodHash")) > 0);
}

/// A gate that never ends is none: it is found before the update, not waited for.
#[test]
fn an_analysis_without_an_end_is_no_step() {
    let mut world = deployed(nginx(json!([analysis(), {"pause": {}}])));
    let metrics = json!([{"name": "errors", "interval": "10s", "successCondition": "result[0] < 0.1",
        "provider": {"prometheus": {"address": "http://127.0.0.1:9", "query": "up"}}}]);
    world.patch("AnalysisTemplate", "check", &json!({"spec": {"metrics": metrics}}));
    image(&mut world, "demo:v2");
    world.pass();
    let message = world.status()["message"].as_str().unwrap();
    let wanted = "AnalysisTemplate check has metric errors which runs indefinitely. Invalid value for count: <nil>";
    assert!(
        message.starts_with("InvalidSpec") && message.contains(wanted),
        "{message}"
    );
}
