//! The templates of an Experiment: their ReplicaSets and Services, from the first pod to the last.

use super::{View, Work, later, names, validate::PROGRESS_DEADLINE_SECONDS_DEFAULT};
use crate::{
    analysis::phase,
    api::{
        experiment::{ExperimentStatus, TemplateSpec, TemplateStatus},
        replica_set::ReplicaSet,
        scalar::wire_time,
        well_known,
    },
    json::At as _,
    lang::hash,
    plan::{Action, ObjectRef, Precondition, Propagation},
};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Map, Value, json};

/// Field manager of sizes and deadlines.
const SCALE_MANAGER: &str = "tidegate-scale";
/// Seconds before the ReplicaSets are scaled down, when `scaleDownDelaySeconds` is absent.
const SCALE_DOWN_DELAY_SECONDS_DEFAULT: i32 = 30;

/// One pass over the templates of an Experiment that has not ended.
pub(super) fn advance(view: &View<'_>, status: &mut ExperimentStatus, work: &mut Work) {
    let ends = view.spec.terminate || view.is_over(status);
    let before = std::mem::take(&mut status.template_statuses);
    for template in &view.spec.templates {
        let known = before.iter().find(|known| known.name == template.name).cloned();
        let known = known.unwrap_or_else(|| TemplateStatus {
            name: template.name.clone(),
            status: "Progressing".to_owned(),
            last_transition_time: Some(wire_time(view.now())),
            ..TemplateStatus::default()
        });
        status.template_statuses.push(look(view, template, known, ends, work));
    }
}

/// One template: what is missing is made, and what is there is judged.
fn look(
    view: &View<'_>,
    template: &TemplateSpec,
    mut status: TemplateStatus,
    ends: bool,
    work: &mut Work,
) -> TemplateStatus {
    let set = set_of(view, &status);
    count(&mut status, set);
    if phase::completed(&status.status) {
        return status;
    }
    if ends {
        set_status(view, &mut status, "Successful", String::new());
        return status;
    }
    if let Err(problem) = service(view, template, &mut status, work) {
        set_status(view, &mut status, "Error", problem);
        return status;
    }
    let wanted = template.replicas.unwrap_or(1);
    let is_available = set.is_some_and(|set| set.replicas() == wanted && set.available() == wanted);
    match set {
        Some(set) => work.additions.extend(size(view, set, wanted)),
        None => create(view, template, wanted, &mut status, work),
    }
    if is_available {
        set_status(view, &mut status, "Running", String::new());
        return status;
    }
    set_status(view, &mut status, "Progressing", String::new());
    let deadline = view
        .spec
        .progress_deadline_seconds
        .unwrap_or(PROGRESS_DEADLINE_SECONDS_DEFAULT);
    let since = status.last_transition_time.as_ref().map_or(view.now(), |time| time.0);
    let overdue = later(since, deadline);
    if overdue > view.now() {
        work.wakes.push(overdue);
        let text = format!(
            "template '{}' has {} of {wanted} pods available",
            template.name, status.available_replicas
        );
        work.because.push(("WaitingForCapacity", text));
        return status;
    }
    let message = format!(
        "Template '{}' exceeded its progressDeadlineSeconds ({deadline})",
        template.name
    );
    set_status(view, &mut status, "Failed", message);
    status
}

/// The ReplicaSet of a template, unless it is going.
fn set_of<'a>(view: &View<'a>, status: &TemplateStatus) -> Option<&'a ReplicaSet> {
    let name = names::replica_set(view.name(), &status.name, status.collision_count);
    let mut own = view
        .snapshot
        .replica_sets
        .iter()
        .copied()
        .filter(|set| view.controls(*set));
    own.find(|set| {
        let of = set.annotation(well_known::EXPERIMENT_TEMPLATE_NAME);
        let is_it = of.map_or(set.name() == name, |of| of == status.name);
        is_it && set.metadata.deletion_timestamp.is_none()
    })
}

fn count(status: &mut TemplateStatus, set: Option<&ReplicaSet>) {
    status.replicas = set.map_or(0, |set| set.status.replicas);
    status.updated_replicas = status.replicas;
    status.ready_replicas = set.map_or(0, |set| set.status.ready_replicas);
    status.available_replicas = set.map_or(0, |set| set.status.available_replicas);
    if let Some(set) = set {
        set.pod_hash().clone_into(&mut status.pod_template_hash);
    }
}

