//! What is wrong with an experiment step: by itself, and with the templates that its analyses name (reference, rollouts
//! 1.4 and 1.9).

use super::Problem;
use crate::{
    api::{
        experiment::{Experiment, ExperimentAnalysisTemplateRef},
        strategy::{CanaryStrategy, RolloutExperimentStep},
    },
    experiment,
    rollout::{experiments, view::View},
};

/// The step by itself. `field` is that of `experiment`.
pub(super) fn problems(
    view: &View<'_>,
    canary: &CanaryStrategy,
    step: &RolloutExperimentStep,
    field: &str,
    problems: &mut Vec<Problem>,
) {
    for (index, template) in step.templates.iter().enumerate() {
        let field = format!("{field}.templates[{index}]");
        if !matches!(template.spec_ref.as_str(), "canary" | "stable") {
            let message = "expected canary or stable";
            problems.push(Problem::invalid(
                format!("{field}.specRef"),
                template.spec_ref.as_str(),
                message,
            ));
        }
        if let Some(weight) = template.weight {
            problems.push(Problem::invalid(
                format!("{field}.weight"),
                weight,
                weight_message(canary),
            ));
        }
    }
    let without_analyses = RolloutExperimentStep {
        analyses: Vec::new(),
        ..step.clone()
    };
    let Ok(mut spec) = experiments::spec_to_check(view, &without_analyses) else {
        return;
    };
    spec.analyses = (step.analyses.iter())
        .map(|analysis| ExperimentAnalysisTemplateRef {
            name: analysis.name.clone(),
            template_name: analysis.template_name.clone(),
            ..ExperimentAnalysisTemplateRef::default()
        })
        .collect();
    let whole = Experiment {
        api_version: String::new(),
        kind: String::new(),
        metadata: view.snapshot.rollout.metadata.clone(),
        spec,
        status: None,
    };
    for problem in experiment::problems(&whole) {
        let inside = problem.field.strip_prefix("spec.").unwrap_or(&problem.field);
        // What is cloned from the Rollout is told at the Rollout's own fields.
        let is_cloned = inside.contains(".template") || inside.contains(".selector");
        if (view.spec.template.is_none() && is_cloned) || inside == "progressDeadlineSeconds" {
            continue;
        }
        problems.push(Problem {
            field: format!("{field}.{inside}"),
            found: problem.found,
            message: problem.message,
        });
    }
}

fn weight_message(canary: &CanaryStrategy) -> &'static str {
    let Some(routing) = &canary.traffic_routing else {
        return "Experiment template weight cannot be set unless TrafficRouting is enabled";
    };
    let fits = routing.smi.is_some() || routing.alb.is_some() || routing.istio.is_some() || !routing.plugins.is_empty();
    if fits {
        "weights of an experiment's templates are not supported yet"
    } else {
        "Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time"
    }
}

/// The templates that its analyses name, and the arguments they get.
pub(super) fn references(view: &View<'_>, step: &RolloutExperimentStep, field: &str, problems: &mut Vec<Problem>) {
    for (index, analysis) in step.analyses.iter().enumerate() {
        let field = format!("{field}.analyses[{index}].templateName");
        if let Err(messages) = experiments::arguments(view, step, analysis) {
            let found = |message: String| Problem::invalid(field.as_str(), analysis.template_name.as_str(), message);
            problems.extend(messages.into_iter().map(found));
        }
    }
}
