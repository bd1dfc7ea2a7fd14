//! The index without its watches: a plain data structure.

use crate::sync::{
    compare::LiveObjects,
    resource::{ResourceKey, TrackingId, text},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// Deleted objects remembered, so that a late event does not bring one back; protects memory.
const GONE_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct State {
    objects: BTreeMap<ResourceKey, Arc<Value>>,
    tracked: HashMap<String, BTreeSet<ResourceKey>>,
    wanted: HashMap<ResourceKey, BTreeSet<String>>,
    wanted_by: HashMap<String, BTreeSet<ResourceKey>>,
    gone: HashSet<String>,
    gone_order: VecDeque<String>,
    /// Objects entered by our own writes while their kind is being listed: the list may be older.
    listing: BTreeMap<(String, String), BTreeSet<ResourceKey>>,
}

impl State {
    /// Replaces what an application wants; returns what nobody wanted before.
    pub(super) fn want<'a>(&mut self, instance: &str, keys: impl Iterator<Item = &'a ResourceKey>) -> Vec<ResourceKey> {
        let keys: BTreeSet<ResourceKey> = keys.cloned().collect();
        let before = self.wanted_by.remove(instance).unwrap_or_default();
        for key in before.difference(&keys) {
            if let Some(instances) = self.wanted.get_mut(key) {
                instances.remove(instance);
                if instances.is_empty() {
                    self.wanted.remove(key);
                    self.drop_if_foreign(key);
                }
            }
        }
        let mut new = Vec::new();
        for key in &keys {
            let instances = self.wanted.entry(key.clone()).or_default();
            if instances.is_empty() && !self.objects.contains_key(key) {
                new.push(key.clone());
            }
            instances.insert(instance.to_owned());
        }
        if !keys.is_empty() {
            self.wanted_by.insert(instance.to_owned(), keys);
        }
        new
    }

    fn drop_if_foreign(&mut self, key: &ResourceKey) {
        if self
            .objects
            .get(key)
            .is_some_and(|object| TrackingId::of_live(object).is_none())
        {
            self.objects.remove(key);
        }
    }

    /// What an application tracks and wants.
    pub(super) fn of_instance(&self, instance: &str) -> LiveObjects {
        let tracked = self.tracked.get(instance).into_iter().flatten();
        let wanted = self.wanted_by.get(instance).into_iter().flatten();
        tracked
            .chain(wanted)
            .filter_map(|key| Some((key.clone(), Arc::clone(self.objects.get(key)?))))
            .collect()
    }

    pub(super) fn get(&self, key: &ResourceKey) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    /// Enters an object, unless a newer version is known; returns the applications concerned.
    pub(super) fn put(&mut self, object: Value, is_own: bool) -> BTreeSet<String> {
        let key = ResourceKey::of(&object);
        let owner = TrackingId::of_live(&object).map(|id| id.instance);
        let before = self.objects.get(&key).cloned();
        if before.is_none() && owner.is_none() && !self.wanted.contains_key(&key) {
            return BTreeSet::new();
        }
        let is_gone = self.gone.contains(text(&object, "/metadata/uid"));
        let is_older = before
            .as_deref()
            .is_some_and(|before| version(before) > version(&object));
        if is_gone || is_older {
            return BTreeSet::new();
        }
        if is_own && let Some(own) = self.listing.get_mut(&(key.group.clone(), key.kind.clone())) {
            own.insert(key.clone());
        }
        let is_same = before
            .as_deref()
            .is_some_and(|before| same_for_decisions(before, &object));
        let mut touched = BTreeSet::new();
        if !is_same {
            touched.extend(self.concerned(&key));
            touched.extend(owner.clone());
        }
        self.untrack(&key);
        if let Some(owner) = owner {
            self.tracked.entry(owner).or_default().insert(key.clone());
        } else if !self.wanted.contains_key(&key) {
            self.objects.remove(&key);
            return touched;
        }
        self.objects.insert(key, Arc::new(object));
        touched
    }

    /// Enters that the object with this uid is gone.
    pub(super) fn remove(&mut self, key: &ResourceKey, uid: &str) -> BTreeSet<String> {
        self.bury(uid);
        match self.objects.get(key) {
            Some(object) if uid.is_empty() || text(object, "/metadata/uid") == uid => self.vanish(key),
            _ => BTreeSet::new(),
        }
    }

    /// Enters that no object of this name exists.
    pub(super) fn vanish(&mut self, key: &ResourceKey) -> BTreeSet<String> {
        let touched = self.concerned(key);
        self.untrack(key);
        match self.objects.remove(key) {
            Some(object) => {
                self.bury(text(&object, "/metadata/uid"));
                touched
            }
            None => BTreeSet::new(),
        }
    }

    pub(super) fn begin_list(&mut self, kind: &(String, String)) {
        self.listing.insert(kind.clone(), BTreeSet::new());
    }

    /// Objects of the kind that were not listed are gone.
    pub(super) fn end_list(&mut self, kind: &(String, String), listed: &BTreeSet<ResourceKey>) -> BTreeSet<String> {
        let own = self.listing.remove(kind).unwrap_or_default();
        let missing: Vec<ResourceKey> = self
            .objects
            .keys()
            .filter(|key| {
                (&key.group, &key.kind) == (&kind.0, &kind.1) && !listed.contains(*key) && !own.contains(*key)
            })
            .cloned()
            .collect();
        missing.iter().flat_map(|key| self.vanish(key)).collect()
    }

    fn concerned(&self, key: &ResourceKey) -> BTreeSet<String> {
        let mut found = self.wanted.get(key).cloned().unwrap_or_default();
        found.extend(
            self.objects
                .get(key)
                .and_then(|object| TrackingId::of_live(object))
                .map(|id| id.instance),
        );
        found
    }

    fn untrack(&mut self, key: &ResourceKey) {
        let Some(owner) = self
            .objects
            .get(key)
            .and_then(|object| TrackingId::of_live(object))
            .map(|id| id.instance)
        else {
            return;
        };
        if let Some(keys) = self.tracked.get_mut(&owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.tracked.remove(&owner);
            }
        }
    }

    fn bury(&mut self, uid: &str) {
        if uid.is_empty() || !self.gone.insert(uid.to_owned()) {
            return;
        }
        self.gone_order.push_back(uid.to_owned());
        if self.gone_order.len() > GONE_MAX
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }
}

