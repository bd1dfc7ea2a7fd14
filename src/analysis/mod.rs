//! Judging a version by measurements: what to measure when, what a reading means, and when a run is over.
//!
//! Pure. `schedule::due` names the measurements to take, providers (`crate::provider`) take them, and `plan::record`
//! folds the readings into the next status. The verdict never sees a provider, only numbers and errors.

pub mod args;
pub mod check;
pub mod condition;
pub mod facts;
pub mod phase;
pub mod plan;
pub mod reading;
pub mod retention;
pub mod schedule;
pub mod template;
pub mod validate;
pub mod verdict;

use crate::api::analysis::AnalysisRun;
use phase::Phase;

/// The status message of a run that was ended by `spec.terminate` before its metrics were complete. Its phase may
/// still read `Successful` (clients of the original expect that), so this message is what tells the two apart.
pub const RUN_TERMINATED: &str = "Run Terminated";

/// Whether a run is evidence to promote on (guarantee D1): it ended `Successful`, it was not terminated early, and every
/// metric whose verdict counts has at least one successful measurement.
///
/// A `Successful` run may still fail this: one that was terminated, and one whose readings were all failed or
/// inconclusive within generous limits. A run of dry-run metrics only is evidence once it ended by itself, because its
/// author asked that nothing be judged.
pub fn is_evidence(run: &AnalysisRun) -> bool {
    let Some(status) = &run.status else {
        return false;
    };
    let ended_by_itself = status.completed_at.is_some() || !run.spec.terminate;
    Phase::parse(&status.phase) == Some(Phase::Successful)
        && status.message != RUN_TERMINATED
        && ended_by_itself
        && has_measured(run)
}

/// Whether every metric whose verdict counts has at least one successful measurement. Of a run without an end, which
/// somebody who may do so ended because its time was over, no more can be asked.
pub fn has_measured(run: &AnalysisRun) -> bool {
    let results = run
        .status
        .as_ref()
        .map(|status| status.metric_results.as_slice())
        .unwrap_or_default();
    let mut counting = results.iter().filter(|metric| !metric.dry_run);
    results.len() >= run.spec.metrics.len().max(1) && counting.all(|metric| metric.successful > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn evidence(spec: Value, status: Value) -> bool {
        let run: AnalysisRun =
            serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": spec, "status": status})).unwrap();
        is_evidence(&run)
    }

    #[test]
    fn only_a_run_that_succeeded_by_measuring_is_evidence() {
        let good = json!([{"name": "a", "phase": "Successful", "successful": 1, "count": 1}]);
        for (want, spec, status) in [
            (true, json!({}), json!({"phase": "Successful", "metricResults": good})),
            (false, json!({}), json!({"phase": "Running", "metricResults": good})),
            (
                false,
                json!({}),
                json!({"phase": "Inconclusive", "metricResults": good}),
            ),
            (false, json!({}), json!({"phase": "Error", "metricResults": good})),
            (
                false,
                json!({}),
                json!({"phase": "Successful", "message": "Run Terminated", "metricResults": good}),
            ),
            (
                false,
                json!({"terminate": true}),
                json!({"phase": "Successful", "metricResults": good}),
            ),
            (
                true,
                json!({"terminate": true}),
                json!({"phase": "Successful", "completedAt": "2026-01-01T00:00:00Z", "metricResults": good}),
            ),
            (false, json!({}), json!({"phase": "Successful"})),
            (
                false,
                json!({}),
                json!({"phase": "Successful", "metricResults": [{"name": "a", "phase": "Successful", "count": 1, "failed": 1}]}),
            ),
            (
                true,
                json!({}),
                json!({"phase": "Successful", "metricResults": [{"name": "a", "phase": "Failed", "failed": 1, "dryRun": true}]}),
            ),
        ] {
            assert_eq!(evidence(spec, status.clone()), want, "{status}");
        }
    }
}
