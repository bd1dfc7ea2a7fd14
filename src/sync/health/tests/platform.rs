//! Health of Services, storage, autoscalers and definitions.

use super::*;

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
