//! AWS load balancer controller: an action in an annotation of each Ingress, and an action, a condition and paths for
//! each header route (reference, rollouts 5.2).
//!
//! Owns the annotations it lists in [`well_known::MANAGED_ALB_ANNOTATIONS`] (an old release of the original in
//! [`well_known::MANAGED_ALB_ACTIONS`]) and the paths whose backend is a managed
//! route; everything else stays as it is (guarantee T8). Each Ingress is looked at for itself: one that needs nothing, or
//! is wrong, keeps no other from being edited.

use super::{
    Routing, Seen, Wanted,
    edits::{self, MANAGER},
    routes::{Match, Route, RouteKind},
};
use crate::{
    api::{
        traffic::{AlbTrafficRouting, HeaderRoutingMatch},
        well_known,
    },
    plan::{Action, ObjectRef},
};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressRule, IngressServiceBackend, ServiceBackendPort,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Port of a backend that is an action, not a Service.
const USE_ANNOTATION: &str = "use-annotation";

/// The Ingresses a specification names.
pub fn ingresses(alb: &AlbTrafficRouting) -> Vec<&str> {
    if alb.ingress.is_empty() {
        alb.ingresses.iter().map(String::as_str).collect()
    } else {
        vec![alb.ingress.as_str()]
    }
}

/// What the Ingresses say.
pub fn seen(alb: &AlbTrafficRouting, wanted: &Wanted<'_>, objects: &[&Ingress]) -> Seen {
    let live = || ingresses(alb).into_iter().filter_map(|name| find(objects, name));
    let weights: Vec<i32> = live().map(|live| weight_of(alb, wanted, live)).collect();
    let weight = weights.iter().copied().max().unwrap_or(0);
    Seen {
        weight,
        everywhere: weights.iter().all(|each| *each == weight),
        routed_apart: live().any(|live| rules(live).iter().flat_map(paths).any(|path| is_ours(path, wanted))),
        ..Seen::default()
    }
}

/// Edits that make true what is wanted.
pub fn route(alb: &AlbTrafficRouting, wanted: &Wanted<'_>, objects: &[&Ingress]) -> Routing {
    let mut routing = Routing {
        observed: seen(alb, wanted, objects).weight,
        ..Routing::default()
    };
    for name in ingresses(alb) {
        let Some(live) = find(objects, name) else {
            routing.problems.push(format!("ingress `{name}` not found"));
            continue;
        };
        if !rules(live)
            .iter()
            .flat_map(paths)
            .any(|path| leads_to(path, root(alb, wanted)))
        {
            let root = root(alb, wanted);
            let problem = format!("ingress `{name}` has no rules using service {root} backend");
            routing.problems.push(problem);
            // The weight follows all the same: an abort must go through (guarantee T5).
        }
        match patch(alb, wanted, live) {
            Err(problem) => routing.problems.push(format!("ingress `{name}`: {problem}")),
            Ok(None) => {}
            Ok(Some(patch)) => {
                let weight = wanted.weights.canary;
                routing.events.push((
                    "PatchingALBIngress",
                    format!("Updating Ingress `{name}` to desiredWeight '{weight}'"),
                ));
                routing.reweighted = true;
                routing.edits.push(Action::Merge {
                    target: ObjectRef::namespaced(
                        "networking.k8s.io/v1",
                        "Ingress",
                        edits::namespace(wanted.rollout),
                        name,
                    ),
                    patch,
                    manager: MANAGER,
                    precondition: Some(edits::version(&live.metadata)),
                });
            }
        }
    }
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

fn find<'a>(objects: &[&'a Ingress], name: &str) -> Option<&'a Ingress> {
    let mut objects = objects.iter().copied();
    objects.find(|ingress| ingress.metadata.name.as_deref() == Some(name))
}

/// The Service whose name is that of the action.
fn root<'a>(alb: &'a AlbTrafficRouting, wanted: &Wanted<'a>) -> &'a str {
    if alb.root_service.is_empty() {
        wanted.stable_service
    } else {
        &alb.root_service
    }
}

