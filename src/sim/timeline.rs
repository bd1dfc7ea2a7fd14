//! What happened in a simulation, as values: the frames of the picture, decisions, analyses, acts and totals.
//!
//! Times are seconds since the update. Nothing here runs anything.

use super::{
    api::{
        kinds::{Key, Kind},
        observe::Commit,
        state::State,
    },
    models::{data_plane::Traffic, is_going, is_ready, number, pods::hash_of, text},
    world::USER,
};
use crate::json::At as _;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Most decisions kept; protects memory from a rollout that never comes to rest.
const DECISIONS_MAX: usize = 10_000;

/// A whole simulation.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Name of the Rollout.
    pub rollout: String,
    /// `canary by pods`, `canary through nginx`, `canary through Gateway API` or `blue-green`.
    pub strategy: String,
    /// Images before.
    pub from: String,
    /// Images after.
    pub to: String,
    /// The seed.
    pub seed: u64,
    /// What the files name and do not hold, and the simulation made up.
    pub supplied: Vec<String>,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// What could be seen, one for each change.
    pub frames: Vec<Frame>,
    /// What the controllers said they did.
    pub decisions: Vec<Decision>,
    /// Analyses and their verdicts.
    pub analyses: Vec<Analysis>,
    /// What people did.
    pub acts: Vec<Act>,
    /// What went wrong by order.
    pub faults: Vec<FaultSpan>,
    /// How it ended.
    pub outcome: Outcome,
    /// Sums.
    pub totals: Totals,
    /// What was expected, and whether it held.
    pub expectations: Vec<Checked>,
}

/// What could be seen at one moment, until the next frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    /// When.
    pub at: f64,
    /// `status.currentStepIndex`.
    pub step: Option<i64>,
    /// The step, in words.
    pub doing: String,
    /// The canary's weight as the status shows it, in percent; without a router, its share of requests.
    pub weight: i64,
    /// Requests that the new version really gets, in percent.
    pub share: f64,
    /// Requests lost for want of a ready pod, in percent.
    pub lost: f64,
    /// `status.phase`.
    pub phase: String,
    /// `status.message`.
    pub message: String,
    /// `status.waitingFor.message`.
    pub waiting_for: String,
    /// Pods of the version before.
    pub stable: Pods,
    /// Pods of the version after.
    pub new: Pods,
    /// Pods of all other versions.
    pub other: Pods,
}

/// Pods of a version.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Those that the ReplicaSet is to have.
    pub wanted: i64,
    /// Those that are there and not on their way out.
    pub there: i64,
    /// Those of them that are ready.
    pub ready: i64,
}

/// An event the controllers recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// When.
    pub at: f64,
    /// One word.
    pub reason: String,
    /// In words.
    pub message: String,
    /// Whether it is a warning.
    pub warning: bool,
}

/// An AnalysisRun.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Its name.
    pub name: String,
    /// `Step`, `Background`, `PrePromotion` or `PostPromotion`.
    pub kind: String,
    /// Of which step.
    pub step: Option<i64>,
    /// When it began.
    pub began: f64,
    /// When it ended.
    pub ended: Option<f64>,
    /// Its phase.
    pub phase: String,
    /// Why.
    pub message: String,
    /// Its metrics.
    pub metrics: Vec<MetricRow>,
}

/// A metric of an AnalysisRun.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricRow {
    /// Its name.
    pub name: String,
    /// Its phase.
    pub phase: String,
    /// Measurements: successful, failed, inconclusive, in error.
    pub counts: [i64; 4],
    /// Values of the measurements kept.
    pub values: Vec<String>,
    /// Why.
    pub message: String,
}

/// Something a person did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Act {
    /// When.
    pub at: f64,
    /// What.
    pub does: String,
    /// Why it was in vain.
    pub refused: Option<String>,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultSpan {
    /// What was ordered.
    pub fault: String,
    /// Whether it is the new version that misbehaves.
    pub of_version: bool,
    /// When it began; absent: its moment never came.
    pub began: Option<f64>,
    /// When it ended.
    pub ended: Option<f64>,
}

