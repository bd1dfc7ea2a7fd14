//! Names of objects, and whose they are: keys and tracking ids (reference, applications 2.7).

use crate::{api::well_known::TRACKING_ID, json::At as _};
use serde_json::Value;
use std::fmt;

/// Names one object of the destination cluster, whatever API version it is read in.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceKey {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ResourceKey {
    /// The key of an object given as JSON; absent parts are empty.
    pub fn of(object: &Value) -> Self {
        Self {
            group: group_of(text(object, "/apiVersion")).to_owned(),
            kind: text(object, "/kind").to_owned(),
            namespace: text(object, "/metadata/namespace").to_owned(),
            name: text(object, "/metadata/name").to_owned(),
        }
    }

    /// `(group, kind)`.
    pub fn group_kind(&self) -> (&str, &str) {
        (&self.group, &self.kind)
    }

    /// `group/Kind/name`, the form operation messages use.
    pub fn short(&self) -> String {
        format!("{}/{}/{}", self.group, self.kind, self.name)
    }
}

impl fmt::Display for ResourceKey {
    /// `group/Kind/namespace/name`, the form conditions use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.group, self.kind, self.namespace, self.name)
    }
}

/// The group of an `apiVersion`.
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The version of an `apiVersion`.
pub fn version_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or(api_version, |(_, version)| version)
}

/// The text at a JSON pointer; empty when absent or of another type.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.at(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a JSON pointer.
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.at(pointer).and_then(Value::as_i64)
}

/// An annotation of an object.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Whether a comma-separated annotation has an entry.
pub fn annotation_lists(object: &Value, key: &str, entry: &str) -> bool {
    annotation(object, key).is_some_and(|list| list.split(',').any(|item| item.trim() == entry))
}

/// Whether the API server is deleting the object.
pub fn is_deleting(object: &Value) -> bool {
    object.at("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// The name an application has in tracking ids: its name, or `<namespace>_<name>` outside the control plane's namespace.
pub fn instance_name(namespace: &str, name: &str, control_plane_namespace: &str) -> String {
    if namespace == control_plane_namespace {
        name.to_owned()
    } else {
        format!("{namespace}_{name}")
    }
}

/// The inverse of [`instance_name`]: `(namespace, name)`.
pub fn instance_parts<'a>(instance: &'a str, control_plane_namespace: &'a str) -> (&'a str, &'a str) {
    instance.split_once('_').unwrap_or((control_plane_namespace, instance))
}

/// A parsed `argocd.argoproj.io/tracking-id`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrackingId {
    /// [`instance_name`] of the application.
    pub instance: String,
    /// The object; a cluster-scoped one carries the application's destination namespace.
    pub key: ResourceKey,
}

impl TrackingId {
    /// The tracking id of an object of an application.
    pub fn new(instance: &str, key: &ResourceKey, destination_namespace: &str) -> Self {
        let mut key = key.clone();
        if key.namespace.is_empty() {
            destination_namespace.clone_into(&mut key.namespace);
        }
        Self {
            instance: instance.to_owned(),
            key,
        }
    }

    /// Parses `<app>:<group>/<kind>:<namespace>/<name>`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str =
            "wrong resource tracking format, should be <application-name>:<group>/<kind>:<namespace>/<name>";
        let mut parts = text.splitn(3, ':');
        let (Some(instance), Some(group_kind), Some(namespace_name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(WRONG);
        };
        let (group, kind) = group_kind.split_once('/').ok_or(WRONG)?;
        let (namespace, name) = namespace_name.split_once('/').ok_or(WRONG)?;
        Ok(Self {
            instance: instance.to_owned(),
            key: ResourceKey {
                group: group.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
        })
    }

    /// The application that tracks a live object. An id that describes another object (copied by a controller from its
    /// parent) does not count; a cluster-scoped object may carry any namespace.
    pub fn of_live(object: &Value) -> Option<Self> {
        let id = Self::parse(annotation(object, TRACKING_ID)?).ok()?;
        let own = ResourceKey::of(object);
        let same = id.key.group == own.group
            && id.key.kind == own.kind
            && id.key.name == own.name
            && (own.namespace.is_empty() || own.namespace == id.key.namespace);
        same.then_some(id)
    }
}

impl fmt::Display for TrackingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, key } = self;
        write!(
            f,
            "{instance}:{}/{}:{}/{}",
            key.group, key.kind, key.namespace, key.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(api_version: &str, kind: &str, namespace: Option<&str>, id: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind,
               "metadata": {"name": "web", "namespace": namespace, "annotations": {TRACKING_ID: id}}})
    }

    #[test]
    fn tracking_ids_round_trip() {
        let key = ResourceKey {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "ns".into(),
            name: "a:b".into(),
        };
        let id = TrackingId::new("team_app", &key, "dest");
        assert_eq!(id.to_string(), "team_app:apps/Deployment:ns/a:b");
        assert_eq!(TrackingId::parse(&id.to_string()), Ok(id));
        assert!(
            TrackingId::parse("app")
                .unwrap_err()
                .starts_with("wrong resource tracking format")
        );
    }

    #[test]
    fn cluster_scoped_objects_carry_the_destination_namespace() {
        let key = ResourceKey {
            group: "rbac.authorization.k8s.io".into(),
            kind: "ClusterRole".into(),
            ..Default::default()
        };
        assert_eq!(TrackingId::new("a", &key, "dest").key.namespace, "dest");
    }

    #[test]
    fn only_an_id_that_describes_its_object_counts() {
        for (object, owner) in [
            (object("v1", "Service", Some("ns"), "app:/Service:ns/web"), Some("app")),
            (
                object(
                    "discovery.k8s.io/v1",
                    "EndpointSlice",
                    Some("ns"),
                    "app:/Service:ns/web",
                ),
                None,
            ),
            (object("v1", "Service", Some("other"), "app:/Service:ns/web"), None),
            (object("v1", "Namespace", None, "app:/Namespace:ns/web"), Some("app")),
            (object("v1", "Service", Some("ns"), "nonsense"), None),
        ] {
            assert_eq!(
                TrackingId::of_live(&object).map(|id| id.instance).as_deref(),
                owner,
                "{object}"
            );
        }
    }

    #[test]
    fn instances_name_their_namespace_only_outside_the_control_plane() {
        assert_eq!(instance_name("argocd", "a", "argocd"), "a");
        assert_eq!(instance_name("team", "a", "argocd"), "team_a");
        assert_eq!(instance_parts("team_a", "argocd"), ("team", "a"));
        assert_eq!(instance_parts("a", "argocd"), ("argocd", "a"));
    }
}
