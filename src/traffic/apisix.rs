//! Apache APISIX: weights of `backends`, and an ApisixRoute of our own for each header route (reference, rollouts 5.6).
//!
//! Owns the weights of the two Services in the rules named, and the routes it made, which it controls; everything else
//! stays as it is (guarantee T8).

use super::{
    Routing, Seen, Wanted, edits,
    foreign::{Foreign, ForeignKind},
    routes::{Match, RouteKind},
};
use crate::{
    api::{
        rollout::Rollout,
        traffic::{ApisixTrafficRouting, HeaderRoutingMatch},
        well_known,
    },
    plan::Action,
};
use serde_json::{Value, json};

const KIND: ForeignKind = ForeignKind::ApisixRoute;
/// Weight of a backend that names none.
const WEIGHT_DEFAULT: i64 = 100;
/// Weight of a header route's only backend.
const WEIGHT_ALONE: i32 = 100;

/// The name of the route that is split.
pub fn route_name(apisix: &ApisixTrafficRouting) -> &str {
    apisix.route.as_ref().map_or("", |route| &route.name)
}

/// The routes, those it may make included.
pub fn references(apisix: &ApisixTrafficRouting, rollout: &Rollout) -> Vec<(ForeignKind, String, String)> {
    let namespace = edits::namespace(rollout);
    let names = std::iter::once(route_name(apisix)).chain(edits::managed_names(rollout));
    names
        .map(|name| (KIND, namespace.to_owned(), name.to_owned()))
        .collect()
}

/// What the routes say.
pub fn seen(apisix: &ApisixTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Seen {
    let base = base(apisix, wanted, objects);
    let weights: Vec<i32> = base.map_or(Vec::new(), |base| {
        let rules = rules(&base);
        let split = rules.iter().filter(|rule| is_split(apisix, rules, rule));
        split.filter_map(|rule| weight_of(rule, wanted)).collect()
    });
    let weight = weights.iter().copied().max().unwrap_or(0);
    Seen {
        weight,
        everywhere: weights.iter().all(|each| *each == weight),
        routed_apart: made(apisix, wanted, objects).next().is_some(),
        ..Seen::default()
    }
}

/// Edits that make true what is wanted.
pub fn route(apisix: &ApisixTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Routing {
    let mut routing = Routing {
        observed: seen(apisix, wanted, objects).weight,
        ..Routing::default()
    };
    let base = base(apisix, wanted, objects);
    match base {
        None => {
            let namespace = edits::namespace(wanted.rollout);
            let problem = edits::not_found(KIND, namespace, route_name(apisix));
            routing.problems.push(problem);
        }
        Some(base) => {
            let (desired, problems) = desired(apisix, wanted, &base);
            routing.problems.extend(problems);
            if desired.as_slice() != rules(&base) {
                routing
                    .edits
                    .push(edits::merge(&base, json!({ "spec": { "http": desired } })));
            }
        }
    }
    let routes = wanted.routes.unwrap_or_default();
    for (route, base) in routes.iter().filter_map(|route| Some((route, base?))) {
        let RouteKind::Header(headers) = route.kind else {
            // Mirrors are another router's; validation sees to it that there is one.
            continue;
        };
        let spec = header_spec(apisix, wanted, route.name, headers, &base);
        match spec.and_then(|spec| header_route(wanted, route.name, &spec, &base, objects)) {
            Err(problem) => routing.problems.push(problem),
            Ok(edit) => routing.edits.extend(edit),
        }
    }
    if wanted.routes.is_some() {
        let over = made(apisix, wanted, objects).filter(|live| routes.iter().all(|route| route.name != live.name()));
        routing.edits.extend(over.map(|live| edits::remove(&live)));
    }
    routing.reweighted = !routing.edits.is_empty();
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

fn base<'a>(apisix: &ApisixTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'a>]) -> Option<Foreign<'a>> {
    edits::find(objects, KIND, edits::namespace(wanted.rollout), route_name(apisix))
}

