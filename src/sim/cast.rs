//! Who takes part in a simulation: the objects of the user's files, and those that they name and do not hold.

use super::models::{data_plane::Entry, pairs, text};
use crate::api::{API_VERSION, well_known};
use crate::json::At as _;
use crate::traffic::{
    foreign::ForeignKind,
    gateway_api::config::{GatewayApi, PLUGIN},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Namespace of objects that name none.
const NAMESPACE: &str = "default";
/// Kinds without a namespace.
const CLUSTER_SCOPED: [&str; 2] = ["ClusterAnalysisTemplate", "Namespace"];
/// Kinds that take part; others in the files do not touch a rollout.
const TAKES_PART: [&str; 10] = [
    "Rollout",
    "AnalysisTemplate",
    "ClusterAnalysisTemplate",
    "Service",
    "Ingress",
    "HTTPRoute",
    "HorizontalPodAutoscaler",
    "ConfigMap",
    "Secret",
    "ReplicaSet",
];

/// The objects of a simulation.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// The Rollout, without a status.
    pub rollout: Value,
    /// Everything else, in the order to create them.
    pub others: Vec<Value>,
    /// What was made up, in words.
    pub supplied: Vec<String>,
    /// What in the files was left out, in words.
    pub left_out: Vec<String>,
    /// Where requests come in.
    pub entry: Option<Entry>,
}

/// Why a simulation cannot begin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CastError {
    /// No Rollout.
    #[error("the files hold no Rollout")]
    NoRollout,
    /// No Rollout of this name.
    #[error("the files hold no Rollout `{wanted}`; they hold {}", .found.join(", "))]
    NotFound {
        /// The name.
        wanted: String,
        /// The names there are.
        found: Vec<String>,
    },
    /// More than one, and no name.
    #[error("the files hold {} Rollouts ({}); say which one", .0.len(), .0.join(", "))]
    Several(Vec<String>),
}

impl Cast {
    /// Picks the Rollout, cleans the objects of what a cluster wrote into them, and makes up what is missing.
    pub fn of(objects: Vec<Value>, wanted: &str) -> Result<Self, CastError> {
        let (rollouts, others): (Vec<Value>, Vec<Value>) = objects
            .into_iter()
            .map(cleaned)
            .partition(|object| kind(object) == "Rollout");
        let names: Vec<String> = rollouts.iter().map(|rollout| name(rollout).to_owned()).collect();
        let mut found = rollouts
            .into_iter()
            .filter(|rollout| wanted.is_empty() || name(rollout) == wanted);
        let rollout = match (found.next(), found.next()) {
            (Some(rollout), None) => rollout,
            (Some(_), Some(_)) => return Err(CastError::Several(names)),
            (None, _) if names.is_empty() => return Err(CastError::NoRollout),
            (None, _) => {
                return Err(CastError::NotFound {
                    wanted: wanted.to_owned(),
                    found: names,
                });
            }
        };
        let mut cast = Self {
            rollout,
            ..Self::default()
        };
        for object in others {
            if TAKES_PART.contains(&kind(&object)) || is_referred(&cast.rollout, &object) {
                cast.others.push(object);
            } else {
                cast.left_out.push(format!("{} {}", kind(&object), name(&object)));
            }
        }
        cast.supply();
        Ok(cast)
    }

    fn namespace(&self) -> &str {
        text(&self.rollout, "/metadata/namespace")
    }

    /// The pod template: the Rollout's own, or that of what it refers to.
    pub fn pod_template(&self) -> Option<&Value> {
        let own = self.rollout.at("/spec/template").filter(|own| !own.is_null());
        own.or_else(|| {
            let referred = self.referred()?;
            referred.at("/spec/template").or_else(|| referred.at("/template"))
        })
    }

    fn referred(&self) -> Option<&Value> {
        self.others.iter().find(|object| is_referred(&self.rollout, object))
    }

    fn has(&self, wanted: &str, named: &str) -> bool {
        self.others
            .iter()
            .any(|object| kind(object) == wanted && name(object) == named)
    }

    fn add(&mut self, object: Value) {
        self.supplied.push(format!("{} {}", kind(&object), name(&object)));
        self.others.push(object);
    }

