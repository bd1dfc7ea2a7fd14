//! D1 to D6: steps, gates, analyses, revisions and waits.

use super::{
    Look, Rule, Verdicts, Violation, at_write, roles, rollback,
    scene::{Scene, Subject, label},
};
use crate::facts::{at, text, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use tidegate::{
    api::well_known,
    lang::duration,
    sim::{
        api::{
            faults::Verb,
            kinds::{Key, Kind},
        },
        models::data_plane::Traffic,
    },
};

/// A weight is reached when the share of requests differs from it by less.
const SHARE_SLACK: f64 = 0.005;

/// What is remembered between writes.
#[derive(Debug)]
pub struct Rules {
    traffic: Traffic,
    /// Goes up whenever an analysis may begin again: a retry, a new version, other steps, a person's word.
    attempt: u64,
    /// The run that was created for a gate, and in which attempt.
    created: BTreeMap<Gate, (u64, String)>,
    /// When anything last moved.
    moved: Option<Timestamp>,
    /// To whom an update may go at once.
    rollback: rollback::Memory,
}

/// What an analysis is for: owner, type, step and hash.
type Gate = [String; 4];

impl Rules {
    /// Rules that may look at the data plane.
    pub fn new(traffic: Traffic) -> Self {
        Self {
            traffic,
            attempt: 0,
            created: BTreeMap::new(),
            moved: None,
            rollback: rollback::Memory::default(),
        }
    }

    /// Judges a write.
    pub fn commit(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let kind = look.commit.key.kind;
        if matches!(
            kind,
            Kind::Rollout | Kind::ReplicaSet | Kind::Service | Kind::Ingress | Kind::AnalysisRun | Kind::Pod
        ) {
            self.moved = Some(look.commit.at);
        }
        match kind {
            Kind::Rollout if look.commit.key == look.subject.rollout() => self.rollout(look, verdicts),
            Kind::AnalysisRun if look.is_ours() && look.commit.verb == Verb::Create => self.run(look, verdicts),
            Kind::ReplicaSet if look.is_ours() && look.commit.verb == Verb::Create => revision(look, verdicts),
            Kind::Service if look.is_ours() && look.commit.key.name == look.subject.stable_service => {
                self.switch(look, verdicts);
            }
            _ => {}
        }
    }

    fn rollout(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let status = |object: &Option<Arc<Value>>| {
            let status = object.as_deref().and_then(|object| object.get("status"));
            status.cloned().unwrap_or(Value::Null)
        };
        let (old, new) = (status(&look.commit.before), status(&look.commit.after));
        let differs = |field: &str| old[field] != new[field];
        let again = ["abort", "abortedAt", "currentPodHash", "currentStepHash"];
        let by_hand = ["currentStepIndex", "pauseConditions"];
        if again.into_iter().any(differs) || (!look.is_ours() && by_hand.into_iter().any(differs)) {
            self.attempt += 1;
        }
        if look.is_ours() && look.commit.subresource == "status" {
            self.progress(look, &old, &new, verdicts);
            self.window(look, (&old, &new), verdicts);
        }
        self.rollback.note(look);
    }

    /// C6: a rollback within the window goes through no steps and no pauses.
    fn window(&self, look: &Look<'_>, (old, new): (&Value, &Value), verdicts: &mut Verdicts) {
        let hash = field(new, "currentPodHash");
        let steps = look.before.canary_spec()["steps"].as_array().map_or(0, Vec::len) as u64;
        let pauses = |status: &Value| status["pauseConditions"].to_string().contains("BlueGreenPause");
        let begins = field(old, "currentPodHash") != hash && !field(old, "stableRS").is_empty();
        let by_steps = begins && steps > 0 && new["currentStepIndex"].as_u64() != Some(steps);
        let by_pauses = pauses(new) && !pauses(old);
        let slow = by_steps || by_pauses;
        verdicts.ensure(!slow || !self.rollback.demands(look, hash), || {
            let found = format!("step {}, pauses {}", new["currentStepIndex"], new["pauseConditions"]);
            at_write(
                Rule::C6,
                look,
                found,
                format!("{hash} at once, as a rollback within the window"),
            )
        });
    }

    /// D1 and D3: how the step index and the stable version may move by the controller's own write.
    fn progress(&self, look: &Look<'_>, old: &Value, new: &Value, verdicts: &mut Verdicts) {
        let steps = look.before.canary_spec()["steps"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let at = |status: &Value| {
            let index = status["currentStepIndex"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok());
            index.unwrap_or(0).min(steps.len())
        };
        let (from, to) = (at(old), at(new));
        let hash = field(new, "currentPodHash");
        let same =
            field(old, "currentPodHash") == hash && field(old, "currentStepHash") == field(new, "currentStepHash");
        let retried = !old["abortedAt"].is_null() && new["abortedAt"].is_null();
        verdicts.ensure(to >= from || !same || new["abort"] == true || retried, || {
            at_write(
                Rule::D3,
                look,
                format!("the step index falls from {from} to {to}"),
                "a fall only by abort, retry or a new version",
            )
        });
        let (stable, promoted) = (field(old, "stableRS"), field(new, "stableRS"));
        let full = old["promoteFull"] == true || new["promoteFull"] == true;
        // Nothing to update, or nothing to protect yet.
        if full || stable.is_empty() || stable == hash {
            return;
        }
        taken_back(look, (old, new), same, verdicts);
        held(look, (from, to), same, verdicts);
        // New versions and new steps begin with the first step; those that ask for nothing are passed at once.
        let (from, old_status) = if same { (from, old) } else { (0, &Value::Null) };
        // Whether a rollback skips the steps is decided when it begins.
        let fast = !same && self.rollback.permits(look, hash);
        let judged = (same || !(new["abort"] == true || empty_lately(look))) && !fast;
        for (index, step) in steps.iter().enumerate().take(to).skip(from).filter(|_| judged) {
            self.step(look, (old_status, hash), (index, step), verdicts);
        }
        if promoted != stable {
            self.promotion(look, old, (&steps, to), hash, verdicts);
        }
    }

    fn step(
        &self,
        look: &Look<'_>,
        (old, hash): (&Value, &str),
        (index, step): (usize, &Value),
        verdicts: &mut Verdicts,
    ) {
        if step.get("analysis").is_some() {
            let named = text(old, "/canary/currentStepAnalysisRunStatus/name");
            let proof = evidence(look, named, "Step", Some(index), hash);
            verdicts.ensure(proof.is_ok(), || {
                let found = format!(
                    "step {index} passed although {}",
                    proof.clone().err().unwrap_or_default()
                );
                at_write(
                    Rule::D1,
                    look,
                    found,
                    format!("a successful analysis of step {index} and {hash}"),
                )
            });
        } else if let Some(pause) = step.get("pause") {
            let over = pause_is_over(look, old, "CanaryPauseStep", seconds(&pause["duration"]));
            verdicts.ensure(over, || {
                at_write(
                    Rule::D3,
                    look,
                    format!("the pause of step {index} passed early, {}", old["pauseConditions"]),
                    "its end, or a person",
                )
            });
        } else if let Some(weight) = step.get("setWeight").and_then(Value::as_i64) {
            let wanted = weight as f64 / look.before.total() as f64;
            let reached = self.share(look, hash);
            let judged = look.before.is_routed() && !look.is_disturbed() && !empty_lately(look);
            verdicts.ensure(!judged || (reached - wanted).abs() < SHARE_SLACK, || {
                let found = format!(
                    "step {index} passed while the data plane sends {:.0}% to {hash}",
                    reached * 100.0
                );
                at_write(Rule::D3, look, found, format!("{:.0}%", wanted * 100.0))
            });
        }
    }

    fn promotion(
        &self,
        look: &Look<'_>,
        old: &Value,
        (steps, index): (&[Value], usize),
        hash: &str,
        verdicts: &mut Verdicts,
    ) {
        let wanted = look
            .scenes
            .lately(look.commit.at)
            .map(Scene::replicas)
            .min()
            .unwrap_or(0);
        let known = field(old, "currentPodHash") == hash;
        // Without pods there is nothing to go through step by step.
        let gone_through = index >= steps.len() && (known || empty_lately(look));
        verdicts.ensure(gone_through || steps.is_empty(), || {
            at_write(
                Rule::D3,
                look,
                format!("{hash} promoted at step {index} of {}", steps.len()),
                "all steps first",
            )
        });
        // A blue-green version was given the requests before; its pods were counted at the switch.
        let elsewhere = !look.before.canary_spec()["replicaProgressThreshold"].is_null()
            || !look.before.blue_green_spec().is_null();
        // Where pods are the weights, the stable Service keeps one of the old pods until it is led to the new ones.
        let surge = look.before.budget().0;
        let keeps_one = !look.before.is_routed() && look.before.canary_spec().get("stableService").is_some();
        let wanted = if keeps_one {
            wanted.min(wanted + surge - 1)
        } else {
            wanted
        };
        let ready = look.scenes.most_ready(look.commit.at, hash);
        verdicts.ensure(ready >= wanted || elsewhere, || {
            at_write(
                Rule::T2,
                look,
                format!("{hash} promoted with {ready} ready pods"),
                wanted.to_string(),
            )
        });
        let judged = look.before.is_routed() && !look.is_disturbed() && !empty_lately(look);
        let share = self.share(look, hash);
        verdicts.ensure(!judged || share > 1.0 - SHARE_SLACK, || {
            at_write(
                Rule::T2,
                look,
                format!("{hash} promoted while the data plane sends it {:.0}%", share * 100.0),
                "all requests first",
            )
        });
        let gated = !look.before.blue_green_spec()["postPromotionAnalysis"].is_null();
        if gated && !self.rollback.permits(look, hash) {
            let named = text(old, "/blueGreen/postPromotionAnalysisRunStatus/name");
            let proof = evidence(look, named, "PostPromotion", None, hash);
            verdicts.ensure(proof.is_ok(), || {
                let found = format!("{hash} promoted although {}", proof.clone().err().unwrap_or_default());
                at_write(Rule::D1, look, found, "a successful analysis after the switch")
            });
        }
        let background = text(old, "/canary/currentBackgroundAnalysisRunStatus/name");
        let failed = look
            .state
            .get(&look.subject.key(Kind::AnalysisRun, background))
            .filter(|run| {
                let phase = text(run, "/status/phase");
                let ended = time(run, "/status/completedAt").unwrap_or(look.commit.at);
                matches!(phase, "Failed" | "Error") && look.commit.at.duration_since(ended) > look.allowance.staleness
            });
        // Who retries knows what failed before; pods that are there already are promoted at once where there is no step.
        let retried = !old["abortedAt"].is_null() && old["abort"] != true;
        verdicts.ensure(failed.is_none() || retried, || {
            at_write(
                Rule::D1,
                look,
                format!("{hash} promoted although AnalysisRun {background} failed"),
                "an abort",
            )
        });
    }

    /// The share of requests that the data plane sends to pods of this hash.
    fn share(&self, look: &Look<'_>, hash: &str) -> f64 {
        let seen = self.traffic.lock();
        super::traffic::share_of(&seen.config, hash, look.state)
    }

    /// D2 and D3 at the creation of an analysis.
    fn run(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let Some(run) = look.commit.after.as_deref() else {
            return;
        };
        let gate = gate_of(run);
        let others = look.state.list(Kind::AnalysisRun, Some(&look.subject.namespace));
        let mut others = others
            .into_iter()
            .filter(|other| text(other, "/metadata/name") != look.commit.key.name);
        let live = others.find(|other| gate_of(other) == gate && is_live(other));
        verdicts.ensure(live.is_none(), || {
            let found = live.map_or("", |live| text(live, "/metadata/name"));
            at_write(
                Rule::D2,
                look,
                format!("{found} is live for the same gate"),
                "one analysis for each gate",
            )
        });
        let before = self.created.insert(gate, (self.attempt, look.commit.key.name.clone()));
        let repeated = before.filter(|(attempt, name)| *attempt == self.attempt && *name != look.commit.key.name);
        verdicts.ensure(repeated.is_none(), || {
            let found = repeated.map(|(_, name)| name).unwrap_or_default();
            at_write(
                Rule::D3,
                look,
                format!("{found} was created for the same attempt"),
                "one analysis for each attempt",
            )
        });
        let hash = label(run, well_known::POD_TEMPLATE_HASH);
        let demanded = !look.before.blue_green_spec().is_null() && self.rollback.demands(look, hash);
        verdicts.ensure(!demanded, || {
            at_write(Rule::C6, look, "created", "none for a rollback within the window")
        });
    }

    /// D1 at the switch of a blue-green rollout.
    fn switch(&self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let (Some(before), Some(after)) = (look.commit.before.as_deref(), look.commit.after.as_deref()) else {
            return;
        };
        let (from, to) = (super::scene::selected_hash(before), super::scene::selected_hash(after));
        let blue_green = look.after.blue_green_spec();
        let status = look.after.status();
        let (stable, current) = (field(status, "stableRS"), field(status, "currentPodHash"));
        // It was led there before: what judges after the switch has begun.
        let switched = !text(status, "/blueGreen/postPromotionAnalysisRunStatus/name").is_empty();
        let repaired = text(status, "/blueGreen/activeSelector") == to || switched;
        if blue_green.is_null() || from == to || to != current || to == stable || stable.is_empty() || repaired {
            return;
        }
        if status["promoteFull"] == true || self.rollback.permits(look, to) {
            return;
        }
        if !blue_green["prePromotionAnalysis"].is_null() {
            let named = text(status, "/blueGreen/prePromotionAnalysisRunStatus/name");
            let proof = evidence(look, named, "PrePromotion", None, to);
            verdicts.ensure(proof.is_ok(), || {
                let found = format!("switched to {to} although {}", proof.clone().err().unwrap_or_default());
                at_write(Rule::D1, look, found, "a successful analysis of the preview")
            });
        }
        let by_hand = blue_green["autoPromotionEnabled"] == false;
        let delay = blue_green["autoPromotionSeconds"]
            .as_i64()
            .filter(|seconds| *seconds > 0 && !by_hand);
        let checkpoint = status["blueGreen"]["scaleUpPreviewCheckPoint"] == true;
        if (by_hand || delay.is_some()) && !checkpoint {
            verdicts.ensure(pause_is_over(look, status, "BlueGreenPause", delay), || {
                at_write(
                    Rule::D3,
                    look,
                    format!("switched to {to} during {}", status["pauseConditions"]),
                    "the end of the pause",
                )
            });
        }
    }

    /// D6: while nothing moves, the status says what is waited for, and a wait with an end ends.
    pub fn silence(
        &mut self,
        at: Timestamp,
        subject: &Subject,
        scene: &Scene,
        reaction: SignedDuration,
        verdicts: &mut Verdicts,
    ) {
        let still = self.moved.is_some_and(|moved| at.duration_since(moved) > reaction);
        if still && scene.rollout.is_some() {
            explained(at, subject, scene, reaction, verdicts);
        }
    }
}

/// Whether a Rollout at which nothing moves says why.
fn explained(at: Timestamp, subject: &Subject, scene: &Scene, reaction: SignedDuration, verdicts: &mut Verdicts) {
    let phase = scene.recorded("phase");
    if phase == "Healthy" {
        return;
    }
    let waiting = &scene.status()["waitingFor"];
    let until = time(waiting, "/until");
    let over = until.is_some_and(|until| at.duration_since(until) > reaction);
    let named = !waiting.is_null() || (phase != "Progressing" && !scene.recorded("message").is_empty());
    verdicts.ensure(named && !over, || Violation {
        rule: Rule::D6,
        at,
        object: subject.rollout().to_string(),
        found: format!(
            "{phase} {:?}, waitingFor {waiting}, and nothing moves",
            scene.recorded("message")
        ),
        expected: "the one thing waited for, and an end of every wait".to_owned(),
    });
}

/// T5: only a person takes back an abort.
fn taken_back(look: &Look<'_>, (old, new): (&Value, &Value), same: bool, verdicts: &mut Verdicts) {
    let back = same && old["abort"] == true && new["abort"] != true;
    verdicts.ensure(!back, || {
        at_write(
            Rule::T5,
            look,
            "the abort is taken back",
            "a person's retry, or a new version",
        )
    });
}

/// D3: a hold holds.
fn held(look: &Look<'_>, (from, to): (usize, usize), same: bool, verdicts: &mut Verdicts) {
    let held = same && look.scenes.lately(look.commit.at).all(Scene::is_held);
    verdicts.ensure(!held || to <= from, || {
        at_write(
            Rule::D3,
            look,
            format!("step {from} to {to} in spite of spec.paused"),
            "no step while the user holds the Rollout",
        )
    });
}

fn field<'v>(status: &'v Value, name: &str) -> &'v str {
    status.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn empty_lately(look: &Look<'_>) -> bool {
    look.scenes.lately(look.commit.at).any(|scene| scene.replicas() == 0)
}

/// Seconds of a duration in a step; `None` without one.
fn seconds(value: &Value) -> Option<i64> {
    match value {
        Value::Number(seconds) => seconds.as_i64(),
        Value::String(text) => text.parse().ok().or_else(|| {
            let parsed = duration::parse(text).ok()?;
            Some(parsed.as_secs())
        }),
        _ => None,
    }
}

/// Whether the pause in the status before a write was over: by its time, or because a person resumed.
fn pause_is_over(look: &Look<'_>, old: &Value, reason: &str, seconds: Option<i64>) -> bool {
    let pauses = old["pauseConditions"].as_array().cloned().unwrap_or_default();
    if old["controllerPause"] == true && pauses.is_empty() {
        return true;
    }
    let started = pauses.iter().find(|pause| field(pause, "reason") == reason);
    let started = started.and_then(|pause| time(pause, "/startTime"));
    let ends = started
        .zip(seconds)
        .and_then(|(started, seconds)| started.checked_add(SignedDuration::from_secs(seconds)).ok());
    ends.is_some_and(|ends| ends.duration_since(look.commit.at) <= look.allowance.skew)
}

fn gate_of(run: &Value) -> Gate {
    [
        text(run, "/metadata/ownerReferences/0/uid").to_owned(),
        label(run, well_known::ROLLOUT_TYPE).to_owned(),
        label(run, well_known::STEP_INDEX).to_owned(),
        label(run, well_known::POD_TEMPLATE_HASH).to_owned(),
    ]
}

fn is_live(run: &Value) -> bool {
    let open = matches!(text(run, "/status/phase"), "" | "Pending" | "Running");
    open && at(run, "/spec/terminate") != Some(&Value::Bool(true))
}

/// Whether the run of this name proves what its gate asks for; else what is wrong with it.
fn evidence(look: &Look<'_>, name: &str, purpose: &str, step: Option<usize>, hash: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the status names no analysis".to_owned());
    }
    let key = Key::new(Kind::AnalysisRun, look.subject.namespace.as_str(), name);
    let run = look
        .state
        .get(&key)
        .ok_or_else(|| format!("AnalysisRun {name} does not exist"))?;
    let step_matches = step.is_none_or(|step| label(run, well_known::STEP_INDEX) == step.to_string());
    if !step_matches
        || label(run, well_known::ROLLOUT_TYPE) != purpose
        || label(run, well_known::POD_TEMPLATE_HASH) != hash
    {
        return Err(format!("AnalysisRun {name} is about something else"));
    }
    let phase = text(run, "/status/phase");
    if phase != "Successful" {
        return Err(format!("AnalysisRun {name} is {phase:?}"));
    }
    let cut_off = at(run, "/spec/terminate") == Some(&Value::Bool(true)) && text(run, "/status/completedAt").is_empty();
    if cut_off || text(run, "/status/message") == "Run Terminated" {
        return Err(format!("AnalysisRun {name} was terminated"));
    }
    let results = at(run, "/status/metricResults")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let measured = results.iter().filter(|result| result["dryRun"] != true);
    if results.is_empty()
        || measured
            .clone()
            .any(|result| result["successful"].as_i64().unwrap_or(0) == 0)
    {
        return Err(format!("AnalysisRun {name} measured nothing"));
    }
    Ok(())
}

