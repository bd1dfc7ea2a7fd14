//! Service Mesh Interface: a TrafficSplit of our own (reference, rollouts 5.4).

use super::{
    Objects, Routing, Seen, Wanted, edits,
    foreign::{Foreign, ForeignKind},
};
use crate::{
    api::{rollout::Rollout, traffic::SmiTrafficRouting},
    plan::Action,
};
use serde_json::{Value, json};

const KIND: ForeignKind = ForeignKind::TrafficSplit;
/// Version of the API where the cluster was not asked yet: the one the original writes.
const API_VERSION_DEFAULT: &str = "split.smi-spec.io/v1alpha1";
/// Weights of `v1alpha1` are quantities; in this part of one they are compared.
const MILLI: i64 = 1000;

/// The name of the TrafficSplit.
pub fn split_name<'a>(smi: &'a SmiTrafficRouting, rollout: &'a Rollout) -> &'a str {
    if smi.traffic_split_name.is_empty() {
        edits::name(rollout)
    } else {
        &smi.traffic_split_name
    }
}

/// What the TrafficSplit says. One of somebody else says nothing.
pub fn seen(smi: &SmiTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Seen {
    let live = live(smi, wanted, objects).filter(|live| edits::controlled_by(&live.object.metadata, wanted.rollout));
    let weight = live.map_or(0, |live| {
        let backends = live
            .spec()
            .and_then(|spec| spec.get("backends"))
            .and_then(Value::as_array);
        let weight = |service: &str| {
            let mut backends = backends.into_iter().flatten();
            let named = |backend: &&Value| backend.get("service").and_then(Value::as_str) == Some(service);
            backends
                .find(named)
                .and_then(|backend| backend.get("weight"))
                .map_or(0, milli)
        };
        let (canary, stable) = (weight(wanted.canary_service), weight(wanted.stable_service));
        let total = wanted.weights.total;
        if canary + stable == i64::from(total) * MILLI && canary % MILLI == 0 {
            i32::try_from(canary / MILLI).unwrap_or(total)
        } else {
            edits::share(canary, stable, total)
        }
    });
    Seen {
        weight,
        ..Seen::default()
    }
}

/// A weight, as a number or a quantity, in thousandths.
fn milli(weight: &Value) -> i64 {
    let text = match weight {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (text, unit) = match text.strip_suffix('m') {
        Some(text) => (text.to_owned(), 1),
        None => (text, MILLI),
    };
    text.parse::<i64>().map_or(0, |number| number.saturating_mul(unit))
}

/// Edits that make true what is wanted.
pub fn route(smi: &SmiTrafficRouting, wanted: &Wanted<'_>, objects: Objects<'_>) -> Routing {
    let observed = seen(smi, wanted, objects.foreign).weight;
    let mut routing = Routing {
        observed,
        ..Routing::default()
    };
    match live(smi, wanted, objects.foreign) {
        Some(live) if !edits::controlled_by(&live.object.metadata, wanted.rollout) => routing
            .problems
            .push(edits::not_ours(&live.kind, &live.object.metadata)),
        Some(live) => {
            let desired = desired(smi, wanted, live.api_version());
            if let Some(patch) = edits::spec_patch(&live, &desired) {
                routing.edits.push(edits::merge(&live, json!({ "spec": patch })));
                routing.reweighted = true;
            }
        }
        None => {
            let served = objects.served.iter().find(|(kind, _)| *kind == KIND);
            let api_version = served.map_or(API_VERSION_DEFAULT, |(_, api_version)| api_version.as_str());
            let name = split_name(smi, wanted.rollout);
            let weight = wanted.weights.canary;
            routing.events.push((
                "TrafficSplitCreated",
                format!("TrafficSplit `{name}` created with weight `{weight}`"),
            ));
            routing.reweighted = weight > 0;
            routing.edits.push(Action::Create {
                object: json!({
                    "apiVersion": api_version, "kind": KIND.kind(),
                    "metadata": {
                        "name": name, "namespace": edits::namespace(wanted.rollout),
                        "ownerReferences": [edits::owner(wanted.rollout)],
                    },
                    "spec": desired(smi, wanted, api_version),
                }),
            });
        }
    }
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

fn live<'a>(smi: &SmiTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'a>]) -> Option<Foreign<'a>> {
    let name = split_name(smi, wanted.rollout);
    edits::find(objects, KIND, edits::namespace(wanted.rollout), name)
}

fn desired(smi: &SmiTrafficRouting, wanted: &Wanted<'_>, api_version: &str) -> Value {
    let root = [smi.root_service.as_str(), wanted.stable_service];
    let root = root.into_iter().find(|name| !name.is_empty());
    let backends = wanted.shares().map(|(_, service, weight)| {
        let weight = if api_version.ends_with("/v1alpha1") {
            Value::from(weight.to_string())
        } else {
            Value::from(weight)
        };
        json!({ "service": service, "weight": weight })
    });
    json!({ "service": root, "backends": backends })
}

#[cfg(test)]
mod tests;
