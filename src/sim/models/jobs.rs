//! The Job controller: a Job ends in its time, well or badly as the version under test behaves.

use super::{Model, accepted, is_going, later, sooner, stamp, text, truth::SharedTruth};
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
use std::{collections::BTreeMap, sync::Arc};

/// The model.
#[derive(Debug)]
pub struct Jobs {
    truth: SharedTruth,
    takes: Range,
    dice: Dice,
    /// By uid.
    ends: BTreeMap<String, Timestamp>,
}

impl Jobs {
    /// Jobs that take this long.
    pub fn new(truth: SharedTruth, takes: Range, dice: &Dice) -> Self {
        Self {
            truth,
            takes,
            dice: dice.fork("job-times"),
            ends: BTreeMap::new(),
        }
    }

    /// Whether its image fails by itself, or any version is made to misbehave: a Job that tests finds that out.
    fn fails(&self, job: &Value) -> bool {
        let image = text(job, "/spec/template/spec/containers/0/image");
        let truth = self.truth.lock();
        truth.behaviour("", image).is_bad() || truth.versions.values().any(super::behaviour::Behaviour::is_bad)
    }
}

impl Model for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::Job]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        let jobs: Vec<Arc<Value>> = {
            let state = api.state();
            let open = |job: &Arc<Value>| job.at("/status/conditions").is_none() && !is_going(job);
            state
                .list(Kind::Job, None)
                .into_iter()
                .filter(|job| open(job))
                .cloned()
                .collect()
        };
        let mut next = None;
        for job in jobs {
            let uid = text(&job, "/metadata/uid").to_owned();
            let (takes, dice) = (self.takes, &mut self.dice);
            let end = *self.ends.entry(uid).or_insert_with(|| later(now, dice.within(takes)));
            if now < end {
                next = sooner(next, Some(end));
                continue;
            }
            let (kind, count) = if self.fails(&job) {
                ("Failed", "failed")
            } else {
                ("Complete", "succeeded")
            };
            let condition = json!({"type": kind, "status": "True", "lastTransitionTime": stamp(now)});
            let status = json!({"status": {"conditions": [condition], count: 1, "startTime": text(&job, "/metadata/creationTimestamp")}});
            let key = Key::new(
                Kind::Job,
                text(&job, "/metadata/namespace"),
                text(&job, "/metadata/name"),
            );
            accepted(api.patch_status(self.name(), &key, &Change::Merge(status)));
        }
        next
    }
}
