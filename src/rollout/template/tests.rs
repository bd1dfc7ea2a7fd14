use super::*;
use serde_json::json;

#[test]
fn the_steps_hash_is_the_originals() {
    let steps = r#"[{"setWeight":20},{"pause":{}},{"setWeight":60},{"pause":{"duration":"1h"}}]"#;
    assert_eq!(steps_hash(steps), "6ff65987d");
}

#[test]
fn a_template_equals_its_defaulted_copy() {
    let written = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
        {"name": "web", "image": "demo:v2", "ports": [{"containerPort": 8080}], "resources": {"limits": {"cpu": "1000m"}}}]}});
    let stored = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "web", "rollouts-pod-template-hash": "x"}},
        "spec": {"containers": [{"name": "web", "image": "demo:v2", "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 8080, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {}, "terminationGracePeriodSeconds": 30}});
    assert!(same_meaning(&written, &stored));
    assert_eq!(hash(&written, None), hash(&stored, None));
}

#[test]
fn unknown_fields_and_images_make_a_difference() {
    let base = json!({"spec": {"containers": [{"name": "web", "image": "demo:v2"}]}});
    let image = json!({"spec": {"containers": [{"name": "web", "image": "demo:v3"}]}});
    let unknown = json!({"spec": {"containers": [{"name": "web", "image": "demo:v2", "fromTheFuture": 1}]}});
    assert!(!same_meaning(&base, &image));
    assert!(!same_meaning(&base, &unknown));
    assert_ne!(hash(&base, None), hash(&base, Some(1)));
}

/// A pod template with this at a place in it; `spec` everywhere else is the same.
fn with(place: &str, written: &Value) -> Value {
    let container = |more: &Value| {
        let mut container = json!({"name": "web", "image": "demo:v2"});
        json_patch::merge(&mut container, more);
        json!({"spec": {"containers": [container]}})
    };
    match place {
        "template" => written.clone(),
        "pod" => {
            let mut template = container(&json!({}));
            for (field, value) in written.as_object().unwrap() {
                template["spec"][field] = value.clone();
            }
            template
        }
        "container" => container(written),
        "init" => json!({"spec": {"initContainers": [written]}}),
        "env" => container(&json!({"env": [{"name": "X", "valueFrom": written}]})),
        "port" => container(&json!({"ports": [written]})),
        "probe" => container(&json!({"livenessProbe": written, "readinessProbe": written, "startupProbe": written})),
        "hook" => container(&json!({"lifecycle": {"postStart": written, "preStop": written}})),
        "volume" => {
            let mut volume = json!({"name": "v"});
            for (field, value) in written.as_object().unwrap() {
                volume[field] = value.clone();
            }
            json!({"spec": {"volumes": [volume]}})
        }
        other => panic!("{other}"),
    }
}

/// Place, what the user wrote, and what the server stores.
type Row = (&'static str, Value, Value);

#[rustfmt::skip]
fn defaults_of_pods() -> Vec<Row> {
    let nothing = || json!({});
    vec![
        ("template", json!({"metadata": {}}), json!({"metadata": {"creationTimestamp": null}})),
        ("template", json!({"metadata": {"labels": {"a": ""}, "annotations": {}}}), json!({"metadata": {"labels": {"a": ""}}})),
        ("template", json!({"metadata": {"labels": {"a": null}}}), json!({"metadata": {"labels": {"a": ""}}})),
        ("pod", nothing(), json!({"restartPolicy": "Always"})),
        ("pod", nothing(), json!({"dnsPolicy": "ClusterFirst"})),
        ("pod", nothing(), json!({"schedulerName": "default-scheduler"})),
        ("pod", nothing(), json!({"terminationGracePeriodSeconds": 30})),
        ("pod", nothing(), json!({"securityContext": {}})),
        ("pod", json!({"hostNetwork": false, "hostPID": false, "hostIPC": false}), nothing()),
        ("pod", json!({"nodeSelector": {}}), nothing()),
        ("pod", json!({"nodeSelector": null, "affinity": null, "volumes": null, "tolerations": []}), nothing()),
        ("pod", json!({"volumes": []}), nothing()),
        ("pod", json!({"serviceAccount": "a"}), json!({"serviceAccount": "a", "serviceAccountName": "a"})),
        ("pod", json!({"serviceAccountName": "a"}), json!({"serviceAccount": "a", "serviceAccountName": "a"})),
        ("pod", json!({"serviceAccount": "b", "serviceAccountName": "a"}), json!({"serviceAccount": "a", "serviceAccountName": "a"})),
        ("pod", json!({"serviceAccount": "a", "serviceAccountName": ""}), json!({"serviceAccount": "a", "serviceAccountName": "a"})),
        ("pod", json!({"serviceAccount": "", "serviceAccountName": null}), nothing()),
        ("pod", json!({"overhead": {"cpu": 1}, "resources": {"limits": {"memory": "1024Mi"}}}), json!({"overhead": {"cpu": "1"}, "resources": {"limits": {"memory": "1Gi"}}})),
        ("pod", json!({"topologySpreadConstraints": [{"labelSelector": {"matchLabels": {}}}]}),
            json!({"topologySpreadConstraints": [{"labelSelector": {}, "nodeAffinityPolicy": "Honor", "nodeTaintsPolicy": "Ignore"}]})),
        ("container", nothing(), json!({"imagePullPolicy": "IfNotPresent"})),
        ("container", json!({"image": "demo"}), json!({"image": "demo", "imagePullPolicy": "Always"})),
        ("container", json!({"image": "demo:latest"}), json!({"image": "demo:latest", "imagePullPolicy": "Always"})),
        ("container", json!({"image": "r:5000/demo"}), json!({"image": "r:5000/demo", "imagePullPolicy": "Always"})),
        ("container", json!({"image": "r:5000/demo:1"}), json!({"image": "r:5000/demo:1", "imagePullPolicy": "IfNotPresent"})),
        ("container", json!({"image": "demo@sha256:1"}), json!({"image": "demo@sha256:1", "imagePullPolicy": "IfNotPresent"})),
        ("container", json!({"image": "demo:latest@sha256:1"}), json!({"image": "demo:latest@sha256:1", "imagePullPolicy": "Always"})),
        ("container", json!({"image": "No Name"}), json!({"image": "No Name", "imagePullPolicy": "IfNotPresent"})),
        ("container", json!({"image": ""}), json!({"image": "", "imagePullPolicy": "IfNotPresent"})),
        ("container", nothing(), json!({"resources": {}})),
        ("container", json!({"resources": {"requests": {"cpu": 0.5}, "limits": {}}}), json!({"resources": {"requests": {"cpu": "500m"}}})),
        ("container", nothing(), json!({"terminationMessagePath": "/dev/termination-log"})),
        ("container", nothing(), json!({"terminationMessagePolicy": "File"})),
        ("container", json!({"securityContext": {}}), json!({"securityContext": {"procMount": "Default"}})),
        ("container", json!({"stdin": false, "stdinOnce": false, "tty": false, "args": [], "env": null}), nothing()),
        ("container", json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": false}]}), json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
        ("init", json!({"image": "demo:v2"}), json!({"image": "demo:v2", "imagePullPolicy": "IfNotPresent", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})),
        ("port", json!({"containerPort": 80}), json!({"containerPort": 80, "protocol": "TCP"})),
        ("port", json!({"containerPort": 80, "hostPort": 0}), json!({"containerPort": 80})),
        ("env", json!({"fieldRef": {"fieldPath": "x"}}), json!({"fieldRef": {"fieldPath": "x", "apiVersion": "v1"}})),
        ("env", json!({"resourceFieldRef": {"resource": "x"}}), json!({"resourceFieldRef": {"resource": "x", "divisor": "0"}})),
        ("env", json!({"resourceFieldRef": {"resource": "x", "divisor": 0}}), json!({"resourceFieldRef": {"resource": "x", "divisor": "0"}})),
        ("env", json!({"resourceFieldRef": {"resource": "x", "divisor": "1024Ki"}}), json!({"resourceFieldRef": {"resource": "x", "divisor": "1Mi"}})),
        ("env", json!({"fileKeyRef": {"key": "x"}}), json!({"fileKeyRef": {"key": "x", "optional": false}})),
        ("probe", json!({"tcpSocket": {"port": 80}}), json!({"tcpSocket": {"port": 80}, "timeoutSeconds": 1})),
        ("probe", json!({"tcpSocket": {"port": 80}}), json!({"tcpSocket": {"port": 80}, "periodSeconds": 10})),
        ("probe", json!({"tcpSocket": {"port": 80}}), json!({"tcpSocket": {"port": 80}, "successThreshold": 1})),
        ("probe", json!({"tcpSocket": {"port": 80}}), json!({"tcpSocket": {"port": 80}, "failureThreshold": 3})),
        ("probe", json!({"tcpSocket": {"port": 80}, "timeoutSeconds": 0, "periodSeconds": 0, "successThreshold": 0, "failureThreshold": 0}),
            json!({"tcpSocket": {"port": 80}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})),
        ("probe", json!({"tcpSocket": {"port": 80}, "initialDelaySeconds": 0}), json!({"tcpSocket": {"port": 80}})),
        ("probe", json!({"grpc": {"port": 80}}), json!({"grpc": {"port": 80, "service": ""}})),
        ("probe", json!({"httpGet": {"port": 80}}), json!({"httpGet": {"port": 80, "scheme": "HTTP"}})),
        ("probe", json!({"httpGet": {"port": 80}}), json!({"httpGet": {"port": 80, "path": "/"}})),
        ("probe", json!({"httpGet": {"port": 80, "path": ""}}), json!({"httpGet": {"port": 80, "path": "/"}})),
        ("hook", json!({"httpGet": {"port": 80}}), json!({"httpGet": {"port": 80, "scheme": "HTTP"}})),
        ("hook", json!({"httpGet": {"port": 80}}), json!({"httpGet": {"port": 80, "path": "/"}})),
        ("hook", json!({"sleep": {}}), json!({"sleep": {"seconds": 0}})),
    ]
}

#[rustfmt::skip]
fn defaults_of_volumes() -> Vec<Row> {
    let claim = |spec: Value| json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}});
    vec![
        ("volume", json!({}), json!({"emptyDir": {}})),
        ("volume", json!({"emptyDir": null}), json!({"emptyDir": {}})),
        ("volume", json!({"emptyDir": {"medium": "", "sizeLimit": 1024}}), json!({"emptyDir": {"sizeLimit": "1Ki"}})),
        ("volume", json!({"hostPath": {"path": "/x"}}), json!({"hostPath": {"path": "/x", "type": ""}})),
        ("volume", json!({"secret": {}}), json!({"secret": {"defaultMode": 420}})),
        ("volume", json!({"configMap": {"name": "x"}}), json!({"configMap": {"name": "x", "defaultMode": 420}})),
        ("volume", json!({"downwardAPI": {}}), json!({"downwardAPI": {"defaultMode": 420}})),
        ("volume", json!({"downwardAPI": {"items": [{"fieldRef": {"fieldPath": "x"}}]}}),
            json!({"downwardAPI": {"items": [{"fieldRef": {"fieldPath": "x", "apiVersion": "v1"}}]}})),
        ("volume", json!({"downwardAPI": {"items": [{"resourceFieldRef": {"resource": "x"}}]}}),
            json!({"downwardAPI": {"items": [{"resourceFieldRef": {"resource": "x", "divisor": "0"}}]}})),
        ("volume", json!({"projected": {"sources": [{"configMap": {"name": "x"}}]}}),
            json!({"projected": {"sources": [{"configMap": {"name": "x"}}], "defaultMode": 420}})),
        ("volume", json!({"projected": {}}), json!({"projected": {"sources": null}})),
        ("volume", json!({"projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}}),
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "x", "expirationSeconds": 3600}}]}})),
        ("volume", json!({"projected": {"sources": [{"podCertificate": {"keyType": "x"}}]}}),
            json!({"projected": {"sources": [{"podCertificate": {"keyType": "x", "maxExpirationSeconds": 86400}}]}})),
        ("volume", json!({"projected": {"sources": [{"downwardAPI": {"items": [{"fieldRef": {"fieldPath": "x"}}, {"resourceFieldRef": {"resource": "x"}}]}}]}}),
            json!({"projected": {"sources": [{"downwardAPI": {"items": [{"fieldRef": {"fieldPath": "x", "apiVersion": "v1"}}, {"resourceFieldRef": {"resource": "x", "divisor": "0"}}]}}]}})),
        ("volume", claim(json!({})), claim(json!({"volumeMode": "Filesystem"}))),
        ("volume", claim(json!({"resources": {"requests": {"storage": "1024Mi"}}})), claim(json!({"resources": {"requests": {"storage": "1Gi"}}}))),
        ("volume", json!({"ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["x"]}}}}),
            json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"creationTimestamp": null}, "spec": {"accessModes": ["x"], "resources": {}}}}})),
        ("volume", json!({"azureDisk": {"diskName": "x"}}), json!({"azureDisk": {"diskName": "x", "cachingMode": "ReadWrite"}})),
        ("volume", json!({"azureDisk": {"diskName": "x"}}), json!({"azureDisk": {"diskName": "x", "fsType": "ext4"}})),
        ("volume", json!({"azureDisk": {"diskName": "x"}}), json!({"azureDisk": {"diskName": "x", "kind": "Shared"}})),
        ("volume", json!({"azureDisk": {"diskName": "x"}}), json!({"azureDisk": {"diskName": "x", "readOnly": false}})),
        ("volume", json!({"iscsi": {"iqn": "x"}}), json!({"iscsi": {"iqn": "x", "iscsiInterface": "default"}})),
        ("volume", json!({"iscsi": {"iqn": "x"}}), json!({"iscsi": {"iqn": "x", "lun": 0}})),
        ("volume", json!({"rbd": {"image": "x"}}), json!({"rbd": {"image": "x", "keyring": "/etc/ceph/keyring"}})),
        ("volume", json!({"rbd": {"image": "x"}}), json!({"rbd": {"image": "x", "pool": "rbd"}})),
        ("volume", json!({"rbd": {"image": "x"}}), json!({"rbd": {"image": "x", "user": "admin"}})),
        ("volume", json!({"scaleIO": {"system": "x"}}), json!({"scaleIO": {"system": "x", "fsType": "xfs"}})),
        ("volume", json!({"scaleIO": {"system": "x"}}), json!({"scaleIO": {"system": "x", "storageMode": "ThinProvisioned"}})),
        ("volume", json!({"image": {"reference": "demo"}}), json!({"image": {"reference": "demo", "pullPolicy": "Always"}})),
        ("volume", json!({"image": {"reference": "demo:1"}}), json!({"image": {"reference": "demo:1", "pullPolicy": "IfNotPresent"}})),
        ("volume", json!({"awsElasticBlockStore": {"volumeID": "x", "partition": 0}}), json!({"awsElasticBlockStore": {"volumeID": "x"}})),
    ]
}

