//! The scenario file: what happens in a simulation, and what is expected of it (`docs/simulate.md` has the whole format).
//!
//! A scenario is YAML. Whatever is one thing with a time is one line of words: `errors: 5% from weight 40`,
//! `promoted within 30m`. Unknown keys are refused, and every error names the path to what is wrong.

mod words;

use self::words::Words;
use super::models::{people::Verb, truth::Source};
use crate::{
    lang::{duration, yaml},
    sim::api::kinds::Kind,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, num::NonZeroU32, path::PathBuf, time::Duration};

/// A scenario.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// What it shows, for people.
    pub description: String,
    /// Manifests, relative to the scenario's file.
    pub files: Vec<PathBuf>,
    /// Objects beside those in files.
    pub objects: Vec<Value>,
    /// Name of the Rollout; needed when the files hold several.
    pub rollout: String,
    /// Fixes what is left to chance; absent: 1.
    pub seed: Option<u64>,
    /// What the update changes; absent: the next version of the image.
    pub update: Update,
    /// After this long a person approves a pause without an end; `never`: nobody does. Absent: 1m.
    pub approve_pauses_after: Option<Patience>,
    /// Replicas of the controllers; more than one elect a leader. Absent: 1.
    pub controllers: Option<usize>,
    /// The simulation ends after this long; absent: 6h.
    pub lasts: Option<Span>,
    /// How long the surroundings take, always the same instead of by chance.
    pub takes: Takes,
    /// What metrics answer, by name, instead of what is computed.
    pub values: BTreeMap<String, Value>,
    /// What people do.
    pub events: Vec<Event>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What is to come of it.
    pub expect: Vec<Expectation>,
}

/// What the update changes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Update {
    /// The image of every container, or `CONTAINER=IMAGE`.
    pub image: Option<String>,
    /// A merge patch of the Rollout.
    pub patch: Option<Value>,
}

/// How long the surroundings take.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Takes {
    /// A pod to become ready.
    pub pod_start: Option<Span>,
    /// A deleted pod to be gone.
    pub pod_end: Option<Span>,
    /// The data plane to follow a change.
    pub data_plane: Option<Span>,
    /// A Job to end.
    pub job: Option<Span>,
    /// The metrics system to answer.
    pub metrics: Option<Span>,
}

/// A length of time, written as in Go (`90s`, `1h30m`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span(pub Duration);

impl Span {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parsed = duration::parse(text).map_err(|error| error.to_string())?;
        Duration::try_from(parsed)
            .map(Self)
            .map_err(|_| format!("expected a positive duration, found `{text}`"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::timeline::short(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// How long a person waits before a pause is approved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// This long.
    After(Duration),
    /// For ever.
    Never,
}

impl Patience {
    /// Reads `never` or a duration.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            text => Span::parse(text).map(|span| Self::After(span.0)),
        }
    }
}

impl<'de> Deserialize<'de> for Patience {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A moment of an update.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Moment {
    /// The update itself.
    #[default]
    Start,
    /// So long after the update.
    After(Duration),
    /// The new version gets at least this share of requests, in percent.
    Weight(u32),
    /// `status.currentStepIndex` is at least this.
    Step(i64),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::After(after) => f.write_str(&super::timeline::short(*after)),
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Step(step) => write!(f, "step {step}"),
        }
    }
}

/// From when on, and for how long.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct When {
    /// The beginning.
    pub from: Moment,
    /// How long; absent: to the end.
    pub lasts: Option<Duration>,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What.
    pub what: Trouble,
    /// When.
    pub when: When,
    /// As it was written.
    pub text: String,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// The new version fails this share of its requests, from 0 to 1.
    Errors(f64),
    /// The new version answers later by this.
    Slow(Duration),
    /// The new version's pods crash.
    Crash,
    /// The metrics system.
    Metrics(Source),
    /// No requests come.
    NoTraffic,
    /// The controllers are killed, and started again after the fault's length.
    Kill,
    /// The controllers are killed once they have written so often, and started again after the fault's length.
    KillAtWrite(u32),
    /// The data plane takes this long to follow.
    DataPlaneDelay(Duration),
    /// What the API server answers the controllers.
    Api(Connection),
    /// The API server answers the controllers later by this.
    ApiDelay(Duration),
    /// The controllers hear of changes later by this.
    WatchDelay(Duration),
    /// The controllers' watches end, and cannot be taken up where they were.
    WatchesEnd,
    /// Somebody takes the leader's Lease.
    LeaseStolen,
    /// The controllers' clocks go wrong by so many seconds.
    Clock(i64),
    /// So many pods of one version go down.
    PodsDown(usize, Role),
}

