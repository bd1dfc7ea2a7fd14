use super::{
    worst::{Member, of_application},
    *,
};
use crate::sync::resource::ResourceKey;
use serde_json::json;

#[track_caller]
fn check(object: Value, expected: Code, message: &str) {
    let health = of_object(&object).unwrap_or_else(|| panic!("no check for {object}"));
    assert_eq!((health.code, health.message.as_str()), (expected, message), "{object}");
}

/// An object of `apps/v1` that is at generation 2 and says so.
fn app(kind: &str, spec: Value, mut status: Value) -> Value {
    if status.get("observedGeneration").is_none() {
        status["observedGeneration"] = json!(2);
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "generation": 2}, "spec": spec, "status": status})
}

fn object(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web", "generation": 2}, "spec": spec, "status": status})
}

#[test]
fn deletion_and_unknown_kinds() {
    let mut deleting = app("Deployment", json!({}), json!({}));
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    check(deleting.clone(), Code::Progressing, "Pending deletion");
    deleting["metadata"]["finalizers"] = json!([HOOK_FINALIZER]);
    check(deleting, Code::Healthy, "");
    assert_eq!(of_object(&object("v1", "ConfigMap", json!({}), json!({}))), None);
    check(
        object("apps/v1beta1", "Deployment", json!({}), json!({})),
        Code::Unknown,
        "unsupported Deployment GVK: apps/v1beta1, Kind=Deployment",
    );
}

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

#[test]
fn services_and_storage() {
    let service = |kind: &str, ingress: Value| {
        object(
            "v1",
            "Service",
            json!({"type": kind}),
            json!({"loadBalancer": {"ingress": ingress}}),
        )
    };
    check(service("ClusterIP", json!([])), Code::Healthy, "");
    check(service("LoadBalancer", json!([])), Code::Progressing, "");
    check(service("LoadBalancer", json!([{"ip": "1.2.3.4"}])), Code::Healthy, "");
    for group in ["networking.k8s.io/v1", "extensions/v1beta1"] {
        check(
            object(group, "Ingress", json!({}), json!({"loadBalancer": {"ingress": [{}]}})),
            Code::Healthy,
            "",
        );
        check(
            object(group, "Ingress", json!({}), json!({"loadBalancer": {}})),
            Code::Progressing,
            "",
        );
    }
    for (phase, code) in [
        ("Lost", Code::Degraded),
        ("Pending", Code::Progressing),
        ("Bound", Code::Healthy),
        ("", Code::Unknown),
    ] {
        check(
            object("v1", "PersistentVolumeClaim", json!({}), json!({"phase": phase})),
            code,
            "",
        );
    }
}

#[test]
fn horizontal_pod_autoscaler() {
    let v2 = |conditions: Value| {
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({}),
            json!({"conditions": conditions}),
        )
    };
    for (kind, reason) in [
        ("AbleToScale", "FailedGetScale"),
        ("AbleToScale", "FailedUpdateScale"),
        ("ScalingActive", "FailedGetResourceMetric"),
        ("ScalingActive", "FailedGetExternalMetric"),
        ("ScalingActive", "InvalidSelector"),
    ] {
        check(
            v2(json!([{"type": kind, "reason": reason, "message": "m"}])),
            Code::Degraded,
            "m",
        );
    }
    check(
        v2(json!([{"type": "AbleToScale", "status": "True", "reason": "x", "message": "m"}])),
        Code::Healthy,
        "m",
    );
    check(
        v2(json!([{"type": "ScalingLimited", "status": "True", "message": "m"}])),
        Code::Healthy,
        "m",
    );
    check(v2(json!([])), Code::Progressing, "Waiting to Autoscale");
    let mut v1 = object("autoscaling/v1", "HorizontalPodAutoscaler", json!({}), json!({}));
    check(v1.clone(), Code::Progressing, "Waiting to Autoscale");
    let conditions = json!([{"type": "AbleToScale", "status": "True", "message": "m"}]).to_string();
    v1["metadata"]["annotations"] = json!({"autoscaling.alpha.kubernetes.io/conditions": conditions});
    check(v1.clone(), Code::Healthy, "m");
    v1["metadata"]["annotations"] = json!({"autoscaling.alpha.kubernetes.io/conditions": "{"});
    assert_eq!(of_object(&v1).unwrap().code, Code::Unknown);
    assert_eq!(
        of_object(&object(
            "autoscaling/v2beta2",
            "HorizontalPodAutoscaler",
            json!({}),
            json!({})
        ))
        .unwrap()
        .code,
        Code::Unknown
    );
}

