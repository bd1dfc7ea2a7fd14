//! Merge, JSON and strategic merge patches.

use super::{
    Change,
    kinds::{Key, Kind},
    ownership::shape::{Place, Shape},
    refusal::{Refused, invalid, refused, unsupported},
};
use serde_json::{Map, Value};

/// Changes an object in place.
pub(super) fn patch(key: &Key, object: &mut Value, change: &Change) -> Result<(), Refused> {
    match change {
        Change::Merge(fields) => {
            if !fields.is_object() {
                return Err(refused(400, "BadRequest", "a merge patch must be an object"));
            }
            json_patch::merge(object, fields);
            Ok(())
        }
        Change::Json(operations) => json_patch::patch(object, operations).map_err(|error| {
            invalid(
                key,
                &[("patch", format!("Invalid value: the patch does not apply: {error}"))],
            )
        }),
        Change::Strategic(_) if key.kind.facts().is_custom => Err(unsupported(
            "accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        Change::Strategic(Value::Object(fields)) => {
            let Some(map) = object.as_object_mut() else {
                return Ok(());
            };
            merge_maps(map, fields, &mut Place::root(key.kind));
            Ok(())
        }
        Change::Strategic(_) => Err(refused(400, "BadRequest", "a strategic merge patch must be an object")),
    }
}

/// Lists that a strategic merge joins by a key. It looks at one key where server-side apply may look at several.
fn merge_key(place: &Place) -> Option<&'static str> {
    match place.list() {
        Shape::Keyed([(key, _), ..]) => Some(key),
        Shape::Keyed([]) | Shape::Granular | Shape::Atomic | Shape::Set => None,
    }
}

fn merge_maps(map: &mut Map<String, Value>, fields: &Map<String, Value>, place: &mut Place) {
    match fields.get("$patch").and_then(Value::as_str) {
        Some("delete") => return map.clear(),
        Some("replace") => map.clear(),
        _ => {}
    }
    if let Some(Value::Array(kept)) = fields.get("$retainKeys") {
        map.retain(|name, _| kept.iter().any(|key| key.as_str() == Some(name)));
    }
    for (name, value) in fields {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            remove_items(map.get_mut(list), value);
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        place.within(name, |place| match value {
            Value::Null => {
                map.remove(name);
            }
            Value::Object(fields) => {
                let below = map.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !below.is_object() {
                    *below = Value::Object(Map::new());
                }
                if let Some(below) = below.as_object_mut() {
                    merge_maps(below, fields, place);
                }
            }
            Value::Array(items) => {
                let below = map.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                if !below.is_array() {
                    *below = Value::Array(Vec::new());
                }
                if let Some(below) = below.as_array_mut() {
                    merge_lists(below, items, place);
                }
            }
            scalar => {
                map.insert(name.clone(), scalar.clone());
            }
        });
    }
}

fn remove_items(list: Option<&mut Value>, unwanted: &Value) {
    if let (Some(Value::Array(items)), Value::Array(unwanted)) = (list, unwanted) {
        items.retain(|item| !unwanted.contains(item));
    }
}

fn merge_lists(list: &mut Vec<Value>, items: &[Value], place: &mut Place) {
    if place.list() == Shape::Set {
        list.extend(
            items
                .iter()
                .filter(|item| !list.contains(item))
                .cloned()
                .collect::<Vec<_>>(),
        );
        return;
    }
    let is_replaced = items.iter().any(|item| directive(item) == Some("replace"));
    let Some(key) = merge_key(place).filter(|_| !is_replaced) else {
        let plain = items.iter().filter(|item| directive(item).is_none());
        *list = plain.cloned().collect();
        return;
    };
    for item in items {
        let found = list
            .iter()
            .position(|before| before.get(key).is_some() && before.get(key) == item.get(key));
        match (found.and_then(|index| list.get_mut(index)), item) {
            (_, item) if directive(item) == Some("delete") => {
                list.retain(|before| before.get(key) != item.get(key));
            }
            (Some(Value::Object(before)), Value::Object(fields)) => merge_maps(before, fields, place),
            _ => list.push(item.clone()),
        }
    }
}

fn directive(item: &Value) -> Option<&str> {
    item.get("$patch").and_then(Value::as_str)
}

/// Whether the real server takes a `PUT` without a version.
pub(super) fn may_replace_blindly(kind: Kind) -> bool {
    !kind.facts().is_custom
}
