//! From rendered manifests to targets: lists unpacked, namespaces filled in, tracking written, duplicates reported.

use super::{
    hooks::{self, Role},
    kinds::Kinds,
    resource::{ResourceKey, TrackingId, annotation, group_of, text},
};
use crate::api::well_known::{SYNC_WAVE, TRACKING_ID};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

const HELM_WEIGHT: &str = "helm.sh/hook-weight";

/// The objects one commit wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetSet {
    /// Objects to keep in sync, by key.
    pub resources: BTreeMap<ResourceKey, Arc<Value>>,
    /// Hooks, in the order rendered.
    pub hooks: Vec<Arc<Value>>,
    /// `(condition type, message)`.
    pub warnings: Vec<(&'static str, String)>,
    /// What makes the whole set unusable, in words.
    pub problems: Vec<String>,
}

/// Where targets go and whose they are.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// Name of the application in tracking ids.
    pub instance: &'a str,
    /// `spec.destination.namespace`.
    pub namespace: &'a str,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
}

/// Makes the target set of rendered manifests.
pub fn targets<'a>(rendered: impl IntoIterator<Item = &'a Value>, destination: Destination<'_>) -> TargetSet {
    let mut objects = Vec::new();
    for manifest in rendered {
        unpack(manifest, &mut objects);
    }
    let kinds = destination.kinds.with_definitions(objects.iter());
    let destination = Destination {
        kinds: &kinds,
        ..destination
    };
    let mut set = TargetSet::default();
    let mut seen: BTreeMap<ResourceKey, usize> = BTreeMap::new();
    for (index, mut object) in objects.into_iter().enumerate() {
        if let Err(problem) = settle(&mut object, destination) {
            set.problems
                .push(format!("object {} of the rendered manifests: {problem}", index + 1));
            continue;
        }
        match hooks::role(&object) {
            Role::Ignored => {}
            Role::Hook(_) => set.hooks.push(Arc::new(object)),
            Role::Resource if text(&object, "/metadata/name").is_empty() => {
                set.problems.push(format!(
                    "{} has no metadata.name; generateName works for hooks only",
                    text(&object, "/kind")
                ));
            }
            Role::Resource => {
                let key = ResourceKey::of(&object);
                *seen.entry(key.clone()).or_default() += 1;
                for (option, nearest) in super::options::unknown_in_annotation(&object) {
                    set.warnings
                        .push(("UnknownOptionWarning", unknown_option(&key, &option, nearest)));
                }
                set.resources.insert(key, Arc::new(object));
            }
        }
    }
    for (key, times) in seen.into_iter().filter(|(_, times)| *times > 1) {
        let message = format!("Resource {key} appeared {times} times among application resources.");
        set.warnings.push(("RepeatedResourceWarning", message));
    }
    set
}

fn unknown_option(key: &ResourceKey, option: &str, nearest: Option<&str>) -> String {
    let meant = nearest
        .map(|nearest| format!(", did you mean {nearest:?}?"))
        .unwrap_or_default();
    format!("{key}: annotation argocd.argoproj.io/sync-options has the unknown option {option:?}{meant}")
}

/// Unpacks `List` kinds.
fn unpack(manifest: &Value, into: &mut Vec<Value>) {
    let is_list = text(manifest, "/kind").ends_with("List") && manifest.get("items").is_some_and(Value::is_array);
    match manifest.get("items").and_then(Value::as_array).filter(|_| is_list) {
        Some(items) => items.iter().for_each(|item| unpack(item, into)),
        None => into.push(manifest.clone()),
    }
}

/// Fills in the namespace and writes the tracking id.
fn settle(object: &mut Value, destination: Destination<'_>) -> Result<(), String> {
    let (api_version, kind) = (text(object, "/apiVersion").to_owned(), text(object, "/kind").to_owned());
    if api_version.is_empty() || kind.is_empty() {
        let name = text(object, "/metadata/name");
        return Err(format!(
            "apiVersion and kind are required, found apiVersion {api_version:?} and kind {kind:?} (metadata.name {name:?})"
        ));
    }
    let group = group_of(&api_version).to_owned();
    let is_namespaced = destination.kinds.is_namespaced(&group, &kind);
    let Some(map) = object.as_object_mut() else {
        return Err("an object is expected".to_owned());
    };
    let Value::Object(metadata) = map.entry("metadata").or_insert_with(|| Value::Object(Map::new())) else {
        return Err(format!("{kind}: metadata is expected to be an object"));
    };
    match metadata.get("namespace").and_then(Value::as_str) {
        Some(namespace) if is_namespaced && !namespace.is_empty() => {}
        _ if is_namespaced && !destination.namespace.is_empty() => {
            metadata.insert("namespace".into(), destination.namespace.into());
        }
        Some(_) => {
            metadata.remove("namespace");
        }
        None => {}
    }
    let key = ResourceKey::of(object);
    // Definitions outlive the application that brought them, so nothing may ever prune them by tracking.
    if kind != "CustomResourceDefinition" {
        track(
            object,
            &TrackingId::new(destination.instance, &key, destination.namespace),
        );
    }
    Ok(())
}

