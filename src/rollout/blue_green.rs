//! The blue-green strategy: a full second set behind the preview Service, switched to the active Service at once.
//!
//! A gate opens by what is recorded and available, never by a selector that is missing (guarantee T7): a Service that
//! lost its hash is repaired to the recorded one.

use super::{
    deadline,
    decision::{Decision, Sizing},
    progress::Progress,
    retire::{ABORT_SCALE_DOWN_DELAY_SECONDS_DEFAULT, SCALE_DOWN_DELAY_SECONDS_DEFAULT, retire, retire_older},
    rollback_window,
    runs::{self, Gate, Purpose, Wanted},
    services,
    view::{View, later},
};
use crate::{
    api::{
        replica_set::ReplicaSet,
        rollout_status::{PauseCondition, RolloutAnalysisRunStatus},
        scalar::wire_time,
        strategy::BlueGreenStrategy,
    },
    traffic::nginx,
};

const PAUSE: &str = "BlueGreenPause";

struct BlueGreen<'a> {
    view: &'a View<'a>,
    strategy: &'a BlueGreenStrategy,
}

/// Decides about a blue-green rollout.
pub(crate) fn decide<'a>(view: &'a View<'a>, strategy: &'a BlueGreenStrategy) -> Decision<'a> {
    let this = BlueGreen { view, strategy };
    let mut decision = Decision {
        progress: view.progress.clone(),
        stable_rs: view.status.stable_rs.clone(),
        ..Decision::default()
    };
    decision.create_with = view.replicas;
    if view.is_initial() {
        this.initial(&mut decision);
    } else if view.is_promoted() {
        decision.progress = Progress {
            turn: view.progress.turn,
            ..Progress::default()
        };
        this.size_new(view.replicas, &mut decision);
        this.switch(&view.status.stable_rs, &mut decision);
        this.retire_others(&mut decision);
        if view.new_available() < view.replicas {
            this.wait_for_capacity(view.replicas, &mut decision);
        }
    } else if view.progress.abort {
        this.aborted(&mut decision);
    } else {
        this.updating(&mut decision);
    }
    this.preview(&mut decision);
    leave_the_router(view, &mut decision);
    let tidied = runs::tidy_after(view, &decision);
    decision.runs.extend(tidied);
    decision
}

/// One that was a canary before: requests leave its Ingress, and until the data plane has followed it is remembered which
/// Services had them, so that these keep their pods (guarantee T3).
fn leave_the_router(view: &View<'_>, decision: &mut Decision<'_>) {
    let before = view.status.canary.as_ref();
    let weights = before.and_then(|canary| canary.weights.as_ref());
    if weights.is_none() && nginx::left_behind(view.snapshot.rollout, &view.snapshot.ingresses) == 0 {
        return;
    }
    let edits = nginx::retire(view.snapshot.rollout, &view.snapshot.ingresses);
    let written = match edits.is_empty() {
        true => before.and_then(|canary| canary.weights_written_at.clone()),
        false => Some(wire_time(view.now())),
    };
    decision.routes.extend(edits);
    let drained = written.as_ref().map(|written| view.drained_at(written.0));
    if let Some(drained) = drained.filter(|drained| *drained > view.now()) {
        decision.weights = weights.cloned();
        decision.weights_written_at = written;
        decision.wakes.push(drained);
    }
}

/// Where the analysis before the switch, or the one after it, is recorded.
fn run_of(progress: &mut Progress, before: bool) -> &mut Option<RolloutAnalysisRunStatus> {
    if before {
        &mut progress.pre_run
    } else {
        &mut progress.post_run
    }
}

impl<'a> BlueGreen<'a> {
    fn initial(&self, decision: &mut Decision<'a>) {
        let view = self.view;
        decision.progress = Progress {
            turn: view.progress.turn,
            ..Progress::default()
        };
        if view.spec.paused && !view.is_scaling_event() {
            decision.freeze(view);
            decision.wait_for("Paused", "paused by spec.paused", None);
            return;
        }
        self.size_new(view.replicas, decision);
        self.switch(&view.revisions.hash, decision);
        self.retire_others(decision);
        if self.saturated(view.revisions.new, view.replicas) && self.active_is_new() {
            self.promote("Initial deploy", decision);
        } else {
            self.wait_for_capacity(view.replicas, decision);
        }
    }

