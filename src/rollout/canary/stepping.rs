//! Going through the steps of a canary.

use super::Canary;
use crate::{
    api::{rollout_status::PauseCondition, scalar::wire_time, strategy::RolloutExperimentStep},
    rollout::{
        deadline,
        decision::Decision,
        experiments, rollback_window,
        runs::{self, Gate, INCONCLUSIVE, Purpose, Wanted},
        step::{Step, weight_at},
        view::later,
    },
};

const PAUSE_STEP: &str = "CanaryPauseStep";

/// How a step stands.
enum Standing {
    Done,
    Waiting,
    Abort(String),
}

impl<'a> Canary<'a> {
    pub(super) fn stepping(&self, decision: &mut Decision<'a>) -> i32 {
        let view = self.view;
        if decision.progress.promote_full {
            self.skip_to_the_end(decision);
        }
        if view.begins_rollback_in_window() {
            decision.event("SkipSteps", rollback_window::SKIPS);
        }
        let user_paused = view.spec.paused;
        let recorded = decision.progress.step_index;
        if !user_paused && view.revisions.new.is_some() {
            let because = match self.background(decision) {
                Standing::Abort(because) => Some(because),
                Standing::Waiting => None,
                Standing::Done => self.walk(decision),
            };
            if let Some(because) = because {
                return self.abort(because, decision);
            }
            if view.spec.progress_deadline_abort && !decision.at_waiting_step && deadline::exceeded(view) {
                return self.abort(deadline::message(view), decision);
            }
        }
        let index = decision.progress.step_index;
        // What a step asks for is done on the strength of its record: were it written before, and the record lost, the
        // next pass would take it back and write it again, in turns (guarantee D3).
        let goes_on = index != recorded;
        let inconclusive = decision
            .progress
            .pauses
            .iter()
            .any(|pause| pause.reason == INCONCLUSIVE);
        if goes_on {
            decision.freeze(view);
            decision.wakes.push(view.now());
        } else if (user_paused || inconclusive) && !view.is_scaling_event() {
            decision.freeze(view);
        } else {
            self.resize(index, decision);
        }
        if !goes_on && !user_paused {
            decision.managed_routes = self.routes_to_write(index, decision);
        }
        if user_paused {
            decision.wait_for("Paused", "paused by spec.paused", None);
            return self.weight_when_stepping(self.observed, false, decision);
        }
        let capacity = self.has_capacity(index);
        let wanted = if goes_on {
            self.observed
        } else {
            self.weight_for_pods(index)
        };
        let weight = self.weight_when_stepping(wanted, capacity, decision);
        if index >= self.steps() && capacity {
            if goes_on {
                decision.wait_for("WaitingForStatus", "the last step is recorded", None);
            } else if !self.routed || self.settled(self.total) {
                self.promote(self.promotion_reason(), decision);
            } else {
                self.wait_for_the_data_plane(weight, decision);
            }
        } else if !capacity {
            self.wait_for_capacity(index, decision);
        }
        weight
    }

    /// The weight a step asks for; none for a canary that is to have no pods.
    pub(super) fn weight_for_pods(&self, index: usize) -> i32 {
        match self.targets(index) {
            (0, _) => 0,
            _ => weight_at(self.strategy, index, self.total),
        }
    }

    /// `promote --full`: no more steps, pauses or analyses; availability and traffic still count.
    fn skip_to_the_end(&self, decision: &mut Decision<'a>) {
        let progress = &mut decision.progress;
        progress.step_index = self.steps();
        progress.pauses.clear();
        progress.controller_pause = false;
        progress.step_run = None;
        progress.background_run = None;
        progress.experiment = None;
    }

    fn promotion_reason(&self) -> String {
        if self.view.progress.promote_full {
            "Full promotion requested".to_owned()
        } else if rollback_window::contains(self.view) {
            rollback_window::REASON.to_owned()
        } else {
            format!("Completed all {} canary steps", self.steps())
        }
    }

