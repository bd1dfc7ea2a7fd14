//! Gateway API: weights of `backendRefs`, and rules of our own for header routes and mirrors (reference, rollouts 5.9).
//!
//! Owns the weights of the two Services' `backendRefs` and the rules named after `managedRoutes`; every other rule and
//! field stays as it is (guarantee T8). `spec.rules` is one atomic list to the API server, so that server-side apply
//! would take all of it; the whole list is written back instead, bound to the version it was read in.

pub mod config;
mod managed;
mod standing;

use self::config::{GatewayApi, RouteRef};
use super::{
    Routing, Seen, Wanted, edits,
    foreign::{Foreign, ForeignKind},
};
use crate::json::At as _;
use serde_json::{Value, json};

/// Weight of a `backendRef` that names none.
const WEIGHT_DEFAULT: i64 = 1;

impl GatewayApi {
    /// The names of the routes, for people.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.routes.iter().map(ToString::to_string).collect();
        names.join(",")
    }

    /// The routes: kind, namespace and name.
    pub fn references(&self, namespace: &str) -> Vec<(ForeignKind, String, String)> {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        let routes = self.routes.iter();
        routes
            .map(|route| (route.kind, namespace.to_owned(), route.name.clone()))
            .collect()
    }

    /// Whether a kind is among the routes that knows requests, and so headers.
    pub fn knows_requests(&self) -> bool {
        self.routes.iter().any(|route| route.takes_routes)
    }

    fn live<'a>(&self, wanted: &Wanted<'_>, route: &RouteRef, objects: &[Foreign<'a>]) -> Option<Foreign<'a>> {
        edits::find(objects, route.kind, self.namespace_of(wanted), &route.name)
    }

    fn namespace_of<'w>(&'w self, wanted: &Wanted<'w>) -> &'w str {
        self.namespace.as_deref().unwrap_or(edits::namespace(wanted.rollout))
    }

    /// What the routes say.
    pub fn seen(&self, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Seen {
        let mut seen = Seen::default();
        let mut weights = Vec::new();
        for route in &self.routes {
            let Some(live) = self.live(wanted, route, objects) else {
                continue;
            };
            for rule in rules(&live) {
                if managed::is_ours(rule, wanted) {
                    seen.routed_apart |= leads_to(rule, wanted.canary_service);
                } else if let Some(weight) = weight_of(rule, wanted) {
                    weights.push(weight);
                }
            }
            seen.lag = seen.lag.or_else(|| standing::lag(&live));
        }
        seen.weight = weights.iter().copied().max().unwrap_or(0);
        seen.everywhere = weights.iter().all(|weight| *weight == seen.weight);
        seen
    }

    /// Edits that make true what is wanted. A route that is missing or does not fit keeps no other from being edited.
    pub fn route(&self, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Routing {
        let mut routing = Routing {
            observed: self.seen(wanted, objects).weight,
            ..Routing::default()
        };
        for route in &self.routes {
            let Some(live) = self.live(wanted, route, objects) else {
                let problem = edits::not_found(route.kind, self.namespace_of(wanted), &route.name);
                routing.problems.push(problem);
                continue;
            };
            let (desired, problem) = desired(route, wanted, rules(&live));
            let named = |problem| format!("{} \"{}\" {problem}", route.kind, route.name);
            routing.problems.extend(problem.map(named));
            if desired.as_slice() != rules(&live) {
                routing.reweighted = true;
                let patch = json!({ "spec": { "rules": desired } });
                routing.edits.push(edits::merge(&live, patch));
            }
        }
        routing.written = routing.edits.is_empty() && routing.problems.is_empty();
        routing
    }
}

fn rules<'a>(live: &Foreign<'a>) -> &'a [Value] {
    let rules = live.spec().and_then(|spec| spec.get("rules")).and_then(Value::as_array);
    rules.map_or(&[], Vec::as_slice)
}

