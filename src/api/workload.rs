//! What `spec.workloadRef` can name (reference, rollouts 1.1 and 4.10): Deployments, ReplicaSets and `PodTemplate`s, as far
//! as a Rollout needs them.
//!
//! Every object of a kind is held once one of them is named, so the pod template is kept as compact text: parsed, it
//! would take several times the memory, and it is read for the few objects that are named.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::{borrow::Cow, fmt};

/// A kind that can be named.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum WorkloadKind {
    /// `apps` Deployment; the only one that is scaled down.
    Deployment,
    /// `apps` ReplicaSet.
    ReplicaSet,
    /// Core `PodTemplate`.
    PodTemplate,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::ReplicaSet, Self::PodTemplate];

    /// The kind of an `apiVersion`, of which the group alone counts, and a `kind`.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::ALL
            .into_iter()
            .find(|known| known.group() == group && known.kind() == kind)
    }

    /// API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::ReplicaSet => "apps",
            Self::PodTemplate => "",
        }
    }

    /// The `apiVersion` under which it is read and written.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::ReplicaSet => "apps/v1",
            Self::PodTemplate => "v1",
        }
    }

    /// Kind, in the singular and capitalised.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::PodTemplate => "PodTemplate",
        }
    }

    /// Name in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::PodTemplate => "podtemplates",
        }
    }

    /// Name as the API server says it in messages, for instance `deployments.apps`.
    pub fn resource(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// An object of one of these kinds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Standard object metadata.
    pub metadata: ObjectMeta,
    /// What is wanted; of a `PodTemplate` empty.
    pub spec: WorkloadSpec,
    /// The pod template of a `PodTemplate`.
    pub template: Option<TemplateText>,
    /// What the controller of its kind found.
    pub status: WorkloadStatus,
}

/// `spec` of a Deployment or ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkloadSpec {
    /// Pods wanted; absent means 1.
    pub replicas: Option<i32>,
    /// Selects its pods.
    pub selector: Option<LabelSelector>,
    /// The pod template.
    pub template: Option<TemplateText>,
}

/// `status` of a Deployment.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// Pods ready for at least `minReadySeconds`.
    pub available_replicas: i32,
    /// Generation this status describes.
    pub observed_generation: i64,
}

/// A pod template as JSON text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TemplateText(Box<str>);

impl<'de> Deserialize<'de> for TemplateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let template = Value::deserialize(deserializer)?;
        Ok(Self(template.to_string().into_boxed_str()))
    }
}

impl Workload {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The pod template, as it is stored.
    pub fn pod_template(&self) -> Option<Value> {
        let text = self.spec.template.as_ref().or(self.template.as_ref())?;
        serde_json::from_str(&text.0).ok()
    }

    /// `metadata.generation`; 0 for kinds without one.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or(0)
    }

    /// Pods wanted.
    pub fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1).max(0)
    }

    /// Whether the status is about the specification as read, so that its numbers can be counted on.
    pub fn status_is_current(&self) -> bool {
        self.status.observed_generation >= self.generation()
    }
}

impl kube::Resource for Workload {
    type DynamicType = WorkloadKind;
    // The kind is known at run time only, and so, to the client, the scope.
    type Scope = kube::core::DynamicResourceScope;

    fn kind(kind: &WorkloadKind) -> Cow<'_, str> {
        WorkloadKind::kind(*kind).into()
    }
    fn group(kind: &WorkloadKind) -> Cow<'_, str> {
        WorkloadKind::group(*kind).into()
    }
    fn version(_: &WorkloadKind) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural(kind: &WorkloadKind) -> Cow<'_, str> {
        WorkloadKind::plural(*kind).into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_group_counts_and_not_the_version() {
        let kinds = [
            ("apps/v1", "Deployment"),
            ("apps/v1beta2", "ReplicaSet"),
            ("v1", "PodTemplate"),
        ];
        let found: Vec<_> = kinds
            .iter()
            .map(|(version, kind)| WorkloadKind::of(version, kind))
            .collect();
        assert_eq!(found, WorkloadKind::ALL.map(Some));
        let others = [
            ("v1", "Deployment"),
            ("apps/v1", "PodTemplate"),
            ("apps/v1", "StatefulSet"),
        ];
        assert!(
            others
                .iter()
                .all(|(version, kind)| WorkloadKind::of(version, kind).is_none())
        );
    }

    #[test]
    fn templates_are_found_where_each_kind_has_them() {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
        for object in [json!({"spec": {"template": template}}), json!({"template": template})] {
            let workload: Workload = serde_json::from_value(object).unwrap();
            assert_eq!(workload.pod_template(), Some(template.clone()));
        }
    }
}
