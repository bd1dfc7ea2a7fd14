//! The ping-pong Service that is the canary's: where its selector may lead. It is changed only while it gets no requests,
//! but to repair what somebody edited.

use super::Canary;
use crate::{api::replica_set::ReplicaSet, rollout::services};

impl Canary<'_> {
    /// The hash to lead the canary's ping-pong Service to, which leads to `selected` now; `None`: it stays.
    pub(super) fn alternate_selector(&self, (selected, is_managed): (&str, bool), stable_hash: &str) -> Option<String> {
        let view = self.view;
        let reachable = |wanted: &str| services::reachable_from(view, selected, is_managed, wanted);
        let hash = &view.revisions.hash;
        if view.is_initial() {
            return reachable(hash);
        }
        // A selector that was removed, or leads to pods that are not ours, has no pods to lose.
        let is_lost = selected.is_empty() || view.revisions.with_hash(selected).is_none();
        if self.observed > 0 || self.apart {
            // Nobody else could take the requests: the one change of a Service in use (see `takes_over`).
            let cure = (!self.leaves_update() && self.takes_over())
                .then(|| reachable(hash))
                .flatten();
            let carried = cure.or_else(|| reachable(&self.carried_hash));
            return carried.or_else(|| reachable(stable_hash).filter(|_| is_lost));
        }
        if !self.quiet {
            return reachable(stable_hash).filter(|_| is_lost);
        }
        if self.rests_as_taken_over(selected) {
            return None;
        }
        // Between two updates it leads to the stable pods, so that it has endpoints when a weight rises before the data
        // plane learns of newer ones (guarantee T2).
        let wanted = if self.leaves_update() || view.new_available() == 0 {
            stable_hash
        } else {
            hash
        };
        reachable(wanted).or_else(|| reachable(stable_hash).filter(|_| is_lost))
    }

    /// Whether no newer version is on its way to the requests.
    fn leaves_update(&self) -> bool {
        self.view.is_promoted() || self.view.progress.abort
    }

    /// Whether the Service stands where the original left it and no request reaches it: taking over moves nothing, and
    /// gives it back as it was. The original leaves it at the older version after a promotion and at the canary after an
    /// abort, and leads it to a new version before that has pods.
    fn rests_as_taken_over(&self, selected: &str) -> bool {
        let status = self.view.status.canary.as_ref();
        let is_written = status.is_some_and(|canary| canary.weights_written_at.is_some());
        let rests = self.leaves_update() || (selected == self.view.revisions.hash && self.view.new_available() == 0);
        !is_written && !selected.is_empty() && rests && !self.gets_requests()
    }

    /// Whether a ping-pong Service leads to this ReplicaSet and will not be led elsewhere, although no request reaches it.
    pub(super) fn is_idle_lead(&self, set: &ReplicaSet, service: &str) -> bool {
        self.strategy.ping_pong.is_some() && service == self.sides.canary && self.rests_as_taken_over(set.pod_hash())
    }
}
