//! What is true about one Rollout at a moment, read from the objects without the planner's code, and its recent past.
//!
//! A controller acts on a view that may lag, and its requests take their time. So a judgement asks for the facts of the
//! last moments: a write is right when it was right at some moment that its author can have seen.

use crate::facts::{at, text};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{collections::VecDeque, sync::Arc};
use tidegate::{
    api::well_known,
    sim::api::{
        kinds::{Key, Kind},
        state::State,
    },
};

/// The managed route of a life behind a Gateway.
pub const MANAGED_ROUTE: &str = "testers";

/// The Rollout that is judged, and the names around it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The stable or active Service.
    pub stable_service: String,
    /// The canary or preview Service.
    pub canary_service: String,
    /// The stable Ingress.
    pub ingress: String,
    /// The HTTPRoute.
    pub route: String,
}

impl Subject {
    /// Key of the Rollout.
    pub fn rollout(&self) -> Key {
        self.key(Kind::Rollout, &self.name)
    }

    /// Key of an object beside it.
    pub fn key(&self, kind: Kind, name: &str) -> Key {
        Key::new(kind, self.namespace.as_str(), name)
    }

    /// Name of the canary Ingress.
    pub fn canary_ingress(&self) -> String {
        format!("{}-{}-canary", self.name, self.ingress)
    }
}

/// Names of the Services of the two versions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sides {
    /// The stable or active one.
    pub stable: String,
    /// The canary or preview one.
    pub canary: String,
}

impl Sides {
    /// With `pingPong` the two swap roles at each promotion. Before the first one pong is the stable one, but for the
    /// first deployment of all, which ends with ping (`docs/rollouts.md`).
    fn of(subject: &Subject, rollout: Option<&Value>) -> Self {
        let (stable, canary) = (subject.stable_service.clone(), subject.canary_service.clone());
        let pair = rollout.and_then(|rollout| Some((rollout, at(rollout, "/spec/strategy/canary/pingPong")?)));
        let Some((rollout, pair)) = pair else {
            return Self { stable, canary };
        };
        let (ping, pong) = (
            text(pair, "/pingService").to_owned(),
            text(pair, "/pongService").to_owned(),
        );
        let first = text(rollout, "/status/stableRS").is_empty();
        match (text(rollout, "/status/canary/stablePingPong"), first) {
            ("ping", _) | ("", true) => Self {
                stable: ping,
                canary: pong,
            },
            _ => Self {
                stable: pong,
                canary: ping,
            },
        }
    }
}

/// One ReplicaSet in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// `metadata.name`.
    pub name: String,
    /// Its pod template hash.
    pub hash: String,
    /// `spec.replicas`.
    pub size: i64,
    /// Pods that are ready, and wanted.
    pub ready: i64,
    /// `metadata.uid`.
    pub uid: String,
    /// Its revision number; 0 without one.
    pub revision: i64,
    /// Numbers it had before, oldest first.
    pub history: Vec<i64>,
}

/// The facts.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The Rollout; absent while it does not exist.
    pub rollout: Option<Arc<Value>>,
    /// The Deployment that it takes its pod template from, if there is one.
    pub workload: Option<Arc<Value>>,
    /// Size of that Deployment, and its ready pods.
    pub deployment: Option<(i64, i64)>,
    /// The ReplicaSets it controls.
    pub sets: Vec<Set>,
    /// The Services that play the two roles at this moment.
    pub sides: Sides,
    /// The hash that the stable Service selects; `None` when there is no such Service, empty when it selects no hash.
    pub stable: Option<String>,
    /// The same of the canary Service.
    pub canary: Option<String>,
    /// Weight in the canary Ingress or the HTTPRoute, out of the total.
    pub weight: i64,
    /// Whether a managed route leads to the canary.
    pub apart: bool,
}

impl Scene {
    /// Reads the facts.
    pub fn read(subject: &Subject, state: &State) -> Self {
        let rollout = state.get(&subject.rollout()).cloned();
        let uid = rollout.as_deref().map_or("", |rollout| text(rollout, "/metadata/uid"));
        let selected = |name: &str| {
            let service = state.get(&subject.key(Kind::Service, name))?;
            Some(selected_hash(service).to_owned())
        };
        let named = rollout.as_deref().and_then(|rollout| at(rollout, "/spec/workloadRef"));
        let workload = named.and_then(|named| state.get(&subject.key(Kind::Deployment, text(named, "/name"))).cloned());
        let ingress = state.get(&subject.key(Kind::Ingress, &subject.canary_ingress()));
        let route = state.get(&subject.key(Kind::HTTPRoute, &subject.route));
        let sides = Sides::of(subject, rollout.as_deref());
        let routed = route.map_or(0, |route| weight_in(route, &sides));
        let owned = state.owned_by(uid);
        let sets = owned.into_iter().filter(|(key, _)| key.kind == Kind::ReplicaSet);
        Self {
            sets: sets.map(|(_, set)| Set::read(set, state)).collect(),
            stable: selected(&sides.stable),
            canary: selected(&sides.canary),
            sides,
            weight: ingress.map_or(0, |ingress| weight_of(ingress)).max(routed),
            apart: route.is_some_and(|route| leads_apart(route)),
            deployment: workload.as_deref().map(|workload| deployment(workload, state)),
            workload,
            rollout,
        }
    }

