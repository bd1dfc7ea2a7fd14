//! The metrics system behind the provider seam: answers Prometheus queries and web requests by what is true.
//!
//! A query is not executed. What it asks for (success rate, error rate, latency, requests; of the canary, the stable
//! version or both; over which window) is read off its name and text, and the answer is computed from the requests that
//! each version really got. A metric that cannot be read like that gets an answer that its own conditions judge as the
//! truth is: good while nothing is wrong with the version under test, bad otherwise.

use super::{
    pairs, text,
    truth::{SharedTruth, Source, Truth},
};
use crate::{
    analysis::{
        condition,
        phase::Phase,
        reading::{Answer, Answered},
    },
    api::{analysis::Metric, well_known},
    clock::SharedClock,
    lang::{duration, expr::Measured},
    provider::{Provider, Query},
    sim::{
        api::{
            SimApi,
            kinds::{Key, Kind},
        },
        dice::{Dice, Range},
    },
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Window of a query that names none.
const WINDOW: Duration = Duration::from_secs(60);
/// Time limit of a query that names none, as in the real provider.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// An answer that is slow but right comes this long before the time limit.
const JUST_IN_TIME: Duration = Duration::from_millis(500);
/// Numbers tried for a metric whose meaning is not known.
const NUMBERS: [f64; 12] = [1.0, 0.0, 100.0, 0.5, 10.0, 50.0, 1000.0, 0.01, 0.99, 5.0, 1e6, -1.0];

/// The source. Answers metrics of Prometheus and of the web alike.
#[derive(Clone)]
pub struct Metrics {
    api: SimApi,
    truth: SharedTruth,
    clock: SharedClock,
    takes: Range,
    dice: Arc<Mutex<Dice>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A source that takes this long to answer.
    pub fn new(api: SimApi, truth: SharedTruth, clock: SharedClock, takes: Range, dice: &Dice) -> Self {
        Self {
            api,
            truth,
            clock,
            takes,
            dice: Arc::new(Mutex::new(dice.fork("metrics-times"))),
        }
    }

    fn limit(metric: &Metric) -> Duration {
        let prometheus = metric.provider.prometheus.as_ref().and_then(|metric| metric.timeout);
        let web = metric
            .provider
            .web
            .as_ref()
            .map(|metric| metric.timeout_seconds)
            .filter(|seconds| *seconds > 0);
        let seconds = prometheus
            .or(web)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| *seconds > 0);
        seconds.map_or(TIME_LIMIT, Duration::from_secs)
    }

    async fn answer(&self, query: &Query) -> Answer {
        let limit = Self::limit(&query.metric);
        let takes = self
            .dice
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .within(self.takes);
        let source = self.truth.lock().source;
        let late = || Answer::Error(format!("no answer within {limit:?}"));
        match source {
            Source::Down => return Answer::Error("request failed: connection refused".to_owned()),
            Source::Hangs => {
                tokio::time::sleep(limit).await;
                return late();
            }
            Source::Slow => tokio::time::sleep(limit.saturating_sub(JUST_IN_TIME)).await,
            Source::Up | Source::Absent | Source::Nan | Source::Error => tokio::time::sleep(takes).await,
        }
        match source {
            Source::Absent => vector(Vec::new()),
            Source::Nan => vector(vec![f64::NAN]),
            Source::Error => Answer::Error("HTTP 503: the query processor is overloaded".to_owned()),
            Source::Up | Source::Slow | Source::Down | Source::Hangs => self.truthful(query),
        }
    }

    fn truthful(&self, query: &Query) -> Answer {
        let now = self.clock.now();
        let subject = self.subject(query);
        let truth = self.truth.lock();
        let metric = &query.metric;
        if let Some(value) = truth.values.get(&metric.name) {
            return match (metric.provider.prometheus.is_some(), value.as_f64()) {
                (true, Some(number)) => vector(vec![number]),
                _ => Answer::Value {
                    measured: Measured::Json(value.clone()),
                    text: value.to_string(),
                },
            };
        }
        let counts = |hash: Option<&str>| subject.counts(hash);
        let Some(prometheus) = &metric.provider.prometheus else {
            return web(metric, subject.is_bad(&truth), now);
        };
        let window = window(&prometheus.query);
        let totals = truth.totals(now, window, counts);
        match Quantity::of(metric) {
            // Nothing came in the window: a share of nothing.
            Quantity::SuccessRate | Quantity::ErrorRate | Quantity::Latency { .. } if totals.requests <= 0.0 => {
                vector(vec![f64::NAN])
            }
            Quantity::SuccessRate => vector(vec![scale(metric, now) * (1.0 - totals.errors / totals.requests)]),
            Quantity::ErrorRate => vector(vec![scale(metric, now) * totals.errors / totals.requests]),
            Quantity::Latency { quantile, unit } => vector(
                truth
                    .latency(now, window, quantile, counts)
                    .map(|latency| latency * unit)
                    .into_iter()
                    .collect(),
            ),
            Quantity::Requests => vector(vec![totals.requests / window.as_secs_f64()]),
            Quantity::Errors => vector(vec![totals.errors / window.as_secs_f64()]),
            Quantity::Unknown => by_verdict(metric, subject.is_bad(&truth), now),
        }
    }

    /// Whose requests a query is about.
    fn subject(&self, query: &Query) -> Subject {
        let asked = asked(&query.metric);
        let state = self.api.state();
        let run = state.get(&Key::new(
            Kind::AnalysisRun,
            query.run.namespace.as_str(),
            query.run.name.as_str(),
        ));
        let owner = run.and_then(|run| {
            let owner = text(run, "/metadata/ownerReferences/0/name");
            state.get(&Key::new(Kind::Rollout, query.run.namespace.as_str(), owner))
        });
        let status = |field: &str| owner.map_or("", |rollout| text(rollout, field)).to_owned();
        let (new, stable) = (status("/status/currentPodHash"), status("/status/stableRS"));
        let hashes = state.list(Kind::ReplicaSet, Some(&query.run.namespace));
        let named = hashes.into_iter().find_map(|set| {
            let hash = pairs(set, "/metadata/labels")
                .into_iter()
                .find(|(key, _)| *key == well_known::POD_TEMPLATE_HASH)?
                .1;
            mentions(&asked, hash).then(|| hash.to_owned())
        });
        let services = state.list(Kind::Service, Some(&query.run.namespace));
        let served = services
            .into_iter()
            .filter(|service| mentions(&asked, text(service, "/metadata/name")));
        let served = served.filter_map(|service| {
            let selector = pairs(service, "/spec/selector");
            let (_, hash) = selector
                .into_iter()
                .find(|(key, _)| *key == well_known::POD_TEMPLATE_HASH)?;
            Some(hash.to_owned())
        });
        let served: Vec<String> = served.collect();
        let only = match (named, served.as_slice()) {
            (Some(hash), _) => Some(hash),
            (None, [hash]) => Some(hash.clone()),
            (None, _) if asked.contains("canary") || asked.contains("preview") => Some(new.clone()),
            (None, _) if asked.contains("stable") || asked.contains("active") => Some(stable),
            (None, _) => None,
        };
        Subject { only, new }
    }
}

