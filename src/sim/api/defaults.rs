//! What the server fills in where the user said nothing, as far as a controller notices.

use super::kinds::Kind;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value, json};

/// Fills in defaults of a built-in kind; done twice it changes nothing more. `serial` numbers addresses.
pub(super) fn fill(kind: Kind, object: &mut Value, serial: &mut u64) {
    match kind {
        Kind::ReplicaSet | Kind::Deployment | Kind::Job => {
            let Some(spec) = map_at(object, "spec") else { return };
            match kind {
                Kind::ReplicaSet => set(spec, &[("replicas", json!(1))]),
                Kind::Job => set(
                    spec,
                    &[
                        ("parallelism", json!(1)),
                        ("completions", json!(1)),
                        ("backoffLimit", json!(6)),
                        ("completionMode", json!("NonIndexed")),
                        ("suspend", json!(false)),
                    ],
                ),
                _ => deployment(spec),
            }
            if let Some(template) = spec.get_mut("template") {
                drop_unknown(template);
                if let Some(pod) = map_at(template, "spec") {
                    pod_spec(pod);
                }
            }
        }
        Kind::Pod => {
            if let Some(spec) = map_at(object, "spec") {
                pod_spec(spec);
            }
        }
        Kind::Service => {
            if let Some(spec) = map_at(object, "spec") {
                service(spec, serial);
            }
        }
        Kind::HorizontalPodAutoscaler => {
            if let Some(spec) = map_at(object, "spec") {
                set(spec, &[("minReplicas", json!(1))]);
            }
        }
        Kind::Secret => {
            if let Some(secret) = object.as_object_mut() {
                set(secret, &[("type", json!("Opaque"))]);
            }
        }
        Kind::Namespace => namespace(object),
        _ => {}
    }
}

/// The status a new object begins with; `None` for none.
pub(super) fn first_status(kind: Kind) -> Option<Value> {
    match kind {
        Kind::Pod => Some(json!({"phase": "Pending", "qosClass": "BestEffort"})),
        Kind::ReplicaSet => Some(json!({"replicas": 0})),
        Kind::Service | Kind::Ingress => Some(json!({"loadBalancer": {}})),
        Kind::Namespace => Some(json!({"phase": "Active"})),
        Kind::Deployment | Kind::Job => Some(json!({})),
        _ => None,
    }
}

fn map_at<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(field)?.as_object_mut()
}

fn set(map: &mut Map<String, Value>, defaults: &[(&str, Value)]) {
    for (field, default) in defaults {
        if map.get(*field).is_none_or(Value::is_null) {
            map.insert((*field).to_owned(), default.clone());
        }
    }
}

fn deployment(spec: &mut Map<String, Value>) {
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    set(
        spec,
        &[
            ("replicas", json!(1)),
            ("revisionHistoryLimit", json!(10)),
            ("progressDeadlineSeconds", json!(600)),
            ("strategy", strategy),
        ],
    );
}

/// Drops what no server knows, as a misspelt field, from a pod template. One that cannot be read stays as it is.
fn drop_unknown(template: &mut Value) {
    let typed: Option<PodTemplateSpec> = serde_json::from_value(template.clone()).ok();
    if let Some(known) = typed.and_then(|typed| serde_json::to_value(typed).ok()) {
        keep(template, &known);
    }
}

fn keep(value: &mut Value, known: &Value) {
    match (value, known) {
        (Value::Object(members), Value::Object(known)) => members.retain(|field, member| match known.get(field) {
            Some(known) => {
                keep(member, known);
                true
            }
            None => false,
        }),
        (Value::Array(items), Value::Array(known)) => {
            for (item, known) in items.iter_mut().zip(known) {
                keep(item, known);
            }
        }
        _ => {}
    }
}

