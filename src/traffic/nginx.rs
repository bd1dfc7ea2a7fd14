//! ingress-nginx: a second Ingress beside each stable one, with the canary annotations (reference, rollouts 5.1).
//!
//! Owns the canary Ingresses named after the Rollout and nothing else; a stable Ingress is only read.

use super::{Routing, Weights, edits};
use crate::{
    api::{rollout::Rollout, traffic::NginxTrafficRouting, well_known},
    json::At as _,
    plan::{Action, ObjectRef, Precondition},
};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressRule, IngressServiceBackend};
use serde_json::{Map, Value, json};

/// Longest name of an object.
const NAME_MAX: usize = 253;

/// The stable Ingresses a specification names.
pub fn stable_ingresses(nginx: &NginxTrafficRouting) -> Vec<&str> {
    if nginx.stable_ingress.is_empty() {
        nginx.stable_ingresses.iter().map(String::as_str).collect()
    } else {
        vec![nginx.stable_ingress.as_str()]
    }
}

/// The name of the canary Ingress of a stable one; its beginning is cut when it would be too long.
pub fn canary_name(rollout: &str, stable_ingress: &str) -> String {
    let name = format!("{rollout}-{stable_ingress}");
    let kept: String = name.chars().take(NAME_MAX - "-canary".len()).collect();
    format!("{kept}-canary")
}

/// The canary's weight in the canary Ingresses as read, the highest of several; 0 when there are none.
pub fn observed(rollout: &Rollout, nginx: &NginxTrafficRouting, ingresses: &[&Ingress]) -> i32 {
    let rollout_name = rollout.metadata.name.as_deref().unwrap_or_default();
    let names: Vec<String> = stable_ingresses(nginx)
        .into_iter()
        .map(|stable| canary_name(rollout_name, stable))
        .collect();
    let ours = ingresses
        .iter()
        .filter(|ingress| ingress.metadata.name.as_ref().is_some_and(|name| names.contains(name)));
    ours.filter(|ingress| edits::controlled_by(&ingress.metadata, rollout))
        .map(|ingress| weight_of(ingress, nginx))
        .max()
        .unwrap_or(0)
}

/// Whether every canary Ingress carries this weight; one that does not exist carries 0.
pub fn everywhere(rollout: &Rollout, nginx: &NginxTrafficRouting, ingresses: &[&Ingress], weight: i32) -> bool {
    let rollout_name = rollout.metadata.name.as_deref().unwrap_or_default();
    stable_ingresses(nginx).into_iter().all(|stable| {
        let name = canary_name(rollout_name, stable);
        let named = ingresses
            .iter()
            .find(|ingress| ingress.metadata.name.as_deref() == Some(name.as_str()));
        let ours = named.filter(|ingress| edits::controlled_by(&ingress.metadata, rollout));
        ours.map_or(0, |ingress| weight_of(ingress, nginx)) == weight
    })
}

/// Edits that bring every canary Ingress to the wanted weight.
///
/// A stable Ingress that is missing or does not fit is a problem of its own: its canary Ingress, if there is one, still
/// gets the weight, so that an abort goes through (guarantee T5).
pub fn route(
    rollout: &Rollout,
    nginx: &NginxTrafficRouting,
    services: (&str, &str),
    ingresses: &[&Ingress],
    weights: Weights,
) -> Routing {
    let mut routing = Routing {
        observed: observed(rollout, nginx, ingresses),
        written: true,
        ..Routing::default()
    };
    let rollout_name = rollout.metadata.name.as_deref().unwrap_or_default();
    for stable_name in stable_ingresses(nginx) {
        let named = |name: &str| {
            ingresses
                .iter()
                .copied()
                .find(|ingress| ingress.metadata.name.as_deref() == Some(name))
        };
        let name = canary_name(rollout_name, stable_name);
        let live = named(&name);
        if let Some(live) = live.filter(|live| !edits::controlled_by(&live.metadata, rollout)) {
            routing
                .problems
                .push(edits::not_ours(&"canary ingress", &live.metadata));
            continue;
        }
        let wanted = named(stable_name)
            .ok_or_else(|| {
                format!(
                    "error retrieving stableIngress `{stable_name}` from cache: ingress \"{stable_name}\" not found"
                )
            })
            .and_then(|stable| desired(rollout, nginx, services, stable, weights));
        let desired = match wanted {
            Ok(desired) => desired,
            Err(problem) => {
                routing.problems.push(problem);
                let edit = live.and_then(|live| reweight(live, nginx, weights.canary));
                routing.reweighted |= edit.is_some();
                routing.edits.extend(edit);
                continue;
            }
        };
        if live.is_some_and(|live| carries(live, &desired)) {
            continue;
        }
        routing.written = false;
        routing.reweighted |= weights.canary > 0 || live.is_some_and(|live| weight_of(live, nginx) > 0);
        routing.events.push(match live {
            None => (
                "CreatingCanaryIngress",
                format!("Creating canary ingress `{name}` with weight `{}`", weights.canary),
            ),
            Some(_) => (
                "PatchingCanaryIngress",
                format!("Updating Ingress `{name}` to desiredWeight '{}'", weights.canary),
            ),
        });
        let namespace = rollout.metadata.namespace.as_deref().unwrap_or_default();
        routing.edits.push(Action::Apply {
            target: ObjectRef::namespaced("networking.k8s.io/v1", "Ingress", namespace, &name),
            fields: desired,
            manager: edits::MANAGER,
            // Without the uid a forced apply could take an Ingress that a user created in between.
            precondition: live.map(|live| Precondition {
                uid: live.metadata.uid.clone(),
                resource_version: None,
            }),
        });
    }
    let forgotten = forgotten(rollout, nginx, ingresses);
    routing.reweighted |= !forgotten.is_empty();
    routing.edits.extend(forgotten);
    routing.written = routing.edits.is_empty() && routing.problems.is_empty();
    routing
}

