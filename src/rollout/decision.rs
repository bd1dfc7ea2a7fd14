//! What a strategy decided, before it is turned into writes and a status.

use super::{progress::Progress, restart::Restart};
use crate::{
    api::{
        replica_set::ReplicaSet,
        rollout_status::{TrafficWeights, WaitingFor},
        scalar::wire_time,
    },
    plan::{Action, EventKind, PodWrite},
    traffic::routes::Route,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A decision about one Rollout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decision<'a> {
    /// Where the update stands afterwards.
    pub(crate) progress: Progress,
    /// The hash recorded as stable afterwards.
    pub(crate) stable_rs: String,
    /// Whether the ping-pong Services swap roles, because all requests go to the canary's.
    pub(crate) swaps_sides: bool,
    /// Whether requests are on their way from the Services of before to those that the specification names now.
    pub(crate) hands_over: bool,
    /// Why the new ReplicaSet is promoted now, if it is.
    pub(crate) promotion: Option<String>,
    /// Why it is aborted now, if it is: the text after `Rollout aborted update to revision N`.
    pub(crate) aborts_because: Option<String>,
    /// Size of the new ReplicaSet when it must be created.
    pub(crate) create_with: i32,
    /// Sizes and deadlines of ReplicaSets that exist.
    pub(crate) sizes: Vec<Sizing<'a>>,
    /// Hash each Service must select.
    pub(crate) selectors: Vec<(String, String)>,
    /// Edits of routers.
    pub(crate) routes: Vec<Action>,
    /// Weights as handed to the routers; absent without a router.
    pub(crate) weights: Option<TrafficWeights>,
    /// When they were last written.
    pub(crate) weights_written_at: Option<Time>,
    /// Header and mirror routes the routers should have; absent: those that are there stay.
    pub(crate) managed_routes: Option<Vec<Route<'a>>>,
    /// Whether the routes of the step are to be written by the next pass.
    pub(crate) announces_routes: bool,
    /// Whether a router's own objects lead a side to other pods than the newest version's, as read.
    pub(crate) leads_elsewhere: bool,
    /// AnalysisRuns to create, stop and delete.
    pub(crate) runs: Vec<Action>,
    /// Evictions and changed metadata of single pods.
    pub(crate) pods: Vec<PodWrite>,
    /// What becomes of `spec.restartAt`.
    pub(crate) restart: Restart,
    /// The one thing waited for.
    pub(crate) waiting: Option<WaitingFor>,
    /// Events: severity, reason, message.
    pub(crate) events: Vec<(EventKind, &'static str, String)>,
    /// When to look again.
    pub(crate) wakes: Vec<Timestamp>,
    /// Whether the update is at a step that may take long by design, so that the progress deadline does not run.
    pub(crate) at_waiting_step: bool,
    /// Whether nothing may be written but the status.
    pub(crate) frozen: bool,
}

impl Decision<'_> {
    pub(crate) fn event(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push((EventKind::Normal, reason, message.into()));
    }

    pub(crate) fn warning(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push((EventKind::Warning, reason, message.into()));
    }

    /// Names the one thing waited for; the first one named stays.
    pub(crate) fn wait_for(&mut self, reason: &str, message: impl Into<String>, until: Option<Timestamp>) {
        if let Some(until) = until {
            self.wakes.push(until);
        }
        if self.waiting.is_none() {
            let until = until.map(wire_time);
            self.waiting = Some(WaitingFor {
                reason: reason.to_owned(),
                message: message.into(),
                until,
            });
        }
    }
}

/// Wanted size and deadline of one ReplicaSet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizing<'a> {
    /// The ReplicaSet.
    pub(crate) set: &'a ReplicaSet,
    /// Pods.
    pub(crate) replicas: i32,
    /// What happens to its scale-down deadline.
    pub(crate) deadline: Deadline,
}

impl<'a> Sizing<'a> {
    /// A ReplicaSet in use: sized, and without a deadline.
    pub(crate) fn in_use(set: &'a ReplicaSet, replicas: i32) -> Self {
        let deadline = if set.scale_down_deadline().is_some() {
            Deadline::Clear
        } else {
            Deadline::Keep
        };
        Self {
            set,
            replicas,
            deadline,
        }
    }
}

/// What happens to a scale-down deadline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deadline {
    /// It stays as it is.
    Keep,
    /// It is set.
    Set(Timestamp),
    /// It is removed, because the ReplicaSet is in use.
    Clear,
}

impl<'a> Decision<'a> {
    /// Scaling halts: every ReplicaSet keeps its size, and one that is missing is made without pods.
    pub(crate) fn freeze(&mut self, view: &super::view::View<'a>) {
        self.sizes = (view.revisions.all().into_iter())
            .map(|set| Sizing {
                set,
                replicas: set.replicas(),
                deadline: Deadline::Keep,
            })
            .collect();
        self.create_with = 0;
    }

    /// Nothing moves: what is recorded stays.
    pub(crate) fn frozen(view: &super::view::View<'a>) -> Self {
        let canary = view.status.canary.clone().unwrap_or_default();
        Self {
            progress: view.progress.clone(),
            stable_rs: view.status.stable_rs.clone(),
            weights: canary.weights,
            weights_written_at: canary.weights_written_at,
            at_waiting_step: true,
            frozen: true,
            ..Decision::default()
        }
    }
}