    /// The pod template that is to run; `Null` when nobody knows it.
    pub fn template(&self) -> &Value {
        let workload = self
            .workload
            .as_deref()
            .and_then(|workload| at(workload, "/spec/template"));
        workload.unwrap_or_else(|| self.part("/spec/template"))
    }

    /// What is to become of the pods of the Deployment; empty without one.
    pub fn scale_down(&self) -> &str {
        self.rollout.as_deref().map_or("", super::workload::mode)
    }

    /// A part of the Rollout's status; `Null` when absent.
    pub fn status(&self) -> &Value {
        self.part("/status")
    }

    /// The strategy's canary part; `Null` when absent.
    pub fn canary_spec(&self) -> &Value {
        self.part("/spec/strategy/canary")
    }

    /// The strategy's blue-green part; `Null` when absent.
    pub fn blue_green_spec(&self) -> &Value {
        self.part("/spec/strategy/blueGreen")
    }

    fn part(&self, pointer: &str) -> &Value {
        let rollout = self.rollout.as_deref();
        rollout.and_then(|rollout| at(rollout, pointer)).unwrap_or(&Value::Null)
    }

    /// `spec.replicas`.
    pub fn replicas(&self) -> i64 {
        self.part("/spec/replicas").as_i64().unwrap_or(1)
    }

    /// A hash in the status; empty when absent.
    pub fn recorded(&self, field: &str) -> &str {
        self.status().get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the status says that the update is aborted.
    pub fn is_aborted(&self) -> bool {
        self.status().get("abort") == Some(&Value::Bool(true))
    }

    /// Whether the user holds the Rollout (`spec.paused`).
    pub fn is_held(&self) -> bool {
        *self.part("/spec/paused") == Value::Bool(true)
    }

    /// `spec.rollbackWindow.revisions`; 0 without one.
    pub fn window(&self) -> i64 {
        self.part("/spec/rollbackWindow/revisions").as_i64().unwrap_or(0)
    }

    /// Ready pods with this hash.
    pub fn ready(&self, hash: &str) -> i64 {
        self.of(hash).map(|set| set.ready).sum()
    }

    /// Ready pods of all versions.
    pub fn ready_in_all(&self) -> i64 {
        self.sets.iter().map(|set| set.ready).sum()
    }

    /// The ReplicaSet of this name.
    pub fn named(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// ReplicaSets with this hash.
    pub fn of(&self, hash: &str) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(move |set| set.hash == hash)
    }

    /// Whether a router splits requests.
    pub fn is_routed(&self) -> bool {
        !self.canary_spec()["trafficRouting"].is_null()
    }

    /// What all requests are, as a weight.
    pub fn total(&self) -> i64 {
        self.canary_spec()["trafficRouting"]["maxTrafficWeight"]
            .as_i64()
            .unwrap_or(100)
    }

    /// What may be exceeded and missed, in pods (`maxSurge`, `maxUnavailable`).
    pub fn budget(&self) -> (i64, i64) {
        let strategy = match self.canary_spec() {
            Value::Null => self.blue_green_spec(),
            canary => canary,
        };
        budget(strategy, self.replicas())
    }
}

impl Set {
    fn read(set: &Value, state: &State) -> Self {
        let size = at(set, "/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
        let owned = state.owned_by(text(set, "/metadata/uid"));
        let ready = owned
            .into_iter()
            .filter(|(key, pod)| {
                key.kind == Kind::Pod && is_ready(pod) && at(pod, "/metadata/deletionTimestamp").is_none()
            })
            .count();
        Self {
            name: text(set, "/metadata/name").to_owned(),
            hash: label(set, well_known::POD_TEMPLATE_HASH).to_owned(),
            size,
            ready: i64::try_from(ready).unwrap_or(i64::MAX).min(size),
            uid: text(set, "/metadata/uid").to_owned(),
            revision: annotation(set, well_known::REVISION).parse().unwrap_or(0),
            history: annotation(set, well_known::REVISION_HISTORY)
                .split(',')
                .filter_map(|number| number.trim().parse().ok())
                .collect(),
        }
    }
}

/// Size and ready pods of a Deployment.
fn deployment(workload: &Value, state: &State) -> (i64, i64) {
    let size = at(workload, "/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let owned = state.owned_by(text(workload, "/metadata/uid")).into_iter();
    let sets = owned.filter(|(key, _)| key.kind == Kind::ReplicaSet);
    (size, sets.map(|(_, set)| Set::read(set, state).ready).sum())
}

/// The facts of the last moments.
#[derive(Debug)]
pub struct Scenes {
    past: VecDeque<(Timestamp, Arc<Scene>)>,
    /// How old a fact may be that a write rests on.
    age: SignedDuration,
}

impl Scenes {
    /// An empty past in which facts up to this age count.
    pub fn remembering(age: SignedDuration) -> Self {
        Self {
            past: VecDeque::new(),
            age,
        }
    }

    /// Notes the facts from `at` on.
    pub fn push(&mut self, at: Timestamp, scene: Scene) {
        self.past.push_back((at, Arc::new(scene)));
        let since = at.saturating_sub(self.age).unwrap_or(Timestamp::MIN);
        while self.past.get(1).is_some_and(|(next, _)| *next < since) {
            self.past.pop_front();
        }
    }

    /// The facts of the last moments before `at`, oldest first.
    pub fn lately(&self, at: Timestamp) -> impl Iterator<Item = &Scene> {
        self.lately_since(at).map(|(_, scene)| scene)
    }

    /// The same, with the moment from which on they were so.
    pub fn lately_since(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, &Scene)> {
        let since = at.saturating_sub(self.age).unwrap_or(Timestamp::MIN);
        let ends = self.past.iter().skip(1).map(|(next, _)| *next).chain([Timestamp::MAX]);
        let with_ends = self.past.iter().zip(ends);
        with_ends
            .filter(move |(_, end)| *end >= since)
            .map(|((from, scene), _)| (*from, &**scene))
    }

    /// The newest facts.
    pub fn now(&self) -> Arc<Scene> {
        self.past.back().map(|(_, scene)| Arc::clone(scene)).unwrap_or_default()
    }

    /// The most ready pods that this hash lately had.
    pub fn most_ready(&self, at: Timestamp, hash: &str) -> i64 {
        self.lately(at).map(|scene| scene.ready(hash)).max().unwrap_or(0)
    }
}

/// A label; empty when absent.
pub fn label<'v>(object: &'v Value, name: &str) -> &'v str {
    entry(object, "/metadata/labels", name)
}

/// An annotation; empty when absent.
pub fn annotation<'v>(object: &'v Value, name: &str) -> &'v str {
    entry(object, "/metadata/annotations", name)
}

