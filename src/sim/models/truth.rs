//! What is true in the world and no object says: how versions behave, how many requests come, where they go, and what
//! state the metrics system is in. Scenarios and fault schedules change it; the data plane notes in it where requests
//! went, and the metrics source reads it.

use super::behaviour::Behaviour;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What is known about the past is forgotten after this long; no query looks back further.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(2);

/// State of the metrics system.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Source {
    /// It answers.
    #[default]
    Up,
    /// Connections are refused.
    Down,
    /// It knows no such series.
    Absent,
    /// It answers "not a number".
    Nan,
    /// It answers with an error.
    Error,
    /// It answers correctly, as late as just before the time limit.
    Slow,
    /// It accepts the connection and never answers.
    Hangs,
}

/// The truth.
#[derive(Clone, Debug)]
pub struct Truth {
    /// What is made to happen to versions, by pod template hash; added to what their images say.
    pub versions: BTreeMap<String, Behaviour>,
    /// Pods that are down until then, by name.
    pub down: BTreeMap<String, Timestamp>,
    /// Requests a second from outside.
    pub requests: f64,
    /// State of the metrics system.
    pub source: Source,
    /// What these metrics answer, by name, instead of what would be computed.
    pub values: BTreeMap<String, Value>,
    /// Pods the autoscaler would like to have.
    pub pods_wanted: Option<u32>,
    /// Where requests went, oldest first.
    history: VecDeque<Flow>,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            versions: BTreeMap::new(),
            down: BTreeMap::new(),
            requests: 100.0,
            source: Source::Up,
            values: BTreeMap::new(),
            pods_wanted: None,
            history: VecDeque::new(),
        }
    }
}

/// Where requests go from one moment on.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// From when.
    pub at: Timestamp,
    /// By pod template hash.
    pub streams: BTreeMap<String, Stream>,
    /// Requests a second that fail because their destination has no pod that could answer.
    pub lost: f64,
}

/// Requests that reach one version.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stream {
    /// Requests a second.
    pub requests: f64,
    /// Share of them that fails, from 0 to 1.
    pub errors: f64,
    /// Time an answer takes, in seconds.
    pub latency: f64,
}

/// Sums over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests.
    pub requests: f64,
    /// Failed ones.
    pub errors: f64,
}

impl Truth {
    /// How a version behaves that has this hash and image.
    pub fn behaviour(&self, hash: &str, image: &str) -> Behaviour {
        let made = self.versions.get(hash).copied().unwrap_or_default();
        Behaviour::of_image(image).and(made)
    }

    /// Notes where requests go from now on.
    pub fn flows(&mut self, flow: Flow) {
        if self
            .history
            .back()
            .is_some_and(|last| last.streams == flow.streams && last.lost == flow.lost)
        {
            return;
        }
        let forgotten = flow.at.saturating_sub(REMEMBERED_FOR).unwrap_or(Timestamp::MIN);
        while self.history.get(1).is_some_and(|second| second.at < forgotten) {
            self.history.pop_front();
        }
        self.history.push_back(flow);
    }

    /// Where requests go now.
    pub fn flow(&self) -> Option<&Flow> {
        self.history.back()
    }

    /// The pieces of the window that ends at `now`, each with its length in seconds.
    fn pieces(&self, now: Timestamp, window: Duration) -> impl Iterator<Item = (&Flow, f64)> {
        let window = SignedDuration::try_from(window).unwrap_or(REMEMBERED_FOR);
        let start = now.saturating_sub(window).unwrap_or(Timestamp::MIN);
        let ends = self.history.iter().skip(1).map(|flow| flow.at).chain([now]);
        self.history.iter().zip(ends).filter_map(move |(flow, end)| {
            let seconds = end.min(now).duration_since(flow.at.max(start)).as_secs_f64();
            (seconds > 0.0).then_some((flow, seconds))
        })
    }

    /// What reached the versions that `counts` says yes to within the window; `None` as the hash are requests lost on
    /// their way.
    pub fn totals(&self, now: Timestamp, window: Duration, counts: impl Fn(Option<&str>) -> bool) -> Totals {
        let mut totals = Totals::default();
        for (flow, seconds) in self.pieces(now, window) {
            for (hash, stream) in flow.streams.iter().filter(|(hash, _)| counts(Some(hash.as_str()))) {
                let _ = hash;
                totals.requests += stream.requests * seconds;
                totals.errors += stream.requests * stream.errors * seconds;
            }
            if counts(None) {
                totals.requests += flow.lost * seconds;
                totals.errors += flow.lost * seconds;
            }
        }
        totals
    }

