//! Rollout: specification (reference, rollouts 1.1). Strategies are in `strategy`, status in `rollout_status`.

use super::{
    resource,
    rollout_status::RolloutStatus,
    scalar,
    strategy::{BlueGreenStrategy, CanaryStrategy},
    wire,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use serde_json::Value;

resource! {
    /// A workload whose updates are stepped, judged and rolled back.
    Rollout, "rollouts", NamespaceResourceScope, {
        /// What the user wants.
        spec: RolloutSpec,
        /// What the controller found and did.
        status: Option<RolloutStatus>,
    }
}

wire! {
    /// `Rollout.spec`.
    pub struct RolloutSpec {
        /// Number of pods wanted; absent means 1, which the controller writes back for autoscalers.
        pub replicas: Option<i32>,
        /// Selects the pods; immutable. Absent only with `workloadRef`.
        #[schemars(schema_with = "scalar::label_selector")]
        pub selector: Option<LabelSelector>,
        /// The pod template, as the user wrote it; never decoded and encoded again.
        #[schemars(schema_with = "scalar::any_object")]
        pub template: Option<Value>,
        /// Takes the pod template from another object instead of `template`.
        pub workload_ref: Option<WorkloadRef>,
        /// Seconds a pod must be ready before it counts as available.
        pub min_ready_seconds: i32,
        /// Lets a rollback to a recent revision skip steps.
        pub rollback_window: Option<RollbackWindow>,
        /// How updates are made; exactly one member.
        pub strategy: RolloutStrategy,
        /// Old ReplicaSets kept; absent means 10.
        pub revision_history_limit: Option<i32>,
        /// The user's pause: halts scaling, services and steps.
        pub paused: bool,
        /// Seconds without progress before the rollout counts as timed out; absent means 600.
        pub progress_deadline_seconds: Option<i32>,
        /// Abort at the progress deadline instead of only reporting it.
        pub progress_deadline_abort: bool,
        /// Recreate every pod that is older than this.
        #[schemars(schema_with = "scalar::time")]
        pub restart_at: Option<Time>,
        /// How many finished analysis runs and experiments are kept.
        pub analysis: Option<AnalysisRunStrategy>,
    }

    /// `Rollout.spec.workloadRef`.
    pub struct WorkloadRef {
        /// API version of the referred object.
        pub api_version: String,
        /// Kind of the referred object: Deployment, ReplicaSet or PodTemplate.
        pub kind: String,
        /// Its name.
        pub name: String,
        /// `never` (default), `onsuccess` or `progressively`.
        pub scale_down: String,
    }

    /// `Rollout.spec.rollbackWindow`.
    pub struct RollbackWindow {
        /// How many revisions may lie between the target and the stable one.
        pub revisions: i32,
    }

    /// `Rollout.spec.strategy`: exactly one member must be set.
    pub struct RolloutStrategy {
        /// Two full sets, switched at once.
        pub blue_green: Option<BlueGreenStrategy>,
        /// A growing share of pods or traffic.
        pub canary: Option<CanaryStrategy>,
    }

    /// `Rollout.spec.analysis`.
    pub struct AnalysisRunStrategy {
        /// Successful runs kept; absent means 5.
        pub successful_run_history_limit: Option<i32>,
        /// Other finished runs kept; absent means 5.
        pub unsuccessful_run_history_limit: Option<i32>,
    }
}
