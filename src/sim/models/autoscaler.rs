//! The horizontal pod autoscaler: writes the scale of what it is pointed at.

use super::{Model, accepted, later, number, stamp, text, truth::SharedTruth};
use crate::json::At as _;
use crate::sim::{
    api::{
        Change, SimApi,
        kinds::{Key, Kind},
    },
    dice::{Dice, Range},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// The model.
#[derive(Debug)]
pub struct Autoscaler {
    truth: SharedTruth,
    interval: Range,
    dice: Dice,
    next: Option<Timestamp>,
}

impl Autoscaler {
    /// An autoscaler that looks this often.
    pub fn new(truth: SharedTruth, interval: Range, dice: &Dice) -> Self {
        Self {
            truth,
            interval,
            dice: dice.fork("autoscaler-times"),
            next: None,
        }
    }
}

/// What it scales.
fn target(autoscaler: &Value) -> Option<Key> {
    let reference = autoscaler.at("/spec/scaleTargetRef")?;
    let kind = Kind::named(text(reference, "/apiVersion"), text(reference, "/kind"))?;
    Some(Key::new(
        kind,
        text(autoscaler, "/metadata/namespace"),
        text(reference, "/name"),
    ))
}

impl Model for Autoscaler {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::HorizontalPodAutoscaler]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        let all: Vec<Arc<Value>> = api
            .state()
            .list(Kind::HorizontalPodAutoscaler, None)
            .into_iter()
            .cloned()
            .collect();
        if all.is_empty() {
            self.next = None;
            return None;
        }
        if let Some(next) = self.next.filter(|next| now < *next) {
            return Some(next);
        }
        let wish = self.truth.lock().pods_wanted;
        for autoscaler in all {
            let Some(target) = target(&autoscaler) else { continue };
            let Some(live) = api.state().get(&target).cloned() else {
                continue;
            };
            let present = number(&live, "/spec/replicas").unwrap_or(1);
            let least = number(&autoscaler, "/spec/minReplicas").unwrap_or(1);
            let most = number(&autoscaler, "/spec/maxReplicas")
                .unwrap_or(i64::from(u32::MAX))
                .max(least);
            let wanted = wish.map_or(present, i64::from).clamp(least, most);
            if wanted != present {
                accepted(api.scale(self.name(), &target, u32::try_from(wanted).unwrap_or_default()));
            }
            let is_told = autoscaler.at("/status/conditions").is_some();
            if number(&autoscaler, "/status/desiredReplicas") != Some(wanted) || !is_told {
                let key = Key::new(
                    Kind::HorizontalPodAutoscaler,
                    text(&autoscaler, "/metadata/namespace"),
                    text(&autoscaler, "/metadata/name"),
                );
                let able = json!({"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale",
                    "lastTransitionTime": stamp(now)});
                let status =
                    json!({"status": {"currentReplicas": present, "desiredReplicas": wanted, "conditions": [able]}});
                accepted(api.patch_status(self.name(), &key, &Change::Merge(status)));
            }
        }
        self.next = Some(later(now, self.dice.within(self.interval)));
        self.next
    }
}

#[cfg(test)]
mod tests;
