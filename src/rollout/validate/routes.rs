//! What is wrong with the steps `setHeaderRoute` and `setMirrorRoute`.

use super::Problem;
use crate::{
    api::{
        strategy::{CanaryStrategy, SetHeaderRoute, SetMirrorRoute},
        traffic::StringMatch,
    },
    traffic::{Router, routes::Match},
};
use serde_json::Value;

const MANAGED: &str = "spec.strategy.canary.trafficRouting.managedRoutes";

pub(super) fn header(route: &SetHeaderRoute, field: &str, canary: &CanaryStrategy, problems: &mut Vec<Problem>) {
    if !any_router(canary, Router::can_route_headers) {
        let message = "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix";
        problems.push(Problem::invalid(field, route.name.as_str(), message));
        return;
    }
    name(&route.name, field, canary, problems);
    for (index, matched) in route.r#match.iter().enumerate() {
        let field = format!("{field}.match[{index}]");
        if matched.header_name.is_empty() {
            let message = "expected the name of a header";
            problems.push(Problem::invalid(format!("{field}.headerName"), "", message));
        }
        match &matched.header_value {
            Some(value) => text(value, &format!("{field}.headerValue"), problems),
            None => problems.push(Problem::invalid(format!("{field}.headerValue"), Value::Null, MISSED)),
        }
    }
}

pub(super) fn mirror(route: &SetMirrorRoute, field: &str, canary: &CanaryStrategy, problems: &mut Vec<Problem>) {
    if !any_router(canary, Router::can_mirror) {
        let message = "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins";
        problems.push(Problem::invalid(field, route.name.as_str(), message));
        return;
    }
    name(&route.name, field, canary, problems);
    if let Some(percentage) = route.percentage.filter(|percentage| !(0..=100).contains(percentage)) {
        let message = "expected a percentage from 0 to 100";
        problems.push(Problem::invalid(format!("{field}.percentage"), percentage, message));
    }
    for (index, matched) in route.r#match.iter().enumerate() {
        let field = format!("{field}.match[{index}]");
        for (name, value) in [("method", &matched.method), ("path", &matched.path)] {
            if let Some(value) = value {
                text(value, &format!("{field}.{name}"), problems);
            }
        }
        for (name, value) in &matched.headers {
            text(value, &format!("{field}.headers[{name}]"), problems);
        }
    }
}

fn any_router<'a>(canary: &'a CanaryStrategy, can: impl Fn(&Router<'a>) -> bool) -> bool {
    let routing = canary.traffic_routing.as_ref();
    routing.is_some_and(|routing| Router::all(routing).iter().any(can))
}

fn name(name: &str, field: &str, canary: &CanaryStrategy, problems: &mut Vec<Problem>) {
    let managed = canary.traffic_routing.as_ref().map(|routing| &routing.managed_routes);
    let Some(managed) = managed.filter(|managed| !managed.is_empty()) else {
        problems.push(Problem::required(MANAGED));
        return;
    };
    if !managed.iter().any(|managed| managed.name == name) {
        let message = "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes";
        problems.push(Problem::invalid(format!("{field}.name"), name, message));
    }
}

const MISSED: &str = "StringMatch value missed, match value must have one of the following: exact, regex, prefix";

fn text(value: &StringMatch, field: &str, problems: &mut Vec<Problem>) {
    let set = [&value.exact, &value.prefix, &value.regex];
    let count = set.iter().filter(|text| !text.is_empty()).count();
    let message = match count {
        0 => MISSED,
        1 if Match::of(value).is_some() => return,
        _ => "StringMatch match value must have exactly one of the following: exact, regex, prefix",
    };
    problems.push(Problem::invalid(
        field,
        serde_json::to_value(value).unwrap_or_default(),
        message,
    ));
}