    fn supply(&mut self) {
        let canary = |field: &str| text(&self.rollout, &format!("/spec/strategy/canary/{field}")).to_owned();
        let blue_green = |field: &str| text(&self.rollout, &format!("/spec/strategy/blueGreen/{field}")).to_owned();
        let (stable, active) = (canary("stableService"), blue_green("activeService"));
        for service in [
            stable.clone(),
            canary("canaryService"),
            active.clone(),
            blue_green("previewService"),
        ] {
            self.supply_service(&service);
        }
        let ingresses = self.stable_ingresses();
        for ingress in &ingresses {
            if !self.has("Ingress", ingress) {
                let object = self.ingress(ingress, &stable);
                self.add(object);
            }
        }
        let routes = self.http_routes();
        for (namespace, route) in &routes {
            if !self.has("HTTPRoute", route) {
                let object = self.http_route(namespace, route, &stable);
                self.add(object);
            }
        }
        self.supply_templates();
        self.supply_secrets();
        self.entry = Some(match (ingresses.first(), routes.into_iter().next(), active.as_str()) {
            (Some(ingress), ..) => Entry::Ingress {
                namespace: self.namespace().to_owned(),
                name: ingress.clone(),
            },
            (None, Some((namespace, name)), _) => Entry::HttpRoute { namespace, name },
            (None, None, "") => self.main_service(),
            (None, None, active) => self.through(active),
        });
    }

    /// Namespace and name of the HTTPRoutes that carry the weights.
    fn http_routes(&self) -> Vec<(String, String)> {
        let plugins = self.rollout.at("/spec/strategy/canary/trafficRouting/plugins");
        let config = plugins.and_then(|plugins| plugins.get(PLUGIN));
        let Some(gateway) = config.and_then(|config| GatewayApi::parse(config).ok()) else {
            return Vec::new();
        };
        let references = gateway.references(self.namespace()).into_iter();
        let routes = references.filter(|(kind, ..)| *kind == ForeignKind::HttpRoute);
        routes.map(|(_, namespace, name)| (namespace, name)).collect()
    }

    fn http_route(&self, namespace: &str, name: &str, stable: &str) -> Value {
        let canary = text(&self.rollout, "/spec/strategy/canary/canaryService");
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"hostnames": [format!("{name}.example.com")], "rules": [{"backendRefs": [
                {"name": stable, "port": 80, "weight": 100}, {"name": canary, "port": 80, "weight": 0}]}]}})
    }

    fn stable_ingresses(&self) -> Vec<String> {
        let nginx = self.rollout.at("/spec/strategy/canary/trafficRouting/nginx");
        let one = nginx
            .map(|nginx| text(nginx, "/stableIngress"))
            .filter(|name| !name.is_empty());
        let many = nginx
            .and_then(|nginx| nginx.get("stableIngresses"))
            .and_then(Value::as_array);
        match one {
            Some(one) => vec![one.to_owned()],
            None => many
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }

    fn through(&self, service: &str) -> Entry {
        Entry::Service {
            namespace: self.namespace().to_owned(),
            name: service.to_owned(),
        }
    }

    /// The Service over all pods of the Rollout, whatever their version.
    fn main_service(&mut self) -> Entry {
        let template = self.pod_template().cloned().unwrap_or_default();
        let labels = pairs(&template, "/metadata/labels");
        let covers = |service: &&Value| {
            let selector = pairs(service, "/spec/selector");
            !selector.is_empty() && selector.iter().all(|pair| labels.contains(pair))
        };
        let named: Vec<&str> = ["stableService", "canaryService"]
            .map(|field| text(&self.rollout, &format!("/spec/strategy/canary/{field}")))
            .to_vec();
        let found = self
            .others
            .iter()
            .filter(|object| kind(object) == "Service" && !named.contains(&name(object)))
            .find(covers);
        if let Some(service) = found.map(|service| name(service).to_owned()) {
            return self.through(&service);
        }
        let service = name(&self.rollout).to_owned();
        let service = if self.has("Service", &service) {
            format!("{service}-all")
        } else {
            service
        };
        self.supply_service(&service);
        self.through(&service)
    }

    fn port(&self) -> i64 {
        let port = self
            .pod_template()
            .and_then(|template| template.at("/spec/containers/0/ports/0/containerPort"));
        port.and_then(Value::as_i64).unwrap_or(80)
    }

    fn supply_service(&mut self, service: &str) {
        if service.is_empty() || self.has("Service", service) {
            return;
        }
        let of = |object: &Value| object.at("/spec/selector/matchLabels").cloned();
        let selector = of(&self.rollout)
            .or_else(|| of(self.referred()?))
            .unwrap_or_else(|| json!({}));
        let port = self.port();
        self.add(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": self.namespace()},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": port}]}}),
        );
    }

    fn ingress(&self, ingress: &str, service: &str) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": ingress, "namespace": self.namespace()},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": format!("{ingress}.example.com"),
                "http": {"paths": [{"path": "/", "pathType": "Prefix",
                    "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}})
    }

    /// Templates that the Rollout, or other templates, name; followed to their end.
    fn supply_templates(&mut self) {
        let mut seen = BTreeSet::new();
        let mut open = references(&self.rollout);
        while let Some((cluster, template)) = open.pop() {
            if template.is_empty() || !seen.insert((cluster, template.clone())) {
                continue;
            }
            let kind_wanted = if cluster {
                "ClusterAnalysisTemplate"
            } else {
                "AnalysisTemplate"
            };
            match self
                .others
                .iter()
                .find(|object| kind(object) == kind_wanted && name(object) == template)
            {
                Some(found) => open.extend(references(found)),
                None => {
                    let object = self.template(kind_wanted, &template);
                    self.add(object);
                }
            }
        }
    }

    /// A success rate of the version under test.
    fn template(&self, kind: &str, name: &str) -> Value {
        let mut arguments = BTreeSet::new();
        argument_names(
            self.rollout.at("/spec/strategy").unwrap_or(&Value::Null),
            &mut arguments,
        );
        let args: Vec<Value> = arguments
            .into_iter()
            .map(|name| json!({"name": name, "value": ""}))
            .collect();
        let of = |codes: &str| format!("sum(rate(http_requests_total{{version=\"canary\"{codes}}}[1m]))");
        let query = format!("{} / {}", of(",code!~\"5..\""), of(""));
        let mut metadata = json!({ "name": name });
        if let (false, Some(fields)) = (CLUSTER_SCOPED.contains(&kind), metadata.as_object_mut()) {
            fields.insert("namespace".to_owned(), self.namespace().into());
        }
        json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": {"args": args, "metrics": [{
            "name": "success-rate", "interval": "20s", "count": 3, "successCondition": "result[0] >= 0.95",
            "provider": {"prometheus": {"address": "http://prometheus.example.com", "query": query}}}]}})
    }

    /// Secrets that arguments of templates are taken from.
    fn supply_secrets(&mut self) {
        let mut wanted = BTreeSet::new();
        for template in &self.others {
            secret_references(template.at("/spec/args").unwrap_or(&Value::Null), &mut wanted);
        }
        for (secret, key) in wanted {
            if self.has("Secret", &secret) {
                continue;
            }
            self.add(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": self.namespace()},
                "data": {key: "c2ltdWxhdGVk"}}));
        }
    }
}

