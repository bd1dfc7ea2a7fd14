//! Rollout status (reference, rollouts 2.1).

use super::{scalar, wire};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

wire! {
    /// `Rollout.status`.
    pub struct RolloutStatus {
        /// True while aborted, by the user or the controller.
        pub abort: bool,
        /// When the abort was first seen.
        #[schemars(schema_with = "scalar::time")]
        pub aborted_at: Option<Time>,
        /// The user asked to skip what is left of the update.
        pub promote_full: bool,
        /// Why it pauses.
        pub pause_conditions: Vec<PauseCondition>,
        /// True once the controller added a pause; with no pause condition left it means "resume".
        pub controller_pause: bool,
        /// Hash of the current pod template.
        pub current_pod_hash: String,
        /// Hash of the steps.
        pub current_step_hash: String,
        /// 0-based; the number of steps when all are done.
        pub current_step_index: Option<i32>,
        /// Hash of the last promoted ReplicaSet.
        #[serde(rename = "stableRS")]
        pub stable_rs: String,
        /// Pods of all ReplicaSets.
        pub replicas: i32,
        /// Pods of the current template.
        pub updated_replicas: i32,
        /// Ready pods.
        pub ready_replicas: i32,
        /// Available pods.
        pub available_replicas: i32,
        /// Pods an autoscaler counts.
        #[serde(rename = "HPAReplicas")]
        pub hpa_replicas: i32,
        /// Selector an autoscaler uses.
        pub selector: String,
        /// How often a name was taken by a foreign ReplicaSet.
        pub collision_count: Option<i32>,
        /// `metadata.generation` as decimal text.
        pub observed_generation: String,
        /// Generation of the referred workload as decimal text.
        pub workload_observed_generation: String,
        /// Value of `spec.restartAt` once every older pod is gone.
        #[schemars(schema_with = "scalar::time")]
        pub restarted_at: Option<Time>,
        /// Conditions; the order tells recency.
        pub conditions: Vec<RolloutCondition>,
        /// Canary details.
        pub canary: Option<CanaryStatus>,
        /// Blue-green details.
        pub blue_green: Option<BlueGreenStatus>,
        /// `Healthy`, `Progressing`, `Paused` or `Degraded`.
        pub phase: String,
        /// What `phase` means here, in words.
        pub message: String,
        /// Filled by verification of a single AWS load balancer.
        pub alb: Option<AlbStatus>,
        /// Filled by verification of several AWS load balancers.
        pub albs: Vec<AlbStatus>,
        /// How long the update took.
        pub duration: Option<RolloutDuration>,
        /// The one thing waited for while nothing moves (guarantee D6). Not part of the original API.
        pub waiting_for: Option<WaitingFor>,
    }

    /// The one thing a rollout waits for.
    pub struct WaitingFor {
        /// A stable `CamelCase` word.
        pub reason: String,
        /// One sentence that names it.
        pub message: String,
        /// When the wait ends by itself; absent when only a change or a person ends it.
        #[schemars(schema_with = "scalar::time")]
        pub until: Option<Time>,
    }

    /// Why a rollout pauses.
    pub struct PauseCondition {
        /// `CanaryPauseStep`, `BlueGreenPause`, `InconclusiveAnalysisRun` or `InconclusiveExperiment`.
        pub reason: String,
        /// Since when.
        #[schemars(schema_with = "scalar::time")]
        pub start_time: Option<Time>,
    }

    /// One condition.
    pub struct RolloutCondition {
        /// Last time it changed in status.
        #[schemars(schema_with = "scalar::time")]
        pub last_transition_time: Option<Time>,
        /// Last time it was set.
        #[schemars(schema_with = "scalar::time")]
        pub last_update_time: Option<Time>,
        /// In words.
        pub message: String,
        /// One `CamelCase` word.
        pub reason: String,
        /// `True`, `False` or `Unknown`.
        pub status: String,
        /// Its type.
        pub r#type: String,
    }

    /// `status.canary`.
    pub struct CanaryStatus {
        /// Analysis of the current step.
        pub current_step_analysis_run_status: Option<RolloutAnalysisRunStatus>,
        /// Analysis beside the steps.
        pub current_background_analysis_run_status: Option<RolloutAnalysisRunStatus>,
        /// When `weights` were last written to the routers, which the data plane follows a little later. Not part of
        /// the original API.
        #[schemars(schema_with = "scalar::time")]
        pub weights_written_at: Option<Time>,
        /// Name of the current Experiment.
        pub current_experiment: String,
        /// Weights last written to the routers.
        pub weights: Option<TrafficWeights>,
        /// `ping` or `pong`.
        pub stable_ping_pong: String,
        /// State of step plugins.
        pub step_plugin_statuses: Vec<StepPluginStatus>,
    }

    /// `status.canary.stepPluginStatuses[]`.
    pub struct StepPluginStatus {
        /// Index of the step.
        pub index: i32,
        /// Name of the plugin.
        pub name: String,
        /// Why.
        pub message: String,
        /// When it was first called.
        #[schemars(schema_with = "scalar::time")]
        pub started_at: Option<Time>,
        /// When it was last called.
        #[schemars(schema_with = "scalar::time")]
        pub updated_at: Option<Time>,
        /// When it ended.
        #[schemars(schema_with = "scalar::time")]
        pub finished_at: Option<Time>,
        /// `Running`, `Successful`, `Failed` or `Error`.
        pub phase: String,
        /// `Run`, `Terminate` or `Abort`.
        pub operation: String,
        /// How often it was called.
        pub executions: i32,
        /// Time until the next call.
        pub backoff: String,
        /// Whether the plugin was disabled when the step came up.
        pub disabled: bool,
        /// What the plugin wants back at the next call.
        #[schemars(schema_with = "scalar::any_value")]
        pub status: Option<Value>,
    }

    /// `status.alb` and `status.albs[]`.
    pub struct AlbStatus {
        /// Name of the Ingress.
        pub ingress: String,
        /// The load balancer.
        pub load_balancer: AwsResourceRef,
        /// The canary's target group.
        pub canary_target_group: AwsResourceRef,
        /// The stable version's target group.
        pub stable_target_group: AwsResourceRef,
    }

    /// Names a resource in AWS.
    pub struct AwsResourceRef {
        /// Its name.
        pub name: String,
        /// Its ARN.
        pub arn: String,
        /// The last part of the ARN, as metrics use it.
        pub full_name: String,
    }

    /// `status.blueGreen`.
    pub struct BlueGreenStatus {
        /// Hash the preview Service selects.
        pub preview_selector: String,
        /// Hash the active Service selects.
        pub active_selector: String,
        /// Set once the preview passed its checkpoint.
        pub scale_up_preview_check_point: bool,
        /// Analysis before promotion.
        pub pre_promotion_analysis_run_status: Option<RolloutAnalysisRunStatus>,
        /// Analysis after promotion.
        pub post_promotion_analysis_run_status: Option<RolloutAnalysisRunStatus>,
    }

    /// A run, in short.
    pub struct RolloutAnalysisRunStatus {
        /// Its name.
        pub name: String,
        /// Its phase.
        pub status: String,
        /// Its message.
        pub message: String,
    }

    /// `status.canary.weights`.
    pub struct TrafficWeights {
        /// The canary's.
        pub canary: WeightDestination,
        /// The stable version's.
        pub stable: WeightDestination,
        /// Those of experiments.
        pub additional: Vec<WeightDestination>,
        /// Absent: not applicable; false: waiting for the data plane; true: confirmed.
        pub verified: Option<bool>,
    }

    /// One destination and its weight.
    pub struct WeightDestination {
        /// Share of requests, in percent or of `maxTrafficWeight`. Written also when 0.
        pub weight: Weight,
        /// The Service.
        pub service_name: String,
        /// The ReplicaSet.
        pub pod_template_hash: String,
    }

    /// `status.duration`.
    pub struct RolloutDuration {
        /// Start of the update.
        #[schemars(schema_with = "scalar::time")]
        pub rollout_started_at: Option<Time>,
        /// Start of the present pause for a person.
        #[schemars(schema_with = "scalar::time")]
        pub manual_pause_started_at: Option<Time>,
        /// Seconds spent waiting for a person.
        pub total_manual_pause_duration_seconds: i64,
        /// End of the update.
        #[schemars(schema_with = "scalar::time")]
        pub finished_at: Option<Time>,
        /// `Promoted`, `FastPromoted`, `Aborted`, `Superseded`, `RolledBack` or `FastRolledBack`.
        pub completion_status: String,
    }
}

/// A weight; unlike other numbers it is written also when 0.
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
pub struct Weight(pub i32);

impl scalar::Absent for Weight {
    fn absent(&self) -> bool {
        false
    }
}

impl RolloutStatus {
    /// The condition of this type, if there is one.
    pub fn condition(&self, r#type: &str) -> Option<&RolloutCondition> {
        self.conditions.iter().find(|condition| condition.r#type == r#type)
    }
}
