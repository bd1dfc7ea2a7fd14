//! What may be deleted (guarantee S3): only what this application tracks, never on a failed or empty render, and no
//! more at once than the allowed share without approval.

use super::compare::Comparison;
use jiff::Timestamp;

/// An automated sync may always prune this many objects; below that a share says nothing.
pub const PRUNE_FREE_MAX: usize = 5;
/// Beyond that, at most this share of the application's live objects, in percent.
pub const PRUNE_SHARE_PERCENT_MAX: usize = 50;

/// Whether one object may be pruned in an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// Yes.
    Allowed,
    /// The operation does not prune.
    NotAsked,
    /// The object says never.
    Never,
    /// The object wants to be asked.
    AwaitsApproval,
    /// The source is empty, which is a mistake far more often than a wish.
    EmptySource,
    /// An automated sync would prune more than it may without approval.
    ExceedsShare,
}

/// What an operation says about pruning.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// `operation.sync.prune`.
    pub prune: bool,
    /// Whether the source has objects, or the application allows it to have none.
    pub source_may_be_trusted: bool,
    /// Whether somebody approved deletions since the operation began.
    pub is_approved: bool,
    /// Whether automation would prune too much at once; what was little when it began may be much at a retry.
    pub exceeds_share: bool,
}

/// Whether one object that has no target may be deleted.
pub fn permission(comparison: &Comparison, request: Request) -> Permission {
    if comparison.options.prune_never {
        Permission::Never
    } else if !request.prune {
        Permission::NotAsked
    } else if !request.source_may_be_trusted {
        Permission::EmptySource
    } else if request.exceeds_share {
        Permission::ExceedsShare
    } else if comparison.options.prune_confirm && !request.is_approved {
        Permission::AwaitsApproval
    } else {
        Permission::Allowed
    }
}

/// Why an automated sync must not prune all it would; `None` when it may.
pub fn exceeds_share(comparisons: &[Comparison]) -> Option<String> {
    let live = comparisons
        .iter()
        .filter(|comparison| comparison.live.is_some() && !comparison.is_hook)
        .count();
    let doomed = comparisons
        .iter()
        .filter(|comparison| comparison.requires_pruning() && !comparison.options.prune_never)
        .count();
    (doomed > PRUNE_FREE_MAX && doomed * 100 > live * PRUNE_SHARE_PERCENT_MAX).then(|| {
        format!("auto-sync would prune {doomed} of {live} resources, more than {PRUNE_SHARE_PERCENT_MAX} % (sync with prune, or annotate with argocd.argoproj.io/deletion-approved, to approve)")
    })
}

/// Whether `deletion-approved` was given at or after `since`.
pub fn is_approved(approved: Option<&str>, since: Timestamp) -> bool {
    approved
        .and_then(|at| at.parse::<Timestamp>().ok())
        .is_some_and(|at| at.as_second() >= since.as_second())
}

#[cfg(test)]
mod tests;
