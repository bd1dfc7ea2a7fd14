//! A set of fields: a tree whose nodes say whether the path to them is a member.

use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt::Write};

/// One step of a path.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::sim::api) enum Element {
    /// A field of a map.
    Field(String),
    /// An item of a keyed list, by its keys as canonical JSON.
    Key(String),
    /// An item of a set, as JSON.
    Value(String),
}

/// A set of fields below some path; `owned` says whether that path itself is a member.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::sim::api) struct FieldSet {
    pub(super) owned: bool,
    pub(super) children: BTreeMap<Element, Self>,
}

impl FieldSet {
    /// The set of just the path itself.
    pub(super) fn leaf() -> Self {
        Self {
            owned: true,
            children: BTreeMap::new(),
        }
    }

    pub(in crate::sim::api) fn is_empty(&self) -> bool {
        !self.owned && self.children.values().all(Self::is_empty)
    }

    pub(super) fn insert(&mut self, element: Element, below: Self) {
        if !below.is_empty() {
            self.children.entry(element).or_default().add(&below);
        }
    }

    pub(super) fn child(&self, element: &Element) -> Option<&Self> {
        self.children.get(element)
    }

    /// Union.
    pub(super) fn add(&mut self, other: &Self) {
        self.owned |= other.owned;
        for (element, below) in &other.children {
            self.children.entry(element.clone()).or_default().add(below);
        }
    }

    /// Whether every member of `other` is one of ours.
    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.owned || !other.owned)
            && other
                .children
                .iter()
                .all(|(element, theirs)| match self.children.get(element) {
                    Some(ours) => ours.covers(theirs),
                    None => theirs.is_empty(),
                })
    }

    /// Difference, member by member.
    pub(super) fn take_away(&mut self, other: &Self) {
        self.owned &= !other.owned;
        self.edit_children(other, Self::take_away);
    }

    /// Difference where a member of `other` takes everything below it along.
    pub(super) fn cut_off(&mut self, other: &Self) {
        if other.owned {
            *self = Self::default();
            return;
        }
        self.edit_children(other, Self::cut_off);
    }

    fn edit_children(&mut self, other: &Self, edit: impl Fn(&mut Self, &Self)) {
        for (element, theirs) in &other.children {
            if let Some(ours) = self.children.get_mut(element) {
                edit(ours, theirs);
                if ours.is_empty() {
                    self.children.remove(element);
                }
            }
        }
    }

    /// Members of both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let mut common = Self {
            owned: self.owned && other.owned,
            children: BTreeMap::new(),
        };
        for (element, below) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                common.insert(element.clone(), below.common(theirs));
            }
        }
        common
    }

    /// Members as messages name them, for instance `.spec.containers[name="web"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, at: &mut String, paths: &mut Vec<String>) {
        if self.owned {
            paths.push(at.clone());
        }
        for (element, below) in &self.children {
            let length = at.len();
            match element {
                Element::Field(name) => write!(at, ".{name}"),
                Element::Value(value) => write!(at, "[={value}]"),
                Element::Key(keys) => write!(at, "[{}]", key_text(keys)),
            }
            .unwrap_or_default();
            below.collect_paths(at, paths);
            at.truncate(length);
        }
    }

    /// The `fieldsV1` of a managed fields entry.
    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.owned && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, below) in &self.children {
            let name = match element {
                Element::Field(name) => format!("f:{name}"),
                Element::Key(keys) => format!("k:{keys}"),
                Element::Value(value) => format!("v:{value}"),
            };
            map.insert(name, below.to_json());
        }
        Value::Object(map)
    }

    /// Reads a `fieldsV1`; what cannot be read is left out.
    pub(super) fn from_json(json: &Value) -> Self {
        Self::read(json, true)
    }

    fn read(json: &Value, is_root: bool) -> Self {
        let Some(map) = json.as_object() else {
            return Self::default();
        };
        let mut set = Self {
            owned: !is_root && (map.is_empty() || map.contains_key(".")),
            children: BTreeMap::new(),
        };
        for (name, below) in map {
            let element = match name.split_once(':') {
                Some(("f", name)) => Element::Field(name.to_owned()),
                Some(("k", keys)) => Element::Key(keys.to_owned()),
                Some(("v", value)) => Element::Value(value.to_owned()),
                _ => continue,
            };
            set.children.insert(element, Self::read(below, false));
        }
        set
    }
}

fn key_text(keys: &str) -> String {
    let Ok(Value::Object(map)) = serde_json::from_str(keys) else {
        return keys.to_owned();
    };
    let shown: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
    shown.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_are_read_written_and_subtracted() {
        let fields = json!({"f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:name": {}}}},
            "f:metadata": {"f:finalizers": {"v:\"a\"": {}}}});
        let mut set = FieldSet::from_json(&fields);
        assert_eq!(set.to_json(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.finalizers[=\"a\"]",
                ".spec.containers[name=\"web\"]",
                ".spec.containers[name=\"web\"].image",
                ".spec.containers[name=\"web\"].name",
                ".spec.replicas"
            ]
        );
        let other = FieldSet::from_json(&json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}));
        assert_eq!(set.common(&other).paths(), [".spec.replicas"]);
        set.take_away(&other);
        assert_eq!(set.paths().len(), 4);
        set.cut_off(&FieldSet::from_json(
            &json!({"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {}}}}),
        ));
        assert_eq!(set.to_json(), json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}));
    }
}
