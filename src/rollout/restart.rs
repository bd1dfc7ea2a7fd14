//! `spec.restartAt`: every pod that is older is evicted, a few at a time (reference, rollouts 4.9).
//!
//! Decided on pods as listed for this very decision: a count that a watch brought may still hold pods that are evicted
//! already. Done is recorded as `status.restartedAt`.

use super::{
    decision::Decision,
    metadata::pods_of,
    progress::Turn,
    replicas::budget,
    retire::belongs,
    snapshot::{Pods, Snapshot},
    view::{View, later},
};
use crate::{
    api::{replica_set::ReplicaSet, rollout_status::WaitingFor, scalar::wire_time},
    plan::{ObjectRef, PodWrite},
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};

/// Seconds until the next look while older pods are left.
const CHECK_SECONDS: i64 = 30;
/// Reason of the wait.
const REASON: &str = "Restarting";

/// What becomes of a restart in this pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restart {
    /// What it waits for.
    pub(crate) waiting: Option<WaitingFor>,
    /// What to record as `status.restartedAt`: no older pod is left.
    pub(crate) done: Option<Time>,
}

/// Whether a restart is due, so that pods must be listed.
pub(crate) fn is_due(snapshot: &Snapshot<'_>) -> bool {
    let asked = snapshot.rollout.spec.restart_at.as_ref();
    let status = snapshot.rollout.status.as_ref();
    let done = status.and_then(|status| status.restarted_at.as_ref());
    asked.is_some_and(|asked| asked.0 <= snapshot.now && done != Some(asked))
}

/// A ReplicaSet with those of its pods that are to stay.
struct Group<'a> {
    set: &'a ReplicaSet,
    /// Older than the restart, oldest first.
    old: Vec<&'a Pod>,
    /// Ready pods, old or not.
    ready: i32,
    /// Pods that can be counted on, by the ReplicaSet's status and by the list.
    available: i32,
}

impl<'a> Group<'a> {
    fn of(set: &'a ReplicaSet, pods: &'a [Pod], before: Timestamp) -> Self {
        let mut old: Vec<&Pod> = pods_of(set, pods).filter(|pod| is_older(pod, before)).collect();
        old.sort_by_key(|pod| {
            (
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
                pod.metadata.name.clone(),
            )
        });
        let ready = count(pods_of(set, pods).filter(|pod| is_ready(pod)));
        Self {
            set,
            old,
            ready,
            available: set.available().min(ready),
        }
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

fn is_older(pod: &Pod, than: Timestamp) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref();
    created.is_some_and(|created| created.0 < than)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a restart asked for is done with a new pod template, all of whose pods are yet to be made. Those that a restart
/// in the future is to replace are not made yet.
pub(crate) fn is_renewed(view: &View<'_>) -> bool {
    let is_past = view.spec.restart_at.as_ref().is_none_or(|at| at.0 <= view.now());
    let has_pods = |set: &ReplicaSet| set.replicas() > 0 || set.status.replicas > 0;
    view.progress.turn == Turn::NewTemplate && is_past && !view.revisions.new.is_some_and(has_pods)
}

/// Evicts what may go now. Call it when sizes are decided.
pub(crate) fn carry_out(view: &View<'_>, decision: &mut Decision<'_>) {
    let Some(asked) = view.spec.restart_at.as_ref() else {
        return;
    };
    if view.status.restarted_at.as_ref() == Some(asked) || is_renewed(view) {
        return;
    }
    if asked.0 > view.now() {
        decision.wakes.push(asked.0);
        decision.restart.waiting = Some(WaitingFor {
            reason: REASON.to_owned(),
            message: "the time of the restart".to_owned(),
            until: Some(wire_time(asked.0)),
        });
        return;
    }
    let pods = match view.snapshot.pods {
        Pods::Listed(pods) => pods,
        Pods::Unlisted => return,
        Pods::Unlistable(why) => {
            wait(view, decision, format!("the pods cannot be listed ({why})"));
            return;
        }
    };
    let groups: Vec<Group<'_>> = in_order(view)
        .into_iter()
        .map(|set| Group::of(set, pods, asked.0))
        .collect();
    let left = count(groups.iter().flat_map(|group| &group.old));
    // A ReplicaSet whose status still counts pods that are gone: sizes were decided on them, so nothing shrinks and
    // nobody is evicted until it knows (guarantee T6).
    let lags = groups.iter().any(|group| group.set.status.ready_replicas > group.ready);
    let shrinks = decision
        .sizes
        .iter()
        .any(|sizing| sizing.replicas < sizing.set.replicas());
    if lags {
        for sizing in &mut decision.sizes {
            sizing.replicas = sizing.replicas.max(sizing.set.replicas());
        }
    } else if left == 0 {
        decision.restart.done = Some(asked.clone());
        return;
    } else if !shrinks {
        decision.pods.extend(evictions(view, &groups));
    }
    let message = match left {
        0 => "the ReplicaSets count their pods".to_owned(),
        _ => format!("{left} pods are older than spec.restartAt and go as availability and disruption budgets allow"),
    };
    wait(view, decision, message);
}

fn wait(view: &View<'_>, decision: &mut Decision<'_>, message: String) {
    decision.wakes.push(later(view.now(), CHECK_SECONDS));
    decision.restart.waiting = Some(WaitingFor {
        reason: REASON.to_owned(),
        message,
        until: None,
    });
}

/// Stable first, then new, then the others, oldest first.
fn in_order<'a>(view: &View<'a>) -> Vec<&'a ReplicaSet> {
    let mut sets: Vec<&ReplicaSet> = view.revisions.stable.into_iter().collect();
    let mut older = view.revisions.older.clone();
    older.sort_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0));
    for set in view.revisions.new.into_iter().chain(older) {
        if sets.iter().all(|there| there.name() != set.name()) {
            sets.push(set);
        }
    }
    sets.retain(|set| belongs(view, set));
    sets
}