/// Whether the Rollout takes its pod template from this object.
fn is_referred(rollout: &Value, object: &Value) -> bool {
    rollout.at("/spec/workloadRef").is_some_and(|named| {
        kind(object) == text(named, "/kind")
            && name(object) == text(named, "/name")
            && text(object, "/metadata/namespace") == text(rollout, "/metadata/namespace")
    })
}

fn kind(object: &Value) -> &str {
    text(object, "/kind")
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The object as a user would write it.
fn cleaned(mut object: Value) -> Value {
    let cluster_scoped = CLUSTER_SCOPED.contains(&kind(&object));
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if kind(&object) == "Service"
        && let Some(selector) = object.pointer_mut("/spec/selector").and_then(Value::as_object_mut)
    {
        selector.remove(well_known::POD_TEMPLATE_HASH);
    }
    let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) else {
        return object;
    };
    for written in [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "ownerReferences",
        "selfLink",
    ] {
        metadata.remove(written);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        for written in [
            well_known::REVISION,
            well_known::LAST_APPLIED,
            well_known::MANAGED_BY_ROLLOUT,
        ] {
            annotations.remove(written);
        }
    }
    if !cluster_scoped && metadata.get("namespace").is_none_or(Value::is_null) {
        metadata.insert("namespace".to_owned(), NAMESPACE.into());
    }
    object
}

/// Templates named anywhere in an object: whether of the cluster, and the name.
fn references(value: &Value) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            if let Some(template) = fields.get("templateName").and_then(Value::as_str) {
                let cluster = fields.get("clusterScope") == Some(&Value::Bool(true));
                found.push((cluster, template.to_owned()));
            }
            found.extend(fields.values().flat_map(references));
        }
        Value::Array(items) => found.extend(items.iter().flat_map(references)),
        _ => {}
    }
    found
}

fn argument_names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(args)) = fields.get("args") {
                found.extend(args.iter().map(|arg| text(arg, "/name").to_owned()));
            }
            fields.values().for_each(|field| argument_names(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| argument_names(item, found)),
        _ => {}
    }
}

fn secret_references(value: &Value, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("secretKeyRef") {
                found.insert((text(reference, "/name").to_owned(), text(reference, "/key").to_owned()));
            }
            fields.values().for_each(|field| secret_references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| secret_references(item, found)),
        _ => {}
    }
}

/// The image a next version would have: `shop:v2` after `shop:v1`, `shop:1.4.3` after `shop:1.4.2`.
pub fn next_image(image: &str) -> String {
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, ""),
    };
    let digits = tag.chars().rev().take_while(char::is_ascii_digit).count();
    let (before, number) = tag.split_at(tag.len() - digits);
    match number.parse::<u64>() {
        Ok(number) => format!("{repository}:{before}{}", number + 1),
        Err(_) if tag.is_empty() => format!("{repository}:next"),
        Err(_) => format!("{repository}:{tag}-next"),
    }
}

#[cfg(test)]
mod tests;
