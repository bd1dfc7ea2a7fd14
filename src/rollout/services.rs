//! Selectors of Services: which hash each must select, and the patch that makes it so (guarantee T7).

use super::view::View;
use crate::{
    api::well_known,
    plan::{Action, ObjectRef, Precondition},
};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

/// Field manager of the injected selector key.
const MANAGER: &str = "tidegate-services";

/// Whether the Service was already taken into management by this Rollout.
pub(crate) fn is_managed(view: &View<'_>, service: &str) -> bool {
    let annotations = view
        .service(service)
        .and_then(|service| service.metadata.annotations.as_ref());
    annotations
        .and_then(|all| all.get(well_known::MANAGED_BY_ROLLOUT))
        .is_some_and(|owner| owner == view.name())
}

/// The hash a Service may select now when it should select `wanted`: `wanted` once enough pods stand behind it.
///
/// A Service that still selects every version is narrowed only when the wanted ReplicaSet is fully available, one that
/// already selects a hash is moved when at least one pod is, so that it never loses its last endpoint.
pub(crate) fn reachable(view: &View<'_>, service: &str, wanted: &str) -> Option<String> {
    let selected = view.selected_hash(service)?;
    reachable_from(view, selected, is_managed(view, service), wanted)
}

/// [`reachable`] for whatever else leads to pods by their hash: a subset of a mesh.
pub(crate) fn reachable_from(view: &View<'_>, selected: &str, is_managed: bool, wanted: &str) -> Option<String> {
    let set = view.revisions.with_hash(wanted)?;
    if selected == wanted {
        return Some(wanted.to_owned());
    }
    let needed = if selected.is_empty() && !is_managed {
        set.replicas().max(1)
    } else {
        1
    };
    // A rollout of no pods has no endpoint to lose.
    (set.available() >= needed || view.replicas == 0).then(|| wanted.to_owned())
}

/// The patches for Services that do not select what they should. Merge patches, because `spec.selector` is one atomic
/// field: server-side apply would take the user's own keys away.
pub(crate) fn patches(view: &View<'_>, selectors: &[(String, String)]) -> (Vec<Action>, Vec<String>) {
    let mut actions = Vec::new();
    let mut switched = Vec::new();
    for (name, hash) in selectors {
        let Some(service) = view.service(name) else { continue };
        let selected = view.selected_hash(name).unwrap_or_default();
        if selected == hash && is_managed(view, name) {
            continue;
        }
        actions.push(Action::Merge {
            target: ObjectRef::namespaced("v1", "Service", view.namespace(), name),
            patch: json!({
                "metadata": { "annotations": { well_known::MANAGED_BY_ROLLOUT: view.name() } },
                "spec": { "selector": { well_known::POD_TEMPLATE_HASH: hash } },
            }),
            manager: MANAGER,
            precondition: Some(Precondition {
                uid: service.metadata.uid.clone(),
                resource_version: None,
            }),
        });
        if selected != hash {
            switched.push(format!(
                "Switched selector for service '{name}' from '{selected}' to '{hash}'"
            ));
        }
    }
    (actions, switched)
}

/// Releases Services that carry our annotation but are no longer named by the specification.
pub(crate) fn releases(view: &View<'_>, named: &[&str]) -> Vec<Action> {
    let forgotten = view.snapshot.services.iter().filter(|service| {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        !named.contains(&name) && is_managed(view, name)
    });
    forgotten.copied().map(release).collect()
}

/// Leads a Service to all pods that its user's own selector finds, and gives it up, in the version it was seen in
/// (guarantee C3).
pub(crate) fn release(service: &Service) -> Action {
    let metadata = &service.metadata;
    let [namespace, name] = [&metadata.namespace, &metadata.name].map(|text| text.as_deref().unwrap_or_default());
    Action::Merge {
        target: ObjectRef::namespaced("v1", "Service", namespace, name),
        patch: json!({
            "metadata": { "annotations": { well_known::MANAGED_BY_ROLLOUT: null } },
            "spec": { "selector": { well_known::POD_TEMPLATE_HASH: null } },
        }),
        manager: MANAGER,
        precondition: Some(Precondition {
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        }),
    }
}
