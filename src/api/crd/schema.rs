//! The structural schema of each kind: what the Rust types say, made acceptable to an API server, plus the tables of
//! what the types cannot say.
//!
//! The types decode leniently (an absent field is its zero value), so that one odd object cannot stop a watch; the
//! schema is where the API server refuses.

use crate::api::{
    analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
    app_project::AppProject,
    application::Application,
    application_set::ApplicationSet,
    experiment::Experiment,
    rollout::Rollout,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::LazyLock};

/// Which kinds a row is for.
type Kinds = &'static [&'static str];

const EVERY: Kinds = &[
    "AnalysisRun",
    "AnalysisTemplate",
    "Application",
    "ApplicationSet",
    "AppProject",
    "ClusterAnalysisTemplate",
    "Experiment",
    "Rollout",
];
const ROLLOUT: Kinds = &["Rollout"];
const RUN: Kinds = &["AnalysisRun"];
const EXPERIMENT: Kinds = &["Experiment"];
const APPLICATION: Kinds = &["Application"];
const APPLICATION_SET: Kinds = &["ApplicationSet"];
const APPLICATIONS: Kinds = &["Application", "ApplicationSet"];
const PROJECT: Kinds = &["AppProject"];
/// Kinds that hold metrics.
const METRICS: Kinds = &["AnalysisRun", "AnalysisTemplate", "ClusterAnalysisTemplate"];
/// Kinds that hold arguments, dry runs and retention of an analysis.
const ANALYSES: Kinds = &[
    "AnalysisRun",
    "AnalysisTemplate",
    "ClusterAnalysisTemplate",
    "Experiment",
    "Rollout",
];

/// Required fields: kinds, the end of a path below `spec` or `operation` (empty is the object itself), fields.
const REQUIRED: &[(Kinds, &str, &[&str])] = &[
    (EVERY, "", &["spec"]),
    (ROLLOUT, "blueGreen", &["activeService"]),
    (ROLLOUT, "pingPong", &["pingService", "pongService"]),
    (ROLLOUT, "replicaProgressThreshold", &["type", "value"]),
    (ROLLOUT, "preferredDuringSchedulingIgnoredDuringExecution", &["weight"]),
    (ROLLOUT, "alb", &["servicePort"]),
    (ROLLOUT, "alb.stickinessConfig", &["enabled", "durationSeconds"]),
    (ROLLOUT, "ambassador", &["mappings"]),
    (ROLLOUT, "apisix.route", &["name"]),
    (
        ROLLOUT,
        "appMesh.virtualNodeGroup",
        &["canaryVirtualNodeRef", "stableVirtualNodeRef"],
    ),
    (ROLLOUT, "appMesh.virtualNodeGroup.canaryVirtualNodeRef", &["name"]),
    (ROLLOUT, "appMesh.virtualNodeGroup.stableVirtualNodeRef", &["name"]),
    (ROLLOUT, "appMesh.virtualService", &["name"]),
    (
        ROLLOUT,
        "istio.destinationRule",
        &["name", "canarySubsetName", "stableSubsetName"],
    ),
    (ROLLOUT, "istio.virtualService", &["name"]),
    (ROLLOUT, "istio.virtualServices[]", &["name"]),
    (ROLLOUT, "managedRoutes[]", &["name"]),
    (ROLLOUT, "traefik", &["weightedTraefikServiceName"]),
    (ROLLOUT, "steps[].plugin", &["name"]),
    (ROLLOUT, "setMirrorRoute", &["name"]),
    (ROLLOUT, "setHeaderRoute.match[]", &["headerName", "headerValue"]),
    (ROLLOUT, "experiment", &["templates"]),
    (ROLLOUT, "experiment.templates[]", &["name", "specRef"]),
    (ROLLOUT, "experiment.analyses[]", &["name", "templateName"]),
    (ANALYSES, "args[]", &["name"]),
    (ANALYSES, "dryRun[]", &["metricName"]),
    (ANALYSES, "measurementRetention[]", &["metricName", "limit"]),
    (METRICS, "fieldRef", &["fieldPath"]),
    (ROLLOUT, "fieldRef", &["fieldPath"]),
    (EXPERIMENT, "fieldRef", &["fieldPath"]),
    (RUN, "spec", &["metrics"]),
    (EXPERIMENT, "spec", &["templates"]),
    (APPLICATION, "spec", &["project"]),
    (APPLICATION_SET, "template.spec", &["project"]),
    (APPLICATIONS, "source", &["repoURL"]),
    (APPLICATIONS, "sources[]", &["repoURL"]),
    (APPLICATION, "spec.ignoreDifferences[]", &["kind"]),
    (APPLICATION_SET, "template.spec.ignoreDifferences[]", &["kind"]),
    (APPLICATIONS, "syncSource", &["targetBranch", "path"]),
];

