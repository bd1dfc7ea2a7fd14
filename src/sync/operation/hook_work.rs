//! Hooks of an operation: their objects, what makes way for them, what lets them go, and what deletes them at the end.

use super::{State, Step, View, record, tasks::identity};
use crate::{
    plan::Propagation,
    sync::{
        compare::{Comparison, LiveObjects, SyncCode},
        diff::foreign,
        health,
        hooks::{self, Role},
        options::AppOptions,
        order::{Phase, Task},
        resource::{ResourceKey, is_deleting, text, version_of},
        target,
        work::{Deed, Work},
    },
};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Comparisons of hooks, with their names in this operation; to be appended to those of resources.
pub fn comparisons(
    hooks: &[Arc<Value>],
    revision: &str,
    started: Timestamp,
    live: &LiveObjects,
    options: &AppOptions,
) -> Vec<Comparison> {
    let mut found = Vec::new();
    for hook in hooks {
        let Role::Hook(phases) = hooks::role(hook) else {
            continue;
        };
        for phase in phases.into_iter().filter(|phase| phase.is_of_sync()) {
            let Some(object) = hooks::object(hook, revision, phase, started) else {
                continue;
            };
            let key = ResourceKey::of(&object);
            if found.iter().any(|comparison: &Comparison| comparison.key == key) {
                continue;
            }
            let current = live.get(&key).cloned();
            let target = Arc::new(object);
            found.push(Comparison {
                version: version_of(text(&target, "/apiVersion")).to_owned(),
                prepared: Some(foreign::prepare(&target, None, false, None)),
                health: current.as_deref().and_then(health::of_object),
                live: current,
                sync: SyncCode::Synced,
                differences: Vec::new(),
                needs_dry_run: false,
                counts: false,
                wave: target::wave(&target),
                options: options.of_object(&target),
                prune_last: false,
                is_hook: true,
                shared_with: None,
                target: Some(target),
                key,
            });
        }
    }
    found
}

/// The deletion that makes way for a hook, when an object of its name is left from an earlier operation.
pub(super) fn stale(view: &View<'_>, task: &Task<'_>) -> Option<Work> {
    let live = task.comparison.live.as_deref()?;
    let target = task.comparison.target.as_deref()?;
    let attempt = view
        .state
        .attempt_started_at
        .as_ref()
        .or(view.state.started_at.as_ref());
    let started = attempt.map(|at| at.0.as_second());
    let created = text(live, "/metadata/creationTimestamp")
        .parse::<Timestamp>()
        .ok()
        .map(|at| at.as_second());
    // What was created since this attempt began is its own hook: a crash between creating and recording it must not
    // run it twice (guarantee C4).
    let is_own = started.is_some_and(|started| created.is_some_and(|created| created >= started)) && !is_deleting(live);
    if is_own || !hooks::delete_policies(target).before_creation {
        return None;
    }
    Some(Work {
        key: task.key().clone(),
        api_version: text(live, "/apiVersion").to_owned(),
        phase: task.phase,
        is_hook: true,
        deed: Deed::Delete {
            precondition: identity(live),
            propagation: Propagation::Foreground,
            is_preparation: true,
        },
    })
}

/// Takes our finalizer off the hooks that are known to have ended, and off those of an earlier attempt that are being
/// deleted: nobody waits for their end, and a crash may have come between their deletion and their release
/// (guarantee C4).
pub(super) fn releases(view: &View<'_>, tasks: &[&Task<'_>]) -> Vec<Work> {
    let release_of = |task: &&Task<'_>| {
        let live = task.comparison.live.as_deref()?;
        let may_go = match record::state_of(view.state, task) {
            State::Succeeded | State::Failed => true,
            State::Pending => is_deleting(live),
            State::Running | State::Pruned => false,
        };
        may_go.then(|| release(task.key(), live, task.phase)).flatten()
    };
    tasks
        .iter()
        .filter(|task| task.is_hook)
        .filter_map(release_of)
        .collect()
}

/// Takes our finalizer off hooks that no operation looks at.
pub fn left_behind(comparisons: &[Comparison]) -> Vec<Work> {
    comparisons
        .iter()
        .filter(|comparison| comparison.is_hook)
        .filter_map(|comparison| release(&comparison.key, comparison.live.as_deref()?, Phase::Sync))
        .collect()
}

fn release(key: &ResourceKey, live: &Value, phase: Phase) -> Option<Work> {
    hooks::is_held(live).then(|| Work {
        key: key.clone(),
        api_version: text(live, "/apiVersion").to_owned(),
        phase,
        is_hook: true,
        deed: Deed::Release,
    })
}

/// At the end of an operation: deletes the hooks whose policy says so, each by its own outcome.
pub(super) fn farewell(view: &View<'_>, tasks: &[&Task<'_>]) -> Option<Step> {
    let works: Vec<Work> = tasks
        .iter()
        .filter(|task| task.is_hook && !record::was_refused(view.state, task))
        .filter_map(|task| {
            let live = task.comparison.live.as_deref().filter(|live| !is_deleting(live))?;
            let policies = hooks::delete_policies(task.comparison.target.as_deref()?);
            let wanted = match record::state_of(view.state, task) {
                State::Succeeded => policies.on_success,
                State::Failed => policies.on_failure,
                State::Pending | State::Running | State::Pruned => false,
            };
            wanted.then(|| delete(task.key(), live, task.phase))
        })
        .collect();
    (!works.is_empty()).then(|| Step::Work(vec![works]))
}

/// Deletes a hook, whatever comes of it is no result of the operation.
pub fn delete(key: &ResourceKey, live: &Value, phase: Phase) -> Work {
    Work {
        key: key.clone(),
        api_version: text(live, "/apiVersion").to_owned(),
        phase,
        is_hook: true,
        deed: Deed::Delete {
            precondition: identity(live),
            propagation: Propagation::Foreground,
            is_preparation: true,
        },
    }
}
