//! The objects, as anybody in the world may look at them: by name, kind, label, owner and uid.
//!
//! What writes them is in `commit`, what watches them in `watch`.

use super::{
    kinds::{Key, Kind},
    log::Log,
    stored::Stored,
    watch::Hub,
};
use crate::json::At as _;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Namespace and name.
pub(super) type Place = (String, String);

/// The objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By namespace, then by name.
    pub(super) objects: BTreeMap<String, BTreeMap<String, Arc<Stored>>>,
    /// By label and value.
    labels: BTreeMap<String, BTreeMap<String, BTreeSet<Place>>>,
    /// What happened to them.
    pub(super) log: Log,
}

/// All objects and what finds them quickly.
#[derive(Debug)]
pub struct State {
    pub(super) version: u64,
    /// One for each kind, in the order of `Kind::ALL`.
    pub(super) tables: BTreeMap<Kind, Table>,
    owners: BTreeMap<String, BTreeSet<Key>>,
    uids: BTreeMap<String, Key>,
    /// Counts uids given.
    pub(super) serial: u64,
    pub(super) hub: Hub,
}

impl Default for State {
    fn default() -> Self {
        let hub = Hub::default();
        hub.told.store(1, std::sync::atomic::Ordering::Relaxed);
        Self {
            version: 1,
            tables: Kind::ALL.iter().map(|kind| (*kind, Table::default())).collect(),
            owners: BTreeMap::new(),
            uids: BTreeMap::new(),
            serial: 0,
            hub,
        }
    }
}