/// D5: a template that has a ReplicaSet gets no second one.
fn revision(look: &Look<'_>, verdicts: &mut Verdicts) {
    let template = |set: &Value| {
        let mut template = at(set, "/spec/template").cloned().unwrap_or_default();
        roles::strip(&mut template);
        template
    };
    let Some(created) = look.commit.after.as_deref() else {
        return;
    };
    let owner = text(created, "/metadata/ownerReferences/0/uid");
    let wanted = template(created);
    let twin = look.state.owned_by(owner).into_iter().find(|(key, set)| {
        key.kind == Kind::ReplicaSet
            && key.name != look.commit.key.name
            && text(set, "/metadata/deletionTimestamp").is_empty()
            && template(set) == wanted
    });
    let asked = look.scenes.lately(look.commit.at).any(|scene| {
        let asked = scene.template();
        // What the server fills in is in the pods' specification only.
        asked["metadata"] == wanted["metadata"] && holds(&wanted["spec"], &asked["spec"])
    });
    verdicts.ensure(asked, || {
        at_write(Rule::D5, look, wanted.to_string(), "the pod template of the Rollout")
    });
    verdicts.ensure(twin.is_none(), || {
        let found = twin.map(|(key, _)| key.to_string()).unwrap_or_default();
        at_write(
            Rule::D5,
            look,
            format!("{found} has the same pod template"),
            "one ReplicaSet for each template",
        )
    });
}

/// Whether all that is asked for is there.
fn holds(found: &Value, asked: &Value) -> bool {
    match (found, asked) {
        (Value::Object(found), Value::Object(asked)) => {
            let mut asked = asked.iter();
            asked.all(|(key, asked)| found.get(key).is_some_and(|found| holds(found, asked)))
        }
        (Value::Array(found), Value::Array(asked)) => {
            found.len() == asked.len() && found.iter().zip(asked).all(|(found, asked)| holds(found, asked))
        }
        _ => found == asked,
    }
}

/// D6 once everything rests.
pub fn at_rest(at: Timestamp, subject: &Subject, scene: &Scene, verdicts: &mut Verdicts) {
    if scene.rollout.is_some() {
        explained(at, subject, scene, SignedDuration::from_secs(60), verdicts);
    }
}
