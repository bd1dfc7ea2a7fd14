//! The analyses of an Experiment: which runs there must be, and what they say (guarantees D1 and D2).
//!
//! A run is first named in the status and created by the next pass under that name: whatever crashes in between, the
//! name says which run belongs to this attempt, so none is ever created twice.

use super::{View, Work, names};
use crate::{
    analysis::{
        self, phase,
        template::{AnalysisParts, TemplateSet, run_spec},
        validate::pattern,
    },
    api::{
        analysis::{AnalysisRun, AnalysisRunSpec, Argument, DryRun, MeasurementRetention},
        experiment::{ExperimentAnalysisRunStatus, ExperimentAnalysisTemplateRef, ExperimentStatus},
        scalar::wire_time,
        strategy::AnalysisTemplateRef,
        well_known,
    },
    lang::{field_path, template},
    plan::{Action, EventKind, ObjectRef, Precondition},
};
use serde_json::{Map, Value, json};

/// Field manager of requests to terminate a run.
const MANAGER: &str = "tidegate-analysis";

/// One pass over the analyses of an Experiment that has not ended. They begin when every template has once been running.
pub(super) fn advance(view: &View<'_>, status: &mut ExperimentStatus, work: &mut Work) {
    if status.available_at.is_none() || view.spec.terminate {
        return;
    }
    let over = view.is_over(status);
    let before = std::mem::take(&mut status.analysis_runs);
    let mut after = Vec::new();
    for analysis in &view.spec.analyses {
        let known = before.iter().find(|known| known.name == analysis.name);
        after.push(look(view, analysis, known, status, over, work));
    }
    // One that the specification names no more has no say; `stop_others` ends it.
    status.analysis_runs = after;
    stop_others(view, status, work);
}

/// One analysis: named, then created, then read.
fn look(
    view: &View<'_>,
    analysis: &ExperimentAnalysisTemplateRef,
    known: Option<&ExperimentAnalysisRunStatus>,
    status: &ExperimentStatus,
    over: bool,
    work: &mut Work,
) -> ExperimentAnalysisRunStatus {
    let entry = |run: &str, phase: &str, message: String| ExperimentAnalysisRunStatus {
        name: analysis.name.clone(),
        analysis_run: run.to_owned(),
        phase: phase.to_owned(),
        message,
    };
    if let Some(known) = known.filter(|known| phase::completed(&known.phase)) {
        return known.clone();
    }
    let known = known.filter(|known| holder(view, &known.analysis_run).is_none_or(|run| view.controls(run)));
    let run = known.and_then(|known| holder(view, &known.analysis_run));
    if let Some(run) = run {
        return read(view, analysis, run, over, work);
    }
    if over {
        let message = "the duration was over before the analysis began".to_owned();
        return entry("", "Inconclusive", message);
    }
    let Some(known) = known else {
        // The next pass creates it, or finds that it cannot be.
        work.wakes.push(view.now());
        return entry(&free_name(view, &analysis.name), "Pending", String::new());
    };
    match spec(view, analysis, status) {
        Ok(spec) => {
            work.additions.push(Action::Create {
                object: object(view, &known.analysis_run, &spec),
            });
            known.clone()
        }
        Err(problems) => {
            let problems = problems.join("; ");
            let message = format!(
                "AnalysisTemplate verification failed for analysis '{}': {problems}",
                analysis.name
            );
            entry(&known.analysis_run, "Error", message)
        }
    }
}

/// What a run says. One that is not asked to decide when the Experiment ends is ended once the duration is over.
fn read(
    view: &View<'_>,
    analysis: &ExperimentAnalysisTemplateRef,
    run: &AnalysisRun,
    over: bool,
    work: &mut Work,
) -> ExperimentAnalysisRunStatus {
    let status = run.status.clone().unwrap_or_default();
    if over && !analysis.required_for_completion {
        terminate(view, run, "the duration is over", work);
    }
    let (phase, message) = match status.phase.as_str() {
        "" => ("Pending", String::new()),
        "Successful" if analysis::is_evidence(run) => ("Successful", status.message),
        // Ended because the duration is over, as an analysis without an end must be: what it measured until then counts.
        "Successful" if over && analysis::has_measured(run) => ("Successful", status.message),
        "Successful" => {
            let why = if status.message.is_empty() {
                "nothing was measured"
            } else {
                &status.message
            };
            ("Inconclusive", format!("Successful without evidence: {why}"))
        }
        other => (other, status.message),
    };
    if !phase::completed(phase) {
        let text = format!(
            "AnalysisRun {} is {phase}",
            run.metadata.name.as_deref().unwrap_or_default()
        );
        work.because.push(("WaitingForAnalysis", text));
    }
    ExperimentAnalysisRunStatus {
        name: analysis.name.clone(),
        analysis_run: run.metadata.name.clone().unwrap_or_default(),
        phase: phase.to_owned(),
        message,
    }
}

