//! What is true about an Application and its objects, read without the engine's code.

use crate::{
    facts::{at, text},
    sync::{
        case::{NAME, SyncCase},
        content::{self, Content},
    },
};
use serde_json::Value;
use std::sync::Arc;
use tidegate::{
    api::well_known::{POD_TEMPLATE_HASH, TRACKING_ID},
    sim::api::{
        kinds::{Key, Kind},
        state::State,
    },
};

/// Kinds of the objects that commits name.
pub const KINDS: [Kind; 6] = [
    Kind::ConfigMap,
    Kind::Service,
    Kind::Deployment,
    Kind::Rollout,
    Kind::HorizontalPodAutoscaler,
    Kind::Job,
];

/// The operation of an Application.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Op {
    /// When it began, in whole seconds.
    pub started: String,
    /// Its phase.
    pub phase: String,
    /// The commit it is pinned to.
    pub revision: String,
    /// Whether nobody asked for it.
    pub automated: bool,
    /// Whether it may prune.
    pub prune: bool,
    /// Whether a retry takes the commit that is newest then.
    pub refreshes: bool,
    /// Kind and name of the objects it is about; empty for all.
    pub selected: Vec<(String, String)>,
}

impl Op {
    /// Reads it.
    pub fn of(app: &Value) -> Option<Self> {
        let state = at(app, "/status/operationState")?;
        let sync = &state["operation"]["sync"];
        let selected = sync["resources"].as_array().into_iter().flatten();
        Some(Self {
            started: text(state, "/startedAt").to_owned(),
            phase: text(state, "/phase").to_owned(),
            revision: text(state, "/syncResult/revision").to_owned(),
            automated: state["operation"]["initiatedBy"]["automated"] == true,
            prune: sync["prune"] == true,
            refreshes: state["operation"]["retry"]["refresh"] == true,
            selected: selected
                .map(|entry| (text(entry, "/kind").to_owned(), text(entry, "/name").to_owned()))
                .collect(),
        })
    }

    /// Tells it from others; two may begin in one second.
    pub fn name(&self) -> String {
        let Self {
            started,
            revision,
            automated,
            ..
        } = self;
        format!("{started} {revision} {automated}")
    }

    /// Whether it came after another one, and is not the same one further on.
    pub fn is_after(&self, other: &Self) -> bool {
        self.started != other.started || (!other.is_running() && self != other)
    }

    /// Whether it is under way.
    pub fn is_running(&self) -> bool {
        matches!(self.phase.as_str(), "Running" | "Terminating")
    }

    /// Whether it is about an object.
    pub fn selects(&self, object: &Value) -> bool {
        self.selected.is_empty()
            || self
                .selected
                .iter()
                .any(|(kind, name)| kind == text(object, "/kind") && name == text(object, "/metadata/name"))
    }
}

/// The Application.
pub fn application(state: &State) -> Option<&Arc<Value>> {
    state.get(&SyncCase::key())
}

/// The key of an object of a commit.
pub fn key_of(object: &Value) -> Option<Key> {
    let kind = Kind::named(text(object, "/apiVersion"), text(object, "/kind"))?;
    Some(Key::new(kind, content::DESTINATION, text(object, "/metadata/name")))
}

