//! `antiAffinity`: while a version is replaced, pods of the new one stay away from nodes of the stable one (reference,
//! rollouts 1.7).
//!
//! The term names the stable hash. It is in the new ReplicaSet's template as long as the update lasts, whether the
//! ReplicaSet is made for it or used again; a stable ReplicaSet that still has one of an earlier update loses it when the
//! next begins, so that its pods find a node whatever the new ones do (guarantee T4).

use super::view::View;
use crate::api::{
    strategy::AntiAffinity,
    well_known::{HOSTNAME, POD_TEMPLATE_HASH},
};
use serde_json::{Map, Value, json};

const AFFINITY: &str = "affinity";
const ANTI: &str = "podAntiAffinity";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
/// The lists of terms, and where a term of each has its selector.
const LISTS: [(&str, &str); 2] = [
    (REQUIRED, "/labelSelector"),
    (PREFERRED, "/podAffinityTerm/labelSelector"),
];

/// The anti-affinity of the strategy, whichever it is.
pub(crate) fn of<'a>(view: &View<'a>) -> Option<&'a AntiAffinity> {
    let strategy = &view.spec.strategy;
    let canary = strategy
        .canary
        .as_ref()
        .and_then(|canary| canary.anti_affinity.as_ref());
    let blue_green = strategy.blue_green.as_ref();
    canary.or_else(|| blue_green.and_then(|blue_green| blue_green.anti_affinity.as_ref()))
}

/// Gives the pod template of the new ReplicaSet the term against the stable one, during an update, and no other.
pub(crate) fn settle_new(view: &View<'_>, template: &mut Value) {
    let updates = !view.is_initial() && !view.is_promoted();
    let wanted = of(view)
        .filter(|_| updates)
        .and_then(|wanted| term(wanted, &view.status.stable_rs, view.namespace()));
    let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let found = found(spec);
    let is_right = match &wanted {
        Some((list, term)) => {
            let same = |(there, found): &(&str, Value)| there == list && hash_term(found) == hash_term(term);
            matches!(found.as_slice(), [one] if same(one))
        }
        None => found.is_empty(),
    };
    if is_right {
        return;
    }
    strip(spec);
    if let Some((list, term)) = wanted {
        append(spec, list, term);
    }
}

/// Takes every term of an earlier update out of the template of the stable ReplicaSet.
pub(crate) fn settle_stable(template: &mut Value) {
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        strip(spec);
    }
}

/// The list and the term to add.
fn term(wanted: &AntiAffinity, stable: &str, namespace: &str) -> Option<(&'static str, Value)> {
    let plain = json!({
        "labelSelector": {"matchExpressions": [{"key": POD_TEMPLATE_HASH, "operator": "In", "values": [stable]}]},
        "namespaces": [namespace],
        "topologyKey": HOSTNAME,
    });
    if wanted.required_during_scheduling_ignored_during_execution.is_some() {
        return Some((REQUIRED, plain));
    }
    let preferred = wanted.preferred_during_scheduling_ignored_during_execution.as_ref()?;
    Some((PREFERRED, json!({"weight": preferred.weight, "podAffinityTerm": plain})))
}

/// What tells one of our terms from another: its weight and the hashes it names. The server may fill in the rest.
fn hash_term(term: &Value) -> (Option<&Value>, Vec<&Value>) {
    let expressions = LISTS.iter().find_map(|(_, selector)| {
        let selector = term.pointer(selector)?;
        selector.get("matchExpressions")?.as_array()
    });
    let named = expressions
        .into_iter()
        .flatten()
        .filter(|expression| names_hash(expression));
    (
        term.get("weight"),
        named.filter_map(|expression| expression.get("values")).collect(),
    )
}

/// Terms of ours, with the list each is in.
fn found(spec: &Map<String, Value>) -> Vec<(&'static str, Value)> {
    let Some(terms) = spec.get(AFFINITY).and_then(|affinity| affinity.get(ANTI)) else {
        return Vec::new();
    };
    let entries = |list: &str| terms.get(list).and_then(Value::as_array).into_iter().flatten();
    LISTS
        .iter()
        .flat_map(|(list, selector)| {
            let ours = entries(list).filter(|term| is_ours(term, selector));
            ours.map(|term| (*list, term.clone()))
        })
        .collect()
}

fn append(spec: &mut Map<String, Value>, list: &str, term: Value) {
    let fresh = || Value::Object(Map::new());
    let terms = spec
        .entry(AFFINITY)
        .or_insert_with(fresh)
        .as_object_mut()
        .and_then(|affinity| affinity.entry(ANTI).or_insert_with(fresh).as_object_mut());
    let entries = terms.and_then(|terms| {
        let entries = terms.entry(list).or_insert_with(|| Value::Array(Vec::new()));
        entries.as_array_mut()
    });
    if let Some(entries) = entries {
        entries.push(term);
    }
}

/// Removes the terms that keep pods away from those of another hash; a user cannot know a hash. Members that are empty
/// afterwards go as well.
pub(crate) fn strip(spec: &mut Map<String, Value>) {
    let Some(terms) = spec
        .get_mut(AFFINITY)
        .and_then(|affinity| affinity.get_mut(ANTI))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let mut removed = false;
    for (list, selector) in LISTS {
        let Some(entries) = terms.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        let before = entries.len();
        entries.retain(|term| !is_ours(term, selector));
        let lost = entries.len() < before;
        removed |= lost;
        if lost && entries.is_empty() {
            terms.remove(list);
        }
    }
    if !removed || !terms.is_empty() {
        return;
    }
    if let Some(around) = spec.get_mut(AFFINITY).and_then(Value::as_object_mut) {
        around.remove(ANTI);
        if around.is_empty() {
            spec.remove(AFFINITY);
        }
    }
}

fn is_ours(term: &Value, selector: &str) -> bool {
    let expressions = term
        .pointer(selector)
        .and_then(|selector| selector.get("matchExpressions"));
    expressions
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(names_hash)
}

fn names_hash(expression: &Value) -> bool {
    expression.get("key").is_some_and(|key| key == POD_TEMPLATE_HASH)
}
