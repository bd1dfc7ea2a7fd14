//! What one decision about a Rollout is based on: immutable, borrowed, complete.

use super::workload::Referred;
use crate::{
    api::{
        analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
        experiment::Experiment,
        replica_set::ReplicaSet,
        rollout::Rollout,
        workload::Workload,
    },
    traffic::foreign::{Foreign, ForeignKind, Unserved},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    networking::v1::Ingress,
};

/// Objects read together, the time, and settings.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The Rollout. Where it refers to a workload, it has the pod template of that, and its selector if it has none of
    /// its own (`workload::resolve`).
    pub rollout: &'a Rollout,
    /// What it takes its pod template from, if it refers to something of a kind that can be.
    pub referred: Option<Referred<'a>>,
    /// Deployments of its namespace that it scaled down, whether or not it still refers to them.
    pub scaled_down: Vec<&'a Workload>,
    /// ReplicaSets of its namespace that it controls, and those without a controller whose labels its selector matches.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Services of its namespace that its specification names, and those annotated as managed by it.
    pub services: Vec<&'a Service>,
    /// Ingresses of its namespace that its specification names (stable Ingresses and the canary Ingresses derived from
    /// them), and those it controls.
    pub ingresses: Vec<&'a Ingress>,
    /// Objects of other projects that its routers look at.
    pub foreign: Vec<Foreign<'a>>,
    /// Kinds of other projects that its specification names and that cannot be read.
    pub unserved: &'a [Unserved],
    /// The `apiVersion` under which the cluster serves each of the other kinds that its specification names.
    pub served: &'a [(ForeignKind, String)],
    /// AnalysisRuns it controls.
    pub analysis_runs: Vec<&'a AnalysisRun>,
    /// Experiments it controls, and whoever holds the name of the one it is at.
    pub experiments: Vec<&'a Experiment>,
    /// Every `AnalysisTemplate` of its namespace that it refers to, directly or through other templates.
    pub analysis_templates: Vec<&'a AnalysisTemplate>,
    /// Every `ClusterAnalysisTemplate` that it refers to, directly or through other templates.
    pub cluster_analysis_templates: Vec<&'a ClusterAnalysisTemplate>,
    /// Its pods, where the decision needs them (`rollout::pods_wanted`).
    pub pods: Pods<'a>,
    /// Settings of the controller.
    pub settings: &'a Settings,
    /// The moment of the decision.
    pub now: Timestamp,
}

/// Pods, listed from the API server for one decision: pods are not watched.
#[derive(Clone, Debug, Default)]
pub enum Pods<'a> {
    /// Nobody asked.
    #[default]
    Unlisted,
    /// Every pod that the Rollout's selector selects.
    Listed(&'a [Pod]),
    /// The API server refused, or did not answer: why, in one word.
    Unlistable(&'a str),
}

/// Settings of the controller that decisions depend on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Seconds after which a data plane that cannot be asked is taken to follow a written weight or selector
    /// (guarantee T3). ingress-nginx needs up to 4.3 s: a sync limiter of 3.3 s and a timer of 1 s.
    pub drain_seconds: u32,
    /// Only Rollouts with this instance id are managed; empty: only those without one.
    pub instance_id: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drain_seconds: 5,
            instance_id: String::new(),
        }
    }
}
