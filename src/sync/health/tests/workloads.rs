//! Health of what runs pods.

use super::*;

#[test]
fn deployment() {
    let deployment = |spec, status| app("Deployment", spec, status);
    check(
        deployment(json!({"paused": true}), json!({"observedGeneration": 1})),
        Code::Suspended,
        "Deployment is paused",
    );
    check(
        deployment(json!({}), json!({"observedGeneration": 1})),
        Code::Progressing,
        "Waiting for rollout to finish: observed deployment generation less than desired generation",
    );
    let late = json!({"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]});
    check(
        deployment(json!({"replicas": 3}), late),
        Code::Degraded,
        "Deployment \"web\" exceeded its progress deadline",
    );
    for (status, message) in [
        (
            json!({"updatedReplicas": 1, "replicas": 3}),
            "1 out of 3 new replicas have been updated...",
        ),
        (
            json!({"updatedReplicas": 3, "replicas": 5}),
            "2 old replicas are pending termination...",
        ),
        (
            json!({"updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
            "2 of 3 updated replicas are available...",
        ),
    ] {
        check(
            deployment(json!({"replicas": 3}), status),
            Code::Progressing,
            &format!("Waiting for rollout to finish: {message}"),
        );
    }
    check(
        deployment(
            json!({"replicas": 3}),
            json!({"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
        ),
        Code::Healthy,
        "",
    );
}

#[test]
fn daemon_set() {
    let set = |spec, status| app("DaemonSet", spec, status);
    check(
        set(json!({}), json!({"observedGeneration": 1})),
        Code::Progressing,
        "Waiting for rollout to finish: observed daemon set generation less than desired generation",
    );
    let partly = json!({"updatedNumberScheduled": 1, "desiredNumberScheduled": 3});
    check(
        set(json!({"updateStrategy": {"type": "OnDelete"}}), partly.clone()),
        Code::Healthy,
        "daemon set 1 out of 3 new pods have been updated",
    );
    check(
        set(json!({}), partly),
        Code::Progressing,
        "Waiting for daemon set \"web\" rollout to finish: 1 out of 3 new pods have been updated...",
    );
    let waiting = json!({"updatedNumberScheduled": 3, "desiredNumberScheduled": 3, "numberAvailable": 2});
    check(
        set(json!({}), waiting),
        Code::Progressing,
        "Waiting for daemon set \"web\" rollout to finish: 2 of 3 updated pods are available...",
    );
    check(
        set(
            json!({}),
            json!({"updatedNumberScheduled": 3, "desiredNumberScheduled": 3, "numberAvailable": 3}),
        ),
        Code::Healthy,
        "",
    );
}

#[test]
fn stateful_set() {
    let set = |spec, status| app("StatefulSet", spec, status);
    check(
        set(json!({}), json!({"observedGeneration": 0})),
        Code::Progressing,
        "Waiting for statefulset spec update to be observed...",
    );
    check(
        set(json!({}), json!({"observedGeneration": 1})),
        Code::Progressing,
        "Waiting for statefulset spec update to be observed...",
    );
    check(
        set(json!({"replicas": 3}), json!({"readyReplicas": 1})),
        Code::Progressing,
        "Waiting for 2 pods to be ready...",
    );
    let rolling =
        json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}});
    check(
        set(rolling.clone(), json!({"readyReplicas": 3, "updatedReplicas": 1})),
        Code::Progressing,
        "Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated...",
    );
    check(
        set(rolling, json!({"readyReplicas": 3, "updatedReplicas": 2})),
        Code::Healthy,
        "partitioned roll out complete: 2 new pods have been updated...",
    );
    let on_delete = json!({"replicas": 1, "updateStrategy": {"type": "OnDelete"}});
    check(
        set(on_delete, json!({"readyReplicas": 1})),
        Code::Healthy,
        "statefulset has 1 ready pods",
    );
    let revisions = |update: &str| json!({"readyReplicas": 1, "updatedReplicas": 1, "currentReplicas": 1, "updateRevision": update, "currentRevision": "a"});
    check(
        set(json!({"replicas": 1}), revisions("b")),
        Code::Progressing,
        "waiting for statefulset rolling update to complete 1 pods at revision b...",
    );
    check(
        set(json!({"replicas": 1}), revisions("a")),
        Code::Healthy,
        "statefulset rolling update complete 1 pods at revision a...",
    );
}

#[test]
fn replica_set() {
    let set = |spec, status| app("ReplicaSet", spec, status);
    check(
        set(json!({}), json!({"observedGeneration": 1})),
        Code::Progressing,
        "Waiting for rollout to finish: observed replica set generation less than desired generation",
    );
    let failing = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "no quota"}]});
    check(set(json!({"replicas": 1}), failing), Code::Degraded, "no quota");
    check(
        set(json!({"replicas": 2}), json!({"availableReplicas": 1})),
        Code::Progressing,
        "Waiting for rollout to finish: 1 out of 2 new replicas are available...",
    );
    check(
        set(json!({"replicas": 2}), json!({"availableReplicas": 2})),
        Code::Healthy,
        "",
    );
}

