//! What the simulation found (`tests/soak`), each as a small story.

use super::fixtures::{deployed, hash, image, nginx, paused, phase, resume, selected};
use crate::plan::StatusChange;
use serde_json::json;

/// T2: endpoints and weights reach the data plane on their own ways. A Service without endpoints under a rising weight
/// cost requests until the data plane had both.
#[test]
fn a_canary_service_leads_to_stable_pods_while_the_canary_has_none() {
    let steps = json!([{"setWeight": 20}, {"setWeight": 0}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut world = deployed(nginx(steps));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let (stable, new) = (hash(&world, "stableRS"), hash(&world, "currentPodHash"));
    assert_eq!(
        (world.set_replicas(&new), selected(&world, "web-canary")),
        (0, json!(stable))
    );
    resume(&mut world);
    paused(&mut world);
    assert_eq!((world.weight(), selected(&world, "web-canary")), (50, json!(new)));
}

/// T3: a rollback right after the switch made the version that was just active a preview of two pods.
#[test]
fn a_version_that_was_just_active_keeps_its_pods_as_a_preview_until_it_is_drained() {
    let strategy =
        json!({"blueGreen": {"activeService": "web-stable", "previewReplicaCount": 2, "autoPromotionSeconds": 30}});
    let mut world = deployed(strategy);
    let first = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    world.run_until("v2 is active", |world, _| hash(world, "stableRS") != first);
    image(&mut world, "demo:v1");
    let switched = world.now;
    world.pass();
    assert_eq!(
        (hash(&world, "currentPodHash"), world.set_replicas(&first)),
        (first.clone(), 5)
    );
    world.run_until("the preview is small", |world, _| world.set_replicas(&first) == 2);
    assert!(
        world.now.duration_since(switched).as_secs() >= 5,
        "before the drain time was over"
    );
    world.settle();
    assert_eq!((phase(&world, "Healthy"), hash(&world, "stableRS")), (true, first));
}

/// T2: a newer version waited for ever to take the weight of an interrupted one, when no stable pod could take it back.
#[test]
fn a_cure_takes_over_the_weight_when_the_stable_pods_are_gone() {
    let mut world = deployed(nginx(json!([{"setWeight": 40}, {"pause": {}}])));
    let stable = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.broken.push(stable);
    world.settle();
    image(&mut world, "demo:v3");
    let cure = json!(world.plan_hash());
    world.run_until("v3 serves", |world, _| selected(world, "web-canary") == cure);
    assert_eq!(world.weight(), 40);
    world.run_until("its pause", |world, _| {
        world.status()["currentStepIndex"] == 1 && phase(world, "Paused")
    });
    assert_eq!(world.status()["canary"]["weights"]["canary"]["podTemplateHash"], cure);
    resume(&mut world);
    world.settle();
    assert_eq!(
        (phase(&world, "Healthy"), json!(hash(&world, "stableRS"))),
        (true, cure)
    );
}

/// D3: an edited selector took the switch back, and with it the hold of an inconclusive analysis.
#[test]
fn an_edited_active_selector_is_repaired_and_forgets_no_hold() {
    let analysis = json!({"templates": [{"templateName": "check"}]});
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "postPromotionAnalysis": analysis}});
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    let run = format!("web-{}-2-post", world.plan_hash());
    world.run_until("the analysis", |world, _| {
        world.objects.contains_key(&("AnalysisRun".into(), run.clone()))
    });
    let results = json!([{"name": "errors", "phase": "Inconclusive", "count": 3, "inconclusive": 3}]);
    let ended = json!({"phase": "Inconclusive", "completedAt": "2026-01-01T00:00:00Z", "metricResults": results});
    world.patch("AnalysisRun", &run, &json!({ "status": ended }));
    paused(&mut world);
    let new = json!(hash(&world, "currentPodHash"));
    let nobody = json!({"rollouts-pod-template-hash": "nobody"});
    world.patch("Service", "web-stable", &json!({"spec": {"selector": nobody}}));
    world.settle();
    assert_eq!(selected(&world, "web-stable"), new);
    assert!(phase(&world, "Paused"), "{:#}", world.status());
    assert!(!world.objects.contains_key(&("AnalysisRun".into(), format!("{run}.1"))));
}

/// T7: a preview that had lost its selector was led to what somebody had once written there.
#[test]
fn a_held_preview_is_led_to_no_version_that_is_not_there() {
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary", "autoPromotionEnabled": false}});
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.patch("Rollout", "web", &json!({"spec": {"paused": true}}));
    for hash in [json!("nobody"), json!(null)] {
        let selector = json!({"rollouts-pod-template-hash": hash});
        world.patch("Service", "web-canary", &json!({"spec": {"selector": selector}}));
        world.settle();
    }
    assert_ne!(selected(&world, "web-canary"), json!("nobody"));
}

/// D3: a pass that went on to a step wrote its weight and sizes before the status named it. With that status lost, the next
/// pass took them back, and the one after it wrote them again, in turns.
#[test]
fn what_a_step_asks_for_waits_until_the_step_is_recorded() {
    let steps = json!([{"setWeight": 20}, {"setWeight": 60}, {"setCanaryScale": {"replicas": 4}}, {"setWeight": 80}]);
    for strategy in [
        nginx(steps),
        json!({"canary": {"steps": [{"setWeight": 20}, {"setWeight": 60}]}}),
    ] {
        let mut world = deployed(strategy);
        image(&mut world, "demo:v2");
        let recorded = std::cell::Cell::new(0);
        world.run_until("v2 is healthy", |world, plan| {
            let goes_on = match &plan.status {
                StatusChange::Merge { patch, .. } => {
                    let has = |field| patch.pointer(field).is_some();
                    // The pass that sees the new version begins it.
                    has("/status/currentStepIndex") && !has("/status/currentPodHash")
                }
                StatusChange::Unchanged => false,
            };
            if goes_on {
                let acts = plan.stages.iter().flat_map(|stage| &stage.0);
                let kinds: Vec<String> = acts.map(|action| action.target().kind).collect();
                recorded.set(recorded.get() + 1);
                assert!(
                    !kinds.iter().any(|kind| kind == "Ingress" || kind == "ReplicaSet"),
                    "{kinds:?}"
                );
            }
            phase(world, "Healthy") && hash(world, "stableRS") == hash(world, "currentPodHash")
        });
        assert!(recorded.get() > 1, "{recorded:?}");
    }
}
