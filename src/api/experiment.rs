//! Experiment (reference, rollouts 1.9, 2.7 and 7).

use super::{
    analysis::{Argument, DryRun, MeasurementRetention},
    resource,
    rollout_status::RolloutCondition,
    scalar,
    strategy::{PodTemplateMetadata, TemplateService},
    wire,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use serde_json::Value;

resource! {
    /// Short-lived ReplicaSets beside each other and the analyses that compare them. Status is part of the object,
    /// without a subresource.
    Experiment, "experiments", NamespaceResourceScope, {
        /// What to run and judge.
        spec: ExperimentSpec,
        /// What was run and found.
        status: Option<ExperimentStatus>,
    }
}

wire! {
    /// `Experiment.spec`.
    pub struct ExperimentSpec {
        /// The ReplicaSets to run.
        pub templates: Vec<TemplateSpec>,
        /// How long, counted from `status.availableAt`; empty means until its analyses end or it is terminated.
        pub duration: String,
        /// Seconds without progress before a template counts as failed; absent means 600.
        pub progress_deadline_seconds: Option<i32>,
        /// Stop now.
        pub terminate: bool,
        /// Analyses that judge it.
        pub analyses: Vec<ExperimentAnalysisTemplateRef>,
        /// Seconds before its ReplicaSets are scaled down; absent means 30.
        pub scale_down_delay_seconds: Option<i32>,
        /// Metrics whose verdict does not count.
        pub dry_run: Vec<DryRun>,
        /// How many measurements are kept.
        pub measurement_retention: Vec<MeasurementRetention>,
        /// Labels and annotations of its runs.
        pub analysis_run_metadata: Option<PodTemplateMetadata>,
    }

    /// `Experiment.spec.templates[]`: one ReplicaSet.
    pub struct TemplateSpec {
        /// Its name, unique in the Experiment.
        pub name: String,
        /// Pods; absent means 1.
        pub replicas: Option<i32>,
        /// Seconds a pod must be ready before it counts as available.
        pub min_ready_seconds: i32,
        /// Selects the pods; must not be empty.
        #[schemars(schema_with = "scalar::label_selector")]
        pub selector: Option<LabelSelector>,
        /// The pod template, as the user wrote it; never decoded and encoded again.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Service in front of it; without it none is made.
        pub service: Option<TemplateService>,
    }

    /// `Experiment.spec.analyses[]`.
    pub struct ExperimentAnalysisTemplateRef {
        /// Name of the analysis, unique in the Experiment.
        pub name: String,
        /// Its template.
        pub template_name: String,
        /// Whether that is a `ClusterAnalysisTemplate`.
        pub cluster_scope: bool,
        /// Arguments for it.
        pub args: Vec<Argument>,
        /// Whether its success completes the Experiment.
        pub required_for_completion: bool,
    }

    /// `Experiment.status`.
    pub struct ExperimentStatus {
        /// `Pending`, `Running`, `Successful`, `Failed`, `Error` or `Inconclusive`.
        pub phase: String,
        /// Why.
        pub message: String,
        /// When every template was running; the duration counts from here.
        #[schemars(schema_with = "scalar::time")]
        pub available_at: Option<Time>,
        /// One entry a template.
        pub template_statuses: Vec<TemplateStatus>,
        /// One entry an analysis.
        pub analysis_runs: Vec<ExperimentAnalysisRunStatus>,
        /// `InvalidSpec` and `Progressing`.
        pub conditions: Vec<RolloutCondition>,
    }

    /// `Experiment.status.templateStatuses[]`.
    pub struct TemplateStatus {
        /// Name of the template.
        pub name: String,
        /// Pods.
        pub replicas: i32,
        /// Pods of the current template.
        pub updated_replicas: i32,
        /// Ready pods.
        pub ready_replicas: i32,
        /// Available pods.
        pub available_replicas: i32,
        /// How often a name was taken by a foreign ReplicaSet.
        pub collision_count: Option<i32>,
        /// `Progressing`, `Running`, `Successful`, `Failed` or `Error`.
        pub status: String,
        /// Why.
        pub message: String,
        /// Since when.
        #[schemars(schema_with = "scalar::time")]
        pub last_transition_time: Option<Time>,
        /// The Service in front of it.
        pub service_name: String,
        /// Hash of its pod template.
        pub pod_template_hash: String,
    }

    /// `Experiment.status.analysisRuns[]`.
    pub struct ExperimentAnalysisRunStatus {
        /// Name of the analysis.
        pub name: String,
        /// Name of its AnalysisRun.
        pub analysis_run: String,
        /// Phase of that run.
        pub phase: String,
        /// Why.
        pub message: String,
    }
}
