//! The judgement over a metric's readings (reference, rollouts 6.2). Knows counts and limits only.

use super::{phase::Phase, validate::Limits};
use crate::api::analysis::MetricResult;

/// What the readings so far say about a metric.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing yet; it goes on.
    Open,
    /// Decided, with the reason unless it is a success.
    Decided(Phase, Option<String>),
}

/// Judges a metric after a completed measurement. Every comparison with a limit is strict.
pub fn of(limits: &Limits, result: &MetricResult) -> Verdict {
    let decided = |phase, reason: String| Verdict::Decided(phase, Some(reason));
    // From the strongest to the weakest: an error overrides an inconclusive verdict, which overrides a failure.
    if exceeds(result.consecutive_error, limits.consecutive_error) {
        let (errors, limit) = (result.consecutive_error, limits.consecutive_error);
        return decided(
            Phase::Error,
            format!("consecutiveErrors ({errors}) > consecutiveErrorLimit ({limit})"),
        );
    }
    if exceeds(result.inconclusive, limits.inconclusive) {
        let (inconclusive, limit) = (result.inconclusive, limits.inconclusive);
        return decided(
            Phase::Inconclusive,
            format!("inconclusive ({inconclusive}) > inconclusiveLimit ({limit})"),
        );
    }
    if let Some(limit) = limits.failure
        && exceeds(result.failed, limit)
    {
        return decided(
            Phase::Failed,
            format!("failed ({}) > failureLimit ({limit})", result.failed),
        );
    }
    if let Some(limit) = limits.consecutive_success
        && i64::from(result.consecutive_success) >= limit
    {
        return Verdict::Decided(Phase::Successful, None);
    }
    match limits.count {
        Some(count) if i64::from(result.count) >= count => at_the_end(limits, result),
        Some(_) | None => Verdict::Open,
    }
}

/// All measurements are taken and no limit was exceeded.
fn at_the_end(limits: &Limits, result: &MetricResult) -> Verdict {
    let Some(wanted) = limits.consecutive_success else {
        return Verdict::Decided(Phase::Successful, None);
    };
    let phase = if limits.failure.is_some() {
        Phase::Inconclusive
    } else {
        Phase::Failed
    };
    let row = result.consecutive_success;
    Verdict::Decided(
        phase,
        Some(format!(
            "consecutiveSuccesses ({row}) < consecutiveSuccessLimit ({wanted})"
        )),
    )
}

fn exceeds(number: i32, limit: i64) -> bool {
    i64::from(number) > limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::analysis::Metric;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(metric: Value, counts: Value, want: &str) {
        let written: Metric = serde_json::from_value(metric.clone()).unwrap();
        let result: MetricResult = serde_json::from_value(counts.clone()).unwrap();
        let verdict = match of(&Limits::of(&written).unwrap(), &result) {
            Verdict::Open => "open".to_owned(),
            Verdict::Decided(phase, None) => phase.to_string(),
            Verdict::Decided(phase, Some(reason)) => format!("{phase}: {reason}"),
        };
        assert_eq!(verdict, want, "{metric} {counts}");
    }

    #[test]
    fn limits_are_strict() {
        let metric = json!({"interval": "1s", "count": 9, "failureLimit": 2, "inconclusiveLimit": 1, "consecutiveErrorLimit": 3});
        check(metric.clone(), json!({"count": 2, "failed": 2}), "open");
        check(
            metric.clone(),
            json!({"count": 3, "failed": 3}),
            "Failed: failed (3) > failureLimit (2)",
        );
        check(metric.clone(), json!({"count": 1, "inconclusive": 1}), "open");
        check(
            metric.clone(),
            json!({"count": 2, "inconclusive": 2}),
            "Inconclusive: inconclusive (2) > inconclusiveLimit (1)",
        );
        check(metric.clone(), json!({"error": 3, "consecutiveError": 3}), "open");
        check(
            metric,
            json!({"error": 4, "consecutiveError": 4}),
            "Error: consecutiveErrors (4) > consecutiveErrorLimit (3)",
        );
    }

    #[test]
    fn limits_have_the_originals_defaults() {
        check(
            json!({}),
            json!({"count": 1, "failed": 1}),
            "Failed: failed (1) > failureLimit (0)",
        );
        check(
            json!({}),
            json!({"count": 1, "inconclusive": 1}),
            "Inconclusive: inconclusive (1) > inconclusiveLimit (0)",
        );
        check(json!({}), json!({"error": 4, "consecutiveError": 4}), "open");
        check(
            json!({}),
            json!({"error": 5, "consecutiveError": 5}),
            "Error: consecutiveErrors (5) > consecutiveErrorLimit (4)",
        );
        check(
            json!({}),
            json!({"count": 1, "successful": 1, "consecutiveSuccess": 1}),
            "Successful",
        );
        check(
            json!({"interval": "1s"}),
            json!({"count": 99, "successful": 99}),
            "open",
        );
        check(
            json!({"interval": "1s", "count": 0}),
            json!({"count": 99, "successful": 99}),
            "open",
        );
    }

    #[test]
    fn error_overrides_inconclusive_overrides_failed() {
        let all = json!({"count": 2, "failed": 1, "inconclusive": 1, "consecutiveError": 5});
        check(
            json!({}),
            all,
            "Error: consecutiveErrors (5) > consecutiveErrorLimit (4)",
        );
        let both = json!({"count": 2, "failed": 1, "inconclusive": 1});
        check(
            json!({}),
            both,
            "Inconclusive: inconclusive (1) > inconclusiveLimit (0)",
        );
    }

    #[test]
    fn successes_in_a_row_end_a_metric() {
        let endless = json!({"interval": "1s", "consecutiveSuccessLimit": 3, "failureLimit": -1});
        check(
            endless.clone(),
            json!({"count": 50, "failed": 48, "consecutiveSuccess": 2}),
            "open",
        );
        check(
            endless,
            json!({"count": 51, "failed": 48, "consecutiveSuccess": 3}),
            "Successful",
        );
        let failing_first = json!({"interval": "1s", "consecutiveSuccessLimit": 1});
        check(
            failing_first,
            json!({"count": 2, "failed": 1, "consecutiveSuccess": 1}),
            "Failed: failed (1) > failureLimit (0)",
        );
    }

    #[test]
    fn what_the_end_of_the_count_means() {
        let both = json!({"interval": "1s", "count": 5, "failureLimit": 2, "consecutiveSuccessLimit": 3});
        let counts = json!({"count": 5, "failed": 2, "successful": 3, "consecutiveSuccess": 2});
        check(
            both,
            counts.clone(),
            "Inconclusive: consecutiveSuccesses (2) < consecutiveSuccessLimit (3)",
        );
        let only_row = json!({"interval": "1s", "count": 5, "failureLimit": -1, "consecutiveSuccessLimit": 3});
        check(
            only_row,
            counts,
            "Failed: consecutiveSuccesses (2) < consecutiveSuccessLimit (3)",
        );
        // Documented behaviour of the original: within the limits the end of the count is a success.
        let tolerant = json!({"interval": "1s", "count": 3, "failureLimit": 3});
        check(tolerant, json!({"count": 3, "failed": 3}), "Successful");
    }

    #[test]
    fn errors_do_not_count_as_measurements() {
        let two = json!({"interval": "1s", "count": 2});
        check(
            two.clone(),
            json!({"count": 1, "successful": 1, "error": 3, "consecutiveError": 3}),
            "open",
        );
        check(two, json!({"count": 2, "successful": 2, "error": 3}), "Successful");
    }
}
