//! `spec.restartAt` (`docs/rollouts.md`): older pods are replaced, a few at a time, and none of them is left at rest.
//!
//! A controller decides on pods as listed for the decision. So an eviction is right when it was right by the facts of
//! some moment lately, less what was evicted since.

use super::{
    Look, Rule, Verdicts, Violation, at_write,
    scene::{Scene, Subject, is_ready},
};
use crate::facts::{at, text, time};
use jiff::Timestamp;
use serde_json::Value;
use tidegate::sim::api::{
    faults::Verb,
    kinds::{Key, Kind},
    state::State,
};

/// What is remembered between writes.
#[derive(Debug, Default)]
pub struct Rules {
    /// The restart that was asked for, unless a new pod template or other steps took its place.
    asked: Option<Timestamp>,
    /// Ready pods that were evicted: when, and of which ReplicaSet.
    evicted: Vec<(Timestamp, String)>,
}

impl Rules {
    /// Judges a write. Whether it takes the only pod of a ReplicaSet, so that requests may fail for a while.
    pub fn commit(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) -> bool {
        match look.commit.key.kind {
            Kind::Rollout if look.commit.key == look.subject.rollout() => {
                self.rollout(look, verdicts);
                false
            }
            Kind::Pod if look.is_ours() && look.commit.verb == Verb::Delete => self.eviction(look, verdicts),
            _ => false,
        }
    }

    /// A word of the user's, a new update that counts as a restart, or what says that it is done.
    fn rollout(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let Some(rollout) = look.after.rollout.as_deref() else {
            self.asked = None;
            return;
        };
        let status = look.after.status();
        let asked = time(rollout, "/spec/restartAt");
        if asked
            != look
                .before
                .rollout
                .as_deref()
                .and_then(|before| time(before, "/spec/restartAt"))
        {
            self.asked = asked;
        }
        let before = look.before.status();
        let differs = |field: &str| before[field] != status[field];
        let renewed = differs("currentPodHash") || differs("currentStepHash");
        let due = asked.is_some_and(|asked| asked.duration_since(look.commit.at) <= look.allowance.skew);
        if look.is_ours() && renewed && due {
            self.asked = None;
        }
        let said = look.is_ours() && !renewed && differs("restartedAt");
        let left = self
            .asked
            .filter(|_| said)
            .and_then(|asked| older(look.after, look.state, asked));
        verdicts.ensure(left.is_none(), || {
            at_write(
                Rule::D3,
                look,
                format!(
                    "{} is recorded while {} is older",
                    status["restartedAt"],
                    left.unwrap_or_default()
                ),
                "no older pod left",
            )
        });
    }

    fn eviction(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) -> bool {
        let Some(pod) = look.commit.before.as_deref() else {
            return false;
        };
        let now = look.commit.at;
        let created = time(pod, "/metadata/creationTimestamp").unwrap_or(now);
        let lately = || look.scenes.lately(now);
        let asked = lately().any(|scene| {
            let rollout = scene.rollout.as_deref();
            let asked = rollout.and_then(|rollout| time(rollout, "/spec/restartAt"));
            asked.is_some_and(|asked| created < asked && asked.duration_since(now) <= look.allowance.skew)
        });
        verdicts.ensure(asked, || {
            at_write(
                Rule::D3,
                look,
                format!("a pod of {created} is evicted"),
                "only pods that are older than spec.restartAt",
            )
        });
        let is_going = at(pod, "/metadata/deletionTimestamp").is_some();
        if !is_ready(pod) || is_going {
            return false;
        }
        let set = text(pod, "/metadata/ownerReferences/0/name").to_owned();
        self.evicted.push((now, set.clone()));
        let since = |from: Timestamp, of: Option<&str>| {
            let evicted = self.evicted.iter().filter(|(at, _)| *at >= from);
            let theirs = evicted.filter(|(_, set)| of.is_none_or(|of| of == set)).count();
            i64::try_from(theirs).unwrap_or(i64::MAX)
        };
        // The newest facts are those after this write.
        let mut views: Vec<(Timestamp, &Scene)> = look.scenes.lately_since(now).collect();
        views.pop();
        let spare = (views.iter()).map(|(from, scene)| scene.ready_in_all() - since(*from, None) - floor(scene));
        let spare = spare.max().unwrap_or(0);
        verdicts.ensure(spare >= 0, || {
            at_write(
                Rule::T6,
                look,
                format!("a ready pod is evicted, and {} are missing then", -spare),
                "only what maxUnavailable leaves, at least one",
            )
        });
        let size = |scene: &Scene| scene.named(&set).map_or(0, |set| set.size);
        let others = (views.iter()).map(|(from, scene)| {
            let ready = scene.named(&set).map_or(0, |set| set.ready);
            if size(scene) > 1 {
                ready - since(*from, Some(&set))
            } else {
                1
            }
        });
        let others = others.max().unwrap_or(1);
        verdicts.ensure(others > 0, || {
            at_write(
                Rule::T2,
                look,
                format!("the last ready pod of {set} is evicted"),
                "another one first, where there are several",
            )
        });
        look.after.named(&set).is_none_or(|set| set.ready == 0)
    }

    /// Once everything rests, what was asked for is done, unless pods that never become ready stand in the way.
    pub fn at_rest(&self, at: Timestamp, subject: &Subject, scene: &Scene, state: &State, verdicts: &mut Verdicts) {
        // Where pods are missing for good, as those of a stable version that somebody deleted, none can be spared.
        let ready: i64 = scene.sets.iter().map(|set| set.ready).sum();
        let possible = scene.sets.iter().all(|set| set.ready >= set.size) && ready > floor(scene);
        let Some(asked) = self.asked.filter(|asked| *asked <= at && possible) else {
            return;
        };
        let left = older(scene, state, asked);
        verdicts.ensure(left.is_none(), || Violation {
            rule: Rule::C1,
            at,
            object: subject.rollout().to_string(),
            found: format!("{} is older than {asked}", left.unwrap_or_default()),
            expected: "no pod older than spec.restartAt at rest".to_owned(),
        });
    }
}

/// Ready pods that must be left: all that are wanted but for `maxUnavailable` of them, at least one.
fn floor(scene: &Scene) -> i64 {
    let sizes: i64 = scene.sets.iter().map(|set| set.size).sum();
    sizes.max(scene.replicas()) - scene.budget().1.max(1)
}

/// A pod of the Rollout's that is older and not going.
fn older(scene: &Scene, state: &State, than: Timestamp) -> Option<String> {
    let pods = scene.sets.iter().flat_map(|set| state.owned_by(&set.uid));
    let mut old = pods.filter(|(key, pod): &(&Key, &_)| {
        let pod: &Value = pod;
        let created = time(pod, "/metadata/creationTimestamp");
        key.kind == Kind::Pod
            && at(pod, "/metadata/deletionTimestamp").is_none()
            && created.is_some_and(|created| created < than)
    });
    old.next().map(|(key, _)| key.to_string())
}
