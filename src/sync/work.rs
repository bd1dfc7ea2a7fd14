//! What an operation asks to be done to objects, and what it is told afterwards.

use super::{
    order::Phase,
    resource::{ResourceKey, text},
};
use crate::plan::{ObjectRef, Precondition, Propagation};
use serde_json::Value;
use std::sync::Arc;

/// Batches are done in order; the works of one may be done at once. A failure ends the list after its batch.
pub type Batches = Vec<Vec<Work>>;

/// One object's part of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The object.
    pub key: ResourceKey,
    /// `apiVersion` to address it by.
    pub api_version: String,
    /// Phase it is recorded under.
    pub phase: Phase,
    /// Whether it is a hook.
    pub is_hook: bool,
    /// What is done.
    pub deed: Deed,
}

impl Work {
    /// The object on the API server.
    pub fn target(&self) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version.clone(),
            kind: self.key.kind.clone(),
            namespace: (!self.key.namespace.is_empty()).then(|| self.key.namespace.clone()),
            name: self.key.name.clone(),
        }
    }

    /// Makes the object so.
    pub(super) fn apply(key: &ResourceKey, phase: Phase, is_hook: bool, apply: Apply) -> Self {
        Self {
            key: key.clone(),
            api_version: text(&apply.body, "/apiVersion").to_owned(),
            phase,
            is_hook,
            deed: Deed::Apply(apply),
        }
    }
}

/// What is done to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Created or changed.
    Apply(Apply),
    /// Deleted; always the very object the decision was made on (guarantee C3).
    Delete {
        /// Its identity and version.
        precondition: Precondition,
        /// What happens to dependents.
        propagation: Propagation,
        /// Whether this makes way for a new object under the same name and is not a result of its own.
        is_preparation: bool,
    },
    /// Only tried, before anything is written: a server-side dry run.
    Try {
        /// What would be applied.
        apply: Apply,
        /// Names of objects that the same sync brings. A refusal because one of them is not there yet says nothing.
        pending: Arc<[String]>,
    },
    /// A hook may go: its end was seen, so our finalizer comes off.
    Release,
    /// Only recorded: applying would change nothing, or must not be done.
    Note {
        /// Result code.
        code: ResultCode,
        /// In words.
        message: String,
    },
}

/// How an object is created or changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Apply {
    /// The whole body.
    pub body: Value,
    /// The version the body's copied values were read at; the write must fail if it has moved on.
    pub guard: Option<String>,
    /// Let the server refuse unknown fields.
    pub validate: bool,
    /// Replace the whole object instead of applying.
    pub replace: bool,
    /// Delete and create again when the change is refused.
    pub force: bool,
    /// Take over fields of client-side apply first.
    pub migrate: bool,
    /// A further manager to take over from.
    pub migrate_from: Option<String>,
    /// Only try.
    pub dry_run: bool,
}

/// `syncResult.resources[].status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResultCode {
    /// Applied.
    Synced,
    /// Refused.
    SyncFailed,
    /// Deleted.
    Pruned,
    /// Left although it is not wanted.
    PruneSkipped,
}

impl ResultCode {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::SyncFailed => "SyncFailed",
            Self::Pruned => "Pruned",
            Self::PruneSkipped => "PruneSkipped",
        }
    }
}

/// Marks what a dry run said in results.
pub const DRY_RUN: &str = " (dry run)";

/// Whether the refusal of a dry run says nothing about the sync itself: what is missing is about to come, or the
/// cluster cannot try such an object at all.
pub fn is_inconclusive(refusal: &str, pending: &[String]) -> bool {
    refusal.contains("does not support dry run")
        || (refusal.contains("not found")
            && pending.iter().any(|name| {
                [format!("\"{name}\""), format!("/{name}:"), format!("'{name}'")]
                    .iter()
                    .any(|quoted| refusal.contains(quoted))
            }))
}

/// What came of one [`Work`].
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The work.
    pub work: Work,
    /// The message for the result, or why it failed.
    pub outcome: Result<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_want_of_what_is_about_to_come_says_nothing() {
        let pending = ["runner".to_owned()];
        for (refusal, expected) in [
            (
                "pods \"x\" is forbidden: error looking up service account ns/runner: serviceaccount \"runner\" not found",
                true,
            ),
            ("serviceaccount \"other\" not found", false),
            ("Service \"runner\" is invalid: spec.ports: Required value", false),
            ("admission webhook \"a.b\" does not support dry run", true),
        ] {
            assert_eq!(is_inconclusive(refusal, &pending), expected, "{refusal}");
        }
    }
}