    /// The time within which `quantile` of the answers came, in seconds; `None` without any.
    pub fn latency(
        &self,
        now: Timestamp,
        window: Duration,
        quantile: f64,
        counts: impl Fn(Option<&str>) -> bool,
    ) -> Option<f64> {
        let mut answers: Vec<(f64, f64)> = Vec::new();
        for (flow, seconds) in self.pieces(now, window) {
            let streams = flow.streams.iter().filter(|(hash, _)| counts(Some(hash.as_str())));
            answers.extend(streams.map(|(_, stream)| (stream.latency, stream.requests * seconds)));
        }
        answers.retain(|(_, requests)| *requests > 0.0);
        answers.sort_by(|one, other| one.0.total_cmp(&other.0));
        let wanted = answers.iter().map(|(_, requests)| requests).sum::<f64>() * quantile;
        let mut seen = 0.0;
        let found = answers.iter().find(|(_, requests)| {
            seen += requests;
            // Sums of floats: a hair below counts as reached.
            seen >= wanted - 1e-9
        });
        found.or(answers.last()).map(|(latency, _)| *latency)
    }
}

/// The truth, shared by the models.
#[derive(Clone, Debug, Default)]
pub struct SharedTruth(Arc<Mutex<Truth>>);

impl SharedTruth {
    /// The truth, locked; nothing may be awaited meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Truth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn flow(second: i64, errors: f64, latency: f64) -> Flow {
        let stable = Stream {
            requests: 80.0,
            errors: 0.0,
            latency: 0.05,
        };
        let canary = Stream {
            requests: 20.0,
            errors,
            latency,
        };
        Flow {
            at: at(second),
            streams: BTreeMap::from([("a".to_owned(), stable), ("b".to_owned(), canary)]),
            lost: 0.0,
        }
    }

    #[test]
    fn a_window_sums_what_happened_in_it() {
        let mut truth = Truth::default();
        truth.flows(flow(0, 0.0, 0.05));
        truth.flows(flow(60, 0.5, 0.05));
        let canary = |hash: Option<&str>| hash == Some("b");
        let seconds = Duration::from_secs;
        assert_eq!(
            truth.totals(at(60), seconds(60), canary),
            Totals {
                requests: 1200.0,
                errors: 0.0
            }
        );
        assert_eq!(
            truth.totals(at(90), seconds(60), canary),
            Totals {
                requests: 1200.0,
                errors: 300.0
            }
        );
        assert_eq!(
            truth.totals(at(90), seconds(60), |_| true),
            Totals {
                requests: 6000.0,
                errors: 300.0
            }
        );
        assert_eq!(
            truth.totals(at(90), seconds(60), |hash| hash == Some("c")),
            Totals::default()
        );
    }

    #[test]
    fn a_slow_minority_shows_in_high_quantiles_only() {
        let mut truth = Truth::default();
        truth.flows(flow(0, 0.0, 0.55));
        let minute = Duration::from_secs(60);
        let quantile = |quantile| truth.latency(at(60), minute, quantile, |_| true);
        assert_eq!(quantile(0.5), Some(0.05));
        assert_eq!(quantile(0.95), Some(0.55));
        assert_eq!(truth.latency(at(60), minute, 0.5, |hash| hash == Some("b")), Some(0.55));
        assert_eq!(truth.latency(at(60), minute, 0.5, |_| false), None);
    }

    #[test]
    fn lost_requests_are_errors_of_nobody() {
        let mut truth = Truth::default();
        truth.flows(Flow {
            at: at(0),
            streams: BTreeMap::new(),
            lost: 10.0,
        });
        let minute = Duration::from_secs(60);
        assert_eq!(truth.totals(at(60), minute, |_| true).errors, 600.0);
        assert_eq!(truth.totals(at(60), minute, |hash| hash.is_some()).requests, 0.0);
    }

    #[test]
    fn the_past_is_forgotten_but_the_present_is_not() {
        let mut truth = Truth::default();
        for hour in 0..10 {
            let errors = if hour % 2 == 0 { 0.0 } else { 0.5 };
            truth.flows(flow(hour * 3600, errors, 0.05));
        }
        assert!(truth.history.len() <= 4, "{}", truth.history.len());
        assert_eq!(truth.flow().map(|flow| flow.at), Some(at(9 * 3600)));
    }
}