/// What the API server answers the controllers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connection {
    /// Nothing: it cannot be reached.
    Down,
    /// An internal error.
    Error,
    /// Every write meets a conflict.
    Conflict,
    /// Every write is done, and its answer lost.
    Lost,
}

/// Which version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The one before the update.
    Stable,
    /// The one after it.
    New,
}

/// Something a person does.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub when: Moment,
    /// What.
    pub does: Verb,
}

/// Something that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What.
    pub what: Wish,
    /// As it was written.
    pub text: String,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// The new version is stable and healthy, within so long after the update.
    Promoted(Option<Duration>),
    /// The new version was aborted and all requests go to the stable one at full strength, within so long after the first
    /// fault or abort.
    RolledBack(Option<Duration>),
    /// It never became stable.
    NotPromoted,
    /// At the end the rollout is at this step.
    AtStep(i64),
    /// It was aborted while at this step.
    CaughtAtStep(i64),
    /// At the end it waits for a person.
    Paused,
    /// The pods of all versions were never more.
    MaxPods(i64),
    /// The ready pods were never fewer while the update ran.
    MinReady(i64),
    /// No request was lost on its way for want of a ready pod.
    NoFailedRequests,
    /// No more than this share of all requests failed, from 0 to 1.
    ErrorsBelow(f64),
    /// The new version never got a larger share, in percent.
    WeightNeverAbove(u32),
}

/// Why a scenario cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// It is no YAML.
    #[error("{0}")]
    Yaml(#[from] yaml::YamlError),
    /// Something in it is wrong.
    #[error("{path}: {problem}")]
    Field {
        /// Where.
        path: String,
        /// What.
        problem: String,
    },
}

impl Scenario {
    /// Reads a scenario.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let value = match yaml::to_json(text)? {
            Value::Null => Value::Object(serde_json::Map::new()),
            value => value,
        };
        serde_path_to_error::deserialize(value).map_err(|error| ScenarioError::Field {
            path: match error.path().to_string() {
                path if path == "." => "the scenario".to_owned(),
                path => path,
            },
            problem: error.inner().to_string(),
        })
    }
}

const FAULTS: &[&str] = &[
    "errors",
    "slow",
    "crash",
    "podsDown",
    "metrics",
    "noTraffic",
    "kill",
    "killAtWrite",
    "lease",
    "clock",
    "dataPlaneDelay",
    "api",
    "apiDelay",
    "watchDelay",
    "watches",
];

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = Words::deserialize(from)?;
        Self::of(words).map_err(D::Error::custom)
    }
}

impl Fault {
    /// Reads `errors 5% from weight 40`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::of(Words::of_text(text))
    }

    fn of(mut words: Words) -> Result<Self, String> {
        let text = words.text();
        let what = match words.head() {
            "errors" => Trouble::Errors(words.percent()?),
            "slow" => Trouble::Slow(words.span()?),
            "crash" => Trouble::Crash,
            "metrics" => Trouble::Metrics(words.choice(&[
                ("down", Source::Down),
                ("absent", Source::Absent),
                ("nan", Source::Nan),
                ("error", Source::Error),
                ("slow", Source::Slow),
                ("hang", Source::Hangs),
            ])?),
            "noTraffic" => Trouble::NoTraffic,
            "kill" => words.choice(&[("controller", Trouble::Kill)])?,
            "killAtWrite" => Trouble::KillAtWrite(words.number::<NonZeroU32>()?.get()),
            "dataPlaneDelay" => Trouble::DataPlaneDelay(words.span()?),
            "api" => Trouble::Api(words.choice(&[
                ("down", Connection::Down),
                ("error", Connection::Error),
                ("conflict", Connection::Conflict),
                ("lost", Connection::Lost),
            ])?),
            "apiDelay" => Trouble::ApiDelay(words.span()?),
            "watchDelay" => Trouble::WatchDelay(words.span()?),
            "watches" => words.choice(&[("end", Trouble::WatchesEnd)])?,
            "lease" => words.choice(&[("stolen", Trouble::LeaseStolen)])?,
            "clock" => Trouble::Clock(words.seconds()?),
            "podsDown" => {
                let count = words.number()?;
                Trouble::PodsDown(count, words.choice(&[("stable", Role::Stable), ("new", Role::New)])?)
            }
            other => return Err(words::unknown("fault", other, FAULTS)),
        };
        let when = words.when()?;
        words.end()?;
        Ok(Self { what, when, text })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireEvent {
    at: Option<Span>,
    when: Option<WireMoment>,
    #[serde(rename = "do")]
    does: Do,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum WireMoment {
    Step(i64),
    Weight(u32),
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let WireEvent { at, when, does } = WireEvent::deserialize(from)?;
        let when = match (at, when) {
            (Some(_), Some(_)) => return Err(D::Error::custom("expected one of `at` and `when`, found both")),
            (Some(at), None) => Moment::After(at.0),
            (None, Some(WireMoment::Step(step))) => Moment::Step(step),
            (None, Some(WireMoment::Weight(weight))) => Moment::Weight(weight),
            (None, None) => Moment::Start,
        };
        Ok(Self { when, does: does.0 })
    }
}

struct Do(Verb);

impl<'de> Deserialize<'de> for Do {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut words = Words::deserialize(from)?;
        let verb = verb(&mut words).map_err(D::Error::custom)?;
        words.end().map_err(D::Error::custom)?;
        Ok(Self(verb))
    }
}