#[test]
fn every_default_of_the_server_is_undone() {
    let mut rows = defaults_of_pods();
    rows.extend(defaults_of_volumes());
    // Servers before 1.28 wrote the port of the node down.
    let port = |more: &Value| {
        let mut port = json!({"containerPort": 80});
        json_patch::merge(&mut port, more);
        json!({"hostNetwork": true, "containers": [{"name": "web", "ports": [port]}]})
    };
    rows.push((
        "pod",
        port(&json!({})),
        port(&json!({"hostPort": 80, "protocol": "TCP"})),
    ));
    for (place, written, stored) in rows {
        let (bare, full) = (with(place, &written), with(place, &stored));
        assert!(same_meaning(&bare, &full), "{place}: {written} is stored as {stored}");
        assert!(
            same_meaning(&full, &bare),
            "{place}: {stored} is what becomes of {written}"
        );
        assert_eq!(hash(&bare, None), hash(&full, None), "{place}: {written}");
        // Who writes the default out means the same, and so does the normal form of either.
        for template in [&bare, &full] {
            assert!(same_meaning(template, &template.clone()));
            let normal = normal_form::of(template);
            assert_eq!(normal, normal_form::of(&normal), "{place}: {template}");
        }
        // A field that is known may not be lost on the way through the types.
        assert!(same_known_meaning(&bare, &full), "{place}: {written}");
    }
}

