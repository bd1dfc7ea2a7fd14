//! Application: specification and operation (reference, applications 1.1 to 1.4). Status is in `application_status`.

use super::{
    application_source::{
        ApplicationSourceHelm, ApplicationSourceJsonnet, ApplicationSourceKustomize, ApplicationSourcePlugin,
        SourceHydrator,
    },
    application_status::ApplicationStatus,
    resource, wire,
};
use std::collections::BTreeMap;

resource! {
    /// Objects in Git and the place they are deployed to. Neither `status` nor `operation` is a subresource.
    Application, "applications", NamespaceResourceScope, {
        /// What the user wants.
        spec: ApplicationSpec,
        /// What the controller found and did.
        status: Option<ApplicationStatus>,
        /// Writing this field starts an operation.
        operation: Option<Operation>,
    }
}

wire! {
    /// `Application.spec`.
    pub struct ApplicationSpec {
        /// The single source.
        pub source: Option<ApplicationSource>,
        /// Where the objects go.
        pub destination: ApplicationDestination,
        /// The project; empty means `default`.
        pub project: String,
        /// When and how to sync.
        pub sync_policy: Option<SyncPolicy>,
        /// Differences that do not count.
        pub ignore_differences: Vec<ResourceIgnoreDifferences>,
        /// Free text for people.
        pub info: Vec<Info>,
        /// History entries kept; absent means 10.
        pub revision_history_limit: Option<i64>,
        /// Several sources; wins over `source`.
        pub sources: Vec<ApplicationSource>,
        /// Renders from one branch and deploys from another; wins over both.
        pub source_hydrator: Option<SourceHydrator>,
    }

    /// Where manifests come from.
    pub struct ApplicationSource {
        /// URL of the repository.
        #[serde(rename = "repoURL")]
        pub repo_url: String,
        /// Folder in the repository.
        pub path: String,
        /// Branch, tag, commit or version range; empty means `HEAD`.
        pub target_revision: String,
        /// Helm options.
        pub helm: Option<ApplicationSourceHelm>,
        /// Kustomize options.
        pub kustomize: Option<ApplicationSourceKustomize>,
        /// Options for plain manifests.
        pub directory: Option<ApplicationSourceDirectory>,
        /// Plugin options.
        pub plugin: Option<ApplicationSourcePlugin>,
        /// Helm chart.
        pub chart: String,
        /// Name by which other sources refer to this one.
        pub r#ref: String,
        /// Name of the source.
        pub name: String,
        /// Filters tags before a version range is matched.
        pub tag_prefix: String,
    }

    /// Options for plain manifests.
    pub struct ApplicationSourceDirectory {
        /// Look into subfolders.
        pub recurse: bool,
        /// Jsonnet options.
        pub jsonnet: Option<ApplicationSourceJsonnet>,
        /// Glob of files to leave out.
        pub exclude: String,
        /// Glob of files to take.
        pub include: String,
        /// Take files of any extension.
        pub disable_extension_filter: bool,
    }

    /// Where the objects go: exactly one of `server` and `name`.
    pub struct ApplicationDestination {
        /// URL of the API server.
        pub server: String,
        /// Namespace of objects that do not name one.
        pub namespace: String,
        /// Name of the cluster.
        pub name: String,
    }

    /// When and how to sync.
    pub struct SyncPolicy {
        /// Sync without being asked.
        pub automated: Option<SyncPolicyAutomated>,
        /// Options such as `CreateNamespace=true`.
        pub sync_options: Vec<String>,
        /// What to do after a failed sync.
        pub retry: Option<RetryStrategy>,
        /// Metadata of a namespace made by `CreateNamespace=true`.
        pub managed_namespace_metadata: Option<ManagedNamespaceMetadata>,
    }

    /// Sync without being asked.
    pub struct SyncPolicyAutomated {
        /// Delete objects that are no longer in the source.
        pub prune: Option<bool>,
        /// Undo changes made in the cluster.
        pub self_heal: Option<bool>,
        /// Allow a sync that leaves no object.
        pub allow_empty: Option<bool>,
        /// Absent means on.
        pub enabled: Option<bool>,
    }

    /// What to do after a failed sync.
    pub struct RetryStrategy {
        /// Number of retries; 0 is none, negative is no limit.
        pub limit: i64,
        /// Time between them.
        pub backoff: Option<Backoff>,
        /// Resolve the revision again at each retry.
        pub refresh: bool,
    }

    /// Time between retries.
    pub struct Backoff {
        /// First delay; a bare number is seconds; absent means `5s`.
        pub duration: String,
        /// Growth; absent means 2.
        pub factor: Option<i64>,
        /// Longest delay; absent means `3m`.
        pub max_duration: String,
    }

    /// Labels and annotations of a created namespace.
    pub struct ManagedNamespaceMetadata {
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
    }

    /// Differences that do not count.
    pub struct ResourceIgnoreDifferences {
        /// API group; a glob.
        pub group: String,
        /// Kind; a glob.
        pub kind: String,
        /// Name of the object; empty means any.
        pub name: String,
        /// Namespace of the object; empty means any.
        pub namespace: String,
        /// JSON pointers.
        pub json_pointers: Vec<String>,
        /// jq paths.
        pub jq_path_expressions: Vec<String>,
        /// Fields owned by these managers.
        pub managed_fields_managers: Vec<String>,
    }

    /// Free text for people.
    pub struct Info {
        /// Title.
        pub name: String,
        /// Text or link.
        pub value: String,
    }

    /// `Application.operation`.
    pub struct Operation {
        /// A sync.
        pub sync: Option<SyncOperation>,
        /// Who asked.
        pub initiated_by: OperationInitiator,
        /// Free text for people.
        pub info: Vec<Info>,
        /// What to do after a failure.
        pub retry: RetryStrategy,
    }

    /// `operation.sync`.
    pub struct SyncOperation {
        /// Commit to sync to; empty means the application's target revision.
        pub revision: String,
        /// Delete objects that are no longer in the source.
        pub prune: bool,
        /// Only try.
        pub dry_run: bool,
        /// `apply` or `hook` (default).
        pub sync_strategy: Option<SyncStrategy>,
        /// Only these objects.
        pub resources: Vec<SyncOperationResource>,
        /// Source to use instead of the application's.
        pub source: Option<ApplicationSource>,
        /// Rendered objects to use instead.
        pub manifests: Vec<String>,
        /// Options such as `Replace=true`.
        pub sync_options: Vec<String>,
        /// Sources to use instead of the application's.
        pub sources: Vec<ApplicationSource>,
        /// Commits of several sources.
        pub revisions: Vec<String>,
        /// How often self-healing has tried.
        pub auto_heal_attempts_count: i64,
    }

    /// How to sync.
    pub struct SyncStrategy {
        /// Apply without hooks.
        pub apply: Option<SyncStrategyApply>,
        /// Apply with hooks.
        pub hook: Option<SyncStrategyApply>,
    }

    /// Options of a strategy.
    pub struct SyncStrategyApply {
        /// Delete and create again where needed.
        pub force: bool,
    }

    /// An object by group, kind and name.
    pub struct SyncOperationResource {
        /// API group.
        pub group: String,
        /// Kind.
        pub kind: String,
        /// Name.
        pub name: String,
        /// Namespace; empty matches any.
        pub namespace: String,
    }

    /// Who asked for an operation.
    pub struct OperationInitiator {
        /// User.
        pub username: String,
        /// True when nobody did.
        pub automated: bool,
    }
}

impl ApplicationSpec {
    /// The sources in effect: `sources` when there are any, else `source`.
    pub fn effective_sources(&self) -> Vec<&ApplicationSource> {
        if self.sources.is_empty() {
            self.source.iter().collect()
        } else {
            self.sources.iter().collect()
        }
    }
}
