//! The progress deadline (reference, rollouts 2.4).

use super::{
    progress::Turn,
    view::{View, later},
};
use crate::api::replica_set::ReplicaSet;
use jiff::Timestamp;

/// Seconds when `progressDeadlineSeconds` is absent.
pub(crate) const PROGRESS_DEADLINE_SECONDS_DEFAULT: i32 = 600;

/// Whether the rollout has gone without progress for longer than `progressDeadlineSeconds`. Never while another
/// ReplicaSet waits for its own scale-down, and not in the pass in which an update begins: the clock that the status tells
/// of is that of the update before.
pub(crate) fn exceeded(view: &View<'_>) -> bool {
    if matches!(view.progress.turn, Turn::NewTemplate | Turn::NewSteps) {
        return false;
    }
    let mut others = view.revisions.older.iter().copied().chain(view.revisions.stable);
    let over = is_said(view) || ends_at(view).is_some_and(|ends| ends < view.now());
    // One without pods may keep the deadline of before: that of a version that is gone holds up nothing.
    let waits = |set: &ReplicaSet| {
        set.replicas() > 0 && (set.scale_down_deadline()).is_some_and(|deadline| deadline > view.now())
    };
    over && !others.any(waits)
}

/// When to look whether the deadline is over; `None` while the clock does not run, and once it has been said.
pub(crate) fn wake_at(view: &View<'_>) -> Option<Timestamp> {
    let overdue = later(ends_at(view)?, 1);
    (overdue > view.now() && !is_said(view)).then_some(overdue)
}

fn is_said(view: &View<'_>) -> bool {
    (view.status.condition("Progressing")).is_some_and(|progressing| progressing.reason == "ProgressDeadlineExceeded")
}

/// When the deadline is over, counted from the last progress.
fn ends_at(view: &View<'_>) -> Option<Timestamp> {
    let progressing = view.status.condition("Progressing")?;
    // A finished, paused or aborted rollout makes no progress by design.
    if matches!(
        progressing.reason.as_str(),
        "NewReplicaSetAvailable" | "RolloutPaused" | "RolloutAborted"
    ) {
        return None;
    }
    let seconds = view
        .spec
        .progress_deadline_seconds
        .unwrap_or(PROGRESS_DEADLINE_SECONDS_DEFAULT);
    Some(later(progressing.last_update_time.as_ref()?.0, i64::from(seconds)))
}

/// What the condition and an abort say.
pub(crate) fn message(view: &View<'_>) -> String {
    match view.revisions.new {
        Some(set) => format!("ReplicaSet \"{}\" has timed out progressing.", set.name()),
        None => format!("Rollout \"{}\" has timed out progressing.", view.name()),
    }
}
