//! A data plane like nginx's: takes up Ingresses, HTTPRoutes and EndpointSlices some time after they were written, and knows at each
//! moment where requests go.
//!
//! A request finds its destination by weight, and one of the pods the data plane knows for it. Where one of them does not
//! answer, the next is tried (`proxy_next_upstream`); where none does, the request fails.

use super::{
    Model, is_going, is_ready, later, pairs,
    pods::hash_of,
    sooner, text,
    truth::{Flow, SharedTruth, Stream, Truth},
};
use crate::json::At as _;
use crate::sim::{
    api::{
        SimApi,
        kinds::{Key, Kind},
        state::State,
    },
    dice::{Dice, Range},
};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Share of all requests that carry the headers some rule asks for.
const PICKED: f64 = 0.01;
/// Time an answer takes when nothing slows it down. In seconds.
const LATENCY: f64 = 0.05;

/// Where requests from outside come in.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Entry {
    /// Through this Ingress and the canary Ingresses beside it.
    Ingress {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Through this HTTPRoute.
    HttpRoute {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Straight to this Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// What the data plane goes by: a part of the objects as they were at some moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// For each entry, where its requests go.
    pub routes: Vec<Vec<Destination>>,
    /// Where requests go that a rule picks by their headers. They are few, and no part of the shares.
    pub apart: Vec<Destination>,
}

/// A Service that gets a share of an entry's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// Its name.
    pub service: String,
    /// Its share of the entry's requests, from 0 to 1.
    pub share: f64,
    /// Names of the pods that were ready when this was taken up.
    pub pods: Vec<String>,
}

/// Where requests go right now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shares {
    /// Share of all requests that each version answers, by pod template hash, from 0 to 1.
    pub by_hash: BTreeMap<String, f64>,
    /// Share of all requests that fail because none of the pods known for their destination can answer.
    pub lost: f64,
    /// The destinations of those.
    pub lost_at: Vec<String>,
}

/// What the data plane does now and has seen, for oracles and reports. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Mutex<Seen>>);

/// See [`Traffic`].
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Where requests come in.
    pub entries: Vec<Entry>,
    /// How long it takes to take up a change. May be changed at any time.
    pub delay: Range,
    /// What it goes by.
    pub config: Config,
    /// What it will go by, and from when, oldest first.
    pub pending: VecDeque<(Timestamp, Config)>,
    /// Where requests go.
    pub shares: Shares,
    /// Requests that failed because their destination had no pod that could answer, so far.
    pub lost_requests: f64,
    /// When the first of them was lost, and on the way to which Service.
    pub first_loss: Option<(Timestamp, String)>,
}

impl Traffic {
    /// What is seen, locked.
    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the requests lost so far: before the first deployment there is nobody to answer.
    pub fn forget_losses(&self) {
        let mut seen = self.lock();
        seen.lost_requests = 0.0;
        seen.first_loss = None;
    }

    /// Where requests go now.
    pub fn shares(&self) -> Shares {
        self.lock().shares.clone()
    }
}

/// The model.
#[derive(Debug)]
pub struct DataPlane {
    dice: Dice,
    truth: SharedTruth,
    traffic: Traffic,
    since: Option<Timestamp>,
}

impl DataPlane {
    /// A data plane that shows in `traffic` what it does, and is set up there.
    pub fn new(dice: &Dice, truth: SharedTruth, traffic: Traffic) -> Self {
        Self {
            dice: dice.fork("data-plane-times"),
            truth,
            traffic,
            since: None,
        }
    }

    /// Takes up what is due, and begins to take up what changed.
    fn follow(&mut self, state: &State, now: Timestamp) -> Option<Timestamp> {
        let mut seen = self.traffic.lock();
        let seen = &mut *seen;
        let wanted = Config::read(&seen.entries, state);
        while let Some((_, config)) = seen.pending.front().filter(|(due, _)| *due <= now).cloned() {
            seen.config = config;
            seen.pending.pop_front();
        }
        let newest = seen.pending.back().map_or(&seen.config, |(_, config)| config);
        if *newest != wanted {
            let delay = self.dice.within(seen.delay);
            let begun = seen.pending.back().map(|(due, _)| *due);
            // Changes are taken up in order.
            let due = later(now, delay).max(begun.unwrap_or(now));
            if delay.is_zero() && begun.is_none() {
                seen.config = wanted;
            } else {
                seen.pending.push_back((due, wanted));
            }
        }
        seen.pending.front().map(|(due, _)| *due)
    }

    fn account(&mut self, now: Timestamp) {
        let mut seen = self.traffic.lock();
        if let Some(since) = self.since.replace(now)
            && seen.shares.lost > 0.0
        {
            let requests = self.truth.lock().requests;
            seen.lost_requests += seen.shares.lost * requests * now.duration_since(since).as_secs_f64();
        }
    }

