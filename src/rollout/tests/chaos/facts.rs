//! Plain facts about a set of objects, read without the planner's code.

use super::super::world::Objects;
use crate::api::well_known;
use serde_json::Value;

/// One ReplicaSet in numbers.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) hash: String,
    pub(super) spec: i64,
    pub(super) available: i64,
}

pub(super) fn sets(objects: &Objects) -> Vec<Set> {
    let of_kind = objects.iter().filter(|((kind, _), _)| kind == "ReplicaSet");
    of_kind
        .map(|((_, name), set)| {
            let spec = set["spec"]["replicas"].as_i64().unwrap_or(1);
            let text = set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH].as_str();
            Set {
                name: name.clone(),
                hash: text.unwrap_or_default().to_owned(),
                spec,
                available: set["status"]["availableReplicas"].as_i64().unwrap_or(0).min(spec),
            }
        })
        .collect()
}

/// Available pods with this hash.
pub(super) fn available(objects: &Objects, hash: &str) -> i64 {
    let of_hash = sets(objects).into_iter().filter(|set| set.hash == hash);
    of_hash.map(|set| set.available).sum()
}

pub(super) fn rollout(objects: &Objects) -> &Value {
    &objects[&("Rollout".to_owned(), "web".to_owned())]
}

pub(super) fn replicas(objects: &Objects) -> i64 {
    rollout(objects)["spec"]["replicas"].as_i64().unwrap_or(1)
}

pub(super) fn text<'o>(value: &'o Value, field: &str) -> &'o str {
    value[field].as_str().unwrap_or_default()
}

/// The hash a Service selects; empty without one.
pub(super) fn selected<'o>(objects: &'o Objects, service: &str) -> &'o str {
    let found = objects.get(&("Service".to_owned(), service.to_owned()));
    found.map_or("", |service| {
        text(&service["spec"]["selector"], well_known::POD_TEMPLATE_HASH)
    })
}

/// The weight in the canary Ingress.
pub(super) fn weight(objects: &Objects) -> i64 {
    let ingress = objects.get(&("Ingress".to_owned(), "web-web-canary".to_owned()));
    ingress.map_or(0, weight_of)
}

pub(super) fn weight_of(ingress: &Value) -> i64 {
    let text = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"].as_str();
    text.map_or(0, |text| text.parse().unwrap())
}

/// `replicas × weight ÷ 100`, rounded up.
pub(super) fn share(replicas: i64, weight: i64) -> i64 {
    (replicas * weight + 99) / 100
}

/// Pods that `maxSurge` or `maxUnavailable` allow; both zero means one unavailable pod.
pub(super) fn budget(canary: &Value, replicas: i64) -> (i64, i64) {
    let resolve = |field: &str, up: bool| {
        let percent = match &canary[field] {
            Value::Number(pods) => return pods.as_i64().unwrap(),
            Value::String(text) => text.trim_end_matches('%').parse().unwrap(),
            _ => 25,
        };
        if up {
            share(replicas, percent)
        } else {
            replicas * percent / 100
        }
    };
    match (resolve("maxSurge", true), resolve("maxUnavailable", false)) {
        (0, 0) => (0, 1),
        both => both,
    }
}
