//! What happened to the objects of a kind, as far back as it is remembered, and what a watch sees of it.

use super::{
    faults::Happening,
    selector::{Fields, Labels},
    stored::Stored,
};
use std::{collections::VecDeque, sync::Arc};

/// One change of one object.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) before: Option<Arc<Stored>>,
    pub(super) after: Option<Arc<Stored>>,
    /// What a watch is shown of an object that is gone, or left its selector: the old one at the new version.
    last: Option<Arc<Stored>>,
}

impl Event {
    pub(super) fn new(
        version: u64,
        (namespace, name): (String, String),
        before: Option<Arc<Stored>>,
        after: Option<Arc<Stored>>,
    ) -> Self {
        let last = match (&before, &after) {
            (Some(before), None) => Some(Arc::new(before.at_version(version))),
            _ => None,
        };
        Self {
            version,
            namespace,
            name,
            before,
            after,
            last,
        }
    }

    /// What a watch with this selection sees of it.
    pub(super) fn seen_by(&self, spec: &Selection) -> Option<(Happening, Arc<Stored>)> {
        if spec.namespace.as_ref().is_some_and(|wanted| *wanted != self.namespace) {
            return None;
        }
        let matching = |stored: &&Arc<Stored>| spec.matches(stored);
        match (
            self.before.as_ref().filter(matching),
            self.after.as_ref().filter(matching),
        ) {
            (None, None) => None,
            (None, Some(after)) => Some((Happening::Added, Arc::clone(after))),
            (Some(_), Some(after)) => Some((Happening::Modified, Arc::clone(after))),
            (Some(before), None) => {
                let last = self.last.clone();
                Some((
                    Happening::Deleted,
                    last.unwrap_or_else(|| Arc::new(before.at_version(self.version))),
                ))
            }
        }
    }
}

/// What happened to the objects of a kind, as far back as it is remembered.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) events: VecDeque<Event>,
    /// The newest version that is forgotten.
    pub(super) floor: u64,
}

impl Log {
    pub(super) fn push(&mut self, event: Event, retained: usize) {
        self.events.push_back(event);
        while self.events.len() > retained {
            self.floor = self.events.pop_front().map_or(self.floor, |event| event.version);
        }
    }

    pub(super) fn forget(&mut self, version: u64) {
        self.events.clear();
        self.floor = version;
    }

    /// Events after a version.
    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = &Event> {
        let known = self.events.partition_point(|event| event.version <= version);
        self.events.range(known..)
    }
}

/// What a list or a watch is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) namespace: Option<String>,
    pub(super) labels: Labels,
    pub(super) fields: Fields,
}

impl Selection {
    pub(super) fn matches(&self, stored: &Stored) -> bool {
        self.labels.matches(&stored.value) && self.fields.matches(&stored.value)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}