    fn publish(&self, state: &State, now: Timestamp) {
        let mut truth = self.truth.lock();
        let mut seen = self.traffic.lock();
        let pods = Alive::read(state, &truth, now);
        let shares = seen.config.shares(&pods);
        let streams = shares.by_hash.iter().map(|(hash, share)| {
            let behaviour = truth.behaviour(hash, pods.images.get(hash).map_or("", String::as_str));
            let stream = Stream {
                requests: share * truth.requests,
                errors: behaviour.errors,
                latency: LATENCY + behaviour.slow.as_secs_f64(),
            };
            (hash.clone(), stream)
        });
        let flow = Flow {
            at: now,
            streams: streams.collect(),
            lost: shares.lost * truth.requests,
        };
        if let (None, Some(service), true) = (&seen.first_loss, shares.lost_at.first(), truth.requests > 0.0) {
            seen.first_loss = Some((now, service.clone()));
        }
        truth.flows(flow);
        seen.shares = shares;
    }
}

/// The pods that answer, and the images of versions.
#[derive(Debug, Default)]
struct Alive {
    /// Hash by name.
    pods: BTreeMap<String, String>,
    images: BTreeMap<String, String>,
}

impl Alive {
    fn read(state: &State, truth: &Truth, now: Timestamp) -> Self {
        let mut alive = Self::default();
        for pod in state.list(Kind::Pod, None) {
            let (name, hash) = (text(pod, "/metadata/name"), hash_of(pod));
            let image = text(pod, "/spec/containers/0/image");
            if !alive.images.contains_key(hash) {
                alive.images.insert(hash.to_owned(), image.to_owned());
            }
            let down = truth.down.get(name).is_some_and(|until| now < *until) || truth.behaviour(hash, image).crashes;
            if is_ready(pod) && !down {
                alive.pods.insert(name.to_owned(), hash.to_owned());
            }
        }
        alive
    }
}

impl Config {
    /// What the objects say.
    fn read(entries: &[Entry], state: &State) -> Self {
        let routes = entries.iter().map(|entry| match entry {
            Entry::Service { namespace, name } => vec![destination(state, namespace, name, 1.0)],
            Entry::Ingress { namespace, name } => ingress(state, namespace, name),
            Entry::HttpRoute { namespace, name } => http_route(state, namespace, name),
        });
        let apart = entries.iter().flat_map(|entry| match entry {
            Entry::HttpRoute { namespace, name } => picked(state, namespace, name),
            Entry::Ingress { .. } | Entry::Service { .. } => Vec::new(),
        });
        Self {
            routes: routes.collect(),
            apart: apart.collect(),
        }
    }

    fn shares(&self, alive: &Alive) -> Shares {
        let mut shares = Shares::default();
        if self.routes.is_empty() {
            return shares;
        }
        let entry = 1.0 / self.routes.len() as f64;
        for destination in self
            .routes
            .iter()
            .flatten()
            .filter(|destination| destination.share > 0.0)
        {
            let share = entry * destination.share;
            let hashes: Vec<&String> = destination.pods.iter().filter_map(|pod| alive.pods.get(pod)).collect();
            if hashes.is_empty() {
                shares.lost += share;
                shares.lost_at.push(destination.service.clone());
            }
            for hash in &hashes {
                *shares.by_hash.entry((*hash).clone()).or_insert(0.0) += share / hashes.len() as f64;
            }
        }
        for destination in &self.apart {
            if !destination.pods.iter().any(|pod| alive.pods.contains_key(pod)) {
                shares.lost += PICKED;
                shares.lost_at.push(destination.service.clone());
            }
        }
        shares
    }
}

/// The destinations of a stable Ingress: its own Service, and that of a canary Ingress with the same hosts and paths.
fn ingress(state: &State, namespace: &str, name: &str) -> Vec<Destination> {
    let Some(stable) = state.get(&Key::new(Kind::Ingress, namespace, name)) else {
        return Vec::new();
    };
    let mut left = 1.0;
    let mut destinations = Vec::new();
    for other in state.list(Kind::Ingress, Some(namespace)) {
        let Some(weight) = canary_weight(other).filter(|_| !is_going(other)) else {
            continue;
        };
        let Some(service) = backend_beside(stable, other) else {
            continue;
        };
        let share = weight.min(left);
        left -= share;
        destinations.push(destination(state, namespace, service, share));
    }
    if let Some(service) = backends(stable).next().map(|(_, _, service)| service) {
        destinations.push(destination(state, namespace, service, left));
    }
    destinations
}

