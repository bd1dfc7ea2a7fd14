//! Istio: weights in the routes of VirtualServices, the pods of a DestinationRule's subsets, and HTTP routes of our own
//! for header routes and mirrors (reference, rollouts 3.5 and 5.3).
//!
//! Owns the weights of the two versions' destinations in the routes named, the HTTP routes named after `managedRoutes`,
//! and the pod hash in the labels of two subsets; every other destination, route and subset stays as it is (guarantee
//! T8). Each VirtualService is looked at for itself: one that needs nothing, or is wrong, holds up no other.

mod managed;
mod split;
mod subsets;

use self::split::Protocol;
use super::{
    Routing, Seen, Wanted, edits,
    foreign::{Foreign, ForeignKind},
};
use crate::{
    api::{
        rollout::Rollout,
        traffic::{IstioDestinationRule, IstioTrafficRouting, IstioVirtualService},
    },
    plan::Action,
};
use serde_json::{Map, Value, json};

const SERVICE: ForeignKind = ForeignKind::VirtualService;
const RULE: ForeignKind = ForeignKind::DestinationRule;

/// The VirtualServices a specification names.
pub fn virtual_services(istio: &IstioTrafficRouting) -> impl Iterator<Item = &IstioVirtualService> {
    istio.virtual_service.iter().chain(&istio.virtual_services)
}

/// The names of the objects, for people.
pub fn names(istio: &IstioTrafficRouting) -> String {
    let names: Vec<&str> = virtual_services(istio).map(|service| service.name.as_str()).collect();
    names.join(",")
}

/// The objects it looks at.
pub fn references(istio: &IstioTrafficRouting, rollout: &Rollout) -> Vec<(ForeignKind, String, String)> {
    let services = virtual_services(istio).map(|service| (SERVICE, service.name.as_str()));
    let rule = istio.destination_rule.iter().map(|rule| (RULE, rule.name.as_str()));
    let named = services.chain(rule).filter(|(_, name)| !name.is_empty());
    named
        .map(|(kind, name)| {
            let (name, namespace) = place(name, edits::namespace(rollout));
            (kind, namespace.to_owned(), name.to_owned())
        })
        .collect()
}

/// Whether a DestinationRule tells the two versions apart, so that no Services are needed.
pub fn has_subsets(istio: &IstioTrafficRouting) -> bool {
    let rule = istio.destination_rule.as_ref();
    rule.is_some_and(|rule| !rule.canary_subset_name.is_empty() && !rule.stable_subset_name.is_empty())
}

/// The edit of a DestinationRule whose Rollout is gone.
pub(super) fn release(live: &Foreign<'_>) -> Action {
    subsets::release(live)
}

/// `name` or `name.namespace`.
fn place<'a>(name: &'a str, own: &'a str) -> (&'a str, &'a str) {
    name.split_once('.').unwrap_or((name, own))
}

fn find<'a>(
    kind: ForeignKind,
    name: &str,
    wanted: &Wanted<'_>,
    objects: &[Foreign<'a>],
) -> Result<Foreign<'a>, String> {
    let (name, namespace) = place(name, edits::namespace(wanted.rollout));
    edits::find(objects, kind, namespace, name).ok_or_else(|| edits::not_found(kind, namespace, name))
}

/// What is wanted of Istio.
struct Ask<'a> {
    wanted: &'a Wanted<'a>,
    rule: Option<&'a IstioDestinationRule>,
}

