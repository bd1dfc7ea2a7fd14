//! What monitoring wants to know about runs and templates (reference, rollouts 9.1). Values for gauges, no metrics.

use super::{phase::Phase, validate};
use crate::api::analysis::{AnalysisRun, AnalysisTemplateSpec};

/// For `analysis_run_info`, `analysis_run_metric_type` and `analysis_run_metric_phase`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunFacts<'a> {
    /// The run's phase; `Pending` before it has one.
    pub phase: Phase,
    /// One entry a metric, in the order of the specification.
    pub metrics: Vec<MetricFacts<'a>>,
}

/// Facts about one metric of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MetricFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its provider, for instance `prometheus`; `unknown` when there is not exactly one.
    pub provider: &'static str,
    /// Its phase; `Pending` before the first measurement.
    pub phase: Phase,
    /// Whether its verdict does not count.
    pub dry_run: bool,
    /// Measurements taken so far, errors included.
    pub measurements: i64,
}

/// The facts about a run.
pub fn of_run(run: &AnalysisRun) -> RunFacts<'_> {
    let phase = |text: &str| Phase::parse(text).unwrap_or(Phase::Pending);
    let results = run
        .status
        .as_ref()
        .map(|status| status.metric_results.as_slice())
        .unwrap_or_default();
    let metrics = run.spec.metrics.iter().map(|metric| {
        let result = results.iter().find(|result| result.name == metric.name);
        MetricFacts {
            name: &metric.name,
            provider: validate::provider(metric).unwrap_or("unknown"),
            phase: result.map_or(Phase::Pending, |result| phase(&result.phase)),
            dry_run: validate::is_dry_run(&metric.name, &run.spec.dry_run),
            measurements: result.map_or(0, |result| i64::from(result.count) + i64::from(result.error)),
        }
    });
    RunFacts {
        phase: phase(run.status.as_ref().map_or("", |status| &status.phase)),
        metrics: metrics.collect(),
    }
}

/// Metric names with their providers, for `analysis_template_metric_info`.
pub fn of_template(spec: &AnalysisTemplateSpec) -> Vec<(&str, &'static str)> {
    spec.metrics
        .iter()
        .map(|metric| (metric.name.as_str(), validate::provider(metric).unwrap_or("unknown")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_come_from_specification_and_status() {
        let run: AnalysisRun = serde_json::from_value(json!({
            "spec": {"metrics": [{"name": "a", "provider": {"job": {}}}, {"name": "b", "provider": {}}],
                "dryRun": [{"metricName": "b"}]},
            "status": {"phase": "Running", "metricResults": [{"name": "a", "phase": "Failed", "count": 2, "error": 1}]}
        }))
        .unwrap();
        let facts = of_run(&run);
        assert_eq!(facts.phase, Phase::Running);
        assert_eq!(
            facts.metrics,
            [
                MetricFacts {
                    name: "a",
                    provider: "job",
                    phase: Phase::Failed,
                    dry_run: false,
                    measurements: 3
                },
                MetricFacts {
                    name: "b",
                    provider: "unknown",
                    phase: Phase::Pending,
                    dry_run: true,
                    measurements: 0
                },
            ]
        );
    }
}
