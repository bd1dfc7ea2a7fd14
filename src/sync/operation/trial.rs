//! A server-side dry run of everything an attempt is going to write, before the first write: one object that the API
//! server refuses then fails the sync before any other is changed (reference, applications 2.4).
//!
//! The answers leave no trace unless they are refusals, so the trial goes out together with the first step, and again
//! after a crash in between.

use super::{Desired, View, hook_work, record, tasks};
use crate::sync::{
    order::{Effort, Task},
    resource::{ResourceKey, text},
    work::{Apply, Deed, Work},
};
use std::sync::Arc;

/// What is tried; nothing when something was done in this attempt, or when there is only one write, which is its own
/// trial.
pub(super) fn works(view: &View<'_>, desired: Desired<'_>, tasks: &[&Task<'_>]) -> Vec<Work> {
    if view.sync.dry_run || !record::is_untouched(view.state) {
        return Vec::new();
    }
    let writes: Vec<(&Task<'_>, Work, Apply)> = tasks
        .iter()
        .filter(|task| task.effort == Effort::Apply)
        .filter_map(|task| {
            let work = tasks::apply_work(view, task);
            let Deed::Apply(apply) = work.deed.clone() else {
                return None;
            };
            Some((*task, work, apply))
        })
        .collect();
    let deletes = tasks.iter().any(|task| task.effort == Effort::Prune);
    if writes.len() < 2 && !deletes {
        return Vec::new();
    }
    let pending: Arc<[String]> = writes
        .iter()
        .filter(|(task, ..)| task.comparison.live.is_none())
        .map(|(task, ..)| task.key().name.clone())
        .collect();
    writes
        .into_iter()
        .filter(|(task, ..)| can_be_tried(view, desired, task))
        .map(|(_, work, apply)| Work {
            deed: Deed::Try {
                apply: Apply {
                    dry_run: true,
                    guard: None,
                    ..apply
                },
                pending: Arc::clone(&pending),
            },
            ..work
        })
        .collect()
}

/// Whether the API server can judge an object before the rest of the sync is there.
fn can_be_tried(view: &View<'_>, desired: Desired<'_>, task: &Task<'_>) -> bool {
    let key = task.key();
    let brings = |kind: &str, pointer: &str, value: &str| {
        desired
            .targets
            .resources
            .iter()
            .any(|(other, object)| other.kind == kind && text(object, pointer) == value)
    };
    let namespace = ResourceKey {
        kind: "Namespace".into(),
        name: key.namespace.clone(),
        ..ResourceKey::default()
    };
    let has_own_definition = desired
        .targets
        .resources
        .values()
        .any(|object| tasks::defines(object, key));
    let lacks_namespace = !view.live.contains_key(&namespace) && brings("Namespace", "/metadata/name", &key.namespace);
    let is_served = task
        .comparison
        .target
        .as_deref()
        .is_some_and(|target| view.kinds.serves(text(target, "/apiVersion"), &key.kind));
    is_served
        && !has_own_definition
        && !lacks_namespace
        && !task.comparison.options.skip_dry_run_on_missing_resource
        && (!task.is_hook || hook_work::stale(view, task).is_none())
}
