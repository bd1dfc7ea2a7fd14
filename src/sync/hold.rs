//! A commit that was rolled back is not synced again until a newer one arrives (guarantee S5). The hold is kept in
//! `status.hold`, so that a restart does not forget it and a person sees who decided and why.

use super::{
    auto_sync::Ancestry,
    compare::{Comparison, SyncCode},
    health::{self, Code},
    operation::OperationPhase,
    resource::text,
    revisions::Revisions,
};
use crate::api::{
    GROUP,
    application_status::{Hold, OperationState},
    scalar::wire_time,
};
use crate::json::At as _;
use jiff::Timestamp;

/// What the decision is based on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The hold so far.
    pub previous: Option<&'a Hold>,
    /// Whether automation is on; without it there is nothing to hold back.
    pub is_automated: bool,
    /// The commits the source is at, as far as known.
    pub revisions: &'a Revisions,
    /// How they relate to the commits held so far.
    pub since_hold: Ancestry,
    /// Every object, compared with those commits.
    pub comparisons: &'a [Comparison],
    /// The application's sync status.
    pub sync: SyncCode,
    /// The last operation.
    pub last: Option<&'a OperationState>,
    /// Whether that operation began in this very pass.
    pub just_begun: bool,
    /// Whether it ended in this very pass.
    pub just_ended: bool,
    /// Present moment.
    pub now: Timestamp,
}

/// The hold from now on.
pub fn decide(facts: &Facts<'_>) -> Option<Hold> {
    if !facts.is_automated {
        return None;
    }
    let current = facts.revisions.to_string();
    let found = aborted(facts).or_else(|| rolled_back(facts));
    if let Some(found) = found {
        return Some(match facts.previous {
            Some(previous) if previous.revision == found.revision && previous.by == found.by => previous.clone(),
            _ => found,
        });
    }
    let previous = facts.previous?;
    if previous.revision != current {
        // A newer commit releases it; one that is or may be older does not, and is not synced by itself either.
        return (facts.since_hold != Ancestry::Forward).then(|| previous.clone());
    }
    if recovered(facts, previous) || resynced(facts, previous) {
        return None;
    }
    Some(previous.clone())
}

/// The condition and event text of a hold.
pub fn message(hold: &Hold) -> String {
    format!(
        "Automation holds back commit {}, by {}: {}; a newer commit releases it",
        hold.revision, hold.by, hold.reason
    )
}

/// A Rollout that is as this commit says and has given it up.
fn aborted(facts: &Facts<'_>) -> Option<Hold> {
    // Objects that still wait for this commit come first: only what was tried can be held back.
    let was_tried = facts.sync == SyncCode::Synced
        || facts
            .last
            .and_then(|last| last.sync_result.as_ref())
            .is_some_and(|result| Revisions::of_result(result) == *facts.revisions);
    let rollout = facts.comparisons.iter().find(|comparison| {
        is_rollout(comparison)
            && comparison.sync == SyncCode::Synced
            && comparison
                .health
                .as_ref()
                .is_some_and(|health| health.code == Code::Degraded)
            && abort_message(comparison).is_some()
    })?;
    was_tried.then(|| Hold {
        revision: facts.revisions.to_string(),
        reason: abort_message(rollout).unwrap_or_default(),
        by: name(rollout),
        since: Some(wire_time(facts.now)),
    })
}

/// A person's sync to another commit than the source is at. It holds from the beginning, and also when it fails: a
/// commit that comes while it runs is a newer one, and one that somebody wants to leave is not brought back.
fn rolled_back(facts: &Facts<'_>) -> Option<Hold> {
    let last = facts.last.filter(|_| facts.just_begun)?;
    let (sync, result) = (last.operation.sync.as_ref()?, last.sync_result.as_ref()?);
    let deployed = Revisions::of_result(result);
    let is_rollback = last.phase != OperationPhase::Error.name()
        && !last.operation.initiated_by.automated
        && !sync.dry_run
        && sync.resources.is_empty()
        && !deployed.is_empty()
        && !facts.revisions.is_empty()
        && deployed != *facts.revisions;
    is_rollback.then(|| {
        let who = &last.operation.initiated_by.username;
        Hold {
            revision: facts.revisions.to_string(),
            reason: format!("rolled back to {deployed}"),
            by: if who.is_empty() {
                "user".to_owned()
            } else {
                format!("user {who}")
            },
            since: Some(wire_time(facts.now)),
        }
    })
}

/// The Rollout that caused the hold now runs this very commit and is well, for instance after a retry.
fn recovered(facts: &Facts<'_>, previous: &Hold) -> bool {
    facts.comparisons.iter().any(|comparison| {
        is_rollout(comparison)
            && name(comparison) == previous.by
            && comparison.sync == SyncCode::Synced
            && comparison
                .health
                .as_ref()
                .is_some_and(|health| health.code == Code::Healthy)
    })
}

/// A person synced the held commit explicitly.
fn resynced(facts: &Facts<'_>, previous: &Hold) -> bool {
    facts.just_ended
        && facts.last.is_some_and(|last| {
            last.phase == OperationPhase::Succeeded.name()
                && !last.operation.initiated_by.automated
                && last
                    .sync_result
                    .as_ref()
                    .is_some_and(|result| Revisions::of_result(result).to_string() == previous.revision)
        })
}

fn is_rollout(comparison: &Comparison) -> bool {
    comparison.key.group == GROUP && comparison.key.kind == "Rollout"
}

fn name(comparison: &Comparison) -> String {
    format!("rollout {}/{}", comparison.key.namespace, comparison.key.name)
}

fn abort_message(comparison: &Comparison) -> Option<String> {
    let live = comparison.live.as_deref()?;
    health::condition_message(live, "RolloutAborted").or_else(|| {
        let message = text(live, "/status/message");
        (live.at("/status/abort") == Some(&true.into())).then(|| message.to_owned())
    })
}

#[cfg(test)]
mod tests;
