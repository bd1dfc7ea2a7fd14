//! Generators of an ApplicationSet (reference, applications 8.2).
//!
//! The first level is typed. What lies below a matrix or merge, in a generator's own template, or in the settings of
//! one Git hosting service stays raw JSON: the first two would make the schema infinite, and nothing may be lost.

use super::{scalar, wire};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use std::collections::BTreeMap;

wire! {
    /// `ApplicationSet.spec.generators[]`: exactly one generator, and a filter over what it gives.
    pub struct ApplicationSetGenerator {
        /// The parameter sets themselves.
        pub list: Option<ListGenerator>,
        /// One set a cluster.
        pub clusters: Option<ClusterGenerator>,
        /// One set a folder or file of a repository.
        pub git: Option<GitGenerator>,
        /// One set a repository of a hosting service.
        pub scm_provider: Option<ScmProviderGenerator>,
        /// One set a cluster that another object decides on.
        pub cluster_decision_resource: Option<DuckTypeGenerator>,
        /// One set an open pull request.
        pub pull_request: Option<PullRequestGenerator>,
        /// Every combination of two generators.
        pub matrix: Option<MatrixGenerator>,
        /// Several generators laid over each other.
        pub merge: Option<MergeGenerator>,
        /// Keeps only parameter sets that match.
        #[schemars(schema_with = "scalar::label_selector")]
        pub selector: Option<LabelSelector>,
        /// Asks a service over HTTP.
        pub plugin: Option<PluginGenerator>,
    }

    /// `generators[].list`.
    pub struct ListGenerator {
        /// One object a parameter set.
        #[schemars(schema_with = "scalar::any_values")]
        pub elements: Vec<Value>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// The elements as YAML text, which may be a template.
        pub elements_yaml: String,
    }

    /// `generators[].clusters`.
    pub struct ClusterGenerator {
        /// Selects cluster Secrets by label; empty selects all, and the cluster itself.
        #[schemars(schema_with = "scalar::label_selector")]
        pub selector: Option<LabelSelector>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Further parameters, under `values`.
        pub values: BTreeMap<String, String>,
        /// One parameter set with a list of all clusters.
        pub flat_list: bool,
    }

    /// `generators[].git`.
    pub struct GitGenerator {
        /// URL of the repository.
        #[serde(rename = "repoURL")]
        pub repo_url: String,
        /// Folders; globs.
        pub directories: Vec<GitGeneratorItem>,
        /// Files; globs.
        pub files: Vec<GitGeneratorItem>,
        /// Branch, tag or commit.
        pub revision: String,
        /// Seconds between looks; absent means 180.
        pub requeue_after_seconds: Option<i64>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Put before `path` parameters.
        pub path_param_prefix: String,
        /// Further parameters, under `values`.
        pub values: BTreeMap<String, String>,
    }

    /// A path in a repository.
    pub struct GitGeneratorItem {
        /// A glob.
        pub path: String,
        /// Leaves matches out instead of taking them.
        pub exclude: bool,
    }

    /// `generators[].scmProvider`: one hosting service.
    pub struct ScmProviderGenerator {
        /// GitHub.
        #[schemars(schema_with = "scalar::any_object")]
        pub github: Option<Value>,
        /// GitLab.
        #[schemars(schema_with = "scalar::any_object")]
        pub gitlab: Option<Value>,
        /// Bitbucket.
        #[schemars(schema_with = "scalar::any_object")]
        pub bitbucket: Option<Value>,
        /// Bitbucket Server.
        #[schemars(schema_with = "scalar::any_object")]
        pub bitbucket_server: Option<Value>,
        /// Gitea.
        #[schemars(schema_with = "scalar::any_object")]
        pub gitea: Option<Value>,
        /// Azure DevOps.
        #[schemars(schema_with = "scalar::any_object")]
        pub azure_dev_ops: Option<Value>,
        /// AWS CodeCommit.
        #[schemars(schema_with = "scalar::any_object")]
        pub aws_code_commit: Option<Value>,
        /// Which repositories and branches; any filter may match.
        pub filters: Vec<ScmProviderGeneratorFilter>,
        /// `ssh` or `https`.
        pub clone_protocol: String,
        /// Seconds between looks; absent means 1800.
        pub requeue_after_seconds: Option<i64>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Further parameters, under `values`.
        pub values: BTreeMap<String, String>,
    }

    /// Which repositories and branches; all members must match.
    pub struct ScmProviderGeneratorFilter {
        /// Regular expression over the repository's name.
        pub repository_match: Option<String>,
        /// Paths that must exist.
        pub paths_exist: Vec<String>,
        /// Paths that must not exist.
        pub paths_do_not_exist: Vec<String>,
        /// Regular expression over labels or topics.
        pub label_match: Option<String>,
        /// Regular expression over branches.
        pub branch_match: Option<String>,
    }

    /// `generators[].pullRequest`: one hosting service.
    pub struct PullRequestGenerator {
        /// GitHub.
        #[schemars(schema_with = "scalar::any_object")]
        pub github: Option<Value>,
        /// GitLab.
        #[schemars(schema_with = "scalar::any_object")]
        pub gitlab: Option<Value>,
        /// Gitea.
        #[schemars(schema_with = "scalar::any_object")]
        pub gitea: Option<Value>,
        /// Bitbucket Server.
        #[schemars(schema_with = "scalar::any_object")]
        pub bitbucket_server: Option<Value>,
        /// Bitbucket.
        #[schemars(schema_with = "scalar::any_object")]
        pub bitbucket: Option<Value>,
        /// Azure DevOps.
        #[schemars(schema_with = "scalar::any_object")]
        pub azuredevops: Option<Value>,
        /// Which pull requests; any filter may match.
        pub filters: Vec<PullRequestGeneratorFilter>,
        /// Seconds between looks; absent means 1800.
        pub requeue_after_seconds: Option<i64>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Further parameters, under `values`.
        pub values: BTreeMap<String, String>,
        /// A repository that is not there counts as one without pull requests.
        pub continue_on_repo_not_found_error: bool,
    }

    /// Which pull requests; all members must match.
    pub struct PullRequestGeneratorFilter {
        /// Regular expression over the source branch.
        pub branch_match: Option<String>,
        /// Regular expression over the target branch.
        pub target_branch_match: Option<String>,
        /// Regular expression over the title.
        pub title_match: Option<String>,
    }

    /// `generators[].clusterDecisionResource`.
    pub struct DuckTypeGenerator {
        /// ConfigMap that says which kind decides and where its answer is.
        pub config_map_ref: String,
        /// Name of the deciding object.
        pub name: String,
        /// Seconds between looks; absent means 180.
        pub requeue_after_seconds: Option<i64>,
        /// Selects deciding objects by label.
        #[schemars(schema_with = "scalar::label_selector")]
        pub label_selector: Option<LabelSelector>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Further parameters, under `values`.
        pub values: BTreeMap<String, String>,
    }

    /// `generators[].plugin`.
    pub struct PluginGenerator {
        /// ConfigMap with its address, token and time limit.
        pub config_map_ref: PluginConfigMapRef,
        /// What it is told.
        pub input: PluginInput,
        /// Seconds between looks; absent means 1800.
        pub requeue_after_seconds: Option<i64>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Further parameters, under `values`.
        pub values: BTreeMap<String, String>,
    }

    /// Names a ConfigMap.
    pub struct PluginConfigMapRef {
        /// Its name.
        pub name: String,
    }

    /// What a plugin is told.
    pub struct PluginInput {
        /// Any JSON by name.
        #[schemars(schema_with = "scalar::any_object")]
        pub parameters: BTreeMap<String, Value>,
    }

    /// `generators[].matrix`.
    pub struct MatrixGenerator {
        /// Exactly two; the second may use the parameters of the first.
        #[schemars(schema_with = "scalar::any_objects")]
        pub generators: Vec<Value>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
    }

    /// `generators[].merge`.
    pub struct MergeGenerator {
        /// At least two; the first gives the sets, the others lay over them.
        #[schemars(schema_with = "scalar::any_objects")]
        pub generators: Vec<Value>,
        /// Parameters by which sets are matched.
        pub merge_keys: Vec<String>,
        /// Laid over the set's template.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
    }
}