/// The routes that we made.
fn made<'a>(
    apisix: &ApisixTrafficRouting,
    wanted: &Wanted<'_>,
    objects: &[Foreign<'a>],
) -> impl Iterator<Item = Foreign<'a>> {
    let objects = objects.iter().copied().filter(|object| object.kind == KIND);
    objects.filter(|object| {
        object.name() != route_name(apisix) && edits::controlled_by(&object.object.metadata, wanted.rollout)
    })
}

fn rules<'a>(live: &Foreign<'a>) -> &'a [Value] {
    let rules = live.spec().and_then(|spec| spec.get("http")).and_then(Value::as_array);
    rules.map_or(&[], Vec::as_slice)
}

fn name_of(rule: &Value) -> Option<&str> {
    rule.get("name").and_then(Value::as_str)
}

/// Whether a rule is to be split. Without names it is the one named after the route, and all where there is none.
fn is_split(apisix: &ApisixTrafficRouting, rules: &[Value], rule: &Value) -> bool {
    let named = apisix.route.as_ref().map_or(&[][..], |route| &route.rules);
    if !named.is_empty() {
        return named.iter().any(|name| Some(name.as_str()) == name_of(rule));
    }
    let route = route_name(apisix);
    name_of(rule) == Some(route) || !rules.iter().any(|rule| name_of(rule) == Some(route))
}

fn is_service(backend: &Value, service: &str) -> bool {
    backend.get("serviceName").and_then(Value::as_str) == Some(service)
}

fn backends(rule: &Value) -> &[Value] {
    let backends = rule.get("backends").and_then(Value::as_array);
    backends.map_or(&[], Vec::as_slice)
}

fn weight_of(rule: &Value, wanted: &Wanted<'_>) -> Option<i32> {
    let weight = |service: &str| {
        let backend = backends(rule).iter().find(|backend| is_service(backend, service))?;
        Some(backend.get("weight").and_then(Value::as_i64).unwrap_or(WEIGHT_DEFAULT))
    };
    let (canary, stable) = (weight(wanted.canary_service)?, weight(wanted.stable_service)?);
    Some(edits::share(canary, stable, wanted.weights.total))
}

/// The rules with the weights in place, and what does not fit.
fn desired(apisix: &ApisixTrafficRouting, wanted: &Wanted<'_>, base: &Foreign<'_>) -> (Vec<Value>, Vec<String>) {
    let mut problems = Vec::new();
    let about = |what: String| format!("{KIND} \"{}\" {what}", base.name());
    let named = apisix.route.iter().flat_map(|route| &route.rules);
    let missing = named.filter(|name| !rules(base).iter().any(|rule| name_of(rule) == Some(name.as_str())));
    problems.extend(missing.map(|name| about(format!("has no rule \"{name}\" in spec.http"))));
    if rules(base).is_empty() {
        problems.push(about("has no rules in spec.http".to_owned()));
    }
    let mut desired = rules(base).to_vec();
    for rule in desired.iter_mut().filter(|rule| is_split(apisix, rules(base), rule)) {
        let missing = wanted.shares().into_iter().find(|(_, service, _)| {
            let count = backends(rule)
                .iter()
                .filter(|backend| is_service(backend, service))
                .count();
            count != 1
        });
        if let Some((role, service, _)) = missing {
            let rule = name_of(rule).unwrap_or_default();
            let what = format!("has no single backend for the {role} service \"{service}\" in rule \"{rule}\"");
            problems.push(about(what));
            continue;
        }
        let backends = rule.get_mut("backends").and_then(Value::as_array_mut);
        for backend in backends.into_iter().flatten() {
            let share = wanted
                .shares()
                .into_iter()
                .find(|(_, service, _)| is_service(backend, service));
            if let (Some((.., weight)), Some(backend)) = (share, backend.as_object_mut()) {
                backend.insert("weight".to_owned(), Value::from(weight));
            }
        }
    }
    (desired, problems)
}