fn key(alb: &AlbTrafficRouting, what: &str, name: &str) -> String {
    let prefix = if alb.annotation_prefix.is_empty() {
        well_known::ALB_PREFIX
    } else {
        &alb.annotation_prefix
    };
    format!("{prefix}/{what}.{name}")
}

fn annotation<'a>(live: &'a Ingress, key: &str) -> Option<&'a str> {
    live.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn rules(live: &Ingress) -> &[IngressRule] {
    let rules = live.spec.as_ref().and_then(|spec| spec.rules.as_ref());
    rules.map_or(&[], Vec::as_slice)
}

fn paths(rule: &IngressRule) -> &[HTTPIngressPath] {
    rule.http.as_ref().map_or(&[], |http| http.paths.as_slice())
}

fn leads_to(path: &HTTPIngressPath, service: &str) -> bool {
    path.backend
        .service
        .as_ref()
        .is_some_and(|backend| backend.name == service)
}

/// Whether a path is one that we made for a managed route.
fn is_ours(path: &HTTPIngressPath, wanted: &Wanted<'_>) -> bool {
    edits::managed_names(wanted.rollout).any(|name| is_action(path, name))
}

/// Whether a path leads to the action of this name.
fn is_action(path: &HTTPIngressPath, name: &str) -> bool {
    path.backend.service.as_ref().is_some_and(|service| {
        let port = service.port.as_ref().and_then(|port| port.name.as_deref());
        port == Some(USE_ANNOTATION) && service.name == name
    })
}

/// A forward action, spelled as the original spells it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Forward<'a> {
    r#type: &'static str,
    forward_config: ForwardConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ForwardConfig<'a> {
    target_groups: Vec<TargetGroup<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_group_stickiness_config: Option<Stickiness>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TargetGroup<'a> {
    service_name: &'a str,
    service_port: String,
    weight: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stickiness {
    enabled: bool,
    duration_seconds: i64,
}

