//! The walk over two trees. Lists are matched as the API server matches them, which our own managed fields tell; for
//! objects we never applied, by the keys Kubernetes uses for its own lists.

use super::{DIFFERENCES_MAX, Verdict};
use crate::{api::well_known::LAST_APPLIED, lang::quantity};
use serde_json::{Map, Value};

/// Fields of built-in kinds whose items are told apart by these keys.
const MERGE_KEYS: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("imagePullSecrets", &["name"]),
    ("secrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("ownerReferences", &["uid"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("webhooks", &["name"]),
    ("resourceClaims", &["name"]),
];

/// Lists whose order has a meaning although their items have keys.
const ORDERED: &[&str] = &["env", "initContainers"];

/// Fields whose text is an amount when it stands below one of these.
const QUANTITY_PARENTS: &[&str] = &[
    "capacity",
    "default",
    "defaultRequest",
    "hard",
    "limits",
    "max",
    "maxLimitRequestRatio",
    "min",
    "overhead",
    "requests",
];
/// Fields whose text is an amount.
const QUANTITY_FIELDS: &[&str] = &[
    "averageValue",
    "divisor",
    "maxAllowed",
    "minAllowed",
    "sizeLimit",
    "value",
];

struct Walk {
    different: Vec<String>,
    unsure: Vec<String>,
}

/// How far a position is covered by what we know about ownership.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// Fields are owned one by one; the tree tells which are ours.
    Granular(Option<&'a Value>),
    /// Inside something the API server replaces as a whole.
    Whole,
}

/// Compares normalised objects; `owned` is our `fieldsV1`, `previous` what client-side apply wrote before.
pub(super) fn compare(target: &Value, live: &Value, owned: &Value, previous: Option<&Value>) -> Verdict {
    let mut walk = Walk {
        different: Vec::new(),
        unsure: Vec::new(),
    };
    let mut path = String::new();
    walk.value(target, live, Scope::Granular(Some(owned)), &mut path);
    if let Some(previous) = previous {
        walk.removed_since(previous, target, live, &mut path);
    }
    if !walk.different.is_empty() {
        walk.different.truncate(DIFFERENCES_MAX);
        Verdict::Different(walk.different)
    } else if !walk.unsure.is_empty() {
        walk.unsure.truncate(DIFFERENCES_MAX);
        Verdict::Unsure(walk.unsure)
    } else {
        Verdict::Same
    }
}

impl Walk {
    fn value(&mut self, target: &Value, live: &Value, scope: Scope<'_>, path: &mut String) {
        match (target, live) {
            (Value::Object(target), Value::Object(live)) => self.map(target, live, scope, path),
            (Value::Array(target), Value::Array(live)) => self.list(target, live, scope, path),
            _ if same_scalar(target, live, path) => {}
            _ => self.different.push(path.clone()),
        }
    }

    fn map(&mut self, target: &Map<String, Value>, live: &Map<String, Value>, scope: Scope<'_>, path: &mut String) {
        let owned = match scope {
            Scope::Granular(owned) => owned.and_then(Value::as_object),
            Scope::Whole => None,
        };
        for (key, wanted) in target {
            let field = owned.and_then(|owned| owned.get(&format!("f:{key}")));
            // A leaf in our managed fields is owned as a whole; below the root every field is a leaf or has children.
            let below = match (scope, field) {
                (Scope::Whole, _) => Scope::Whole,
                (Scope::Granular(_), Some(Value::Object(children))) if children.is_empty() => Scope::Whole,
                (Scope::Granular(_), field) => Scope::Granular(field),
            };
            within(path, key, |path| match live.get(key) {
                Some(found) => self.value(wanted, found, below, path),
                None if is_empty(wanted) => {}
                None => self.different.push(path.clone()),
            });
        }
        let ours = |key: &String| owned.is_some_and(|owned| owned.contains_key(&format!("f:{key}")));
        for (key, found) in live.iter().filter(|(key, _)| !target.contains_key(*key)) {
            match scope {
                Scope::Whole if !is_empty(found) => within(path, key, |path| self.unsure.push(path.clone())),
                Scope::Granular(_)
                    if ours(key)
                        && key != LAST_APPLIED
                        && !is_identity(path, key)
                        && *found != Value::Object(Map::new()) =>
                {
                    within(path, key, |path| self.different.push(path.clone()));
                }
                Scope::Whole | Scope::Granular(_) => {}
            }
        }
    }

