//! An update whose stable ReplicaSet was deleted. Nothing can bring that back but its own pod template, and the loss is
//! no evidence for the new version (guarantee D1): steps and analyses go on. Requests must not be led to pods that do
//! not exist (guarantee T2), so the stable Service is led to pods that can take them.

use super::Canary;
use crate::{api::replica_set::ReplicaSet, rollout::replicas::enough};

impl<'a> Canary<'a> {
    /// The ReplicaSet whose pods answer for a stable one that is gone. After an abort only one that does so already:
    /// an aborted version gets no more requests (guarantee T5).
    pub(super) fn stand_in(&self, aborted: bool) -> Option<&'a ReplicaSet> {
        let view = self.view;
        if !view.stable_is_lost() {
            return None;
        }
        let standing = self.behind_stable_service().filter(|set| set.available() > 0);
        let threshold = self.strategy.replica_progress_threshold.as_ref();
        // The last pod behind the stable Service goes only after the switch, so there is no room for all.
        let wanted = if self.routed || standing.is_none() {
            view.replicas
        } else {
            self.room_beside_one()
        };
        let able = (view.revisions.new)
            .filter(|set| !aborted && set.available() > 0 && enough(set.available(), wanted, threshold));
        // A router can go on splitting requests with an older version; where pods are the weights, all go to the new one.
        if self.routed {
            standing.or(able)
        } else {
            able.or(standing)
        }
    }

    /// Whether the new ReplicaSet has to take every request, because there is no other.
    pub(super) fn stands_alone(&self) -> bool {
        let other = |set: &ReplicaSet| set.pod_hash() != self.view.revisions.hash;
        self.view.stable_is_lost() && !(self.routed && self.stand_in(false).is_some_and(other))
    }

    /// The hash of the stable side of the split.
    pub(super) fn stable_hash(&self, aborted: bool) -> &'a str {
        let view = self.view;
        if view.is_initial() {
            return &view.revisions.hash;
        }
        self.stand_in(aborted)
            .map_or(&view.status.stable_rs, ReplicaSet::pod_hash)
    }

    /// Available pods that the stable side's share of requests reaches.
    pub(super) fn stable_available(&self) -> i32 {
        if self.view.stable_is_lost() {
            self.behind_stable_service().map_or(0, ReplicaSet::available)
        } else {
            self.view.stable_available()
        }
    }

    fn behind_stable_service(&self) -> Option<&'a ReplicaSet> {
        let selected = self.stable_lead()?;
        self.view.revisions.with_hash(selected)
    }
}
