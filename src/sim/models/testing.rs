//! A server with a clock that stands still, for tests of one model.

use super::Model;
use crate::{
    clock::Clock as _,
    provider::testing::StillClock,
    sim::api::{
        Change, Options, SimApi,
        kinds::{Key, Kind},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) struct Bench {
    pub(crate) api: SimApi,
    clock: Arc<StillClock>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = StillClock::new();
        let api = SimApi::new(clock.clone(), Options::default());
        Self { api, clock }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn wait(&self, seconds: i64) {
        self.clock.advance(seconds);
    }

    pub(crate) fn put(&self, object: Value) -> Key {
        let object = self.api.create("test", object).unwrap();
        let kind = Kind::named(super::text(&object, "/apiVersion"), super::text(&object, "/kind")).unwrap();
        Key::new(
            kind,
            super::text(&object, "/metadata/namespace"),
            super::text(&object, "/metadata/name"),
        )
    }

    pub(crate) fn get(&self, key: &Key) -> Value {
        (**self.api.state().get(key).unwrap()).clone()
    }

    pub(crate) fn patch(&self, key: &Key, patch: Value) {
        self.api.patch("test", key, &Change::Merge(patch)).unwrap();
    }

    pub(crate) fn act(&self, model: &mut impl Model) -> Option<i64> {
        let next = model.act(&self.api, self.now());
        next.map(|next| next.duration_since(self.now()).as_secs())
    }

    pub(crate) fn names(&self, kind: Kind) -> Vec<String> {
        let state = self.api.state();
        state
            .list(kind, None)
            .into_iter()
            .map(|object| super::text(object, "/metadata/name").to_owned())
            .collect()
    }

    /// A pod of the version `hash`; ready when `ready`.
    pub(crate) fn pod(&self, name: &str, hash: &str, ready: bool) -> Key {
        let key = self.put(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop",
            "labels": {"app": "web", "rollouts-pod-template-hash": hash}},
            "spec": {"nodeName": "node", "containers": [{"name": "web", "image": "web:v1"}]}}),
        );
        self.ready(&key, ready);
        key
    }

    pub(crate) fn ready(&self, pod: &Key, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let time = super::stamp(self.now());
        let patch = json!({"status": {"podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": time}]}});
        self.api.patch_status("test", pod, &Change::Merge(patch)).unwrap();
    }

    pub(crate) fn service(&self, name: &str, hash: Option<&str>) -> Key {
        let mut selector = json!({"app": "web"});
        if let Some(hash) = hash {
            selector["rollouts-pod-template-hash"] = hash.into();
        }
        self.put(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": selector, "ports": [{"port": 80}]}}),
        )
    }
}
