//! Defects in what is sent: requests are altered between the client and the server.

#![expect(clippy::indexing_slicing, reason = "reading and writing JSON of a known shape")]

use serde_json::{Value, json};
use std::sync::Arc;
use tidegate::sim::replica::Tamper;
use tidegate_trials::oracle::{Rule, scene::MANAGED_ROUTE};

/// Name, the defect, a seed that shows it, and the promise broken then.
type Entry = (&'static str, fn() -> Tamper, u64, Rule);

pub(crate) const ALL: &[Entry] = &[
    ("no precondition is sent", no_preconditions, 0, Rule::C3),
    ("the lease is taken on any version", unpinned_lease, 102, Rule::C5),
    ("the lease names somebody else", other_holder, 2, Rule::C5),
    (
        "all requests of a route go to the canary",
        route_to_canary,
        16,
        Rule::T2,
    ),
    ("the rules of managed routes stay", routes_stay, 16, Rule::T2),
    ("the metadata of pods is not written", no_pod_metadata, 1, Rule::C1),
    ("fields of others are written too", foreign_fields, 1, Rule::T8),
    (
        "the size of a ReplicaSet is written as its double",
        double_size,
        0,
        Rule::T6,
    ),
];

/// Alters the bodies of writes whose path contains `part`.
fn altering(part: &'static str, change: fn(&mut Value)) -> Tamper {
    Arc::new(move |path: &str, body: &mut Value| {
        if path.contains(part) {
            change(body);
        }
    })
}

fn no_preconditions() -> Tamper {
    altering("/", |body| {
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            metadata.remove("resourceVersion");
        }
        if let Value::Object(body) = body {
            body.remove("preconditions");
        }
    })
}

fn unpinned_lease() -> Tamper {
    altering("/leases", |body| {
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            metadata.remove("resourceVersion");
        }
    })
}

fn other_holder() -> Tamper {
    altering("/leases", |body| {
        if let Some(Value::String(holder)) = body.pointer_mut("/spec/holderIdentity") {
            holder.insert_str(0, "other-");
        }
    })
}

fn route_to_canary() -> Tamper {
    altering("/httproutes/", |body| {
        let rules = body.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
        let backends = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule.get_mut("backendRefs")?.as_array_mut());
        for backend in backends.flatten() {
            match backend["name"].as_str() {
                Some("web-canary") => backend["weight"] = json!(100),
                Some("web-stable") => backend["weight"] = json!(0),
                _ => {}
            }
        }
    })
}

/// Whoever looks for such a rule in order to remove it does not find it.
fn routes_stay() -> Tamper {
    altering("/httproutes/", |body| {
        let rules = body.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
        if let Some(rules) = rules.filter(|rules| !rules.iter().any(|rule| rule["name"] == MANAGED_ROUTE)) {
            rules.insert(
                0,
                json!({"name": MANAGED_ROUTE, "matches": [{"headers": [{"name": "X", "value": "1"}]}],
                "backendRefs": [{"name": "web-canary", "port": 80}]}),
            );
        }
    })
}

fn no_pod_metadata() -> Tamper {
    altering("/pods/", |body| {
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            metadata.remove("labels");
        }
    })
}

fn foreign_fields() -> Tamper {
    altering("/services/", |body| {
        body["metadata"]["annotations"]["team.example.com/owner"] = json!("tidegate");
    })
}

fn double_size() -> Tamper {
    altering("/replicasets", |body| {
        if let Some(Value::Number(size)) = body.pointer_mut("/spec/replicas") {
            *size = (size.as_i64().unwrap_or(0) * 2).into();
        }
    })
}
