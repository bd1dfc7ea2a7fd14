//! Which fields a value sets, and which ones differ between two versions of an object.

use super::{
    set::{Element, FieldSet},
    shape::{Place, Shape, key_of},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What differs between two versions.
#[derive(Debug, Default)]
pub(in crate::sim::api) struct Difference {
    /// Fields that are new or have another value.
    pub(super) changed: FieldSet,
    /// Fields that are gone.
    pub(super) removed: FieldSet,
}

impl Difference {
    fn put(&mut self, element: Element, below: Self) {
        self.changed.insert(element.clone(), below.changed);
        self.removed.insert(element, below.removed);
    }
}

/// The items of a keyed list by their keys; `None` when they cannot be told apart.
pub(super) fn keyed<'a>(items: &'a [Value], keys: &[(&str, Option<&str>)]) -> Option<Vec<(String, &'a Value)>> {
    items.iter().map(|item| Some((key_of(item, keys)?, item))).collect()
}

/// The fields a value sets.
pub(in crate::sim::api) fn fields_of(value: &Value, place: &mut Place) -> FieldSet {
    match value {
        Value::Object(map) if !map.is_empty() && place.map() == Shape::Granular => {
            let mut set = FieldSet {
                // Where there is no schema, a map counts itself.
                owned: place.is_untyped(),
                ..FieldSet::default()
            };
            for (name, value) in map {
                let below = place.within(name, |place| fields_of(value, place));
                set.insert(Element::Field(name.clone()), below);
            }
            set
        }
        Value::Array(items) if !items.is_empty() => fields_of_list(items, place),
        _ => FieldSet::leaf(),
    }
}

fn fields_of_list(items: &[Value], place: &mut Place) -> FieldSet {
    let mut set = FieldSet::default();
    match place.list() {
        Shape::Set => {
            for item in items {
                set.insert(Element::Value(item.to_string()), FieldSet::leaf());
            }
        }
        Shape::Keyed(keys) => {
            let Some(items) = keyed(items, keys) else {
                return FieldSet::leaf();
            };
            for (key, item) in items {
                let mut below = fields_of(item, place);
                below.owned = true;
                set.insert(Element::Key(key), below);
            }
        }
        Shape::Atomic | Shape::Granular => return FieldSet::leaf(),
    }
    set
}

/// A field that came: as the real server notes it, maps that are new count themselves, too.
fn added(value: &Value, place: &mut Place) -> FieldSet {
    match value {
        Value::Object(map) if !map.is_empty() && place.map() == Shape::Granular => {
            let mut set = FieldSet::leaf();
            for (name, value) in map {
                let below = place.within(name, |place| added(value, place));
                set.insert(Element::Field(name.clone()), below);
            }
            set
        }
        Value::Array(items) => match place.list() {
            Shape::Keyed(keys) => {
                let Some(items) = keyed(items, keys) else {
                    return FieldSet::leaf();
                };
                let mut set = FieldSet::leaf();
                for (key, item) in items {
                    set.insert(Element::Key(key), added(item, place));
                }
                set
            }
            Shape::Set => {
                let mut set = fields_of(value, place);
                set.owned = true;
                set
            }
            Shape::Atomic | Shape::Granular => FieldSet::leaf(),
        },
        _ => FieldSet::leaf(),
    }
}

/// The fields of a new object, as its maker owns them.
pub(in crate::sim::api) fn fields_of_new(object: &Value, place: &mut Place) -> FieldSet {
    let nothing = Value::Object(Map::new());
    let mut difference = difference(&nothing, object, place);
    difference.ignore_identity();
    difference.changed
}

/// What differs between two versions of an object.
pub(in crate::sim::api) fn difference(old: &Value, new: &Value, place: &mut Place) -> Difference {
    if old == new {
        return Difference::default();
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if place.map() == Shape::Granular => in_maps(old, new, place),
        (Value::Array(old_items), Value::Array(new_items)) => {
            in_lists(old_items, new_items, place).unwrap_or_else(|| whole(new, place))
        }
        _ => whole(new, place),
    }
}

fn whole(new: &Value, place: &mut Place) -> Difference {
    let mut changed = fields_of(new, place);
    changed.owned = true;
    Difference {
        changed,
        removed: FieldSet::default(),
    }
}

fn in_maps(old: &Map<String, Value>, new: &Map<String, Value>, place: &mut Place) -> Difference {
    let mut found = Difference::default();
    for (name, value) in new {
        let below = match old.get(name) {
            Some(before) if before == value => continue,
            Some(before) => place.within(name, |place| difference(before, value, place)),
            None => Difference {
                changed: place.within(name, |place| added(value, place)),
                removed: FieldSet::default(),
            },
        };
        found.put(Element::Field(name.clone()), below);
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        found.removed.insert(Element::Field(name.clone()), FieldSet::leaf());
    }
    found
}

fn in_lists(old: &[Value], new: &[Value], place: &mut Place) -> Option<Difference> {
    let mut found = Difference::default();
    match place.list() {
        Shape::Atomic | Shape::Granular => return None,
        Shape::Set => {
            for item in new.iter().filter(|item| !old.contains(item)) {
                found.changed.insert(Element::Value(item.to_string()), FieldSet::leaf());
            }
            for item in old.iter().filter(|item| !new.contains(item)) {
                found.removed.insert(Element::Value(item.to_string()), FieldSet::leaf());
            }
        }
        Shape::Keyed(keys) => {
            let mut before: BTreeMap<String, &Value> = keyed(old, keys)?.into_iter().collect();
            for (key, item) in keyed(new, keys)? {
                let below = match before.remove(&key) {
                    Some(before) => difference(before, item, place),
                    None => Difference {
                        changed: added(item, place),
                        removed: FieldSet::default(),
                    },
                };
                found.put(Element::Key(key), below);
            }
            for key in before.into_keys() {
                found.removed.insert(Element::Key(key), FieldSet::leaf());
            }
        }
    }
    Some(found)
}

impl Difference {
    /// Leaves out what nobody owns.
    pub(in crate::sim::api) fn ignore_identity(&mut self) {
        for set in [&mut self.changed, &mut self.removed] {
            for field in ["apiVersion", "kind"] {
                set.children.remove(&Element::Field(field.to_owned()));
            }
            let metadata = Element::Field("metadata".to_owned());
            let Some(below) = set.children.get_mut(&metadata) else {
                continue;
            };
            below.owned = false;
            for field in [
                "name",
                "namespace",
                "uid",
                "creationTimestamp",
                "generation",
                "resourceVersion",
                "generateName",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "managedFields",
                "selfLink",
            ] {
                below.children.remove(&Element::Field(field.to_owned()));
            }
            if below.is_empty() {
                set.children.remove(&metadata);
            }
        }
    }
}