/// The highest weight in canary Ingresses that this Rollout controls, whatever its specification names.
pub fn left_behind(rollout: &Rollout, ingresses: &[&Ingress]) -> i32 {
    let ours = ingresses
        .iter()
        .filter(|ingress| edits::controlled_by(&ingress.metadata, rollout));
    ours.filter_map(|ingress| Some(weight_under(ingress, canary_prefix(ingress)?)))
        .max()
        .unwrap_or(0)
}

/// Takes every request from the canary Ingresses of a Rollout whose specification has no nginx router any more: weight,
/// headers and cookies. The Ingress stays a canary, since without that it would compete with the stable one.
pub fn retire(rollout: &Rollout, ingresses: &[&Ingress]) -> Vec<Action> {
    let ours = ingresses
        .iter()
        .filter(|ingress| edits::controlled_by(&ingress.metadata, rollout));
    ours.filter_map(|ingress| {
        let prefix = canary_prefix(ingress)?;
        let by = format!("{prefix}/canary-by-");
        let keys = ingress
            .metadata
            .annotations
            .iter()
            .flatten()
            .map(|(key, _)| key.clone());
        let mut annotations: Map<String, Value> = keys
            .filter(|key| key.starts_with(&by))
            .map(|key| (key, Value::Null))
            .collect();
        if weight_under(ingress, prefix) != 0 {
            annotations.insert(format!("{prefix}/canary-weight"), Value::from("0"));
        }
        (!annotations.is_empty()).then(|| annotate(ingress, annotations))
    })
    .collect()
}

/// The annotation prefix under which an Ingress says that it is a canary.
fn canary_prefix(ingress: &Ingress) -> Option<&str> {
    let annotations = ingress.metadata.annotations.iter().flatten();
    (annotations.filter(|(_, value)| *value == "true")).find_map(|(key, _)| key.strip_suffix("/canary"))
}

/// Changes nothing but the weight of a canary Ingress. A merge patch: an apply of one field would give up the others.
fn reweight(live: &Ingress, nginx: &NginxTrafficRouting, weight: i32) -> Option<Action> {
    if weight_of(live, nginx) == weight {
        return None;
    }
    let key = format!("{}/canary-weight", prefix(nginx));
    Some(annotate(live, Map::from_iter([(key, Value::from(weight.to_string()))])))
}

fn annotate(live: &Ingress, annotations: Map<String, Value>) -> Action {
    let metadata = &live.metadata;
    Action::Merge {
        target: ObjectRef::namespaced(
            "networking.k8s.io/v1",
            "Ingress",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        ),
        patch: json!({ "metadata": { "annotations": annotations } }),
        manager: edits::MANAGER,
        precondition: Some(Precondition {
            uid: metadata.uid.clone(),
            resource_version: None,
        }),
    }
}

/// Takes the weight from canary Ingresses of stable Ingresses that the specification no longer names.
fn forgotten(rollout: &Rollout, nginx: &NginxTrafficRouting, ingresses: &[&Ingress]) -> Vec<Action> {
    let rollout_name = rollout.metadata.name.as_deref().unwrap_or_default();
    let named: Vec<String> = stable_ingresses(nginx)
        .into_iter()
        .map(|stable| canary_name(rollout_name, stable))
        .collect();
    let ours = ingresses
        .iter()
        .filter(|ingress| edits::controlled_by(&ingress.metadata, rollout));
    ours.filter(|ingress| ingress.metadata.name.as_ref().is_some_and(|name| !named.contains(name)))
        .filter_map(|ingress| reweight(ingress, nginx, 0))
        .collect()
}