impl Provider for Metrics {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let answer = self.answer(query).await;
            let asked = query
                .metric
                .provider
                .prometheus
                .as_ref()
                .map(|metric| metric.query.clone());
            let resolved = asked.map(|asked| ("ResolvedPrometheusQuery".to_owned(), asked));
            Answered {
                answer,
                metadata: BTreeMap::new(),
                metric_metadata: resolved.into_iter().collect(),
            }
        })
    }

    fn time_limit(&self, query: &Query) -> Duration {
        Self::limit(&query.metric) * 2
    }
}

/// Whose requests are meant.
struct Subject {
    /// This version's; absent: everybody's.
    only: Option<String>,
    /// The version under test.
    new: String,
}

impl Subject {
    fn counts(&self, hash: Option<&str>) -> bool {
        self.only.as_ref().is_none_or(|only| hash == Some(only))
    }

    /// Whether anything is wrong with the version under test that requests of this subject meet.
    fn is_bad(&self, truth: &Truth) -> bool {
        let bad = |hash: &str| {
            truth
                .versions
                .get(hash)
                .is_some_and(super::behaviour::Behaviour::is_bad)
        };
        let met = truth
            .flow()
            .is_some_and(|flow| flow.streams.values().any(|stream| stream.errors > 0.0));
        match &self.only {
            Some(only) if *only != self.new => bad(only),
            Some(_) | None => bad(&self.new) || met,
        }
    }
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    SuccessRate,
    ErrorRate,
    Latency { quantile: f64, unit: f64 },
    Requests,
    Errors,
    Unknown,
}

impl Quantity {
    fn of(metric: &Metric) -> Self {
        let name = metric.name.to_lowercase();
        let query = asked(metric);
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word) || query.contains(word));
        if has(&[
            "latency",
            "duration",
            "histogram_quantile",
            "response_time",
            "response-time",
        ]) {
            let millis = has(&["_ms", "-ms", "millis"]) && !query.contains("_seconds");
            return Self::Latency {
                quantile: quantile(&query),
                unit: if millis { 1000.0 } else { 1.0 },
            };
        }
        let (above, below) = query.split_once('/').unwrap_or((query.as_str(), ""));
        let failed = ["=~\"5", "=\"5", "=~\"(5", "=~'5", "error", "failure", "fail"]
            .iter()
            .any(|sign| above.contains(sign));
        let passed = [
            "!~\"5", "!~\"[45", "!~\"(4|5", "!~\"4", "!~'5", "=~\"2", "=~\"[23", "=~\"(2|3", "success",
        ]
        .iter()
        .any(|sign| above.contains(sign));
        let ratio = !below.is_empty();
        match () {
            () if name.contains("success") || (ratio && passed) => Self::SuccessRate,
            () if ratio && failed => Self::ErrorRate,
            () if name.contains("error") && !ratio && query.contains("rate(") => Self::Errors,
            () if name.contains("error") => Self::ErrorRate,
            () if failed => Self::Errors,
            () if has(&["rps", "requests-per", "throughput", "traffic"]) || query.contains("requests_total") => {
                Self::Requests
            }
            () => Self::Unknown,
        }
    }
}

