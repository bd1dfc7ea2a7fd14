//! Facts that every part of a decision needs, read once from the snapshot. Decides nothing.

use super::{
    progress::{self, Progress, Turn},
    revision::{self, Revisions},
    rollback_window,
    snapshot::Snapshot,
    workload,
};
use crate::api::{
    replica_set::ReplicaSet, rollout::RolloutSpec, rollout_status::RolloutStatus, strategy::CanaryStep, well_known,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;

/// The snapshot with roles assigned.
pub(crate) struct View<'a> {
    /// The snapshot.
    pub(crate) snapshot: &'a Snapshot<'a>,
    /// `rollout.spec`.
    pub(crate) spec: &'a RolloutSpec,
    /// `rollout.status` as read; empty when there is none.
    pub(crate) status: RolloutStatus,
    /// ReplicaSets by role.
    pub(crate) revisions: Revisions<'a>,
    /// Where the update stands.
    pub(crate) progress: Progress,
    /// Pods wanted.
    pub(crate) replicas: i32,
}

impl<'a> View<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot<'a>) -> Self {
        let spec = &snapshot.rollout.spec;
        let revisions = revision::assign(snapshot);
        let steps: &[CanaryStep] = spec.strategy.canary.as_ref().map_or(&[], |canary| &canary.steps);
        let progress = progress::resume(snapshot, &revisions, steps);
        let status = snapshot.rollout.status.clone().unwrap_or_default();
        let mut view = Self {
            snapshot,
            spec,
            status,
            revisions,
            progress,
            replicas: (spec.replicas)
                .unwrap_or_else(|| workload::replicas_if_absent(snapshot))
                .max(0),
        };
        if view.begins_rollback_in_window() {
            view.progress.step_index = steps.len();
        }
        view
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.snapshot.now
    }

    pub(crate) fn name(&self) -> &'a str {
        self.snapshot.rollout.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &'a str {
        self.snapshot.rollout.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Whether nothing was ever promoted: the new ReplicaSet is then the only one that can serve, and steps make no sense.
    pub(crate) fn is_initial(&self) -> bool {
        self.status.stable_rs.is_empty()
    }

    /// Whether the promoted ReplicaSet was deleted in the middle of an update. No evidence for the new one (guarantee D1).
    pub(crate) fn stable_is_lost(&self) -> bool {
        !self.is_initial() && !self.is_promoted() && self.revisions.stable.is_none()
    }

    /// The name that the lost stable ReplicaSet had, if it is lost.
    pub(crate) fn lost_stable(&self) -> Option<String> {
        (self.stable_is_lost()).then(|| format!("{}-{}", self.name(), self.status.stable_rs))
    }

    /// The name of the ReplicaSet of the current pod template.
    pub(crate) fn new_name(&self) -> String {
        self.revisions.new.map_or_else(
            || format!("{}-{}", self.name(), self.revisions.hash),
            |set| set.name().to_owned(),
        )
    }

    /// Whether the name of the ReplicaSet to be created is held by one of our own with another template, as one that
    /// was edited in place.
    pub(crate) fn name_is_taken(&self) -> bool {
        let name = self.new_name();
        self.revisions.new.is_none() && self.revisions.all().iter().any(|set| set.name() == name)
    }

    /// When the status first said that the ReplicaSet of the current pod template was created.
    pub(crate) fn created_since(&self) -> Option<Timestamp> {
        let progressing = self.status.condition("Progressing")?;
        let named = progressing.reason == "NewReplicaSetCreated"
            && progressing.message == format!("Created new replica set \"{}\"", self.new_name());
        named.then_some(progressing.last_update_time.as_ref()?.0)
    }

    /// Whether the current template is the promoted one.
    pub(crate) fn is_promoted(&self) -> bool {
        !self.status.stable_rs.is_empty() && self.status.stable_rs == self.revisions.hash
    }

    /// Whether an update begins in this pass that goes back to a version within the rollback window.
    pub(crate) fn begins_rollback_in_window(&self) -> bool {
        matches!(self.progress.turn, Turn::NewTemplate | Turn::NewSteps) && rollback_window::contains(self)
    }

    /// Available pods of the new ReplicaSet.
    pub(crate) fn new_available(&self) -> i32 {
        self.revisions.new.map_or(0, ReplicaSet::available)
    }

    /// Available pods of the stable ReplicaSet.
    pub(crate) fn stable_available(&self) -> i32 {
        self.revisions.stable.map_or(0, ReplicaSet::available)
    }

    /// Time after which the data plane is taken to follow something written at `written`, which is stored in whole
    /// seconds.
    pub(crate) fn drained_at(&self, written: Timestamp) -> Timestamp {
        match self.snapshot.settings.drain_seconds {
            0 => written,
            seconds => later(written, i64::from(seconds) + 1),
        }
    }

    /// Whether the user scaled: a ReplicaSet in use was last sized for another `spec.replicas`.
    pub(crate) fn is_scaling_event(&self) -> bool {
        let sized_for = |set: &ReplicaSet| set.annotation(well_known::DESIRED_REPLICAS)?.parse::<i32>().ok();
        let in_use = self
            .revisions
            .new
            .into_iter()
            .chain(self.revisions.stable)
            .filter(|set| set.replicas() > 0);
        in_use.filter_map(sized_for).any(|replicas| replicas != self.replicas)
    }

    /// The Service of this name.
    pub(crate) fn service(&self, name: &str) -> Option<&'a Service> {
        self.snapshot
            .services
            .iter()
            .copied()
            .find(|service| service.metadata.name.as_deref() == Some(name))
    }

    /// The hash a Service selects; empty when it exists without one, `None` when it does not exist.
    pub(crate) fn selected_hash(&self, service: &str) -> Option<&'a str> {
        let selector = self
            .service(service)?
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        Some(
            selector
                .and_then(|selector| selector.get(well_known::POD_TEMPLATE_HASH))
                .map_or("", String::as_str),
        )
    }
}

/// `at` plus whole seconds; `at` itself at the end of time.
pub(crate) fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}
