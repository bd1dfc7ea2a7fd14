//! Server-side apply: merges what a manager applies into the live object, and removes what it applies no longer.

use super::{
    compare::{difference, fields_of, fields_of_new, keyed},
    managed::{Managed, Manager},
    set::{Element, FieldSet},
    shape::{Place, Shape, key_of},
};
use crate::sim::api::kinds::Kind;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The outcome of an apply.
#[derive(Debug)]
pub(in crate::sim::api) struct Applied {
    pub(in crate::sim::api) object: Value,
    pub(in crate::sim::api) managed: Managed,
}

/// Somebody else owns fields that would change: who, and which.
pub(in crate::sim::api) type Conflicts = Vec<(String, Vec<String>)>;

/// Applies `config`, which must be free of what [`strip`] takes away, as `manager`.
pub(in crate::sim::api) fn apply(
    kind: Kind,
    live: &Value,
    managed: &Managed,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Applied, Conflicts> {
    let mut place = Place::root(kind);
    let wanted = fields_of(config, &mut place);
    let mut object = merged(live, config, &mut place);
    let changes = difference(live, &object, &mut place);
    let mut managed = managed.clone();
    managed.adopt(kind.facts().api_version, || fields_of_new(live, &mut place));
    let conflicts = managed.conflicts(manager, &changes.changed);
    if !conflicts.is_empty() && !force {
        let named = conflicts.iter();
        return Err(named.map(|(owner, set)| (owner.to_string(), set.paths())).collect());
    }
    managed.take_from_others(manager, &conflicts);
    let before = managed.replace(manager, wanted.clone());
    let mut dropped = before;
    dropped.take_away(&wanted);
    if !dropped.is_empty() {
        let kept = managed.union();
        prune(&mut object, &dropped, &kept, &mut place);
        let gone = difference(live, &object, &mut place);
        managed.forget(&gone.removed);
    }
    Ok(Applied { object, managed })
}

/// Takes out of an applied object what nobody can own: its identity, and explicit nulls.
pub(in crate::sim::api) fn strip(config: &mut Value) {
    without_nulls(config);
    let Some(object) = config.as_object_mut() else { return };
    object.remove("apiVersion");
    object.remove("kind");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for field in [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "generateName",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            metadata.remove(field);
        }
        if metadata.is_empty() {
            object.remove("metadata");
        }
    }
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn merged(live: &Value, config: &Value, place: &mut Place) -> Value {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if place.map() == Shape::Granular => {
            let mut merged_map = live.clone();
            for (name, value) in config {
                let value = match live.get(name) {
                    Some(before) => place.within(name, |place| merged(before, value, place)),
                    None => value.clone(),
                };
                merged_map.insert(name.clone(), value);
            }
            Value::Object(merged_map)
        }
        (Value::Array(live_items), Value::Array(config_items)) => {
            merged_list(live_items, config_items, place).unwrap_or_else(|| config.clone())
        }
        _ => config.clone(),
    }
}

fn merged_list(live: &[Value], config: &[Value], place: &mut Place) -> Option<Value> {
    let shape = place.list();
    let (live, config) = (named(live, shape)?, named(config, shape)?);
    let is_set = shape == Shape::Set;
    let by_key: BTreeMap<&str, &Value> = live.iter().map(|(key, item)| (key.as_str(), *item)).collect();
    let applied: BTreeMap<&str, &Value> = config.iter().map(|(key, item)| (key.as_str(), *item)).collect();
    let mut items = Vec::new();
    let mut waiting = live.iter().peekable();
    for (key, item) in &config {
        // What only the live object has keeps its place before the next shared item.
        while let Some((_, kept)) = waiting.next_if(|(other, _)| !applied.contains_key(other.as_str())) {
            items.push((*kept).clone());
        }
        waiting.next_if(|(other, _)| other == key);
        items.push(match by_key.get(key.as_str()) {
            Some(before) if !is_set => merged(before, item, place),
            _ => (*item).clone(),
        });
    }
    let rest = waiting.filter(|(other, _)| !applied.contains_key(other.as_str()));
    items.extend(rest.map(|(_, kept)| (*kept).clone()));
    Some(Value::Array(items))
}

/// The items of a list that merges item by item, with what tells them apart.
fn named(items: &[Value], shape: Shape) -> Option<Vec<(String, &Value)>> {
    match shape {
        Shape::Atomic | Shape::Granular => None,
        Shape::Set => Some(items.iter().map(|item| (item.to_string(), item)).collect()),
        Shape::Keyed(keys) => keyed(items, keys),
    }
}

/// Removes the members of `dropped` that no member of `kept` needs.
fn prune(value: &mut Value, dropped: &FieldSet, kept: &FieldSet, place: &mut Place) {
    match value {
        Value::Object(map) => prune_map(map, dropped, kept, place),
        Value::Array(items) => prune_list(items, dropped, kept, place),
        _ => {}
    }
}

fn prune_map(map: &mut Map<String, Value>, dropped: &FieldSet, kept: &FieldSet, place: &mut Place) {
    let none = FieldSet::default();
    for (element, below) in &dropped.children {
        let Element::Field(name) = element else { continue };
        let theirs = kept.child(element).unwrap_or(&none);
        if below.owned && theirs.is_empty() {
            map.remove(name);
            continue;
        }
        let Some(value) = map.get_mut(name) else { continue };
        place.within(name, |place| prune(value, below, theirs, place));
        let is_hollow = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        if is_hollow && theirs.is_empty() {
            map.remove(name);
        }
    }
}

fn prune_list(items: &mut Vec<Value>, dropped: &FieldSet, kept: &FieldSet, place: &mut Place) {
    let none = FieldSet::default();
    match place.list() {
        Shape::Atomic | Shape::Granular => {}
        Shape::Set => items.retain(|item| {
            let element = Element::Value(item.to_string());
            dropped.child(&element).is_none() || kept.child(&element).is_some()
        }),
        Shape::Keyed(keys) => items.retain_mut(|item| {
            let Some(key) = key_of(item, keys) else { return true };
            let element = Element::Key(key);
            let Some(below) = dropped.child(&element) else {
                return true;
            };
            let theirs = kept.child(&element).unwrap_or(&none);
            if below.owned && theirs.is_empty() {
                return false;
            }
            let mut below = below.clone();
            // The keys name the item; they stay as long as it does.
            keys.iter().for_each(|(key, _)| {
                below.children.remove(&Element::Field((*key).to_owned()));
            });
            prune(item, &below, theirs, place);
            true
        }),
    }
}