/// What the VirtualServices and the DestinationRule say.
pub fn seen(istio: &IstioTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Seen {
    let ask = Ask {
        wanted,
        rule: istio.destination_rule.as_ref(),
    };
    let mut seen = Seen::default();
    let mut weights = Vec::new();
    for service in virtual_services(istio) {
        let Ok(live) = find(SERVICE, &service.name, wanted, objects) else {
            continue;
        };
        let picked = split::picked(service, wanted.rollout, &live);
        for (protocol, index) in picked.places {
            let route = split::routes(&live, protocol).get(index);
            weights.extend(route.and_then(|route| split::weight_of(route, &ask)));
        }
        let http = split::routes(&live, Protocol::Http).iter();
        let mut ours = http.filter(|route| managed::is_ours(route, service, wanted.rollout));
        seen.routed_apart |= ours.next().is_some();
    }
    seen.weight = weights.iter().copied().max().unwrap_or(0);
    seen.everywhere = weights.iter().all(|weight| *weight == seen.weight);
    if let Some(rule) = ask.rule {
        let live = find(RULE, &rule.name, wanted, objects).ok();
        let leads = |subset| {
            live.and_then(|live| subsets::hash_of(&live, subset))
                .unwrap_or_default()
        };
        seen.canary_leads = vec![leads(&rule.canary_subset_name).to_owned()];
        seen.stable_leads = vec![leads(&rule.stable_subset_name).to_owned()];
    }
    seen
}

/// Edits that make true what is wanted.
pub fn route(istio: &IstioTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Routing {
    let ask = Ask {
        wanted,
        rule: istio.destination_rule.as_ref(),
    };
    let mut routing = Routing {
        observed: seen(istio, wanted, objects).weight,
        ..Routing::default()
    };
    let mut knows_requests = false;
    for service in virtual_services(istio) {
        match find(SERVICE, &service.name, wanted, objects) {
            Err(problem) => routing.problems.push(problem),
            Ok(live) => {
                let (lists, problems) = desired(service, &ask, &live);
                knows_requests |= lists.has_http;
                routing.problems.extend(problems);
                if !lists.changed.is_empty() {
                    routing
                        .edits
                        .push(edits::merge(&live, json!({ "spec": lists.changed })));
                }
            }
        }
    }
    if let Some(route) = wanted
        .routes
        .and_then(<[_]>::first)
        .filter(|_| !knows_requests && routing.problems.is_empty())
    {
        routing.problems.push(format!(
            "no {SERVICE} has an HTTP route to make the route \"{}\" of",
            route.name
        ));
    }
    if let Some(rule) = ask.rule {
        match find(RULE, &rule.name, wanted, objects).and_then(|live| subsets::edit(rule, wanted, &live)) {
            Err(problem) => routing.problems.push(problem),
            Ok(edit) => routing.edits.extend(edit),
        }
    }
    routing.reweighted = !routing.edits.is_empty();
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

/// The lists of a VirtualService that should be others.
struct Lists {
    changed: Map<String, Value>,
    has_http: bool,
}

fn desired(service: &IstioVirtualService, ask: &Ask<'_>, live: &Foreign<'_>) -> (Lists, Vec<String>) {
    let picked = split::picked(service, ask.wanted.rollout, live);
    let mut problems = picked.problems;
    let mut changed = Map::new();
    let mut has_http = false;
    for protocol in Protocol::ALL {
        let routes = split::routes(live, protocol);
        let places: Vec<usize> = (picked.places.iter())
            .filter(|(of, _)| *of == protocol)
            .map(|(_, at)| *at)
            .collect();
        let mut desired = routes.to_vec();
        let mut split = Vec::new();
        for (at, route) in desired.iter_mut().enumerate().filter(|(at, _)| places.contains(at)) {
            match split::with_weights(route, ask) {
                Ok(weighted) => {
                    *route = weighted;
                    split.push(at);
                }
                Err(problem) => {
                    let called = split::called(protocol, route, at);
                    let what = format!("{SERVICE} \"{}\": {called} {problem}", live.name());
                    problems.push(protocol.invalid(&what));
                    // An abort must go through all the same (guarantee T5).
                    let over = (ask.wanted.weights.canary == 0).then(|| split::without_canary(route, ask));
                    *route = over.flatten().unwrap_or_else(|| route.clone());
                }
            }
        }
        let is_over = ask.wanted.routes.is_some_and(<[_]>::is_empty);
        if protocol == Protocol::Http && (!split.is_empty() || is_over) {
            has_http = !split.is_empty();
            match managed::with_routes(service, ask, &desired, &split) {
                Ok(all) => desired = all,
                Err(problem) => problems.push(format!("{SERVICE} \"{}\": {problem}", live.name())),
            }
        }
        if desired.as_slice() != routes {
            changed.insert(protocol.field().to_owned(), Value::Array(desired));
        }
    }
    (Lists { changed, has_http }, problems)
}

#[cfg(test)]
mod tests;
