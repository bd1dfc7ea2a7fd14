//! Deletion of an application with the resources finalizer: its objects first, the highest wave first
//! (reference, applications 1.7).

use super::{
    compare::LiveObjects,
    operation,
    options::AppOptions,
    order::Phase,
    prune,
    resource::{ResourceKey, TrackingId, annotation, is_deleting, text},
    target,
    work::{Deed, Work},
};
use crate::{
    api::{
        GROUP,
        application::Application,
        well_known::{RESOURCES_FINALIZER, RESOURCES_FINALIZER_BACKGROUND, RESOURCES_FINALIZER_FOREGROUND},
    },
    plan::Propagation,
};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

const OURS: &[&str] = &[
    RESOURCES_FINALIZER,
    RESOURCES_FINALIZER_FOREGROUND,
    RESOURCES_FINALIZER_BACKGROUND,
];
const DELETION_APPROVED: &str = "argocd.argoproj.io/deletion-approved";
const HELM_POLICY: &str = "helm.sh/resource-policy";

/// What a deletion needs now.
#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// No finalizer of ours: the objects stay, and nothing is to be done.
    NotOurs,
    /// Delete these.
    Delete(Vec<Work>),
    /// Wait until these are gone; the text names them.
    Await(String),
    /// Everything is gone: take our finalizers off and leave these.
    Release(Vec<String>),
}

/// Decides on the next step of a deletion.
pub fn plan(app: &Application, instance: &str, live: &LiveObjects, now: Timestamp) -> Deletion {
    let finalizers = app.metadata.finalizers.clone().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| OURS.contains(&finalizer.as_str())) {
        return Deletion::NotOurs;
    }
    let rest = || {
        finalizers
            .iter()
            .filter(|finalizer| !OURS.contains(&finalizer.as_str()))
            .cloned()
            .collect()
    };
    let in_background = finalizers
        .iter()
        .any(|finalizer| finalizer == RESOURCES_FINALIZER_BACKGROUND);
    let propagation = if in_background {
        Propagation::Background
    } else {
        Propagation::Foreground
    };
    let options = AppOptions::parse(
        app.spec
            .sync_policy
            .as_ref()
            .map_or(&[], |policy| policy.sync_options.as_slice()),
    );
    let since = app.metadata.deletion_timestamp.as_ref().map_or(now, |at| at.0);
    let approved = app
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(DELETION_APPROVED))
        .map(String::as_str);
    let is_approved = prune::is_approved(approved, since);
    let doomed: Vec<(&ResourceKey, &Arc<Value>)> = live
        .iter()
        .filter(|(key, object)| {
            TrackingId::of_live(object).is_some_and(|id| id.instance == instance)
                && !is_spared(app, key, object, &options)
        })
        .collect();
    let Some(wave) = doomed.iter().map(|(_, object)| target::wave(object)).max() else {
        return Deletion::Release(rest());
    };
    let now_due: Vec<(&ResourceKey, &Arc<Value>)> = doomed
        .into_iter()
        .filter(|(_, object)| target::wave(object) == wave)
        .collect();
    let blocked: Vec<&ResourceKey> = now_due
        .iter()
        .filter(|(_, object)| options.of_object(object).delete_confirm && !is_approved && !is_deleting(object))
        .map(|(key, _)| *key)
        .collect();
    let works: Vec<Work> = now_due
        .iter()
        .filter(|(key, object)| !is_deleting(object) && !blocked.contains(key))
        .map(|(key, object)| Work {
            key: (*key).clone(),
            api_version: text(object, "/apiVersion").to_owned(),
            phase: Phase::Sync,
            is_hook: false,
            deed: Deed::Delete {
                precondition: operation::tasks::identity(object),
                propagation,
                is_preparation: false,
            },
        })
        .collect();
    if !works.is_empty() {
        return Deletion::Delete(works);
    }
    if let Some(first) = blocked.first() {
        return Deletion::Await(format!(
            "waiting for deletion confirmation of {} (annotate the application with {DELETION_APPROVED})",
            first.short()
        ));
    }
    let names: Vec<String> = now_due.iter().take(3).map(|(key, _)| key.short()).collect();
    Deletion::Await(format!("waiting for deletion of {}", names.join(", ")))
}

/// Objects that outlive the application.
fn is_spared(app: &Application, key: &ResourceKey, object: &Value, options: &AppOptions) -> bool {
    let is_self = key.group == GROUP
        && key.kind == "Application"
        && app.metadata.name.as_deref() == Some(&key.name)
        && app.metadata.namespace.as_deref() == Some(&key.namespace);
    is_self
        || key.kind == "CustomResourceDefinition"
        || options.of_object(object).delete_never
        || annotation(object, HELM_POLICY) == Some("keep")
}

#[cfg(test)]
mod tests;
