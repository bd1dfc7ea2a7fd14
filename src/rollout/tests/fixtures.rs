//! Objects of a small shop and the hands that work on them, for every story.

use super::world::World;
use crate::api::well_known;
use serde_json::{Value, json};

pub(super) fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": "web"}}})
}

pub(super) fn ingress() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {
        "ingressClassName": "nginx", "rules": [{"host": "web.example.com", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web-stable", "port": {"number": 80}}}}]}}]}})
}

pub(super) fn rollout(strategy: Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": {
        "replicas": 5, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "demo:v1"}]}}}})
}

pub(super) fn template(interval: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "check"}, "spec": {
        "metrics": [{"name": "errors", "interval": interval, "count": 3, "successCondition": "result[0] < 0.1",
            "provider": {"prometheus": {"address": "http://127.0.0.1:9", "query": "up"}}}]}})
}

pub(super) fn nginx(steps: Value) -> Value {
    json!({"canary": {"canaryService": "web-canary", "stableService": "web-stable", "steps": steps,
        "trafficRouting": {"nginx": {"stableIngress": "web"}}}})
}

/// A world with a promoted v1.
pub(super) fn deployed(strategy: Value) -> World {
    let mut world = World::of(&[
        rollout(strategy),
        service("web-canary"),
        service("web-stable"),
        ingress(),
        template("10s"),
    ]);
    world.settle();
    assert_eq!(world.status()["phase"], "Healthy", "{:#}", world.status());
    world.events.clear();
    world.weights.clear();
    world
}

pub(super) fn image(world: &mut World, image: &str) {
    let containers = json!([{"name": "web", "image": image}]);
    world.patch(
        "Rollout",
        "web",
        &json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    );
}

pub(super) fn phase(world: &World, phase: &str) -> bool {
    world.status()["phase"] == phase
}

pub(super) fn paused(world: &mut World) {
    world.run_until("paused", |world, _| phase(world, "Paused"));
}

pub(super) fn resume(world: &mut World) {
    world.patch("Rollout", "web", &json!({"status": {"pauseConditions": null}}));
}

pub(super) fn hash(world: &World, field: &str) -> String {
    world.status()[field].as_str().unwrap().to_owned()
}

pub(super) fn steps() -> Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1h"}}])
}

/// The hash that a Service selects.
pub(super) fn selected(world: &World, service: &str) -> Value {
    world.get("Service", service)["spec"]["selector"][well_known::POD_TEMPLATE_HASH].clone()
}

/// Lets this many pods of a hash be available, until pods follow again.
pub(super) fn available(world: &mut World, hash: &str, pods: i64) {
    let name = format!("web-{hash}");
    let status = json!({"status": {"readyReplicas": pods, "availableReplicas": pods}});
    world.patch("ReplicaSet", &name, &status);
}

impl World {
    /// The hash of the template as it stands, from a plan.
    pub(super) fn plan_hash(&self) -> String {
        let plan = self.plan();
        let created = plan
            .stages
            .iter()
            .flat_map(|stage| &stage.0)
            .find_map(|action| match action {
                crate::plan::Action::Create { object } if object["kind"] == "ReplicaSet" => Some(object.clone()),
                _ => None,
            });
        match created {
            Some(set) => set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH]
                .as_str()
                .unwrap()
                .to_owned(),
            None => hash(self, "currentPodHash"),
        }
    }
}
