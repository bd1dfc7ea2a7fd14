//! AWS App Mesh: weighted targets of a VirtualRouter, and the pods of two VirtualNodes (reference, rollouts 5.8).
//!
//! Owns the weights of the two nodes in the routes named, and the pod hash in the nodes' selectors; everything else
//! stays as it is (guarantee T8). The router is the one that the VirtualService names.

use super::{
    Routing, Seen, Wanted, edits,
    foreign::{Foreign, ForeignKind},
};
use crate::{
    api::{rollout::Rollout, traffic::AppMeshTrafficRouting, well_known},
    json::At as _,
    plan::Action,
};
use serde_json::{Map, Value, json};

const SERVICE: ForeignKind = ForeignKind::AppMeshVirtualService;
const ROUTER: ForeignKind = ForeignKind::AppMeshVirtualRouter;
const NODE: ForeignKind = ForeignKind::AppMeshVirtualNode;
/// The protocols of a route; each has one.
const PROTOCOLS: [&str; 4] = ["httpRoute", "http2Route", "grpcRoute", "tcpRoute"];

/// The name of the VirtualService.
pub fn service_name(mesh: &AppMeshTrafficRouting) -> &str {
    mesh.virtual_service.as_ref().map_or("", |service| &service.name)
}

/// The objects it looks at. Which router the VirtualService names is not known before it is read, so that all of the
/// namespace are looked at: the empty name.
pub fn references(mesh: &AppMeshTrafficRouting, rollout: &Rollout) -> Vec<(ForeignKind, String, String)> {
    let namespace = edits::namespace(rollout);
    let (canary, stable) = nodes(mesh);
    let named = [(SERVICE, service_name(mesh)), (NODE, canary), (NODE, stable)];
    let named = named.into_iter().filter(|(_, name)| !name.is_empty());
    let all = named.chain([(ROUTER, "")]);
    all.map(|(kind, name)| (kind, namespace.to_owned(), name.to_owned()))
        .collect()
}

/// The names of the canary's and the stable node.
fn nodes(mesh: &AppMeshTrafficRouting) -> (&str, &str) {
    let group = mesh.virtual_node_group.as_ref();
    let canary = group.and_then(|group| group.canary_virtual_node_ref.as_ref());
    let stable = group.and_then(|group| group.stable_virtual_node_ref.as_ref());
    (
        canary.map_or("", |node| &node.name),
        stable.map_or("", |node| &node.name),
    )
}

