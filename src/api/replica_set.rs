//! ReplicaSet as we need it: the pod template stays raw JSON, so that comparing and copying it loses nothing.

use super::{scalar, wire};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// `apps/v1` ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSet {
    /// Standard object metadata.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: ReplicaSetSpec,
    /// What the ReplicaSet controller found.
    pub status: ReplicaSetStatus,
}

wire! {
    /// `ReplicaSet.spec`.
    pub struct ReplicaSetSpec {
        /// Pods wanted; absent means 1.
        pub replicas: Option<i32>,
        /// Seconds a pod must be ready before it counts as available.
        pub min_ready_seconds: i32,
        /// Selects its pods.
        #[schemars(schema_with = "scalar::label_selector")]
        pub selector: LabelSelector,
        /// The pod template, raw.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Value,
    }

    /// `ReplicaSet.status`.
    pub struct ReplicaSetStatus {
        /// Pods that exist.
        pub replicas: i32,
        /// Ready pods.
        pub ready_replicas: i32,
        /// Pods ready for at least `minReadySeconds`.
        pub available_replicas: i32,
        /// Generation this status describes.
        pub observed_generation: i64,
        /// Conditions, for instance `ReplicaFailure`.
        pub conditions: Vec<ReplicaSetCondition>,
    }

    /// One condition.
    pub struct ReplicaSetCondition {
        /// Its type.
        pub r#type: String,
        /// `True`, `False` or `Unknown`.
        pub status: String,
        /// One `CamelCase` word.
        pub reason: String,
        /// In words.
        pub message: String,
        /// Last time it changed.
        #[schemars(schema_with = "scalar::time")]
        pub last_transition_time: Option<Time>,
    }
}

impl kube::Resource for ReplicaSet {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ReplicaSet".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "apps".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "replicasets".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl ReplicaSet {
    /// `metadata.name`, or nothing for an object that was never stored.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The pod-template-hash label; empty when absent.
    pub fn pod_hash(&self) -> &str {
        self.label(super::well_known::POD_TEMPLATE_HASH).unwrap_or_default()
    }

    /// A label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The revision annotation; 0 when absent or not a number.
    pub fn revision(&self) -> i64 {
        self.annotation(super::well_known::REVISION)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// Pods wanted.
    pub fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Available pods that this specification keeps: a status that lags behind a scale-down must not count pods that
    /// are already on their way out.
    pub fn available(&self) -> i32 {
        self.status.available_replicas.min(self.replicas())
    }

    /// When it is to be scaled to zero; absent when no or no readable deadline is set.
    pub fn scale_down_deadline(&self) -> Option<jiff::Timestamp> {
        self.annotation(super::well_known::SCALE_DOWN_DEADLINE)?.parse().ok()
    }

    /// `metadata.uid` of the controlling owner.
    pub fn controller_uid(&self) -> Option<&str> {
        let owners = self.metadata.owner_references.as_ref()?;
        owners
            .iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.as_str())
    }
}
