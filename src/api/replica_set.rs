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