fn holder<'a>(view: &View<'a>, name: &str) -> Option<&'a AnalysisRun> {
    let mut runs = view.snapshot.analysis_runs.iter().copied();
    runs.find(|run| run.metadata.name.as_deref() == Some(name))
}

/// `<experiment>-<analysis>`, with `.1`, `.2` … when earlier attempts or somebody else hold that name.
fn free_name(view: &View<'_>, analysis: &str) -> String {
    let base = names::analysis_run(view.name(), analysis);
    let mut number = 0;
    while holder(view, &names::attempt(&base, number)).is_some() {
        number += 1;
    }
    names::attempt(&base, number)
}

/// The specification of a run, or what is wrong with it.
fn spec(
    view: &View<'_>,
    analysis: &ExperimentAnalysisTemplateRef,
    status: &ExperimentStatus,
) -> Result<AnalysisRunSpec, Vec<String>> {
    let set = TemplateSet {
        namespaced: &view.snapshot.analysis_templates,
        cluster: &view.snapshot.cluster_analysis_templates,
    };
    let roots = [AnalysisTemplateRef {
        template_name: analysis.template_name.clone(),
        cluster_scope: Some(analysis.cluster_scope),
    }];
    let experiment = serde_json::to_value(view.snapshot.experiment).unwrap_or_default();
    let field = |path: &str| field_path::text(&experiment, "experiment", path);
    let args = arguments(view, &analysis.args, status)?;
    let with = |dry_run: &[DryRun], measurement_retention: &[MeasurementRetention]| {
        let parts = AnalysisParts {
            templates: &roots,
            dry_run,
            measurement_retention,
        };
        run_spec(parts, args.clone(), &set, field)
    };
    let (dry_run, retention) = (&view.spec.dry_run, &view.spec.measurement_retention);
    if view.spec.analyses.len() < 2 || (dry_run.is_empty() && retention.is_empty()) {
        return with(dry_run, retention);
    }
    // The rules are for all analyses together; to one whose metrics none of it names, a rule would be a mistake.
    let metrics = with(&[], &[])?.metrics;
    let names_one = |rule: &str| {
        let is_bad_or_matches = |metric: &str| pattern(rule).map_or(true, |pattern| pattern.is_match(metric));
        metrics.iter().any(|metric| is_bad_or_matches(&metric.name))
    };
    let dry_run: Vec<DryRun> = dry_run
        .iter()
        .filter(|rule| names_one(&rule.metric_name))
        .cloned()
        .collect();
    let kept = retention.iter().filter(|rule| names_one(&rule.metric_name));
    with(&dry_run, &kept.cloned().collect::<Vec<_>>())
}

/// Arguments with `{{templates.…}}` and `{{experiment.…}}` replaced. References to Secrets stay references, those to
/// fields are for [`run_spec`].
fn arguments(view: &View<'_>, args: &[Argument], status: &ExperimentStatus) -> Result<Vec<Argument>, Vec<String>> {
    let mut resolved = Vec::new();
    let mut problems = Vec::new();
    for argument in args {
        let mut argument = argument.clone();
        if let Some(value) = &argument.value {
            match template::resolve(value, &|name| variable(view, status, name)) {
                Ok(value) => argument.value = Some(value),
                Err(problem) => problems.push(format!("args.{}: {problem}", argument.name)),
            }
        }
        resolved.push(argument);
    }
    if problems.is_empty() {
        Ok(resolved)
    } else {
        Err(problems)
    }
}

