//! `workloadRef.scaleDown`: how many pods the Deployment keeps while the Rollout's come, and how it gets them back.
//!
//! The Deployment itself remembers, in one annotation, who scaled it down and how many pods it had: a Rollout that is
//! deleted can remember nothing, and no finalizer may hold it when Argo Rollouts takes over again.
//! The Rollout's own sizes never count the Deployment's pods, so nothing but this file depends on them.

use super::super::{decision::Decision, replicas, view::View};
use crate::{
    api::{
        replica_set::ReplicaSet,
        well_known,
        workload::{Workload, WorkloadKind},
    },
    plan::{Action, EventKind, EventRecord, ObjectRef, Plan, Precondition, StatusChange},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Field manager of the size of a Deployment.
const SCALE_MANAGER: &str = "tidegate-scale";
/// Seconds between two times that a Deployment is scaled down after somebody else scaled it up: an automation that puts
/// its number back at once is not answered at once, so that the two do not make pods for nothing all day.
const AGAIN_SECONDS: i64 = 60;

/// `workloadRef.scaleDown`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// The Deployment keeps its pods, and gets them back if it had lost them.
    Never,
    /// It loses them once the Rollout is healthy.
    OnSuccess,
    /// It loses them as the Rollout's become available.
    Progressively,
}

impl Mode {
    /// Reads the field; absent means never.
    pub(crate) fn of(text: &str) -> Option<Self> {
        match text {
            "" | "never" => Some(Self::Never),
            "onsuccess" => Some(Self::OnSuccess),
            "progressively" => Some(Self::Progressively),
            _ => None,
        }
    }
}

/// What a Deployment that was scaled down remembers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Record {
    /// The Rollout it was done for, in the same namespace.
    pub(crate) rollout: String,
    /// Pods it gets back: as many as it had, or as the Rollout had since, if those were more.
    pub(crate) replicas: i32,
    /// Pods it was left with; another number means that somebody else scaled it since.
    pub(crate) set: i32,
    /// When that was.
    pub(crate) at: Option<Timestamp>,
}

impl Record {
    /// What a Deployment remembers, if it was scaled down and the record can be read.
    pub(crate) fn of(workload: &Workload) -> Option<Self> {
        serde_json::from_str(workload.annotation(well_known::SCALED_DOWN)?).ok()
    }
}

/// What is known of the Rollout.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// Pods it wants.
    replicas: i32,
    /// Pods that must be available at any time, of both together (guarantee T6).
    floor: i32,
    /// Pods of it that are available and answer, and that this very plan does not take away.
    available: i32,
    /// Whether nothing was promoted yet.
    is_first: bool,
    /// Since when requests lead to nothing but it, a drain time after it became healthy; absent while it is not.
    settled_at: Option<Timestamp>,
    /// Whether a Service of it selects its pods alone, so that the Deployment's lose their requests at one blow.
    cuts_over: bool,
    now: Timestamp,
}

/// What is known of the Deployment.
#[derive(Clone, Debug)]
struct Size {
    replicas: i32,
    available: i32,
    /// Whether its status is about its present size.
    is_current: bool,
    record: Option<Record>,
}

/// What is to become of the Deployment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Move {
    /// Nothing, as long as nothing changes.
    Hold,
    /// Nothing before this time.
    HoldUntil(Timestamp),
    /// This many pods.
    To(i32),
    /// It gets its pods back.
    GiveBack,
    /// Its pods stay as they are, but it would get more back than it remembers.
    Remember,
}

/// Decides about the Deployment that the Rollout refers to.
fn decide(mode: Mode, facts: &Facts, size: &Size) -> Move {
    if mode == Mode::Never {
        return size.record.as_ref().map_or(Move::Hold, |_| Move::GiveBack);
    }
    let remembers = size.record.as_ref().map(|record| record.replicas);
    let otherwise = match remembers {
        Some(remembers) if remembers < facts.replicas => Move::Remember,
        _ => Move::Hold,
    };
    // A Rollout of no pods takes nobody's place. One whose Deployment is being scaled is looked at when that is seen.
    if facts.replicas == 0 || !size.is_current {
        return otherwise;
    }
    let goal = match mode {
        Mode::Progressively => shared(facts, size),
        Mode::OnSuccess if facts.settled_at.is_some() => 0,
        Mode::Never | Mode::OnSuccess => return otherwise,
    };
    if goal < size.replicas {
        let waits = (mode == Mode::OnSuccess || facts.cuts_over) && goal == 0;
        return match (waits, facts.settled_at) {
            (true, None) => otherwise,
            (true, Some(settled)) if settled > facts.now => Move::HoldUntil(settled),
            _ => not_at_once(goal, facts, size),
        };
    }
    // Only before the first promotion: after that the Rollout mends its losses by itself.
    if facts.is_first && goal > size.replicas && remembers.is_some() {
        let goal = goal.min(remembers.unwrap_or_default());
        return if goal > size.replicas {
            Move::To(goal)
        } else {
            otherwise
        };
    }
    otherwise
}

