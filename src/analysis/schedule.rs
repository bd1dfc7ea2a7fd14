//! When measurements are due (reference, rollouts 6.1), as data: what to measure now and when to look again.

use super::{
    args::{self, ArgsError, Known},
    phase::{self, Phase},
    reading::{Attempt, Due},
    validate::{self, Limits},
};
use crate::api::analysis::{AnalysisRunSpec, AnalysisRunStatus, Measurement, Metric, MetricResult};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// After an error the next measurement comes this much later, whatever the interval, as in the original.
const ERROR_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// No metric is measured more often: times on the wire have whole seconds.
const INTERVAL_MIN: SignedDuration = SignedDuration::from_secs(1);

/// A metric of a run, ready to be scheduled and judged.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The metric with arguments in place (a placeholder stands for secrets).
    pub metric: Metric,
    /// Its numbers.
    pub limits: Limits,
    /// Whether its verdict does not count.
    pub dry_run: bool,
}

/// Why a run cannot be measured at all. Displayed as the run's status message.
#[derive(Clone, Debug, Eq, thiserror::Error, PartialEq)]
pub enum Unfit {
    /// Arguments are missing.
    #[error("Unable to resolve metric arguments: {0}")]
    Args(#[from] ArgsError),
    /// The specification contradicts itself.
    #[error("Analysis spec invalid: {0}")]
    Spec(String),
}

/// The metrics of a run with their numbers, in the order of the specification.
pub fn prepare(spec: &AnalysisRunSpec) -> Result<Vec<Prepared>, Unfit> {
    let metrics = args::resolve_metrics(&spec.metrics, &Known::public(&spec.args)?)?;
    if let Some(problem) = validate::problems(&metrics, &spec.dry_run, &spec.measurement_retention)
        .into_iter()
        .next()
    {
        return Err(Unfit::Spec(problem));
    }
    let prepared = |metric: Metric| {
        let limits = Limits::of(&metric).map_err(Unfit::Spec)?;
        let dry_run = validate::is_dry_run(&metric.name, &spec.dry_run);
        Ok(Prepared {
            metric,
            limits,
            dry_run,
        })
    };
    metrics.into_iter().map(prepared).collect()
}

/// What comes next for a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing more.
    Nothing,
    /// This, at this time or as soon as possible after it.
    At(Timestamp, Attempt),
}

/// What comes next for one metric of a run that began at `started_at`.
pub fn next(prepared: &Prepared, result: Option<&MetricResult>, started_at: Timestamp, terminating: bool) -> Next {
    if result.is_some_and(|result| phase::completed(&result.phase)) {
        return Next::Nothing;
    }
    let last = result.and_then(|result| result.measurements.last());
    if let Some(in_flight) = last.filter(|last| is_in_flight(last)) {
        if terminating {
            return Next::At(Timestamp::MIN, Attempt::Terminate(in_flight.clone()));
        }
        return Next::At(
            moment(in_flight.resume_at.as_ref()).unwrap_or(Timestamp::MIN),
            Attempt::Resume(in_flight.clone()),
        );
    }
    if terminating {
        return Next::Nothing;
    }
    let Some(last) = last else {
        return Next::At(after(started_at, prepared.limits.initial_delay), Attempt::Begin);
    };
    let finished_at = moment(last.finished_at.as_ref())
        .or(moment(last.started_at.as_ref()))
        .unwrap_or(started_at);
    let pause = match (Phase::parse(&last.phase), prepared.limits.interval) {
        (Some(Phase::Error), _) | (_, None) => ERROR_RETRY,
        (_, Some(interval)) => interval.max(INTERVAL_MIN),
    };
    Next::At(after(finished_at, pause), Attempt::Begin)
}

/// The measurements that are due, and the time at which the next of the others is.
pub fn due(
    prepared: &[Prepared],
    status: &AnalysisRunStatus,
    now: Timestamp,
    terminating: bool,
) -> (Vec<Due>, Option<Timestamp>) {
    let started_at = moment(status.started_at.as_ref()).unwrap_or(now);
    let (mut due, mut wake) = (Vec::new(), None);
    for (index, prepared) in prepared.iter().enumerate() {
        let result = result_of(status, &prepared.metric.name);
        match next(prepared, result, started_at, terminating) {
            Next::Nothing => {}
            Next::At(at, attempt) if at <= now => due.push(Due {
                metric: prepared.metric.name.clone(),
                index,
                sequence: result.map_or(1, sequence),
                attempt,
            }),
            Next::At(at, _) => wake = Some(wake.map_or(at, |earlier: Timestamp| earlier.min(at))),
        }
    }
    (due, wake)
}

/// The number of a metric's next or current measurement.
pub fn sequence(result: &MetricResult) -> i64 {
    i64::from(result.count) + i64::from(result.error) + 1
}

/// Whether no new measurements are to be taken: somebody asked for it, or a metric that counts has decided the run.
pub fn is_terminating(spec: &AnalysisRunSpec, status: &AnalysisRunStatus, prepared: &[Prepared]) -> bool {
    let decides = |metric: &Prepared| {
        let result = result_of(status, &metric.metric.name);
        !metric.dry_run
            && result
                .and_then(|result| Phase::parse(&result.phase))
                .is_some_and(Phase::ends_the_run)
    };
    spec.terminate || prepared.iter().any(decides)
}

/// The result of the metric of that name.
pub fn result_of<'a>(status: &'a AnalysisRunStatus, name: &str) -> Option<&'a MetricResult> {
    status.metric_results.iter().find(|result| result.name == name)
}

/// Whether a measurement is under way (a Job, for instance).
pub fn is_in_flight(measurement: &Measurement) -> bool {
    !phase::completed(&measurement.phase)
}

/// The moment of a wire time.
pub fn moment(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

fn after(at: Timestamp, pause: SignedDuration) -> Timestamp {
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
