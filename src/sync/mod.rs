//! GitOps: what one Application needs now, as a pure function of what its source says and what the cluster has.
//!
//! [`plan`] is the whole order of business. An operation is a state machine whose memory is `status.operationState`;
//! the caller writes the status, does the work, [`operation::record::record`]s what came of it, and plans again.

pub mod auto_sync;
pub mod compare;
pub mod diff;
pub mod finalizer;
pub mod health;
pub mod hold;
pub mod hooks;
pub mod images;
pub mod kinds;
pub mod operation;
pub mod options;
pub mod order;
mod pass;
pub mod project;
pub mod prune;
pub mod resource;
pub mod retry;
pub mod revisions;
pub mod status;
pub mod target;
pub mod validate;
pub mod waits;
pub mod windows;
pub mod work;

use crate::{
    api::{
        application::{Application, Operation, SyncOperation},
        application_status::{ApplicationStatus, Hold, OperationState, SyncOperationResult},
        scalar::wire_time,
        well_known::REFRESH,
    },
    plan::{EventRecord, Reason, Requeue},
};
use auto_sync::{Ancestry, AutoSync};
use compare::{Comparison, DryRuns, LiveObjects, Sides, SyncCode};
use jiff::{SignedDuration, Timestamp};
use kinds::Kinds;
use operation::{OperationPhase, Step};
use options::AppOptions;
use pass::Pass;
use project::Project;
use resource::{ResourceKey, instance_name};
use revisions::Revisions;
use serde_json::Value;
use status::Finding;
use std::{borrow::Cow, sync::Arc};
use target::{Destination, TargetSet};
use waits::WaitLimits;
use work::Batches;

/// A source that does not answer leaves the last comparison standing for this long.
pub const SOURCE_ERROR_GRACE: SignedDuration = SignedDuration::from_secs(180);
/// Steps of an operation decided in one pass without anything being written; more would be a defect.
const STEPS_MAX: usize = 16;
const DELETION_APPROVED: &str = "argocd.argoproj.io/deletion-approved";

/// What a source says, at certain commits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The commits.
    pub revisions: Revisions,
    /// The rendered objects of each source, in order.
    pub parts: Vec<Arc<Vec<Value>>>,
    /// `Directory` and so on, one for each source.
    pub source_types: Vec<String>,
    /// What the renderer passed over, for people (guarantee C6).
    pub notes: Vec<String>,
}

impl Desired {
    /// The rendered objects, in order.
    pub fn objects(&self) -> impl Iterator<Item = &Value> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

/// Why a source says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Repository and cause.
    pub message: String,
    /// Whether it may pass by itself, so that the last comparison is worth keeping for a while.
    pub is_transient: bool,
}

/// Everything one decision is based on.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The application.
    pub app: &'a Application,
    /// Namespace of the control plane.
    pub control_plane_namespace: &'a str,
    /// The source in effect at its newest commit.
    pub desired: Result<&'a Desired, &'a Failure>,
    /// What the running or requested operation is pinned to, when that is something else.
    pub pinned: Option<Result<&'a Desired, &'a Failure>>,
    /// Live objects: tracked ones, those targets name, and the destination namespace.
    pub live: &'a LiveObjects,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// The project.
    pub project: Project<'a>,
    /// Answers of dry runs asked for before.
    pub dry_runs: &'a DryRuns,
    /// How the newest commit relates to the deployed one.
    pub ancestry: Ancestry,
    /// How it relates to the one that is held back, if any.
    pub since_hold: Ancestry,
    /// How long an operation waits.
    pub limits: WaitLimits,
    /// Present moment.
    pub now: Timestamp,
}

/// What [`plan`] wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Try these bodies by server-side dry run, and plan again with the answers.
    DryRuns(Vec<(ResourceKey, Value)>),
    /// This.
    Decision(Box<Decision>),
}

/// What to do about an application.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The whole new status; equal to the old one when nothing changed. To be written before `work` is done.
    pub status: ApplicationStatus,
    /// Whether `operation` was taken over into the status and is to be removed.
    pub takes_operation: bool,
    /// Whether the refresh annotation was answered and is to be removed.
    pub answers_refresh: bool,
    /// `metadata.finalizers` as they are to be, where hooks of deletion came or went.
    pub finalizers: Option<Vec<String>>,
    /// What to do to objects.
    pub work: Batches,
    /// Events to record once the status was accepted.
    pub events: Vec<EventRecord>,
    /// When to decide again by itself.
    pub requeue: Requeue,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// Decides what an application needs now. The caller handles deletion (see [`finalizer`]) first.
pub fn plan(snapshot: &Snapshot<'_>) -> Outcome {
    let problems = validate::problems(snapshot.app, snapshot.project, snapshot.control_plane_namespace);
    let pass = Pass::new(snapshot);
    if !problems.is_empty() {
        return Outcome::Decision(Box::new(pass.invalid(problems)));
    }
    let current = match snapshot.desired {
        Ok(desired) => pass.compare(desired, pass.was_applied(desired)),
        Err(failure) => Err(failure.clone()),
    };
    if let Ok(current) = &current {
        let probes = probes(&current.comparisons, snapshot.dry_runs);
        if !probes.is_empty() {
            return Outcome::DryRuns(probes);
        }
    }
    Outcome::Decision(Box::new(pass.decide(current)))
}

/// Bodies that only a dry run can judge.
fn probes(comparisons: &[Comparison], answers: &DryRuns) -> Vec<(ResourceKey, Value)> {
    comparisons
        .iter()
        .filter(|comparison| comparison.needs_dry_run && !answers.contains_key(&comparison.key))
        .filter_map(|comparison| Some((comparison.key.clone(), comparison.prepared.as_ref()?.body.clone())))
        .collect()
}

#[cfg(test)]
mod tests;
