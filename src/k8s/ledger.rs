//! Remembers our own writes until the watch stores show them, so that no decision is made on a view from before them.
//!
//! Lives in memory only: after a restart the stores are listed anew and the first view is a complete one (guarantee D4).

use crate::{
    k8s::{store::ObjectKey, stores::Stores},
    plan::ObjectRef,
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// After this many looks at a store that does not follow, the server is asked instead: an event was lost, the watch
/// stalls, or versions cannot be compared. At one look each 100 ms this is two seconds.
pub const LOOKS_MAX: u32 = 20;

/// The object a plan is about; one per reconcile key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Subject {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub key: ObjectKey,
}

impl Subject {
    /// A subject from its parts.
    pub fn new(kind: &'static str, key: ObjectKey) -> Self {
        Self { kind, key }
    }
}

/// What a write made of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Written {
    /// It now has this resource version.
    Version(String),
    /// It is gone or going.
    Deleted {
        /// The uid it had.
        uid: Option<String>,
    },
}

/// How far the stores are behind our own writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// They show all of them.
    Current,
    /// They do not yet show what was written to this object.
    Behind(ObjectRef),
    /// They have not shown for a long time what was written to these objects: read them again, then
    /// [`Ledger::forget`].
    Overdue(Vec<ObjectRef>),
}

/// Our own writes that the stores may not show yet, by subject.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<HashMap<Subject, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    writes: HashMap<ObjectRef, Written>,
    looks: u32,
}

impl Ledger {
    /// Notes writes made for `subject`.
    pub fn record(&self, subject: &Subject, writes: impl IntoIterator<Item = (ObjectRef, Written)>) {
        let mut writes = writes.into_iter().peekable();
        if writes.peek().is_none() {
            return;
        }
        let mut entries = self.lock();
        let entry = entries.entry(subject.clone()).or_default();
        entry.looks = 0;
        entry.writes.extend(writes);
    }

    /// Looks whether the stores show every write made for `subject`, and forgets those they do.
    pub fn look(&self, subject: &Subject, stores: &Stores) -> Freshness {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(subject) else {
            return Freshness::Current;
        };
        entry
            .writes
            .retain(|target, written| !stores.have_seen(target, written));
        let Some(behind) = entry.writes.keys().min().cloned() else {
            entries.remove(subject);
            return Freshness::Current;
        };
        entry.looks += 1;
        if entry.looks > LOOKS_MAX {
            tracing::debug!(subject = %subject.key, target = %behind, "The watch does not show our own write; asking the server.");
            return Freshness::Overdue(entry.writes.keys().cloned().collect());
        }
        Freshness::Behind(behind)
    }

    /// Forgets everything about `subject`, when it is gone or was read again.
    pub fn forget(&self, subject: &Subject) {
        self.lock().remove(subject);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