    fn updating(&self, decision: &mut Decision<'a>) {
        let view = self.view;
        let halted = view.spec.paused;
        if view.begins_rollback_in_window() {
            decision.event("SkipSteps", rollback_window::SKIPS);
        }
        let checkpointed = self
            .strategy
            .preview_replica_count
            .filter(|_| !decision.progress.checkpoint);
        let preview_size = checkpointed.unwrap_or(view.replicas).min(view.replicas);
        if halted && !view.is_scaling_event() {
            decision.freeze(view);
        } else {
            decision.create_with = preview_size;
            if self.has_switched(decision) {
                self.size_new(view.replicas, decision);
            } else {
                self.size_preview(preview_size, decision);
            }
            self.size_stable(decision);
            self.retire_overtaken(decision);
        }
        if halted {
            decision.wait_for("Paused", "paused by spec.paused", None);
            self.switch_back_if_lost(decision);
            return;
        }
        if self.has_switched(decision) {
            self.after_the_switch(decision);
        } else {
            self.before_the_switch(preview_size, decision);
        }
        let stuck = !decision.at_waiting_step && !decision.progress.abort && deadline::exceeded(view);
        if view.spec.progress_deadline_abort && stuck {
            self.abort(deadline::message(view), decision);
        }
    }

    fn before_the_switch(&self, preview_size: i32, decision: &mut Decision<'a>) {
        let view = self.view;
        let ready = self.saturated(view.revisions.new, preview_size);
        let fast = decision.progress.promote_full || rollback_window::contains(view);
        let open = ready && (fast || (self.analysed(Purpose::PrePromotion, decision) && self.pause_is_over(decision)));
        if decision.progress.abort {
            return;
        }
        if !ready {
            self.wait_for_capacity(preview_size, decision);
        }
        if open && self.strategy.preview_replica_count.is_some() && !decision.progress.checkpoint {
            decision.progress.checkpoint = true;
            decision.wakes.push(view.now());
        }
        // The active Service selects what the status names (guarantee T7), so the status comes first.
        let recorded = view.status.current_pod_hash == view.revisions.hash;
        if open && self.saturated(view.revisions.new, view.replicas) && recorded {
            decision.progress.pauses.clear();
            decision.progress.controller_pause = false;
            decision
                .selectors
                .push((self.strategy.active_service.clone(), view.revisions.hash.clone()));
        } else {
            if open {
                self.wait_for_capacity(view.replicas, decision);
            }
            self.switch_back_if_lost(decision);
        }
    }

    fn after_the_switch(&self, decision: &mut Decision<'a>) {
        let view = self.view;
        decision
            .selectors
            .push((self.strategy.active_service.clone(), view.revisions.hash.clone()));
        // A rollback within the window starts no analysis; one that is under way counts.
        let fast = decision.progress.post_run.is_none() && rollback_window::contains(view);
        let analysed = decision.progress.promote_full || fast || self.analysed(Purpose::PostPromotion, decision);
        if decision.progress.abort {
            decision
                .selectors
                .retain(|(service, _)| *service != self.strategy.active_service);
            self.switch(&view.status.stable_rs, decision);
            return;
        }
        if analysed && self.active_is_new() && (view.new_available() > 0 || view.replicas == 0) {
            self.promote("Completed blue-green update", decision);
        }
    }

    /// Aborted: the active Service goes back as soon as the stable pods can serve, ready or not on the new side.
    fn aborted(&self, decision: &mut Decision<'a>) {
        let view = self.view;
        decision.progress.pauses.clear();
        decision.progress.controller_pause = false;
        decision.progress.promote_full = false;
        if decision.progress.aborted_at.is_none() {
            decision.progress.aborted_at = Some(wire_time(view.now()));
            decision.aborts_because.get_or_insert_default();
        }
        decision.sizes.clear();
        decision.create_with = 0;
        if let Some(stable) = view.revisions.stable {
            decision.sizes.push(Sizing::in_use(stable, view.replicas));
        }
        self.switch(&view.status.stable_rs, decision);
        if let Some(new) = view.revisions.new {
            let delay = self
                .strategy
                .abort_scale_down_delay_seconds
                .unwrap_or(ABORT_SCALE_DOWN_DELAY_SECONDS_DEFAULT);
            let needed = self.active_is_new() || view.stable_available() < view.replicas || delay == 0;
            let (sizing, until) = retire(view, new, i64::from(delay), needed);
            decision.sizes.push(sizing);
            decision.wakes.extend(until);
        }
        self.retire_overtaken(decision);
        if view.stable_available() == 0 {
            decision.wait_for(
                "WaitingForStableCapacity",
                "no stable pod is available to take the traffic back",
                None,
            );
        }
    }