/// How it ended.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The new version is stable and healthy.
    Promoted,
    /// All requests go to the stable version again.
    RolledBack,
    /// It waits for a person.
    Held(String),
    /// It is degraded and stays so.
    Degraded(String),
    /// The time was over.
    #[default]
    TimeIsOver,
}

impl Outcome {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::Promoted => "fully promoted".to_owned(),
            Self::RolledBack => "rolled back".to_owned(),
            Self::Held(why) => format!("waits for a person ({why})"),
            Self::Degraded(why) => format!("degraded: {why}"),
            Self::TimeIsOver => "not done when the time was over".to_owned(),
        }
    }
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// From the update until the new version was stable and healthy, in seconds.
    pub promoted_after: Option<f64>,
    /// The same when everything takes as long as it may.
    pub promoted_after_at_worst: Option<f64>,
    /// When the rollout was aborted.
    pub aborted_at: Option<f64>,
    /// At which step.
    pub caught_at_step: Option<i64>,
    /// From the first fault (or the abort) until all requests went to the stable version at full strength, in seconds.
    pub rolled_back_after: Option<f64>,
    /// The longest time from an abort to that, over aborts at every step.
    pub rollback_at_worst: Option<Worst>,
    /// For every step: whether a version that fails all its requests from there on is caught, and how long that and the
    /// rollback take.
    pub catches: Vec<Catch>,
    /// Most pods at one time, those on their way out left out.
    pub peak_pods: i64,
    /// Fewest ready pods while the update ran.
    pub least_ready: i64,
    /// The new version's largest share of requests, in percent.
    pub peak_share: f64,
    /// Requests lost for want of a ready pod.
    pub lost_requests: f64,
    /// When the first was lost, and on the way to which Service.
    pub first_loss: Option<(f64, String)>,
    /// Share of all requests during the update that failed for whatever reason, from 0 to 1.
    pub failed_share: f64,
}

/// The worst of several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// In seconds.
    pub seconds: f64,
    /// At which step.
    pub step: i64,
}

/// What becomes of a fault at a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Catch {
    /// The step at which the fault begins.
    pub step: i64,
    /// The step that caught it; absent: none.
    pub caught_at: Option<i64>,
    /// From the fault until all requests went to the stable version, in seconds.
    pub rolled_back_after: Option<f64>,
}

/// An expectation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// As it was written.
    pub expected: String,
    /// Whether it held.
    pub held: bool,
    /// What was found.
    pub found: String,
}

/// A duration as people write it: `1h5m`, `4m30s`, `12s`, `300ms`.
pub fn short(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return match duration.as_millis() {
            0 => "0s".to_owned(),
            millis => format!("{millis}ms"),
        };
    }
    let seconds = (duration + Duration::from_millis(500)).as_secs();
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let shown = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"));
    shown.collect()
}

/// Seconds as people write them.
pub fn seconds(seconds: f64) -> String {
    short(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}

/// What is gathered while a simulation runs.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    zero: Timestamp,
    decisions: Vec<Decision>,
    analyses: BTreeMap<String, Analysis>,
    writes: u64,
}

impl Recorder {
    /// Begins anew at this moment.
    pub fn begin(&self, zero: Timestamp) {
        *self.lock() = Recorded {
            zero,
            ..Recorded::default()
        };
    }

