//! AppProject: what the Applications of a team may do (reference, applications 2.12 and 6.1).

use super::{resource, wire};
use std::collections::BTreeMap;

resource! {
    /// A fence around Applications: their sources, destinations, kinds, roles and windows. No status subresource.
    AppProject, "appprojects", NamespaceResourceScope, {
        /// What is permitted.
        spec: AppProjectSpec,
        /// Tokens issued to roles.
        status: Option<AppProjectStatus>,
    }
}

wire! {
    /// `AppProject.spec`.
    pub struct AppProjectSpec {
        /// Repositories permitted: globs with `/` as separator; a leading `!` denies.
        pub source_repos: Vec<String>,
        /// Clusters and namespaces permitted.
        pub destinations: Vec<ProjectDestination>,
        /// Free text, at most 255 characters.
        pub description: String,
        /// Roles of the project.
        pub roles: Vec<ProjectRole>,
        /// Cluster-scoped kinds permitted. Empty or absent means none.
        pub cluster_resource_whitelist: Option<Vec<ClusterResourceRestrictionItem>>,
        /// Namespaced kinds denied.
        pub namespace_resource_blacklist: Option<Vec<GroupKind>>,
        /// Reports objects in permitted namespaces that no Application owns; absent means off.
        pub orphaned_resources: Option<OrphanedResourcesMonitorSettings>,
        /// When Applications may sync.
        pub sync_windows: Vec<SyncWindow>,
        /// Namespaced kinds permitted. Absent means every kind, an empty list means none.
        pub namespace_resource_whitelist: Option<Vec<GroupKind>>,
        /// Keys that commits must be signed with. Deprecated, see `sourceIntegrity`.
        pub signature_keys: Vec<SignatureKey>,
        /// Cluster-scoped kinds denied.
        pub cluster_resource_blacklist: Option<Vec<ClusterResourceRestrictionItem>>,
        /// Namespaces, besides the control plane's, whose Applications may use this project.
        pub source_namespaces: Vec<String>,
        /// Only clusters that belong to this project may be destinations.
        pub permit_only_project_scoped_clusters: bool,
        /// Service accounts that syncs act as.
        pub destination_service_accounts: Vec<DestinationServiceAccount>,
        /// Checks of where a commit comes from.
        pub source_integrity: Option<SourceIntegrity>,
    }

    /// A destination; every member is a glob, a leading `!` denies.
    pub struct ProjectDestination {
        /// URL of the API server.
        pub server: String,
        /// Namespace.
        pub namespace: String,
        /// Name of the cluster.
        pub name: String,
    }

    /// `AppProject.spec.roles[]`.
    pub struct ProjectRole {
        /// Its name.
        pub name: String,
        /// Free text.
        pub description: String,
        /// Policy lines of its rights.
        pub policies: Vec<String>,
        /// Tokens issued to it.
        pub jwt_tokens: Vec<JwtToken>,
        /// Single sign-on groups that have it.
        pub groups: Vec<String>,
    }

    /// A token, without its secret.
    pub struct JwtToken {
        /// Issued at, in seconds since 1970.
        pub iat: i64,
        /// Expires at, in seconds since 1970; 0 means never.
        pub exp: i64,
        /// Its identifier.
        pub id: String,
    }

    /// A cluster-scoped kind, and optionally objects of it.
    pub struct ClusterResourceRestrictionItem {
        /// API group; a glob.
        pub group: String,
        /// Kind; a glob.
        pub kind: String,
        /// Name of the object; a glob; empty means any.
        pub name: String,
    }

    /// A kind.
    pub struct GroupKind {
        /// API group; a glob.
        pub group: String,
        /// Kind; a glob.
        pub kind: String,
    }

    /// `AppProject.spec.orphanedResources`.
    pub struct OrphanedResourcesMonitorSettings {
        /// Whether they become a condition; absent means true.
        pub warn: Option<bool>,
        /// Objects that do not count.
        pub ignore: Vec<OrphanedResourceKey>,
    }

    /// Objects that are nobody's business.
    pub struct OrphanedResourceKey {
        /// API group.
        pub group: String,
        /// Kind.
        pub kind: String,
        /// Name; a glob.
        pub name: String,
    }

    /// `AppProject.spec.syncWindows[]`.
    pub struct SyncWindow {
        /// `allow` or `deny`.
        pub kind: String,
        /// When it opens: cron with five fields.
        pub schedule: String,
        /// How long it stays open, for instance `1h30m`.
        pub duration: String,
        /// Applications it is for; globs.
        pub applications: Vec<String>,
        /// Namespaces it is for; globs.
        pub namespaces: Vec<String>,
        /// Clusters it is for; globs.
        pub clusters: Vec<String>,
        /// Whether a manual sync is permitted all the same.
        pub manual_sync: bool,
        /// Time zone of the schedule; empty means UTC.
        pub time_zone: String,
        /// Whether applications, namespaces and clusters must all match instead of any of them.
        pub and_operator: bool,
        /// Free text, at most 255 characters.
        pub description: String,
        /// Whether a running sync may finish outside the window.
        pub sync_overrun: bool,
    }

    /// A key that commits must be signed with.
    pub struct SignatureKey {
        /// Identifier of the GPG key.
        #[serde(rename = "keyID")]
        pub key_id: String,
    }

    /// A service account for a destination.
    pub struct DestinationServiceAccount {
        /// URL of the API server; a glob.
        pub server: String,
        /// Namespace; a glob.
        pub namespace: String,
        /// `name` or `namespace:name` of the service account.
        pub default_service_account: String,
    }

    /// `AppProject.spec.sourceIntegrity`.
    pub struct SourceIntegrity {
        /// For Git.
        pub git: Option<SourceIntegrityGit>,
    }

    /// `AppProject.spec.sourceIntegrity.git`.
    pub struct SourceIntegrityGit {
        /// One entry a set of repositories.
        pub policies: Vec<SourceIntegrityGitPolicy>,
    }

    /// `AppProject.spec.sourceIntegrity.git.policies[]`.
    pub struct SourceIntegrityGitPolicy {
        /// Repositories it is for.
        pub repos: Vec<SourceIntegrityGitPolicyRepo>,
        /// Signatures by GPG.
        pub gpg: Option<SourceIntegrityGitPolicyGpg>,
    }

    /// Names repositories.
    pub struct SourceIntegrityGitPolicyRepo {
        /// URL; a glob.
        pub url: String,
    }

    /// Signatures by GPG.
    pub struct SourceIntegrityGitPolicyGpg {
        /// `none`, `head` or `strict`.
        pub mode: String,
        /// Identifiers of the keys accepted.
        pub keys: Vec<String>,
    }

    /// `AppProject.status`.
    pub struct AppProjectStatus {
        /// Tokens by the name of their role.
        pub jwt_tokens_by_role: BTreeMap<String, JwtTokens>,
    }

    /// Tokens of a role.
    pub struct JwtTokens {
        /// The tokens.
        pub items: Vec<JwtToken>,
    }
}
