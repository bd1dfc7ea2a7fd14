//! The memory of an operation: `operationState.syncResult.resources`.

use super::{View, ended, phase_of, tasks};
use crate::{
    api::{
        application::Operation,
        application_status::{OperationState, ResourceResult, SyncOperationResult},
        scalar::wire_time,
    },
    plan::Propagation,
    sync::{
        images,
        order::{Effort, Phase, Task},
        resource::{ResourceKey, group_of, text, version_of},
        work::{DRY_RUN, Deed, Report, ResultCode, Work},
    },
};
use jiff::Timestamp;
use serde_json::Value;

/// How far a task is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Not begun.
    Pending,
    /// Applied, and its outcome still open.
    Running,
    /// Done.
    Succeeded,
    /// Refused, or it ended badly.
    Failed,
    /// Deleted.
    Pruned,
}

/// An operation that begins now. `source` says what it is pinned to.
pub fn begin(operation: Operation, source: SyncOperationResult, now: Timestamp) -> OperationState {
    OperationState {
        operation,
        phase: super::OperationPhase::Running.name().to_owned(),
        sync_result: Some(source),
        started_at: Some(wire_time(now)),
        ..OperationState::default()
    }
}

/// Adds what came of a step to the memory.
pub fn record(state: &OperationState, reports: &[Report]) -> OperationState {
    let mut state = state.clone();
    let result = state.sync_result.get_or_insert_with(SyncOperationResult::default);
    for report in reports {
        if let Some(entry) = entry(report) {
            put(&mut result.resources, entry);
        }
    }
    if state.phase == super::OperationPhase::Terminating.name() {
        for report in reports {
            for entry in result
                .resources
                .iter_mut()
                .filter(|entry| is_about(entry, &report.work.key, report.work.phase))
            {
                entry.hook_phase = "Failed".into();
                entry.message = report.outcome.clone().err().unwrap_or_else(|| "Terminated".into());
            }
        }
    }
    state
}

/// Replaces or adds an entry.
pub fn put(entries: &mut Vec<ResourceResult>, entry: ResourceResult) {
    let same = |other: &ResourceResult| {
        (
            &other.group,
            &other.kind,
            &other.namespace,
            &other.name,
            &other.sync_phase,
        ) == (
            &entry.group,
            &entry.kind,
            &entry.namespace,
            &entry.name,
            &entry.sync_phase,
        )
    };
    match entries.iter_mut().find(|other| same(other)) {
        Some(other) => *other = entry,
        None => entries.push(entry),
    }
}

/// The entry of a report; work that only prepares leaves one when it failed.
fn entry(report: &Report) -> Option<ResourceResult> {
    let Report { work, outcome } = report;
    let mut entry = ResourceResult {
        group: group_of(&work.api_version).to_owned(),
        version: version_of(&work.api_version).to_owned(),
        kind: work.key.kind.clone(),
        namespace: work.key.namespace.clone(),
        name: work.key.name.clone(),
        sync_phase: work.phase.name().to_owned(),
        ..ResourceResult::default()
    };
    if work.is_hook {
        work.phase.name().clone_into(&mut entry.hook_type);
    }
    let (code, hook_phase, message) = match (&work.deed, outcome) {
        (Deed::Release, _) | (Deed::Try { .. }, Ok(_)) => return None,
        (Deed::Try { .. }, Err(error)) => (ResultCode::SyncFailed, "Failed", format!("{error}{DRY_RUN}")),
        (_, Err(error)) => (ResultCode::SyncFailed, "Failed", error.clone()),
        (
            Deed::Delete {
                is_preparation: true, ..
            },
            Ok(_),
        ) => return None,
        // The destination namespace is not one of the application's objects.
        (Deed::Apply(_), Ok(_)) if work.phase == Phase::PreSync && !work.is_hook => return None,
        (Deed::Delete { .. }, Ok(message)) => (ResultCode::Pruned, "Succeeded", message.clone()),
        (Deed::Apply(apply), Ok(message)) => {
            entry.images = images::of_object(&apply.body);
            let hook_phase = if apply.dry_run { "Succeeded" } else { "Running" };
            (ResultCode::Synced, hook_phase, message.clone())
        }
        (
            Deed::Note {
                code: ResultCode::Synced,
                message,
            },
            Ok(_),
        ) => (ResultCode::Synced, "Running", message.clone()),
        (Deed::Note { code, message }, Ok(_)) => (*code, "Succeeded", message.clone()),
    };
    code.name().clone_into(&mut entry.status);
    hook_phase.clone_into(&mut entry.hook_phase);
    entry.message = message;
    Some(entry)
}

fn is_about(entry: &ResourceResult, key: &ResourceKey, phase: Phase) -> bool {
    (&entry.group, &entry.kind, &entry.namespace, &entry.name) == (&key.group, &key.kind, &key.namespace, &key.name)
        && phase_of(entry) == phase
}

