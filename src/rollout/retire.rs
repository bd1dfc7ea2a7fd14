//! How a ReplicaSet that is out of use goes: first a deadline that outlasts the data plane, then zero pods, and in the
//! end, beyond the history limit, the object (guarantee T3).

use super::{
    decision::{Deadline, Decision, Sizing},
    view::{View, later},
};
use crate::{
    api::replica_set::ReplicaSet,
    plan::{Action, ObjectRef, Precondition, Propagation},
};
use jiff::Timestamp;

/// Old ReplicaSets kept when `revisionHistoryLimit` is absent.
const REVISION_HISTORY_LIMIT_DEFAULT: i32 = 10;
/// Seconds before a ReplicaSet that was stable or active is scaled down, when `scaleDownDelaySeconds` is absent.
pub(crate) const SCALE_DOWN_DELAY_SECONDS_DEFAULT: i32 = 30;
/// Seconds before the new ReplicaSet of an aborted update is scaled down, when `abortScaleDownDelaySeconds` is absent.
pub(crate) const ABORT_SCALE_DOWN_DELAY_SECONDS_DEFAULT: i32 = 30;

/// One step on the way out. `in_use` says that a Service still selects it or a weight still counts it. Returns the
/// sizing and, while it waits, until when.
pub(crate) fn retire<'a>(
    view: &View<'_>,
    set: &'a ReplicaSet,
    delay_seconds: i64,
    in_use: bool,
) -> (Sizing<'a>, Option<Timestamp>) {
    let keep = |deadline| Sizing {
        set,
        replicas: set.replicas(),
        deadline,
    };
    if set.replicas() == 0 {
        return (keep(Deadline::Keep), None);
    }
    if in_use {
        // The delay must begin when the last reference is gone, so a deadline that already runs starts again.
        return (Sizing::in_use(set, set.replicas()), None);
    }
    let now = view.now();
    match set.scale_down_deadline() {
        Some(deadline) if deadline <= now => (
            Sizing {
                set,
                replicas: 0,
                deadline: Deadline::Keep,
            },
            None,
        ),
        Some(deadline) => (keep(Deadline::Keep), Some(deadline)),
        None => {
            let drained = view.drained_at(now);
            let deadline = later(now, delay_seconds.max(0)).max(drained);
            if deadline <= now {
                return (
                    Sizing {
                        set,
                        replicas: 0,
                        deadline: Deadline::Keep,
                    },
                    None,
                );
            }
            (keep(Deadline::Set(deadline)), Some(deadline))
        }
    }
}

/// One step on the way out of a ReplicaSet beyond the limit of those that may wait: only the data plane is waited for,
/// whatever deadline it was given when it was within the limit.
fn hurry<'a>(view: &View<'_>, set: &'a ReplicaSet, in_use: bool) -> (Sizing<'a>, Option<Timestamp>) {
    let (sizing, until) = retire(view, set, 0, in_use);
    let soonest = view.drained_at(view.now());
    if until.is_none_or(|until| until <= soonest) {
        return (sizing, until);
    }
    let deadline = Deadline::Set(soonest);
    (Sizing { deadline, ..sizing }, Some(soonest))
}

/// One step on the way out for every older ReplicaSet that still has pods, newest first. Those beyond `limit` get no
/// delay but that of the data plane.
pub(crate) fn retire_older<'a>(
    view: &View<'a>,
    delay_seconds: i64,
    limit: Option<i32>,
    in_use: impl Fn(&ReplicaSet) -> bool,
    decision: &mut Decision<'a>,
) {
    let limit = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let standing = view.revisions.older.iter().copied().filter(|set| set.replicas() > 0);
    for (position, set) in standing.enumerate() {
        let used = in_use(set);
        let (sizing, until) = match position < limit {
            true => retire(view, set, delay_seconds, used),
            false => hurry(view, set, used),
        };
        decision.sizes.push(sizing);
        decision.wakes.extend(until);
    }
}

/// Deletes old ReplicaSets without pods beyond `revisionHistoryLimit`, oldest first.
pub(crate) fn history(view: &View<'_>) -> Vec<Action> {
    let limit = view
        .spec
        .revision_history_limit
        .unwrap_or(REVISION_HISTORY_LIMIT_DEFAULT)
        .max(0);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let empty: Vec<&ReplicaSet> = (view.revisions.older.iter().copied())
        .filter(|set| set.replicas() == 0 && set.status.replicas == 0 && belongs(view, set))
        .collect();
    empty
        .into_iter()
        .skip(limit)
        .map(|set| Action::Delete {
            target: ObjectRef::namespaced("apps/v1", "ReplicaSet", view.namespace(), set.name()),
            precondition: Precondition {
                uid: set.metadata.uid.clone(),
                resource_version: set.metadata.resource_version.clone(),
            },
            propagation: Propagation::Background,
        })
        .collect()
}

/// Whether the Rollout controls this ReplicaSet.
pub(crate) fn belongs(view: &View<'_>, set: &ReplicaSet) -> bool {
    set.controller_uid().is_some() && set.controller_uid() == view.snapshot.rollout.metadata.uid.as_deref()
}
