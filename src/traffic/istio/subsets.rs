//! The pods that the subsets of a DestinationRule lead to.

use crate::{
    api::{traffic::IstioDestinationRule, well_known},
    json::At as _,
    plan::Action,
    traffic::{Wanted, edits, foreign::Foreign},
};
use serde_json::{Map, Value, json};

fn subsets<'a>(live: &Foreign<'a>) -> &'a [Value] {
    let subsets = live
        .spec()
        .and_then(|spec| spec.get("subsets"))
        .and_then(Value::as_array);
    subsets.map_or(&[], Vec::as_slice)
}

fn is_named(subset: &Value, name: &str) -> bool {
    subset.get("name").and_then(Value::as_str) == Some(name)
}

/// The hash that a subset leads to; `None` where it leads to every version, or is not there.
pub(super) fn hash_of<'a>(live: &Foreign<'a>, name: &str) -> Option<&'a str> {
    let subset = subsets(live).iter().find(|subset| is_named(subset, name))?;
    subset.at("/labels")?.get(well_known::POD_TEMPLATE_HASH)?.as_str()
}

/// The edit that leads the two subsets to their pods. Every other subset stays, those of `additionalSubsetNames` among
/// them.
pub(super) fn edit(
    rule: &IstioDestinationRule,
    wanted: &Wanted<'_>,
    live: &Foreign<'_>,
) -> Result<Option<Action>, String> {
    let rollout = edits::name(wanted.rollout);
    edits::unmanaged_or(live, rollout)?;
    let mut desired = subsets(live).to_vec();
    for (name, hash) in [
        (&rule.canary_subset_name, wanted.canary_hash),
        (&rule.stable_subset_name, wanted.stable_hash),
    ] {
        let Some(subset) = desired.iter_mut().find(|subset| is_named(subset, name)) else {
            return Err(format!("{} \"{}\" has no subset \"{name}\"", live.kind, live.name()));
        };
        let (Some(hash), Some(subset)) = (hash, subset.as_object_mut()) else {
            continue;
        };
        let labels = subset.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(well_known::POD_TEMPLATE_HASH.to_owned(), Value::from(hash));
        }
    }
    if desired.as_slice() == subsets(live) {
        return Ok(None);
    }
    let patch = json!({
        "metadata": { "annotations": { well_known::MANAGED_BY_ROLLOUT: rollout } },
        "spec": { "subsets": desired },
    });
    Ok(Some(edits::merge(live, patch)))
}

/// The edit that leads every subset to all pods that its user's own labels find, and takes the mark away.
pub(super) fn release(live: &Foreign<'_>) -> Action {
    let mut released = subsets(live).to_vec();
    for subset in released.iter_mut().filter_map(Value::as_object_mut) {
        let Some(labels) = subset.get_mut("labels").and_then(Value::as_object_mut) else {
            continue;
        };
        let had = labels.remove(well_known::POD_TEMPLATE_HASH).is_some();
        if had && labels.is_empty() {
            subset.remove("labels");
        }
    }
    let mut patch = Map::from_iter([(
        "metadata".to_owned(),
        json!({ "annotations": { well_known::MANAGED_BY_ROLLOUT: null } }),
    )]);
    if released.as_slice() != subsets(live) {
        patch.insert("spec".to_owned(), json!({ "subsets": released }));
    }
    edits::merge(live, Value::Object(patch))
}
