//! Whether metrics make sense, in the original's words (reference, rollouts 1.8), and their numbers once they do.

use crate::{
    api::{
        analysis::{DryRun, MeasurementRetention, Metric, MetricProvider},
        scalar::IntOrString,
    },
    lang::duration,
};
use jiff::SignedDuration;
use regex::Regex;
use std::collections::HashSet;

/// Errors in a row that are tolerated when `consecutiveErrorLimit` is absent, as in the original.
const CONSECUTIVE_ERROR_LIMIT_DEFAULT: i64 = 4;
/// A compiled rule of `dryRun` or `measurementRetention` larger than this is a mistake. In bytes.
const RULE_BYTES_MAX: usize = 1 << 20;

/// The numbers of a metric, read from their wire forms and with defaults in place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Time between measurements; absent without `interval`.
    pub interval: Option<SignedDuration>,
    /// Time before the first measurement.
    pub initial_delay: SignedDuration,
    /// Measurements to take; absent means no end.
    pub count: Option<i64>,
    /// Failures tolerated; absent means all (`-1`).
    pub failure: Option<i64>,
    /// Inconclusive measurements tolerated.
    pub inconclusive: i64,
    /// Errors in a row tolerated.
    pub consecutive_error: i64,
    /// Successes in a row that end the metric; absent means off (`0`).
    pub consecutive_success: Option<i64>,
}

impl Limits {
    /// Reads the numbers of a metric whose arguments are in place. The message is the original's, without the index.
    pub fn of(metric: &Metric) -> Result<Self, String> {
        let count = number("count", metric.count.as_ref())?;
        let failure = number("failureLimit", metric.failure_limit.as_ref())?.unwrap_or(0);
        let inconclusive = number("inconclusiveLimit", metric.inconclusive_limit.as_ref())?.unwrap_or(0);
        let consecutive_error = number("consecutiveErrorLimit", metric.consecutive_error_limit.as_ref())?
            .unwrap_or(CONSECUTIVE_ERROR_LIMIT_DEFAULT);
        let consecutive_success =
            number("consecutiveSuccessLimit", metric.consecutive_success_limit.as_ref())?.unwrap_or(0);
        if consecutive_success < 0 {
            return Err("consecutiveSuccessLimit must be >= 0".to_owned());
        }
        if failure < -1 {
            return Err("failureLimit must be >= 0, or -1 to be disabled".to_owned());
        }
        if failure == -1 && consecutive_success == 0 {
            return Err("failureLimit and consecutiveSuccessLimit cannot both be disabled".to_owned());
        }
        if inconclusive < 0 {
            return Err("inconclusiveLimit must be >= 0".to_owned());
        }
        if consecutive_error < 0 {
            return Err("consecutiveErrorLimit must be >= 0".to_owned());
        }
        let limits = Self {
            interval: delay(&metric.interval).map_err(|error| format!("invalid interval string: {error}"))?,
            initial_delay: delay(&metric.initial_delay)
                .map_err(|error| format!("invalid startDelay string: {error}"))?
                .unwrap_or(SignedDuration::ZERO),
            count: count
                .filter(|count| *count > 0)
                .or_else(|| metric.interval.is_empty().then_some(1)),
            failure: (failure >= 0).then_some(failure),
            inconclusive,
            consecutive_error,
            consecutive_success: (consecutive_success > 0).then_some(consecutive_success),
        };
        limits.check_count(count)?;
        Ok(limits)
    }

    fn check_count(&self, count: Option<i64>) -> Result<(), String> {
        let Some(count) = count.filter(|count| *count > 0) else {
            return Ok(());
        };
        let consecutive_success = self.consecutive_success.unwrap_or(0);
        if let Some(failure) = self.failure
            && count < failure + consecutive_success
        {
            return Err(format!(
                "count ({count}) must be >= failureLimit + consecutiveSuccessLimit ({failure} + {consecutive_success}) if both >= 0"
            ));
        }
        if count < consecutive_success {
            return Err("count must be >= consecutiveSuccessLimit".to_owned());
        }
        if count < self.inconclusive {
            return Err("count must be >= inconclusiveLimit".to_owned());
        }
        if count > 1 && self.interval.is_none() {
            return Err("interval must be specified when count > 1".to_owned());
        }
        Ok(())
    }
}