fn set_status(view: &View<'_>, status: &mut TemplateStatus, word: &str, message: String) {
    if status.status != word {
        word.clone_into(&mut status.status);
        status.last_transition_time = Some(wire_time(view.now()));
    }
    status.message = message;
}

/// The ReplicaSet to make, unless somebody holds its name.
fn create(view: &View<'_>, template: &TemplateSpec, replicas: i32, status: &mut TemplateStatus, work: &mut Work) {
    let name = names::replica_set(view.name(), &template.name, status.collision_count);
    let holder = view.snapshot.replica_sets.iter().find(|set| set.name() == name);
    match holder {
        None => {
            let hash = pod_hash(view, template, status.collision_count);
            work.additions.push(Action::Create {
                object: replica_set(view, template, (&name, &hash), replicas),
            });
            status.pod_template_hash = hash;
        }
        // One that is going frees the name by itself.
        Some(holder) if holder.metadata.deletion_timestamp.is_some() => {}
        Some(_) => {
            status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
            work.because.push((
                "NameCollision",
                format!("ReplicaSet \"{name}\" belongs to somebody else"),
            ));
            work.wakes.push(view.now());
        }
    }
}

/// Of two templates with the same pods, and of one cloned from a Rollout, each needs a hash of its own: Services select
/// by it.
fn pod_hash(view: &View<'_>, template: &TemplateSpec, collisions: Option<i32>) -> String {
    let pods = template.template.clone().unwrap_or_default();
    let text = format!("{}/{}/{}/{pods}", view.name(), template.name, collisions.unwrap_or(0));
    hash::short(text.as_bytes())
}

fn replica_set(view: &View<'_>, template: &TemplateSpec, (name, hash): (&str, &str), replicas: i32) -> Value {
    let mut pods = template.template.clone().unwrap_or_default();
    let mut labels = pods
        .at("/metadata/labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    labels.insert(well_known::POD_TEMPLATE_HASH.to_owned(), Value::from(hash));
    if let Some(whole) = pods.as_object_mut() {
        let metadata = whole.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("labels".to_owned(), Value::Object(labels.clone()));
        }
    }
    if let Some(id) = view.instance_id() {
        labels.insert(well_known::INSTANCE_ID.to_owned(), Value::from(id));
    }
    let mut selector = serde_json::to_value(template.selector.clone().unwrap_or_default()).unwrap_or_default();
    if let Some(selector) = selector.as_object_mut() {
        let labels = selector.entry("matchLabels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(well_known::POD_TEMPLATE_HASH.to_owned(), Value::from(hash));
        }
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": view.namespace(),
            "labels": labels,
            "annotations": annotations(view, &template.name, Some(replicas)),
            "ownerReferences": [view.owner_reference()],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": template.min_ready_seconds,
            "selector": selector,
            "template": pods,
        },
    })
}

fn annotations(view: &View<'_>, template: &str, replicas: Option<i32>) -> Value {
    let mut annotations = Map::new();
    annotations.insert(well_known::EXPERIMENT_NAME.to_owned(), Value::from(view.name()));
    annotations.insert(well_known::EXPERIMENT_TEMPLATE_NAME.to_owned(), Value::from(template));
    if let Some(replicas) = replicas {
        annotations.insert(
            well_known::DESIRED_REPLICAS.to_owned(),
            Value::from(replicas.to_string()),
        );
    }
    Value::Object(annotations)
}

/// The write for a ReplicaSet in use whose size differs, or that still carries a deadline of an earlier attempt.
fn size(view: &View<'_>, set: &ReplicaSet, replicas: i32) -> Option<Action> {
    if set.replicas() == replicas && set.annotation(well_known::SCALE_DOWN_DEADLINE).is_none() {
        return None;
    }
    let annotations = json!({
        well_known::DESIRED_REPLICAS: replicas.to_string(),
        well_known::SCALE_DOWN_DEADLINE: null,
    });
    Some(merge(
        view,
        set,
        json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": replicas } }),
    ))
}

/// Always on the version it was decided on (guarantee C3).
fn merge(view: &View<'_>, set: &ReplicaSet, patch: Value) -> Action {
    Action::Merge {
        target: ObjectRef::namespaced("apps/v1", "ReplicaSet", view.namespace(), set.name()),
        patch,
        manager: SCALE_MANAGER,
        precondition: Some(Precondition {
            uid: set.metadata.uid.clone(),
            resource_version: set.metadata.resource_version.clone(),
        }),
    }
}

