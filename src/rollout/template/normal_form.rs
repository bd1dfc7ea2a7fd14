//! The normal form of a pod template: without what the API server fills in or leaves out by itself (`core/v1`), and with
//! amounts in one spelling. Two templates in which the server stores the same have the same normal form.
//!
//! A template in a Rollout is free-form, while that of a ReplicaSet is as the server stores it. What the server does with
//! fields that it does not know no table can tell; see `made_from` for those.

use crate::{api::well_known, lang::quantity::Quantity, rollout::anti_affinity};
use serde_json::{Map, Value, json};

/// What the server fills in.
enum Filled {
    Text(&'static str),
    Number(i64),
    Flag(bool),
}
use Filled::{Flag, Number, Text};

impl PartialEq<Value> for Filled {
    fn eq(&self, value: &Value) -> bool {
        match self {
            Text(text) => value == text,
            Number(number) => value == number,
            Flag(flag) => value == flag,
        }
    }
}

/// Fields and what the server fills in; `[]` stands for every entry of a list. Empty text is filled in as well, and needs
/// no row: it is dropped wherever it stands.
type Defaults = &'static [(&'static str, Filled)];

const POD: Defaults = &[
    ("restartPolicy", Text("Always")),
    ("terminationGracePeriodSeconds", Number(30)),
    ("dnsPolicy", Text("ClusterFirst")),
    ("schedulerName", Text("default-scheduler")),
    ("topologySpreadConstraints[].nodeAffinityPolicy", Text("Honor")),
    ("topologySpreadConstraints[].nodeTaintsPolicy", Text("Ignore")),
];
const CONTAINER: Defaults = &[
    ("terminationMessagePath", Text("/dev/termination-log")),
    ("terminationMessagePolicy", Text("File")),
    ("ports[].protocol", Text("TCP")),
    ("env[].valueFrom.fieldRef.apiVersion", Text("v1")),
    ("env[].valueFrom.resourceFieldRef.divisor", Text("0")),
    ("env[].valueFrom.fileKeyRef.optional", Flag(false)),
    ("securityContext.procMount", Text("Default")),
];
/// Zero is no value of these numbers, but stands for the default.
const PROBE: Defaults = &[
    ("timeoutSeconds", Number(0)),
    ("timeoutSeconds", Number(1)),
    ("periodSeconds", Number(0)),
    ("periodSeconds", Number(10)),
    ("successThreshold", Number(0)),
    ("successThreshold", Number(1)),
    ("failureThreshold", Number(0)),
    ("failureThreshold", Number(3)),
];
/// Of a probe and of a lifecycle hook.
const REQUEST: Defaults = &[("httpGet.path", Text("/")), ("httpGet.scheme", Text("HTTP"))];
const VOLUME: Defaults = &[
    ("secret.defaultMode", Number(420)),
    ("configMap.defaultMode", Number(420)),
    ("downwardAPI.defaultMode", Number(420)),
    ("downwardAPI.items[].fieldRef.apiVersion", Text("v1")),
    ("downwardAPI.items[].resourceFieldRef.divisor", Text("0")),
    ("projected.defaultMode", Number(420)),
    (
        "projected.sources[].downwardAPI.items[].fieldRef.apiVersion",
        Text("v1"),
    ),
    (
        "projected.sources[].downwardAPI.items[].resourceFieldRef.divisor",
        Text("0"),
    ),
    (
        "projected.sources[].serviceAccountToken.expirationSeconds",
        Number(3600),
    ),
    (
        "projected.sources[].podCertificate.maxExpirationSeconds",
        Number(86_400),
    ),
    ("ephemeral.volumeClaimTemplate.spec.volumeMode", Text("Filesystem")),
    ("azureDisk.cachingMode", Text("ReadWrite")),
    ("azureDisk.fsType", Text("ext4")),
    ("azureDisk.kind", Text("Shared")),
    ("iscsi.iscsiInterface", Text("default")),
    ("iscsi.lun", Number(0)),
    ("rbd.keyring", Text("/etc/ceph/keyring")),
    ("rbd.pool", Text("rbd")),
    ("rbd.user", Text("admin")),
    ("scaleIO.fsType", Text("xfs")),
    ("scaleIO.storageMode", Text("ThinProvisioned")),
];