/// What a metric asks, in lower case.
fn asked(metric: &Metric) -> String {
    let provider = &metric.provider;
    let prometheus = provider.prometheus.as_ref().map(|metric| metric.query.as_str());
    let web = provider.web.as_ref().map(|metric| metric.url.as_str());
    prometheus.or(web).unwrap_or_default().to_lowercase()
}

/// Whether a text names `name`, not only as a part of a longer one.
fn mentions(asked: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let name = name.to_lowercase();
    !name.is_empty()
        && asked.match_indices(&name).any(|(at, found)| {
            let before = asked.get(..at).and_then(|text| text.chars().next_back());
            let after = asked.get(at + found.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(part) && !after.is_some_and(part)
        })
}

/// The first `[5m]` in a query.
fn window(query: &str) -> Duration {
    let inside = query
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split([']', ':']).next());
    let mut lengths = inside.filter_map(|text| duration::parse(text).ok());
    let length = lengths.next().and_then(|length| Duration::try_from(length).ok());
    length.filter(|length| !length.is_zero()).unwrap_or(WINDOW)
}

/// The first argument of `histogram_quantile`; the median where there is none.
fn quantile(query: &str) -> f64 {
    let argument = query
        .split_once("histogram_quantile(")
        .and_then(|(_, rest)| rest.split(',').next());
    argument
        .and_then(|text| text.trim().parse().ok())
        .filter(|quantile| (0.0..=1.0).contains(quantile))
        .unwrap_or(0.5)
}

/// 100 when the metric's conditions, or its query, speak of percent; else 1.
fn scale(metric: &Metric, now: Timestamp) -> f64 {
    let perfect = if Quantity::of(metric) == Quantity::SuccessRate {
        1.0
    } else {
        0.0
    };
    let passes = |value: f64| condition::judge(metric, &Measured::Vector(vec![value]), now).0 == Phase::Successful;
    // A rate of errors is 0 in both; half of all requests is too many in either.
    let percent = match perfect {
        0.0 => passes(0.9) && !passes(90.0),
        _ => !passes(1.0) && passes(100.0),
    };
    if percent || asked(metric).replace(' ', "").contains("*100") {
        100.0
    } else {
        1.0
    }
}

fn vector(samples: Vec<f64>) -> Answer {
    let shown: Vec<String> = samples
        .iter()
        .map(|sample| format!("{}", (sample * 1e6).round() / 1e6))
        .collect();
    Answer::Value {
        text: format!("[{}]", shown.join(",")),
        measured: Measured::Vector(samples),
    }
}

/// A number that the metric's own conditions judge as the truth is.
fn by_verdict(metric: &Metric, bad: bool, now: Timestamp) -> Answer {
    let wanted = if bad { Phase::Failed } else { Phase::Successful };
    let judged = |number: &&f64| condition::judge(metric, &Measured::Vector(vec![**number]), now).0 == wanted;
    match NUMBERS.iter().find(judged) {
        Some(number) => vector(vec![*number]),
        None => unknown(metric),
    }
}

/// A JSON value that the metric's own conditions judge as the truth is.
fn web(metric: &Metric, bad: bool, now: Timestamp) -> Answer {
    let wanted = if bad { Phase::Failed } else { Phase::Successful };
    let words = ["ok", "OK", "healthy", "success", "passed", "true", "UP", "bad"].map(|word| json!(word));
    let numbers = NUMBERS.map(|number| json!(number));
    let fields = ["status", "ok", "success", "healthy", "result", "successPercent", "data"];
    let flat: Vec<Value> = [json!(true), json!(false)]
        .into_iter()
        .chain(numbers)
        .chain(words)
        .collect();
    let nested = fields
        .iter()
        .flat_map(|field| flat.iter().map(move |value| json!({ *field: value })));
    let judged = |value: &Value| condition::judge(metric, &Measured::Json(value.clone()), now).0 == wanted;
    match flat.iter().cloned().chain(nested).find(judged) {
        Some(value) => Answer::Value {
            text: value.to_string(),
            measured: Measured::Json(value),
        },
        None => unknown(metric),
    }
}

fn unknown(metric: &Metric) -> Answer {
    Answer::Error(format!(
        "the simulation does not know what the metric `{}` answers; say it in the scenario under `values`",
        metric.name
    ))
}

#[cfg(test)]
mod tests;
