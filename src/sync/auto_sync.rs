//! Whether to sync without being asked (reference, applications 2.9), with three promises added: an operation is pinned
//! to the commit that is current and never goes back by itself (S1), a failure blocks no later commit and is not the
//! last word on its own either (S2, C1), and a commit that was rolled back stays so (S5).

use super::{
    compare::{Comparison, SyncCode},
    operation::OperationPhase,
    prune,
    resource::is_deleting,
    retry,
    revisions::Revisions,
};
use crate::api::{
    application::{
        ApplicationSpec, Operation, OperationInitiator, RetryStrategy, SyncOperation, SyncOperationResource,
        SyncPolicyAutomated,
    },
    application_status::{Hold, OperationState},
};
use jiff::Timestamp;

/// How the current commit relates to the one deployed last, on the same reference.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ancestry {
    /// It comes later, or there is no relation, or it is the same.
    #[default]
    Forward,
    /// It is an ancestor: somebody moved the branch back, or a mirror is behind.
    Backward,
    /// Nobody can tell: the commit deployed last is not to be had, or the source itself cannot be read. A mirror may be
    /// behind, or the history was rewritten.
    Unknown,
}

/// What the decision is based on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The application.
    pub spec: &'a ApplicationSpec,
    /// `status.sync.status`, as it is now.
    pub sync: SyncCode,
    /// The commits compared with.
    pub revisions: &'a Revisions,
    /// Every object.
    pub comparisons: &'a [Comparison],
    /// The last operation.
    pub last: Option<&'a OperationState>,
    /// A commit that is held back.
    pub hold: Option<&'a Hold>,
    /// How the commits relate to the deployed ones.
    pub ancestry: Ancestry,
    /// Annotation `deletion-approved`.
    pub deletion_approved: Option<&'a str>,
    /// Present moment.
    pub now: Timestamp,
}

