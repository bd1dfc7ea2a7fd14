//! The managers of an object and the fields each of them owns: `metadata.managedFields`.

use super::{compare::Difference, set::FieldSet};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::sim::api) enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// Who owns fields.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::sim::api) struct Manager {
    pub(in crate::sim::api) operation: Operation,
    pub(in crate::sim::api) name: String,
    pub(in crate::sim::api) api_version: String,
    pub(in crate::sim::api) subresource: String,
}

/// As a conflict names it.
impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource \"{}\"", self.subresource)?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Entry {
    set: FieldSet,
    time: String,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::sim::api) struct Managed(BTreeMap<Manager, Entry>);

impl Managed {
    /// What of `changed` other managers own.
    pub(super) fn conflicts(&self, manager: &Manager, changed: &FieldSet) -> Vec<(Manager, FieldSet)> {
        let others = self.0.iter().filter(|(other, _)| *other != manager);
        others
            .map(|(other, entry)| (other.clone(), entry.set.common(changed)))
            .filter(|(_, common)| !common.is_empty())
            .collect()
    }

    pub(super) fn take_from_others(&mut self, manager: &Manager, conflicts: &[(Manager, FieldSet)]) {
        for (other, set) in conflicts.iter().filter(|(other, _)| other != manager) {
            if let Some(entry) = self.0.get_mut(other) {
                entry.set.take_away(set);
            }
        }
        self.tidy();
    }

    /// Sets what a manager owns; returns what it owned before.
    pub(in crate::sim::api) fn replace(&mut self, manager: &Manager, set: FieldSet) -> FieldSet {
        let entry = self.0.entry(manager.clone()).or_default();
        if entry.set != set {
            entry.time = String::new();
        }
        let before = std::mem::replace(&mut entry.set, set);
        self.tidy();
        before
    }

    /// Before the first apply to an object nobody owns a field of, everything in it is owned by what was there before.
    pub(super) fn adopt(&mut self, api_version: &str, fields: impl FnOnce() -> FieldSet) {
        if !self.0.is_empty() {
            return;
        }
        let manager = Manager {
            operation: Operation::Update,
            name: "before-first-apply".to_owned(),
            api_version: api_version.to_owned(),
            subresource: String::new(),
        };
        self.replace(&manager, fields());
    }

    pub(in crate::sim::api) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything anybody owns.
    pub(super) fn union(&self) -> FieldSet {
        let mut union = FieldSet::default();
        self.0.values().for_each(|entry| union.add(&entry.set));
        union
    }

    /// Nobody owns what is gone.
    pub(super) fn forget(&mut self, removed: &FieldSet) {
        self.0.values_mut().for_each(|entry| entry.set.cut_off(removed));
        self.tidy();
    }

    /// Notes a write that was no apply.
    pub(in crate::sim::api) fn update(&mut self, manager: &Manager, difference: &Difference) {
        let Difference { changed, removed } = difference;
        self.forget(removed);
        if changed.is_empty() {
            return;
        }
        for (other, entry) in &mut self.0 {
            if other != manager {
                entry.set.take_away(changed);
            }
        }
        let entry = self.0.entry(manager.clone()).or_default();
        if !entry.set.covers(changed) {
            entry.set.add(changed);
            entry.time = String::new();
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.0.retain(|_, entry| !entry.set.is_empty());
    }

    /// Gives the time to what was changed by the present write.
    pub(in crate::sim::api) fn date(&mut self, now: &str) {
        for entry in self.0.values_mut().filter(|entry| entry.time.is_empty()) {
            now.clone_into(&mut entry.time);
        }
    }

    /// As `metadata.managedFields` shows it.
    pub(in crate::sim::api) fn to_json(&self) -> Value {
        let mut entries: Vec<(&Manager, &Entry)> = self.0.iter().collect();
        entries.sort_by(|(a, old), (b, new)| (a.operation, &old.time, a).cmp(&(b.operation, &new.time, b)));
        entries
            .into_iter()
            .map(|(manager, entry)| {
                let mut shown = json!({"manager": manager.name, "operation": match manager.operation {
                    Operation::Apply => "Apply",
                    Operation::Update => "Update",
                }, "apiVersion": manager.api_version, "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": entry.set.to_json()});
                if !manager.subresource.is_empty()
                    && let Some(map) = shown.as_object_mut()
                {
                    map.insert("subresource".to_owned(), json!(manager.subresource));
                }
                shown
            })
            .collect()
    }

    /// Reads what a client sent as `metadata.managedFields`.
    pub(in crate::sim::api) fn from_json(entries: &Value) -> Self {
        let mut managed = Self::default();
        for entry in entries.as_array().into_iter().flatten() {
            let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let manager = Manager {
                operation: match text("operation").as_str() {
                    "Apply" => Operation::Apply,
                    _ => Operation::Update,
                },
                name: text("manager"),
                api_version: text("apiVersion"),
                subresource: text("subresource"),
            };
            let set = entry.get("fieldsV1").map(FieldSet::from_json).unwrap_or_default();
            managed.0.insert(
                manager,
                Entry {
                    set,
                    time: text("time"),
                },
            );
        }
        managed.tidy();
        managed
    }
}
