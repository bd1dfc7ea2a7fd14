//! `rollbackWindow`: going back to a recent version that was stable before skips the steps, or blue-green's gates
//! (reference, rollouts 1.1 and 4.6).
//!
//! Versions are ordered by their revision numbers: a ReplicaSet that is used again is old, and its number is new (hazard
//! 12). Before it was used again it had the number that ends its history.
//!
//! A gate is passed by evidence only (guarantee D1). The evidence is that the version passed its gates before: its
//! ReplicaSet says that it was stable. Without that, as of a version that was promoted before this was recorded, it counts
//! only where no analysis is a gate, when the version was made before the stable one, and where no version before it has
//! the record.

use super::{retire::belongs, view::View};
use crate::{
    api::{replica_set::ReplicaSet, well_known},
    plan::{Action, ObjectRef, Precondition},
};
use serde_json::json;

/// Why such a rollback is promoted.
pub(crate) const REASON: &str = "Rollback within window";
/// Text of the event `SkipSteps`.
pub(crate) const SKIPS: &str = "Rollback to active ReplicaSets within RollbackWindow";
/// Field manager of the record.
const MANAGER: &str = "tidegate-scale";

/// Whether the update goes back to a version within the window.
pub(crate) fn contains(view: &View<'_>) -> bool {
    let window = view.spec.rollback_window.as_ref().map_or(0, |window| window.revisions);
    let (Some(new), Some(stable)) = (view.revisions.new, view.revisions.stable) else {
        return false;
    };
    if window <= 0 || view.is_initial() || view.is_promoted() {
        return false;
    }
    let Some(former) = former_number(view, new).filter(|former| *former < stable.revision()) else {
        return false;
    };
    let between = former + 1..stable.revision();
    let skipped = view
        .revisions
        .older
        .iter()
        .filter(|set| between.contains(&set.revision()))
        .count();
    i32::try_from(skipped).is_ok_and(|skipped| skipped < window) && passed_its_gates(view, (new, former), stable)
}

/// The number that the new ReplicaSet had before this update used it again; `None` for one that was made for it.
fn former_number(view: &View<'_>, new: &ReplicaSet) -> Option<i64> {
    if new.revision() < view.revisions.number {
        return Some(new.revision()).filter(|number| *number > 0);
    }
    let history = new.annotation(well_known::REVISION_HISTORY)?;
    history.rsplit(',').next()?.trim().parse().ok()
}

fn passed_its_gates(view: &View<'_>, (new, former): (&ReplicaSet, i64), stable: &ReplicaSet) -> bool {
    let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let was_stable = |set: &ReplicaSet| set.annotation(well_known::WAS_STABLE).is_some();
    // Where a version of before has the record, this one would have it too, had it been promoted.
    let is_recorded = || (view.revisions.all().into_iter()).any(|set| set.revision() < former && was_stable(set));
    was_stable(new) || (!is_gated(view) && created(new) < created(stable) && !is_recorded())
}

/// Whether an analysis stands between an update and its promotion.
fn is_gated(view: &View<'_>) -> bool {
    let strategy = &view.spec.strategy;
    let canary = strategy.canary.iter();
    let by_steps = canary.clone().any(|canary| {
        let mut steps = canary.steps.iter();
        canary.analysis.is_some() || steps.any(|step| step.analysis.is_some() || step.experiment.is_some())
    });
    let mut blue_green = strategy.blue_green.iter();
    by_steps || blue_green.any(|bg| bg.pre_promotion_analysis.is_some() || bg.post_promotion_analysis.is_some())
}

/// Records on the stable ReplicaSet that it was stable, when an update begins to replace it.
pub(crate) fn record(view: &View<'_>) -> Option<Action> {
    view.spec.rollback_window.as_ref()?;
    let stable = view.revisions.stable.filter(|set| belongs(view, set))?;
    if view.is_promoted() || stable.annotation(well_known::WAS_STABLE).is_some() {
        return None;
    }
    let annotations = json!({ well_known::WAS_STABLE: stable.revision().to_string() });
    Some(Action::Merge {
        target: ObjectRef::namespaced("apps/v1", "ReplicaSet", view.namespace(), stable.name()),
        patch: json!({"metadata": {"annotations": annotations}}),
        manager: MANAGER,
        precondition: Some(Precondition {
            uid: stable.metadata.uid.clone(),
            resource_version: None,
        }),
    })
}
