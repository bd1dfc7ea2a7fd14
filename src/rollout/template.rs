//! The meaning of a pod template: when two of them are equal, and a digest of that meaning (guarantee D5).
//!
//! A template is compared as raw JSON after dropping what the API server fills in by itself, so that a template and the
//! copy of it in a ReplicaSet are equal, whoever created that ReplicaSet. Nothing is decoded into types: a field that
//! is newer than this program counts like any other.

use super::anti_affinity;
use crate::{
    api::well_known,
    lang::{hash, quantity::Quantity},
};
use serde_json::{Map, Value};

/// Whether two pod templates ask for the same pods. The pod-template-hash label does not count.
pub(crate) fn same_meaning(left: &Value, right: &Value) -> bool {
    normal_form(left) == normal_form(right)
}

/// The pod-template-hash of a new revision. Never used to find an existing ReplicaSet when its label or its template
/// already says which revision it is.
pub(crate) fn hash(template: &Value, collision_count: Option<i32>) -> String {
    let mut text = canonical_json(&normal_form(template));
    if let Some(count) = collision_count {
        text.push_str(&count.to_string());
    }
    hash::short(text.as_bytes())
}

/// The hash of `canary.steps`, equal to the original's (reference, rollouts 2.2).
pub(crate) fn steps_hash(steps_json: &str) -> String {
    let escaped = steps_json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    hash::short(escaped.as_bytes())
}

/// JSON with sorted keys, whatever map order `serde_json` was built with.
fn canonical_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let members: Vec<String> = keys
                .into_iter()
                .filter_map(|key| {
                    map.get(key)
                        .map(|value| format!("{}:{}", Value::from(key.as_str()), canonical_json(value)))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical_json).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// The template without defaults, empty members, and the hash label.
fn normal_form(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(well_known::POD_TEMPLATE_HASH);
        }
        metadata.retain(|_, value| !is_empty(value));
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        pod_spec(spec);
    }
    if let Some(whole) = template.as_object_mut() {
        whole.retain(|_, value| !is_empty(value));
    }
    template
}

fn pod_spec(spec: &mut Map<String, Value>) {
    // Injected, and left in specifications by the original's `undo`.
    anti_affinity::strip(spec);
    drop_when(spec, "restartPolicy", &Value::from("Always"));
    drop_when(spec, "terminationGracePeriodSeconds", &Value::from(30));
    drop_when(spec, "dnsPolicy", &Value::from("ClusterFirst"));
    drop_when(spec, "schedulerName", &Value::from("default-scheduler"));
    // `serviceAccount` is the deprecated twin of `serviceAccountName`; the API server keeps both equal.
    spec.remove("serviceAccount");
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in objects_in(spec, list) {
            self::container(container);
        }
    }
    for volume in objects_in(spec, "volumes") {
        self::volume(volume);
    }
    for constraint in objects_in(spec, "topologySpreadConstraints") {
        drop_when(constraint, "nodeAffinityPolicy", &Value::from("Honor"));
        drop_when(constraint, "nodeTaintsPolicy", &Value::from("Ignore"));
    }
    prune(spec);
}

fn container(container: &mut Map<String, Value>) {
    drop_when(
        container,
        "terminationMessagePath",
        &Value::from("/dev/termination-log"),
    );
    drop_when(container, "terminationMessagePolicy", &Value::from("File"));
    let default_pull_policy = default_pull_policy(container.get("image").and_then(Value::as_str).unwrap_or_default());
    drop_when(container, "imagePullPolicy", &Value::from(default_pull_policy));
    for port in objects_in(container, "ports") {
        drop_when(port, "protocol", &Value::from("TCP"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else {
            continue;
        };
        for (field, default) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            drop_when(probe, field, &Value::from(default));
        }
        http_scheme(probe);
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = container
            .get_mut("lifecycle")
            .and_then(|hooks| hooks.get_mut(hook))
            .and_then(Value::as_object_mut)
        {
            http_scheme(hook);
        }
    }
    for variable in objects_in(container, "env") {
        if let Some(reference) = variable
            .get_mut("valueFrom")
            .and_then(|from| from.get_mut("fieldRef"))
            .and_then(Value::as_object_mut)
        {
            drop_when(reference, "apiVersion", &Value::from("v1"));
        }
    }
    for bound in ["limits", "requests"] {
        if let Some(amounts) = container
            .get_mut("resources")
            .and_then(|resources| resources.get_mut(bound))
            .and_then(Value::as_object_mut)
        {
            amounts.values_mut().for_each(quantity);
        }
    }
}

fn http_scheme(probe: &mut Map<String, Value>) {
    if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
        drop_when(get, "scheme", &Value::from("HTTP"));
    }
}

fn volume(volume: &mut Map<String, Value>) {
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) else {
            continue;
        };
        drop_when(source, "defaultMode", &Value::from(420));
        for projection in objects_in(source, "sources") {
            if let Some(token) = projection.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                drop_when(token, "expirationSeconds", &Value::from(3600));
            }
            if let Some(downward) = projection.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                field_items(downward);
            }
        }
        field_items(source);
    }
    if let Some(size) = volume
        .get_mut("emptyDir")
        .and_then(|directory| directory.get_mut("sizeLimit"))
    {
        quantity(size);
    }
}

fn field_items(source: &mut Map<String, Value>) {
    for item in objects_in(source, "items") {
        if let Some(reference) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            drop_when(reference, "apiVersion", &Value::from("v1"));
        }
    }
}

/// Kubernetes' own default: `Always` for `latest` or no tag, else `IfNotPresent`.
fn default_pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}

fn quantity(value: &mut Value) {
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if let Ok(amount) = Quantity::parse(&text) {
        *value = Value::from(amount.to_string());
    }
}

fn objects_in<'m>(map: &'m mut Map<String, Value>, list: &str) -> impl Iterator<Item = &'m mut Map<String, Value>> {
    map.get_mut(list)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn drop_when(map: &mut Map<String, Value>, key: &str, default: &Value) {
    if map.get(key) == Some(default) {
        map.remove(key);
    }
}

/// Members whose emptiness has a meaning of its own: an empty selector matches everything, no selector nothing.
const EMPTY_HAS_MEANING: [&str; 5] = [
    "labelSelector",
    "namespaceSelector",
    "emptyDir",
    "matchLabels",
    "nodeSelector",
];
/// Booleans that the API server drops when false.
const FALSE_IS_ABSENT: [&str; 8] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "readonly",
];
/// Numbers that the API server drops when zero.
const ZERO_IS_ABSENT: [&str; 2] = ["hostPort", "initialDelaySeconds"];

/// Drops members that the API server would not store.
fn prune(map: &mut Map<String, Value>) {
    for (key, value) in map.iter_mut() {
        if EMPTY_HAS_MEANING.contains(&key.as_str()) {
            continue;
        }
        match value {
            Value::Object(inner) => prune(inner),
            Value::Array(items) => items.iter_mut().filter_map(Value::as_object_mut).for_each(prune),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    map.retain(|key, value| {
        let key = key.as_str();
        let dropped = match value {
            Value::Bool(false) => FALSE_IS_ABSENT.contains(&key),
            Value::Number(number) => number.as_i64() == Some(0) && ZERO_IS_ABSENT.contains(&key),
            other => is_empty(other) && !EMPTY_HAS_MEANING.contains(&key),
        };
        !dropped
    });
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
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
}
