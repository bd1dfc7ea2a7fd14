//! Deletion of an application that carries finalizers of ours: PreDelete hooks, its objects with the highest wave first,
//! PostDelete hooks, and then the hooks themselves (reference, applications 1.7).
//!
//! The memory is the list of finalizers: each is taken off when its part is done.

mod hooks_of_deletion;

use super::{
    compare::LiveObjects,
    kinds::Kinds,
    operation::{self, waiting::held_by},
    options::AppOptions,
    order::Phase,
    project::Project,
    prune,
    resource::{ResourceKey, TrackingId, annotation, is_deleting, text},
    target::{self, TargetSet},
    waits::{Wait, WaitLimits, Waiter, span},
    work::{Deed, Work},
};
use crate::{
    api::{
        GROUP,
        application::Application,
        well_known::{
            POST_DELETE_FINALIZER, POST_DELETE_FINALIZER_CLEANUP, PRE_DELETE_FINALIZER, PRE_DELETE_FINALIZER_CLEANUP,
            RESOURCES_FINALIZER, RESOURCES_FINALIZER_BACKGROUND, RESOURCES_FINALIZER_FOREGROUND,
        },
    },
    plan::Propagation,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::Arc;

const OF_RESOURCES: &[&str] = &[
    RESOURCES_FINALIZER,
    RESOURCES_FINALIZER_FOREGROUND,
    RESOURCES_FINALIZER_BACKGROUND,
];
const OF_CLEANUP: &[&str] = &[PRE_DELETE_FINALIZER_CLEANUP, POST_DELETE_FINALIZER_CLEANUP];
const DELETION_APPROVED: &str = "argocd.argoproj.io/deletion-approved";
const HELM_POLICY: &str = "helm.sh/resource-policy";
/// A wait shorter than this is told to nobody: most deletions are over by then.
const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// Everything a step of a deletion is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Deleting<'a> {
    /// The application.
    pub app: &'a Application,
    /// Its name in tracking ids.
    pub instance: &'a str,
    /// Whether its destination is a cluster we serve; nothing was ever written to another one.
    pub is_served: bool,
    /// What it tracks, and what its hooks name.
    pub live: &'a LiveObjects,
    /// What its source says, for the hooks; asked for only where [`needs_hooks`] says so.
    pub targets: Result<&'a TargetSet, &'a str>,
    /// The commit of `targets`, by which hooks are named.
    pub revision: &'a str,
    /// What the project permits.
    pub project: Project<'a>,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// How long anything is waited for.
    pub limits: WaitLimits,
    /// Present moment.
    pub now: Timestamp,
}

/// What a deletion needs now.
#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// No finalizer of ours: the objects stay, and nothing is to be done.
    NotOurs,
    /// Do this.
    Work(Vec<Work>),
    /// A hook of the deletion failed: do this, say why, and try again later.
    Again(Vec<Work>, String),
    /// Wait.
    Await(Waiting),
    /// A part is done: leave only these finalizers.
    Release(Vec<String>),
}

/// What a deletion waits for (guarantee D6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// In words, with its times.
    pub message: String,
    /// Whether it is worth a condition by now.
    pub is_told: bool,
    /// Whether its time is up: then the condition is an error. A deletion is never given up.
    pub is_overdue: bool,
}

impl Deleting<'_> {
    fn finalizers(&self) -> &[String] {
        self.app.metadata.finalizers.as_deref().unwrap_or_default()
    }

    fn has(&self, any_of: &[&str]) -> bool {
        self.finalizers()
            .iter()
            .any(|finalizer| any_of.contains(&finalizer.as_str()))
    }

    fn without(&self, gone: &[&str]) -> Deletion {
        let rest = self.finalizers().iter();
        Deletion::Release(
            rest.filter(|finalizer| !gone.contains(&finalizer.as_str()))
                .cloned()
                .collect(),
        )
    }

    /// When the deletion was asked for.
    fn since(&self) -> Timestamp {
        self.app
            .metadata
            .deletion_timestamp
            .as_ref()
            .map_or(self.now, |at| at.0)
    }

    fn wait(&self, waiter: Waiter, since: Timestamp, what: &str) -> Deletion {
        let wait = Wait::new(waiter, since, self.limits);
        let message = match wait.expired(self.now) {
            Some(limit) => format!("{what}, for longer than {}", span(limit)),
            None => wait.told(what),
        };
        Deletion::Await(Waiting {
            message,
            is_told: self.now.duration_since(since) >= QUIET,
            is_overdue: wait.expired(self.now).is_some(),
        })
    }
}

/// Whether the next steps of a deletion need what the source says.
pub fn needs_hooks(app: &Application) -> bool {
    let finalizers = app.metadata.finalizers.iter().flatten();
    finalizers
        .into_iter()
        .any(|finalizer| finalizer == PRE_DELETE_FINALIZER || finalizer == POST_DELETE_FINALIZER)
}