    fn abort(&self, because: String, decision: &mut Decision<'a>) {
        decision.progress.abort = true;
        decision.aborts_because = Some(because);
        decision.selectors.clear();
        self.aborted(decision);
    }

    fn promote(&self, reason: &str, decision: &mut Decision<'a>) {
        let reason = if decision.progress.promote_full {
            "Full promotion requested"
        } else if rollback_window::contains(self.view) {
            rollback_window::REASON
        } else {
            reason
        };
        decision.promotion = Some(reason.to_owned());
        decision.stable_rs.clone_from(&self.view.revisions.hash);
        decision.progress = Progress {
            turn: decision.progress.turn,
            ..Progress::default()
        };
        decision.wakes.push(self.view.now());
    }

    /// Whether the analysis of this moment passed, or none is asked for. May abort or pause.
    fn analysed(&self, purpose: Purpose, decision: &mut Decision<'a>) -> bool {
        let before = purpose == Purpose::PrePromotion;
        let analysis = if before {
            &self.strategy.pre_promotion_analysis
        } else {
            &self.strategy.post_promotion_analysis
        };
        let Some(analysis) = analysis.as_ref().filter(|analysis| !analysis.templates.is_empty()) else {
            return true;
        };
        let current = run_of(&mut decision.progress, before).clone();
        let (run, gate) = runs::ensure(self.view, &Wanted::of(purpose, analysis), current.as_ref(), decision);
        let name = run.name.clone();
        *run_of(&mut decision.progress, before) = Some(run);
        decision.at_waiting_step = true;
        match gate {
            Gate::Passed => return true,
            Gate::Failed(because) => self.abort(because, decision),
            Gate::Waiting => decision.wait_for("WaitingForAnalysis", format!("AnalysisRun {name}"), None),
            Gate::Inconclusive if runs::hold_for_a_person(self.view, current.as_ref(), decision) => {
                *run_of(&mut decision.progress, before) = None;
            }
            Gate::Inconclusive => {}
        }
        false
    }

    /// Whether promotion may go on: at once, after `autoPromotionSeconds`, or when a person resumed.
    fn pause_is_over(&self, decision: &mut Decision<'a>) -> bool {
        let automatic = self.strategy.auto_promotion_enabled != Some(false);
        let seconds = self.strategy.auto_promotion_seconds;
        if (automatic && seconds <= 0) || decision.progress.checkpoint {
            return true;
        }
        decision.at_waiting_step = true;
        let message = if automatic {
            "the automatic promotion"
        } else {
            "a person to promote the preview"
        };
        let now = self.view.now();
        let progress = &mut decision.progress;
        let Some(pause) = progress.pauses.iter().find(|pause| pause.reason == PAUSE).cloned() else {
            if progress.controller_pause && progress.pauses.is_empty() {
                return true;
            }
            progress.pauses.push(PauseCondition {
                reason: PAUSE.to_owned(),
                start_time: Some(wire_time(now)),
            });
            progress.controller_pause = true;
            let until = automatic.then(|| later(wire_time(now).0, i64::from(seconds)));
            decision.wait_for(PAUSE, message, until);
            return false;
        };
        let started = pause.start_time.map_or(now, |time| time.0);
        let until = automatic.then(|| later(started, i64::from(seconds)));
        if until.is_some_and(|until| until <= now) {
            return true;
        }
        decision.wait_for(PAUSE, message, until);
        false
    }

    fn saturated(&self, set: Option<&ReplicaSet>, replicas: i32) -> bool {
        set.is_some_and(|set| set.replicas() >= replicas && set.available() >= replicas)
    }

