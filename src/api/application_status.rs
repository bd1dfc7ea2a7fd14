//! Application status (reference, applications 1.5).

use super::{
    application::{
        ApplicationDestination, ApplicationSource, ManagedNamespaceMetadata, Operation, OperationInitiator,
        ResourceIgnoreDifferences,
    },
    application_source::SourceHydratorStatus,
    scalar, wire,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

wire! {
    /// `Application.status`.
    pub struct ApplicationStatus {
        /// Every object of the application.
        pub resources: Vec<ResourceStatus>,
        /// Comparison with the source.
        pub sync: SyncStatus,
        /// Health.
        pub health: HealthStatus,
        /// What was deployed, oldest first.
        pub history: Vec<RevisionHistory>,
        /// Warnings and errors.
        pub conditions: Vec<ApplicationCondition>,
        /// Last full comparison.
        #[schemars(schema_with = "scalar::time")]
        pub reconciled_at: Option<Time>,
        /// The running or last operation.
        pub operation_state: Option<OperationState>,
        /// Deprecated.
        #[schemars(schema_with = "scalar::time")]
        pub observed_at: Option<Time>,
        /// `Directory`, `Kustomize`, `Helm` or `Plugin`.
        pub source_type: String,
        /// What the objects contain.
        pub summary: ApplicationSummary,
        /// Where the health of objects is kept; empty means in `resources`.
        pub resource_health_source: String,
        /// One for each of several sources.
        pub source_types: Vec<String>,
        /// Namespace of the controller that owns this application.
        pub controller_namespace: String,
        /// State of the hydrator.
        pub source_hydrator: Option<SourceHydratorStatus>,
        /// A commit that is not synced again until a newer one arrives (guarantee S5). Not part of the original API.
        pub hold: Option<Hold>,
    }

    /// A commit that is held back.
    pub struct Hold {
        /// The commit.
        pub revision: String,
        /// Why, naming the object that failed.
        pub reason: String,
        /// Who decided: a user, or `rollout NAMESPACE/NAME`.
        pub by: String,
        /// Since when.
        #[schemars(schema_with = "scalar::time")]
        pub since: Option<Time>,
    }

    /// One object of an application.
    pub struct ResourceStatus {
        /// API group.
        pub group: String,
        /// API version.
        pub version: String,
        /// Kind.
        pub kind: String,
        /// Namespace.
        pub namespace: String,
        /// Name.
        pub name: String,
        /// `Synced`, `OutOfSync` or `Unknown`.
        pub status: String,
        /// Health, where the kind has one.
        pub health: Option<HealthStatus>,
        /// Whether it is a hook.
        pub hook: bool,
        /// Whether only pruning brings it in sync.
        pub requires_pruning: bool,
        /// Wave.
        pub sync_wave: i64,
        /// Whether deleting it needs a confirmation.
        pub requires_deletion_confirmation: bool,
    }

    /// Comparison with the source.
    pub struct SyncStatus {
        /// `Synced`, `OutOfSync` or `Unknown`.
        pub status: String,
        /// What was compared.
        pub compared_to: ComparedTo,
        /// Commit.
        pub revision: String,
        /// Commits of several sources.
        pub revisions: Vec<String>,
    }

    /// What was compared.
    pub struct ComparedTo {
        /// The source.
        pub source: Option<ApplicationSource>,
        /// The destination.
        pub destination: ApplicationDestination,
        /// Several sources.
        pub sources: Vec<ApplicationSource>,
        /// Differences that did not count.
        pub ignore_differences: Vec<ResourceIgnoreDifferences>,
    }

    /// Health of an object or application.
    pub struct HealthStatus {
        /// `Healthy`, `Suspended`, `Progressing`, `Missing`, `Degraded` or `Unknown`.
        pub status: String,
        /// Why.
        pub message: String,
        /// Since when.
        #[schemars(schema_with = "scalar::time")]
        pub last_transition_time: Option<Time>,
    }

    /// One deployment.
    pub struct RevisionHistory {
        /// Commit.
        pub revision: String,
        /// When it was done.
        #[schemars(schema_with = "scalar::time")]
        pub deployed_at: Option<Time>,
        /// Counts up; written also when 0.
        pub id: HistoryId,
        /// Source.
        pub source: Option<ApplicationSource>,
        /// When it began.
        #[schemars(schema_with = "scalar::time")]
        pub deploy_started_at: Option<Time>,
        /// Several sources.
        pub sources: Vec<ApplicationSource>,
        /// Their commits.
        pub revisions: Vec<String>,
        /// Who asked.
        pub initiated_by: OperationInitiator,
    }

    /// A warning or an error.
    pub struct ApplicationCondition {
        /// Its type; errors end in `Error`.
        pub r#type: String,
        /// In words.
        pub message: String,
        /// Since when.
        #[schemars(schema_with = "scalar::time")]
        pub last_transition_time: Option<Time>,
    }

    /// The running or last operation; the whole memory of its state machine.
    pub struct OperationState {
        /// What was asked.
        pub operation: Operation,
        /// `Running`, `Terminating`, `Succeeded`, `Failed` or `Error`.
        pub phase: String,
        /// In words.
        pub message: String,
        /// What was done.
        pub sync_result: Option<SyncOperationResult>,
        /// When it began.
        #[schemars(schema_with = "scalar::time")]
        pub started_at: Option<Time>,
        /// When it ended.
        #[schemars(schema_with = "scalar::time")]
        pub finished_at: Option<Time>,
        /// Retries so far.
        pub retry_count: i64,
        /// When the present attempt began, if it is a retry. Not part of the original API.
        #[schemars(schema_with = "scalar::time")]
        pub attempt_started_at: Option<Time>,
        /// What is waited for (guarantee D6). Not part of the original API.
        pub waiting: Option<OperationWait>,
    }

    /// What an operation waits for.
    pub struct OperationWait {
        /// Which wait it is, by phase, wave and kind of wait.
        pub step: String,
        /// Since when.
        #[schemars(schema_with = "scalar::time")]
        pub since: Option<Time>,
    }

    /// What a sync did.
    pub struct SyncOperationResult {
        /// One entry an object.
        pub resources: Vec<ResourceResult>,
        /// Commit.
        pub revision: String,
        /// Source.
        pub source: Option<ApplicationSource>,
        /// Several sources.
        pub sources: Vec<ApplicationSource>,
        /// Their commits.
        pub revisions: Vec<String>,
        /// Metadata of the created namespace.
        pub managed_namespace_metadata: Option<ManagedNamespaceMetadata>,
    }

    /// What a sync did to one object.
    pub struct ResourceResult {
        /// API group.
        pub group: String,
        /// API version.
        pub version: String,
        /// Kind.
        pub kind: String,
        /// Namespace.
        pub namespace: String,
        /// Name.
        pub name: String,
        /// `Synced`, `SyncFailed`, `Pruned` or `PruneSkipped`.
        pub status: String,
        /// In words.
        pub message: String,
        /// Hook type.
        pub hook_type: String,
        /// Phase of the hook.
        pub hook_phase: String,
        /// `PreSync`, `Sync`, `PostSync` or `SyncFail`.
        pub sync_phase: String,
        /// Images in the object.
        pub images: Vec<String>,
    }

    /// What the objects contain.
    pub struct ApplicationSummary {
        /// URLs of Ingresses and Services.
        #[serde(rename = "externalURLs")]
        pub external_urls: Vec<String>,
        /// Images.
        pub images: Vec<String>,
        /// Whether the objects contain Applications.
        pub is_app_of_apps: bool,
    }
}

/// Number of a history entry; unlike other numbers it is written also when 0.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Ord,
    PartialEq,
    PartialOrd,
    serde::Deserialize,
    schemars::JsonSchema,
    serde::Serialize,
)]
#[serde(transparent)]
pub struct HistoryId(pub i64);

impl scalar::Absent for HistoryId {
    fn absent(&self) -> bool {
        false
    }
}
