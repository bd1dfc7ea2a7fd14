//! What is wrong with the objects a specification names: Services, Ingresses and analysis templates.

use super::Problem;
use crate::{
    api::well_known,
    json::At as _,
    rollout::{
        runs::{Purpose, Wanted},
        view::View,
    },
    traffic::{Weights, nginx},
};
use serde_json::Value;

pub(super) fn problems(view: &View<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let strategy = &view.spec.strategy;
    if let Some(canary) = &strategy.canary {
        service(
            view,
            "spec.strategy.canary.canaryService",
            &canary.canary_service,
            &mut problems,
        );
        service(
            view,
            "spec.strategy.canary.stableService",
            &canary.stable_service,
            &mut problems,
        );
        ingresses(view, &mut problems);
        for (index, step) in canary.steps.iter().enumerate() {
            if let Some(wanted) = step
                .analysis
                .as_ref()
                .map(|analysis| Wanted::of(Purpose::Step(index), analysis))
            {
                analysis(
                    view,
                    &format!("spec.strategy.canary.steps[{index}].analysis"),
                    &wanted,
                    &mut problems,
                );
            }
        }
        if let Some(background) = canary
            .analysis
            .as_ref()
            .filter(|analysis| !analysis.templates.is_empty())
        {
            analysis(
                view,
                "spec.strategy.canary.analysis",
                &Wanted::background(background),
                &mut problems,
            );
        }
    }
    if let Some(blue_green) = &strategy.blue_green {
        service(
            view,
            "spec.strategy.blueGreen.activeService",
            &blue_green.active_service,
            &mut problems,
        );
        service(
            view,
            "spec.strategy.blueGreen.previewService",
            &blue_green.preview_service,
            &mut problems,
        );
        for (field, purpose, run) in [
            (
                "prePromotionAnalysis",
                Purpose::PrePromotion,
                &blue_green.pre_promotion_analysis,
            ),
            (
                "postPromotionAnalysis",
                Purpose::PostPromotion,
                &blue_green.post_promotion_analysis,
            ),
        ] {
            if let Some(run) = run.as_ref().filter(|run| !run.templates.is_empty()) {
                analysis(
                    view,
                    &format!("spec.strategy.blueGreen.{field}"),
                    &Wanted::of(purpose, run),
                    &mut problems,
                );
            }
        }
    }
    problems
}

fn service(view: &View<'_>, field: &str, name: &str, problems: &mut Vec<Problem>) {
    if name.is_empty() {
        return;
    }
    let Some(service) = view.service(name) else {
        problems.push(Problem::invalid(field, name, format!("services \"{name}\" not found")));
        return;
    };
    let owner = service
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(well_known::MANAGED_BY_ROLLOUT));
    if let Some(owner) = owner.filter(|owner| *owner != view.name()) {
        let message = format!("Service \"{name}\" is managed by another Rollout ({owner})");
        problems.push(Problem::invalid(field, name, message));
    }
    let labels = view
        .spec
        .template
        .as_ref()
        .and_then(|template| template.at("/metadata/labels"));
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    for (key, value) in selector
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != well_known::POD_TEMPLATE_HASH)
    {
        if labels.and_then(|labels| labels.get(key)).and_then(Value::as_str) != Some(value) {
            let message = format!("Service \"{name}\" has unmatch label \"{key}\" in rollout");
            problems.push(Problem::invalid(field, name, message));
        }
    }
}

fn ingresses(view: &View<'_>, problems: &mut Vec<Problem>) {
    let Some(canary) = &view.spec.strategy.canary else {
        return;
    };
    let Some(spec) = canary
        .traffic_routing
        .as_ref()
        .and_then(|routing| routing.nginx.as_ref())
    else {
        return;
    };
    let services = (canary.stable_service.as_str(), canary.canary_service.as_str());
    let weights = Weights { canary: 0, total: 100 };
    let routed = nginx::route(view.snapshot.rollout, spec, services, &view.snapshot.ingresses, weights);
    let names = nginx::stable_ingresses(spec).join(",");
    for message in routed.problems {
        problems.push(Problem::invalid(
            "spec.strategy.canary.trafficRouting.nginx",
            names.as_str(),
            message,
        ));
    }
}

fn analysis(view: &View<'_>, field: &str, wanted: &Wanted<'_>, problems: &mut Vec<Problem>) {
    let Err(messages) = wanted.spec(view) else { return };
    for message in messages {
        problems.push(Problem::invalid(
            format!("{field}.templates"),
            wanted.template_names(),
            message,
        ));
    }
}