/// The finalizers of an application with such hooks, where they are not as they should be.
pub fn wanted_finalizers(app: &Application, targets: &TargetSet) -> Option<Vec<String>> {
    let mut finalizers = app.metadata.finalizers.clone().unwrap_or_default();
    let before = finalizers.clone();
    for (phase, own) in [
        (Phase::PreDelete, [PRE_DELETE_FINALIZER, PRE_DELETE_FINALIZER_CLEANUP]),
        (
            Phase::PostDelete,
            [POST_DELETE_FINALIZER, POST_DELETE_FINALIZER_CLEANUP],
        ),
    ] {
        let is_wanted = targets.hooks.iter().any(|hook| super::hooks::runs_in(hook, phase));
        if is_wanted {
            let missing = own.into_iter().filter(|own| !before.iter().any(|has| has == own));
            finalizers.extend(missing.map(str::to_owned));
        } else {
            finalizers.retain(|finalizer| !own.contains(&finalizer.as_str()));
        }
    }
    (finalizers != before).then_some(finalizers)
}

/// Decides on the next step of a deletion.
pub fn plan(deleting: &Deleting<'_>) -> Deletion {
    let hooks: &[&str] = &[PRE_DELETE_FINALIZER, POST_DELETE_FINALIZER];
    let ours = [OF_RESOURCES, OF_CLEANUP, hooks].concat();
    if !deleting.has(&ours) {
        return Deletion::NotOurs;
    }
    if !deleting.is_served {
        return deleting.without(&ours);
    }
    if deleting.has(&[PRE_DELETE_FINALIZER]) {
        return hooks_of_deletion::next(deleting, Phase::PreDelete)
            .unwrap_or_else(|| deleting.without(&[PRE_DELETE_FINALIZER]));
    }
    if deleting.has(OF_RESOURCES) {
        return resources(deleting).unwrap_or_else(|| deleting.without(OF_RESOURCES));
    }
    if deleting.has(&[POST_DELETE_FINALIZER]) {
        return hooks_of_deletion::next(deleting, Phase::PostDelete)
            .unwrap_or_else(|| deleting.without(&[POST_DELETE_FINALIZER]));
    }
    hooks_of_deletion::cleanup(deleting).unwrap_or_else(|| deleting.without(OF_CLEANUP))
}

/// The next step of deleting the objects; `None` when they are gone.
fn resources(deleting: &Deleting<'_>) -> Option<Deletion> {
    let Deleting {
        app,
        instance,
        live,
        now: _,
        ..
    } = *deleting;
    let propagation = if deleting.has(&[RESOURCES_FINALIZER_BACKGROUND]) {
        Propagation::Background
    } else {
        Propagation::Foreground
    };
    let options = AppOptions::parse(super::validate::sync_options(&app.spec));
    let approved = app
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(DELETION_APPROVED))
        .map(String::as_str);
    let is_approved = prune::is_approved(approved, deleting.since());
    let doomed: Vec<(&ResourceKey, &Arc<Value>)> = live
        .iter()
        .filter(|(key, object)| {
            TrackingId::of_live(object).is_some_and(|id| id.instance == instance)
                && !is_spared(app, key, object, &options)
                && is_permitted(deleting, key)
        })
        .collect();
    let wave = doomed.iter().map(|(_, object)| target::wave(object)).max()?;
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
        return Some(Deletion::Work(works));
    }
    if let Some(first) = blocked.first() {
        let what = format!(
            "waiting for deletion confirmation of {} (annotate the application with {DELETION_APPROVED})",
            first.short()
        );
        return Some(deleting.wait(Waiter::Approval, deleting.since(), &what));
    }
    Some(await_gone(deleting, &now_due))
}

/// Waits until objects are gone whose deletion has begun.
fn await_gone(deleting: &Deleting<'_>, leaving: &[(&ResourceKey, &Arc<Value>)]) -> Deletion {
    /// Objects named; more would only be longer.
    const NAMED_MAX: usize = 3;
    let begun = |object: &Value| text(object, "/metadata/deletionTimestamp").parse::<Timestamp>().ok();
    let since = leaving.iter().filter_map(|(_, object)| begun(object)).min();
    let names: Vec<String> = leaving
        .iter()
        .take(NAMED_MAX)
        .map(|(key, object)| format!("{}{}", key.short(), held_by(Some(object.as_ref()))))
        .collect();
    let what = format!("waiting for deletion of {}", names.join("; "));
    deleting.wait(Waiter::Progress, since.unwrap_or_else(|| deleting.since()), &what)
}

/// Deleting is writing (guarantee S7): what the project does not permit was never ours to delete, even if it says so
/// itself. A project that is gone forbids nothing any more.
fn is_permitted(deleting: &Deleting<'_>, key: &ResourceKey) -> bool {
    match deleting.project {
        Project::Everything | Project::Missing { .. } => true,
        Project::Limited { .. } => deleting.project.refuses(key, deleting.kinds).is_none(),
    }
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
