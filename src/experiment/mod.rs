//! Experiments: short-lived ReplicaSets beside each other, and the analyses that compare them (reference, rollouts 1.9
//! and 7). Decides everything about one Experiment from one snapshot.
//!
//! Pure and total. A bad specification is a condition in the plan's status, never an error. An end is for good
//! (`status.phase`); after it only what is left over goes: pods after their delay, Services after the pods, runs at once.

mod analyses;
pub mod names;
mod status;
mod templates;
mod validate;

use crate::{
    analysis::phase,
    api::{
        analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
        experiment::{Experiment, ExperimentSpec, ExperimentStatus, TemplateStatus},
        replica_set::ReplicaSet,
        scalar::wire_time,
        well_known,
    },
    lang::duration,
    plan::{Action, EventKind, EventRecord, ObjectRef, Plan, Precondition, StatusChange, merge_patch},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

pub use validate::{Problem, problems};

/// The status message of an Experiment that was ended by `spec.terminate`. Its phase may read `Successful` (clients of
/// the original expect that), so this message is what tells it from one that came to its own end.
pub const EXPERIMENT_TERMINATED: &str = "Experiment Terminated";

/// What one decision about an Experiment is based on.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The Experiment.
    pub experiment: &'a Experiment,
    /// ReplicaSets it controls, and whoever holds a name that it would give to one.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Services it controls, and whoever holds a name that it would give to one.
    pub services: Vec<&'a Service>,
    /// AnalysisRuns it controls, and whoever holds a name that it would give to one.
    pub analysis_runs: Vec<&'a AnalysisRun>,
    /// Every `AnalysisTemplate` of its namespace that it refers to, directly or through other templates.
    pub analysis_templates: Vec<&'a AnalysisTemplate>,
    /// Every `ClusterAnalysisTemplate` that it refers to, directly or through other templates.
    pub cluster_analysis_templates: Vec<&'a ClusterAnalysisTemplate>,
    /// The moment of the decision.
    pub now: Timestamp,
}

/// Whether this controller looks after the Experiment: the instance id is equal, or there is none on either side.
pub fn is_managed(experiment: &Experiment, instance_id: &str) -> bool {
    let labels = experiment.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(well_known::INSTANCE_ID));
    label.map_or("", String::as_str) == instance_id
}

/// Whether an Experiment is evidence to promote on (guarantee D1): it ended `Successful`, and by itself.
pub fn is_evidence(experiment: &Experiment) -> bool {
    let status = experiment.status.clone().unwrap_or_default();
    status.phase == "Successful" && status.message != EXPERIMENT_TERMINATED && !experiment.spec.terminate
}

/// Decides what to do about an Experiment.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    if snapshot.experiment.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let view = View::of(snapshot);
    let mut work = Work::default();
    let mut status = view.resumed();
    let is_invalid = status
        .conditions
        .iter()
        .any(|known| known.r#type == status::INVALID_SPEC);
    if !phase::completed(&status.phase) || is_invalid {
        let problems = validate::problems(snapshot.experiment);
        if problems.is_empty() {
            advance(&view, &mut status, &mut work);
        } else {
            status::invalid(&view, &problems, &mut status, &mut work);
        }
    }
    if phase::completed(&status.phase) {
        templates::finish(&view, &mut status);
        analyses::stop(&view, &mut status, &mut work);
    }
    templates::wind_down(&view, &status, &mut work);
    status::condition(&view, &mut status);
    conclude(&view, &status, work)
}

/// What to record when the API server refused to create an object, for instance because a pod template is invalid. A
/// refusal does not heal by asking again.
pub fn plan_after_refusal(snapshot: &Snapshot<'_>, target: &ObjectRef, refusal: &str) -> Plan {
    let view = View::of(snapshot);
    let mut work = Work::default();
    let mut status = view.resumed();
    if phase::completed(&status.phase) {
        return Plan::default();
    }
    templates::refused(&view, target, refusal, &mut status);
    analyses::refused(target, refusal, &mut status);
    (status.phase, status.message) = status::phase(&view, &status);
    work.because.push(("CreationRefused", format!("{target}: {refusal}")));
    status::condition(&view, &mut status);
    work.wakes.push(view.now());
    conclude(&view, &status, work)
}

/// One pass of an Experiment that has not ended.
fn advance(view: &View<'_>, status: &mut ExperimentStatus, work: &mut Work) {
    templates::advance(view, status, work);
    let running = |template: &TemplateStatus| template.status == "Running";
    if status.available_at.is_none() && !view.spec.terminate && status.template_statuses.iter().all(running) {
        status.available_at = Some(wire_time(view.now()));
    }
    if let Some(ends) = view.ends_at(status).filter(|ends| *ends > view.now()) {
        work.wakes.push(ends);
    }
    analyses::advance(view, status, work);
    (status.phase, status.message) = status::phase(view, status);
}

