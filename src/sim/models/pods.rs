//! Kubelet and workload: pods become ready in their time, crash, and end.

use super::{
    Model, is_going, is_ready, later, ready_condition, sooner, stamp, text, time,
    truth::{SharedTruth, Truth},
};
use crate::json::At as _;
use crate::{
    api::well_known,
    sim::{
        api::{
            Change, Deletion, SimApi,
            kinds::{Key, Kind},
        },
        dice::{Dice, Range},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The model.
#[derive(Debug)]
pub struct Pods {
    truth: SharedTruth,
    start: Range,
    end: Range,
    dice: Dice,
    /// By uid.
    plans: BTreeMap<String, Plan>,
    addresses: u32,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    /// When its container has started; what the image takes is added.
    started: Timestamp,
    /// When it is gone, once it was deleted.
    gone: Option<Timestamp>,
    address: u32,
}

/// What a pod should show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shown {
    Starting,
    Ready,
    Crashing,
}

impl Pods {
    /// Pods that start and end within these times.
    pub fn new(truth: SharedTruth, start: Range, end: Range, dice: &Dice) -> Self {
        Self {
            truth,
            start,
            end,
            dice: dice.fork("pod-times"),
            plans: BTreeMap::new(),
            addresses: 0,
        }
    }

    fn plan(&mut self, uid: &str, now: Timestamp) -> Plan {
        if let Some(plan) = self.plans.get(uid) {
            return *plan;
        }
        self.addresses += 1;
        let plan = Plan {
            started: later(now, self.dice.within(self.start)),
            gone: None,
            address: self.addresses,
        };
        self.plans.insert(uid.to_owned(), plan);
        plan
    }

    /// When a pod that is being deleted is gone.
    fn gone(&mut self, uid: &str, now: Timestamp) -> Timestamp {
        let plan = self.plan(uid, now);
        let gone = plan.gone.unwrap_or_else(|| later(now, self.dice.within(self.end)));
        if let Some(plan) = self.plans.get_mut(uid) {
            plan.gone = Some(gone);
        }
        gone
    }
}

/// What a pod should show now, and when that may change.
fn wanted(truth: &Truth, pod: &Value, plan: Plan, now: Timestamp) -> (Shown, Option<Timestamp>) {
    let hash = text(pod, "/metadata/labels/rollouts-pod-template-hash");
    let behaviour = truth.behaviour(hash, text(pod, "/spec/containers/0/image"));
    let ready = later(plan.started, behaviour.ready_after);
    let down = truth
        .down
        .get(text(pod, "/metadata/name"))
        .filter(|until| now < **until);
    match down {
        _ if behaviour.crashes && now >= plan.started => (Shown::Crashing, None),
        Some(until) if now >= plan.started => (Shown::Crashing, Some(*until)),
        _ if now < ready => (
            Shown::Starting,
            Some(if behaviour.crashes { plan.started } else { ready }),
        ),
        _ => (Shown::Ready, None),
    }
}

fn shows(pod: &Value) -> Option<Shown> {
    ready_condition(pod)?;
    let waiting = pod.at("/status/containerStatuses/0/state/waiting/reason");
    Some(match (is_ready(pod), waiting.and_then(Value::as_str)) {
        (true, _) => Shown::Ready,
        (false, Some("CrashLoopBackOff")) => Shown::Crashing,
        (false, _) => Shown::Starting,
    })
}

fn status(pod: &Value, shown: Shown, plan: Plan, now: Timestamp) -> Value {
    let ready = shown == Shown::Ready;
    let state = match shown {
        Shown::Starting => json!({"waiting": {"reason": "ContainerCreating"}}),
        Shown::Ready => json!({"running": {"startedAt": stamp(now)}}),
        Shown::Crashing => {
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}})
        }
    };
    let restarts = pod
        .at("/status/containerStatuses/0/restartCount")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let container = json!({
        "name": text(pod, "/spec/containers/0/name"),
        "image": text(pod, "/spec/containers/0/image"),
        "ready": ready,
        "started": ready,
        "restartCount": restarts + i64::from(shown == Shown::Crashing),
        "state": state,
    });
    let condition =
        json!({"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": stamp(now)});
    json!({"status": {
        "phase": if shown == Shown::Starting { "Pending" } else { "Running" },
        "podIP": format!("10.244.{}.{}", plan.address / 250, plan.address % 250 + 1),
        "conditions": [condition],
        "containerStatuses": [container],
    }})
}

impl Model for Pods {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::Pod]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        let (mut writes, mut removals, mut seen) = (Vec::new(), Vec::new(), BTreeMap::new());
        {
            let truth = self.truth.clone();
            let truth = truth.lock();
            let state = api.state();
            for pod in state.list(Kind::Pod, None) {
                let uid = text(pod, "/metadata/uid");
                let key = Key::new(Kind::Pod, text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
                if is_going(pod) {
                    let gone = self.gone(uid, now);
                    if gone <= now {
                        removals.push(key);
                    } else {
                        next = sooner(next, Some(gone));
                    }
                } else {
                    let plan = self.plan(uid, now);
                    let (shown, change) = wanted(&truth, pod, plan, now);
                    next = sooner(next, change);
                    if shows(pod) != Some(shown) {
                        writes.push((key, status(pod, shown, plan, now)));
                    }
                }
                if let Some(plan) = self.plans.get(uid) {
                    seen.insert(uid.to_owned(), *plan);
                }
            }
        }
        self.plans = seen;
        for (key, status) in writes {
            super::accepted(api.patch_status(self.name(), &key, &Change::Merge(status)));
        }
        let at_once = Deletion {
            grace_seconds: Some(0),
            ..Deletion::default()
        };
        for key in removals {
            super::accepted(api.delete(self.name(), &key, &at_once));
        }
        next
    }
}

/// Name and image of the version a pod belongs to, by its hash label.
pub fn hash_of(pod: &Value) -> &str {
    pod.at("/metadata/labels")
        .and_then(|labels| labels.get(well_known::POD_TEMPLATE_HASH))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// When a pod became ready; `None` when it is not.
pub(super) fn ready_since(pod: &Value) -> Option<Timestamp> {
    ready_condition(pod)
        .filter(|_| is_ready(pod))
        .and_then(|condition| time(condition, "/lastTransitionTime"))
}

#[cfg(test)]
mod tests;
