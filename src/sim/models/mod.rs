//! What surrounds the controllers in a simulated world: the other controllers of a cluster, its pods, the data plane, the
//! metrics system and the people.
//!
//! Each model looks at the objects as they are and writes, as an actor of its own, what its real counterpart would
//! write. It remembers only what is no object (when a pod will be ready, what the data plane has taken up). The world
//! calls it a while after something it cares about changed, and when it asked to be called.

pub mod autoscaler;
pub mod behaviour;
pub mod data_plane;
pub mod deployment_pods;
pub mod deployments;
pub mod endpoints;
pub mod garbage;
pub mod gateway;
pub mod git;
pub mod jobs;
pub mod metrics;
pub mod people;
pub mod pods;
pub mod replica_sets;
pub mod truth;

use super::{
    api::{SimApi, kinds::Kind, refusal::Refused},
    dice::{Dice, Range},
};
use crate::json::At as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// A model of one part of the surroundings.
pub trait Model: Send {
    /// Its name: the actor of its writes, and of its stream of chance.
    fn name(&self) -> &'static str;

    /// Changes of these kinds concern it.
    fn concerns(&self) -> &'static [Kind];

    /// Does what is due at `now`, and returns when to be called again if nothing changes before. Calling it more often
    /// than needed changes nothing.
    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp>;
}

/// How long the surroundings take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From a change until the ReplicaSet controller acts on it.
    pub replica_sets: Range,
    /// From a pod's creation until its image could be ready; what the image takes is added.
    pub pod_start: Range,
    /// From a pod's deletion until it is gone; it serves meanwhile.
    pub pod_end: Range,
    /// From a change of pods until the EndpointSlices follow.
    pub endpoints: Range,
    /// From a change of an Ingress, Service or EndpointSlice until requests follow.
    pub data_plane: Range,
    /// Until the metrics system answers.
    pub metrics: Range,
    /// From a Job's creation until it ends.
    pub jobs: Range,
    /// Between two looks of the autoscaler.
    pub autoscaler: Range,
    /// From a deletion until the garbage collector follows.
    pub garbage: Range,
    /// From a change of a route until its Gateway's controller says that it took it up.
    pub gateway: Range,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            replica_sets: Range::millis(5, 100),
            pod_start: Range::millis(1_000, 3_000),
            pod_end: Range::millis(6_000, 10_000),
            endpoints: Range::millis(5, 300),
            data_plane: Range::millis(100, 3_500),
            metrics: Range::millis(5, 50),
            jobs: Range::millis(2_000, 5_000),
            autoscaler: Range::millis(15_000, 15_000),
            garbage: Range::millis(50, 500),
            gateway: Range::millis(20, 800),
        }
    }
}

impl Timing {
    /// Everything takes as long as it may.
    #[must_use]
    pub fn slowest(self) -> Self {
        Self {
            replica_sets: self.replica_sets.slowest(),
            pod_start: self.pod_start.slowest(),
            pod_end: self.pod_end.slowest(),
            endpoints: self.endpoints.slowest(),
            data_plane: self.data_plane.slowest(),
            metrics: self.metrics.slowest(),
            jobs: self.jobs.slowest(),
            autoscaler: self.autoscaler.slowest(),
            garbage: self.garbage.slowest(),
            gateway: self.gateway.slowest(),
        }
    }
}

/// A model with the delay after which it acts on a change, and what it is waiting for.
pub(super) struct Slot {
    pub(super) model: Box<dyn Model>,
    reaction: Range,
    dice: Dice,
    /// When it acts next; absent: when something changes.
    pub(super) due: Option<Timestamp>,
}

impl Slot {
    pub(super) fn new(model: Box<dyn Model>, reaction: Range, dice: &Dice, now: Timestamp) -> Self {
        Self {
            reaction,
            dice: dice.fork(model.name()),
            due: Some(now),
            model,
        }
    }

    /// Something it cares about changed.
    pub(super) fn concern(&mut self, now: Timestamp) {
        let at = later(now, self.dice.within(self.reaction));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn act(&mut self, api: &SimApi, now: Timestamp) {
        self.due = None;
        if let Some(next) = self.model.act(api, now) {
            // What it just wrote may concern itself, which is noticed afterwards.
            self.due = Some(next.max(later(now, Duration::from_millis(1))));
        }
    }
}

#[cfg(test)]
pub(super) mod testing;

/// A write of a model. Whatever the server refuses (an object that is just gone, a conflict) is looked at again with the
/// change that caused it.
pub(super) fn accepted(result: Result<Arc<Value>, Refused>) -> bool {
    result.is_ok()
}

/// A moment that many milliseconds after another.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// The earlier of two moments that may not come.
pub(super) fn sooner(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A text in an object; empty when absent.
pub(super) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.at(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number in an object.
pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.at(pointer).and_then(Value::as_i64)
}

/// A time in an object.
pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.at(pointer)?.as_str()?.parse().ok()
}

/// A time as the API writes it, in whole seconds.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether an object is on its way out.
pub(super) fn is_going(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// Whether a pod is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    ready_condition(pod).is_some_and(|condition| text(condition, "/status") == "True")
}

/// The condition `Ready` of a pod.
pub(super) fn ready_condition(pod: &Value) -> Option<&Value> {
    let conditions = pod.at("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| text(condition, "/type") == "Ready")
}

/// Labels as pairs.
pub(super) fn pairs<'v>(object: &'v Value, pointer: &str) -> Vec<(&'v str, &'v str)> {
    let map = object.at(pointer).and_then(Value::as_object);
    let entries = map.into_iter().flatten();
    entries
        .filter_map(|(key, value)| value.as_str().map(|value| (key.as_str(), value)))
        .collect()
}
