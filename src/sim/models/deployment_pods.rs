//! The Deployment controller, as far as a Rollout that refers to a Deployment meets it: a ReplicaSet for each pod
//! template, the newest with all pods; the others go when its pods are available.

use super::{Model, accepted, is_going, number, text};
use crate::json::At as _;
use crate::sim::api::{
    Change, SimApi,
    kinds::{Key, Kind},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Label by which a Deployment tells its ReplicaSets apart.
const HASH: &str = "pod-template-hash";

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeploymentPods;

/// FNV-1a of the template, as text.
fn hash(template: &Value) -> String {
    let text = template.to_string();
    let hash = text.bytes().fold(0x811C_9DC5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:08x}")
}

fn replica_set(deployment: &Value, hash: &str) -> Value {
    let mut template = deployment.at("/spec/template").cloned().unwrap_or_else(|| json!({}));
    json_patch::merge(&mut template, &json!({"metadata": {"labels": {HASH: hash}}}));
    let mut selector = deployment.at("/spec/selector").cloned().unwrap_or_else(|| json!({}));
    json_patch::merge(&mut selector, &json!({"matchLabels": {HASH: hash}}));
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", text(deployment, "/metadata/name")),
            "namespace": text(deployment, "/metadata/namespace"),
            "labels": template.at("/metadata/labels"),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": text(deployment, "/metadata/name"),
                "uid": text(deployment, "/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {"replicas": deployment.at("/spec/replicas"), "selector": selector, "template": template}})
}

fn key(kind: Kind, object: &Value) -> Key {
    Key::new(
        kind,
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name"),
    )
}

impl DeploymentPods {
    fn look(&self, api: &SimApi, deployment: &Value, sets: &[Arc<Value>]) {
        let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
        let hash = hash(deployment.at("/spec/template").unwrap_or(&Value::Null));
        let is_new = |set: &Value| text(set, "/metadata/labels/pod-template-hash") == hash;
        let resize = |set: &Value, replicas: i64| {
            if number(set, "/spec/replicas") != Some(replicas) {
                let change = Change::Merge(json!({"spec": {"replicas": replicas}}));
                accepted(api.patch(self.name(), &key(Kind::ReplicaSet, set), &change));
            }
        };
        let available = |set: &Value| {
            let available = number(set, "/status/availableReplicas").unwrap_or(0);
            available.min(number(set, "/spec/replicas").unwrap_or(1))
        };
        let new = sets.iter().find(|set| is_new(set));
        match new {
            None => {
                accepted(api.create(self.name(), replica_set(deployment, &hash)));
            }
            Some(new) => {
                resize(new, wanted);
                if available(new) >= wanted {
                    let others = sets.iter().filter(|set| !is_new(set));
                    others.for_each(|set| resize(set, 0));
                }
            }
        }
        let sum = |count: &dyn Fn(&Value) -> i64| sets.iter().map(|set| count(set)).sum::<i64>();
        let status = json!({
            "observedGeneration": number(deployment, "/metadata/generation"),
            "replicas": sum(&|set| number(set, "/status/replicas").unwrap_or(0)),
            "availableReplicas": sum(&available),
        });
        let shown = deployment.at("/status");
        let differs = status.as_object().is_some_and(|fields| {
            fields
                .iter()
                .any(|(name, value)| shown.and_then(|shown| shown.get(name)) != Some(value))
        });
        if differs {
            let change = Change::Merge(json!({ "status": status }));
            accepted(api.patch_status(self.name(), &key(Kind::Deployment, deployment), &change));
        }
    }
}

impl Model for DeploymentPods {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::Deployment, Kind::ReplicaSet]
    }

    fn act(&mut self, api: &SimApi, _: Timestamp) -> Option<Timestamp> {
        let all: Vec<(Arc<Value>, Vec<Arc<Value>>)> = {
            let state = api.state();
            let all = state.list(Kind::Deployment, None).into_iter();
            all.filter(|deployment| !is_going(deployment))
                .map(|deployment| {
                    let owned = state.owned_by(text(deployment, "/metadata/uid")).into_iter();
                    let sets = owned.filter(|(key, set)| key.kind == Kind::ReplicaSet && !is_going(set));
                    (Arc::clone(deployment), sets.map(|(_, set)| Arc::clone(set)).collect())
                })
                .collect()
        };
        for (deployment, sets) in all {
            self.look(api, &deployment, &sets);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Bench, *};

    #[test]
    fn each_template_has_a_set_and_the_newest_has_the_pods() {
        let bench = Bench::new();
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
        let deployment = bench.put(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}}));
        let sizes = || -> Vec<i64> {
            DeploymentPods.act(&bench.api, bench.now());
            let state = bench.api.state();
            let sets = state.list(Kind::ReplicaSet, None);
            sets.iter().map(|set| number(set, "/spec/replicas").unwrap()).collect()
        };
        assert_eq!(sizes(), [2]);
        bench.patch(&deployment, json!({"spec": {"replicas": 1}}));
        assert_eq!(sizes(), [1]);
        bench.patch(
            &deployment,
            json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
        );
        assert_eq!(
            sizes().iter().sum::<i64>(),
            2,
            "the old one stays until the new one is available"
        );
        assert_eq!(bench.get(&deployment)["status"]["observedGeneration"], 3);
    }
}
