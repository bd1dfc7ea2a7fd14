//! What is wrong with the objects a specification names: Services, Ingresses and analysis templates.

use super::{Problem, experiment};
use crate::{
    api::{strategy::CanaryStrategy, well_known},
    json::At as _,
    rollout::{
        ping_pong,
        runs::{Purpose, Wanted},
        view::View,
    },
    traffic::{self, Objects, Router, Weights, routes::routes_at},
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
        if let Some(pair) = &canary.ping_pong {
            let field = "spec.strategy.canary.pingPong";
            service(view, &format!("{field}.pingService"), &pair.ping_service, &mut problems);
            service(view, &format!("{field}.pongService"), &pair.pong_service, &mut problems);
        }
        routers(view, canary, &mut problems);
        for (index, step) in canary.steps.iter().enumerate() {
            if let Some(found) = &step.experiment {
                let field = format!("spec.strategy.canary.steps[{index}].experiment");
                experiment::references(view, found, &field, &mut problems);
            }
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

fn routers(view: &View<'_>, canary: &CanaryStrategy, problems: &mut Vec<Problem>) {
    const FIELD: &str = "spec.strategy.canary.trafficRouting";
    let Some(routing) = &canary.traffic_routing else { return };
    let sides = ping_pong::sides(canary, &view.status);
    let wanted = traffic::Wanted {
        rollout: view.snapshot.rollout,
        stable_service: sides.stable,
        canary_service: sides.canary,
        weights: Weights { canary: 0, total: 100 },
        routes: None,
        stable_hash: None,
        canary_hash: None,
        quiet: false,
    };
    let objects = Objects {
        ingresses: &view.snapshot.ingresses,
        foreign: &view.snapshot.foreign,
        served: view.snapshot.served,
    };
    for router in Router::all(routing) {
        let field = format!("{FIELD}.{}", router.field());
        let kinds = router.references(view.snapshot.rollout);
        let unserved =
            (view.snapshot.unserved.iter()).find(|unserved| kinds.iter().any(|(kind, ..)| *kind == unserved.kind));
        if let Some(unserved) = unserved {
            problems.push(Problem::invalid(field, router.names(), unserved.message.as_str()));
            continue;
        }
        // The routes of every step: what cannot be made must not be found out in the middle of an update.
        let steps = (0..canary.steps.len()).map(|index| routes_at(canary, index));
        let mut messages = router.route(&wanted, objects).problems;
        for step in canary.steps.iter().filter_map(|step| step.set_weight) {
            let weights = Weights {
                canary: step,
                ..wanted.weights
            };
            messages.extend(router.route(&traffic::Wanted { weights, ..wanted }, objects).problems);
        }
        for routes in steps.filter(|routes| !routes.is_empty()) {
            let routes = Some(routes.as_slice());
            messages.extend(router.route(&traffic::Wanted { routes, ..wanted }, objects).problems);
        }
        messages.sort();
        messages.dedup();
        for message in messages {
            problems.push(Problem::invalid(field.as_str(), router.names(), message));
        }
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
