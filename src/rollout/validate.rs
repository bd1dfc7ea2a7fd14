//! What is wrong with a specification and the objects it names, all at once, each at its field (reference, rollouts 1
//! and 1.10).

mod canary;
mod experiment;
mod ping_pong;
mod pods;
mod references;
mod routers;
mod routes;

use super::{deadline, view::View, workload};
use crate::json::At as _;
use serde_json::Value;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    /// Path of the field.
    pub(crate) field: String,
    /// What was found there, as JSON; absent when the field is missing.
    pub(crate) found: Option<String>,
    /// What is wrong, in the original's words where it has some.
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn invalid(field: impl Into<String>, found: impl Into<Value>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            found: Some(found.into().to_string()),
            message: message.into(),
        }
    }

    pub(crate) fn required(field: &str) -> Self {
        Self {
            field: field.to_owned(),
            found: None,
            message: format!("Rollout has missing field '.{field}'"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{}: Invalid value: {found}: {}", self.field, self.message),
            None => write!(f, "{}: Required value: {}", self.field, self.message),
        }
    }
}

/// Everything that is wrong. The objects named are looked at only when the specification itself is right.
pub(crate) fn problems(view: &View<'_>) -> Vec<Problem> {
    let mut problems = own(view);
    if problems.is_empty() {
        problems = references::problems(view);
    }
    problems
}

/// What is wrong with the specification by itself.
pub(crate) fn own(view: &View<'_>) -> Vec<Problem> {
    let spec = view.spec;
    let mut problems = Vec::new();
    if let Some(named) = &spec.workload_ref {
        workload::problems(view, named, &mut problems);
    }
    // What a workload that is not there would say is not wrong.
    let is_unknown = workload::is_unknown(view.snapshot.rollout);
    match &spec.selector {
        None if is_unknown => {}
        None => problems.push(Problem::required("spec.selector")),
        Some(selector)
            if selector.match_labels.iter().flatten().next().is_none()
                && selector.match_expressions.iter().flatten().next().is_none() =>
        {
            problems.push(Problem::invalid(
                "spec.selector",
                serde_json::json!({}),
                "empty selector is invalid for deployment",
            ));
        }
        Some(selector) => {
            let labels = spec
                .template
                .as_ref()
                .and_then(|template| template.at("/metadata/labels"))
                .cloned();
            let labels = labels.as_ref().and_then(Value::as_object);
            for (key, value) in selector.match_labels.iter().flatten().filter(|_| !is_unknown) {
                if labels.and_then(|labels| labels.get(key)).and_then(Value::as_str) != Some(value) {
                    let found = labels.cloned().map_or(Value::Null, Value::Object);
                    problems.push(Problem::invalid(
                        "spec.template.metadata.labels",
                        found,
                        format!("`selector` does not match template `labels`: expected {key}={value}"),
                    ));
                }
            }
        }
    }
    if spec.template.is_none() && spec.workload_ref.is_none() {
        problems.push(Problem::required("spec.template"));
    }
    if let Some(replicas) = spec.replicas.filter(|replicas| *replicas < 0) {
        problems.push(Problem::invalid(
            "spec.replicas",
            replicas,
            "must be greater than or equal to 0",
        ));
    }
    if spec.min_ready_seconds < 0 {
        problems.push(Problem::invalid(
            "spec.minReadySeconds",
            spec.min_ready_seconds,
            "must be greater than or equal to 0",
        ));
    }
    let deadline = (spec.progress_deadline_seconds).unwrap_or(deadline::PROGRESS_DEADLINE_SECONDS_DEFAULT);
    if deadline <= spec.min_ready_seconds {
        problems.push(Problem::invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    strategy(view, &mut problems);
    pods::problems(view, &mut problems);
    problems
}

fn strategy(view: &View<'_>, problems: &mut Vec<Problem>) {
    let strategy = &view.spec.strategy;
    match (&strategy.canary, &strategy.blue_green) {
        (None, None) => problems.push(Problem::required("spec.strategy")),
        (Some(_), Some(_)) => {
            problems.push(Problem::invalid(
                "spec.strategy",
                "canary and blueGreen",
                "Multiple Strategies can not be listed",
            ));
        }
        (Some(canary), None) => canary::problems(view, canary, problems),
        (None, Some(blue_green)) => {
            let field = "spec.strategy.blueGreen";
            if blue_green.active_service.is_empty() {
                problems.push(Problem::required("spec.strategy.blueGreen.activeService"));
            } else if blue_green.active_service == blue_green.preview_service {
                problems.push(Problem::invalid(
                    format!("{field}.activeService"),
                    blue_green.active_service.as_str(),
                    "This rollout uses the same service for the active and preview services, but two different services are required.",
                ));
            }
            history_limit(view, blue_green.scale_down_delay_revision_limit, field, problems);
        }
    }
}

fn history_limit(view: &View<'_>, limit: Option<i32>, field: &str, problems: &mut Vec<Problem>) {
    let kept = view.spec.revision_history_limit.unwrap_or(10);
    if let Some(limit) = limit.filter(|limit| *limit > kept) {
        problems.push(Problem::invalid(
            format!("{field}.scaleDownDelayRevisionLimit"),
            limit,
            "This rollout's revision history limit can not be smaller than the rollout's scale down limit",
        ));
    }
}