/// Everything else the types do not say: kinds, the end of a path as above, members of the schema there.
fn additions() -> Vec<(Kinds, &'static str, Value)> {
    let immutable = json!([{ "rule": "self == oldSelf", "message": ".spec.selector is immutable" }]);
    let aggregators = json!([
        "avg",
        "min",
        "max",
        "sum",
        "last",
        "percentile",
        "mean",
        "l2norm",
        "area"
    ]);
    vec![
        (
            ROLLOUT,
            "spec.selector",
            json!({ "x-kubernetes-validations": immutable }),
        ),
        (METRICS, "datadog.interval", json!({ "default": "5m" })),
        (
            METRICS,
            "datadog.apiVersion",
            json!({ "default": "v1", "enum": ["v1", "v2"] }),
        ),
        (METRICS, "datadog.requestTimeout", json!({ "default": "10s" })),
        (METRICS, "datadog.aggregator", json!({ "enum": aggregators })),
        (
            APPLICATIONS,
            "syncSource.path",
            json!({ "minLength": 1, "pattern": r"^.{2,}|[^./]$" }),
        ),
        (PROJECT, "spec.description", json!({ "maxLength": 255 })),
        (PROJECT, "syncWindows[].description", json!({ "maxLength": 255 })),
    ]
}

static SCHEMAS: LazyLock<BTreeMap<&'static str, Value>> = LazyLock::new(|| {
    BTreeMap::from([
        ("AnalysisRun", build::<AnalysisRun>("AnalysisRun")),
        ("AnalysisTemplate", build::<AnalysisTemplate>("AnalysisTemplate")),
        ("Application", build::<Application>("Application")),
        ("ApplicationSet", build::<ApplicationSet>("ApplicationSet")),
        ("AppProject", build::<AppProject>("AppProject")),
        (
            "ClusterAnalysisTemplate",
            build::<ClusterAnalysisTemplate>("ClusterAnalysisTemplate"),
        ),
        ("Experiment", build::<Experiment>("Experiment")),
        ("Rollout", build::<Rollout>("Rollout")),
    ])
});

/// The structural schema of a kind of `argoproj.io/v1alpha1`; nothing for other kinds.
pub fn of(kind: &str) -> Option<&'static Value> {
    SCHEMAS.get(kind)
}

fn build<K: JsonSchema>(kind: &str) -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<K>().to_value();
    structural(&mut schema);
    // The API server describes the object's own metadata itself and refuses another word about it.
    if let Some(metadata) = schema.pointer_mut("/properties/metadata") {
        *metadata = json!({ "type": "object" });
    }
    amend(kind, &mut schema);
    schema
}

/// Leaves only what a structural schema may hold and what we mean.
fn structural(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    // Defaults of the types are zero values, which an API server must not write into objects.
    for member in ["$schema", "title", "default", "required"] {
        members.remove(member);
    }
    // `Option` means "may be absent" to us. A null that reaches storage would come back in every watch; only times
    // keep it, because clients write them as null.
    if members.get("format").and_then(Value::as_str) != Some("date-time") {
        members.remove("nullable");
    }
    // An optional union comes as "one of the union and null".
    if let Some(Value::Array(alternatives)) = members.get("anyOf")
        && let [Value::Object(first), Value::Object(second)] = alternatives.as_slice()
        && second.contains_key("nullable")
    {
        let first = first.clone();
        members.remove("anyOf");
        members.extend(first);
    }
    for_each_child(members, |_, child| structural(child));
}

/// Calls back with every schema directly below, and what it adds to the path: `.name`, `[]` or `{}`.
fn for_each_child(members: &mut Map<String, Value>, mut visit: impl FnMut(String, &mut Value)) {
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (name, child) in properties.iter_mut() {
            visit(format!(".{name}"), child);
        }
    }
    if let Some(items) = members.get_mut("items") {
        visit("[]".to_owned(), items);
    }
    if let Some(values @ Value::Object(_)) = members.get_mut("additionalProperties") {
        visit("{}".to_owned(), values);
    }
}

/// Applies the tables to a schema.
fn amend(kind: &str, schema: &mut Value) {
    let additions = additions();
    amend_at(kind, &additions, "", schema);
}

fn amend_at(kind: &str, additions: &[(Kinds, &str, Value)], path: &str, schema: &mut Value) {
    // What the controllers write into `status` is theirs: a required field there could only stop them.
    if path == "status" {
        return;
    }
    let Some(members) = schema.as_object_mut() else { return };
    for (_, _, fields) in REQUIRED
        .iter()
        .filter(|(kinds, end, _)| kinds.contains(&kind) && ends(path, end))
    {
        members.insert("required".to_owned(), json!(fields));
    }
    for (_, _, added) in additions
        .iter()
        .filter(|(kinds, end, _)| kinds.contains(&kind) && ends(path, end))
    {
        members.extend(added.as_object().cloned().unwrap_or_default());
    }
    for_each_child(members, |step, child| {
        let path = format!("{path}{step}");
        amend_at(kind, additions, path.trim_start_matches('.'), child);
    });
}

/// Whether a path ends in these names. The empty end is the root alone, and one from `spec` is a whole path.
fn ends(path: &str, end: &str) -> bool {
    match path.strip_suffix(end) {
        Some("") => true,
        Some(rest) => !end.is_empty() && !end.starts_with("spec") && rest.ends_with('.'),
        None => false,
    }
}

#[cfg(test)]
mod tests;