/// The Service in front of a template, if one is wanted.
fn service(
    view: &View<'_>,
    template: &TemplateSpec,
    status: &mut TemplateStatus,
    work: &mut Work,
) -> Result<(), String> {
    let Some(name) = names::service(view.name(), template) else {
        return Ok(());
    };
    // Its selector needs the hash, so it is that of the ReplicaSet, or of the one about to be made.
    let hash = match set_of(view, status) {
        Some(set) => set.pod_hash().to_owned(),
        None => pod_hash(view, template, status.collision_count),
    };
    match standing(view, &name) {
        Some(known) if !view.controls(known) => {
            return Err(format!(
                "Failed to create Service {name} for template '{}': a Service of this name belongs to somebody else",
                template.name
            ));
        }
        // A Service that leads elsewhere, as after its ReplicaSet got another name, is led back.
        Some(known) if selected(known) != Some(hash.as_str()) => work.additions.push(Action::Merge {
            target: service_ref(view, &name),
            patch: json!({ "spec": { "selector": { well_known::POD_TEMPLATE_HASH: hash } } }),
            manager: "tidegate-service",
            precondition: Some(Precondition {
                uid: known.metadata.uid.clone(),
                resource_version: known.metadata.resource_version.clone(),
            }),
        }),
        Some(_) => {}
        None => work.additions.push(Action::Create {
            object: new_service(view, template, &name, &hash),
        }),
    }
    status.service_name = name;
    Ok(())
}

fn selected(service: &Service) -> Option<&str> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    selector.get(well_known::POD_TEMPLATE_HASH).map(String::as_str)
}

fn standing<'a>(view: &View<'a>, name: &str) -> Option<&'a Service> {
    let mut services = view.snapshot.services.iter().copied();
    services.find(|service| service.metadata.name.as_deref() == Some(name))
}

fn service_ref(view: &View<'_>, name: &str) -> ObjectRef {
    ObjectRef::namespaced("v1", "Service", view.namespace(), name)
}

fn new_service(view: &View<'_>, template: &TemplateSpec, name: &str, hash: &str) -> Value {
    let selector = template.selector.clone().unwrap_or_default();
    let mut labels: Map<String, Value> = (selector.match_labels.unwrap_or_default().into_iter())
        .map(|(key, value)| (key, Value::from(value)))
        .collect();
    labels.insert(well_known::POD_TEMPLATE_HASH.to_owned(), Value::from(hash));
    let ports = ports(template);
    let mut spec = json!({ "selector": labels });
    if let Some(spec) = spec.as_object_mut() {
        // Only a Service without an address of its own may do without ports.
        match ports.is_empty() {
            true => spec.insert("clusterIP".to_owned(), Value::from("None")),
            false => spec.insert("ports".to_owned(), Value::from(ports)),
        };
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": view.namespace(),
            "annotations": annotations(view, &template.name, None),
            "ownerReferences": [view.owner_reference()],
        },
        "spec": spec,
    })
}