/// Scales down, but not at once after the last time if somebody else has scaled up since.
fn not_at_once(goal: i32, facts: &Facts, size: &Size) -> Move {
    let overruled = size.record.as_ref().filter(|record| record.set < size.replicas);
    match overruled.and_then(|record| record.at) {
        Some(at) => {
            let again = super::super::view::later(at, AGAIN_SECONDS);
            if again > facts.now {
                Move::HoldUntil(again)
            } else {
                Move::To(goal)
            }
        }
        None => Move::To(goal),
    }
}

/// The pods that the Deployment keeps beside those of the Rollout that are available: the share that the Rollout still
/// lacks, and whatever more is needed so that both together stay above the floor although some of its own are not
/// available.
fn shared(facts: &Facts, size: &Size) -> i32 {
    let lacking = (facts.replicas - facts.available).max(0);
    let had = size.record.as_ref().filter(|record| record.set >= size.replicas);
    let had = had.map_or(size.replicas, |record| record.replicas).max(facts.replicas);
    let share = i64::from(had) * i64::from(lacking);
    let share = (share + i64::from(facts.replicas) - 1) / i64::from(facts.replicas.max(1));
    let share = i32::try_from(share).unwrap_or(i32::MAX);
    let needed = facts.floor - facts.available;
    if needed <= 0 {
        return share;
    }
    let spare = (size.available.min(size.replicas) - needed).max(0);
    // Which of its pods go is not for us to say: each one may be one that is available.
    share.max(size.replicas - spare)
}

/// Adds to a plan that changes nothing else what is to become of Deployments: a write that is refused must hold up
/// nothing, and a size is decided on what was seen, never on what the same plan does.
pub(crate) fn add(view: &View<'_>, decision: &Decision<'_>, plan: &mut Plan) {
    if !plan.stages.is_empty() || plan.status != StatusChange::Unchanged {
        return;
    }
    let named = view.spec.workload_ref.as_ref();
    let referred = (view.snapshot.referred.as_ref())
        .filter(|referred| referred.kind == WorkloadKind::Deployment)
        .and_then(|referred| referred.found);
    for workload in view.snapshot.scaled_down.iter().copied() {
        let refers = named.is_some_and(|named| {
            WorkloadKind::of(&named.api_version, &named.kind) == Some(WorkloadKind::Deployment)
                && named.name == workload.name()
        });
        if !refers {
            give_back(workload, view.replicas, "the Rollout refers to it no more", plan);
        }
    }
    let (Some(workload), Some(mode)) = (referred, named.and_then(|named| Mode::of(&named.scale_down))) else {
        return;
    };
    let record = Record::of(workload);
    if record.as_ref().is_some_and(|record| record.rollout != view.name()) {
        plan.because(
            "ScaledDownByAnother",
            format!("Deployment {} is scaled down by another Rollout", workload.name()),
        );
        return;
    }
    let size = Size {
        replicas: workload.replicas(),
        available: workload.status.available_replicas,
        is_current: workload.status_is_current(),
        record,
    };
    // What is wrong, or paused by the user, takes nothing away.
    let is_held = decision.frozen || view.spec.paused;
    match decide(mode, &facts(view, decision), &size) {
        Move::GiveBack => give_back(workload, view.replicas, "scaleDown is never", plan),
        Move::HoldUntil(at) if !is_held => plan.wake(at),
        Move::To(goal) if !is_held || goal > size.replicas => scale(view, workload, &size, goal, plan),
        Move::Remember if !is_held => {
            let record = size.record.as_ref().map(|record| Record {
                replicas: view.replicas,
                ..record.clone()
            });
            plan.stage(vec![write(workload, None, record.as_ref())]);
        }
        Move::Hold | Move::HoldUntil(_) | Move::To(_) | Move::Remember => {}
    }
}

fn facts(view: &View<'_>, decision: &Decision<'_>) -> Facts {
    let canary = view.spec.strategy.canary.as_ref();
    let unavailable = canary.map_or(0, |canary| {
        replicas::budget(
            canary.max_surge.as_ref(),
            canary.max_unavailable.as_ref(),
            view.replicas,
        )
        .unavailable
    });
    Facts {
        replicas: view.replicas,
        floor: view.replicas - unavailable,
        available: available(view, decision).min(view.replicas),
        is_first: view.is_initial(),
        settled_at: healthy_since(view).map(|since| view.drained_at(since)),
        cuts_over: canary.is_none_or(|canary| !canary.stable_service.is_empty() || canary.traffic_routing.is_some()),
        now: view.now(),
    }
}

