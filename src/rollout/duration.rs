//! `status.duration`: when an update began, how long it waited for a person, and how it ended.

use super::{decision::Decision, progress::Turn, rollback_window, view::View};
use crate::api::{rollout_status::RolloutDuration, scalar::wire_time};
use crate::json::At as _;
use serde_json::Value;

/// An update that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// How: `Promoted`, `FastPromoted`, `Aborted`, `RolledBack` or `FastRolledBack`.
    pub status: String,
    /// Seconds it took.
    pub seconds: i64,
    /// Seconds of these in which it waited for a person.
    pub paused_seconds: i64,
}

/// The update that a status change ends, if it ends one now.
pub(crate) fn finished(before: Option<&RolloutDuration>, patch: &Value) -> Option<Finished> {
    let change = patch.at("/status/duration")?;
    // A merge patch holds what differs: an end that is in it is new.
    change.get("finishedAt")?.as_str()?;
    let mut duration = serde_json::to_value(before.cloned().unwrap_or_default()).ok()?;
    json_patch::merge(&mut duration, change);
    let duration: RolloutDuration = serde_json::from_value(duration).ok()?;
    let (began, ended) = (duration.rollout_started_at?.0, duration.finished_at?.0);
    Some(Finished {
        status: duration.completion_status,
        seconds: ended.duration_since(began).as_secs(),
        paused_seconds: duration.total_manual_pause_duration_seconds,
    })
}

/// The duration after this decision. An invalid specification leaves it as it is.
pub(crate) fn of(view: &View<'_>, decision: &Decision<'_>) -> Option<RolloutDuration> {
    if decision.frozen {
        return view.status.duration.clone();
    }
    let mut duration = begun(view)?;
    let ended = match &decision.promotion {
        Some(reason) if reason == "Full promotion requested" => Some("FastPromoted"),
        Some(reason) if reason == rollback_window::REASON => Some("FastRolledBack"),
        Some(_) => Some("Promoted"),
        None if decision.aborts_because.is_some() => Some("Aborted"),
        None if view.is_promoted() => Some("RolledBack"),
        None => None,
    };
    manual_pause(view, decision, &mut duration);
    if let Some(ended) = ended.filter(|_| duration.finished_at.is_none()) {
        duration.finished_at = Some(wire_time(view.now()));
        ended.clone_into(&mut duration.completion_status);
    }
    Some(duration)
}

fn begun(view: &View<'_>) -> Option<RolloutDuration> {
    let fresh = || RolloutDuration {
        rollout_started_at: Some(wire_time(view.now())),
        ..RolloutDuration::default()
    };
    let standing = view.status.duration.clone();
    match view.progress.turn {
        Turn::NewTemplate | Turn::NewSteps | Turn::BackToStable => Some(fresh()),
        Turn::Retry => standing.map(|standing| RolloutDuration {
            finished_at: None,
            completion_status: String::new(),
            ..standing
        }),
        // A status of before this field existed says nothing about its update.
        Turn::Continue => standing.or_else(|| view.status.stable_rs.is_empty().then(fresh)),
    }
}

/// Counts the time in which only a person could let the update go on.
fn manual_pause(view: &View<'_>, decision: &Decision<'_>, duration: &mut RolloutDuration) {
    let under_way = duration.finished_at.is_none() && decision.promotion.is_none() && !decision.progress.abort;
    let timed = decision.waiting.as_ref().is_some_and(|waiting| waiting.until.is_some());
    let for_a_person = view.spec.paused || (!decision.progress.pauses.is_empty() && !timed);
    if under_way && for_a_person && !view.is_promoted() {
        duration
            .manual_pause_started_at
            .get_or_insert_with(|| wire_time(view.now()));
    } else if let Some(began) = duration.manual_pause_started_at.take() {
        let waited = view.now().duration_since(began.0).as_secs();
        duration.total_manual_pause_duration_seconds = duration
            .total_manual_pause_duration_seconds
            .saturating_add(waited.max(0));
    }
}
