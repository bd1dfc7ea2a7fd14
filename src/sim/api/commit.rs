//! The one place where the state changes, and what every write has in common before it does.

use super::{
    Options,
    faults::{Faults, Verb},
    kinds::{Key, Kind},
    log::Event,
    observe::Commit,
    ownership::{
        compare::difference,
        managed::{Managed, Manager, Operation},
        shape::Place,
    },
    refusal::Refused,
    settle::{check_identity, raise_generation, restore_metadata, settled},
    state::{State, meta},
    stored::Stored,
    validate::validate,
};
use crate::clock::SharedClock;
use crate::json::At as _;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) type Observer = Box<dyn FnMut(&Commit, &State) + Send>;
pub(super) type Check = Box<dyn FnMut(&Key, Option<&Value>, &Value) -> Result<(), Refused> + Send>;
pub(super) type SharedFaults = Arc<Mutex<Option<Box<dyn Faults>>>>;

/// The server's memory and whom it tells.
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) clock: SharedClock,
    pub(super) options: Options,
    pub(super) observers: Vec<Observer>,
    pub(super) checks: Vec<Check>,
    pub(super) faults: SharedFaults,
}

/// Who writes, and how.
#[derive(Clone, Debug)]
pub(super) struct By {
    pub(super) actor: Arc<str>,
    /// The field manager.
    pub(super) manager: String,
    pub(super) verb: Verb,
    pub(super) subresource: &'static str,
    pub(super) dry_run: bool,
}

impl By {
    pub(super) fn new(actor: &str, verb: Verb) -> Self {
        Self {
            actor: actor.into(),
            manager: actor.to_owned(),
            verb,
            subresource: "",
            dry_run: false,
        }
    }

    pub(super) fn on(mut self, subresource: &'static str) -> Self {
        self.subresource = subresource;
        self
    }

    pub(super) fn manager(&self, kind: Kind, operation: Operation) -> Manager {
        Manager {
            operation,
            name: self.manager.clone(),
            api_version: kind.facts().api_version.to_owned(),
            subresource: self.subresource.to_owned(),
        }
    }
}

/// Who owns the fields after a write.
pub(super) enum Ownership {
    /// The writer owns what it changed.
    Changed,
    /// As server-side apply found.
    Applied(Managed),
}

impl Inner {
    /// The present second, as timestamps show it.
    pub(super) fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Stores what became of an object, or that it is gone, and tells everybody.
    pub(super) fn commit(
        &mut self,
        by: &By,
        key: &Key,
        before: Option<Arc<Stored>>,
        after: Option<(Value, Arc<Managed>)>,
    ) -> Arc<Stored> {
        let version = self.state.version + 1;
        let after = after.map(|(mut value, managed)| {
            if let Some(metadata) = metadata_of(&mut value) {
                metadata.insert("resourceVersion".to_owned(), version.to_string().into());
            }
            Arc::new(Stored::new(Arc::new(value), managed))
        });
        if by.dry_run {
            return after.or(before).unwrap_or_else(nothing);
        }
        self.state.version = version;
        self.state.put(key, before.as_ref(), after.as_ref());
        let place = (key.namespace.clone(), key.name.clone());
        let event = Event::new(version, place, before.clone(), after.clone());
        self.publish(key.kind, event);
        let commit = Commit {
            at: self.clock.now(),
            actor: Arc::clone(&by.actor),
            verb: by.verb,
            subresource: by.subresource,
            key: key.clone(),
            before: before.as_ref().map(|stored| Arc::clone(&stored.value)),
            after: after.as_ref().map(|stored| Arc::clone(&stored.value)),
            version,
        };
        for observer in &mut self.observers {
            observer(&commit, &self.state);
        }
        after.or(before).unwrap_or_else(nothing)
    }

