//! Abort of a canary: needs only the stable ReplicaSet and dominates everything else (guarantees T4 and T5).

use super::Canary;
use crate::api::scalar::wire_time;
use crate::rollout::decision::Decision;

impl<'a> Canary<'a> {
    /// Aborted already, by the user or an earlier pass.
    pub(super) fn aborted(&self, decision: &mut Decision<'a>) -> i32 {
        let progress = &mut decision.progress;
        progress.step_index = 0;
        progress.pauses.clear();
        progress.controller_pause = false;
        progress.promote_full = false;
        if progress.aborted_at.is_none() {
            progress.aborted_at = Some(wire_time(self.view.now()));
            if decision.aborts_because.is_none() {
                decision.aborts_because = Some(String::new());
            }
        }
        self.resize_aborted(decision);
        self.weight_when_aborted(decision)
    }

    /// Aborts now.
    pub(super) fn abort(&self, because: String, decision: &mut Decision<'a>) -> i32 {
        decision.progress.abort = true;
        decision.aborts_because = Some(because);
        self.aborted(decision)
    }
}