/// The canary's weight written in a canary Ingress; 0 when it is not a number or the Ingress is not a canary.
fn weight_of(ingress: &Ingress, nginx: &NginxTrafficRouting) -> i32 {
    weight_under(ingress, prefix(nginx))
}

fn weight_under(ingress: &Ingress, prefix: &str) -> i32 {
    let annotation = |name: &str| {
        ingress
            .metadata
            .annotations
            .as_ref()?
            .get(&format!("{prefix}/{name}"))
            .cloned()
    };
    if annotation("canary").as_deref() != Some("true") {
        return 0;
    }
    annotation("canary-weight")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn prefix(nginx: &NginxTrafficRouting) -> &str {
    if nginx.annotation_prefix.is_empty() {
        well_known::NGINX_PREFIX
    } else {
        &nginx.annotation_prefix
    }
}

/// The fields of the canary Ingress that we own.
fn desired(
    rollout: &Rollout,
    nginx: &NginxTrafficRouting,
    (stable_service, canary_service): (&str, &str),
    stable: &Ingress,
    weights: Weights,
) -> Result<Value, String> {
    let stable_name = stable.metadata.name.as_deref().unwrap_or_default();
    let spec = stable.spec.clone().unwrap_or_default();
    let rules: Vec<IngressRule> = spec
        .rules
        .unwrap_or_default()
        .into_iter()
        .filter_map(|rule| canary_rule(rule, stable_service, canary_service))
        .collect();
    if rules.is_empty() {
        return Err(format!(
            "ingress `{stable_name}` has no rules using service {stable_service} backend"
        ));
    }
    let mut canary_spec = Map::new();
    canary_spec.insert("rules".to_owned(), serde_json::to_value(rules).unwrap_or_default());
    if let Some(class) = spec.ingress_class_name {
        canary_spec.insert("ingressClassName".to_owned(), Value::from(class));
    }
    if let Some(tls) = spec.tls {
        canary_spec.insert("tls".to_owned(), serde_json::to_value(tls).unwrap_or_default());
    }
    Ok(json!({
        "metadata": { "annotations": annotations(nginx, stable, weights), "ownerReferences": [edits::owner(rollout)] },
        "spec": canary_spec,
    }))
}

/// A rule with the stable Service replaced by the canary Service; `None` when it does not use the stable Service.
/// Other paths of an included rule keep their backends. A rule without paths and a resource backend are left alone.
fn canary_rule(mut rule: IngressRule, stable_service: &str, canary_service: &str) -> Option<IngressRule> {
    let paths = &mut rule.http.as_mut()?.paths;
    let mut used = false;
    for path in paths.iter_mut() {
        let Some(service) = path.backend.service.take() else {
            continue;
        };
        let name = if service.name == stable_service {
            used = true;
            canary_service.to_owned()
        } else {
            service.name
        };
        path.backend = IngressBackend {
            service: Some(IngressServiceBackend {
                name,
                port: service.port,
            }),
            ..IngressBackend::default()
        };
    }
    used.then_some(rule)
}

fn annotations(nginx: &NginxTrafficRouting, stable: &Ingress, weights: Weights) -> Map<String, Value> {
    let prefix = prefix(nginx);
    let mut annotations = Map::new();
    if let Some(class) = stable
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(well_known::INGRESS_CLASS))
    {
        annotations.insert(well_known::INGRESS_CLASS.to_owned(), Value::from(class.as_str()));
    }
    for (key, value) in &nginx.additional_ingress_annotations {
        let key = if key.starts_with(prefix) {
            key.clone()
        } else {
            format!("{prefix}/{key}")
        };
        annotations.insert(key, Value::from(value.as_str()));
    }
    for (key, value) in &nginx.canary_ingress_annotations {
        annotations.insert(key.clone(), Value::from(value.as_str()));
    }
    annotations.insert(format!("{prefix}/canary"), Value::from("true"));
    annotations.insert(
        format!("{prefix}/canary-weight"),
        Value::from(weights.canary.to_string()),
    );
    if weights.total != 100 {
        annotations.insert(
            format!("{prefix}/canary-weight-total"),
            Value::from(weights.total.to_string()),
        );
    }
    annotations
}

/// Whether the live Ingress already has every desired field.
fn carries(live: &Ingress, desired: &Value) -> bool {
    let live = serde_json::to_value(live).unwrap_or_default();
    let owned = |pointer: &str| (live.at(pointer), desired.at(pointer));
    let annotations = match owned("/metadata/annotations") {
        (Some(Value::Object(live)), Some(Value::Object(desired))) => {
            desired.iter().all(|(key, value)| live.get(key) == Some(value))
        }
        _ => false,
    };
    let same = |pointer: &str| {
        let (live, desired) = owned(pointer);
        live == desired
    };
    annotations && same("/spec/rules") && same("/spec/ingressClassName") && same("/spec/tls")
}

#[cfg(test)]
mod tests;
