//! ApplicationSet: specification and status (reference, applications 8). Generators are in `generator`.

use super::{
    application::ApplicationSpec,
    application_status::{HealthStatus, ResourceStatus},
    generator::ApplicationSetGenerator,
    resource,
    scalar::{self, IntOrString},
    wire,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

resource! {
    /// Makes Applications from a template and the parameters that generators give.
    ApplicationSet, "applicationsets", NamespaceResourceScope, {
        /// What the user wants.
        spec: ApplicationSetSpec,
        /// What the controller found and did.
        status: Option<ApplicationSetStatus>,
    }
}

wire! {
    /// `ApplicationSet.spec`.
    pub struct ApplicationSetSpec {
        /// Whether templates are Go templates; otherwise only `{{name}}` is replaced.
        pub go_template: bool,
        /// Where parameters come from; each parameter set makes one Application.
        pub generators: Vec<ApplicationSetGenerator>,
        /// The Application to make.
        pub template: ApplicationSetTemplate,
        /// What happens to Applications that exist.
        pub sync_policy: Option<ApplicationSetSyncPolicy>,
        /// In which order Applications are updated.
        pub strategy: Option<ApplicationSetStrategy>,
        /// Metadata of Applications that is left alone.
        pub preserved_fields: Option<ApplicationPreservedFields>,
        /// Options such as `missingkey=error`.
        pub go_template_options: Vec<String>,
        /// Without effect since 3.0: nested selectors always apply.
        pub apply_nested_selectors: bool,
        /// Fields of Applications that may be changed by others.
        pub ignore_application_differences: Vec<ApplicationSetResourceIgnoreDifferences>,
        /// A Go template that gives a patch of the Application; needs `goTemplate`.
        pub template_patch: Option<String>,
    }

    /// The Application to make; its strings are templates.
    pub struct ApplicationSetTemplate {
        /// Its metadata.
        pub metadata: ApplicationSetTemplateMeta,
        /// Its specification.
        pub spec: ApplicationSpec,
    }

    /// Metadata of the Application to make.
    pub struct ApplicationSetTemplateMeta {
        /// Its name.
        pub name: String,
        /// Its namespace; empty means the set's.
        pub namespace: String,
        /// Its labels.
        pub labels: BTreeMap<String, String>,
        /// Its annotations.
        pub annotations: BTreeMap<String, String>,
        /// Its finalizers.
        pub finalizers: Vec<String>,
    }

    /// `ApplicationSet.spec.syncPolicy`.
    pub struct ApplicationSetSyncPolicy {
        /// Keep the deployed objects when an Application is deleted.
        pub preserve_resources_on_deletion: bool,
        /// `sync` (default), `create-only`, `create-update` or `create-delete`.
        pub applications_sync: Option<String>,
    }

    /// `ApplicationSet.spec.strategy`.
    pub struct ApplicationSetStrategy {
        /// `AllAtOnce` (default) or `RollingSync`.
        pub r#type: String,
        /// Steps of `RollingSync`.
        pub rolling_sync: Option<ApplicationSetRolloutStrategy>,
        /// `AllAtOnce` (default) or `Reverse`.
        pub deletion_order: String,
    }

    /// `ApplicationSet.spec.strategy.rollingSync`.
    pub struct ApplicationSetRolloutStrategy {
        /// The steps, in order; Applications that match none are not synced.
        pub steps: Vec<ApplicationSetRolloutStep>,
    }

    /// One step of `RollingSync`.
    pub struct ApplicationSetRolloutStep {
        /// Which Applications, by their labels.
        pub match_expressions: Vec<ApplicationMatchExpression>,
        /// How many at a time; a percentage rounds down but not below 1; 0 means none.
        pub max_update: Option<IntOrString>,
    }

    /// A label and its values.
    pub struct ApplicationMatchExpression {
        /// Key of the label.
        pub key: String,
        /// `In` or `NotIn`.
        pub operator: String,
        /// Values.
        pub values: Vec<String>,
    }

    /// Metadata of Applications that is left alone.
    pub struct ApplicationPreservedFields {
        /// Keys of annotations.
        pub annotations: Vec<String>,
        /// Keys of labels.
        pub labels: Vec<String>,
    }

    /// Fields of Applications that may be changed by others.
    pub struct ApplicationSetResourceIgnoreDifferences {
        /// Name of the Application; empty means any.
        pub name: String,
        /// JSON pointers.
        pub json_pointers: Vec<String>,
        /// jq paths.
        pub jq_path_expressions: Vec<String>,
    }

    /// `ApplicationSet.status`.
    pub struct ApplicationSetStatus {
        /// `ErrorOccurred`, `ParametersGenerated`, `ResourcesUpToDate`, `RolloutProgressing` and others.
        pub conditions: Vec<ApplicationSetCondition>,
        /// Progress of `RollingSync`, one entry an Application.
        pub application_status: Vec<ApplicationSetApplicationStatus>,
        /// The Applications, at most 5000.
        pub resources: Vec<ResourceStatus>,
        /// How many Applications there are.
        pub resources_count: i64,
        /// Health of all of them together.
        pub health: Option<HealthStatus>,
    }

    /// One condition.
    pub struct ApplicationSetCondition {
        /// Its type.
        pub r#type: String,
        /// In words.
        pub message: String,
        /// Since when.
        #[schemars(schema_with = "scalar::time")]
        pub last_transition_time: Option<Time>,
        /// `True`, `False` or `Unknown`.
        pub status: String,
        /// One `CamelCase` word.
        pub reason: String,
    }

    /// Progress of one Application in `RollingSync`.
    pub struct ApplicationSetApplicationStatus {
        /// Its name.
        pub application: String,
        /// Since when it has this status.
        #[schemars(schema_with = "scalar::time")]
        pub last_transition_time: Option<Time>,
        /// In words.
        pub message: String,
        /// `Waiting`, `Pending`, `Progressing` or `Healthy`.
        pub status: String,
        /// Number of its step as text, from 1; `-1` when it matches none.
        pub step: String,
        /// Revisions it is to reach.
        pub target_revisions: Vec<String>,
    }
}