/// Turns statuses and work into a plan.
fn conclude(view: &View<'_>, status: &ExperimentStatus, work: Work) -> Plan {
    let mut plan = Plan::default();
    let Work {
        additions,
        removals,
        wakes,
        events,
        because,
    } = work;
    // What only adds goes first, what takes away second: if the first is refused, nothing is lost.
    plan.stage(additions);
    plan.stage(removals);
    for wake in wakes {
        plan.wake(wake.max(view.now()));
    }
    for (code, message) in because {
        plan.because(code, message);
    }
    let all = status::transitions(&view.before, status).into_iter().chain(events);
    plan.events = all
        .map(|(kind, reason, message)| EventRecord {
            about: view.target(),
            uid: view.snapshot.experiment.metadata.uid.clone(),
            kind,
            reason,
            message,
        })
        .collect();
    // The types have only text keys and finite numbers, so encoding them cannot fail.
    let tree = |status: &ExperimentStatus| serde_json::to_value(status).unwrap_or(Value::Null);
    if let Some(patch) = merge_patch(&tree(&view.before), &tree(status)) {
        plan.status = StatusChange::Merge {
            target: view.target(),
            patch: json!({ "status": patch }),
            subresource: false,
            precondition: view.precondition(),
        };
    }
    plan
}

/// What a decision comes to, beside the status.
#[derive(Debug, Default)]
struct Work {
    additions: Vec<Action>,
    removals: Vec<Action>,
    wakes: Vec<Timestamp>,
    events: Vec<(EventKind, String, String)>,
    because: Vec<(&'static str, String)>,
}

/// The snapshot with what every part of a decision needs.
struct View<'a> {
    snapshot: &'a Snapshot<'a>,
    spec: &'a ExperimentSpec,
    before: ExperimentStatus,
}

impl<'a> View<'a> {
    fn of(snapshot: &'a Snapshot<'a>) -> Self {
        Self {
            snapshot,
            spec: &snapshot.experiment.spec,
            before: snapshot.experiment.status.clone().unwrap_or_default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.snapshot.now
    }

    fn name(&self) -> &'a str {
        self.snapshot.experiment.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &'a str {
        self.snapshot
            .experiment
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default()
    }

    fn target(&self) -> ObjectRef {
        ObjectRef::namespaced(crate::api::API_VERSION, "Experiment", self.namespace(), self.name())
    }

    fn precondition(&self) -> Precondition {
        let metadata = &self.snapshot.experiment.metadata;
        Precondition {
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        }
    }

    /// The status to go on from. A specification that was wrong from the beginning and is right now begins anew.
    fn resumed(&self) -> ExperimentStatus {
        let mut status = self.before.clone();
        let was_invalid = (status.conditions.iter()).any(|known| known.r#type == status::INVALID_SPEC);
        if was_invalid && validate::problems(self.snapshot.experiment).is_empty() {
            status.conditions.retain(|known| known.r#type != status::INVALID_SPEC);
            if status.template_statuses.is_empty() {
                status.phase.clear();
                status.message.clear();
            }
        }
        status
    }

    /// When the duration is over; `None` before everything was available, and without a duration.
    fn ends_at(&self, status: &ExperimentStatus) -> Option<Timestamp> {
        let duration = duration::parse(&self.spec.duration).ok()?;
        let since = status.available_at.as_ref()?.0;
        Some(since.checked_add(duration).unwrap_or(Timestamp::MAX))
    }

    fn is_over(&self, status: &ExperimentStatus) -> bool {
        self.ends_at(status).is_some_and(|ends| ends <= self.now())
    }

    /// Whether the Experiment controls an object with these owners.
    fn controls<K: kube::Resource>(&self, object: &K) -> bool {
        let uid = self.snapshot.experiment.metadata.uid.as_deref();
        let mut owners = object.meta().owner_references.iter().flatten();
        uid.is_some() && owners.any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
    }

    fn owner_reference(&self) -> Value {
        json!({
            "apiVersion": crate::api::API_VERSION,
            "kind": "Experiment",
            "name": self.name(),
            "uid": self.snapshot.experiment.metadata.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }

    /// The label that shards objects among controllers, for children.
    fn instance_id(&self) -> Option<&'a str> {
        let labels = self.snapshot.experiment.metadata.labels.as_ref()?;
        labels.get(well_known::INSTANCE_ID).map(String::as_str)
    }
}

/// `at` plus whole seconds; `at` itself at the end of time.
fn later(at: Timestamp, seconds: i32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(i64::from(seconds.max(0))))
        .unwrap_or(at)
}

#[cfg(test)]
mod tests;
