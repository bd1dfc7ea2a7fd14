//! The EndpointSlice controller: one slice for each Service with a selector.

use super::{Model, accepted, is_going, is_ready, pairs, text};
use crate::json::At as _;
use crate::sim::api::{
    Change, Deletion, SimApi,
    kinds::{Key, Kind},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Label on EndpointSlices: the Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endpoints;

/// The name of a Service's slice.
pub fn slice_name(service: &str) -> String {
    format!("{service}-sim")
}

fn endpoint(pod: &Value) -> Option<Value> {
    let address = text(pod, "/status/podIP");
    if address.is_empty() {
        return None;
    }
    let (serving, going) = (is_ready(pod), is_going(pod));
    Some(json!({
        "addresses": [address],
        "conditions": {"ready": serving && !going, "serving": serving, "terminating": going},
        "targetRef": {"kind": "Pod", "namespace": text(pod, "/metadata/namespace"), "name": text(pod, "/metadata/name"),
            "uid": text(pod, "/metadata/uid")},
    }))
}

fn slice(service: &Value, endpoints: Value) -> Value {
    let name = text(service, "/metadata/name");
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(name),
            "namespace": text(service, "/metadata/namespace"),
            "labels": {SERVICE_NAME: name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": text(service, "/metadata/uid"),
                "controller": true, "blockOwnerDeletion": true}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": service.at("/spec/ports").cloned().unwrap_or_else(|| json!([])),
    })
}

enum Write {
    Create(Value),
    Patch(Key, Value),
    Delete(Key),
}

impl Model for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::Service, Kind::Pod]
    }

    fn act(&mut self, api: &SimApi, _: Timestamp) -> Option<Timestamp> {
        let writes = {
            let state = api.state();
            let (mut writes, mut kept) = (Vec::new(), BTreeSet::new());
            for service in state.list(Kind::Service, None) {
                let namespace = text(service, "/metadata/namespace");
                let selector = pairs(service, "/spec/selector");
                if selector.is_empty() {
                    continue;
                }
                let pods = state.selected(Kind::Pod, namespace, selector);
                let endpoints = Value::Array(pods.into_iter().filter_map(|pod| endpoint(pod)).collect());
                let key = Key::new(
                    Kind::EndpointSlice,
                    namespace,
                    slice_name(text(service, "/metadata/name")),
                );
                kept.insert(key.clone());
                match state.get(&key) {
                    None => writes.push(Write::Create(slice(service, endpoints))),
                    Some(live) if live.get("endpoints") == Some(&endpoints) => {}
                    Some(_) => writes.push(Write::Patch(key, json!({ "endpoints": endpoints }))),
                }
            }
            let slices = state.list(Kind::EndpointSlice, None).into_iter().map(key_of);
            writes.extend(slices.filter(|key| !kept.contains(key)).map(Write::Delete));
            writes
        };
        for write in writes {
            accepted(match write {
                Write::Create(slice) => api.create(self.name(), slice),
                Write::Patch(key, patch) => api.patch(self.name(), &key, &Change::Merge(patch)),
                Write::Delete(key) => api.delete(self.name(), &key, &Deletion::default()),
            });
        }
        None
    }
}

fn key_of(slice: &Arc<Value>) -> Key {
    Key::new(
        Kind::EndpointSlice,
        text(slice, "/metadata/namespace"),
        text(slice, "/metadata/name"),
    )
}

#[cfg(test)]
mod tests;
