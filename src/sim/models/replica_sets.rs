//! The ReplicaSet controller: as many pods as wanted, and their counts in the status.

use super::{Model, accepted, is_going, is_ready, later, number, pods::ready_since, sooner, text};
use crate::json::At as _;
use crate::sim::{
    api::{
        Change, Deletion, SimApi,
        kinds::{Key, Kind},
    },
    dice::Dice,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// Letters of the random part of a pod's name, as Kubernetes picks them.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Pods made for one ReplicaSet at once; protects the world from a typing error in a scenario.
const CREATED_AT_ONCE_MAX: i64 = 500;

/// The model.
#[derive(Debug)]
pub struct ReplicaSets {
    names: Dice,
}

impl ReplicaSets {
    /// Pod names come from `dice`.
    pub fn new(dice: &Dice) -> Self {
        Self {
            names: dice.fork("pod-names"),
        }
    }

    fn name(&mut self, replica_set: &str) -> String {
        let letters = (0..5).filter_map(|_| self.names.pick(LETTERS).copied().map(char::from));
        format!("{replica_set}-{}", letters.collect::<String>())
    }

    fn pod(&mut self, set: &Value) -> Value {
        let mut pod = set.at("/spec/template").cloned().unwrap_or_else(|| json!({}));
        let metadata = json!({
            "name": self.name(text(set, "/metadata/name")),
            "namespace": text(set, "/metadata/namespace"),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": text(set, "/metadata/name"),
                "uid": text(set, "/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
            }],
        });
        // There is always a place: the scheduler is not played.
        let placed = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "node"}});
        json_patch::merge(&mut pod, &placed);
        pod
    }
}

/// What there is of a ReplicaSet's pods.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    replicas: i64,
    ready: i64,
    available: i64,
}

fn count(set: &Value, pods: &[Arc<Value>], now: Timestamp) -> (Counts, Option<Timestamp>) {
    let wait = Duration::from_secs(u64::try_from(number(set, "/spec/minReadySeconds").unwrap_or(0)).unwrap_or(0));
    let (mut counts, mut next) = (Counts::default(), None);
    for pod in pods {
        counts.replicas += 1;
        let Some(since) = ready_since(pod) else { continue };
        counts.ready += 1;
        let available = later(since, wait);
        if available <= now {
            counts.available += 1;
        } else {
            next = sooner(next, Some(available));
        }
    }
    (counts, next)
}

/// A merge patch of the status; `None` when it is so already. Zeros are left out, as the real controller does.
fn status(set: &Value, counts: Counts) -> Option<Value> {
    let generation = number(set, "/metadata/generation").unwrap_or(1);
    let mut fields = Map::new();
    for (name, wanted) in [
        ("fullyLabeledReplicas", counts.replicas),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.available),
        ("observedGeneration", generation),
    ] {
        let shown = set
            .at("/status")
            .and_then(|status| status.get(name))
            .and_then(Value::as_i64);
        if shown.unwrap_or(0) != wanted {
            fields.insert(name.to_owned(), if wanted == 0 { Value::Null } else { wanted.into() });
        }
    }
    if number(set, "/status/replicas") != Some(counts.replicas) {
        fields.insert("replicas".to_owned(), counts.replicas.into());
    }
    (!fields.is_empty()).then(|| json!({ "status": fields }))
}

/// The pods to go first: those not ready, then the youngest.
fn by_worth(pods: &mut [Arc<Value>]) {
    pods.sort_by(|one, other| {
        let age = |pod: &Value| text(pod, "/metadata/creationTimestamp").to_owned();
        let (ready_one, ready_other) = (is_ready(one), is_ready(other));
        ready_one
            .cmp(&ready_other)
            .then_with(|| age(other).cmp(&age(one)))
            .then_with(|| text(one, "/metadata/name").cmp(text(other, "/metadata/name")))
    });
}

impl Model for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::ReplicaSet, Kind::Pod]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        let sets: Vec<(Arc<Value>, Vec<Arc<Value>>)> = {
            let state = api.state();
            let sets = state
                .list(Kind::ReplicaSet, None)
                .into_iter()
                .filter(|set| !is_going(set));
            sets.map(|set| {
                let owned = state.owned_by(text(set, "/metadata/uid"));
                let pods = owned
                    .into_iter()
                    .filter(|(key, pod)| key.kind == Kind::Pod && !is_going(pod));
                (Arc::clone(set), pods.map(|(_, pod)| Arc::clone(pod)).collect())
            })
            .collect()
        };
        let mut next = None;
        for (set, mut pods) in sets {
            let wanted = number(&set, "/spec/replicas").unwrap_or(1);
            let found = i64::try_from(pods.len()).unwrap_or(i64::MAX);
            for _ in 0..(wanted - found).clamp(0, CREATED_AT_ONCE_MAX) {
                let pod = self.pod(&set);
                if let Ok(created) = api.create(Model::name(self), pod) {
                    pods.push(created);
                }
            }
            if found > wanted {
                by_worth(&mut pods);
                let surplus = usize::try_from(found - wanted.max(0)).unwrap_or_default();
                for pod in pods.drain(..surplus.min(pods.len())) {
                    let key = Key::new(
                        Kind::Pod,
                        text(&pod, "/metadata/namespace"),
                        text(&pod, "/metadata/name"),
                    );
                    accepted(api.delete(Model::name(self), &key, &Deletion::default()));
                }
            }
            let (counts, later) = count(&set, &pods, now);
            next = sooner(next, later);
            if let Some(status) = status(&set, counts) {
                let key = Key::new(
                    Kind::ReplicaSet,
                    text(&set, "/metadata/namespace"),
                    text(&set, "/metadata/name"),
                );
                accepted(api.patch_status(Model::name(self), &key, &Change::Merge(status)));
            }
        }
        next
    }
}

#[cfg(test)]
mod tests;