    /// The analysis beside the steps: done means that it stands in nobody's way.
    fn background(&self, decision: &mut Decision<'a>) -> Standing {
        let analysis = self.strategy.analysis.as_ref();
        let Some(analysis) = analysis.filter(|analysis| !analysis.templates.is_empty()) else {
            decision.progress.background_run = None;
            return Standing::Done;
        };
        // A rollback within the window starts none; one that goes step by step, after a retry, keeps what it started.
        let skipped = decision.progress.background_run.is_none() && decision.progress.step_index >= self.steps();
        if skipped && rollback_window::contains(self.view) {
            return Standing::Done;
        }
        let starting_step = usize::try_from(analysis.starting_step.unwrap_or(0)).unwrap_or(0);
        if decision.progress.promote_full || decision.progress.step_index < starting_step {
            decision.progress.background_run = None;
            return Standing::Done;
        }
        let current = decision.progress.background_run.clone();
        let (run, gate) = runs::ensure(self.view, &Wanted::background(analysis), current.as_ref(), decision);
        decision.progress.background_run = Some(run);
        match gate {
            Gate::Failed(because) => Standing::Abort(because),
            // Only what measures beside the steps and ended by itself asks for a person; a gate it is not.
            Gate::Inconclusive if self.is_inconclusive(decision) => {
                if runs::hold_for_a_person(self.view, current.as_ref(), decision) {
                    decision.progress.background_run = None;
                }
                Standing::Waiting
            }
            Gate::Inconclusive | Gate::Waiting | Gate::Passed => Standing::Done,
        }
    }

    fn is_inconclusive(&self, decision: &Decision<'a>) -> bool {
        decision
            .progress
            .background_run
            .as_ref()
            .is_some_and(|run| run.status == "Inconclusive")
    }

    /// Walks as many steps as are done. Returns why to abort.
    fn walk(&self, decision: &mut Decision<'a>) -> Option<String> {
        while let Some(wire) = self.strategy.steps.get(decision.progress.step_index) {
            let index = decision.progress.step_index;
            let step = Step::of(wire)?;
            if !matches!(step, Step::Analysis(_)) {
                // Left over from a step that the user skipped.
                decision.progress.step_run = None;
            }
            if !matches!(step, Step::Experiment(_)) {
                experiments::leave(&mut decision.progress);
            }
            let standing = match step {
                Step::SetWeight(weight) => self.set_weight(index, weight, decision),
                Step::SetCanaryScale(_) if self.has_capacity(index) => Standing::Done,
                Step::SetCanaryScale(_) | Step::Unsupported(_) => Standing::Waiting,
                Step::SetHeaderRoute(_) | Step::SetMirrorRoute(_) => self.set_route(index, decision),
                Step::Pause(seconds) => self.pause(seconds, decision),
                Step::Experiment(step) => self.experiment(step, index, decision),
                Step::Analysis(analysis) => self.analyse(&Wanted::of(Purpose::Step(index), analysis), decision),
            };
            match standing {
                Standing::Waiting => return None,
                Standing::Abort(because) => return Some(because),
                Standing::Done => {}
            }
            let text = step.text(wire);
            decision.event(
                "RolloutStepCompleted",
                format!("Rollout step {}/{} completed ({text})", index + 1, self.steps()),
            );
            decision.progress.step_index += 1;
            decision.progress.step_run = None;
            experiments::leave(&mut decision.progress);
            decision.progress.pauses.retain(|pause| pause.reason != PAUSE_STEP);
            decision.progress.controller_pause = false;
        }
        None
    }

    fn set_weight(&self, index: usize, weight: i32, decision: &mut Decision<'a>) -> Standing {
        if !self.has_capacity(index) {
            return Standing::Waiting;
        }
        if self.routed && !self.settled(weight) {
            if weight > 0 && self.view.new_available() == 0 {
                let message = format!("no pod of the canary is there to take weight {weight}");
                decision.wait_for("WaitingForCapacity", message, None);
            }
            self.wait_for_the_data_plane(weight, decision);
            return Standing::Waiting;
        }
        Standing::Done
    }

