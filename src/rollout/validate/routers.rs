//! What is wrong with the routers of a canary by themselves, without their objects (reference, rollouts 1.5).

use super::Problem;
use crate::{
    api::{
        strategy::CanaryStrategy,
        traffic::{IstioTrafficRouting, RolloutTrafficRouting},
    },
    traffic::{
        Router,
        gateway_api::config::{self, GatewayApi},
        istio,
    },
};
use serde_json::Value;

const FIELD: &str = "spec.strategy.canary.trafficRouting";

pub(super) fn problems(canary: &CanaryStrategy, routing: &RolloutTrafficRouting, problems: &mut Vec<Problem>) {
    let routers = Router::all(routing);
    let has_both = !canary.canary_service.is_empty() && !canary.stable_service.is_empty();
    // The messages about ping-pong Services are told where they are named.
    let needs_none = canary.ping_pong.is_some() || !routers.is_empty() && routers.iter().all(Router::needs_no_services);
    if !has_both && !needs_none {
        problems.push(Problem::invalid(
            FIELD,
            Value::from("canaryService or stableService is empty"),
            "Canary service and Stable service must to be set to use Traffic Routing",
        ));
    }
    ingresses(routing, problems);
    if let Some(istio) = &routing.istio {
        self::istio(istio, problems);
    }
    meshes(routing, problems);
    plugins(routing, problems);
    let Some(max) = routing.max_traffic_weight else { return };
    let field = format!("{FIELD}.maxTrafficWeight");
    if max < 1 {
        problems.push(Problem::invalid(field, max, "expected a positive number"));
    } else if max != 100 && !routers.iter().all(Router::takes_total) {
        let message = "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins";
        problems.push(Problem::invalid(field, max, message));
    }
}

/// Exactly one of the field for one Ingress and that for several.
fn ingresses(routing: &RolloutTrafficRouting, problems: &mut Vec<Problem>) {
    let nginx = routing.nginx.as_ref();
    let nginx = nginx.map(|nginx| ("nginx", "StableIngress", &nginx.stable_ingress, &nginx.stable_ingresses));
    let alb = routing.alb.as_ref();
    let alb = alb.map(|alb| ("alb", "Ingress", &alb.ingress, &alb.ingresses));
    for (router, field, one, several) in nginx.into_iter().chain(alb) {
        let which = match (one.is_empty(), several.is_empty()) {
            (false, false) => "Both",
            (true, true) => "Neither",
            _ => continue,
        };
        let message = format!("Either {field} or {field}es must be configured. {which} are configured.");
        problems.push(Problem::invalid(format!("{FIELD}.{router}"), one.as_str(), message));
    }
}

fn istio(istio: &IstioTrafficRouting, problems: &mut Vec<Problem>) {
    let field = format!("{FIELD}.istio");
    if istio.virtual_service.is_some() != istio.virtual_services.is_empty() {
        let message = "either VirtualService or VirtualServices must be configured";
        problems.push(Problem::invalid(
            format!("{field}.virtualService"),
            istio::names(istio),
            message,
        ));
    }
    let mut names: Vec<&str> = Vec::new();
    for service in istio::virtual_services(istio) {
        let name = service.name.as_str();
        if name.is_empty() {
            problems.push(Problem::required(&format!("{field}.virtualService.name")));
        } else if names.contains(&name) {
            let message = "expected each VirtualService once";
            problems.push(Problem::invalid(format!("{field}.virtualServices"), name, message));
        }
        names.push(name);
        for tls in service
            .tls_routes
            .iter()
            .filter(|tls| tls.port == 0 && tls.sni_hosts.is_empty())
        {
            let found = serde_json::to_value(tls).unwrap_or_default();
            let message = "expected a port, SNI hosts, or both";
            problems.push(Problem::invalid(
                format!("{field}.virtualService.tlsRoutes"),
                found,
                message,
            ));
        }
    }
    let Some(rule) = &istio.destination_rule else { return };
    let field = format!("{field}.destinationRule");
    for (name, value) in [
        ("name", &rule.name),
        ("canarySubsetName", &rule.canary_subset_name),
        ("stableSubsetName", &rule.stable_subset_name),
    ] {
        if value.is_empty() {
            problems.push(Problem::required(&format!("{field}.{name}")));
        }
    }
    if !rule.canary_subset_name.is_empty() && rule.canary_subset_name == rule.stable_subset_name {
        let message = "expected another subset than that of the canary";
        let found = rule.stable_subset_name.as_str();
        problems.push(Problem::invalid(format!("{field}.stableSubsetName"), found, message));
    }
}

/// Names without which a router has nothing to look at.
fn meshes(routing: &RolloutTrafficRouting, problems: &mut Vec<Problem>) {
    let mut required = |field: &str, is_set: bool| {
        if !is_set {
            problems.push(Problem::required(&format!("{FIELD}.{field}")));
        }
    };
    if let Some(ambassador) = &routing.ambassador {
        let named = !ambassador.mappings.is_empty() && ambassador.mappings.iter().all(|name| !name.is_empty());
        required("ambassador.mappings", named);
    }
    if let Some(mesh) = &routing.app_mesh {
        let service = mesh.virtual_service.as_ref();
        required(
            "appMesh.virtualService.name",
            service.is_some_and(|service| !service.name.is_empty()),
        );
        let group = mesh.virtual_node_group.as_ref();
        let canary = group.and_then(|group| group.canary_virtual_node_ref.as_ref());
        let stable = group.and_then(|group| group.stable_virtual_node_ref.as_ref());
        for (field, node) in [("canaryVirtualNodeRef", canary), ("stableVirtualNodeRef", stable)] {
            let field = format!("appMesh.virtualNodeGroup.{field}.name");
            required(&field, node.is_some_and(|node| !node.name.is_empty()));
        }
    }
    if let Some(traefik) = &routing.traefik {
        let is_set = !traefik.weighted_traefik_service_name.is_empty();
        required("traefik.weightedTraefikServiceName", is_set);
    }
    if let Some(apisix) = &routing.apisix {
        let is_set = apisix.route.as_ref().is_some_and(|route| !route.name.is_empty());
        required("apisix.route.name", is_set);
    }
}

fn plugins(routing: &RolloutTrafficRouting, problems: &mut Vec<Problem>) {
    for (name, value) in &routing.plugins {
        let field = format!("{FIELD}.plugins[{name}]");
        if name != config::PLUGIN {
            let message = format!("this plugin is not supported yet; supported: {}", config::PLUGIN);
            problems.push(Problem::invalid(field, name.as_str(), message));
            continue;
        }
        for wrong in GatewayApi::parse(value).err().into_iter().flatten() {
            let field = if wrong.path.is_empty() {
                field.clone()
            } else {
                format!("{field}.{}", wrong.path)
            };
            problems.push(Problem::invalid(field, wrong.found, wrong.message));
        }
    }
}