fn entry<'v>(object: &'v Value, path: &str, name: &str) -> &'v str {
    let entries = at(object, path);
    entries
        .and_then(|entries| entries.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The hash a Service selects; empty without one.
pub fn selected_hash(service: &Value) -> &str {
    let selector = at(service, "/spec/selector");
    let hash = selector.and_then(|selector| selector.get(well_known::POD_TEMPLATE_HASH));
    hash.and_then(Value::as_str).unwrap_or_default()
}

/// The weight in a canary Ingress; −1 when it cannot be read.
pub fn weight_of(ingress: &Value) -> i64 {
    let annotations = at(ingress, "/metadata/annotations");
    let weight = annotations.and_then(|all| all.get("nginx.ingress.kubernetes.io/canary-weight"));
    weight.map_or(0, |weight| {
        weight.as_str().and_then(|text| text.parse().ok()).unwrap_or(-1)
    })
}

/// The canary's weight in the rule of an HTTPRoute that leads to both Services; −1 when the two do not add up to what a
/// controller writes, 0 when there is no such rule.
pub fn weight_in(route: &Value, sides: &Sides) -> i64 {
    let rules = at(route, "/spec/rules").and_then(Value::as_array);
    let weight = |rule: &Value, service: &str| {
        let backends = rule["backendRefs"].as_array()?;
        let backend = backends.iter().find(|backend| backend["name"] == service)?;
        Some(backend["weight"].as_i64().unwrap_or(1))
    };
    let mut split = rules.into_iter().flatten().filter_map(|rule| {
        let canary = weight(rule, &sides.canary)?;
        Some((canary, weight(rule, &sides.stable)?))
    });
    match split.next() {
        Some((canary, stable)) if canary + stable == 100 => canary,
        Some((0, 1)) | None => 0,
        Some(_) => -1,
    }
}

/// Whether an HTTPRoute has a rule of the managed route.
pub fn leads_apart(route: &Value) -> bool {
    let rules = at(route, "/spec/rules").and_then(Value::as_array);
    rules.into_iter().flatten().any(|rule| rule["name"] == MANAGED_ROUTE)
}

/// Whether a pod says that it is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = at(pod, "/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True")
}

/// `replicas × weight ÷ total`, rounded up.
pub fn share(replicas: i64, weight: i64, total: i64) -> i64 {
    let total = total.max(1);
    (replicas * weight + total - 1) / total
}

/// Pods that `maxSurge` and `maxUnavailable` allow; both zero means one unavailable pod.
fn budget(canary: &Value, replicas: i64) -> (i64, i64) {
    let resolve = |field: &str, up: bool| {
        let percent = match &canary[field] {
            Value::Number(pods) => return pods.as_i64().unwrap_or(0),
            Value::String(text) => text.trim_end_matches('%').parse().unwrap_or(0),
            _ => 25,
        };
        if up {
            share(replicas, percent, 100)
        } else {
            replicas * percent / 100
        }
    };
    match (resolve("maxSurge", true), resolve("maxUnavailable", false)) {
        (0, 0) => (0, 1),
        both => both,
    }
}