/// A port for each of the containers', each number and protocol once.
fn ports(template: &TemplateSpec) -> Vec<Value> {
    let pods = template.template.clone().unwrap_or_default();
    let containers = pods
        .at("/spec/containers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut ports: Vec<Value> = Vec::new();
    for port in containers
        .iter()
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten()
    {
        let Some(number) = port.get("containerPort").and_then(Value::as_i64) else {
            continue;
        };
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        let known = |other: &Value| {
            let is = |field: &str, value: Value| other.get(field) == Some(&value);
            is("port", Value::from(number)) && is("protocol", Value::from(protocol))
        };
        if !ports.iter().any(known) {
            let name = format!("{}-{number}", protocol.to_lowercase());
            ports.push(json!({ "name": name, "port": number, "targetPort": number, "protocol": protocol }));
        }
    }
    ports
}

/// Once the Experiment has ended, no template goes on.
pub(super) fn finish(view: &View<'_>, status: &mut ExperimentStatus) {
    for template in &mut status.template_statuses {
        count(template, set_of(view, template));
        if !phase::completed(&template.status) {
            set_status(view, template, "Successful", String::new());
        }
    }
}

/// What is out of use goes: pods once their delay is over, Services once no pod is available behind them.
pub(super) fn wind_down(view: &View<'_>, status: &ExperimentStatus, work: &mut Work) {
    let ended = phase::completed(&status.phase);
    let in_use = |template: &str| {
        let mut statuses = status.template_statuses.iter();
        !ended && statuses.any(|known| known.name == template && !phase::completed(&known.status))
    };
    let delay = view
        .spec
        .scale_down_delay_seconds
        .unwrap_or(SCALE_DOWN_DELAY_SECONDS_DEFAULT);
    let mut serving: Vec<&str> = Vec::new();
    for set in view
        .snapshot
        .replica_sets
        .iter()
        .copied()
        .filter(|set| view.controls(*set))
    {
        let template = template_of(view, set);
        if in_use(template) {
            continue;
        }
        if set.replicas() > 0 || set.status.available_replicas > 0 {
            serving.push(template);
        }
        if set.replicas() > 0 && set.metadata.deletion_timestamp.is_none() {
            retire(view, set, delay, work);
        }
    }
    for service in view
        .snapshot
        .services
        .iter()
        .copied()
        .filter(|service| view.controls(*service))
    {
        let annotations = service.metadata.annotations.as_ref();
        let of = annotations
            .and_then(|all| all.get(well_known::EXPERIMENT_TEMPLATE_NAME))
            .map_or("", String::as_str);
        let of = if of.is_empty() {
            template_with_service(view, service)
        } else {
            of
        };
        if in_use(of) || serving.contains(&of) || service.metadata.deletion_timestamp.is_some() {
            continue;
        }
        work.removals.push(Action::Delete {
            target: service_ref(view, service.metadata.name.as_deref().unwrap_or_default()),
            precondition: Precondition {
                uid: service.metadata.uid.clone(),
                resource_version: service.metadata.resource_version.clone(),
            },
            propagation: Propagation::Background,
        });
    }
}

/// The template a ReplicaSet was made for.
fn template_of<'a>(view: &View<'a>, set: &'a ReplicaSet) -> &'a str {
    if let Some(name) = set.annotation(well_known::EXPERIMENT_TEMPLATE_NAME) {
        return name;
    }
    let prefix = format!("{}-", view.name());
    set.name().strip_prefix(&prefix).unwrap_or_default()
}

fn template_with_service<'a>(view: &View<'a>, service: &Service) -> &'a str {
    let mut templates = view.spec.templates.iter();
    let template = templates.find(|template| names::service(view.name(), template) == service.metadata.name);
    template.map_or("", |template| template.name.as_str())
}

/// One step on the way out: a deadline, then zero pods.
fn retire(view: &View<'_>, set: &ReplicaSet, delay: i32, work: &mut Work) {
    let deadline = set.scale_down_deadline();
    let at = deadline.unwrap_or_else(|| later(view.now(), delay));
    if at <= view.now() {
        let annotations = json!({ well_known::DESIRED_REPLICAS: "0" });
        let patch = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": 0 } });
        work.removals.push(merge(view, set, patch));
        return;
    }
    if deadline.is_none() {
        let annotations = json!({ well_known::SCALE_DOWN_DEADLINE: wire_time(at).0.to_string() });
        work.removals
            .push(merge(view, set, json!({ "metadata": { "annotations": annotations } })));
    }
    work.wakes.push(at);
    let text = format!("ReplicaSet \"{}\" is scaled down at {}", set.name(), wire_time(at).0);
    work.because.push(("ScaleDownDelay", text));
}

/// The template whose ReplicaSet or Service the API server refused is in error.
pub(super) fn refused(view: &View<'_>, target: &ObjectRef, refusal: &str, status: &mut ExperimentStatus) {
    for template in &view.spec.templates {
        let mut known = status
            .template_statuses
            .iter()
            .find(|known| known.name == template.name)
            .cloned();
        let mut found = known.take().unwrap_or_else(|| TemplateStatus {
            name: template.name.clone(),
            ..TemplateStatus::default()
        });
        let set = names::replica_set(view.name(), &template.name, found.collision_count);
        let message = match target.kind.as_str() {
            "ReplicaSet" if target.name == set => {
                format!(
                    "Failed to create ReplicaSet for template '{}': {refusal}",
                    template.name
                )
            }
            "Service" if names::service(view.name(), template).as_ref() == Some(&target.name) => {
                format!(
                    "Failed to create Service {} for template '{}': {refusal}",
                    target.name, template.name
                )
            }
            _ => continue,
        };
        set_status(view, &mut found, "Error", message);
        status.template_statuses.retain(|known| known.name != template.name);
        status.template_statuses.push(found);
    }
}
