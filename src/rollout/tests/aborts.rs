//! An update goes back, or is held: aborts, retries, analyses and deadlines.

use super::fixtures::{deployed, hash, image, nginx, paused, phase, resume, steps};
use crate::api::well_known;
use serde_json::{Value, json};

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
