//! The next status of a run, and what to do about it. Readings come in, a merge patch, events, a wake-up and the
//! measurements that are due go out. Repeating it with the same readings on the written status changes nothing.

use super::{
    RUN_TERMINATED,
    phase::{self, Phase},
    reading::{Attempt, Due, Reading},
    retention,
    schedule::{self, Prepared, Unfit},
    verdict::{self, Verdict},
};
use crate::{
    api::{
        API_VERSION,
        analysis::{AnalysisRun, AnalysisRunSpec, AnalysisRunStatus, Measurement, MetricResult, RunSummary},
        scalar::wire_time,
        well_known,
    },
    plan::{Action, EventKind, EventRecord, ObjectRef, Plan, Precondition, Propagation, StatusChange, merge_patch},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// What one decision about an AnalysisRun is based on.
#[derive(Clone, Copy, Debug)]
pub struct RunSnapshot<'a> {
    /// The run.
    pub run: &'a AnalysisRun,
    /// The moment of the decision.
    pub now: Timestamp,
}

/// What to do about a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pass {
    /// What to write, and when to look again.
    pub plan: Plan,
    /// What to measure, once the plan was carried out. Finished measurements come back as readings.
    pub due: Vec<Due>,
}

/// Whether this controller looks after the run: the instance id is equal, or there is none on either side.
pub fn is_managed(run: &AnalysisRun, instance_id: &str) -> bool {
    let labels = run.metadata.labels.as_ref();
    let label = labels
        .and_then(|labels| labels.get(well_known::INSTANCE_ID))
        .map(String::as_str);
    label.unwrap_or_default() == instance_id
}

/// Folds readings into the run and decides what comes next. Without readings it only schedules.
///
/// A reading that is recorded already, or that belongs to a measurement the run no longer waits for, is left out.
pub fn record(snapshot: &RunSnapshot<'_>, readings: &[Reading]) -> Pass {
    let RunSnapshot { run, now } = *snapshot;
    if run.metadata.deletion_timestamp.is_some() {
        return Pass::default();
    }
    let before = run.status.clone().unwrap_or_default();
    if phase::completed(&before.phase) {
        return Pass {
            plan: after_the_end(run, &before, now),
            due: Vec::new(),
        };
    }
    let mut pass = Pass::default();
    let mut status = before.clone();
    status.started_at = status.started_at.or_else(|| Some(wire_time(now)));
    match schedule::prepare(&run.spec) {
        Err(unfit) => {
            conclude(&mut status, Phase::Error, unfit.to_string(), now);
            pass.plan.because(unfit_code(&unfit), unfit.to_string());
        }
        Ok(prepared) => {
            for reading in readings {
                status = fold(status, &run.spec, &prepared, reading);
            }
            status = assess(status, &run.spec, &prepared, now);
            if !phase::completed(&status.phase) {
                let terminating = schedule::is_terminating(&run.spec, &status, &prepared);
                let (due, wake) = schedule::due(&prepared, &status, now, terminating);
                explain_waiting(&mut pass.plan, &due, wake);
                pass.due = due;
            }
        }
    }
    pass.plan.events = events(run, &before, &status);
    if phase::completed(&status.phase) {
        pass.plan
            .because("AnalysisRunCompleted", format!("the run is {}", status.phase));
        if let Some(deadline) = deadline(&run.spec, &status) {
            pass.plan.wake(deadline);
        }
    }
    pass.plan.status = status_change(run, &before, &status);
    pass
}

fn unfit_code(unfit: &Unfit) -> &'static str {
    match unfit {
        Unfit::Args(_) => "ArgumentsUnresolved",
        Unfit::Spec(_) => "SpecInvalid",
    }
}

fn explain_waiting(plan: &mut Plan, due: &[Due], wake: Option<Timestamp>) {
    for due in due {
        plan.because(
            "MeasurementDue",
            format!("measurement {} of metric \"{}\" is due", due.sequence, due.metric),
        );
    }
    if let Some(wake) = wake {
        plan.because(
            "MeasurementLater",
            format!("the next measurement is at {}", wire_time(wake).0),
        );
        plan.wake(wake);
    }
}