fn verb(words: &mut Words) -> Result<Verb, String> {
    Ok(match words.head() {
        "promote" => match words.next_if("full") {
            true => Verb::PromoteFull,
            false => Verb::Promote,
        },
        "abort" => Verb::Abort,
        "retry" => Verb::Retry,
        "pause" => Verb::Pause,
        "resume" => Verb::Resume,
        "scale" => Verb::Scale(words.number()?),
        "setImage" => {
            let text = words.word("an image")?;
            let (container, image) = text.split_once('=').unwrap_or(("*", &text));
            Verb::SetImage {
                container: container.to_owned(),
                image: image.to_owned(),
            }
        }
        "steps" => Verb::Steps(words.value()?),
        "patch" => Verb::Patch(words.value()?),
        "apply" => Verb::Apply(words.value()?),
        "delete" => delete(&words.word("KIND/NAME")?)?,
        "selector" => selector(words.value()?)?,
        other => {
            return Err(words::unknown(
                "verb",
                other,
                &[
                    "promote", "abort", "retry", "pause", "resume", "scale", "setImage", "steps", "patch", "apply",
                    "delete", "selector",
                ],
            ));
        }
    })
}

fn delete(text: &str) -> Result<Verb, String> {
    let (kind, name) = text
        .split_once('/')
        .ok_or_else(|| format!("expected KIND/NAME, found `{text}`"))?;
    let known = [
        Kind::ReplicaSet,
        Kind::Ingress,
        Kind::Service,
        Kind::Pod,
        Kind::AnalysisRun,
        Kind::AnalysisTemplate,
    ];
    let kind = known.into_iter().find(|known| known.to_string() == kind);
    let kind = kind.ok_or_else(|| words::unknown("kind", text, &known.map(|known| known.facts().kind)))?;
    Ok(Verb::Delete {
        kind,
        name: name.to_owned(),
    })
}

fn selector(value: Value) -> Result<Verb, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wire {
        service: String,
        set: Value,
    }
    let Wire { service, set } = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Ok(Verb::EditSelector { service, selector: set })
}

impl<'de> Deserialize<'de> for Expectation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::of(Words::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Expectation {
    /// The new version becomes stable, whenever that is.
    pub fn promoted() -> Self {
        Self {
            what: Wish::Promoted(None),
            text: "promoted".to_owned(),
        }
    }

    fn of(mut words: Words) -> Result<Self, String> {
        let text = words.text();
        let what = match words.head() {
            "promoted" => Wish::Promoted(words.within()?),
            "rolledBack" => Wish::RolledBack(words.within()?),
            "notPromoted" => Wish::NotPromoted,
            "atStep" => Wish::AtStep(words.number()?),
            "caughtAtStep" => Wish::CaughtAtStep(words.number()?),
            "paused" => Wish::Paused,
            "maxPods" => Wish::MaxPods(words.number()?),
            "minReady" => Wish::MinReady(words.number()?),
            "noFailedRequests" => Wish::NoFailedRequests,
            "errorsBelow" => Wish::ErrorsBelow(words.percent()?),
            "weightNeverAbove" => Wish::WeightNeverAbove(words.number()?),
            other => {
                return Err(words::unknown(
                    "expectation",
                    other,
                    &[
                        "promoted",
                        "rolledBack",
                        "notPromoted",
                        "atStep",
                        "caughtAtStep",
                        "paused",
                        "maxPods",
                        "minReady",
                        "noFailedRequests",
                        "errorsBelow",
                        "weightNeverAbove",
                    ],
                ));
            }
        };
        words.end()?;
        Ok(Self { what, text })
    }
}

#[cfg(test)]
mod tests;