/// Available pods of the Rollout that take requests from the Deployment's place.
fn available(view: &View<'_>, decision: &Decision<'_>) -> i32 {
    let kept = |set: &ReplicaSet| {
        let sizing = decision.sizes.iter().find(|sizing| sizing.set.name() == set.name());
        set.available().min(sizing.map_or(i32::MAX, |sizing| sizing.replicas))
    };
    let (new, stable) = (view.revisions.new, view.revisions.stable);
    if view.is_initial() {
        return new.map_or(0, kept);
    }
    if let Some(blue_green) = &view.spec.strategy.blue_green {
        let active = view.selected_hash(&blue_green.active_service).unwrap_or_default();
        return view.revisions.with_hash(active).map_or(0, kept);
    }
    let routed = (view.spec.strategy.canary.as_ref()).is_some_and(|canary| canary.traffic_routing.is_some());
    let other = new.filter(|new| !routed && stable.is_none_or(|stable| stable.name() != new.name()));
    stable.map_or(0, kept) + other.map_or(0, kept)
}

/// Since when the Rollout is healthy, by a status that is about it as it is.
fn healthy_since(view: &View<'_>) -> Option<Timestamp> {
    let generation = view.snapshot.rollout.metadata.generation?.to_string();
    let is_healthy = view.status.phase == "Healthy"
        && view.status.observed_generation == generation
        && super::is_observed(view.snapshot, &view.status)
        && view.is_promoted()
        && view.new_available() >= view.replicas;
    let condition = view
        .status
        .condition("Healthy")
        .filter(|condition| is_healthy && condition.status == "True")?;
    Some(condition.last_transition_time.as_ref()?.0)
}

fn scale(view: &View<'_>, workload: &Workload, size: &Size, goal: i32, plan: &mut Plan) {
    let before = size.record.as_ref().filter(|record| record.set >= size.replicas);
    let had = before.map_or(size.replicas, |record| record.replicas);
    let record = Record {
        rollout: view.name().to_owned(),
        replicas: had.max(view.replicas),
        set: goal,
        // Whole seconds, as all times on the wire.
        at: Timestamp::from_second(view.now().as_second()).ok(),
    };
    let overruled = size.record.as_ref().is_some_and(|record| record.set < size.replicas);
    let (kind, hint) = match overruled && goal < size.replicas {
        true => (
            EventKind::Warning,
            "; somebody else had scaled it up (take spec.replicas out of its manifest, or set workloadRef.scaleDown to never)",
        ),
        false => (EventKind::Normal, ""),
    };
    told(workload, size.replicas, goal, (kind, hint), plan);
    plan.stage(vec![write(workload, Some(goal), Some(&record))]);
}

/// Gives a Deployment the pods back that it had, at least `at_least`, and forgets that it was scaled down. A size that
/// somebody else has given it since stays.
pub(super) fn give_back(workload: &Workload, at_least: i32, because: &str, plan: &mut Plan) {
    let Some(record) = Record::of(workload) else { return };
    let goal = match workload.replicas() == record.set {
        true => record.replicas.max(at_least),
        false => workload.replicas(),
    };
    if goal != workload.replicas() {
        told(workload, workload.replicas(), goal, (EventKind::Normal, ""), plan);
    }
    plan.because(
        "GivesBack",
        format!("Deployment {} gets its pods back: {because}", workload.name()),
    );
    plan.stage(vec![write(workload, Some(goal), None)]);
}

fn told(workload: &Workload, from: i32, to: i32, (kind, hint): (EventKind, &str), plan: &mut Plan) {
    let verb = if to > from { "up" } else { "down" };
    plan.events.push(EventRecord {
        about: reference(workload),
        uid: workload.metadata.uid.clone(),
        kind,
        reason: "ScalingDeployment".to_owned(),
        message: format!("Scaled {verb} Deployment {} from {from} to {to}{hint}", workload.name()),
    });
}

fn reference(workload: &Workload) -> ObjectRef {
    let kind = WorkloadKind::Deployment;
    ObjectRef::namespaced(kind.api_version(), kind.kind(), workload.namespace(), workload.name())
}

/// Size and record in one write, on the version it was decided on (guarantee C3): neither is there without the other.
fn write(workload: &Workload, replicas: Option<i32>, record: Option<&Record>) -> Action {
    let mark = record.map_or(Value::Null, |_| Value::from("true"));
    let record = record.and_then(|record| serde_json::to_string(record).ok());
    let mut patch = Map::from_iter([(
        "metadata".to_owned(),
        json!({ "labels": { well_known::SCALED_DOWN: mark }, "annotations": { well_known::SCALED_DOWN: record } }),
    )]);
    if let Some(replicas) = replicas {
        patch.insert("spec".to_owned(), json!({ "replicas": replicas }));
    }
    Action::Merge {
        target: reference(workload),
        patch: Value::Object(patch),
        manager: SCALE_MANAGER,
        precondition: Some(Precondition {
            uid: workload.metadata.uid.clone(),
            resource_version: workload.metadata.resource_version.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