/// Amounts; `*` stands for every member.
const POD_AMOUNTS: &[&str] = &["overhead.*", "resources.limits.*", "resources.requests.*"];
const CONTAINER_AMOUNTS: &[&str] = &[
    "env[].valueFrom.resourceFieldRef.divisor",
    "resources.limits.*",
    "resources.requests.*",
];
const VOLUME_AMOUNTS: &[&str] = &[
    "downwardAPI.items[].resourceFieldRef.divisor",
    "emptyDir.sizeLimit",
    "ephemeral.volumeClaimTemplate.spec.resources.limits.*",
    "ephemeral.volumeClaimTemplate.spec.resources.requests.*",
    "projected.sources[].downwardAPI.items[].resourceFieldRef.divisor",
];

/// Members whose emptiness has a meaning of its own: an empty selector matches everything, no selector nothing, and an
/// empty storage class is none, no storage class the default one.
const EMPTY_HAS_MEANING: [&str; 4] = ["labelSelector", "namespaceSelector", "selector", "storageClassName"];
/// Maps of the user's own keys, in which an empty text is a value like any other.
const FREE_MAPS: [&str; 10] = [
    "annotations",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "options",
    "overhead",
    "requests",
    "userAnnotations",
    "volumeAttributes",
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
const ZERO_IS_ABSENT: [&str; 3] = ["hostPort", "initialDelaySeconds", "partition"];

/// The template without defaults, empty members, and the hash label.
pub(super) fn of(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(well_known::POD_TEMPLATE_HASH);
        }
        prune(metadata);
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
    amounts(spec, POD_AMOUNTS);
    drop_defaults(spec, POD);
    service_account(spec);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        host_ports(spec);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        objects_in(spec, list).for_each(container);
    }
    objects_in(spec, "volumes").for_each(volume);
    // A source without members is still a source.
    let volumes = spec.remove("volumes").filter(|volumes| !is_empty(volumes));
    prune(spec);
    spec.extend(volumes.map(|volumes| ("volumes".to_owned(), volumes)));
}

/// `serviceAccount` is the deprecated twin of `serviceAccountName`, which counts where both are given; the server
/// stores both.
fn service_account(spec: &mut Map<String, Value>) {
    let twin = spec.remove("serviceAccount").filter(|twin| !is_empty(twin));
    if let Some(twin) = twin.filter(|_| spec.get("serviceAccountName").is_none_or(is_empty)) {
        spec.insert("serviceAccountName".to_owned(), twin);
    }
}

/// On the node's network a port can only be that of the node, and servers before 1.28 wrote it down.
fn host_ports(spec: &mut Map<String, Value>) {
    for list in ["containers", "initContainers"] {
        for container in objects_in(spec, list) {
            for port in objects_in(container, "ports") {
                if port.get("hostPort") == port.get("containerPort") {
                    port.remove("hostPort");
                }
            }
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    amounts(container, CONTAINER_AMOUNTS);
    drop_defaults(container, CONTAINER);
    drop_pull_policy(container, "image", "imagePullPolicy");
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = object_in(container, probe) {
            drop_defaults(probe, PROBE);
            drop_defaults(probe, REQUEST);
        }
    }
    let Some(hooks) = object_in(container, "lifecycle") else {
        return;
    };
    for hook in ["postStart", "preStop"] {
        let Some(hook) = object_in(hooks, hook) else { continue };
        drop_defaults(hook, REQUEST);
        if let Some(sleep) = object_in(hook, "sleep")
            && sleep.get("seconds").is_none_or(Value::is_null)
        {
            sleep.insert("seconds".to_owned(), Value::from(0));
        }
    }
}

fn volume(volume: &mut Map<String, Value>) {
    amounts(volume, VOLUME_AMOUNTS);
    drop_defaults(volume, VOLUME);
    if let Some(image) = object_in(volume, "image") {
        drop_pull_policy(image, "reference", "pullPolicy");
    }
    volume.retain(|_, source| !source.is_null());
    volume.values_mut().filter_map(Value::as_object_mut).for_each(prune);
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
}

fn drop_pull_policy(map: &mut Map<String, Value>, image: &str, field: &str) {
    let image = map.get(image).and_then(Value::as_str).unwrap_or_default();
    let default = default_pull_policy(image);
    if map.get(field).is_some_and(|policy| policy == default) {
        map.remove(field);
    }
}

/// Kubernetes' own default: `Always` for the tag `latest`, also where it goes without saying, else `IfNotPresent`, also
/// for what is no name of an image.
fn default_pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        _ => ("", name),
    };
    let (path, tag) = match path.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    if path.is_empty() || !path.chars().all(is_name) || host.contains(char::is_whitespace) {
        return "IfNotPresent";
    }
    match (tag, digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

/// Whether the first part of the name of an image is a registry.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.chars().any(|c| c.is_ascii_uppercase())
}

