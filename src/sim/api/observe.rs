//! What an observer is told about every accepted write.

use super::{faults::Verb, kinds::Key};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// One accepted write that changed something. Dry runs, refused writes and writes without effect are none.
#[derive(Clone, Debug)]
pub struct Commit {
    /// When, on the server's clock.
    pub at: Timestamp,
    /// Who: the identity of the client, or the actor of a write within the process.
    pub actor: Arc<str>,
    /// What was asked. The last write of a deletion held up by finalizers is the verb that removed the last of them.
    pub verb: Verb,
    /// `status`, `scale`, or empty.
    pub subresource: &'static str,
    /// Which object.
    pub key: Key,
    /// As it was; absent when it is new.
    pub before: Option<Arc<Value>>,
    /// As it is; absent when it is gone.
    pub after: Option<Arc<Value>>,
    /// `resourceVersion` of the write.
    pub version: u64,
}