fn forward(alb: &AlbTrafficRouting, shares: &[(&'static str, &str, i32)]) -> String {
    let target_groups = shares.iter().map(|(_, service_name, weight)| TargetGroup {
        service_name,
        service_port: alb.service_port.to_string(),
        weight: *weight,
    });
    let stickiness = alb.stickiness_config.as_ref();
    let forward = Forward {
        r#type: "forward",
        forward_config: ForwardConfig {
            target_groups: target_groups.collect(),
            target_group_stickiness_config: stickiness.map(|stickiness| Stickiness {
                enabled: stickiness.enabled,
                duration_seconds: stickiness.duration_seconds,
            }),
        },
    };
    serde_json::to_string(&forward).unwrap_or_default()
}

/// The value under a key in any letter case: the load balancer controller takes both spellings.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    (fields.iter()).find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

/// The canary's weight in the action of an Ingress; 0 when there is none, since the Service of that name then takes all.
fn weight_of(alb: &AlbTrafficRouting, wanted: &Wanted<'_>, live: &Ingress) -> i32 {
    let text = annotation(live, &key(alb, "actions", root(alb, wanted))).unwrap_or_default();
    let action: Value = serde_json::from_str(text).unwrap_or_default();
    let groups = field(&action, "forwardConfig").and_then(|config| field(config, "targetGroups"));
    let groups = groups.and_then(Value::as_array);
    let weight = |service: &str| {
        let of = |group: &&Value| field(group, "serviceName").and_then(Value::as_str) == Some(service);
        let group = groups.into_iter().flatten().find(of)?;
        field(group, "weight").and_then(Value::as_i64)
    };
    let (canary, stable) = (weight(wanted.canary_service), weight(wanted.stable_service));
    edits::share(canary.unwrap_or(0), stable.unwrap_or(0), wanted.weights.total)
}

/// The patch of an Ingress; `None` when nothing differs.
fn patch(alb: &AlbTrafficRouting, wanted: &Wanted<'_>, live: &Ingress) -> Result<Option<Value>, String> {
    let mut desired = vec![(key(alb, "actions", root(alb, wanted)), forward(alb, &wanted.shares()))];
    for (name, headers) in header_routes(wanted.routes.unwrap_or_default()) {
        desired.extend(route_annotations(alb, wanted, name, headers)?);
    }
    let mut patched = Map::new();
    for (key, value) in &desired {
        if !annotation(live, key).is_some_and(|live| is_same(live, value)) {
            patched.insert(key.clone(), Value::from(value.as_str()));
        }
    }
    let mut books = books(live)?;
    let name = edits::name(wanted.rollout);
    let booked = books.get(name).cloned().unwrap_or_default();
    let mut before = booked.clone();
    if let Some((old, rest)) = old_books(live, name) {
        before.extend(old.into_iter().filter(|key| !booked.contains(key)));
        patched.insert(well_known::MANAGED_ALB_ACTIONS.to_owned(), rest);
    }
    let mut keys: Vec<String> = desired.into_iter().map(|(key, _)| key).collect();
    let (kept, over): (Vec<String>, Vec<String>) = match wanted.routes {
        // Those that are there stay, but for the action of another root.
        None => (before.iter().cloned()).partition(|key| !key.contains("/actions.") || is_of_route(alb, wanted, key)),
        Some(_) => (Vec::new(), before.clone()),
    };
    keys.extend(kept.into_iter().filter(|kept| !keys.contains(kept)).collect::<Vec<_>>());
    let over = over
        .into_iter()
        .filter(|over| !keys.contains(over) && annotation(live, over).is_some());
    patched.extend(over.map(|key| (key, Value::Null)));
    if !is_same_set(&booked, &keys) {
        books.insert(name.to_owned(), keys);
        let text = serde_json::to_string(&books).unwrap_or_default();
        patched.insert(well_known::MANAGED_ALB_ANNOTATIONS.to_owned(), Value::from(text));
    }
    let mut patch = Map::new();
    if !patched.is_empty() {
        patch.insert("metadata".to_owned(), json!({ "annotations": patched }));
    }
    if let Some(routes) = wanted.routes {
        let desired: Vec<IngressRule> = rules(live)
            .iter()
            .map(|rule| with_paths(alb, wanted, routes, rule))
            .collect();
        if desired != rules(live) {
            patch.insert("spec".to_owned(), json!({ "rules": desired }));
        }
    }
    Ok((!patch.is_empty()).then_some(Value::Object(patch)))
}

/// Whether two texts say the same in JSON; the order of members and spaces do not count.
fn is_same(live: &str, desired: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    live == desired || (read(live).is_some() && read(live) == read(desired))
}

fn is_same_set(before: &[String], after: &[String]) -> bool {
    before.len() == after.len() && after.iter().all(|key| before.contains(key))
}

fn is_of_route(alb: &AlbTrafficRouting, wanted: &Wanted<'_>, key: &str) -> bool {
    edits::managed_names(wanted.rollout).any(|name| self::key(alb, "actions", name) == key)
}

/// Which annotations of an Ingress belong to which Rollout.
fn books(live: &Ingress) -> Result<BTreeMap<String, Vec<String>>, String> {
    let Some(text) = annotation(live, well_known::MANAGED_ALB_ANNOTATIONS).filter(|text| !text.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(text).map_err(|error| {
        format!(
            "annotation {} is not a map of Rollouts to lists of keys: {error}",
            well_known::MANAGED_ALB_ANNOTATIONS
        )
    })
}

/// What an old release of the original noted for a Rollout, and what is left of its annotation without that. Of one that
/// cannot be read nothing is known to be ours, and it is left as it is.
fn old_books(live: &Ingress, name: &str) -> Option<(Vec<String>, Value)> {
    let text = annotation(live, well_known::MANAGED_ALB_ACTIONS)?;
    let mut books: BTreeMap<String, Vec<String>> = serde_json::from_str(text).ok()?;
    let own = books.remove(name)?;
    let rest = match books.is_empty() {
        true => Value::Null,
        false => Value::from(serde_json::to_string(&books).unwrap_or_default()),
    };
    Some((own, rest))
}

/// The Rollouts that annotations of an Ingress belong to; none where the list of them cannot be read.
pub fn managers(live: &Ingress) -> Vec<String> {
    books(live).map_or_else(|_| Vec::new(), |books| books.into_keys().collect())
}

/// The patch of an Ingress whose Rollout is gone: its annotations go, and the paths of its header routes, which lead
/// nowhere without them. `None` where nothing is listed as its own.
pub(super) fn release(rollout: &str, live: &Ingress) -> Option<Value> {
    let mut books = books(live).ok()?;
    let keys = books.remove(rollout)?;
    // Whatever a list may say: these are all that is ever written.
    let is_ours = |key: &&String| key.contains("/actions.") || key.contains("/conditions.");
    let mut annotations: Map<String, Value> = (keys.iter().filter(is_ours))
        .map(|key| (key.clone(), Value::Null))
        .collect();
    let books = (!books.is_empty()).then(|| serde_json::to_string(&books).unwrap_or_default());
    annotations.insert(well_known::MANAGED_ALB_ANNOTATIONS.to_owned(), Value::from(books));
    let mut patch = Map::from_iter([("metadata".to_owned(), json!({ "annotations": annotations }))]);
    let routes: Vec<&str> = (keys.iter())
        .filter_map(|key| Some(key.split_once("/conditions.")?.1))
        .collect();
    let mut left = rules(live).to_vec();
    for http in left.iter_mut().filter_map(|rule| rule.http.as_mut()) {
        let is_users = |path: &HTTPIngressPath| !routes.iter().any(|route| is_action(path, route));
        // A rule without paths is refused.
        if http.paths.iter().any(is_users) {
            http.paths.retain(is_users);
        }
    }
    if left != rules(live) {
        patch.insert("spec".to_owned(), json!({ "rules": left }));
    }
    Some(Value::Object(patch))
}

/// Mirrors are another router's; validation sees to it that there is one.
fn header_routes<'a>(routes: &[Route<'a>]) -> impl Iterator<Item = (&'a str, &'a [HeaderRoutingMatch])> {
    routes.iter().filter_map(|route| match route.kind {
        RouteKind::Header(headers) => Some((route.name, headers)),
        RouteKind::Mirror(..) => None,
    })
}

/// The action and the condition of a header route.
fn route_annotations(
    alb: &AlbTrafficRouting,
    wanted: &Wanted<'_>,
    route: &str,
    headers: &[HeaderRoutingMatch],
) -> Result<[(String, String); 2], String> {
    let mut conditions = Vec::new();
    for header in headers {
        let name = &header.header_name;
        let Some(Match::Exact(value)) = header.header_value.as_ref().and_then(Match::of) else {
            return Err(format!(
                "ALB compares headers only exactly, expected an exact value for {name}"
            ));
        };
        conditions.push(json!({
            "field": "http-header", "httpHeaderConfig": { "httpHeaderName": name, "values": [value] },
        }));
    }
    Ok([
        (
            key(alb, "actions", route),
            forward(alb, &[("canary", wanted.canary_service, 100)]),
        ),
        (key(alb, "conditions", route), Value::Array(conditions).to_string()),
    ])
}

/// A rule with the paths of header routes before the paths of the action they are made of, in the order of
/// `managedRoutes`.
fn with_paths(alb: &AlbTrafficRouting, wanted: &Wanted<'_>, routes: &[Route<'_>], rule: &IngressRule) -> IngressRule {
    let mut rule = rule.clone();
    let Some(http) = &mut rule.http else { return rule };
    let users: Vec<HTTPIngressPath> = (http.paths.drain(..)).filter(|path| !is_ours(path, wanted)).collect();
    let split: Vec<&HTTPIngressPath> = (users.iter())
        .filter(|path| leads_to(path, root(alb, wanted)))
        .collect();
    let made = header_routes(routes).flat_map(|(name, _)| {
        split.iter().map(move |path| HTTPIngressPath {
            backend: IngressBackend {
                service: Some(IngressServiceBackend {
                    name: name.to_owned(),
                    port: Some(ServiceBackendPort {
                        name: Some(USE_ANNOTATION.to_owned()),
                        number: None,
                    }),
                }),
                resource: None,
            },
            ..(*path).clone()
        })
    });
    let mut paths: Vec<HTTPIngressPath> = made.collect();
    paths.extend(users);
    http.paths = paths;
    rule
}

#[cfg(test)]
mod tests;