/// What the router and the nodes say.
pub fn seen(mesh: &AppMeshTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Seen {
    let (canary, stable) = nodes(mesh);
    let leads = |node: &str| {
        let live = edits::find(objects, NODE, edits::namespace(wanted.rollout), node);
        live.and_then(|live| hash_of(&live)).unwrap_or_default().to_owned()
    };
    let mut seen = Seen {
        canary_leads: vec![leads(canary)],
        stable_leads: vec![leads(stable)],
        ..Seen::default()
    };
    let Ok(router) = router(mesh, wanted, objects) else {
        return seen;
    };
    let routes = routes(&router).iter().filter(|route| is_named(mesh, route));
    let weights: Vec<i32> = routes
        .filter_map(targets)
        .map(|targets| {
            let weight = |node: &str| targets.iter().find(|target| is_node(target, node)).map_or(0, weight_of);
            edits::share(weight(canary), weight(stable), wanted.weights.total)
        })
        .collect();
    seen.weight = weights.iter().copied().max().unwrap_or(0);
    seen.everywhere = weights.iter().all(|weight| *weight == seen.weight);
    seen
}

/// Edits that make true what is wanted.
pub fn route(mesh: &AppMeshTrafficRouting, wanted: &Wanted<'_>, objects: &[Foreign<'_>]) -> Routing {
    let mut routing = Routing {
        observed: seen(mesh, wanted, objects).weight,
        ..Routing::default()
    };
    match router(mesh, wanted, objects) {
        Err(problem) => routing.problems.push(problem),
        Ok(router) => {
            let (desired, problems) = desired(mesh, wanted, &router);
            routing.problems.extend(problems);
            if desired.as_slice() != routes(&router) {
                let patch = json!({ "spec": { "routes": desired } });
                routing.edits.push(edits::merge(&router, patch));
            }
        }
    }
    let (canary, stable) = nodes(mesh);
    for (node, hash) in [(canary, wanted.canary_hash), (stable, wanted.stable_hash)] {
        match led_to(node, hash, wanted, objects) {
            Err(problem) => routing.problems.push(problem),
            Ok(edit) => routing.edits.extend(edit),
        }
    }
    routing.reweighted = !routing.edits.is_empty();
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

/// The router that the VirtualService names.
fn router<'a>(
    mesh: &AppMeshTrafficRouting,
    wanted: &Wanted<'_>,
    objects: &[Foreign<'a>],
) -> Result<Foreign<'a>, String> {
    let namespace = edits::namespace(wanted.rollout);
    let name = service_name(mesh);
    let service =
        edits::find(objects, SERVICE, namespace, name).ok_or_else(|| edits::not_found(SERVICE, namespace, name))?;
    let reference = service
        .spec()
        .and_then(|spec| spec.at("/provider/virtualRouter/virtualRouterRef"));
    let text = |field: &str| {
        reference
            .and_then(|reference| reference.get(field))
            .and_then(Value::as_str)
    };
    let router = text("name").ok_or_else(|| {
        format!("App Mesh {SERVICE} \"{name}\" has no VirtualRouter in spec.provider.virtualRouter.virtualRouterRef")
    })?;
    let namespace = text("namespace").unwrap_or(namespace);
    edits::find(objects, ROUTER, namespace, router).ok_or_else(|| edits::not_found(ROUTER, namespace, router))
}

fn routes<'a>(router: &Foreign<'a>) -> &'a [Value] {
    let routes = router.spec().and_then(|spec| spec.get("routes"));
    routes.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn name_of(route: &Value) -> &str {
    route.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a route is among those to split; all are when none is named.
fn is_named(mesh: &AppMeshTrafficRouting, route: &Value) -> bool {
    let named = mesh.virtual_service.as_ref().map_or(&[][..], |service| &service.routes);
    named.is_empty() || named.iter().any(|name| name == name_of(route))
}

fn targets(route: &Value) -> Option<&Vec<Value>> {
    let mut routes = PROTOCOLS.iter().filter_map(|protocol| route.get(*protocol));
    routes.find_map(|route| route.at("/action/weightedTargets")?.as_array())
}

fn is_node(target: &Value, node: &str) -> bool {
    target.at("/virtualNodeRef/name").and_then(Value::as_str) == Some(node)
}

fn weight_of(target: &Value) -> i64 {
    target.get("weight").and_then(Value::as_i64).unwrap_or(0)
}

/// The routes with the weights in place, and what does not fit.
fn desired(mesh: &AppMeshTrafficRouting, wanted: &Wanted<'_>, router: &Foreign<'_>) -> (Vec<Value>, Vec<String>) {
    let mut problems = Vec::new();
    let named = mesh.virtual_service.iter().flat_map(|service| &service.routes);
    let missing = named.filter(|name| !routes(router).iter().any(|route| name_of(route) == name.as_str()));
    problems.extend(missing.map(|name| format!("{ROUTER} \"{}\" has no route \"{name}\"", router.name())));
    if routes(router).is_empty() {
        problems.push(format!("{ROUTER} \"{}\" has no routes", router.name()));
    }
    let mut desired = routes(router).to_vec();
    for route in desired.iter_mut().filter(|route| is_named(mesh, route)) {
        if let Err(problem) = split(route, mesh, wanted, router.name()) {
            problems.push(problem);
        }
    }
    (desired, problems)
}

fn split(route: &mut Value, mesh: &AppMeshTrafficRouting, wanted: &Wanted<'_>, router: &str) -> Result<(), String> {
    let name = name_of(route).to_owned();
    let count = targets(route).map_or(0, Vec::len);
    if count != 2 {
        return Err(format!(
            "Invalid number of weightedTargets ({count}) for AppMesh virtual-router {router} and route {name}, expected 2"
        ));
    }
    let (canary, stable) = nodes(mesh);
    for node in [canary, stable] {
        if !targets(route).is_some_and(|targets| targets.iter().any(|target| is_node(target, node))) {
            return Err(format!(
                "{ROUTER} \"{router}\", route \"{name}\" has no weighted target for node \"{node}\""
            ));
        }
    }
    let [(.., canary_weight), (.., stable_weight)] = wanted.shares();
    let protocol = PROTOCOLS.iter().find(|protocol| route.get(**protocol).is_some());
    let targets = protocol
        .and_then(|protocol| route.get_mut(*protocol)?.get_mut("action")?.get_mut("weightedTargets"))
        .and_then(Value::as_array_mut);
    for target in targets.into_iter().flatten() {
        let weight = if is_node(target, canary) {
            canary_weight
        } else {
            stable_weight
        };
        if let Some(target) = target.as_object_mut() {
            target.insert("weight".to_owned(), Value::from(weight));
        }
    }
    Ok(())
}

/// The pods that a node leads to.
fn hash_of<'a>(node: &Foreign<'a>) -> Option<&'a str> {
    let labels = node.spec()?.at("/podSelector/matchLabels")?;
    labels.get(well_known::POD_TEMPLATE_HASH)?.as_str()
}

