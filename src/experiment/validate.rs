//! What is wrong with an Experiment by itself, all at once, each at its field (reference, rollouts 1.9).

use super::names;
use crate::{
    api::experiment::{Experiment, TemplateSpec},
    json::At as _,
    lang::duration,
};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// Seconds without progress before a template counts as failed, when `progressDeadlineSeconds` is absent.
pub(super) const PROGRESS_DEADLINE_SECONDS_DEFAULT: i32 = 600;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Path of the field, for instance `spec.templates[1].selector`.
    pub field: String,
    /// What was found there, as JSON; absent when the field is missing.
    pub found: Option<String>,
    /// What is wrong, in the original's words where it has some.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{}: Invalid value: {found}: {}", self.field, self.message),
            None => write!(f, "{}: Required value: {}", self.field, self.message),
        }
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn invalid(&mut self, field: impl Into<String>, found: impl Into<Value>, message: impl Into<String>) {
        self.0.push(Problem {
            field: field.into(),
            found: Some(found.into().to_string()),
            message: message.into(),
        });
    }

    fn required(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            field: field.into(),
            found: None,
            message: message.into(),
        });
    }
}

/// Everything that is wrong with the specification.
pub fn problems(experiment: &Experiment) -> Vec<Problem> {
    let mut problems = Problems::default();
    let spec = &experiment.spec;
    let name = experiment.metadata.name.as_deref().unwrap_or_default();
    let deadline = spec
        .progress_deadline_seconds
        .unwrap_or(PROGRESS_DEADLINE_SECONDS_DEFAULT);
    let mut taken = BTreeSet::new();
    let mut services = BTreeSet::new();
    for (index, template) in spec.templates.iter().enumerate() {
        let field = format!("spec.templates[{index}]");
        if template.name.is_empty() {
            let message = format!("Experiment {name} has empty template name at index {index}");
            problems.required(format!("{field}.name"), message);
        } else if !taken.insert(template.name.as_str()) {
            let message = format!(
                "Experiment {name} has repeated template name '{}' in templates",
                template.name
            );
            problems.invalid(format!("{field}.name"), template.name.as_str(), message);
        }
        if let Some(service) = names::service(name, template)
            && !services.insert(service.clone())
        {
            let message = "two templates cannot have the same Service";
            problems.invalid(format!("{field}.service.name"), service, message);
        }
        self::template(index, template, deadline, &field, &mut problems);
    }
    seconds(experiment, &mut problems);
    analyses(experiment, &mut problems);
    problems.0
}

fn template(index: usize, template: &TemplateSpec, deadline: i32, field: &str, problems: &mut Problems) {
    match &template.selector {
        None => problems.required(
            format!("{field}.selector"),
            format!("Rollout has missing field '.Spec.Templates[{index}].Selector'"),
        ),
        Some(selector)
            if selector.match_labels.iter().flatten().next().is_none()
                && selector.match_expressions.iter().flatten().next().is_none() =>
        {
            let message =
                format!("This experiment is selecting all pods at index {index}. A non-empty selector is required.");
            problems.invalid(format!("{field}.selector"), serde_json::json!({}), message);
        }
        Some(selector) => {
            let labels = template
                .template
                .as_ref()
                .and_then(|template| template.at("/metadata/labels"));
            for (key, value) in selector.match_labels.iter().flatten() {
                if labels.and_then(|labels| labels.get(key)).and_then(Value::as_str) != Some(value) {
                    let message = format!("`selector` does not match template `labels`: expected {key}={value}");
                    let found = labels.cloned().unwrap_or(Value::Null);
                    problems.invalid(format!("{field}.template.metadata.labels"), found, message);
                }
            }
        }
    }
    if template.template.is_none() {
        problems.required(format!("{field}.template"), "a template needs pods to make");
    }
    if template.min_ready_seconds > deadline {
        let message =
            format!("MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index {index}");
        problems.invalid(format!("{field}.minReadySeconds"), template.min_ready_seconds, message);
    }
    for (name, number) in [
        ("minReadySeconds", Some(template.min_ready_seconds)),
        ("replicas", template.replicas),
    ] {
        not_negative(&format!("{field}.{name}"), number, problems);
    }
}

fn seconds(experiment: &Experiment, problems: &mut Problems) {
    let spec = &experiment.spec;
    not_negative("spec.scaleDownDelaySeconds", spec.scale_down_delay_seconds, problems);
    not_negative("spec.progressDeadlineSeconds", spec.progress_deadline_seconds, problems);
    if spec.duration.is_empty() {
        return;
    }
    match duration::parse(&spec.duration) {
        Err(error) => problems.invalid("spec.duration", spec.duration.as_str(), error.to_string()),
        Ok(duration) if duration.is_negative() => {
            problems.invalid("spec.duration", spec.duration.as_str(), "must not be negative");
        }
        Ok(_) => {}
    }
}

fn not_negative(field: &str, number: Option<i32>, problems: &mut Problems) {
    if let Some(number) = number.filter(|number| *number < 0) {
        problems.invalid(field, number, "must be greater than or equal to 0");
    }
}

fn analyses(experiment: &Experiment, problems: &mut Problems) {
    let mut taken = BTreeSet::new();
    for (index, analysis) in experiment.spec.analyses.iter().enumerate() {
        let field = format!("spec.analyses[{index}]");
        if analysis.name.is_empty() {
            problems.required(format!("{field}.name"), "an analysis needs a name");
        } else if !taken.insert(analysis.name.as_str()) {
            let message = format!("two analyses have the same name '{}'", analysis.name);
            problems.invalid(format!("{field}.name"), analysis.name.as_str(), message);
        }
        if analysis.template_name.is_empty() {
            problems.required(format!("{field}.templateName"), "an analysis needs a template");
        }
    }
}