fn drop_defaults(map: &mut Map<String, Value>, defaults: Defaults) {
    for (path, default) in defaults {
        at(map, path, &|around: &mut Map<String, Value>, field: &str| {
            if around.get(field).is_some_and(|value| default == value) {
                around.remove(field);
            }
        });
    }
}

fn amounts(map: &mut Map<String, Value>, paths: &[&str]) {
    for path in paths {
        at(map, path, &|around: &mut Map<String, Value>, field: &str| {
            if field == "*" {
                around.values_mut().for_each(amount);
            } else if let Some(value) = around.get_mut(field).filter(|value| !value.is_null()) {
                amount(value);
            }
        });
    }
}

fn amount(value: &mut Value) {
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null => "0".to_owned(),
        _ => return,
    };
    if let Ok(amount) = Quantity::parse(&text) {
        *value = Value::from(amount.to_string());
    }
}

/// Every place of a path: the map around it, and the last word of the path.
fn at(map: &mut Map<String, Value>, path: &str, visit: &dyn Fn(&mut Map<String, Value>, &str)) {
    let Some((first, rest)) = path.split_once('.') else {
        visit(map, path);
        return;
    };
    match first.strip_suffix("[]") {
        Some(list) => objects_in(map, list).for_each(|entry| at(entry, rest, visit)),
        None => {
            if let Some(inner) = object_in(map, first) {
                at(inner, rest, visit);
            }
        }
    }
}

fn object_in<'m>(map: &'m mut Map<String, Value>, field: &str) -> Option<&'m mut Map<String, Value>> {
    map.get_mut(field)?.as_object_mut()
}

fn objects_in<'m>(map: &'m mut Map<String, Value>, list: &str) -> impl Iterator<Item = &'m mut Map<String, Value>> {
    map.get_mut(list)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Drops members that the API server would not store.
fn prune(map: &mut Map<String, Value>) {
    for (key, value) in map.iter_mut() {
        match value {
            Value::Object(inner) if FREE_MAPS.contains(&key.as_str()) => {
                // The server reads a text that is null as an empty one.
                inner
                    .values_mut()
                    .filter(|value| value.is_null())
                    .for_each(|value| *value = Value::from(""));
            }
            Value::Object(inner) => prune(inner),
            Value::Array(items) => items.iter_mut().filter_map(Value::as_object_mut).for_each(prune),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    map.retain(|key, value| {
        let key = key.as_str();
        let dropped = match value {
            Value::Null => true,
            Value::Bool(false) => FALSE_IS_ABSENT.contains(&key),
            Value::Number(number) => number.as_i64() == Some(0) && ZERO_IS_ABSENT.contains(&key),
            other => is_empty(other) && !EMPTY_HAS_MEANING.contains(&key),
        };
        !dropped
    });
}

/// Whether a member says nothing.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