/// The rules as they should be: ours first, then the user's in their order with the weights in place. Beside it what is
/// wrong with them; whatever that is, rules of ours that are wanted no more go (guarantee T5).
fn desired(route: &RouteRef, wanted: &Wanted<'_>, rules: &[Value]) -> (Vec<Value>, Option<String>) {
    let (ours, users): (Vec<&Value>, Vec<&Value>) = rules.iter().partition(|rule| managed::is_ours(rule, wanted));
    let fits = users.iter().any(|rule| weight_of(rule, wanted).is_some());
    let mut problem = (!fits).then(|| {
        format!(
            "has no rule with backendRefs to both Services, \"{}\" and \"{}\"",
            wanted.stable_service, wanted.canary_service
        )
    });
    let weighted: Vec<Value> = users.into_iter().map(|rule| with_weights(rule, wanted)).collect();
    let kept = || ours.iter().map(|rule| with_weights(rule, wanted)).collect();
    let mut all: Vec<Value> = match wanted.routes {
        Some(routes) if route.takes_routes && fits => managed::rules(route.kind, wanted, routes, &weighted)
            .unwrap_or_else(|found| {
                problem = Some(found);
                kept()
            }),
        // There is no rule to make them of.
        Some(routes) if route.takes_routes && !routes.is_empty() => kept(),
        Some(_) => Vec::new(),
        None => kept(),
    };
    all.extend(weighted);
    (all, problem)
}

fn with_weights(rule: &Value, wanted: &Wanted<'_>) -> Value {
    let mut rule = rule.clone();
    if weight_of(&rule, wanted).is_none() {
        return rule;
    }
    let shares = [
        (wanted.canary_service, wanted.weights.canary),
        (wanted.stable_service, wanted.weights.total - wanted.weights.canary),
    ];
    let backends = rule.get_mut("backendRefs").and_then(Value::as_array_mut);
    for backend in backends.into_iter().flatten() {
        let share = shares.iter().find(|(service, _)| is_service(backend, service));
        if let (Some((_, weight)), Some(backend)) = (share, backend.as_object_mut()) {
            backend.insert("weight".to_owned(), Value::from(*weight));
        }
    }
    rule
}

/// The canary's share of what the two Services get by a rule, out of the total; `None` when it does not lead to both.
/// Rounded up, so that a share is never taken for none.
fn weight_of(rule: &Value, wanted: &Wanted<'_>) -> Option<i32> {
    let share = |service: &str| {
        let backends = rule.get("backendRefs").and_then(Value::as_array)?;
        let mut ours = backends
            .iter()
            .filter(|backend| is_service(backend, service))
            .peekable();
        ours.peek()?;
        let weights = ours.map(|backend| backend.get("weight").and_then(Value::as_i64).unwrap_or(WEIGHT_DEFAULT));
        Some(weights.map(|weight| weight.clamp(0, 1_000_000)).sum::<i64>())
    };
    let (canary, stable) = (share(wanted.canary_service)?, share(wanted.stable_service)?);
    Some(edits::share(canary, stable, wanted.weights.total))
}

/// Whether a `backendRef` names this Service. Without group and kind it names a Service.
fn is_service(backend: &Value, service: &str) -> bool {
    let text = |field: &str| backend.get(field).and_then(Value::as_str);
    text("name") == Some(service)
        && text("kind").is_none_or(|kind| kind == "Service")
        && text("group").is_none_or(str::is_empty)
}

/// Whether a rule sends or copies requests to this Service.
fn leads_to(rule: &Value, service: &str) -> bool {
    let backends = rule.get("backendRefs").and_then(Value::as_array).into_iter().flatten();
    let filters = rule.get("filters").and_then(Value::as_array).into_iter().flatten();
    let mirrored = filters.filter_map(|filter| filter.at("/requestMirror/backendRef"));
    backends.chain(mirrored).any(|backend| is_service(backend, service))
}

#[cfg(test)]
mod tests;