    /// Takes note of a write.
    pub fn note(&self, commit: &Commit) {
        let mut recorded = self.lock();
        let at = since(recorded.zero, commit.at);
        if &*commit.actor != USER {
            recorded.writes += 1;
        }
        let Some(after) = &commit.after else { return };
        match commit.key.kind {
            Kind::Event if commit.before.is_none() && recorded.decisions.len() < DECISIONS_MAX => {
                recorded.decisions.push(Decision {
                    at,
                    reason: text(after, "/reason").to_owned(),
                    message: text(after, "/message").to_owned(),
                    warning: text(after, "/type") == "Warning",
                });
            }
            Kind::AnalysisRun => {
                let began = recorded.analyses.get(&commit.key.name).map_or(at, |known| known.began);
                let analysis = analysis(&commit.key, after, (began, at), recorded.analyses.get(&commit.key.name));
                recorded.analyses.insert(commit.key.name.clone(), analysis);
            }
            _ => {}
        }
    }

    /// What was noted.
    pub fn take(&self) -> (Vec<Decision>, Vec<Analysis>) {
        let mut recorded = self.lock();
        let mut analyses: Vec<Analysis> = std::mem::take(&mut recorded.analyses).into_values().collect();
        analyses.sort_by(|one, other| {
            one.began
                .total_cmp(&other.began)
                .then_with(|| one.name.cmp(&other.name))
        });
        (std::mem::take(&mut recorded.decisions), analyses)
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds from one moment to another, to the millisecond.
pub fn since(zero: Timestamp, at: Timestamp) -> f64 {
    let millis = at.duration_since(zero).max(SignedDuration::ZERO).as_millis();
    millis as f64 / 1000.0
}

fn analysis(key: &Key, run: &Value, (began, now): (f64, f64), before: Option<&Analysis>) -> Analysis {
    let label = |name: &str| {
        run.at("/metadata/labels")
            .and_then(|labels| labels.get(name))
            .and_then(Value::as_str)
    };
    let results = run
        .at("/status/metricResults")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let completed = !text(run, "/status/completedAt").is_empty();
    let ended = before
        .and_then(|before| before.ended)
        .or_else(|| completed.then_some(now));
    Analysis {
        name: key.name.clone(),
        kind: label("rollout-type").unwrap_or_default().to_owned(),
        step: label("step-index").and_then(|text| text.parse().ok()),
        began,
        ended,
        phase: text(run, "/status/phase").to_owned(),
        message: text(run, "/status/message").to_owned(),
        metrics: results.map(metric).collect(),
    }
}

fn metric(result: &Value) -> MetricRow {
    let measurements = result
        .get("measurements")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let values = measurements.map(|measurement| match text(measurement, "/value") {
        "" => text(measurement, "/message").to_owned(),
        value => value.trim_matches(['[', ']']).to_owned(),
    });
    let message = match text(result, "/message") {
        "" => result
            .get("measurements")
            .and_then(Value::as_array)
            .and_then(|all| all.last())
            .map_or("", |last| text(last, "/message")),
        message => message,
    };
    MetricRow {
        name: text(result, "/name").to_owned(),
        phase: text(result, "/phase").to_owned(),
        counts: ["/successful", "/failed", "/inconclusive", "/error"].map(|field| number(result, field).unwrap_or(0)),
        values: values.collect(),
        message: message.to_owned(),
    }
}

/// The two versions of an update, by pod template hash.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Versions {
    /// The one before.
    pub stable: String,
    /// The one after; empty until the controller names it.
    pub new: String,
}

/// What can be seen now.
pub fn frame(state: &State, traffic: &Traffic, rollout: &Key, versions: &Versions, at: f64) -> Frame {
    let mut frame = Frame { at, ..Frame::default() };
    let shares = traffic.shares();
    frame.share = (shares.by_hash.get(&versions.new).copied().unwrap_or(0.0) * 1000.0).round() / 10.0;
    frame.lost = (shares.lost * 1000.0).round() / 10.0;
    if let Some(object) = state.get(rollout) {
        read_rollout(&mut frame, object);
        for (key, set) in state.owned_by(text(object, "/metadata/uid")) {
            if key.kind != Kind::ReplicaSet || is_going(set) {
                continue;
            }
            let pods = frame.of(versions, hash_of(set));
            pods.wanted += number(set, "/spec/replicas").unwrap_or(1);
        }
    }
    for pod in state.list(Kind::Pod, Some(&rollout.namespace)) {
        let hash = hash_of(pod);
        if hash.is_empty() || is_going(pod) {
            continue;
        }
        let pods = frame.of(versions, hash);
        pods.there += 1;
        pods.ready += i64::from(is_ready(pod));
    }
    frame
}

fn read_rollout(frame: &mut Frame, rollout: &Value) {
    frame.step = number(rollout, "/status/currentStepIndex");
    frame.doing = doing(rollout, frame.step);
    let weight = number(rollout, "/status/canary/weights/canary/weight");
    frame.weight = weight.unwrap_or_else(|| frame.share.round() as i64);
    frame.phase = text(rollout, "/status/phase").to_owned();
    frame.message = text(rollout, "/status/message").to_owned();
    frame.waiting_for = text(rollout, "/status/waitingFor/message").to_owned();
}

impl Frame {
    fn of(&mut self, versions: &Versions, hash: &str) -> &mut Pods {
        match hash {
            hash if hash == versions.new => &mut self.new,
            hash if hash == versions.stable => &mut self.stable,
            _ => &mut self.other,
        }
    }

