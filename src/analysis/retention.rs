//! How many measurements of a metric a run keeps (reference, rollouts 6.1).

use super::validate;
use crate::api::analysis::{Measurement, MeasurementRetention};

/// Measurements kept of each metric, as in the original.
pub const KEPT_DEFAULT: usize = 10;

/// The limit of the first rule about the metric, or [`KEPT_DEFAULT`]. The last measurement always stays: the time of the
/// next one is counted from it.
pub fn limit(metric: &str, rules: &[MeasurementRetention]) -> usize {
    let about = |rule: &&MeasurementRetention| {
        rule.limit > 0 && validate::pattern(&rule.metric_name).is_ok_and(|pattern| pattern.is_match(metric))
    };
    let limit = rules.iter().find(about).map(|rule| usize::try_from(rule.limit));
    limit.and_then(Result::ok).unwrap_or(KEPT_DEFAULT)
}

/// The newest measurements, oldest first.
pub fn keep(measurements: Vec<Measurement>, limit: usize) -> Vec<Measurement> {
    let surplus = measurements.len().saturating_sub(limit.max(1));
    measurements.into_iter().skip(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_counts() {
        let rule = |metric_name: &str, limit| MeasurementRetention {
            metric_name: metric_name.into(),
            limit,
        };
        let rules = [rule("zero", 0), rule("lat.*", 3), rule("latency", 9), rule("(", 5)];
        assert_eq!(limit("latency", &rules), 3);
        assert_eq!(limit("zero", &rules), KEPT_DEFAULT);
        assert_eq!(limit("errors", &rules), KEPT_DEFAULT);
    }

    #[test]
    fn the_newest_stay() {
        let all: Vec<Measurement> = (0..5)
            .map(|n| Measurement {
                value: n.to_string(),
                ..Measurement::default()
            })
            .collect();
        let values = |kept: Vec<Measurement>| kept.into_iter().map(|m| m.value).collect::<Vec<_>>();
        assert_eq!(values(keep(all.clone(), 2)), ["3", "4"]);
        assert_eq!(values(keep(all.clone(), 0)), ["4"]);
        assert_eq!(keep(all.clone(), 10), all);
    }
}