fn track(object: &mut Value, id: &TrackingId) {
    let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if !annotations.is_object() {
        *annotations = Value::Object(Map::new());
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(TRACKING_ID.into(), id.to_string().into());
    }
}

/// The wave of an object: its annotation, else Helm's weight, else 0.
pub fn wave(object: &Value) -> i64 {
    [SYNC_WAVE, HELM_WEIGHT]
        .into_iter()
        .find_map(|key| annotation(object, key)?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::kinds::KindFacts;
    use serde_json::json;

    fn kinds() -> Kinds {
        let mut kinds = Kinds::default();
        kinds.insert(
            "",
            "ConfigMap",
            KindFacts {
                is_namespaced: true,
                versions: vec!["v1".into()],
            },
        );
        kinds.insert(
            "",
            "Namespace",
            KindFacts {
                is_namespaced: false,
                versions: vec!["v1".into()],
            },
        );
        kinds
    }

    fn check(rendered: &[Value]) -> TargetSet {
        targets(
            rendered,
            Destination {
                instance: "app",
                namespace: "dest",
                kinds: &kinds(),
            },
        )
    }

    #[test]
    fn namespaces_and_tracking_are_filled_in() {
        let set = check(&[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other", "annotations": null}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "namespace": "wrong"}}),
        ]);
        let ids: Vec<&str> = set
            .resources
            .values()
            .map(|object| annotation(object, TRACKING_ID).unwrap())
            .collect();
        assert_eq!(
            ids,
            [
                "app:/ConfigMap:dest/a",
                "app:/ConfigMap:other/a",
                "app:/Namespace:dest/n"
            ]
        );
        assert_eq!(set.resources.keys().filter(|key| key.namespace.is_empty()).count(), 1);
    }

    #[test]
    fn lists_are_unpacked_and_duplicates_reported() {
        let item = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        let set = check(&[
            json!({"apiVersion": "v1", "kind": "List", "items": [item, item]}),
            json!({"metadata": {"name": "x"}}),
        ]);
        assert_eq!(set.resources.len(), 1);
        let message = "Resource /ConfigMap/dest/a appeared 2 times among application resources.".to_owned();
        assert_eq!(set.warnings, [("RepeatedResourceWarning", message)]);
        assert_eq!(set.problems.len(), 1);
        assert!(set.problems[0].starts_with("object 3 of the rendered manifests: apiVersion and kind are required"));
    }

    #[test]
    fn definitions_tell_the_scope_of_their_objects_and_are_never_tracked() {
        let set = check(&[
            json!({"apiVersion": "example.com/v1", "kind": "Planet", "metadata": {"name": "mars"}}),
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                   "metadata": {"name": "planets.example.com"},
                   "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Planet"}, "versions": [{"name": "v1", "served": true}]}}),
        ]);
        let planet = set.resources.keys().find(|key| key.kind == "Planet").unwrap();
        assert_eq!(planet.namespace, "");
        let definition = set
            .resources
            .values()
            .find(|o| text(o, "/kind") == "CustomResourceDefinition")
            .unwrap();
        assert_eq!(annotation(definition, TRACKING_ID), None);
    }

    #[test]
    fn waves_come_from_the_annotation_or_helm() {
        assert_eq!(
            wave(&json!({"metadata": {"annotations": {SYNC_WAVE: "-2", HELM_WEIGHT: "5"}}})),
            -2
        );
        assert_eq!(wave(&json!({"metadata": {"annotations": {HELM_WEIGHT: "5"}}})), 5);
        assert_eq!(wave(&json!({"metadata": {"annotations": {SYNC_WAVE: "x"}}})), 0);
    }
}
