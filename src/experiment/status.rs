//! Phase, message, conditions and events of an Experiment.

use super::{EXPERIMENT_TERMINATED, Problem, View, Work};
use crate::{
    analysis::phase::{self, Phase},
    api::{
        experiment::{ExperimentAnalysisRunStatus, ExperimentStatus},
        rollout_status::RolloutCondition,
        scalar::wire_time,
    },
    plan::EventKind,
};

/// The condition of a specification that is wrong.
pub(super) const INVALID_SPEC: &str = "InvalidSpec";

/// Phase and message of an Experiment whose templates and analyses have been looked at (reference, rollouts 7).
pub(super) fn phase(view: &View<'_>, status: &ExperimentStatus) -> (String, String) {
    let say = |phase: Phase, message: &str| (phase.as_str().to_owned(), message.to_owned());
    let templates = status
        .template_statuses
        .iter()
        .map(|template| (&template.status, &template.message));
    let analyses = status.analysis_runs.iter().map(|run| (&run.phase, &run.message));
    let bad = templates.chain(analyses).filter_map(|(word, message)| {
        let phase = Phase::parse(word).filter(|phase| phase.ends_the_run())?;
        Some((phase, message))
    });
    // Of equally bad ones the first counts.
    let worst = bad.fold(None, |worst: Option<(Phase, &String)>, (phase, message)| match worst {
        Some((known, _)) if known >= phase => worst,
        _ => Some((phase, message)),
    });
    if let Some((phase, message)) = worst {
        return say(phase, message);
    }
    if view.spec.terminate {
        return say(Phase::Successful, EXPERIMENT_TERMINATED);
    }
    let is_successful = |name: &str| {
        let run = |known: &&ExperimentAnalysisRunStatus| known.name == name;
        status
            .analysis_runs
            .iter()
            .find(run)
            .is_some_and(|known| known.phase == "Successful")
    };
    let mut required = view
        .spec
        .analyses
        .iter()
        .filter(|analysis| analysis.required_for_completion)
        .peekable();
    if required.peek().is_some() && required.all(|analysis| is_successful(&analysis.name)) {
        return say(Phase::Successful, "Required AnalysisRuns completed");
    }
    let done = status
        .template_statuses
        .iter()
        .all(|template| phase::completed(&template.status));
    if done && view.is_over(status) && view.spec.analyses.iter().all(|analysis| is_successful(&analysis.name)) {
        return say(Phase::Successful, "");
    }
    match status.available_at {
        Some(_) => say(Phase::Running, ""),
        None => say(Phase::Pending, ""),
    }
}

/// A specification that is wrong: told once, and an error for whoever waits for the Experiment.
pub(super) fn invalid(view: &View<'_>, problems: &[Problem], status: &mut ExperimentStatus, work: &mut Work) {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let message = format!("The Experiment \"{}\" is invalid: {}", view.name(), texts.join("; "));
    let is_told = status
        .conditions
        .iter()
        .any(|known| known.r#type == INVALID_SPEC && known.message == message);
    if !is_told {
        status.conditions.retain(|known| known.r#type != INVALID_SPEC);
        set(view, status, (INVALID_SPEC, "True", INVALID_SPEC), &message);
        work.events
            .push((EventKind::Warning, INVALID_SPEC.to_owned(), message.clone()));
    }
    Phase::Error.as_str().clone_into(&mut status.phase);
    status.message = message.clone();
    work.because.push((INVALID_SPEC, message));
}

/// The condition `Progressing`.
pub(super) fn condition(view: &View<'_>, status: &mut ExperimentStatus) {
    if status.conditions.iter().any(|known| known.r#type == INVALID_SPEC) {
        return;
    }
    let name = view.name();
    if status.phase == "Successful" {
        let message = format!("Experiment \"{name}\" has successfully ran and completed.");
        set(view, status, ("Progressing", "False", "ExperimentCompleted"), &message);
    } else if phase::completed(&status.phase) {
        let message = format!("Experiment \"{name}\" has ended: {}", status.phase);
        set(view, status, ("Progressing", "False", "ExperimentCompleted"), &message);
    } else if status
        .template_statuses
        .iter()
        .all(|template| template.status != "Progressing")
    {
        let message = format!("Experiment \"{name}\" is running.");
        set(
            view,
            status,
            ("Progressing", "True", "NewReplicaSetAvailable"),
            &message,
        );
    } else {
        let message = format!("Experiment \"{name}\" is progressing.");
        set(view, status, ("Progressing", "True", "ReplicaSetUpdated"), &message);
    }
}

/// Sets a condition; one that already says the same keeps its times and message.
fn set(view: &View<'_>, status: &mut ExperimentStatus, (r#type, truth, reason): (&str, &str, &str), message: &str) {
    let known = status.conditions.iter().find(|known| known.r#type == r#type);
    if known.is_some_and(|known| known.status == truth && known.reason == reason) {
        return;
    }
    let now = Some(wire_time(view.now()));
    let kept = known
        .filter(|known| known.status == truth)
        .and_then(|known| known.last_transition_time.clone());
    let condition = RolloutCondition {
        last_transition_time: kept.or_else(|| now.clone()),
        last_update_time: now,
        message: message.to_owned(),
        reason: reason.to_owned(),
        status: truth.to_owned(),
        r#type: r#type.to_owned(),
    };
    status.conditions.retain(|known| known.r#type != r#type);
    status.conditions.push(condition);
}

/// One event for each template, analysis and experiment whose phase is another now.
pub(super) fn transitions(before: &ExperimentStatus, after: &ExperimentStatus) -> Vec<(EventKind, String, String)> {
    let mut events = Vec::new();
    let mut tell = |prefix: &str, what: String, from: &str, to: &str| {
        if from != to && !to.is_empty() {
            let kind = match to {
                "Failed" | "Error" | "Inconclusive" => EventKind::Warning,
                _ => EventKind::Normal,
            };
            events.push((
                kind,
                format!("{prefix}{to}"),
                format!("{what} transitioned from {from} -> {to}"),
            ));
        }
    };
    for template in &after.template_statuses {
        let known = before
            .template_statuses
            .iter()
            .find(|known| known.name == template.name);
        let from = known.map_or("", |known| known.status.as_str());
        tell(
            "Template",
            format!("Template '{}'", template.name),
            from,
            &template.status,
        );
    }
    for run in &after.analysis_runs {
        let known = before.analysis_runs.iter().find(|known| known.name == run.name);
        let from = known.map_or("", |known| known.phase.as_str());
        tell("AnalysisRun", format!("AnalysisRun '{}'", run.name), from, &run.phase);
    }
    tell("Experiment", "Experiment".to_owned(), &before.phase, &after.phase);
    events
}