/// The resource version, where it is a number (Kubernetes 1.35 and later promise that it can be compared).
fn version(object: &Value) -> Option<u64> {
    text(object, "/metadata/resourceVersion").parse().ok()
}

/// Whether two versions of an object give the same decisions: they differ in bookkeeping only.
fn same_for_decisions(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    let metadata = |object: &serde_json::Map<String, Value>| {
        let mut metadata = object.get("metadata").cloned().unwrap_or_default();
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
        metadata
    };
    a.len() == b.len()
        && a.iter()
            .filter(|(key, _)| *key != "metadata")
            .all(|(key, value)| b.get(key) == Some(value))
        && metadata(a) == metadata(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::well_known::TRACKING_ID;
    use serde_json::json;

    fn object(name: &str, version: u64, owner: Option<&str>, data: &str) -> Value {
        let id = owner.map(|owner| format!("{owner}:/ConfigMap:ns/{name}"));
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": data}, "metadata": {
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "annotations": {TRACKING_ID: id}}})
    }

    fn key(name: &str) -> ResourceKey {
        ResourceKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    fn names(touched: BTreeSet<String>) -> Vec<String> {
        touched.into_iter().collect()
    }

    #[test]
    fn keeps_what_is_tracked_or_wanted_and_nothing_else() {
        let mut state = State::default();
        assert_eq!(state.want("app", [key("wanted")].iter()), [key("wanted")]);
        assert_eq!(names(state.put(object("tracked", 1, Some("app"), "x"), false)), ["app"]);
        assert_eq!(names(state.put(object("wanted", 1, None, "x"), false)), ["app"]);
        assert!(state.put(object("foreign", 1, None, "x"), false).is_empty());
        assert_eq!(state.of_instance("app").len(), 2);
        assert!(state.get(&key("foreign")).is_none());
        state.want("app", std::iter::empty());
        assert_eq!(state.of_instance("app").keys().collect::<Vec<_>>(), [&key("tracked")]);
    }

    #[test]
    fn an_older_event_does_not_undo_our_own_write() {
        let mut state = State::default();
        state.put(object("a", 5, Some("app"), "new"), true);
        assert!(state.put(object("a", 4, Some("app"), "old"), false).is_empty());
        assert_eq!(state.get(&key("a")).unwrap().pointer("/data/a"), Some(&json!("new")));
        assert_eq!(names(state.remove(&key("a"), "uid-a")), ["app"]);
        assert!(
            state.put(object("a", 6, Some("app"), "late"), false).is_empty(),
            "a late event of a deleted object"
        );
    }

    #[test]
    fn bookkeeping_wakes_nobody_and_a_new_owner_wakes_both() {
        let mut state = State::default();
        state.put(object("a", 1, Some("one"), "x"), false);
        assert!(state.put(object("a", 2, Some("one"), "x"), false).is_empty());
        assert_eq!(
            names(state.put(object("a", 3, Some("two"), "x"), false)),
            ["one", "two"]
        );
        assert!(state.of_instance("one").is_empty());
    }

    #[test]
    fn a_list_removes_what_is_gone_but_not_what_we_wrote_meanwhile() {
        let mut state = State::default();
        let kind = (String::new(), "ConfigMap".to_owned());
        state.put(object("gone", 1, Some("app"), "x"), false);
        state.begin_list(&kind);
        state.put(object("ours", 2, Some("app"), "x"), true);
        assert_eq!(names(state.end_list(&kind, &BTreeSet::new())), ["app"]);
        assert_eq!(state.of_instance("app").keys().collect::<Vec<_>>(), [&key("ours")]);
    }
}