fn entry_of<'a>(state: &'a OperationState, task: &Task<'_>) -> Option<&'a ResourceResult> {
    state
        .sync_result
        .as_ref()?
        .resources
        .iter()
        .find(|entry| is_about(entry, task.key(), task.phase))
}

/// How far a task is, by the memory alone.
pub(super) fn state_of(state: &OperationState, task: &Task<'_>) -> State {
    let Some(entry) = entry_of(state, task) else {
        return State::Pending;
    };
    match (entry.status.as_str(), entry.hook_phase.as_str()) {
        ("SyncFailed", _) | (_, "Failed" | "Error") => State::Failed,
        ("Pruned", _) => State::Pruned,
        (_, "Running") => State::Running,
        _ => State::Succeeded,
    }
}

/// The entry of a task that failed for a reason of ours.
pub(super) fn failed(state: &OperationState, task: &Task<'_>, message: String) -> ResourceResult {
    let key = task.key();
    let mut entry = entry_of(state, task).cloned().unwrap_or_else(|| ResourceResult {
        group: key.group.clone(),
        version: task.comparison.version.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        hook_type: if task.is_hook {
            task.phase.name().to_owned()
        } else {
            String::new()
        },
        sync_phase: task.phase.name().to_owned(),
        status: ResultCode::SyncFailed.name().to_owned(),
        ..ResourceResult::default()
    });
    entry.hook_phase = "Failed".into();
    entry.message = message;
    entry
}

/// Whether an object could not be written, or not be deleted.
pub(super) fn was_refused(state: &OperationState, task: &Task<'_>) -> bool {
    entry_of(state, task).is_some_and(|entry| entry.status == ResultCode::SyncFailed.name())
}

/// Whether nothing was done yet in this attempt.
pub fn is_untouched(state: &OperationState) -> bool {
    state
        .sync_result
        .as_ref()
        .is_none_or(|result| result.resources.is_empty())
}

/// Entries of tasks that failed, in task order.
pub(super) fn failures<'a>(state: &'a OperationState, tasks: &[Task<'_>]) -> Vec<&'a ResourceResult> {
    let of_tasks = tasks
        .iter()
        .filter(|task| state_of(state, task) == State::Failed)
        .filter_map(|task| entry_of(state, task));
    let mut found: Vec<&ResourceResult> = of_tasks.collect();
    // The namespace has an entry only when it could not be made.
    let namespace = state
        .sync_result
        .iter()
        .flat_map(|result| &result.resources)
        .filter(|entry| {
            entry.kind == "Namespace"
                && entry.sync_phase == Phase::PreSync.name()
                && entry.hook_type.is_empty()
                && entry.status == "SyncFailed"
        });
    found.extend(namespace);
    found
}

/// Entries to be replaced because a running task has ended by now. Without hooks and with one step only, nothing is
/// judged: such a sync is over once everything was applied.
pub(super) fn reassess(view: &View<'_>, tasks: &[Task<'_>]) -> Vec<ResourceResult> {
    let mut steps: Vec<(Phase, i64)> = tasks.iter().map(Task::step).collect();
    steps.dedup();
    let is_multi_step = steps.len() > 1;
    let last = steps.last().copied();
    let mut updated = Vec::new();
    for task in tasks
        .iter()
        .filter(|task| task.effort == Effort::Apply && state_of(view.state, task) == State::Running)
    {
        if !task.is_hook && (!is_multi_step || Some(task.step()) == last) {
            continue;
        }
        let outcome = ended(task.is_hook, task.comparison.live.as_deref(), task.key());
        let (Some(outcome), Some(entry)) = (outcome, entry_of(view.state, task)) else {
            continue;
        };
        let mut entry = entry.clone();
        match outcome {
            Ok(message) => {
                entry.hook_phase = "Succeeded".into();
                if task.is_hook && !message.is_empty() {
                    entry.message = message;
                }
            }
            Err(message) => {
                entry.hook_phase = "Failed".into();
                entry.message = if message.is_empty() {
                    format!("{} is Degraded", task.key().short())
                } else {
                    message
                };
            }
        }
        updated.push(entry);
    }
    updated
}

/// Deletions of the hooks that are still running, for a termination.
pub(super) fn running_hooks(view: &View<'_>) -> Vec<Work> {
    let entries = view.state.sync_result.iter().flat_map(|result| &result.resources);
    entries
        .filter(|entry| !entry.hook_type.is_empty() && entry.hook_phase == "Running")
        .filter_map(|entry| {
            let key = ResourceKey {
                group: entry.group.clone(),
                kind: entry.kind.clone(),
                namespace: entry.namespace.clone(),
                name: entry.name.clone(),
            };
            let live: &Value = view.live.get(&key)?;
            Some(Work {
                api_version: text(live, "/apiVersion").to_owned(),
                phase: phase_of(entry),
                is_hook: true,
                deed: Deed::Delete {
                    precondition: tasks::identity(live),
                    propagation: Propagation::Foreground,
                    is_preparation: true,
                },
                key,
            })
        })
        .collect()
}