/// The pods to evict now. No more of them may be on their way back at once than `maxUnavailable`, at least one; one that
/// is ready needs a budget of availability, and one that is not costs none, so that a restart cures pods that crash. The
/// last ready pod of a ReplicaSet of several stays until another one is ready: its requests would have nowhere to go.
fn evictions(view: &View<'_>, groups: &[Group<'_>]) -> Vec<PodWrite> {
    let strategy = &view.spec.strategy;
    let unavailable = match (&strategy.canary, &strategy.blue_green) {
        (Some(canary), _) => canary.max_unavailable.as_ref(),
        (None, Some(blue_green)) => blue_green.max_unavailable.as_ref(),
        (None, None) => None,
    };
    let allowed = budget(None, unavailable, view.replicas).unavailable.max(1);
    let wanted = groups
        .iter()
        .map(|group| group.set.replicas())
        .sum::<i32>()
        .max(view.replicas);
    let available: i32 = groups.iter().map(|group| group.available).sum();
    let mut spare = available - (wanted - allowed);
    // Pods that are not old: those that are not there, or not available, are on their way back.
    let old: i32 = groups.iter().map(|group| count(group.old.iter())).sum();
    let old_ready: i32 = groups
        .iter()
        .map(|group| count(group.old.iter().filter(|pod| is_ready(pod))))
        .sum();
    let mut under_way = (wanted - old).max(0) - (available - old_ready).max(0);
    let mut evictions = Vec::new();
    for group in groups {
        let mut ready = group.ready;
        for pod in &group.old {
            let is_ready = is_ready(pod);
            let is_last = group.set.replicas() > 1 && ready <= 1;
            if under_way >= allowed || (is_ready && (spare <= 0 || is_last)) {
                continue;
            }
            let Some(uid) = pod.metadata.uid.clone() else { continue };
            under_way += 1;
            if is_ready {
                spare -= 1;
                ready -= 1;
            }
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            evictions.push(PodWrite::Evict {
                target: ObjectRef::namespaced("v1", "Pod", view.namespace(), name),
                uid,
            });
        }
    }
    evictions
}

#[cfg(test)]
mod tests;
