//! Options of each kind of source of an Application, and the source hydrator (reference, applications 1.2 and 1.5).

use super::{
    application::ApplicationSourceDirectory,
    scalar::{self, IntOrString},
    wire,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use std::collections::BTreeMap;

wire! {
    /// Helm options.
    pub struct ApplicationSourceHelm {
        /// Values files, relative to the source's path; `$name/` refers to another source.
        pub value_files: Vec<String>,
        /// Single values, as by `--set`.
        pub parameters: Vec<HelmParameter>,
        /// Name of the release; empty means the Application's.
        pub release_name: String,
        /// Values as YAML text.
        pub values: String,
        /// Single values from files, as by `--set-file`.
        pub file_parameters: Vec<HelmFileParameter>,
        /// Without effect: there is one version of Helm.
        pub version: String,
        /// Give credentials to every host.
        pub pass_credentials: bool,
        /// A values file that is not there is no error.
        pub ignore_missing_value_files: bool,
        /// Leave the chart's CRDs out.
        pub skip_crds: bool,
        /// Values as an object; wins over `values`.
        #[schemars(schema_with = "scalar::any_object")]
        pub values_object: Option<Value>,
        /// Namespace of the release; empty means the destination's.
        pub namespace: String,
        /// Version of Kubernetes the chart is told of.
        pub kube_version: String,
        /// API versions the chart is told of.
        pub api_versions: Vec<String>,
        /// Leave the chart's tests out.
        pub skip_tests: bool,
        /// Do not check values against the chart's schema.
        pub skip_schema_validation: bool,
    }

    /// A Helm value.
    pub struct HelmParameter {
        /// Path of the value.
        pub name: String,
        /// The value.
        pub value: String,
        /// Keep numbers and booleans as strings.
        pub force_string: bool,
    }

    /// A Helm value from a file.
    pub struct HelmFileParameter {
        /// Path of the value.
        pub name: String,
        /// Path of the file.
        pub path: String,
    }

    /// Kustomize options.
    pub struct ApplicationSourceKustomize {
        /// Put before names.
        pub name_prefix: String,
        /// Put after names.
        pub name_suffix: String,
        /// `[old=]new[:tag][@digest]`.
        pub images: Vec<String>,
        /// Labels of every object.
        pub common_labels: BTreeMap<String, String>,
        /// Version of Kustomize.
        pub version: String,
        /// Annotations of every object.
        pub common_annotations: BTreeMap<String, String>,
        /// Replace labels that exist.
        pub force_common_labels: bool,
        /// Replace annotations that exist.
        pub force_common_annotations: bool,
        /// Namespace of every object.
        pub namespace: String,
        /// Replace environment variables in annotations.
        pub common_annotations_envsubst: bool,
        /// Replica counts by name.
        pub replicas: Vec<KustomizeReplica>,
        /// Patches.
        pub patches: Vec<KustomizePatch>,
        /// Components.
        pub components: Vec<String>,
        /// A component that is not there is no error.
        pub ignore_missing_components: bool,
        /// Do not put labels into selectors.
        pub label_without_selector: bool,
        /// Version of Kubernetes told to charts.
        pub kube_version: String,
        /// API versions told to charts.
        pub api_versions: Vec<String>,
        /// Put labels into pod templates also without selectors.
        pub label_include_templates: bool,
    }

    /// A replica count.
    pub struct KustomizeReplica {
        /// Name of the object.
        pub name: String,
        /// Its replicas.
        pub count: Option<IntOrString>,
    }

    /// A patch.
    pub struct KustomizePatch {
        /// Path of a file.
        pub path: String,
        /// Or the patch itself.
        pub patch: String,
        /// What it is for.
        pub target: Option<KustomizeSelector>,
        /// Options such as `allowNameChange`.
        pub options: BTreeMap<String, bool>,
    }

    /// Selects objects; every member is a regular expression or a selector.
    pub struct KustomizeSelector {
        /// API group.
        pub group: String,
        /// API version.
        pub version: String,
        /// Kind.
        pub kind: String,
        /// Name.
        pub name: String,
        /// Namespace.
        pub namespace: String,
        /// By annotation.
        pub annotation_selector: String,
        /// By label.
        pub label_selector: String,
    }

    /// Jsonnet options.
    pub struct ApplicationSourceJsonnet {
        /// External variables.
        pub ext_vars: Vec<JsonnetVar>,
        /// Top-level arguments.
        pub tlas: Vec<JsonnetVar>,
        /// Further library folders.
        pub libs: Vec<String>,
    }

    /// A Jsonnet variable.
    pub struct JsonnetVar {
        /// Its name.
        pub name: String,
        /// Its value.
        pub value: String,
        /// Whether the value is code.
        pub code: bool,
    }

    /// Plugin options.
    pub struct ApplicationSourcePlugin {
        /// Name of the plugin; empty lets plugins say whether they fit.
        pub name: String,
        /// Environment of the plugin.
        pub env: Vec<EnvEntry>,
        /// Parameters of the plugin.
        pub parameters: Vec<ApplicationSourcePluginParameter>,
    }

    /// An environment variable.
    pub struct EnvEntry {
        /// Its name.
        pub name: String,
        /// Its value.
        pub value: String,
    }

    /// A parameter: exactly one of `string`, `array` and `map`; an empty one is not an absent one.
    pub struct ApplicationSourcePluginParameter {
        /// Its name.
        pub name: String,
        /// Text.
        pub string: Option<String>,
        /// A list of texts.
        pub array: Option<Vec<String>>,
        /// Texts by name.
        pub map: Option<BTreeMap<String, String>>,
    }

    /// `Application.spec.sourceHydrator`.
    pub struct SourceHydrator {
        /// What is rendered.
        pub dry_source: DrySource,
        /// What is deployed.
        pub sync_source: SyncSource,
        /// Where the rendered manifests are pushed to; absent means straight to `syncSource`.
        pub hydrate_to: Option<HydrateTo>,
    }

    /// `Application.spec.sourceHydrator.drySource`.
    pub struct DrySource {
        /// URL of the repository.
        #[serde(rename = "repoURL")]
        pub repo_url: String,
        /// Branch, tag or commit.
        pub target_revision: String,
        /// Folder in the repository.
        pub path: String,
        /// Helm options.
        pub helm: Option<ApplicationSourceHelm>,
        /// Kustomize options.
        pub kustomize: Option<ApplicationSourceKustomize>,
        /// Options for plain manifests.
        pub directory: Option<ApplicationSourceDirectory>,
        /// Plugin options.
        pub plugin: Option<ApplicationSourcePlugin>,
    }

    /// `Application.spec.sourceHydrator.syncSource`.
    pub struct SyncSource {
        /// URL of the repository; empty means the dry source's.
        #[serde(rename = "repoURL")]
        pub repo_url: String,
        /// Branch that is deployed.
        pub target_branch: String,
        /// Folder in it; never the root.
        pub path: String,
    }

    /// `Application.spec.sourceHydrator.hydrateTo`.
    pub struct HydrateTo {
        /// Branch that is pushed to.
        pub target_branch: String,
    }

    /// `Application.status.sourceHydrator`.
    pub struct SourceHydratorStatus {
        /// The last rendering that succeeded.
        pub last_successful_operation: Option<SuccessfulHydrateOperation>,
        /// The running or last rendering.
        pub current_operation: Option<HydrateOperation>,
        /// Dry commit that was last looked at.
        pub last_compared_dry_revision: String,
    }

    /// One rendering.
    pub struct HydrateOperation {
        /// When it began.
        #[schemars(schema_with = "scalar::time")]
        pub started_at: Option<Time>,
        /// When it ended.
        #[schemars(schema_with = "scalar::time")]
        pub finished_at: Option<Time>,
        /// `Hydrating`, `Failed` or `Hydrated`.
        pub phase: String,
        /// In words.
        pub message: String,
        /// Commit that was rendered.
        #[serde(rename = "drySHA")]
        pub dry_sha: String,
        /// Commit that holds the result.
        #[serde(rename = "hydratedSHA")]
        pub hydrated_sha: String,
        /// What was asked.
        pub source_hydrator: SourceHydrator,
    }

    /// A rendering that succeeded.
    pub struct SuccessfulHydrateOperation {
        /// Commit that was rendered.
        #[serde(rename = "drySHA")]
        pub dry_sha: String,
        /// Commit that holds the result.
        #[serde(rename = "hydratedSHA")]
        pub hydrated_sha: String,
        /// What was asked.
        pub source_hydrator: SourceHydrator,
    }
}