/// The backends of the first rule that takes any request, by their weights.
fn http_route(state: &State, namespace: &str, name: &str) -> Vec<Destination> {
    let Some(route) = state.get(&Key::new(Kind::HTTPRoute, namespace, name)) else {
        return Vec::new();
    };
    // A request without the headers that a rule asks for goes to the next.
    let mut rules = items(route.at("/spec/rules"));
    rules
        .find(|rule| takes_any(rule))
        .map_or_else(Vec::new, |rule| backends_of(state, namespace, rule))
}

/// The backends of the rules before that one: they take requests by their headers.
fn picked(state: &State, namespace: &str, name: &str) -> Vec<Destination> {
    let Some(route) = state.get(&Key::new(Kind::HTTPRoute, namespace, name)) else {
        return Vec::new();
    };
    let rules = items(route.at("/spec/rules")).take_while(|rule| !takes_any(rule));
    let backends = rules.flat_map(|rule| backends_of(state, namespace, rule));
    backends.filter(|backend| backend.share > 0.0).collect()
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn takes_any(rule: &Value) -> bool {
    let mut matches = items(rule.get("matches")).peekable();
    matches.peek().is_none() || matches.any(|one| one.get("headers").is_none())
}

fn backends_of(state: &State, namespace: &str, rule: &Value) -> Vec<Destination> {
    let backends: Vec<&Value> = items(rule.get("backendRefs")).collect();
    let weight = |backend: &Value| backend.get("weight").map_or(Some(1.0), Value::as_f64).unwrap_or(0.0);
    let total: f64 = backends.iter().map(|backend| weight(backend)).sum();
    let share = |backend: &Value| if total > 0.0 { weight(backend) / total } else { 0.0 };
    let destinations = backends
        .iter()
        .map(|backend| destination(state, namespace, text(backend, "/name"), share(backend)));
    destinations.collect()
}

/// Host, path and Service of each rule.
fn backends(ingress: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let rules = ingress
        .at("/spec/rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let ruled = rules.flat_map(|rule| {
        let paths = rule.at("/http/paths").and_then(Value::as_array).into_iter().flatten();
        paths.map(|path| {
            (
                text(rule, "/host"),
                text(path, "/path"),
                text(path, "/backend/service/name"),
            )
        })
    });
    let default = ingress.at("/spec/defaultBackend/service/name").and_then(Value::as_str);
    ruled.chain(default.map(|service| ("", "", service)))
}

/// The Service of a rule that both have.
fn backend_beside<'i>(stable: &Value, canary: &'i Value) -> Option<&'i str> {
    let of_stable: Vec<(&str, &str)> = backends(stable).map(|(host, path, _)| (host, path)).collect();
    let shared = backends(canary).find(|(host, path, _)| of_stable.contains(&(*host, *path)));
    shared.map(|(_, _, service)| service)
}

/// The share a canary Ingress asks for, whatever its prefix; `None` when it is not one.
fn canary_weight(ingress: &Value) -> Option<f64> {
    let annotations = pairs(ingress, "/metadata/annotations");
    let get = |name: &str| {
        let found = annotations.iter().find(|(key, _)| key.rsplit('/').next() == Some(name));
        found.map(|(_, value)| *value)
    };
    if get("canary") != Some("true") {
        return None;
    }
    let weight: f64 = get("canary-weight").and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let total: f64 = get("canary-weight-total")
        .and_then(|text| text.parse().ok())
        .unwrap_or(100.0);
    Some((weight / total.max(1.0)).clamp(0.0, 1.0))
}

fn destination(state: &State, namespace: &str, service: &str, share: f64) -> Destination {
    let slices = state.labelled(Kind::EndpointSlice, namespace, super::endpoints::SERVICE_NAME, service);
    let endpoints = slices
        .into_iter()
        .filter_map(|slice| slice.get("endpoints").and_then(Value::as_array))
        .flatten();
    let ready = endpoints.filter(|endpoint| endpoint.at("/conditions/ready") == Some(&Value::Bool(true)));
    Destination {
        service: service.to_owned(),
        share,
        pods: ready
            .map(|endpoint| text(endpoint, "/targetRef/name").to_owned())
            .collect(),
    }
}

impl Model for DataPlane {
    fn name(&self) -> &'static str {
        "data-plane"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[
            Kind::Ingress,
            Kind::HTTPRoute,
            Kind::Service,
            Kind::EndpointSlice,
            Kind::Pod,
        ]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        self.account(now);
        let state = api.state();
        let next = self.follow(&state, now);
        self.publish(&state, now);
        let back = self
            .truth
            .lock()
            .down
            .values()
            .copied()
            .filter(|until| *until > now)
            .min();
        sooner(next, back)
    }
}

#[cfg(test)]
mod tests;
