//! CustomResourceDefinitions of every kind, made from the types (reference, rollouts 0 and applications 1, 6.1, 8).
//!
//! Here is the packaging clients see: names, printer columns, subresources. What the schema says beyond the types
//! (required fields, defaults, bounds, rules) is one table in [`schema`]. Pure: who writes the files is `cli`.

pub mod schema;

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
        CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceScale,
        CustomResourceSubresourceStatus, CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// How one kind is packaged.
struct Packaging {
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    cluster_scoped: bool,
    columns: &'static [Column],
    status: bool,
    scale: bool,
}

/// A printer column of `kubectl get`.
struct Column {
    name: &'static str,
    path: &'static str,
    r#type: &'static str,
    /// Above 0 only with `-o wide`.
    priority: i32,
    description: &'static str,
}

const fn column(name: &'static str, path: &'static str, r#type: &'static str, description: &'static str) -> Column {
    Column {
        name,
        path,
        r#type,
        priority: 0,
        description,
    }
}

const fn wide(name: &'static str, path: &'static str, r#type: &'static str) -> Column {
    Column {
        name,
        path,
        r#type,
        priority: 10,
        description: "",
    }
}

const AGE: Column = column(
    "Age",
    ".metadata.creationTimestamp",
    "date",
    "Time since the object was created",
);

/// The kinds in the order of [`crds`].
const KINDS: [Packaging; 8] = [
    Packaging {
        kind: "AnalysisRun",
        plural: "analysisruns",
        short_names: &["ar"],
        cluster_scoped: false,
        columns: &[column("Status", ".status.phase", "string", "AnalysisRun status"), AGE],
        status: false,
        scale: false,
    },
    Packaging {
        kind: "AnalysisTemplate",
        plural: "analysistemplates",
        short_names: &["at"],
        cluster_scoped: false,
        columns: &[AGE],
        status: false,
        scale: false,
    },
    Packaging {
        kind: "Application",
        plural: "applications",
        short_names: &["app", "apps"],
        cluster_scoped: false,
        columns: &[
            column("Sync Status", ".status.sync.status", "string", ""),
            column("Health Status", ".status.health.status", "string", ""),
            wide("Revision", ".status.sync.revision", "string"),
            wide("Project", ".spec.project", "string"),
        ],
        status: false,
        scale: false,
    },
    Packaging {
        kind: "ApplicationSet",
        plural: "applicationsets",
        short_names: &["appset", "appsets"],
        cluster_scoped: false,
        columns: &[],
        status: true,
        scale: false,
    },
    Packaging {
        kind: "AppProject",
        plural: "appprojects",
        short_names: &["appproj", "appprojs"],
        cluster_scoped: false,
        columns: &[],
        status: false,
        scale: false,
    },
    Packaging {
        kind: "ClusterAnalysisTemplate",
        plural: "clusteranalysistemplates",
        short_names: &["cat"],
        cluster_scoped: true,
        columns: &[AGE],
        status: false,
        scale: false,
    },
    Packaging {
        kind: "Experiment",
        plural: "experiments",
        short_names: &["exp"],
        cluster_scoped: false,
        columns: &[column("Status", ".status.phase", "string", "Experiment status"), AGE],
        status: false,
        scale: false,
    },
    Packaging {
        kind: "Rollout",
        plural: "rollouts",
        short_names: &["ro"],
        cluster_scoped: false,
        columns: &[
            column("Desired", ".spec.replicas", "integer", "Number of desired pods"),
            column(
                "Current",
                ".status.replicas",
                "integer",
                "Total number of pods of this Rollout",
            ),
            column(
                "Up-to-date",
                ".status.updatedReplicas",
                "integer",
                "Pods that have the wanted template",
            ),
            column(
                "Available",
                ".status.availableReplicas",
                "integer",
                "Pods ready for at least minReadySeconds",
            ),
            AGE,
        ],
        status: true,
        scale: true,
    },
];

/// The definitions of all eight kinds, by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    KINDS.iter().map(definition).collect()
}

/// The definitions as files: name (`rollouts.yaml`) and YAML, by name.
pub fn files() -> Vec<(String, String)> {
    let mut files: Vec<_> = crds()
        .iter()
        .map(|crd| (format!("{}.yaml", crd.spec.names.plural), yaml(crd)))
        .collect();
    files.sort();
    files
}

/// The definitions as one YAML stream.
pub fn manifests() -> String {
    let documents: Vec<_> = files().into_iter().map(|(_, text)| text).collect();
    documents.join("---\n")
}

fn definition(packaging: &Packaging) -> CustomResourceDefinition {
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", packaging.plural, super::GROUP)),
            labels: Some(BTreeMap::from([
                (
                    "app.kubernetes.io/name".to_owned(),
                    format!("{}.{}", packaging.plural, super::GROUP),
                ),
                ("app.kubernetes.io/part-of".to_owned(), "tidegate".to_owned()),
            ])),
            ..Default::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: super::GROUP.to_owned(),
            names: CustomResourceDefinitionNames {
                kind: packaging.kind.to_owned(),
                list_kind: Some(format!("{}List", packaging.kind)),
                plural: packaging.plural.to_owned(),
                singular: Some(packaging.kind.to_lowercase()),
                short_names: Some(packaging.short_names.iter().map(|&name| name.to_owned()).collect()),
                ..Default::default()
            },
            scope: if packaging.cluster_scoped {
                "Cluster"
            } else {
                "Namespaced"
            }
            .to_owned(),
            versions: vec![version(packaging)],
            ..Default::default()
        },
        status: None,
    }
}

fn version(packaging: &Packaging) -> CustomResourceDefinitionVersion {
    let subresources = CustomResourceSubresources {
        status: packaging
            .status
            .then(|| CustomResourceSubresourceStatus(Value::Object(Default::default()))),
        scale: packaging.scale.then(|| CustomResourceSubresourceScale {
            spec_replicas_path: ".spec.replicas".to_owned(),
            status_replicas_path: ".status.HPAReplicas".to_owned(),
            label_selector_path: Some(".status.selector".to_owned()),
        }),
    };
    let columns: Vec<_> = packaging.columns.iter().map(printer_column).collect();
    CustomResourceDefinitionVersion {
        name: super::VERSION.to_owned(),
        served: true,
        storage: true,
        schema: Some(CustomResourceValidation {
            open_api_v3_schema: schema::of(packaging.kind).map(props),
        }),
        subresources: Some(subresources),
        additional_printer_columns: (!columns.is_empty()).then_some(columns),
        ..Default::default()
    }
}

fn printer_column(column: &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: column.name.to_owned(),
        json_path: column.path.to_owned(),
        type_: column.r#type.to_owned(),
        priority: (column.priority > 0).then_some(column.priority),
        description: (!column.description.is_empty()).then(|| column.description.to_owned()),
        format: None,
    }
}

#[expect(
    clippy::expect_used,
    reason = "the schema comes from our own types; a test makes every one"
)]
fn props(schema: &Value) -> JSONSchemaProps {
    serde_json::from_value(schema.clone()).expect("invariant: a generated schema is a JSONSchemaProps")
}

#[expect(
    clippy::expect_used,
    reason = "plain data always has a YAML form; a test writes every file"
)]
fn yaml(crd: &CustomResourceDefinition) -> String {
    // From the struct, not from a JSON value: the order of its fields does not depend on a feature of a crate.
    let text = serde_saphyr::to_string(crd).expect("invariant: a definition has a YAML form");
    format!("# Generated by `tidegate crds --dir crds` from src/api; do not edit.\n{text}")
}

#[cfg(test)]
mod tests;
