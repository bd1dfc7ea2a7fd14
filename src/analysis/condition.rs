//! What a measured value means: the metric's success and failure conditions (reference, rollouts 6.3).

use super::phase::Phase;
use crate::{
    api::analysis::Metric,
    lang::expr::{Condition, ConditionError, Measured},
};
use jiff::Timestamp;

/// The phase of a measurement with this value, and its message when a condition has no answer.
///
/// Without conditions any value is a success. A condition that cannot be evaluated is an `Error`, never a success and
/// never a failure (guarantee D1). `now` is what `now()` gives in a condition.
pub fn judge(metric: &Metric, measured: &Measured, now: Timestamp) -> (Phase, String) {
    let success = answer("successCondition", &metric.success_condition, measured, now);
    let failure = answer("failureCondition", &metric.failure_condition, measured, now);
    let (success, failure) = match (success, failure) {
        (Ok(success), Ok(failure)) => (success, failure),
        (Err(message), _) | (_, Err(message)) => return (Phase::Error, message),
    };
    let phase = match (success, failure) {
        (None, None) => Phase::Successful,
        (_, Some(true)) | (Some(false), None) => Phase::Failed,
        (Some(true), _) | (None, Some(false)) => Phase::Successful,
        (Some(false), Some(false)) => Phase::Inconclusive,
    };
    (phase, String::new())
}

/// Whether the condition holds; `None` without a condition.
fn answer(field: &str, text: &str, measured: &Measured, now: Timestamp) -> Result<Option<bool>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let evaluate = || -> Result<bool, ConditionError> { Condition::parse(text)?.at(now).evaluate(measured) };
    evaluate()
        .map(Some)
        .map_err(|error| format!("could not evaluate {field} \"{text}\": {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(success: &str, failure: &str, measured: &Measured, want: Phase) {
        let metric = Metric {
            success_condition: success.into(),
            failure_condition: failure.into(),
            ..Metric::default()
        };
        let (phase, message) = judge(&metric, measured, Timestamp::UNIX_EPOCH);
        assert_eq!(phase, want, "{success} / {failure} on {measured:?}: {message}");
        assert_eq!(phase == Phase::Error, !message.is_empty(), "{message}");
    }

    #[test]
    fn conditions_decide_as_the_reference_says() {
        let five = Measured::Vector(vec![5.0]);
        for (success, failure, want) in [
            ("", "", Phase::Successful),
            ("result[0] > 4", "", Phase::Successful),
            ("result[0] > 5", "", Phase::Failed),
            ("", "result[0] > 4", Phase::Failed),
            ("", "result[0] > 5", Phase::Successful),
            ("result[0] > 4", "result[0] > 4", Phase::Failed),
            ("result[0] > 4", "result[0] > 5", Phase::Successful),
            ("result[0] > 5", "result[0] > 4", Phase::Failed),
            ("result[0] > 5", "result[0] > 6", Phase::Inconclusive),
            ("result[0] > ", "result[0] > 4", Phase::Error),
            ("result[0] > 4", "result[1] > 4", Phase::Error),
            ("result[0]", "", Phase::Error),
        ] {
            check(success, failure, &five, want);
        }
    }

    #[test]
    fn no_data_and_not_a_number_never_succeed() {
        check("result[0] >= 0.95", "", &Measured::Vector(vec![]), Phase::Error);
        check("", "result[0] < 0.95", &Measured::Vector(vec![]), Phase::Error);
        check("result >= 0.95", "", &Measured::Json(json!(null)), Phase::Error);
        check(
            "result[0] >= 0.95",
            "",
            &Measured::Vector(vec![f64::NAN]),
            Phase::Failed,
        );
        check(
            "result[0] >= 0.95",
            "result[0] < 0.95",
            &Measured::Vector(vec![f64::NAN]),
            Phase::Inconclusive,
        );
        check(
            "isNaN(result[0]) || result[0] >= 0.95",
            "",
            &Measured::Vector(vec![f64::NAN]),
            Phase::Successful,
        );
        check("result < 1", "", &Measured::Scalar(f64::INFINITY), Phase::Failed);
        check("result > 1", "", &Measured::Scalar(f64::INFINITY), Phase::Successful);
        check(
            "len(result) == 0 || result[0] < 1",
            "",
            &Measured::Vector(vec![]),
            Phase::Successful,
        );
    }

    #[test]
    fn messages_name_field_condition_and_cause() {
        let metric = Metric {
            success_condition: "result[0] >= 0.95".into(),
            ..Metric::default()
        };
        let (_, message) = judge(&metric, &Measured::Vector(vec![]), Timestamp::UNIX_EPOCH);
        assert_eq!(
            message,
            "could not evaluate successCondition \"result[0] >= 0.95\": metric result is nil or empty: no data returned \
             from the metric provider"
        );
        let (_, message) = judge(&metric, &Measured::Scalar(1.0), Timestamp::UNIX_EPOCH);
        assert!(
            message.starts_with("could not evaluate successCondition \"result[0] >= 0.95\": "),
            "{message}"
        );
    }
}
