//! The commits an application is at: one, or one for each of several sources.

use crate::api::application_status::{RevisionHistory, SyncOperationResult, SyncStatus};
use std::fmt;

const SEPARATOR: &str = ", ";

/// Exactly as `revision` and `revisions` stand in statuses: only one of them is filled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Revisions {
    /// With a single source.
    pub single: String,
    /// With several sources.
    pub several: Vec<String>,
}

impl Revisions {
    /// From the commits of the sources in effect.
    pub fn new(commits: Vec<String>, has_several_sources: bool) -> Self {
        if has_several_sources {
            return Self {
                single: String::new(),
                several: commits,
            };
        }
        Self {
            single: commits.into_iter().next().unwrap_or_default(),
            several: Vec::new(),
        }
    }

    /// Those of an operation.
    pub fn of_result(result: &SyncOperationResult) -> Self {
        Self {
            single: result.revision.clone(),
            several: result.revisions.clone(),
        }
    }

    /// Those of `status.sync`.
    pub fn of_sync(sync: &SyncStatus) -> Self {
        Self {
            single: sync.revision.clone(),
            several: sync.revisions.clone(),
        }
    }

    /// Those of a deployment.
    pub fn of_history(entry: &RevisionHistory) -> Self {
        Self {
            single: entry.revision.clone(),
            several: entry.revisions.clone(),
        }
    }

    /// One for each source, in their order.
    pub fn each(&self) -> Vec<&str> {
        match self.several.as_slice() {
            [] => vec![self.single.as_str()],
            several => several.iter().map(String::as_str).collect(),
        }
    }

    /// Those that [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Self {
        match text.split(SEPARATOR).collect::<Vec<_>>().as_slice() {
            [] | [_] => Self {
                single: text.to_owned(),
                several: Vec::new(),
            },
            several => Self {
                single: String::new(),
                several: several.iter().map(|commit| (*commit).to_owned()).collect(),
            },
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.several.is_empty()
    }

    /// The commit by which hooks are named.
    pub fn first(&self) -> &str {
        self.several.first().map_or(&self.single, String::as_str)
    }
}

impl fmt::Display for Revisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.several.is_empty() {
            f.write_str(&self.single)
        } else {
            f.write_str(&self.several.join(SEPARATOR))
        }
    }
}