/// What brings the route of a step to what it should be.
fn header_route(
    wanted: &Wanted<'_>,
    name: &str,
    spec: &Value,
    base: &Foreign<'_>,
    objects: &[Foreign<'_>],
) -> Result<Option<Action>, String> {
    let live = edits::find(objects, KIND, edits::namespace(wanted.rollout), name);
    match live {
        Some(live) if !edits::controlled_by(&live.object.metadata, wanted.rollout) => {
            Err(edits::not_ours(&live.kind, &live.object.metadata))
        }
        Some(live) => Ok(edits::spec_patch(&live, spec).map(|patch| edits::merge(&live, json!({ "spec": patch })))),
        None => Ok(Some(create(wanted, name, base, spec))),
    }
}

/// The split rules, with the canary as their only backend, the headers as further conditions, and precedence over the
/// rule they are made of; that which comes first in `managedRoutes` over the others.
fn header_spec(
    apisix: &ApisixTrafficRouting,
    wanted: &Wanted<'_>,
    name: &str,
    headers: &[HeaderRoutingMatch],
    base: &Foreign<'_>,
) -> Result<Value, String> {
    let exprs: Vec<Value> = headers.iter().map(expression).collect::<Result<_, _>>()?;
    let below = edits::managed_names(wanted.rollout).skip_while(|managed| *managed != name);
    let raise = i64::try_from(below.count()).unwrap_or(1);
    let mut spec = base.spec().and_then(Value::as_object).cloned().unwrap_or_default();
    spec.remove("stream");
    let mut made = Vec::new();
    for rule in rules(base).iter().filter(|rule| is_split(apisix, rules(base), rule)) {
        let Some(canary) = (backends(rule).iter()).find(|backend| is_service(backend, wanted.canary_service)) else {
            continue;
        };
        let (mut rule, mut canary) = (rule.clone(), canary.clone());
        if let Some(canary) = canary.as_object_mut() {
            canary.insert("weight".to_owned(), Value::from(WEIGHT_ALONE));
        }
        let priority = rule.get("priority").and_then(Value::as_i64).unwrap_or(0) + raise;
        let Some(fields) = rule.as_object_mut() else { continue };
        fields.insert("backends".to_owned(), json!([canary]));
        fields.insert("priority".to_owned(), Value::from(priority));
        let matched = fields.entry("match").or_insert_with(|| json!({}));
        let own = matched
            .get("exprs")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if let Some(matched) = matched.as_object_mut() {
            let exprs = own.into_iter().chain(exprs.iter().cloned()).collect();
            matched.insert("exprs".to_owned(), Value::Array(exprs));
        }
        made.push(rule);
    }
    spec.insert("http".to_owned(), Value::Array(made));
    Ok(Value::Object(spec))
}

fn expression(header: &HeaderRoutingMatch) -> Result<Value, String> {
    let name = &header.header_name;
    let value = header.header_value.as_ref().and_then(Match::of);
    let value = value.ok_or_else(|| format!("cannot take the header {name} without a value"))?;
    let (op, text) = match value {
        Match::Exact(text) => ("Equal", text.to_owned()),
        Match::Prefix(_) | Match::Regex(_) => ("RegexMatch", value.pattern()),
    };
    Ok(json!({ "subject": { "scope": "Header", "name": name }, "op": op, "value": text }))
}

fn create(wanted: &Wanted<'_>, name: &str, base: &Foreign<'_>, spec: &Value) -> Action {
    let mut metadata = json!({
        "name": name, "namespace": base.namespace(), "ownerReferences": [edits::owner(wanted.rollout)],
    });
    let annotations = base.object.metadata.annotations.as_ref();
    let class = annotations.and_then(|all| all.get(well_known::INGRESS_CLASS));
    if let (Some(class), Some(metadata)) = (class, metadata.as_object_mut()) {
        metadata.insert("annotations".to_owned(), json!({ well_known::INGRESS_CLASS: class }));
    }
    Action::Create {
        object: json!({ "apiVersion": base.api_version(), "kind": KIND.kind(), "metadata": metadata, "spec": spec }),
    }
}

#[cfg(test)]
mod tests;