    /// Pods of all versions.
    pub fn pods(&self) -> i64 {
        self.stable.there + self.new.there + self.other.there
    }

    /// Ready pods of all versions.
    pub fn ready(&self) -> i64 {
        self.stable.ready + self.new.ready + self.other.ready
    }

    /// Whether both look the same, whenever they were.
    pub fn looks_like(&self, other: &Self) -> bool {
        Self {
            at: 0.0,
            ..self.clone()
        } == Self {
            at: 0.0,
            ..other.clone()
        }
    }
}

/// A step in words.
fn doing(rollout: &Value, step: Option<i64>) -> String {
    let steps = rollout.at("/spec/strategy/canary/steps").and_then(Value::as_array);
    let (Some(steps), Some(index)) = (steps, step.and_then(|step| usize::try_from(step).ok())) else {
        return String::new();
    };
    let Some(step) = steps.get(index) else {
        return "all steps done".to_owned();
    };
    let Some((name, value)) = step.as_object().and_then(|step| step.iter().next()) else {
        return String::new();
    };
    match (name.as_str(), value) {
        ("pause", pause) => match pause.get("duration") {
            None | Some(Value::Null) => "pause".to_owned(),
            Some(Value::Number(seconds)) => format!("pause {seconds}s"),
            Some(duration) => format!("pause {}", duration.as_str().unwrap_or_default()),
        },
        ("analysis", analysis) => {
            let templates = analysis
                .get("templates")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let names: Vec<&str> = templates.map(|template| text(template, "/templateName")).collect();
            format!("analysis {}", names.join(", "))
        }
        (name, Value::Object(fields)) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key} {value}")).collect();
            format!("{name} {}", fields.join(", "))
        }
        (name, value) => format!("{name} {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, expect) in [
            (0, "0s"),
            (300, "300ms"),
            (12_400, "12s"),
            (270_000, "4m30s"),
            (3_900_000, "1h5m"),
            (3_600_499, "1h"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), expect);
        }
    }

    #[test]
    fn steps_are_told_in_words() {
        let rollout = serde_json::json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}},
            {"pause": {"duration": "5m"}}, {"analysis": {"templates": [{"templateName": "a"}, {"templateName": "b"}]}},
            {"setCanaryScale": {"replicas": 2}}]}}}});
        let texts: Vec<String> = (0..6).map(|step| doing(&rollout, Some(step))).collect();
        assert_eq!(
            texts,
            [
                "setWeight 20",
                "pause",
                "pause 5m",
                "analysis a, b",
                "setCanaryScale replicas 2",
                "all steps done"
            ]
        );
    }
}
