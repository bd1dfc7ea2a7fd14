//! The operation state machine. Its whole memory is `status.operationState`; each pass rebuilds the list of tasks, looks
//! at the results recorded so far and decides on one step (reference, applications 2.1, 2.2 and 2.8).

pub mod finish;
pub mod hook_work;
pub mod record;
pub mod tasks;
mod trial;
pub(crate) mod waiting;

use super::{
    compare::{self, Comparison, LiveObjects},
    health::{self, Code},
    kinds::Kinds,
    options::AppOptions,
    order::{Phase, Task},
    project::Project,
    prune::Request,
    resource::{ResourceKey, is_deleting},
    retry,
    target::TargetSet,
    waits::WaitLimits,
    windows::Blocked,
    work::{Batches, DRY_RUN},
};
use crate::api::{
    application::{ManagedNamespaceMetadata, SyncOperation},
    application_status::{OperationState, OperationWait, ResourceResult},
};
use jiff::Timestamp;
use record::State;
use waiting::Reason;

/// Reasons and resources named in a message.
const NAMED_MAX: usize = 3;

/// Everything one step is decided on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The operation so far.
    pub state: &'a OperationState,
    /// Name of the application in tracking ids.
    pub instance: &'a str,
    /// What was asked.
    pub sync: &'a SyncOperation,
    /// The commits it is pinned to, compared with the cluster; `Err` when they cannot be rendered.
    pub desired: Result<Desired<'a>, &'a str>,
    /// All live objects read for it.
    pub live: &'a LiveObjects,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// What the project permits.
    pub project: Project<'a>,
    /// Options in effect.
    pub options: &'a AppOptions,
    /// What it may prune.
    pub prune: Request,
    /// `spec.destination.namespace`.
    pub namespace: &'a str,
    /// `spec.syncPolicy.managedNamespaceMetadata`.
    pub namespace_metadata: Option<&'a ManagedNamespaceMetadata>,
    /// What automation or a person would sync instead, in words, when this operation may give way to it.
    pub newer: Option<&'a str>,
    /// The sync window that keeps it waiting.
    pub blocked: Option<&'a Blocked>,
    /// How long it waits.
    pub limits: WaitLimits,
    /// Present moment.
    pub now: Timestamp,
}

/// What the pinned commits want.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// Targets with their live objects.
    pub comparisons: &'a [Comparison],
    /// The rendered set, for its hooks.
    pub targets: &'a TargetSet,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Do this, then [`record::record`] what came of it and look again.
    Work(Batches),
    /// Nothing, until an object changes or the time comes.
    Wait {
        /// The one thing waited for (guarantee D6).
        message: String,
        /// When to look again by itself.
        until: Option<Timestamp>,
        /// To be remembered, so that the wait has an end.
        waiting: Option<OperationWait>,
    },
    /// The results recorded so far are to be replaced, for instance because a hook ended.
    Note(Vec<ResourceResult>),
    /// A retry is due: results are forgotten and the tasks begin again.
    Again,
    /// It is over.
    Done {
        /// Whether it succeeded.
        phase: OperationPhase,
        /// In words.
        message: String,
        /// Whether a failure may be tried again.
        may_retry: bool,
    },
}

/// `operationState.phase`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OperationPhase {
    /// Under way, or waiting for a retry.
    Running,
    /// Asked to stop.
    Terminating,
    /// Done.
    Succeeded,
    /// The cluster refused something, or something is unwell.
    Failed,
    /// It could not even be tried.
    Error,
}

impl OperationPhase {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Terminating => "Terminating",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Error => "Error",
        }
    }

    /// Whether an operation with this phase is over.
    pub fn is_over(name: &str) -> bool {
        matches!(name, "Succeeded" | "Failed" | "Error")
    }
}

