//! Traefik: weights of two Services in a TraefikService (reference, rollouts 5.5).
//!
//! Owns the weights of these two entries; other entries and fields stay as they are (guarantee T8). Traefik compares
//! weights with one another, so that another entry takes its share beside the two.

use super::{
    Routing, Seen, Wanted, edits,
    foreign::{Foreign, ForeignKind},
};
use crate::{api::traffic::TraefikTrafficRouting, json::At as _};
use serde_json::{Value, json};

const KIND: ForeignKind = ForeignKind::TraefikService;
/// Weight of an entry that names none.
const WEIGHT_DEFAULT: i64 = 1;

/// What the TraefikService says.
pub fn seen(traefik: &TraefikTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Seen {
    let weight = live(traefik, wanted, objects).map_or(0, |live| {
        let weight = |service| {
            let entry = entries(&live).iter().find(|entry| is_service(entry, wanted, service));
            entry.map(|entry| entry.get("weight").and_then(Value::as_i64).unwrap_or(WEIGHT_DEFAULT))
        };
        let (canary, stable) = (weight(wanted.canary_service), weight(wanted.stable_service));
        edits::share(canary.unwrap_or(0), stable.unwrap_or(0), wanted.weights.total)
    });
    Seen {
        weight,
        ..Seen::default()
    }
}

/// Edits that make true what is wanted.
pub fn route(traefik: &TraefikTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Routing {
    let mut routing = Routing {
        observed: seen(traefik, wanted, objects).weight,
        ..Routing::default()
    };
    let name = &traefik.weighted_traefik_service_name;
    match live(traefik, wanted, objects) {
        None => {
            let namespace = edits::namespace(wanted.rollout);
            routing.problems.push(edits::not_found(KIND, namespace, name));
        }
        Some(live) => match desired(wanted, entries(&live)) {
            Err(problem) => routing.problems.push(format!("{KIND} \"{name}\": {problem}")),
            Ok(desired) if desired.as_slice() == entries(&live) => {}
            Ok(desired) => {
                let patch = json!({ "spec": { "weighted": { "services": desired } } });
                routing.edits.push(edits::merge(&live, patch));
                routing.reweighted = true;
            }
        },
    }
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

fn live<'a>(traefik: &TraefikTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'a>]) -> Option<Foreign<'a>> {
    let namespace = edits::namespace(wanted.rollout);
    edits::find(objects, KIND, namespace, &traefik.weighted_traefik_service_name)
}

fn entries<'a>(live: &Foreign<'a>) -> &'a [Value] {
    let entries = live.spec().and_then(|spec| spec.at("/weighted/services"));
    entries.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether an entry is this Service of the Rollout's namespace. Without a kind it is a Service.
fn is_service(entry: &Value, wanted: &Wanted<'_>, service: &str) -> bool {
    let text = |field: &str| entry.get(field).and_then(Value::as_str);
    text("name") == Some(service)
        && text("kind").is_none_or(|kind| kind == "Service")
        && text("namespace").is_none_or(|namespace| namespace == edits::namespace(wanted.rollout))
}

fn desired(wanted: &Wanted<'_>, entries: &[Value]) -> Result<Vec<Value>, String> {
    let mut desired = entries.to_vec();
    for (role, service, weight) in wanted.shares() {
        let mut ours = desired.iter_mut().filter(|entry| is_service(entry, wanted, service));
        let Some(entry) = ours.next().and_then(Value::as_object_mut) else {
            return Err(format!("traefik {role} service was not found (\"{service}\")"));
        };
        if ours.next().is_some() {
            return Err(format!("the {role} service \"{service}\" is named more than once"));
        }
        entry.insert("weight".to_owned(), Value::from(weight));
    }
    Ok(desired)
}

#[cfg(test)]
mod tests;