/// A run that ended: its time to live, and the end time when an earlier controller left it out.
fn after_the_end(run: &AnalysisRun, before: &AnalysisRunStatus, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut status = before.clone();
    if status.completed_at.is_none() {
        status.completed_at = Some(wire_time(now));
        plan.because("CompletionTimeMissing", "the run ended without a time of completion");
    }
    match deadline(&run.spec, &status) {
        Some(deadline) if deadline <= now => {
            plan.because(
                "TtlExpired",
                format!("the run was to live until {}", wire_time(deadline).0),
            );
            let precondition = precondition(run);
            plan.stage(vec![Action::Delete {
                target: target(run),
                precondition,
                propagation: Propagation::Background,
            }]);
        }
        Some(deadline) => {
            plan.because("TtlPending", format!("the run lives until {}", wire_time(deadline).0));
            plan.wake(deadline);
        }
        None => {}
    }
    if plan.stages.is_empty() {
        plan.status = status_change(run, before, &status);
    }
    plan
}

/// When `spec.ttlStrategy` ends the life of a completed run.
fn deadline(spec: &AnalysisRunSpec, status: &AnalysisRunStatus) -> Option<Timestamp> {
    let ttl = spec.ttl_strategy.as_ref()?;
    let special = match Phase::parse(&status.phase)? {
        Phase::Successful => ttl.seconds_after_success,
        Phase::Failed | Phase::Error | Phase::Inconclusive => ttl.seconds_after_failure,
        Phase::Pending | Phase::Running => return None,
    };
    let seconds = special.or(ttl.seconds_after_completion)?.max(0);
    let completed_at = schedule::moment(status.completed_at.as_ref())?;
    completed_at.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// The status with one more reading in it, or as it was when the reading is not awaited.
fn fold(
    mut status: AnalysisRunStatus,
    spec: &AnalysisRunSpec,
    prepared: &[Prepared],
    reading: &Reading,
) -> AnalysisRunStatus {
    let Some(metric) = prepared
        .iter()
        .find(|prepared| prepared.metric.name == reading.due.metric)
    else {
        return status;
    };
    let earlier = schedule::result_of(&status, &reading.due.metric).cloned();
    let known = earlier.is_some();
    let mut result = earlier.unwrap_or_else(|| MetricResult {
        name: reading.due.metric.clone(),
        ..MetricResult::default()
    });
    let in_flight = result
        .measurements
        .last()
        .filter(|last| schedule::is_in_flight(last))
        .cloned();
    let awaited = matches!(reading.due.attempt, Attempt::Begin) == in_flight.is_none();
    if !awaited || phase::completed(&result.phase) || schedule::sequence(&result) != reading.due.sequence {
        return status;
    }
    if in_flight.is_some() {
        result.measurements.pop();
    }
    result.measurements.push(measurement(reading, in_flight));
    result.phase = Phase::Running.as_str().to_owned();
    result.dry_run = metric.dry_run;
    result.metadata.extend(reading.metric_metadata.clone());
    result = count(result, reading.phase);
    let limit = retention::limit(&result.name, &spec.measurement_retention);
    result.measurements = retention::keep(std::mem::take(&mut result.measurements), limit);
    if !known {
        status.metric_results.push(result);
    } else if let Some(place) = status
        .metric_results
        .iter_mut()
        .find(|earlier| earlier.name == result.name)
    {
        *place = result;
    }
    status
}

/// The wire form of a reading; what was known of a measurement under way stays.
fn measurement(reading: &Reading, in_flight: Option<Measurement>) -> Measurement {
    let begun = in_flight.unwrap_or_else(|| Measurement {
        started_at: Some(wire_time(reading.started_at)),
        ..Measurement::default()
    });
    let mut metadata = begun.metadata;
    metadata.extend(reading.metadata.clone());
    Measurement {
        phase: reading.phase.as_str().to_owned(),
        message: reading.message.clone(),
        started_at: begun.started_at,
        finished_at: reading.phase.is_completed().then(|| wire_time(reading.finished_at)),
        value: reading.value.clone(),
        metadata,
        resume_at: reading.resume_at.map(wire_time),
    }
}

/// The counts after a measurement ended in `phase`.
fn count(mut result: MetricResult, phase: Phase) -> MetricResult {
    match phase {
        Phase::Successful => {
            result.successful += 1;
            result.consecutive_success += 1;
        }
        Phase::Failed => result.failed += 1,
        Phase::Inconclusive => result.inconclusive += 1,
        Phase::Error => {
            result.error += 1;
            result.consecutive_error += 1;
        }
        Phase::Pending | Phase::Running => return result,
    }
    if phase != Phase::Error {
        result.count += 1;
        result.consecutive_error = 0;
    }
    if phase != Phase::Successful {
        result.consecutive_success = 0;
    }
    result
}

/// The status with verdicts on its metrics and on the run.
fn assess(
    mut status: AnalysisRunStatus,
    spec: &AnalysisRunSpec,
    prepared: &[Prepared],
    now: Timestamp,
) -> AnalysisRunStatus {
    for metric in prepared {
        if let Some(result) = status
            .metric_results
            .iter_mut()
            .find(|result| result.name == metric.metric.name)
        {
            judge(metric, result);
        }
    }
    let terminating = schedule::is_terminating(spec, &status, prepared);
    if terminating {
        stop(&mut status);
    }
    (status.run_summary, status.dry_run_summary) = summaries(&status);
    let open = |metric: &Prepared| match schedule::result_of(&status, &metric.metric.name) {
        Some(result) => !phase::completed(&result.phase),
        None => !terminating,
    };
    if prepared.iter().any(open) {
        status.phase = Phase::Running.as_str().to_owned();
        return status;
    }
    let (phase, message) = run_verdict(&status, prepared);
    conclude(&mut status, phase, message, now);
    status
}

/// Gives a metric its verdict, unless it has one or a measurement is under way.
fn judge(metric: &Prepared, result: &mut MetricResult) {
    if phase::completed(&result.phase) || result.measurements.last().is_some_and(schedule::is_in_flight) {
        return;
    }
    let Verdict::Decided(phase, reason) = verdict::of(&metric.limits, result) else {
        return;
    };
    result.phase = phase.as_str().to_owned();
    if let Some(reason) = reason.filter(|_| metric.dry_run) {
        result.message = format!("Metric assessed {phase} due to {reason}{}", last_message(result));
    }
}

/// Ends every metric that has nothing under way, because the run is being ended.
fn stop(status: &mut AnalysisRunStatus) {
    for result in &mut status.metric_results {
        if !phase::completed(&result.phase) && !result.measurements.last().is_some_and(schedule::is_in_flight) {
            result.phase = Phase::Successful.as_str().to_owned();
        }
    }
}

/// The run's phase and message once nothing is open: the worst of the metrics that count.
fn run_verdict(status: &AnalysisRunStatus, prepared: &[Prepared]) -> (Phase, String) {
    let (mut worst, mut message, mut cut_short) = (Phase::Successful, String::new(), false);
    let all_dry = prepared.iter().all(|metric| metric.dry_run);
    for metric in prepared {
        let counts = all_dry || !metric.dry_run;
        let Some(result) = schedule::result_of(status, &metric.metric.name) else {
            cut_short |= counts;
            continue;
        };
        let phase = Phase::parse(&result.phase).unwrap_or(Phase::Error);
        let verdict = verdict::of(&metric.limits, result);
        cut_short |= counts && phase == Phase::Successful && verdict == Verdict::Open;
        if metric.dry_run || phase <= worst {
            continue;
        }
        worst = phase;
        let reason = match verdict {
            Verdict::Decided(same, Some(reason)) if same == phase => reason,
            Verdict::Decided(..) | Verdict::Open => "an earlier verdict".to_owned(),
        };
        message = format!(
            "Metric \"{}\" assessed {worst} due to {reason}{}",
            result.name,
            last_message(result)
        );
    }
    if worst == Phase::Successful && cut_short {
        message = RUN_TERMINATED.to_owned();
    }
    (worst, message)
}

fn last_message(result: &MetricResult) -> String {
    match result.measurements.last() {
        Some(last) if !last.message.is_empty() => format!(": \"Error Message: {}\"", last.message),
        Some(_) | None => String::new(),
    }
}

fn conclude(status: &mut AnalysisRunStatus, phase: Phase, message: String, now: Timestamp) {
    status.phase = phase.as_str().to_owned();
    status.message = message;
    status.completed_at = Some(wire_time(now));
}

/// Counts over the metrics measured so far: those that count, and those of the dry run.
fn summaries(status: &AnalysisRunStatus) -> (Option<RunSummary>, Option<RunSummary>) {
    let summary = |dry_run: bool| {
        let results = status.metric_results.iter().filter(|result| result.dry_run == dry_run);
        results.fold(RunSummary::default(), |mut summary, result| {
            summary.count += 1;
            match Phase::parse(&result.phase) {
                Some(Phase::Successful) => summary.successful += 1,
                Some(Phase::Failed) => summary.failed += 1,
                Some(Phase::Inconclusive) => summary.inconclusive += 1,
                Some(Phase::Error) => summary.error += 1,
                Some(Phase::Pending | Phase::Running) | None => {}
            }
            summary
        })
    };
    (Some(summary(false)), Some(summary(true)))
}

/// One event for each metric that ended in this pass, and one when the run did.
fn events(run: &AnalysisRun, before: &AnalysisRunStatus, after: &AnalysisRunStatus) -> Vec<EventRecord> {
    let event = |prefix: &str, phase: &str, message: String| EventRecord {
        about: target(run),
        uid: run.metadata.uid.clone(),
        kind: match Phase::parse(phase) {
            Some(Phase::Failed | Phase::Error) => EventKind::Warning,
            _ => EventKind::Normal,
        },
        reason: format!("{prefix}{phase}"),
        message,
    };
    let ended = |result: &&MetricResult| {
        let earlier = schedule::result_of(before, &result.name);
        phase::completed(&result.phase) && !earlier.is_some_and(|earlier| phase::completed(&earlier.phase))
    };
    let metrics = after.metric_results.iter().filter(ended).map(|result| {
        let message = format!("Metric '{}' Completed. Result: {}", result.name, result.phase);
        event("Metric", &result.phase, message)
    });
    let mut events: Vec<EventRecord> = metrics.collect();
    if phase::completed(&after.phase) {
        events.push(event(
            "AnalysisRun",
            &after.phase,
            format!("Analysis Completed. Result: {}", after.phase),
        ));
    }
    events
}

fn status_change(run: &AnalysisRun, before: &AnalysisRunStatus, after: &AnalysisRunStatus) -> StatusChange {
    // The types have only text keys and finite numbers, so encoding them cannot fail; null would mean "no change".
    let tree = |status: &AnalysisRunStatus| serde_json::to_value(status).unwrap_or(Value::Null);
    match merge_patch(&tree(before), &tree(after)) {
        None => StatusChange::Unchanged,
        Some(patch) => StatusChange::Merge {
            target: target(run),
            patch: json!({ "status": patch }),
            subresource: false,
            precondition: precondition(run),
        },
    }
}

fn target(run: &AnalysisRun) -> ObjectRef {
    ObjectRef {
        api_version: API_VERSION.to_owned(),
        kind: "AnalysisRun".to_owned(),
        namespace: run.metadata.namespace.clone(),
        name: run.metadata.name.clone().unwrap_or_default(),
    }
}

fn precondition(run: &AnalysisRun) -> Precondition {
    Precondition {
        uid: run.metadata.uid.clone(),
        resource_version: run.metadata.resource_version.clone(),
    }
}

#[cfg(test)]
mod tests;