#[test]
fn api_service_and_definitions() {
    for version in ["v1", "v1beta1"] {
        let service = |conditions: Value| {
            object(
                &format!("apiregistration.k8s.io/{version}"),
                "APIService",
                json!({}),
                json!({"conditions": conditions}),
            )
        };
        check(
            service(json!([{"type": "Available", "status": "True", "reason": "Passed", "message": "m"}])),
            Code::Healthy,
            "Passed: m",
        );
        check(
            service(json!([{"type": "Available", "status": "False", "reason": "No", "message": "m"}])),
            Code::Progressing,
            "No: m",
        );
        check(service(json!([])), Code::Progressing, "Waiting to be processed");
    }
    let crd = |conditions: Value| {
        object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({}),
            json!({"conditions": conditions}),
        )
    };
    check(
        crd(json!([{"type": "Established", "status": "True"}])),
        Code::Healthy,
        "CRD is healthy",
    );
    check(crd(json!([])), Code::Progressing, "CRD is not established");
    check(
        crd(json!([{"type": "NamesAccepted", "status": "False", "message": "taken"}])),
        Code::Degraded,
        "CRD names have not been accepted: taken",
    );
}

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

#[test]
fn the_worst_member_counts_and_is_named() {
    let key = |kind: &str, name: &str| ResourceKey {
        group: if kind == "Application" {
            "argoproj.io".into()
        } else {
            "apps".into()
        },
        kind: kind.into(),
        namespace: "ns".into(),
        name: name.into(),
    };
    let check = |members: &[(&str, Option<Code>, bool, bool)], code: Code, message: &str| {
        let keys: Vec<ResourceKey> = members
            .iter()
            .enumerate()
            .map(|(index, (kind, ..))| key(kind, &index.to_string()))
            .collect();
        let healths: Vec<Option<Health>> = members.iter().map(|(_, code, ..)| code.map(Health::from)).collect();
        let members: Vec<Member<'_>> = members
            .iter()
            .zip(&keys)
            .zip(&healths)
            .map(|(((_, _, is_live, is_ignored), key), health)| Member {
                key,
                is_live: *is_live,
                health: health.as_ref(),
                is_ignored: *is_ignored,
            })
            .collect();
        assert_eq!(of_application(&members), Health::new(code, message));
    };
    let (healthy, degraded) = (Some(Code::Healthy), Some(Code::Degraded));
    check(&[], Code::Healthy, "");
    check(
        &[("Deployment", healthy, true, false), ("Deployment", None, true, false)],
        Code::Healthy,
        "",
    );
    check(
        &[
            ("Deployment", healthy, true, false),
            ("Deployment", degraded, true, false),
        ],
        Code::Degraded,
        "Caused by apps/Deployment:ns/1",
    );
    check(
        &[
            ("Deployment", degraded, true, true),
            ("Deployment", healthy, true, false),
        ],
        Code::Healthy,
        "",
    );
    check(
        &[("Deployment", None, false, false), ("Deployment", healthy, true, false)],
        Code::Healthy,
        "",
    );
    check(&[("Deployment", None, false, false)], Code::Missing, "");
    check(
        &[
            ("Application", Some(Code::Unknown), true, false),
            ("Application", Some(Code::Missing), true, false),
        ],
        Code::Healthy,
        "",
    );
    check(
        &[("Application", degraded, true, false)],
        Code::Degraded,
        "Caused by argoproj.io/Application:ns/0",
    );
    let many = [("Deployment", degraded, true, false); 5];
    check(
        &many,
        Code::Degraded,
        "Caused by apps/Deployment:ns/0, apps/Deployment:ns/1, apps/Deployment:ns/2 and 2 more",
    );
}
