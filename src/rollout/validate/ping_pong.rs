//! What is wrong with ping-pong Services by themselves (reference, rollouts 1.3).

use super::Problem;
use crate::{
    api::{strategy::PingPongSpec, traffic::RolloutTrafficRouting},
    traffic::Router,
};

const FIELD: &str = "spec.strategy.canary.pingPong";

pub(super) fn problems(pair: &PingPongSpec, routing: Option<&RolloutTrafficRouting>, problems: &mut Vec<Problem>) {
    let routers = routing.map(Router::all).unwrap_or_default();
    let others: Vec<String> = (routers.iter())
        .filter(|router| !matches!(router, Router::Alb(_) | Router::Istio(_) | Router::GatewayApi(_)))
        .map(Router::field)
        .collect();
    let has_plugins = routing.is_some_and(|routing| !routing.plugins.is_empty());
    if !others.is_empty() || (routers.is_empty() && !has_plugins) {
        let message = "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only";
        problems.push(Problem::invalid(FIELD, others.join(","), message));
    }
    let (ping, pong) = (pair.ping_service.as_str(), pair.pong_service.as_str());
    if ping.is_empty() || pong.is_empty() {
        let (field, found) = if ping.is_empty() {
            ("pingService", ping)
        } else {
            ("pongService", pong)
        };
        let message = "Ping service and Pong service must to be set to use Ping-Pong feature";
        problems.push(Problem::invalid(format!("{FIELD}.{field}"), found, message));
    } else if ping == pong {
        let message = "This rollout uses the same service for the ping and pong services, but two different services are required.";
        problems.push(Problem::invalid(format!("{FIELD}.pingService"), ping, message));
    }
    let Some(routing) = routing else { return };
    if routing.alb.as_ref().is_some_and(|alb| alb.root_service.is_empty()) {
        let message = "Root service field is required for the configuration with ALB and ping-pong feature enabled";
        let field = "spec.strategy.canary.trafficRouting.alb.rootService";
        problems.push(Problem::invalid(field, "", message));
    }
    // A subset would have to lead from one version to the other under traffic, which ping-pong Services are there to avoid.
    if let Some(rule) = routing.istio.as_ref().and_then(|istio| istio.destination_rule.as_ref()) {
        let message = "expected no DestinationRule beside pingPong: the two Services tell the versions apart";
        let field = "spec.strategy.canary.trafficRouting.istio.destinationRule";
        problems.push(Problem::invalid(field, rule.name.as_str(), message));
    }
}
