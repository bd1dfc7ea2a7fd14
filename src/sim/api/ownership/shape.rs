//! How lists and maps merge: as a whole, as a set, by keys, or field by field. A table for the built-in kinds; custom
//! resources have atomic lists only, since our definitions declare nothing else.

use crate::sim::api::kinds::Kind;
use serde_json::{Map, Value};

/// How a list or a map merges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::sim::api) enum Shape {
    /// Field by field; for maps.
    Granular,
    /// As a whole.
    Atomic,
    /// A list without repetitions.
    Set,
    /// A list of maps, told apart by these keys; an absent key has this default.
    Keyed(&'static [(&'static str, Option<&'static str>)]),
}

const BY_NAME: Shape = Shape::Keyed(&[("name", None)]);
const BY_TYPE: Shape = Shape::Keyed(&[("type", None)]);

/// A place in an object: the names of the fields on the way, lists skipped.
#[derive(Clone, Debug)]
pub(in crate::sim::api) struct Place {
    kind: Kind,
    dotted: String,
}

impl Place {
    pub(in crate::sim::api) fn root(kind: Kind) -> Self {
        Self {
            kind,
            dotted: String::new(),
        }
    }

    /// Does `work` one field further down.
    pub(in crate::sim::api) fn within<T>(&mut self, field: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.dotted.len();
        if length > 0 {
            self.dotted.push('.');
        }
        self.dotted.push_str(field);
        let result = work(self);
        self.dotted.truncate(length);
        result
    }

    pub(in crate::sim::api) fn list(&self) -> Shape {
        list(self.kind, &self.dotted)
    }

    /// Whether nothing is known of what is here: below a field that takes anything.
    pub(super) fn is_untyped(&self) -> bool {
        matches!(self.kind, Kind::Rollout) && self.dotted.starts_with("spec.template.")
    }

    pub(super) fn map(&self) -> Shape {
        map(self.kind, &self.dotted)
    }
}

fn list(kind: Kind, path: &str) -> Shape {
    match path {
        "metadata.finalizers" => return Shape::Set,
        "metadata.ownerReferences" => return Shape::Keyed(&[("uid", None)]),
        _ => {}
    }
    if kind.facts().is_custom {
        return Shape::Atomic;
    }
    if let Some(in_pod) = pod_spec(kind, path) {
        return in_pod_spec(in_pod);
    }
    match (kind, path) {
        (Kind::Service, "spec.ports") => Shape::Keyed(&[("port", None), ("protocol", Some("TCP"))]),
        (Kind::Job, "status.conditions") => Shape::Atomic,
        (Kind::Pod, "status.podIPs") => Shape::Keyed(&[("ip", None)]),
        (_, "status.conditions") => BY_TYPE,
        _ => Shape::Atomic,
    }
}

fn map(kind: Kind, path: &str) -> Shape {
    if kind.facts().is_custom {
        return Shape::Granular;
    }
    if let Some(in_pod) = pod_spec(kind, path) {
        let last = in_pod.rsplit('.').next().unwrap_or_default();
        let atomic = [
            "nodeSelector",
            "labelSelector",
            "namespaceSelector",
            "secretKeyRef",
            "configMapKeyRef",
            "fieldRef",
            "resourceFieldRef",
        ];
        return if atomic.contains(&last) {
            Shape::Atomic
        } else {
            Shape::Granular
        };
    }
    match (kind, path) {
        (_, "spec.selector") => Shape::Atomic,
        (Kind::Event, "involvedObject" | "related") | (Kind::EventsEvent, "regarding" | "related") => Shape::Atomic,
        (Kind::HorizontalPodAutoscaler, "spec.scaleTargetRef") => Shape::Atomic,
        _ => Shape::Granular,
    }
}

/// The rest of a path that leads into the spec of a pod.
fn pod_spec(kind: Kind, path: &str) -> Option<&str> {
    match kind {
        Kind::Pod => path.strip_prefix("spec."),
        Kind::ReplicaSet | Kind::Deployment | Kind::Job => path.strip_prefix("spec.template.spec."),
        _ => None,
    }
}

fn in_pod_spec(path: &str) -> Shape {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match (first, rest) {
        ("containers" | "initContainers" | "ephemeralContainers", "") => BY_NAME,
        ("containers" | "initContainers" | "ephemeralContainers", inside) => match inside {
            "ports" => Shape::Keyed(&[("containerPort", None), ("protocol", Some("TCP"))]),
            "env" | "resources.claims" => BY_NAME,
            "volumeMounts" => Shape::Keyed(&[("mountPath", None)]),
            "volumeDevices" => Shape::Keyed(&[("devicePath", None)]),
            _ => Shape::Atomic,
        },
        ("volumes" | "imagePullSecrets" | "schedulingGates" | "resourceClaims", "") => BY_NAME,
        ("hostAliases", "") => Shape::Keyed(&[("ip", None)]),
        ("topologySpreadConstraints", "") => Shape::Keyed(&[("topologyKey", None), ("whenUnsatisfiable", None)]),
        _ => Shape::Atomic,
    }
}

/// The keys of an item as canonical JSON; `None` when one is missing, so that the list cannot be merged by keys.
pub(super) fn key_of(item: &Value, keys: &[(&str, Option<&str>)]) -> Option<String> {
    let mut found = Map::new();
    for (key, default) in keys {
        let value = match item.get(*key) {
            Some(value) => value.clone(),
            None => Value::from((*default)?),
        };
        found.insert((*key).to_owned(), value);
    }
    Some(Value::Object(found).to_string())
}
