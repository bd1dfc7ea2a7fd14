//! Blue-green and canary strategies (reference, rollouts 1.2 to 1.4, 1.6 and 1.7).

use super::{
    analysis::{DryRun, MeasurementRetention},
    scalar::{self, IntOrString},
    traffic::{HeaderRoutingMatch, RolloutTrafficRouting, RouteMatch},
    wire, wire_required,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use std::collections::BTreeMap;

wire! {
    /// `spec.strategy.blueGreen`.
    pub struct BlueGreenStrategy {
        /// Service that selects the promoted ReplicaSet; required.
        pub active_service: String,
        /// Service that selects the new ReplicaSet before promotion.
        pub preview_service: String,
        /// Pods of the preview until its checkpoint; absent means all.
        pub preview_replica_count: Option<i32>,
        /// Absent means true; false waits for a person.
        pub auto_promotion_enabled: Option<bool>,
        /// Seconds until promotion without a person; 0 means at once.
        pub auto_promotion_seconds: i32,
        /// Pods that may be missing during a restart.
        pub max_unavailable: Option<IntOrString>,
        /// Seconds before the old active ReplicaSet is scaled down; absent means 30.
        pub scale_down_delay_seconds: Option<i32>,
        /// How many old ReplicaSets may wait in that delay.
        pub scale_down_delay_revision_limit: Option<i32>,
        /// Must succeed before the active Service is switched.
        pub pre_promotion_analysis: Option<RolloutAnalysis>,
        /// Must succeed after the switch, before the new ReplicaSet becomes stable.
        pub post_promotion_analysis: Option<RolloutAnalysis>,
        /// Keeps new pods off the nodes of old ones.
        pub anti_affinity: Option<AntiAffinity>,
        /// Metadata of preview pods while they are preview.
        pub preview_metadata: Option<PodTemplateMetadata>,
        /// Metadata of active pods while they are active.
        pub active_metadata: Option<PodTemplateMetadata>,
        /// Seconds before the preview of an aborted update is scaled down; absent means 30, 0 means never.
        pub abort_scale_down_delay_seconds: Option<i32>,
    }

    /// `spec.strategy.canary`.
    pub struct CanaryStrategy {
        /// Service that selects only canary pods.
        pub canary_service: String,
        /// Service that selects only stable pods.
        pub stable_service: String,
        /// The steps of an update, in order.
        pub steps: Vec<CanaryStep>,
        /// How requests are split; without it, by the ratio of pods.
        pub traffic_routing: Option<RolloutTrafficRouting>,
        /// Pods above `replicas` during an update; absent means 25 %. A string is always a percentage.
        pub max_surge: Option<IntOrString>,
        /// Pods that may be missing during an update; absent means 25 %. A string is always a percentage.
        pub max_unavailable: Option<IntOrString>,
        /// Analysis that runs beside the steps.
        pub analysis: Option<RolloutAnalysisBackground>,
        /// Keeps new pods off the nodes of old ones.
        pub anti_affinity: Option<AntiAffinity>,
        /// Metadata of canary pods while they are canary.
        pub canary_metadata: Option<PodTemplateMetadata>,
        /// Metadata of stable pods.
        pub stable_metadata: Option<PodTemplateMetadata>,
        /// Seconds before the old stable ReplicaSet is scaled down; with traffic routing only, absent means 30.
        pub scale_down_delay_seconds: Option<i32>,
        /// How many old ReplicaSets may wait in that delay.
        pub scale_down_delay_revision_limit: Option<i32>,
        /// Seconds before the canary of an aborted update is scaled down; absent means 30, 0 means never.
        pub abort_scale_down_delay_seconds: Option<i32>,
        /// Shrinks the stable ReplicaSet as the weight moves away from it.
        pub dynamic_stable_scale: bool,
        /// Two Services that swap roles at each promotion.
        pub ping_pong: Option<PingPongSpec>,
        /// Floor of pods for each ReplicaSet that is not at zero; traffic routing only.
        pub min_pods_per_replica_set: Option<i32>,
        /// How much of a ReplicaSet must be available to proceed; absent means all.
        pub replica_progress_threshold: Option<ReplicaProgressThreshold>,
    }

    /// `spec.strategy.canary.pingPong`.
    pub struct PingPongSpec {
        /// First Service.
        pub ping_service: String,
        /// Second Service.
        pub pong_service: String,
    }

    // The order of fields is that of the original, because the hash of the steps is taken over it.
    /// One step: exactly one member is intended.
    pub struct CanaryStep {
        /// Weight of the canary from here on, in percent (or of `maxTrafficWeight`).
        pub set_weight: Option<i32>,
        /// Wait for a time, or for a person.
        pub pause: Option<RolloutPause>,
        /// Run an Experiment and wait for it.
        pub experiment: Option<RolloutExperimentStep>,
        /// Run an analysis and wait for it.
        pub analysis: Option<RolloutAnalysis>,
        /// Size of the canary, apart from its weight; traffic routing only.
        pub set_canary_scale: Option<SetCanaryScale>,
        /// Sends requests with matching headers to the canary.
        pub set_header_route: Option<SetHeaderRoute>,
        /// Mirrors matching requests to the canary.
        pub set_mirror_route: Option<SetMirrorRoute>,
        /// A step carried out by a plugin.
        pub plugin: Option<PluginStep>,
    }

    /// `steps[].pause`.
    pub struct RolloutPause {
        /// Seconds, or a duration such as `10m`; absent waits until promoted.
        pub duration: Option<IntOrString>,
    }

    /// `steps[].setCanaryScale`: one member.
    pub struct SetCanaryScale {
        /// Percent of `replicas`.
        pub weight: Option<i32>,
        /// Number of pods.
        pub replicas: Option<i32>,
        /// Back to following the weight.
        pub match_traffic_weight: bool,
    }

    /// `steps[].setHeaderRoute`; without `match` the route is removed.
    pub struct SetHeaderRoute {
        /// Name of a managed route.
        pub name: String,
        /// All must match.
        pub r#match: Vec<HeaderRoutingMatch>,
    }

    /// `steps[].setMirrorRoute`; without `match` the route is removed.
    pub struct SetMirrorRoute {
        /// Name of a managed route.
        pub name: String,
        /// Any may match.
        pub r#match: Vec<RouteMatch>,
        /// Percent of matching requests; absent means 100.
        pub percentage: Option<i32>,
    }

    /// `steps[].plugin`.
    pub struct PluginStep {
        /// `namespace/name` of the plugin.
        pub name: String,
        /// Passed on to the plugin.
        #[schemars(schema_with = "scalar::any_value")]
        pub config: Option<Value>,
    }

    /// An analysis inside a rollout.
    pub struct RolloutAnalysis {
        /// The templates to run together.
        pub templates: Vec<AnalysisTemplateRef>,
        /// Arguments for them.
        pub args: Vec<AnalysisRunArgument>,
        /// Metrics whose verdict does not count.
        pub dry_run: Vec<DryRun>,
        /// How many measurements are kept.
        pub measurement_retention: Vec<MeasurementRetention>,
        /// Labels and annotations of the run.
        pub analysis_run_metadata: Option<PodTemplateMetadata>,
    }

    /// `spec.strategy.canary.analysis`: beside the steps.
    pub struct RolloutAnalysisBackground {
        /// The templates to run together.
        pub templates: Vec<AnalysisTemplateRef>,
        /// Arguments for them.
        pub args: Vec<AnalysisRunArgument>,
        /// Metrics whose verdict does not count.
        pub dry_run: Vec<DryRun>,
        /// How many measurements are kept.
        pub measurement_retention: Vec<MeasurementRetention>,
        /// Labels and annotations of the run.
        pub analysis_run_metadata: Option<PodTemplateMetadata>,
        /// Index of the step at which it starts; absent means 0.
        pub starting_step: Option<i32>,
    }

    /// Names an `AnalysisTemplate`.
    pub struct AnalysisTemplateRef {
        /// Its name.
        pub template_name: String,
        /// Whether it is a `ClusterAnalysisTemplate`.
        pub cluster_scope: Option<bool>,
    }

    /// An argument and where its value comes from.
    pub struct AnalysisRunArgument {
        /// Name of the argument.
        pub name: String,
        /// The value itself.
        pub value: Option<String>,
        /// Or where to take it from.
        pub value_from: Option<ArgumentValueFrom>,
    }

    /// Where an argument's value comes from, inside a rollout.
    pub struct ArgumentValueFrom {
        /// `Stable` or `Latest`: the hash of that ReplicaSet.
        pub pod_template_hash_value: Option<String>,
        /// A field of the Rollout.
        pub field_ref: Option<FieldRef>,
    }

    /// A path into an object.
    pub struct FieldRef {
        /// For instance `metadata.labels['team']` or `status.stableRS`.
        pub field_path: String,
    }

    /// Labels and annotations.
    pub struct PodTemplateMetadata {
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
    }

    /// Exactly one member.
    pub struct AntiAffinity {
        /// Weighted.
        pub preferred_during_scheduling_ignored_during_execution: Option<PreferredAntiAffinity>,
        /// Strict.
        #[schemars(schema_with = "scalar::any_object")]
        pub required_during_scheduling_ignored_during_execution: Option<Value>,
    }

    /// Weighted anti-affinity.
    pub struct PreferredAntiAffinity {
        /// 1 to 100.
        pub weight: i32,
    }

    /// `steps[].experiment`.
    pub struct RolloutExperimentStep {
        /// ReplicaSets to run.
        pub templates: Vec<RolloutExperimentTemplate>,
        /// How long; absent until its analyses end.
        pub duration: String,
        /// Analyses that judge it.
        pub analyses: Vec<RolloutExperimentAnalysis>,
        /// Metrics whose verdict does not count.
        pub dry_run: Vec<DryRun>,
        /// Labels and annotations of its runs.
        pub analysis_run_metadata: Option<PodTemplateMetadata>,
        /// Seconds before its ReplicaSets are scaled down; absent means 30.
        pub scale_down_delay_seconds: Option<i32>,
    }

    /// `steps[].experiment.templates[]`.
    pub struct RolloutExperimentTemplate {
        /// Its name.
        pub name: String,
        /// `canary` or `stable`.
        pub spec_ref: String,
        /// Pods; absent means 1.
        pub replicas: Option<i32>,
        /// Labels and annotations of its pods.
        pub metadata: Option<PodTemplateMetadata>,
        /// Selector of its pods.
        #[schemars(schema_with = "scalar::label_selector")]
        pub selector: Option<LabelSelector>,
        /// Share of traffic in percent; traffic routing only.
        pub weight: Option<i32>,
        /// Service in front of it.
        pub service: Option<TemplateService>,
    }

    /// A Service for an experiment's template.
    pub struct TemplateService {
        /// Its name; absent means the ReplicaSet's.
        pub name: String,
    }

    /// `steps[].experiment.analyses[]`.
    pub struct RolloutExperimentAnalysis {
        /// Name of the analysis.
        pub name: String,
        /// Its template.
        pub template_name: String,
        /// Whether that is cluster-scoped.
        pub cluster_scope: bool,
        /// Arguments.
        pub args: Vec<AnalysisRunArgument>,
        /// Whether its success completes the experiment.
        pub required_for_completion: bool,
    }
}

wire_required! {
    /// `spec.strategy.canary.replicaProgressThreshold`.
    pub struct ReplicaProgressThreshold {
        /// `Percent` or `Pods`.
        pub r#type: String,
        /// Percentage or number of pods.
        pub value: i32,
    }
}