/// The tracking id of an object; empty when it has none.
pub fn tracking_id(object: &Value) -> &str {
    object["metadata"]["annotations"]
        .get(TRACKING_ID)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether the Application tracks a live object: its id names the Application, and this very object.
pub fn is_tracked(key: &Key, object: &Value) -> bool {
    let facts = key.kind.facts();
    let id = format!("{NAME}:{}/{}:{}/{}", facts.group(), facts.kind, key.namespace, key.name);
    tracking_id(object) == id
}

/// Live objects that the Application tracks, hooks left out.
pub fn tracked(state: &State) -> Vec<(Key, Arc<Value>)> {
    let mut found = Vec::new();
    for kind in KINDS {
        for object in state.list(kind, Some(content::DESTINATION)) {
            let key = Key::new(kind, content::DESTINATION, text(object, "/metadata/name"));
            if is_tracked(&key, object) && !content::is_hook(object) {
                found.push((key, Arc::clone(object)));
            }
        }
    }
    found
}

/// Whether an object is well, and its status about its present specification.
pub fn is_healthy(key: &Key, object: &Value) -> bool {
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let generation = number("/metadata/generation");
    match key.kind {
        Kind::Deployment => {
            let wanted = at(object, "/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            let given_up = text(object, "/status/conditions/0/reason") == "ProgressDeadlineExceeded";
            number("/status/observedGeneration") >= generation
                && number("/status/availableReplicas") >= wanted
                && number("/status/updatedReplicas") >= wanted
                && !given_up
        }
        Kind::Rollout => {
            let observed = match at(object, "/status/observedGeneration") {
                Some(Value::String(text)) => text.parse().unwrap_or(0),
                other => other.and_then(Value::as_i64).unwrap_or(0),
            };
            observed >= generation && text(object, "/status/phase") == "Healthy"
        }
        Kind::Job => is_complete(object),
        _ => true,
    }
}

/// Whether a Job ended well.
pub fn is_complete(job: &Value) -> bool {
    let conditions = at(job, "/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Complete")
}

/// Where a live object is not as a commit says; `None` when it is. What the server or others added does not count, and
/// replicas only if nobody else owns them.
pub fn differs(expected: &Value, live: &Value, scaled: bool) -> Option<String> {
    differs_at(expected, live, "", scaled)
}

fn differs_at(expected: &Value, live: &Value, path: &str, scaled: bool) -> Option<String> {
    if scaled && path == "/spec/replicas" {
        return None;
    }
    match (expected, live) {
        (Value::Object(expected), Value::Object(live)) => expected.iter().find_map(|(key, value)| {
            let found = live.get(key).unwrap_or(&Value::Null);
            differs_at(value, found, &format!("{path}/{key}"), scaled)
        }),
        (Value::Array(expected), Value::Array(live)) if expected.len() == live.len() => {
            let pairs = expected.iter().zip(live).enumerate();
            pairs
                .filter_map(|(index, (expected, live))| differs_at(expected, live, &format!("{path}/{index}"), scaled))
                .next()
        }
        (expected, live) if expected == live => None,
        (expected, live) => Some(format!("{path} is {live} instead of {expected}")),
    }
}

/// What a body has that a commit does not say, and no owner of a field asks for.
pub fn invents(body: &Value, expected: &Value, path: &str) -> Option<String> {
    let known = [
        "/metadata/namespace",
        "/metadata/resourceVersion",
        "/metadata/finalizers",
    ];
    let is_known = known.contains(&path)
        || path == format!("/metadata/annotations/{TRACKING_ID}")
        || path == "/metadata/annotations"
        || path == format!("/spec/selector/{POD_TEMPLATE_HASH}");
    match (body, expected) {
        (Value::Object(body), Value::Object(expected)) => body.iter().find_map(|(key, value)| {
            let other = expected.get(key).unwrap_or(&Value::Null);
            invents(value, other, &format!("{path}/{key}"))
        }),
        (Value::Object(body), Value::Null) if path == "/metadata/annotations" => body
            .iter()
            .find_map(|(key, value)| invents(value, &Value::Null, &format!("{path}/{key}"))),
        (_, Value::Null) if !is_known => Some(path.to_owned()),
        _ => None,
    }
}

/// The pod hash that a Service selects.
pub fn selected_hash(service: &Value) -> Option<&str> {
    service["spec"]["selector"].get(POD_TEMPLATE_HASH)?.as_str()
}

/// Whether an autoscaler of a commit points at an object.
pub fn is_autoscaled(content: &Content, key: &Key) -> bool {
    key.kind == Kind::Deployment && content.find("HorizontalPodAutoscaler", &key.name).is_some()
}

/// Whether the project permits neither source, destination, nor kind; by a reading of its own.
pub fn is_refused(project: &Value, key: &Key) -> bool {
    let spec = &project["spec"];
    let has = |list: &str| spec[list].as_array().is_some_and(|list| !list.is_empty());
    let facts = key.kind.facts();
    let denied = spec["namespaceResourceBlacklist"].as_array().into_iter().flatten();
    let is_denied = denied
        .map(|entry| (text(entry, "/group"), text(entry, "/kind")))
        .any(|(group, kind)| group == facts.group() && (kind == "*" || kind == facts.kind));
    !has("sourceRepos") || !has("destinations") || is_denied
}
