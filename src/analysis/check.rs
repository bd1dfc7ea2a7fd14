//! What others than the controller ask about templates and runs before they are used: everything that is wrong, each at
//! its field. Conditions and numbers that depend on arguments without a value are taken as right.

use super::{
    args::{Known, resolve_metric},
    validate,
};
use crate::{
    api::{
        analysis::{AnalysisTemplateSpec, DryRun, MeasurementRetention, Metric},
        scalar::IntOrString,
    },
    lang::expr::Condition,
};

/// One thing that is wrong with a template or run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flaw {
    /// Path of the field, for instance `spec.metrics[2].successCondition`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether it is the text of a condition that cannot be read.
    pub is_condition: bool,
}

impl Flaw {
    fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            is_condition: false,
        }
    }
}

/// Everything that is wrong with a template by itself (reference, rollouts 1.8).
pub fn flaws(spec: &AnalysisTemplateSpec) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    // One that only refers to others has no metrics of its own.
    if !spec.metrics.is_empty() || spec.templates.is_empty() {
        let metrics: Vec<Metric> = spec.metrics.iter().map(|metric| settled(metric, spec)).collect();
        let found = validate::problems(&metrics, &spec.dry_run, &spec.measurement_retention);
        flaws.extend(found.iter().map(|message| located(message)));
    }
    for (index, metric) in spec.metrics.iter().enumerate() {
        for (field, text) in [
            ("successCondition", &metric.success_condition),
            ("failureCondition", &metric.failure_condition),
        ] {
            // One with arguments in it is no condition yet.
            if text.is_empty() || text.contains("{{") {
                continue;
            }
            if let Err(error) = Condition::parse(text) {
                flaws.push(Flaw {
                    field: format!("spec.metrics[{index}].{field}"),
                    message: error.to_string(),
                    is_condition: true,
                });
            }
        }
    }
    flaws.extend(repeated(&spec.dry_run, &spec.measurement_retention));
    flaws
}

/// Rules that name the same metrics: only one of them can count.
fn repeated(dry_run: &[DryRun], retention: &[MeasurementRetention]) -> Vec<Flaw> {
    let twice = |names: Vec<&str>, field: &str, rules: &str| -> Vec<Flaw> {
        let again = names
            .iter()
            .enumerate()
            .filter(|(index, name)| names.iter().take(*index).any(|earlier| earlier == *name));
        again
            .map(|(index, name)| {
                let message = format!("two {rules} metric rules have the same name '{name}'");
                Flaw::invalid(format!("spec.{field}[{index}].metricName"), message)
            })
            .collect()
    };
    let names = dry_run.iter().map(|rule| rule.metric_name.as_str()).collect();
    let mut flaws = twice(names, "dryRun", "Dry-Run");
    let names = retention.iter().map(|rule| rule.metric_name.as_str()).collect();
    flaws.extend(twice(names, "measurementRetention", "Measurement Retention"));
    flaws
}

/// `metrics[2]: what` is at `spec.metrics[2]`.
fn located(message: &str) -> Flaw {
    match message.split_once("]: ") {
        Some((field, rest)) if field.contains('[') => Flaw::invalid(format!("spec.{field}]"), rest),
        _ => Flaw::invalid("spec.metrics", message),
    }
}

/// A metric with the values of arguments that are known; numbers and durations that depend on others are left out.
fn settled(metric: &Metric, spec: &AnalysisTemplateSpec) -> Metric {
    if let Ok(settled) = Known::public(&spec.args).and_then(|known| resolve_metric(metric, &known)) {
        return settled;
    }
    let mut metric = metric.clone();
    let open = |text: &str| text.contains("{{");
    if open(&metric.interval) {
        // Without one, a count above 1 would be taken for a mistake.
        metric.interval = "1m".to_owned();
    }
    if open(&metric.initial_delay) {
        metric.initial_delay = String::new();
    }
    for number in [
        &mut metric.count,
        &mut metric.failure_limit,
        &mut metric.inconclusive_limit,
        &mut metric.consecutive_error_limit,
        &mut metric.consecutive_success_limit,
    ] {
        if matches!(number, Some(IntOrString::String(text)) if open(text)) {
            *number = None;
        }
    }
    metric
}