fn pod_spec(spec: &mut Map<String, Value>) {
    if spec.get("nodeSelector").is_some_and(|selector| *selector == json!({})) {
        spec.remove("nodeSelector");
    }
    let text = |field: &str| spec.get(field).filter(|name| !name.is_null() && *name != "").cloned();
    if let Some(name) = text("serviceAccountName").or_else(|| text("serviceAccount")) {
        spec.insert("serviceAccountName".to_owned(), name.clone());
        spec.insert("serviceAccount".to_owned(), name);
    }
    volumes(spec);
    set(
        spec,
        &[
            ("restartPolicy", json!("Always")),
            ("dnsPolicy", json!("ClusterFirst")),
            ("schedulerName", json!("default-scheduler")),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", json!(30)),
        ],
    );
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            let is_moving = image.ends_with(":latest") || !image.rsplit('/').next().unwrap_or_default().contains(':');
            let pull = if is_moving { "Always" } else { "IfNotPresent" };
            set(
                container,
                &[
                    ("imagePullPolicy", json!(pull)),
                    ("resources", json!({})),
                    ("terminationMessagePath", json!("/dev/termination-log")),
                    ("terminationMessagePolicy", json!("File")),
                ],
            );
            let ports = container.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                set(port, &[("protocol", json!("TCP"))]);
            }
            requests(container);
            references(container, "env", "/valueFrom");
        }
    }
}

/// Probes and hooks.
fn requests(container: &mut Map<String, Value>) {
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            set(
                probe,
                &[
                    ("timeoutSeconds", json!(1)),
                    ("periodSeconds", json!(10)),
                    ("successThreshold", json!(1)),
                    ("failureThreshold", json!(3)),
                ],
            );
        }
    }
    let mut around: Vec<&mut Value> = Vec::new();
    for (field, value) in container.iter_mut() {
        match field.as_str() {
            "livenessProbe" | "readinessProbe" | "startupProbe" => around.push(value),
            "lifecycle" => around.extend(value.as_object_mut().into_iter().flat_map(Map::values_mut)),
            _ => {}
        }
    }
    for request in around {
        if let Some(get) = map_at(request, "httpGet") {
            set(get, &[("path", json!("/")), ("scheme", json!("HTTP"))]);
        }
    }
}

/// References to fields and resources in the entries of a list.
fn references(map: &mut Map<String, Value>, list: &str, from: &str) {
    let entries = map.get_mut(list).and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        for (kind, field, default) in [("fieldRef", "apiVersion", "v1"), ("resourceFieldRef", "divisor", "0")] {
            let reference = entry.pointer_mut(&format!("{from}/{kind}"));
            if let Some(reference) = reference.and_then(Value::as_object_mut) {
                set(reference, &[(field, json!(default))]);
            }
        }
    }
}

fn volumes(spec: &mut Map<String, Value>) {
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten().filter_map(Value::as_object_mut) {
        if volume.iter().all(|(field, source)| field == "name" || source.is_null()) {
            volume.insert("emptyDir".to_owned(), json!({}));
        }
        for source in ["configMap", "downwardAPI", "projected", "secret"] {
            if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
                set(source, &[("defaultMode", json!(420))]);
                references(source, "items", "");
            }
        }
    }
}

fn service(spec: &mut Map<String, Value>, serial: &mut u64) {
    set(
        spec,
        &[("type", json!("ClusterIP")), ("sessionAffinity", json!("None"))],
    );
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        let number = port.get("port").cloned().unwrap_or_default();
        set(port, &[("protocol", json!("TCP")), ("targetPort", number)]);
    }
    if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return;
    }
    if spec.get("clusterIP").and_then(Value::as_str).is_none_or(str::is_empty) {
        *serial += 1;
        let (high, low) = (*serial / 256 % 256, *serial % 256);
        spec.insert("clusterIP".to_owned(), json!(format!("10.96.{high}.{low}")));
    }
    let address = spec.get("clusterIP").cloned().unwrap_or_default();
    set(
        spec,
        &[
            ("clusterIPs", json!([address])),
            ("internalTrafficPolicy", json!("Cluster")),
            ("ipFamilies", json!(["IPv4"])),
            ("ipFamilyPolicy", json!("SingleStack")),
        ],
    );
}

fn namespace(object: &mut Value) {
    let name = super::state::meta(object, "name").to_owned();
    if let Some(metadata) = super::commit::metadata_of(object)
        && let Some(labels) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
    if super::commit::is_deleting(object) {
        return;
    }
    if let Some(object) = object.as_object_mut()
        && let Some(spec) = object.entry("spec").or_insert_with(|| json!({})).as_object_mut()
    {
        set(spec, &[("finalizers", json!(["kubernetes"]))]);
    }
}
