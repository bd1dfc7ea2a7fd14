//! The controller of a Gateway: says in a route's status which generation it has taken up.

use super::{Model, accepted, stamp, text};
use crate::{
    json::At as _,
    sim::api::{
        Change, SimApi,
        kinds::{Key, Kind},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Who it is, in the status.
const CONTROLLER: &str = "example.com/gateway";

/// The model.
#[derive(Debug)]
pub struct Gateway;

impl Model for Gateway {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::HTTPRoute]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        let mut writes = Vec::new();
        {
            let state = api.state();
            for route in state.list(Kind::HTTPRoute, None) {
                let generation = route.at("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
                let told = route.at("/status/parents/0/conditions/0/observedGeneration");
                if told.and_then(Value::as_i64) == Some(generation) {
                    continue;
                }
                let condition = |kind: &str, reason: &str| {
                    json!({"type": kind, "status": "True", "reason": reason, "message": "",
                        "observedGeneration": generation, "lastTransitionTime": stamp(now)})
                };
                let parents = json!([{
                    "controllerName": CONTROLLER, "parentRef": {"name": "gateway"},
                    "conditions": [condition("Accepted", "Accepted"), condition("ResolvedRefs", "ResolvedRefs")],
                }]);
                let (namespace, name) = (text(route, "/metadata/namespace"), text(route, "/metadata/name"));
                writes.push((Key::new(Kind::HTTPRoute, namespace, name), parents));
            }
        }
        for (key, parents) in writes {
            let patch = json!({"status": {"parents": parents}});
            accepted(api.patch_status(self.name(), &key, &Change::Merge(patch)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::models::testing::Bench;

    #[test]
    fn a_route_is_taken_up_once_for_each_generation() {
        let bench = Bench::new();
        let route = bench.put(
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"rules": []}}),
        );
        for generation in 1..3 {
            bench.act(&mut Gateway);
            let conditions = &bench.get(&route)["status"]["parents"][0]["conditions"];
            assert_eq!(conditions[0]["type"], "Accepted");
            assert_eq!(conditions[0]["observedGeneration"], generation);
            let before = bench.api.state().version();
            bench.act(&mut Gateway);
            assert_eq!(bench.api.state().version(), before, "nothing to do, nothing written");
            bench.patch(
                &route,
                json!({"spec": {"hostnames": [format!("v{generation}.example.com")]}}),
            );
        }
    }
}