/// Decides on the next step.
pub fn step(view: &View<'_>) -> Step {
    if view.state.phase == OperationPhase::Terminating.name() {
        return terminate(view);
    }
    if let Some(Blocked { message, until }) = view.blocked {
        return match view.newer {
            Some(newer) => pointless(newer, message),
            None => Step::Wait {
                message: message.clone(),
                until: *until,
                waiting: None,
            },
        };
    }
    if let Some(finished) = &view.state.finished_at {
        return await_retry(view, finished.0);
    }
    let desired = match view.desired {
        Ok(desired) => desired,
        Err(message) => return done(OperationPhase::Error, message),
    };
    let shared = compare::shared(desired.comparisons, view.instance);
    if let Some(first) = shared.first().filter(|_| view.options.fail_on_shared_resource) {
        return done(OperationPhase::Failed, format!("Shared resource found: {first}"));
    }
    let plan = tasks::plan(view, desired);
    if !plan.problems.is_empty() {
        return done(
            OperationPhase::Failed,
            format!(
                "one or more synchronization tasks are not valid: {}",
                plan.problems.join("; ")
            ),
        );
    }
    if let Some(work) = tasks::namespace(view) {
        return Step::Work(vec![vec![work]]);
    }
    advance(view, desired, &plan.tasks, &plan.sync_fail)
}

fn done(phase: OperationPhase, message: impl Into<String>) -> Step {
    Step::Done {
        phase,
        message: message.into(),
        may_retry: true,
    }
}

/// The end of an operation that nobody waits for any more.
fn pointless(newer: &str, message: &str) -> Step {
    Step::Done {
        phase: OperationPhase::Failed,
        message: format!("superseded by {newer}: {message}"),
        may_retry: false,
    }
}

fn advance(view: &View<'_>, desired: Desired<'_>, tasks: &[Task<'_>], sync_fail: &[Task<'_>]) -> Step {
    let updated = record::reassess(view, tasks);
    if !updated.is_empty() {
        return Step::Note(updated);
    }
    let all: Vec<&Task<'_>> = tasks.iter().chain(sync_fail).collect();
    let releases = hook_work::releases(view, &all);
    if !releases.is_empty() {
        return Step::Work(vec![releases]);
    }
    let state_of = |task: &Task<'_>| record::state_of(view.state, task);
    let last = tasks.last().map(Task::step);
    if let Some(step) = fail(view, tasks, sync_fail) {
        return step;
    }
    // The last step is not waited for, unless a hook of it is still running.
    let running: Vec<&Task<'_>> = tasks
        .iter()
        .filter(|task| state_of(task) == State::Running && (task.is_hook || Some(task.step()) != last))
        .collect();
    if !running.is_empty() {
        return wait_for_running(view, running);
    }
    let pending: Vec<&Task<'_>> = tasks.iter().filter(|task| state_of(task) == State::Pending).collect();
    let Some(first) = pending.first() else {
        let message = if tasks.is_empty() {
            "successfully synced (no more tasks)"
        } else {
            "successfully synced (all tasks run)"
        };
        return hook_work::farewell(view, &all).unwrap_or_else(|| done(OperationPhase::Succeeded, message));
    };
    let leaving: Vec<&Task<'_>> = tasks
        .iter()
        .filter(|task| state_of(task) == State::Pruned && task.comparison.live.is_some())
        .collect();
    if !leaving.is_empty() {
        return waiting::wait(view, Reason::Deletion, &leaving);
    }
    let now: Vec<&Task<'_>> = pending
        .iter()
        .copied()
        .filter(|task| task.step() == first.step())
        .collect();
    let mut step = tasks::work(view, &now);
    if let Step::Work(batches) = &mut step {
        let trial = trial::works(view, desired, &all);
        if !trial.is_empty() {
            batches.insert(0, trial);
        }
    }
    step
}

/// Waits for hooks, where there are any, else for health.
fn wait_for_running(view: &View<'_>, running: Vec<&Task<'_>>) -> Step {
    let hooks: Vec<&Task<'_>> = running.iter().copied().filter(|task| task.is_hook).collect();
    if hooks.is_empty() {
        waiting::wait(view, Reason::Health, &running)
    } else {
        waiting::wait(view, Reason::Hook, &hooks)
    }
}

