//! Health of one live object (reference, applications 5.1 and 5.2), and of an application (5.6).
//!
//! A status older than what was applied is never healthy (guarantee S4): every kind that publishes an observed
//! generation is judged by it first.

mod analysis;
mod api_service;
mod application;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod horizontal_pod_autoscaler;
mod ingress;
mod job;
mod persistent_volume_claim;
mod pod;
mod replica_set;
mod rollout;
mod service;
mod stateful_set;
mod workflow;
pub mod worst;

use super::resource::{annotation, group_of, is_deleting, number, text, version_of};
use crate::{api::well_known::HOOK, json::At as _};
use serde_json::Value;

/// How well something is, best first.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Code {
    /// It does what it should.
    Healthy,
    /// It waits for somebody.
    Suspended,
    /// It is on its way.
    Progressing,
    /// It is not there.
    Missing,
    /// It failed.
    Degraded,
    /// It could not be judged.
    #[default]
    Unknown,
}

impl Code {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }

    /// The inverse of [`Code::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Healthy,
            Self::Suspended,
            Self::Progressing,
            Self::Missing,
            Self::Degraded,
            Self::Unknown,
        ]
        .into_iter()
        .find(|code| code.name() == name)
    }
}

/// A judgement with its reason.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// How well.
    pub code: Code,
    /// Why; may be empty.
    pub message: String,
}

impl Health {
    /// A judgement with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<Code> for Health {
    fn from(code: Code) -> Self {
        Self {
            code,
            message: String::new(),
        }
    }
}

/// Finalizer on hook objects: they may be seen deleting and still be judged.
pub const HOOK_FINALIZER: &str = "argocd.argoproj.io/hook-finalizer";

/// Judges a live object; `None` when its kind has no check.
pub fn of_object(object: &Value) -> Option<Health> {
    let held_for_hook = object
        .at("/metadata/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == HOOK_FINALIZER));
    if is_deleting(object) && !held_for_hook {
        return Some(Health::new(Code::Progressing, "Pending deletion"));
    }
    let api_version = text(object, "/apiVersion");
    let (group, version, kind) = (group_of(api_version), version_of(api_version), text(object, "/kind"));
    let only = |versions: &[&str], check: fn(&Value) -> Health| {
        Some(if versions.contains(&version) {
            check(object)
        } else {
            unsupported(kind, api_version)
        })
    };
    match (group, kind) {
        ("apps", "Deployment") => only(&["v1"], deployment::health),
        ("apps", "DaemonSet") => only(&["v1"], daemon_set::health),
        ("apps", "StatefulSet") => only(&["v1"], stateful_set::health),
        ("apps", "ReplicaSet") => only(&["v1"], replica_set::health),
        ("", "Pod") => only(&["v1"], pod::health),
        ("batch", "Job") => only(&["v1"], job::health),
        ("", "Service") => only(&["v1"], service::health),
        ("extensions" | "networking.k8s.io", "Ingress") => Some(ingress::health(object)),
        ("", "PersistentVolumeClaim") => only(&["v1"], persistent_volume_claim::health),
        ("autoscaling", "HorizontalPodAutoscaler") => only(&["v1", "v2"], horizontal_pod_autoscaler::health),
        ("apiregistration.k8s.io", "APIService") => only(&["v1", "v1beta1"], api_service::health),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Some(custom_resource_definition::health(object)),
        ("argoproj.io", "Workflow") => Some(workflow::health(object)),
        ("argoproj.io", "Rollout") => Some(rollout::health(object)),
        ("argoproj.io", "AnalysisRun" | "Experiment") => Some(analysis::health(object)),
        ("argoproj.io", "Application") => Some(application::health(object)),
        _ => None,
    }
}

fn unsupported(kind: &str, api_version: &str) -> Health {
    let (group, version) = (group_of(api_version), version_of(api_version));
    Health::new(
        Code::Unknown,
        format!("unsupported {kind} GVK: {group}/{version}, Kind={kind}"),
    )
}

/// `status.observedGeneration` is older than `metadata.generation`.
fn is_behind(object: &Value) -> bool {
    number(object, "/metadata/generation").unwrap_or(0) > number(object, "/status/observedGeneration").unwrap_or(0)
}

/// A count in the object; absent is 0.
fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

/// `status.conditions[]`.
fn conditions(object: &Value) -> impl Iterator<Item = (&str, &str, &str, &str)> {
    object
        .at("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|condition| {
            (
                text(condition, "/type"),
                text(condition, "/status"),
                text(condition, "/reason"),
                text(condition, "/message"),
            )
        })
}

/// The message of the first condition with this reason.
pub fn condition_message(object: &Value, reason: &str) -> Option<String> {
    conditions(object)
        .find(|(_, _, found, _)| *found == reason)
        .map(|(_, _, _, message)| message.to_owned())
}

fn is_hook(object: &Value) -> bool {
    annotation(object, HOOK).is_some()
}

#[cfg(test)]
mod tests;