/// The decision, with its reason.
#[derive(Clone, Debug, PartialEq)]
pub enum AutoSync {
    /// Nothing to do, or not wanted.
    Idle(&'static str, String),
    /// Not now.
    Wait {
        /// When to decide again.
        until: Timestamp,
        /// Condition `SyncError`, where this is an error.
        error: Option<String>,
    },
    /// Condition `SyncError`: it must not.
    Blocked(String),
    /// Start this.
    Start(Box<Operation>),
}

/// Whether automation is on.
pub fn is_on(spec: &ApplicationSpec) -> bool {
    automated(spec).is_some()
}

fn automated(spec: &ApplicationSpec) -> Option<&SyncPolicyAutomated> {
    spec.sync_policy
        .as_ref()?
        .automated
        .as_ref()
        .filter(|automated| automated.enabled.unwrap_or(true))
}

/// Decides. The caller made sure that no operation is requested or under way and that nothing is being deleted.
pub fn decide(facts: &Facts<'_>) -> AutoSync {
    let Some(automated) = automated(facts.spec) else {
        return AutoSync::Idle("AutomationOff", "syncPolicy.automated is absent or off".into());
    };
    if facts.sync != SyncCode::OutOfSync {
        return AutoSync::Idle("NothingToDo", format!("the application is {}", facts.sync.name()));
    }
    let prunes = automated.prune.unwrap_or(false);
    let differs = |comparison: &&Comparison| comparison.counts && comparison.sync == SyncCode::OutOfSync;
    let only_pruning = facts
        .comparisons
        .iter()
        .filter(differs)
        .all(Comparison::requires_pruning);
    if only_pruning && !prunes {
        return AutoSync::Idle("OnlyPruning", "the only differences need pruning, which is off".into());
    }
    if let Some(hold) = facts.hold.filter(|hold| hold.revision == facts.revisions.to_string()) {
        return AutoSync::Idle(
            "Held",
            format!("commit {} is held by {}: {}", hold.revision, hold.by, hold.reason),
        );
    }
    let why_not = match facts.ancestry {
        Ancestry::Forward => None,
        Ancestry::Backward => Some("it is older than the commit deployed last; sync it explicitly to go back"),
        Ancestry::Unknown => Some(
            "the repository does not have the commit deployed last, so it may be older (a mirror that is behind, or a \
             rewritten history); sync it explicitly to go there",
        ),
    };
    if let Some(why_not) = why_not {
        return AutoSync::Blocked(format!("Skipping sync attempt to {}: {why_not}", facts.revisions));
    }
    let attempt = attempt(facts);
    let heal = match attempt {
        Attempt::None => None,
        Attempt::Failed { message, finished } => {
            let until = finished.saturating_add(retry::exhausted_delay()).unwrap_or(facts.now);
            if facts.now < until {
                let error = format!("Failed last sync attempt to {}: {message}", facts.revisions);
                return AutoSync::Wait {
                    until,
                    error: Some(error),
                };
            }
            None
        }
        Attempt::Succeeded { .. } if !automated.self_heal.unwrap_or(false) => {
            return AutoSync::Idle(
                "SelfHealOff",
                format!("{} was synced before and self-healing is off", facts.revisions),
            );
        }
        Attempt::Succeeded { .. } if facts.comparisons.iter().filter(differs).all(is_beyond_us) => {
            return AutoSync::Idle(
                "NothingToHeal",
                "what differs is being deleted already, or says itself that it is not pruned".into(),
            );
        }
        Attempt::Succeeded { finished, heals } => {
            let until = finished.saturating_add(retry::heal_delay(heals)).unwrap_or(facts.now);
            if facts.now < until {
                return AutoSync::Wait { until, error: None };
            }
            Some(heals + 1)
        }
    };
    if prunes && let Some(problem) = prune_problem(facts, automated) {
        return AutoSync::Blocked(format!("Skipping sync attempt to {}: {problem}", facts.revisions));
    }
    AutoSync::Start(Box::new(operation(facts, prunes, heal)))
}

/// Whether pruning an object once more would change nothing.
fn is_beyond_us(comparison: &Comparison) -> bool {
    let is_leaving = comparison.live.as_deref().is_some_and(is_deleting);
    comparison.requires_pruning() && (comparison.options.prune_never || is_leaving)
}

/// What became of the last automated or full sync of exactly this source and commit.
enum Attempt {
    None,
    Failed { message: String, finished: Timestamp },
    Succeeded { finished: Timestamp, heals: i64 },
}

fn attempt(facts: &Facts<'_>) -> Attempt {
    let Some(last) = facts.last else { return Attempt::None };
    let (Some(sync), Some(result), Some(finished)) = (&last.operation.sync, &last.sync_result, &last.finished_at)
    else {
        return Attempt::None;
    };
    // A dry run, or a person's sync of a few objects, says nothing about the commit.
    if sync.dry_run || (!sync.resources.is_empty() && !last.operation.initiated_by.automated) {
        return Attempt::None;
    }
    let same_source = if facts.spec.sources.is_empty() {
        result.source == facts.spec.source
    } else {
        result.sources == facts.spec.sources
    };
    if !same_source || Revisions::of_result(result) != *facts.revisions {
        return Attempt::None;
    }
    if last.phase == OperationPhase::Succeeded.name() {
        return Attempt::Succeeded {
            finished: finished.0,
            heals: sync.auto_heal_attempts_count,
        };
    }
    Attempt::Failed {
        message: last.message.clone(),
        finished: finished.0,
    }
}

fn prune_problem(facts: &Facts<'_>, automated: &SyncPolicyAutomated) -> Option<String> {
    let resources: Vec<&Comparison> = facts
        .comparisons
        .iter()
        .filter(|comparison| !comparison.is_hook)
        .collect();
    let wipes_out = !resources.is_empty() && resources.iter().all(|comparison| comparison.requires_pruning());
    if wipes_out {
        return (!automated.allow_empty.unwrap_or(false)).then(|| "auto-sync will wipe out all resources".to_owned());
    }
    let since = facts
        .last
        .and_then(|last| last.finished_at.as_ref())
        .map_or(Timestamp::UNIX_EPOCH, |at| at.0);
    if prune::is_approved(facts.deletion_approved, since) {
        return None;
    }
    prune::exceeds_share(facts.comparisons)
}

fn operation(facts: &Facts<'_>, prune: bool, heal: Option<i64>) -> Operation {
    let policy = facts.spec.sync_policy.as_ref();
    // Self-healing touches only what differs, so it runs no hooks and makes no history.
    let resources = heal.map(|_| {
        facts
            .comparisons
            .iter()
            .filter(|comparison| comparison.sync == SyncCode::OutOfSync && !comparison.is_hook)
            .map(|comparison| SyncOperationResource {
                group: comparison.key.group.clone(),
                kind: comparison.key.kind.clone(),
                name: comparison.key.name.clone(),
                namespace: comparison.key.namespace.clone(),
            })
            .collect()
    });
    Operation {
        sync: Some(SyncOperation {
            revision: facts.revisions.single.clone(),
            revisions: facts.revisions.several.clone(),
            prune,
            sync_options: policy.map(|policy| policy.sync_options.clone()).unwrap_or_default(),
            resources: resources.unwrap_or_default(),
            auto_heal_attempts_count: heal.unwrap_or(0),
            ..SyncOperation::default()
        }),
        initiated_by: OperationInitiator {
            automated: true,
            ..OperationInitiator::default()
        },
        retry: policy.and_then(|policy| policy.retry.clone()).unwrap_or(RetryStrategy {
            limit: retry::AUTOMATED_LIMIT,
            ..RetryStrategy::default()
        }),
        ..Operation::default()
    }
}

#[cfg(test)]
mod tests;