#[test]
fn pod() {
    let pod = |policy: &str, status| object("v1", "Pod", json!({"restartPolicy": policy}), status);
    let waiting = |reason: &str| json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": "why"}}}]});
    for reason in [
        "ErrImagePull",
        "ImagePullBackOff",
        "CreateContainerError",
        "CrashLoopBackOff",
    ] {
        check(pod("Always", waiting(reason)), Code::Degraded, "why");
        check(pod("Never", waiting(reason)), Code::Progressing, "");
    }
    check(pod("Always", waiting("ContainerCreating")), Code::Progressing, "");
    check(pod("Never", json!({"phase": "Succeeded"})), Code::Healthy, "");
    check(
        pod("Never", json!({"phase": "Failed", "message": "evicted"})),
        Code::Degraded,
        "evicted",
    );
    let failed = |init: Value, main: Value| {
        json!({"phase": "Failed",
        "initContainerStatuses": [{"name": "i", "state": {"terminated": init}}], "containerStatuses": [{"name": "c", "state": {"terminated": main}}]})
    };
    check(
        pod("Never", failed(json!({"exitCode": 0}), json!({"exitCode": 3}))),
        Code::Degraded,
        "container \"c\" failed with exit code 3",
    );
    check(
        pod(
            "Never",
            failed(json!({"exitCode": 1, "reason": "OOMKilled"}), json!({"exitCode": 3})),
        ),
        Code::Degraded,
        "OOMKilled",
    );
    check(
        pod("Never", failed(json!({"message": "said"}), json!({"exitCode": 3}))),
        Code::Degraded,
        "said",
    );
    let running = |ready: &str, last: Value| {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{"lastState": last}]})
    };
    check(pod("Always", running("True", json!({}))), Code::Healthy, "");
    check(
        pod("Always", running("False", json!({"terminated": {}}))),
        Code::Degraded,
        "",
    );
    check(pod("Always", running("False", json!({}))), Code::Progressing, "");
    check(pod("OnFailure", running("True", json!({}))), Code::Progressing, "");
    check(pod("Always", json!({})), Code::Unknown, "");
}

#[test]
fn job() {
    let job = |conditions: Value| object("batch/v1", "Job", json!({}), json!({"conditions": conditions}));
    check(
        job(json!([{"type": "Failed", "status": "True", "message": "m"}])),
        Code::Degraded,
        "m",
    );
    check(
        job(json!([{"type": "Complete", "status": "True", "message": "m"}])),
        Code::Healthy,
        "m",
    );
    check(
        job(json!([{"type": "Suspended", "status": "True", "message": "m"}])),
        Code::Suspended,
        "m",
    );
    check(job(json!([])), Code::Progressing, "");
    // The original calls this Healthy; a Job that runs has not succeeded.
    check(
        job(json!([{"type": "Suspended", "status": "False", "message": "resumed"}])),
        Code::Progressing,
        "",
    );
}