/// `templates.<name>.podTemplateHash`, `templates.<name>.replicaset.name`, `experiment.availableAt` and
/// `experiment.finishedAt` (reference, rollouts 6.4).
fn variable(view: &View<'_>, status: &ExperimentStatus, name: &str) -> Option<String> {
    match name {
        "experiment.availableAt" => return Some(status.available_at.as_ref()?.0.to_string()),
        "experiment.finishedAt" => return Some(wire_time(view.ends_at(status)?).0.to_string()),
        _ => {}
    }
    let rest = name.strip_prefix("templates.")?;
    let hash = rest.strip_suffix(".podTemplateHash");
    let template = hash.or_else(|| rest.strip_suffix(".replicaset.name"))?;
    let known = status.template_statuses.iter().find(|known| known.name == template)?;
    Some(match hash {
        Some(_) => known.pod_template_hash.clone(),
        None => names::replica_set(view.name(), template, known.collision_count),
    })
}

fn object(view: &View<'_>, name: &str, spec: &AnalysisRunSpec) -> Value {
    let metadata = view.spec.analysis_run_metadata.clone().unwrap_or_default();
    let texts = |all: std::collections::BTreeMap<String, String>| -> Map<String, Value> {
        all.into_iter().map(|(key, value)| (key, Value::from(value))).collect()
    };
    let mut labels = texts(metadata.labels);
    if let Some(id) = view.instance_id() {
        labels.insert(well_known::INSTANCE_ID.to_owned(), Value::from(id));
    }
    json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": "AnalysisRun",
        "metadata": {
            "name": name,
            "namespace": view.namespace(),
            "labels": labels,
            "annotations": texts(metadata.annotations),
            "ownerReferences": [view.owner_reference()],
        },
        "spec": spec,
    })
}

/// Ends runs of this Experiment that belong to no analysis of the present attempt.
fn stop_others(view: &View<'_>, status: &ExperimentStatus, work: &mut Work) {
    for run in view
        .snapshot
        .analysis_runs
        .iter()
        .copied()
        .filter(|run| view.controls(*run))
    {
        let mut named = status.analysis_runs.iter();
        if !named.any(|known| Some(&known.analysis_run) == run.metadata.name.as_ref()) {
            terminate(view, run, "it belongs to no analysis of the experiment", work);
        }
    }
}

/// Once the Experiment has ended: ends every run, and shows what became of each.
pub(super) fn stop(view: &View<'_>, status: &mut ExperimentStatus, work: &mut Work) {
    for run in view
        .snapshot
        .analysis_runs
        .iter()
        .copied()
        .filter(|run| view.controls(*run))
    {
        terminate(view, run, "the experiment has ended", work);
    }
    for known in status
        .analysis_runs
        .iter_mut()
        .filter(|known| !phase::completed(&known.phase))
    {
        let Some(run) = holder(view, &known.analysis_run).filter(|run| view.controls(*run)) else {
            continue;
        };
        let seen = run.status.clone().unwrap_or_default();
        if !seen.phase.is_empty() {
            known.phase = seen.phase;
            known.message = seen.message;
        }
    }
}

fn terminate(view: &View<'_>, run: &AnalysisRun, why: &str, work: &mut Work) {
    let ended = run
        .status
        .as_ref()
        .is_some_and(|status| phase::completed(&status.phase));
    if ended || run.spec.terminate || run.metadata.deletion_timestamp.is_some() {
        return;
    }
    let name = run.metadata.name.as_deref().unwrap_or_default();
    work.additions.push(Action::Merge {
        target: ObjectRef::namespaced(crate::api::API_VERSION, "AnalysisRun", view.namespace(), name),
        patch: json!({ "spec": { "terminate": true } }),
        manager: MANAGER,
        precondition: Some(Precondition {
            uid: run.metadata.uid.clone(),
            resource_version: None,
        }),
    });
    let text = format!("Terminating {name} ({why})");
    work.events
        .push((EventKind::Normal, "AnalysisRunTerminating".to_owned(), text));
}

/// The analysis whose run the API server refused is in error.
pub(super) fn refused(target: &ObjectRef, refusal: &str, status: &mut ExperimentStatus) {
    let is_it = |known: &&mut ExperimentAnalysisRunStatus| {
        target.kind == "AnalysisRun" && known.analysis_run == target.name && !phase::completed(&known.phase)
    };
    for known in status.analysis_runs.iter_mut().filter(is_it) {
        known.phase = "Error".to_owned();
        known.message = format!("Failed to create AnalysisRun for analysis '{}': {refusal}", known.name);
    }
}