/// What follows from a failure recorded before: the SyncFail hooks, then the end.
fn fail(view: &View<'_>, tasks: &[Task<'_>], sync_fail: &[Task<'_>]) -> Option<Step> {
    let failures: Vec<&ResourceResult> = record::failures(view.state, tasks);
    if failures.is_empty() {
        return None;
    }
    let refused = failures.iter().any(|result| result.status == "SyncFailed");
    let is_trial = failures.iter().any(|result| result.message.ends_with(DRY_RUN));
    let reasons: Vec<&str> = failures
        .iter()
        .map(|result| result.message.strip_suffix(DRY_RUN).unwrap_or(&result.message))
        .filter(|message| !message.is_empty())
        .take(NAMED_MAX)
        .collect();
    let reasons = if reasons.is_empty() {
        String::new()
    } else {
        format!(", reason: {}", reasons.join(","))
    };
    if is_trial {
        // Nothing was written, so there is nothing to be sorry for.
        let message = format!("one or more objects failed to apply (dry run){reasons}");
        return Some(done(OperationPhase::Failed, message));
    }
    let message = if refused {
        format!("one or more objects failed to apply{reasons}")
    } else {
        format!("one or more synchronization tasks completed unsuccessfully{reasons}")
    };
    let hooks: Vec<&Task<'_>> = sync_fail.iter().collect();
    let state_of = |task: &Task<'_>| record::state_of(view.state, task);
    let updated = record::reassess(view, sync_fail);
    if !updated.is_empty() {
        return Some(Step::Note(updated));
    }
    let running: Vec<&Task<'_>> = hooks
        .iter()
        .copied()
        .filter(|task| state_of(task) == State::Running)
        .collect();
    if !running.is_empty() {
        return Some(waiting::wait(view, Reason::Hook, &running));
    }
    let pending: Vec<&Task<'_>> = hooks
        .iter()
        .copied()
        .filter(|task| state_of(task) == State::Pending)
        .collect();
    if !pending.is_empty() {
        return Some(tasks::work(view, &pending));
    }
    let all: Vec<&Task<'_>> = tasks.iter().chain(sync_fail).collect();
    if let Some(farewell) = hook_work::farewell(view, &all) {
        return Some(farewell);
    }
    let broken: Vec<&ResourceResult> = record::failures(view.state, sync_fail);
    if let Some(first) = broken.first() {
        return Some(done(
            OperationPhase::Failed,
            format!("one or more SyncFail hooks failed, reason: {}", first.message),
        ));
    }
    Some(done(OperationPhase::Failed, message))
}

fn terminate(view: &View<'_>) -> Step {
    let hooks = record::running_hooks(view);
    if hooks.is_empty() {
        return Step::Done {
            phase: OperationPhase::Failed,
            message: "Operation terminated".into(),
            may_retry: false,
        };
    }
    Step::Work(vec![hooks])
}

fn await_retry(view: &View<'_>, finished: Timestamp) -> Step {
    let done = view.state.retry_count;
    let due = finished
        .saturating_add(retry::delay(&view.state.operation.retry, done.saturating_sub(1)))
        .unwrap_or(view.now);
    if let Some(newer) = view.newer {
        return pointless(newer, &view.state.message);
    }
    if view.now < due {
        return Step::Wait {
            message: view.state.message.clone(),
            until: Some(due),
            waiting: None,
        };
    }
    Step::Again
}

/// Judges a live hook or resource that was applied before; `None` while it is under way.
pub(super) fn ended(
    is_hook: bool,
    live: Option<&serde_json::Value>,
    key: &ResourceKey,
) -> Option<Result<String, String>> {
    let Some(live) = live else {
        return Some(Err(format!(
            "Resource {} is missing, it might have been deleted",
            key.short()
        )));
    };
    let Some(health) = health::of_object(live) else {
        return Some(Ok(if is_hook {
            format!("{} created", key.name)
        } else {
            String::new()
        }));
    };
    match (health.code, is_hook) {
        (Code::Healthy, _) => Some(Ok(health.message)),
        (Code::Degraded, _) | (Code::Unknown, true) => Some(Err(health.message)),
        (Code::Progressing | Code::Suspended | Code::Missing, true) if is_deleting(live) => {
            Some(Err(format!("Hook {} was deleted before it ended", key.short())))
        }
        (Code::Unknown | Code::Progressing | Code::Suspended | Code::Missing, _) => None,
    }
}

/// Whether a phase of an operation has hooks; selective operations and strategy `apply` have none.
fn runs_hooks(sync: &SyncOperation) -> bool {
    let applies_only = sync
        .sync_strategy
        .as_ref()
        .is_some_and(|strategy| strategy.apply.is_some() && strategy.hook.is_none());
    sync.resources.is_empty() && !applies_only
}

/// The phase a hook result was recorded under.
fn phase_of(result: &ResourceResult) -> Phase {
    Phase::parse(&result.sync_phase).unwrap_or(Phase::Sync)
}