    /// A header route or a mirror, or the end of one.
    fn set_route(&self, index: usize, decision: &mut Decision<'a>) -> Standing {
        if !self.has_capacity(index) {
            return Standing::Waiting;
        }
        if self.view.replicas == 0 || self.routes_stand(index) {
            return Standing::Done;
        }
        let message = "the data plane follows the routes of this step".to_owned();
        decision.wait_for(
            "WaitingForDataPlane",
            self.lag.clone().unwrap_or(message),
            self.settles_at(),
        );
        Standing::Waiting
    }

    fn pause(&self, seconds: Option<i64>, decision: &mut Decision<'a>) -> Standing {
        decision.at_waiting_step = true;
        let message = match seconds {
            Some(_) => "the pause of this step",
            None => "a person to promote this step",
        };
        let progress = &mut decision.progress;
        let running = progress.pauses.iter().find(|pause| pause.reason == PAUSE_STEP).cloned();
        let Some(running) = running else {
            if progress.controller_pause && progress.pauses.is_empty() {
                return Standing::Done;
            }
            let start_time = Some(wire_time(self.view.now()));
            progress.pauses.push(PauseCondition {
                reason: PAUSE_STEP.to_owned(),
                start_time,
            });
            progress.controller_pause = true;
            let until = seconds.map(|seconds| later(wire_time(self.view.now()).0, seconds));
            decision.wait_for(PAUSE_STEP, message, until);
            return Standing::Waiting;
        };
        let started = running.start_time.map_or(self.view.now(), |time| time.0);
        let until = seconds.map(|seconds| later(started, seconds));
        if until.is_some_and(|until| until <= self.view.now()) {
            return Standing::Done;
        }
        decision.wait_for(PAUSE_STEP, message, until);
        Standing::Waiting
    }

    fn analyse(&self, wanted: &Wanted<'_>, decision: &mut Decision<'a>) -> Standing {
        decision.at_waiting_step = true;
        let current = decision.progress.step_run.clone();
        let (run, gate) = runs::ensure(self.view, wanted, current.as_ref(), decision);
        let name = run.name.clone();
        decision.progress.step_run = Some(run);
        match gate {
            Gate::Passed => Standing::Done,
            Gate::Failed(because) => Standing::Abort(because),
            Gate::Inconclusive => {
                if runs::hold_for_a_person(self.view, current.as_ref(), decision) {
                    decision.progress.step_run = None;
                }
                Standing::Waiting
            }
            Gate::Waiting => {
                decision.wait_for("WaitingForAnalysis", format!("AnalysisRun {name}"), None);
                Standing::Waiting
            }
        }
    }

    fn experiment(&self, step: &RolloutExperimentStep, index: usize, decision: &mut Decision<'a>) -> Standing {
        decision.at_waiting_step = true;
        match experiments::ensure(self.view, step, index, decision) {
            Gate::Passed => Standing::Done,
            Gate::Failed(because) => Standing::Abort(because),
            Gate::Inconclusive => {
                if experiments::hold_for_a_person(self.view, decision) {
                    decision.progress.experiment = None;
                }
                Standing::Waiting
            }
            Gate::Waiting => Standing::Waiting,
        }
    }

    fn wait_for_the_data_plane(&self, weight: i32, decision: &mut Decision<'a>) {
        let message = self
            .lag
            .clone()
            .unwrap_or_else(|| format!("the data plane follows weight {weight}"));
        decision.wait_for("WaitingForDataPlane", message, self.settles_at());
    }

    fn wait_for_capacity(&self, index: usize, decision: &mut Decision<'a>) {
        let (canary, _) = self.targets(index);
        let message = format!(
            "{} of {canary} pods of revision {} are available",
            self.view.new_available(),
            self.view.revisions.number
        );
        decision.wait_for("WaitingForCapacity", message, None);
    }
}
