//! How far the present update is: the part of the status that a decision starts from, after the resets that a changed
//! template, changed steps, a resume or a retry cause (reference, rollouts 2.6).

use super::{revision::Revisions, snapshot::Snapshot, template};
use crate::api::{
    rollout_status::{PauseCondition, RolloutAnalysisRunStatus, RolloutStatus},
    strategy::CanaryStep,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The carried state of an update.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// Index of the current step; the number of steps when all are done.
    pub(crate) step_index: usize,
    /// Why it pauses.
    pub(crate) pauses: Vec<PauseCondition>,
    /// Whether the controller paused; with no pause left it means that the user resumed.
    pub(crate) controller_pause: bool,
    /// Whether it is aborted.
    pub(crate) abort: bool,
    /// Since when.
    pub(crate) aborted_at: Option<Time>,
    /// Whether the user asked to skip what is left.
    pub(crate) promote_full: bool,
    /// Analysis of the current step (canary).
    pub(crate) step_run: Option<RolloutAnalysisRunStatus>,
    /// Analysis beside the steps (canary).
    pub(crate) background_run: Option<RolloutAnalysisRunStatus>,
    /// Name of the Experiment of the current step (canary).
    pub(crate) experiment: Option<String>,
    /// Analysis before promotion (blue-green).
    pub(crate) pre_run: Option<RolloutAnalysisRunStatus>,
    /// Analysis after promotion (blue-green).
    pub(crate) post_run: Option<RolloutAnalysisRunStatus>,
    /// Whether the preview passed its checkpoint (blue-green).
    pub(crate) checkpoint: bool,
    /// What changed since the status was written.
    pub(crate) turn: Turn,
}

/// What a user or a changed specification did since the status was written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Nothing: the update goes on.
    #[default]
    Continue,
    /// The pod template changed: a new update begins.
    NewTemplate,
    /// The pod template is again that of the stable ReplicaSet.
    BackToStable,
    /// The steps changed: the update begins again.
    NewSteps,
    /// An abort was taken back.
    Retry,
}

/// Reads the progress from the status and applies resets.
pub(crate) fn resume(snapshot: &Snapshot<'_>, revisions: &Revisions<'_>, steps: &[CanaryStep]) -> Progress {
    let status = snapshot.rollout.status.clone().unwrap_or_default();
    let turn = turn(&status, revisions, steps);
    let last = steps.len();
    match turn {
        Turn::NewTemplate | Turn::NewSteps => Progress {
            turn,
            ..Progress::default()
        },
        Turn::BackToStable => Progress {
            turn,
            step_index: last,
            ..Progress::default()
        },
        Turn::Continue | Turn::Retry => {
            let canary = status.canary.unwrap_or_default();
            let blue_green = status.blue_green.unwrap_or_default();
            let retry = turn == Turn::Retry;
            // The index is the user's to set (`promote` moves it on), but never beyond the last step.
            let index = status
                .current_step_index
                .and_then(|index| usize::try_from(index).ok())
                .unwrap_or(0)
                .min(last);
            Progress {
                step_index: if retry { 0 } else { index },
                pauses: if retry { Vec::new() } else { status.pause_conditions },
                controller_pause: !retry && status.controller_pause,
                abort: status.abort,
                aborted_at: if status.abort { status.aborted_at } else { None },
                promote_full: status.promote_full,
                step_run: canary.current_step_analysis_run_status.filter(|_| !retry),
                background_run: canary.current_background_analysis_run_status.filter(|_| !retry),
                experiment: Some(canary.current_experiment).filter(|name| !retry && !name.is_empty()),
                pre_run: blue_green.pre_promotion_analysis_run_status.filter(|_| !retry),
                post_run: blue_green.post_promotion_analysis_run_status.filter(|_| !retry),
                checkpoint: blue_green.scale_up_preview_check_point && !retry,
                turn,
            }
        }
    }
}

fn turn(status: &RolloutStatus, revisions: &Revisions<'_>, steps: &[CanaryStep]) -> Turn {
    if !status.current_pod_hash.is_empty() && status.current_pod_hash != revisions.hash {
        return if status.stable_rs == revisions.hash {
            Turn::BackToStable
        } else {
            Turn::NewTemplate
        };
    }
    let steps_changed = !status.current_step_hash.is_empty() && !is_step_hash(&status.current_step_hash, steps);
    // Once promoted there is no update that changed steps could restart.
    if steps_changed && status.stable_rs != revisions.hash {
        return Turn::NewSteps;
    }
    if !status.abort && status.aborted_at.is_some() {
        Turn::Retry
    } else {
        Turn::Continue
    }
}

/// Whether this hash stands for these steps, in our spelling or the original's.
pub(crate) fn is_step_hash(hash: &str, steps: &[CanaryStep]) -> bool {
    step_hashes(steps).iter().any(|known| known == hash)
}

/// The hash of the steps that goes into the status.
pub(crate) fn step_hash(steps: &[CanaryStep]) -> String {
    step_hashes(steps).swap_remove(0)
}

/// Hashes under which the same steps may stand in a status: ours first. The original writes the metadata of an analysis
/// step even when it is empty; both spellings are accepted, so that a take-over restarts no update.
fn step_hashes(steps: &[CanaryStep]) -> Vec<String> {
    if steps.is_empty() {
        return vec![template::steps_hash("null")];
    }
    let plain = serde_json::to_string(steps).unwrap_or_default();
    let mut with_metadata = steps.to_vec();
    for analysis in with_metadata.iter_mut().filter_map(|step| step.analysis.as_mut()) {
        analysis.analysis_run_metadata.get_or_insert_default();
    }
    for experiment in with_metadata.iter_mut().filter_map(|step| step.experiment.as_mut()) {
        experiment.analysis_run_metadata.get_or_insert_default();
        for template in &mut experiment.templates {
            template.metadata.get_or_insert_default();
        }
    }
    let metadata = serde_json::to_string(&with_metadata).unwrap_or_default();
    vec![template::steps_hash(&plain), template::steps_hash(&metadata)]
}
