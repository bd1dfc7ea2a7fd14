//! What a Rollout that is gone left in objects of routers, and how it is taken back: other versions than its own get
//! requests again, and another Rollout may take the objects over.

use super::{
    alb, app_mesh, edits,
    foreign::{Foreign, ForeignKind, ForeignObject},
    istio,
};
use crate::{
    api::well_known,
    json::At as _,
    plan::{Action, ObjectRef},
};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::Value;

/// Kinds of other projects whose objects lead to pods by their hash.
pub const KINDS: [ForeignKind; 2] = [ForeignKind::DestinationRule, ForeignKind::AppMeshVirtualNode];

/// The Rollout that an object says it is managed by, if that is known to be one of the object's own namespace.
///
/// The mark has no namespace, and a Rollout may name a DestinationRule of another one. The rule's host tells: the pods
/// of a Service are in its namespace, and so is the Rollout that made them.
pub fn manager(object: &ForeignObject) -> Option<&str> {
    let marks = object.metadata.annotations.as_ref()?;
    let manager = marks.get(well_known::MANAGED_BY_ROLLOUT)?;
    let host = object.data.at("/spec/host").and_then(Value::as_str).unwrap_or_default();
    let mut parts = host.split('.').skip(1);
    let is_here = match parts.next() {
        None => true,
        namespace => namespace == object.metadata.namespace.as_deref() && parts.next() == Some("svc"),
    };
    is_here.then_some(manager.as_str())
}

/// The edits of everything that still carries something of this Rollout.
pub(crate) fn releases(rollout: &str, ingresses: &[&Ingress], objects: &[Foreign<'_>]) -> Vec<Action> {
    let ingresses = ingresses.iter().filter_map(|live| {
        let metadata = &live.metadata;
        let [namespace, name] = [&metadata.namespace, &metadata.name].map(|text| text.as_deref().unwrap_or_default());
        Some(Action::Merge {
            target: ObjectRef::namespaced("networking.k8s.io/v1", "Ingress", namespace, name),
            patch: alb::release(rollout, live)?,
            manager: edits::MANAGER,
            precondition: Some(edits::version(metadata)),
        })
    });
    let of = |kind: ForeignKind| objects.iter().filter(move |live| live.kind == kind);
    let rules = of(ForeignKind::DestinationRule).map(istio::release);
    let nodes = of(ForeignKind::AppMeshVirtualNode).map(|live| app_mesh::release(live, objects));
    ingresses.chain(rules).chain(nodes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(host: &str, expected: Option<&str>) {
        let object = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "spec": {"host": host},
            "metadata": {"name": "rule", "namespace": "shop", "annotations": {well_known::MANAGED_BY_ROLLOUT: "web"}}});
        let object: ForeignObject = serde_json::from_value(object).unwrap();
        assert_eq!(manager(&object), expected, "{host}");
    }

    #[test]
    fn the_namespace_of_a_rules_manager_is_that_of_its_host() {
        check("web", Some("web"));
        check("web.shop.svc.cluster.local", Some("web"));
        check("web.edge.svc.cluster.local", None);
        check("web.shop", None);
        check("www.example.com", None);
    }
}
