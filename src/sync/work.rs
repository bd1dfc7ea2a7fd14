//! What an operation asks to be done to objects, and what it is told afterwards.

use super::{
    order::Phase,
    resource::{ResourceKey, text},
};
use crate::plan::{ObjectRef, Precondition, Propagation};
use serde_json::Value;

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

/// What came of one [`Work`].
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The work.
    pub work: Work,
    /// The message for the result, or why it failed.
    pub outcome: Result<String, String>,
}