    fn list(&mut self, target: &[Value], live: &[Value], scope: Scope<'_>, path: &mut String) {
        if let Scope::Granular(owned) = scope {
            if let Some(keys) = item_keys(owned, target, path) {
                return self.keyed(target, live, owned, &keys, path);
            }
            if let Some(owned) = owned
                .and_then(Value::as_object)
                .filter(|owned| owned.keys().any(|key| key.starts_with("v:")))
            {
                return self.set(target, live, owned, path);
            }
        }
        if target.len() != live.len() {
            self.different.push(path.clone());
            return;
        }
        for (index, (wanted, found)) in target.iter().zip(live).enumerate() {
            within(path, &index.to_string(), |path| {
                self.value(wanted, found, Scope::Whole, path)
            });
        }
    }

    fn keyed(&mut self, target: &[Value], live: &[Value], owned: Option<&Value>, keys: &[String], path: &mut String) {
        let owned: Vec<(Value, &Value)> = owned
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, fields)| Some((serde_json::from_str(key.strip_prefix("k:")?).ok()?, fields)))
            .collect();
        let mut places = Vec::new();
        for (index, wanted) in target.iter().enumerate() {
            let fields = owned
                .iter()
                .find(|(key, _)| item_matches(wanted, key, keys))
                .map(|(_, fields)| *fields);
            within(path, &index.to_string(), |path| {
                match live.iter().position(|found| item_matches(wanted, found, keys)) {
                    Some(place) => {
                        places.push(place);
                        if let Some(found) = live.get(place) {
                            self.value(wanted, found, Scope::Granular(fields), path);
                        }
                    }
                    None => self.different.push(path.clone()),
                }
            });
        }
        for (key, _) in &owned {
            let in_target = target.iter().any(|wanted| item_matches(wanted, key, keys));
            if !in_target && live.iter().any(|found| item_matches(key, found, keys)) {
                self.different.push(format!("{path}/{key}"));
            }
        }
        let field = path.rsplit('/').next().unwrap_or_default();
        if ORDERED.contains(&field) && !places.is_sorted() {
            self.different.push(path.clone());
        }
    }

    fn set(&mut self, target: &[Value], live: &[Value], owned: &Map<String, Value>, path: &str) {
        if target.iter().any(|wanted| !live.contains(wanted)) {
            self.different.push(path.to_owned());
            return;
        }
        let ours = owned
            .keys()
            .filter_map(|key| serde_json::from_str::<Value>(key.strip_prefix("v:")?).ok());
        for value in ours {
            if !target.contains(&value) && live.contains(&value) {
                self.different.push(format!("{path}/{value}"));
            }
        }
    }

    /// What client-side apply wrote, the target no longer names, and is still there.
    fn removed_since(&mut self, previous: &Value, target: &Value, live: &Value, path: &mut String) {
        match (previous, target, live) {
            (Value::Object(previous), Value::Object(target), Value::Object(live)) => {
                for (key, before) in previous {
                    within(path, key, |path| match (target.get(key), live.get(key)) {
                        (Some(wanted), Some(found)) => self.removed_since(before, wanted, found, path),
                        (None, Some(_)) if !is_empty(before) && !is_identity_path(path) => {
                            self.different.push(path.clone())
                        }
                        _ => {}
                    });
                }
            }
            (Value::Array(previous), Value::Array(target), Value::Array(live)) => {
                let Some(keys) = item_keys(None, target, path) else {
                    return;
                };
                for before in previous {
                    let wanted = target.iter().find(|item| item_matches(before, item, &keys));
                    let found = live.iter().find(|item| item_matches(before, item, &keys));
                    match (wanted, found) {
                        (Some(wanted), Some(found)) => self.removed_since(before, wanted, found, path),
                        (None, Some(_)) => self.different.push(path.clone()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// Runs `body` with `path` extended by a segment.
fn within(path: &mut String, segment: &str, body: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    path.push_str(&segment.replace('~', "~0").replace('/', "~1"));
    body(path);
    path.truncate(length);
}

/// Fields that name the object rather than describe it.
fn is_identity(path: &str, key: &str) -> bool {
    (path.is_empty() && matches!(key, "apiVersion" | "kind"))
        || (path == "/metadata" && matches!(key, "name" | "namespace" | "generateName"))
}

fn is_identity_path(path: &str) -> bool {
    matches!(
        path,
        "/apiVersion" | "/kind" | "/metadata/name" | "/metadata/namespace" | "/metadata/generateName"
    ) || path.ends_with("kubectl.kubernetes.io~1last-applied-configuration")
}

/// The keys that tell the items of a list apart; `None` when the list is one value.
fn item_keys(owned: Option<&Value>, target: &[Value], path: &str) -> Option<Vec<String>> {
    if let Some(owned) = owned.and_then(Value::as_object) {
        let first = owned
            .keys()
            .find_map(|key| serde_json::from_str::<Value>(key.strip_prefix("k:")?).ok());
        if let Some(Value::Object(key)) = first {
            return Some(key.keys().cloned().collect());
        }
        if !owned.is_empty() {
            return None;
        }
    }
    let field = path.rsplit('/').next().unwrap_or_default();
    let has = |key: &str| target.iter().all(|item| item.get(key).is_some());
    let keys: &[&str] = match field {
        // Container ports and Service ports share a name and differ in their key.
        "ports" if has("containerPort") => &["containerPort", "protocol"],
        "ports" if has("port") => &["port", "protocol"],
        _ => MERGE_KEYS
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, keys)| *keys)?,
    };
    let objects = target.iter().all(Value::is_object);
    objects.then(|| keys.iter().map(|key| (*key).to_owned()).collect())
}

/// Whether two items are the same item. A key that one side leaves out is the server's default and matches, except
/// for the first.
fn item_matches(a: &Value, b: &Value, keys: &[String]) -> bool {
    let mut common = false;
    for key in keys {
        match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) if a == b => common = true,
            (Some(Value::String(given)), None) | (None, Some(Value::String(given)))
                if key == "protocol" && given == "TCP" => {}
            (None, None) => {}
            _ => return false,
        }
    }
    common
}

/// Values that the API server leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

/// Nothing, or objects with nothing in them.
fn is_empty_tree(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty_tree),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

fn same_scalar(target: &Value, live: &Value, path: &str) -> bool {
    match (target, live) {
        (a, b) if a == b => true,
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) if is_empty(a) && is_empty(b) => true,
        (a, b) if is_quantity(path) => match (amount(a), amount(b)) {
            (Some(a), Some(b)) => quantity::equal(&a, &b),
            _ => false,
        },
        _ => false,
    }
}

fn is_quantity(path: &str) -> bool {
    let mut segments = path.rsplit('/');
    let field = segments.next().unwrap_or_default();
    let parent = segments.next().unwrap_or_default();
    QUANTITY_FIELDS.contains(&field) || QUANTITY_PARENTS.contains(&parent)
}

fn amount(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The paths at which two trees differ.
pub(super) fn changed_paths(before: &Value, after: &Value, path: &mut String, paths: &mut Vec<String>) {
    if before == after || paths.len() >= DIFFERENCES_MAX || (is_empty_tree(before) && is_empty_tree(after)) {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let (a, b) = (
                    old.get(key).unwrap_or(&Value::Null),
                    new.get(key).unwrap_or(&Value::Null),
                );
                within(path, key, |path| changed_paths(a, b, path, paths));
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (a, b)) in old.iter().zip(new).enumerate() {
                within(path, &index.to_string(), |path| changed_paths(a, b, path, paths));
            }
        }
        _ => paths.push(path.clone()),
    }
}
