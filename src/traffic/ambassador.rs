//! Ambassador: beside each Mapping one for the canary, with a weight (reference, rollouts 5.7).
//!
//! Owns the canary Mappings and nothing else. One is made with the first weight. When it is over, its weight goes to 0
//! first, and the object when the data plane has followed; nothing waits for that in between.

use super::{
    Routing, Seen, Wanted, edits,
    foreign::{Foreign, ForeignKind},
};
use crate::{
    api::{rollout::Rollout, traffic::AmbassadorTrafficRouting, well_known},
    plan::Action,
};
use serde_json::{Map, Value, json};

const KIND: ForeignKind = ForeignKind::Mapping;

/// The name of the canary's Mapping.
pub fn canary_name(mapping: &str) -> String {
    format!("{mapping}-canary")
}

/// The Mappings, those of the canary included.
pub fn references(ambassador: &AmbassadorTrafficRouting, rollout: &Rollout) -> Vec<(ForeignKind, String, String)> {
    let namespace = edits::namespace(rollout);
    let names = ambassador
        .mappings
        .iter()
        .flat_map(|name| [name.clone(), canary_name(name)]);
    names.map(|name| (KIND, namespace.to_owned(), name)).collect()
}

/// What the canary's Mappings say.
pub fn seen(ambassador: &AmbassadorTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Seen {
    let mappings = ambassador.mappings.iter();
    let weights: Vec<i32> = mappings
        .map(|mapping| {
            let live = find(wanted, objects, &canary_name(mapping)).filter(|live| is_ours(live, wanted));
            live.map_or(0, |live| weight_of(&live).unwrap_or(0))
        })
        .collect();
    let weight = weights.iter().copied().max().unwrap_or(0);
    Seen {
        weight,
        everywhere: weights.iter().all(|each| *each == weight),
        ..Seen::default()
    }
}

/// Edits that make true what is wanted.
pub fn route(ambassador: &AmbassadorTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Routing {
    let mut routing = Routing {
        observed: seen(ambassador, wanted, objects).weight,
        ..Routing::default()
    };
    for mapping in &ambassador.mappings {
        let live = find(wanted, objects, &canary_name(mapping));
        if let Some(live) = live.filter(|live| !is_ours(live, wanted)) {
            routing
                .problems
                .push(edits::not_ours(&live.kind, &live.object.metadata));
            continue;
        }
        let spec = desired(mapping, wanted, objects);
        let edit = match (&spec, live) {
            // Without the Mapping to copy, the weight still follows, so that an abort goes through (guarantee T5).
            (Err(_), Some(live)) => reweight(&live, wanted.weights.canary),
            (Ok(_), Some(live)) if wanted.weights.canary == 0 => reweight(&live, 0),
            (Ok(spec), Some(live)) => {
                edits::spec_patch(&live, spec).map(|patch| edits::merge(&live, json!({ "spec": patch })))
            }
            (Ok(spec), None) if wanted.weights.canary > 0 => {
                find(wanted, objects, mapping).map(|base| create(&base, spec, wanted))
            }
            (_, None) => None,
        };
        routing.reweighted |= edit.is_some();
        routing.problems.extend(spec.err());
        let over = live.filter(|live| wanted.weights.canary == 0 && wanted.quiet && weight_of(live) == Some(0));
        routing
            .edits
            .extend(edit.or_else(|| over.map(|live| edits::remove(&live))));
    }
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

fn find<'a>(wanted: &Wanted<'_>, objects: &[Foreign<'a>], name: &str) -> Option<Foreign<'a>> {
    edits::find(objects, KIND, edits::namespace(wanted.rollout), name)
}

fn weight_of(live: &Foreign<'_>) -> Option<i32> {
    let weight = live.spec()?.get("weight")?.as_i64()?;
    Some(i32::try_from(weight.max(0)).unwrap_or(i32::MAX))
}

/// Whether a canary Mapping is this Rollout's: it says so, or it leads to the canary Service, as one that the original
/// made, which has no owner.
fn is_ours(live: &Foreign<'_>, wanted: &Wanted<'_>) -> bool {
    let annotations = live.object.metadata.annotations.as_ref();
    match annotations.and_then(|all| all.get(well_known::MANAGED_BY_ROLLOUT)) {
        Some(owner) => owner == edits::name(wanted.rollout),
        None => service_of(live).and_then(host) == Some(wanted.canary_service),
    }
}

fn service_of<'a>(live: &Foreign<'a>) -> Option<&'a str> {
    live.spec()?.get("service")?.as_str()
}

/// The name of the Service in `[scheme://]name[.namespace][:port]`.
fn host(service: &str) -> Option<&str> {
    let (_, rest) = service.split_once("://").unwrap_or(("", service));
    rest.split(['.', ':', '/']).next()
}

fn reweight(live: &Foreign<'_>, weight: i32) -> Option<Action> {
    (weight_of(live) != Some(weight)).then(|| edits::merge(live, json!({ "spec": { "weight": weight } })))
}

/// The specification of the canary's Mapping: that of the stable one, with the Service and the weight of the canary.
fn desired(mapping: &str, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Result<Value, String> {
    let namespace = edits::namespace(wanted.rollout);
    let base = find(wanted, objects, mapping).ok_or_else(|| edits::not_found(KIND, namespace, mapping))?;
    if weight_of(&base).is_some() {
        return Err(format!("Ambassador mapping \"{mapping}\" can not define weight"));
    }
    let service = service_of(&base).unwrap_or_default();
    if host(service) != Some(wanted.stable_service) {
        let stable = wanted.stable_service;
        return Err(format!(
            "{KIND} \"{mapping}\" leads to \"{service}\", expected the stable Service \"{stable}\""
        ));
    }
    let (scheme, rest) = match service.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), service),
    };
    let rest = rest.strip_prefix(wanted.stable_service).unwrap_or_default();
    let mut spec: Map<String, Value> = base.spec().and_then(Value::as_object).cloned().unwrap_or_default();
    let service = format!("{scheme}{}{rest}", wanted.canary_service);
    spec.insert("service".to_owned(), Value::from(service));
    spec.insert("weight".to_owned(), Value::from(wanted.weights.canary));
    Ok(Value::Object(spec))
}

fn create(base: &Foreign<'_>, spec: &Value, wanted: &Wanted<'_>) -> Action {
    let mut metadata = json!({
        "name": canary_name(base.name()), "namespace": base.namespace(),
        "annotations": { well_known::MANAGED_BY_ROLLOUT: edits::name(wanted.rollout) },
    });
    // Hosts choose Mappings by their labels.
    if let (Some(labels), Some(metadata)) = (&base.object.metadata.labels, metadata.as_object_mut()) {
        metadata.insert("labels".to_owned(), json!(labels));
    }
    Action::Create {
        object: json!({
            "apiVersion": base.api_version(), "kind": KIND.kind(), "metadata": metadata, "spec": spec,
        }),
    }
}

#[cfg(test)]
mod tests;