/// A limit that may be written as text, as in Go's `int`: 32 bits are enough for a count.
fn number(field: &str, written: Option<&IntOrString>) -> Result<Option<i64>, String> {
    let Some(written) = written else {
        return Ok(None);
    };
    let number = match written {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => text.parse().ok(),
    };
    match number.and_then(|number| i32::try_from(number).ok()) {
        Some(number) => Ok(Some(number.into())),
        None => Err(format!(
            "invalid {field} {:?}: a whole number is expected",
            written.to_string()
        )),
    }
}

fn delay(text: &str) -> Result<Option<SignedDuration>, duration::DurationError> {
    if text.is_empty() {
        Ok(None)
    } else {
        duration::parse(text).map(Some)
    }
}

/// Everything that is wrong with the metrics (arguments in place) and the rules about them; empty when all is well.
pub fn problems(metrics: &[Metric], dry_run: &[DryRun], retention: &[MeasurementRetention]) -> Vec<String> {
    if metrics.is_empty() {
        return vec!["no metrics specified".to_owned()];
    }
    let mut problems = Vec::new();
    let mut names = HashSet::new();
    for (index, metric) in metrics.iter().enumerate() {
        if !names.insert(metric.name.as_str()) {
            problems.push(format!("metrics[{index}]: duplicate name '{}'", metric.name));
        }
        if let Err(problem) = Limits::of(metric).and_then(|_| provider(metric)) {
            problems.push(format!("metrics[{index}]: {problem}"));
        }
    }
    let rules = dry_run.iter().map(|rule| ("dryRun", rule.metric_name.as_str()));
    problems.extend(
        rules
            .enumerate()
            .filter_map(|(index, rule)| unmatched(index, rule, metrics)),
    );
    let rules = retention
        .iter()
        .map(|rule| ("measurementRetention", rule.metric_name.as_str()));
    problems.extend(
        rules
            .enumerate()
            .filter_map(|(index, rule)| unmatched(index, rule, metrics)),
    );
    problems
}

fn unmatched(index: usize, (field, rule): (&str, &str), metrics: &[Metric]) -> Option<String> {
    match pattern(rule) {
        Ok(pattern) if metrics.iter().any(|metric| pattern.is_match(&metric.name)) => None,
        Ok(_) => Some(format!("{field}[{index}]: Rule didn't match any metric name(s)")),
        Err(error) => Some(format!("{field}[{index}]: {error}")),
    }
}

/// The regular expression of a rule over metric names.
pub fn pattern(rule: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(rule).size_limit(RULE_BYTES_MAX).build()
}

/// Whether one of the rules is about the metric; rules that are no regular expression match nothing.
pub fn is_dry_run(metric: &str, rules: &[DryRun]) -> bool {
    rules
        .iter()
        .any(|rule| pattern(&rule.metric_name).is_ok_and(|pattern| pattern.is_match(metric)))
}

/// The provider's field name, for instance `prometheus`; an error unless there is exactly one.
pub fn provider(metric: &Metric) -> Result<&'static str, String> {
    let set = providers(&metric.provider);
    match set.as_slice() {
        [] => Err("no provider specified".to_owned()),
        [one] => Ok(*one),
        _ => Err("multiple providers specified".to_owned()),
    }
}

fn providers(provider: &MetricProvider) -> Vec<&'static str> {
    let MetricProvider {
        prometheus,
        kayenta,
        web,
        datadog,
        wavefront,
        new_relic,
        job,
        cloud_watch,
        graphite,
        influxdb,
        skywalking,
        plugin,
    } = provider;
    [
        ("prometheus", prometheus.is_some()),
        ("kayenta", kayenta.is_some()),
        ("web", web.is_some()),
        ("datadog", datadog.is_some()),
        ("wavefront", wavefront.is_some()),
        ("newRelic", new_relic.is_some()),
        ("job", job.is_some()),
        ("cloudWatch", cloud_watch.is_some()),
        ("graphite", graphite.is_some()),
        ("influxdb", influxdb.is_some()),
        ("skywalking", skywalking.is_some()),
        ("plugin", plugin.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, set)| set.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests;