    fn active_is_new(&self) -> bool {
        self.view.selected_hash(&self.strategy.active_service) == Some(self.view.revisions.hash.as_str())
    }

    /// Whether the active Service was led to the new pods. An analysis after the switch says so too: a selector that
    /// somebody edits since then is repaired, and takes nothing back (guarantee T7).
    fn has_switched(&self, decision: &Decision<'a>) -> bool {
        self.active_is_new() || decision.progress.post_run.is_some()
    }

    fn switch(&self, hash: &str, decision: &mut Decision<'a>) {
        let service = &self.strategy.active_service;
        decision
            .selectors
            .extend(services::reachable(self.view, service, hash).map(|hash| (service.clone(), hash)));
    }

    /// The active Service stays on the recorded stable hash; a lost selector is repaired.
    fn switch_back_if_lost(&self, decision: &mut Decision<'a>) {
        if self.active_is_new() {
            decision
                .selectors
                .push((self.strategy.active_service.clone(), self.view.revisions.hash.clone()));
        } else {
            self.switch(&self.view.status.stable_rs, decision);
        }
    }

    fn preview(&self, decision: &mut Decision<'a>) {
        // The user's pause holds Services too; a preview that lost its selector goes back to where it was.
        if self.view.spec.paused && !self.view.is_promoted() && !self.view.progress.abort {
            let before = self.view.status.blue_green.clone().unwrap_or_default().preview_selector;
            let lost = self.view.selected_hash(&self.strategy.preview_service) == Some("");
            // What the status says was read from the Service, where somebody may have written anything.
            if lost && self.view.revisions.with_hash(&before).is_some() {
                decision.selectors.push((self.strategy.preview_service.clone(), before));
            }
            return;
        }
        let exists = self.view.revisions.new.is_some();
        if !self.strategy.preview_service.is_empty() && exists {
            decision
                .selectors
                .push((self.strategy.preview_service.clone(), self.view.revisions.hash.clone()));
        }
    }

    fn size_new(&self, replicas: i32, decision: &mut Decision<'a>) {
        decision
            .sizes
            .extend(self.view.revisions.new.map(|set| Sizing::in_use(set, replicas)));
    }

    /// A preview may have been active a moment ago: what is too much of it goes once nobody sends it requests
    /// (guarantee T3).
    fn size_preview(&self, replicas: i32, decision: &mut Decision<'a>) {
        let Some(set) = self.view.revisions.new else { return };
        if set.replicas() <= replicas {
            decision.sizes.push(Sizing::in_use(set, replicas));
            return;
        }
        let (going, until) = retire(self.view, set, 0, false);
        decision.sizes.push(Sizing {
            replicas: going.replicas.max(replicas),
            ..going
        });
        decision.wakes.extend(until);
    }

    fn size_stable(&self, decision: &mut Decision<'a>) {
        decision.sizes.extend(
            self.view
                .revisions
                .stable
                .map(|set| Sizing::in_use(set, self.view.replicas)),
        );
    }

    /// After promotion: what was active goes after its delay.
    fn retire_others(&self, decision: &mut Decision<'a>) {
        let delay = self
            .strategy
            .scale_down_delay_seconds
            .unwrap_or(SCALE_DOWN_DELAY_SECONDS_DEFAULT);
        self.retire_with(delay, decision);
    }

    /// During an update: revisions that were overtaken go as soon as nothing leads to them.
    fn retire_overtaken(&self, decision: &mut Decision<'a>) {
        self.retire_with(0, decision);
    }

    fn retire_with(&self, delay: i32, decision: &mut Decision<'a>) {
        let active = self.view.selected_hash(&self.strategy.active_service);
        let limit = self.strategy.scale_down_delay_revision_limit;
        retire_older(
            self.view,
            i64::from(delay),
            limit,
            |set| active == Some(set.pod_hash()),
            decision,
        );
    }

    fn wait_for_capacity(&self, replicas: i32, decision: &mut Decision<'a>) {
        let message = format!(
            "{} of {replicas} pods of revision {} are available",
            self.view.new_available(),
            self.view.revisions.number
        );
        decision.wait_for("WaitingForCapacity", message, None);
    }
}