impl State {
    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.stored(key).map(|stored| &stored.value)
    }

    /// The objects of a kind in a namespace, or with `None` in all of them, by namespace and name.
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<&Arc<Value>> {
        self.all(kind, namespace).map(|(_, _, stored)| &stored.value).collect()
    }

    /// The objects of a kind in a namespace with this label, by name.
    pub fn labelled(&self, kind: Kind, namespace: &str, label: &str, value: &str) -> Vec<&Arc<Value>> {
        self.selected(kind, namespace, [(label, value)])
    }

    /// The objects of a kind in a namespace that carry all these labels, by name; none when `labels` is empty.
    pub fn selected<'a>(
        &self,
        kind: Kind,
        namespace: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<&Arc<Value>> {
        let mut labels = labels.into_iter();
        let (Some((label, value)), Some(table)) = (labels.next(), self.tables.get(&kind)) else {
            return Vec::new();
        };
        let rest: Vec<(&str, &str)> = labels.collect();
        let places = table.labels.get(label).and_then(|values| values.get(value));
        let found = places.into_iter().flatten().filter(|(there, _)| there == namespace);
        let objects = found.filter_map(|(namespace, name)| table.objects.get(namespace)?.get(name));
        let carries = |object: &Value, (label, value): &(&str, &str)| {
            labels_of(object).any(|(name, found)| name == *label && found == *value)
        };
        objects
            .map(|stored| &stored.value)
            .filter(|object| rest.iter().all(|wanted| carries(object, wanted)))
            .collect()
    }

    /// The objects that name this uid as an owner.
    pub fn owned_by(&self, uid: &str) -> Vec<(&Key, &Arc<Value>)> {
        let keys = self.owners.get(uid).into_iter().flatten();
        keys.filter_map(|key| Some((key, self.get(key)?))).collect()
    }

    /// The object with this uid.
    pub fn by_uid(&self, uid: &str) -> Option<(&Key, &Arc<Value>)> {
        let key = self.uids.get(uid)?;
        Some((key, self.get(key)?))
    }

    pub(super) fn stored(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.tables.get(&key.kind)?.objects.get(&key.namespace)?.get(&key.name)
    }

    pub(super) fn all<'a, 'n>(
        &'a self,
        kind: Kind,
        namespace: Option<&'n str>,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a Arc<Stored>)> + use<'a, 'n> {
        let tables = self.tables.get(&kind).into_iter().flat_map(|table| &table.objects);
        let wanted = tables.filter(move |(there, _)| namespace.is_none_or(|namespace| namespace == *there));
        wanted.flat_map(|(namespace, objects)| {
            objects
                .iter()
                .map(move |(name, stored)| (namespace.as_str(), name.as_str(), stored))
        })
    }

    /// Every object with its key.
    pub(super) fn everything(&self) -> impl Iterator<Item = (Key, &Arc<Stored>)> {
        Kind::ALL.iter().flat_map(|kind| {
            self.all(*kind, None)
                .map(|(namespace, name, stored)| (Key::new(*kind, namespace, name), stored))
        })
    }

    /// Puts or removes an object, and keeps the indexes right.
    pub(super) fn put(&mut self, key: &Key, before: Option<&Arc<Stored>>, after: Option<&Arc<Stored>>) {
        let Some(table) = self.tables.get_mut(&key.kind) else {
            return;
        };
        let (old, new) = (before.map(|stored| &*stored.value), after.map(|stored| &*stored.value));
        let differs =
            |pointer: &str| old.and_then(|object| object.at(pointer)) != new.and_then(|object| object.at(pointer));
        let is_reowned = differs("/metadata/ownerReferences") || differs("/metadata/uid");
        if differs("/metadata/labels") {
            table.relabel(key, old, new);
        }
        let namespace = table.objects.entry(key.namespace.clone()).or_default();
        match after {
            Some(stored) => {
                namespace.insert(key.name.clone(), Arc::clone(stored));
            }
            None => {
                namespace.remove(&key.name);
                if namespace.is_empty() {
                    table.objects.remove(&key.namespace);
                }
            }
        }
        if is_reowned {
            self.reown(key, old, new);
        }
    }

    fn reown(&mut self, key: &Key, old: Option<&Value>, new: Option<&Value>) {
        let uids = |object: Option<&Value>| -> BTreeSet<String> {
            let owners = object.into_iter().flat_map(owner_uids);
            owners.map(str::to_owned).collect()
        };
        let (before, after) = (uids(old), uids(new));
        for uid in before.difference(&after) {
            if let Some(keys) = self.owners.get_mut(uid) {
                keys.remove(key);
                if keys.is_empty() {
                    self.owners.remove(uid);
                }
            }
        }
        for uid in after.difference(&before) {
            self.owners.entry(uid.clone()).or_default().insert(key.clone());
        }
        let (before, after) = (old.map(uid_of), new.map(uid_of));
        if before != after {
            before.map(|uid| self.uids.remove(uid));
            after.map(|uid| self.uids.insert(uid.to_owned(), key.clone()));
        }
    }
}

impl Table {
    fn relabel(&mut self, key: &Key, old: Option<&Value>, new: Option<&Value>) {
        let place = (key.namespace.clone(), key.name.clone());
        for (label, value) in old.into_iter().flat_map(labels_of) {
            let Some(values) = self.labels.get_mut(label) else {
                continue;
            };
            if let Some(places) = values.get_mut(value) {
                places.remove(&place);
                if places.is_empty() {
                    values.remove(value);
                }
            }
        }
        for (label, value) in new.into_iter().flat_map(labels_of) {
            let values = self.labels.entry(label.to_owned()).or_default();
            values.entry(value.to_owned()).or_default().insert(place.clone());
        }
    }
}

fn labels_of(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    let labels = object.at("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(label, value)| Some((label.as_str(), value.as_str()?)))
}

/// `metadata.ownerReferences[].uid`
pub(super) fn owner_uids(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object.at("/metadata/ownerReferences").and_then(Value::as_array);
    owners
        .into_iter()
        .flatten()
        .filter_map(|owner| owner.get("uid")?.as_str())
}

/// A text in `metadata`, or empty.
pub(super) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    let metadata = object.get("metadata");
    metadata
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `metadata.uid`, or empty.
pub(super) fn uid_of(object: &Value) -> &str {
    meta(object, "uid")
}