    fn publish(&mut self, kind: Kind, event: Event) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let faults: Option<&mut dyn Faults> = match &mut *faults {
            Some(faults) => Some(&mut **faults),
            None => None,
        };
        self.state.hub.publish(kind, &event, faults);
        if let Some(table) = self.state.tables.get_mut(&kind) {
            table.log.push(event, self.options.retained_events);
        }
    }

    /// Brings a changed object into order, checks it, and stores it if anything is different.
    pub(super) fn finish(
        &mut self,
        by: &By,
        key: &Key,
        before: &Arc<Stored>,
        mut value: Value,
        ownership: Ownership,
    ) -> Result<Arc<Stored>, Refused> {
        let old = &*before.value;
        check_identity(by.verb, key, old, &value)?;
        value = settled(key.kind, by.subresource, old, value);
        let sent = metadata_of(&mut value).and_then(|metadata| metadata.remove("managedFields"));
        restore_metadata(old, &mut value);
        raise_generation(key.kind, old, &mut value);
        if by.subresource != "status" {
            super::defaults::fill(key.kind, &mut value, &mut self.state.serial);
        }
        self.check(key, Some(old), &value)?;
        let managed = self.own(by, key, before, &value, sent.as_ref(), ownership);
        self.show(before, &mut value, sent, &managed);
        if Arc::ptr_eq(&managed, &before.managed) && value == *old {
            return Ok(Arc::clone(before));
        }
        if is_completely_deleted(&value) {
            // The last finalizer went: the writer is shown the object without it, and nobody else.
            self.commit(by, key, Some(Arc::clone(before)), None);
            return Ok(Arc::new(Stored::new(Arc::new(value), managed)));
        }
        Ok(self.commit(by, key, Some(Arc::clone(before)), Some((value, managed))))
    }

    /// Who owns what after a write; the same as before when nothing changes. `sent` is what the client sent as
    /// `managedFields`.
    fn own(
        &self,
        by: &By,
        key: &Key,
        before: &Arc<Stored>,
        value: &Value,
        sent: Option<&Value>,
        ownership: Ownership,
    ) -> Arc<Managed> {
        let mut managed = match ownership {
            Ownership::Applied(managed) => managed,
            Ownership::Changed => {
                let manager = by.manager(key.kind, Operation::Update);
                let mut changes = difference(&before.value, value, &mut Place::root(key.kind));
                changes.ignore_identity();
                let shown = before.value.at("/metadata/managedFields");
                let mut managed = match sent.filter(|sent| Some(*sent) != shown) {
                    Some(sent) => Managed::from_json(sent),
                    None if before.managed.is_settled(&manager, &changes) => return Arc::clone(&before.managed),
                    None => Managed::clone(&before.managed),
                };
                managed.update(&manager, &changes);
                managed
            }
        };
        if managed == *before.managed {
            return Arc::clone(&before.managed);
        }
        managed.date(&self.now());
        Arc::new(managed)
    }

    /// Puts the managers into the object; `sent` is a copy of how they were shown, unless the client changed it.
    fn show(&self, before: &Arc<Stored>, value: &mut Value, sent: Option<Value>, managed: &Arc<Managed>) {
        if !Arc::ptr_eq(managed, &before.managed) {
            if !managed.is_empty() {
                self.show_managed(value, managed);
            }
            return;
        }
        let shown = before.value.at("/metadata/managedFields");
        let same = sent.filter(|sent| Some(sent) == shown).or_else(|| shown.cloned());
        if let (Some(same), Some(metadata)) = (same, metadata_of(value)) {
            metadata.insert("managedFields".to_owned(), same);
        }
    }

    pub(super) fn show_managed(&self, value: &mut Value, managed: &Managed) {
        if self.options.show_managed_fields
            && let Some(metadata) = metadata_of(value)
        {
            metadata.insert("managedFields".to_owned(), managed.to_json());
        }
    }

    /// What the server itself checks, then what the world does.
    pub(super) fn check(&mut self, key: &Key, old: Option<&Value>, new: &Value) -> Result<(), Refused> {
        validate(key, old, new)?;
        self.checks.iter_mut().try_for_each(|check| check(key, old, new))
    }
}

fn nothing() -> Arc<Stored> {
    Arc::new(Stored::new(Arc::new(Value::Null), Arc::default()))
}

/// `metadata` of an object; made when it is missing.
pub(super) fn metadata_of(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let object = object.as_object_mut()?;
    object.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
}

pub(super) fn bump_generation(object: &mut Value) {
    if let Some(metadata) = metadata_of(object) {
        let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Whether a deletion was accepted.
pub(super) fn is_deleting(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
}

/// `metadata.finalizers`
pub(super) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let finalizers = object.at("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().filter_map(Value::as_str)
}

/// Nothing holds the deletion up any more.
fn is_completely_deleted(object: &Value) -> bool {
    let grace = object
        .at("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    let holds_contents = object
        .at("/spec/finalizers")
        .is_some_and(|held| held.as_array().is_some_and(|held| !held.is_empty()));
    is_deleting(object) && grace == Some(0) && finalizers(object).next().is_none() && !holds_contents
}