fn led_to(
    node: &str,
    hash: Option<&str>,
    wanted: &Wanted<'_>,
    objects: &[Foreign<'_>],
) -> Result<Option<Action>, String> {
    let namespace = edits::namespace(wanted.rollout);
    let live = edits::find(objects, NODE, namespace, node).ok_or_else(|| edits::not_found(NODE, namespace, node))?;
    let name = edits::name(wanted.rollout);
    edits::unmanaged_or(&live, name)?;
    let labels = live.spec().and_then(|spec| spec.at("/podSelector/matchLabels"));
    if labels.and_then(Value::as_object).is_none() {
        return Err(format!("{NODE} \"{node}\" has no spec.podSelector.matchLabels"));
    }
    let hash = hash.filter(|hash| hash_of(&live) != Some(*hash));
    Ok(hash.map(|hash| {
        let patch = json!({
            "metadata": { "annotations": { well_known::MANAGED_BY_ROLLOUT: name } },
            "spec": { "podSelector": { "matchLabels": { well_known::POD_TEMPLATE_HASH: hash } } },
        });
        edits::merge(&live, patch)
    }))
}

/// The edit of a node whose Rollout is gone. Its selector keeps the hash where it would else find the pods of another one
/// of `all`: App Mesh refuses a pod that two nodes select.
pub(super) fn release(live: &Foreign<'_>, all: &[Foreign<'_>]) -> Action {
    let labels = own_labels(live);
    let mut others = (all.iter()).filter(|other| other.kind == NODE && other.name() != live.name());
    let is_apart = |other: &Foreign<'_>| {
        let other = own_labels(other);
        (labels.iter()).any(|(key, value)| other.get(key).is_some_and(|other| other != value))
    };
    let metadata = json!({ "annotations": { well_known::MANAGED_BY_ROLLOUT: null } });
    let mut patch = Map::from_iter([("metadata".to_owned(), metadata)]);
    if hash_of(live).is_some() && others.all(is_apart) {
        let spec = json!({ "podSelector": { "matchLabels": { well_known::POD_TEMPLATE_HASH: null } } });
        patch.insert("spec".to_owned(), spec);
    }
    edits::merge(live, Value::Object(patch))
}

/// What a node's selector asks for beside the hash.
fn own_labels(node: &Foreign<'_>) -> Map<String, Value> {
    let labels = node.spec().and_then(|spec| spec.at("/podSelector/matchLabels"));
    let mut labels = labels.and_then(Value::as_object).cloned().unwrap_or_default();
    labels.remove(well_known::POD_TEMPLATE_HASH);
    labels
}

#[cfg(test)]
mod tests;
