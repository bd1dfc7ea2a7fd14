//! What is wrong with a canary strategy by itself.

use super::{Problem, experiment, history_limit, ping_pong, routers, routes};
use crate::{
    api::{
        scalar::IntOrString,
        strategy::{CanaryStep, CanaryStrategy},
    },
    rollout::{
        replicas::parse_percent,
        step::{Step, seconds},
        view::View,
    },
};

const FIELD: &str = "spec.strategy.canary";

pub(super) fn problems(view: &View<'_>, canary: &CanaryStrategy, problems: &mut Vec<Problem>) {
    let routing = canary.traffic_routing.as_ref();
    if !canary.canary_service.is_empty() && canary.canary_service == canary.stable_service {
        problems.push(Problem::invalid(
            format!("{FIELD}.stableService"),
            canary.stable_service.as_str(),
            "This rollout uses the same service for the stable and canary services, but two different services are required.",
        ));
    }
    surge(canary, problems);
    for (field, set) in [
        ("scaleDownDelaySeconds", canary.scale_down_delay_seconds.is_some()),
        ("dynamicStableScale", canary.dynamic_stable_scale),
    ] {
        if set && routing.is_none() {
            let message = format!("Canary {field} can only be used with traffic routing");
            problems.push(Problem::invalid(format!("{FIELD}.{field}"), true, message));
        }
    }
    if canary.dynamic_stable_scale && canary.scale_down_delay_seconds.is_some() {
        let message = "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds";
        problems.push(Problem::invalid(format!("{FIELD}.dynamicStableScale"), true, message));
    }
    if let Some(pair) = &canary.ping_pong {
        ping_pong::problems(pair, routing, problems);
    }
    if let Some(routing) = routing {
        routers::problems(canary, routing, problems);
    }
    let total = routing.and_then(|routing| routing.max_traffic_weight).unwrap_or(100);
    for (index, step) in canary.steps.iter().enumerate() {
        self::step(step, &format!("{FIELD}.steps[{index}]"), canary, total, problems);
        if let Some(step) = &step.experiment {
            let field = format!("{FIELD}.steps[{index}].experiment");
            experiment::problems(view, canary, step, &field, problems);
        }
    }
    history_limit(view, canary.scale_down_delay_revision_limit, FIELD, problems);
}

fn surge(canary: &CanaryStrategy, problems: &mut Vec<Problem>) {
    let zero = |value: &Option<IntOrString>| match value {
        Some(IntOrString::Int(pods)) => *pods == 0,
        Some(IntOrString::String(text)) => parse_percent(text) == Some(0),
        None => false,
    };
    if zero(&canary.max_surge) && zero(&canary.max_unavailable) {
        problems.push(Problem::invalid(
            format!("{FIELD}.maxSurge"),
            0,
            "MaxSurge and MaxUnavailable both can not be zero",
        ));
    }
    for (field, value) in [
        ("maxSurge", &canary.max_surge),
        ("maxUnavailable", &canary.max_unavailable),
    ] {
        let bad = match value {
            Some(IntOrString::String(text)) => parse_percent(text).is_none_or(|percent| percent < 0),
            Some(IntOrString::Int(pods)) => *pods < 0,
            None => false,
        };
        if let Some(value) = value.as_ref().filter(|_| bad) {
            let message = "expected a number of pods, or a percentage such as \"25%\"";
            problems.push(Problem::invalid(format!("{FIELD}.{field}"), value.to_string(), message));
        }
    }
}

fn step(step: &CanaryStep, field: &str, canary: &CanaryStrategy, total: i32, problems: &mut Vec<Problem>) {
    let routed = canary.traffic_routing.is_some();
    const EXACTLY_ONE: &str =
        "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause";
    let set = [
        step.set_weight.is_some(),
        step.pause.is_some(),
        step.experiment.is_some(),
        step.analysis.is_some(),
        step.set_canary_scale.is_some(),
        step.set_header_route.is_some(),
        step.set_mirror_route.is_some(),
        step.plugin.is_some(),
    ];
    let count = set.iter().filter(|set| **set).count();
    if count != 1 {
        let found = serde_json::to_value(step).unwrap_or_default();
        problems.push(Problem::invalid(field, found, EXACTLY_ONE));
        return;
    }
    match Step::of(step) {
        Some(Step::SetWeight(weight)) if !(0..=total).contains(&weight) => {
            let message = format!("SetWeight needs to be between 0 and {total}");
            problems.push(Problem::invalid(format!("{field}.setWeight"), weight, message));
        }
        Some(Step::Pause(_)) => {
            let duration = step.pause.as_ref().and_then(|pause| pause.duration.as_ref());
            if let Some(duration) = duration.filter(|duration| seconds(duration).is_none_or(|seconds| seconds < 0)) {
                let message = "Duration needs to be greater than 0";
                problems.push(Problem::invalid(
                    format!("{field}.pause.duration"),
                    duration.to_string(),
                    message,
                ));
            }
        }
        Some(Step::SetCanaryScale(_)) if !routed => {
            let message = "SetCanaryScale requires TrafficRouting to be set";
            problems.push(Problem::invalid(format!("{field}.setCanaryScale"), true, message));
        }
        Some(Step::SetHeaderRoute(route)) => {
            routes::header(route, &format!("{field}.setHeaderRoute"), canary, problems);
        }
        Some(Step::SetMirrorRoute(route)) => {
            routes::mirror(route, &format!("{field}.setMirrorRoute"), canary, problems);
        }
        Some(Step::Unsupported(name)) => {
            let message = "this step is not supported yet";
            problems.push(Problem::invalid(format!("{field}.{name}"), name, message));
        }
        _ => {}
    }
}
