//! Counts what came of the traffic, in total and in a sliding window.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::connections::Answer;

/// How far back a window may reach.
const WINDOW_MAX: Duration = Duration::from_secs(120);

/// Failures kept in full; all are counted.
const FAILURES_MAX: usize = 10_000;

/// Requests of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Answered with 2xx.
    pub succeeded: u64,
    /// Answered otherwise.
    pub failed: u64,
}

impl Counts {
    /// All answered requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.succeeded + self.failed
    }
}

/// What came of the requests of some time. Requests under way are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    /// By the version that answered.
    pub versions: BTreeMap<String, Counts>,
    /// By status, whoever answered.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without a whole answer.
    pub transport_errors: u64,
    /// Failed requests that no version answered.
    pub data_plane_failures: u64,
    /// Requests sent a second time because an idle connection was closed under them.
    pub retried: u64,
    /// Requests not sent because too many were under way.
    pub skipped: u64,
}

impl Snapshot {
    /// All requests that came to an end.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.transport_errors
    }

    /// Share of a version among the requests that versions answered, from 0 to 1; NaN when there were none.
    #[must_use]
    pub fn share(&self, version: &str) -> f64 {
        let all: u64 = self.versions.values().map(Counts::total).sum();
        let own = self.versions.get(version).map(Counts::total).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let share = own as f64 / all as f64;
        share
    }

    fn add(&mut self, outcome: &Outcome) {
        let succeeded = outcome.succeeded();
        match outcome.status {
            Some(status) => *self.statuses.entry(status).or_default() += 1,
            None => self.transport_errors += 1,
        }
        match &outcome.version {
            Some(version) => {
                let counts = self.versions.entry(version.clone()).or_default();
                if succeeded {
                    counts.succeeded += 1
                } else {
                    counts.failed += 1
                }
            }
            None if !succeeded => self.data_plane_failures += 1,
            None => {}
        }
        self.retried += u64::from(outcome.retried);
    }
}

/// One failed request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// When it was sent.
    pub at: Timestamp,
    /// The status, if it was answered.
    pub status: Option<u16>,
    /// What went wrong, if it was not.
    pub error: Option<String>,
    /// The version that answered; `None`: the data plane failed it.
    pub version: Option<String>,
}

#[derive(Clone, Debug)]
struct Outcome {
    ended: Instant,
    status: Option<u16>,
    version: Option<String>,
    retried: bool,
}

impl Outcome {
    fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// What came of the traffic so far.
#[derive(Debug)]
pub(super) struct Record {
    started: Instant,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    all: Snapshot,
    recent: VecDeque<Outcome>,
    failures: Vec<Failure>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            counted: Mutex::default(),
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, at: Timestamp, answer: Answer) {
        let Answer {
            status,
            version,
            retried,
        } = answer;
        let outcome = Outcome {
            ended: Instant::now(),
            status: status.as_ref().ok().copied(),
            version,
            retried,
        };
        let mut counted = self.counted();
        counted.all.add(&outcome);
        if !outcome.succeeded() && counted.failures.len() < FAILURES_MAX {
            let version = outcome.version.clone();
            counted.failures.push(Failure {
                at,
                status: outcome.status,
                error: status.err(),
                version,
            });
        }
        counted.recent.push_back(outcome);
        while counted
            .recent
            .pop_front_if(|outcome| outcome.ended.elapsed() > WINDOW_MAX)
            .is_some()
        {}
    }

    pub(super) fn skip(&self) {
        self.counted().all.skipped += 1;
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.counted().all.clone()
    }

    pub(super) fn recent(&self, window: Duration) -> Snapshot {
        let counted = self.counted();
        let mut snapshot = Snapshot::default();
        for outcome in counted
            .recent
            .iter()
            .rev()
            .take_while(|outcome| outcome.ended.elapsed() <= window)
        {
            snapshot.add(outcome);
        }
        snapshot
    }

    pub(super) fn failures(&self) -> Vec<Failure> {
        self.counted().failures.clone()
    }
}