#[rustfmt::skip]
fn differences() -> Vec<Row> {
    let claim = |spec: Value| json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}});
    vec![
        ("template", json!({"metadata": {"labels": {"a": ""}}}), json!({"metadata": {}})),
        ("template", json!({"metadata": {"annotations": {"a": "b"}}}), json!({"metadata": {}})),
        ("pod", json!({}), json!({"terminationGracePeriodSeconds": 0})),
        ("pod", json!({}), json!({"dnsPolicy": "Default"})),
        ("pod", json!({}), json!({"hostNetwork": true})),
        ("pod", json!({}), json!({"nodeSelector": {"disk": ""}})),
        ("pod", json!({}), json!({"serviceAccount": "a"})),
        ("pod", json!({"serviceAccount": "a"}), json!({"serviceAccountName": "b"})),
        ("pod", json!({"serviceAccount": "a"}), json!({"serviceAccount": "a", "serviceAccountName": "b"})),
        ("pod", json!({}), json!({"automountServiceAccountToken": false})),
        ("pod", json!({}), json!({"volumes": [{"name": "v"}]})),
        ("pod", json!({}), json!({"securityContext": {"fsGroup": 0}})),
        ("pod", json!({"topologySpreadConstraints": [{}]}), json!({"topologySpreadConstraints": [{"labelSelector": {}}]})),
        ("pod", json!({"topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"a": ""}}}]}), json!({"topologySpreadConstraints": [{"labelSelector": {}}]})),
        ("container", json!({}), json!({"imagePullPolicy": "Always"})),
        ("container", json!({"image": "demo:latest"}), json!({"image": "demo:latest", "imagePullPolicy": "IfNotPresent"})),
        ("container", json!({"image": "demo"}), json!({"image": "demo:latest"})),
        ("container", json!({}), json!({"resources": {"limits": {"cpu": 0}}})),
        ("container", json!({"args": []}), json!({"args": [""]})),
        ("container", json!({}), json!({"securityContext": {"privileged": false}})),
        ("port", json!({"containerPort": 80}), json!({"containerPort": 80, "protocol": "UDP"})),
        ("port", json!({"containerPort": 80}), json!({"containerPort": 80, "hostPort": 80})),
        ("env", json!({"resourceFieldRef": {"resource": "x"}}), json!({"resourceFieldRef": {"resource": "x", "divisor": "1Mi"}})),
        ("env", json!({"fileKeyRef": {"key": "x"}}), json!({"fileKeyRef": {"key": "x", "optional": true}})),
        ("probe", json!({"httpGet": {"port": 80}}), json!({"httpGet": {"port": 80, "path": "/ready"}})),
        ("probe", json!({"httpGet": {"port": 80}}), json!({"httpGet": {"port": "80"}})),
        ("probe", json!({"tcpSocket": {"port": 80}}), json!({"tcpSocket": {"port": 80}, "periodSeconds": 1})),
        ("probe", json!({"tcpSocket": {"port": 80}}), json!({"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 0})),
        ("hook", json!({"sleep": {}}), json!({"sleep": {"seconds": 1}})),
        ("hook", json!({}), json!({"sleep": {}})),
        ("volume", json!({}), json!({"downwardAPI": {}})),
        ("volume", json!({"configMap": {}}), json!({"secret": {}})),
        ("volume", json!({}), json!({"emptyDir": {"medium": "Memory"}})),
        ("volume", json!({"configMap": {"name": "x"}}), json!({"configMap": {"name": "x", "defaultMode": 0}})),
        ("volume", json!({"configMap": {"name": "x"}}), json!({"configMap": {"name": "x", "optional": false}})),
        ("volume", json!({"iscsi": {"iqn": "x"}}), json!({"iscsi": {"iqn": "x", "lun": 1}})),
        ("volume", json!({"rbd": {"image": "x"}}), json!({"rbd": {"image": "x", "user": "rbd"}})),
        ("volume", claim(json!({})), claim(json!({"volumeMode": "Block"}))),
        ("volume", claim(json!({})), claim(json!({"storageClassName": ""}))),
        ("volume", claim(json!({})), claim(json!({"selector": {}}))),
        ("volume", claim(json!({"resources": {"requests": {"storage": "1G"}}})), claim(json!({"resources": {"requests": {"storage": "1Gi"}}}))),
        ("volume", json!({"csi": {"driver": "x", "volumeAttributes": {"a": ""}}}), json!({"csi": {"driver": "x"}})),
    ]
}

#[test]
fn what_is_no_default_makes_a_difference() {
    for (place, left, right) in differences() {
        let (a, b) = (with(place, &left), with(place, &right));
        assert!(!same_meaning(&a, &b), "{place}: {left} is not {right}");
        assert_ne!(hash(&a, None), hash(&b, None), "{place}: {left} {right}");
    }
}

#[test]
fn only_fields_that_nobody_knows_are_passed_over_by_the_known_meaning() {
    let base = with("container", &json!({}));
    assert!(same_known_meaning(
        &base,
        &with("container", &json!({"redinessProbe": {"httpGet": {"port": 80}}}))
    ));
    assert!(same_known_meaning(&base, &with("pod", &json!({"fromTheFuture": 1}))));
    for (place, left, right) in differences() {
        let (a, b) = (with(place, &left), with(place, &right));
        assert!(!same_known_meaning(&a, &b), "{place}: {left} is not {right}");
    }
    // What is no pod template tells nothing.
    let wrong = with("container", &json!({"image": 7}));
    assert!(!same_known_meaning(&wrong, &wrong));
}
