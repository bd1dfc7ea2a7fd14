//! Health of Rollouts, Applications and their relatives.

use super::*;

#[test]
fn phases_of_argo_kinds() {
    let argo = |kind: &str, phase: &str| {
        object(
            "argoproj.io/v1alpha1",
            kind,
            json!({}),
            json!({"phase": phase, "message": "m"}),
        )
    };
    for (phase, code) in [
        ("", Code::Progressing),
        ("Pending", Code::Progressing),
        ("Running", Code::Progressing),
        ("Succeeded", Code::Healthy),
        ("Failed", Code::Degraded),
        ("Error", Code::Degraded),
        ("x", Code::Unknown),
    ] {
        check(argo("Workflow", phase), code, "m");
    }
    for (phase, code) in [
        ("", Code::Progressing),
        ("Running", Code::Progressing),
        ("Successful", Code::Healthy),
        ("Failed", Code::Degraded),
        ("Error", Code::Degraded),
        ("Inconclusive", Code::Unknown),
    ] {
        check(argo("AnalysisRun", phase), code, "m");
        check(argo("Experiment", phase), code, "m");
    }
}

#[test]
fn rollout() {
    let rollout = |status: Value| object("argoproj.io/v1alpha1", "Rollout", json!({}), status);
    let unseen = "waiting for rollout spec update to be observed";
    check(rollout(json!({})), Code::Progressing, unseen);
    check(
        rollout(json!({"observedGeneration": "1", "phase": "Healthy"})),
        Code::Progressing,
        unseen,
    );
    for (phase, code) in [
        ("Healthy", Code::Healthy),
        ("Paused", Code::Suspended),
        ("Progressing", Code::Progressing),
        ("Degraded", Code::Degraded),
        ("", Code::Progressing),
    ] {
        check(
            rollout(json!({"observedGeneration": "2", "phase": phase, "message": "m"})),
            code,
            "m",
        );
    }
    check(
        rollout(json!({"observedGeneration": "7f4d", "phase": "Healthy"})),
        Code::Healthy,
        "",
    );
    check(
        rollout(json!({"observedGeneration": "2", "phase": "Healthy", "controllerPause": true})),
        Code::Progressing,
        "waiting for rollout to unpause",
    );
    let invalid = json!({"observedGeneration": "2", "message": "InvalidSpec: m", "conditions": [{"type": "InvalidSpec", "status": "True"}]});
    check(rollout(invalid), Code::Degraded, "InvalidSpec: m");
    let mut workload =
        rollout(json!({"observedGeneration": "2", "phase": "Healthy", "workloadObservedGeneration": "3"}));
    workload["metadata"]["annotations"] = json!({"rollout.argoproj.io/workload-generation": "4"});
    check(
        workload,
        Code::Progressing,
        "waiting for rollout spec update to be observed for the reference workload",
    );
}

#[test]
fn application() {
    let app = |status: Value| {
        object(
            "argoproj.io/v1alpha1",
            "Application",
            json!({"source": {"path": "a"}}),
            status,
        )
    };
    let compared = |path: &str| json!({"comparedTo": {"source": {"path": path}}});
    check(
        app(json!({})),
        Code::Progressing,
        "waiting for the application to be compared",
    );
    check(
        app(json!({"health": {"status": "Degraded", "message": "m"}, "sync": compared("a")})),
        Code::Degraded,
        "m",
    );
    check(
        app(json!({"health": {"status": "Healthy"}, "sync": compared("a")})),
        Code::Healthy,
        "",
    );
    check(
        app(json!({"health": {"status": "Healthy"}, "sync": compared("old")})),
        Code::Progressing,
        "waiting for the application's new source to be compared",
    );
    let running = json!({"health": {"status": "Healthy"}, "sync": compared("a"), "operationState": {"phase": "Running", "message": "m"}});
    check(app(running), Code::Progressing, "m");
}
