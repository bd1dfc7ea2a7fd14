//! Which AnalysisRuns an update needs, and what they say about going on (guarantees D1 and D2).
//!
//! A run is first named in the status and created by the next pass under that name: whatever crashes in between, the
//! name says which run belongs to this attempt, so none is ever created twice.

use super::{decision::Decision, experiments, field_path, view::View};
use crate::{
    analysis::{
        self, phase,
        template::{AnalysisParts, TemplateSet, endless_metrics, run_spec},
    },
    api::{
        analysis::{AnalysisRun, AnalysisRunSpec, Argument},
        rollout_status::{PauseCondition, RolloutAnalysisRunStatus},
        scalar::wire_time,
        strategy::{AnalysisRunArgument, PodTemplateMetadata, RolloutAnalysis, RolloutAnalysisBackground},
        well_known,
    },
    plan::{Action, ObjectRef, Precondition, Propagation},
};
use serde_json::{Map, Value, json};

/// Reason of the pause that an analysis without a verdict causes.
pub(crate) const INCONCLUSIVE: &str = "InconclusiveAnalysisRun";
/// Finished runs kept when the specification does not say.
const HISTORY_LIMIT_DEFAULT: i32 = 5;
/// Field manager of requests to terminate a run.
const MANAGER: &str = "tidegate-analysis";

/// What an analysis is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// A step of a canary, by index.
    Step(usize),
    /// Beside the steps of a canary.
    Background,
    /// Before a blue-green switch.
    PrePromotion,
    /// After a blue-green switch.
    PostPromotion,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Step(_) => "Step",
            Self::Background => "Background",
            Self::PrePromotion => "PrePromotion",
            Self::PostPromotion => "PostPromotion",
        }
    }

    fn infix(self) -> Option<String> {
        match self {
            Self::Step(index) => Some(index.to_string()),
            Self::Background => None,
            Self::PrePromotion => Some("pre".to_owned()),
            Self::PostPromotion => Some("post".to_owned()),
        }
    }

    /// How abort messages begin (reference, rollouts 2.5).
    fn text(self) -> &'static str {
        match self {
            Self::Step(_) => "Step-based analysis",
            Self::Background => "Background analysis",
            Self::PrePromotion => "Blue/green pre-promotion analysis",
            Self::PostPromotion => "Blue/green post-promotion analysis",
        }
    }
}

/// An analysis in a specification, whatever its place.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    purpose: Purpose,
    parts: AnalysisParts<'a>,
    args: &'a [AnalysisRunArgument],
    metadata: Option<&'a PodTemplateMetadata>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn of(purpose: Purpose, analysis: &'a RolloutAnalysis) -> Self {
        Self {
            purpose,
            parts: analysis.into(),
            args: &analysis.args,
            metadata: analysis.analysis_run_metadata.as_ref(),
        }
    }

    pub(crate) fn background(analysis: &'a RolloutAnalysisBackground) -> Self {
        Self {
            purpose: Purpose::Background,
            parts: analysis.into(),
            args: &analysis.args,
            metadata: analysis.analysis_run_metadata.as_ref(),
        }
    }

    /// The templates by name, for messages.
    pub(crate) fn template_names(&self) -> String {
        self.parts
            .templates
            .iter()
            .map(|template| template.template_name.as_str())
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The specification of the run, or what is wrong with it.
    pub(crate) fn spec(&self, view: &View<'_>) -> Result<AnalysisRunSpec, Vec<String>> {
        let templates = TemplateSet {
            namespaced: &view.snapshot.analysis_templates,
            cluster: &view.snapshot.cluster_analysis_templates,
        };
        let field = |path: &str| field_path::text(view.snapshot.rollout, path);
        let spec = run_spec(self.parts, arguments(view, self.args)?, &templates, field)?;
        let endless = match self.purpose {
            Purpose::Background => Vec::new(),
            Purpose::Step(_) | Purpose::PrePromotion | Purpose::PostPromotion => endless_metrics(&spec),
        };
        if endless.is_empty() {
            return Ok(spec);
        }
        let message = |metric: &String| {
            format!(
                "AnalysisTemplate {} has metric {metric} which runs indefinitely. Invalid value for count: <nil>",
                self.template_names()
            )
        };
        Err(endless.iter().map(message).collect())
    }
}

/// What an analysis says about going on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Gate {
    /// Not known yet.
    Waiting,
    /// Successful, with evidence.
    Passed,
    /// Failed or in error: the text to abort with.
    Failed(String),
    /// Neither: a person has to decide.
    Inconclusive,
}

/// Makes sure that the run exists, and reads its verdict. `current` is what the status says about it.
pub(crate) fn ensure(
    view: &View<'_>,
    wanted: &Wanted<'_>,
    current: Option<&RolloutAnalysisRunStatus>,
    decision: &mut Decision<'_>,
) -> (RolloutAnalysisRunStatus, Gate) {
    let current = current.filter(|current| is_for(view, wanted.purpose, &current.name));
    let Some(current) = current else {
        let name = free_name(view, wanted.purpose);
        decision.wakes.push(view.now());
        return (
            RolloutAnalysisRunStatus {
                name,
                status: "Pending".to_owned(),
                message: String::new(),
            },
            Gate::Waiting,
        );
    };
    let Some(run) = view
        .snapshot
        .analysis_runs
        .iter()
        .copied()
        .find(|run| run_name(run) == current.name)
    else {
        if matches!(current.status.as_str(), "Failed" | "Error") {
            return (current.clone(), failed(wanted.purpose, current));
        }
        if let Ok(spec) = wanted.spec(view) {
            decision.runs.push(Action::Create {
                object: object(view, wanted, &current.name, &spec),
            });
        }
        return (current.clone(), Gate::Waiting);
    };
    let status = run.status.clone().unwrap_or_default();
    let phase = if status.phase.is_empty() {
        "Pending".to_owned()
    } else {
        status.phase
    };
    let seen = RolloutAnalysisRunStatus {
        name: current.name.clone(),
        status: phase,
        message: status.message,
    };
    tell(wanted.purpose, current, &seen, decision);
    let gate = match seen.status.as_str() {
        "Successful" if analysis::is_evidence(run) => Gate::Passed,
        // Guarantee D1: a run that was terminated, or measured nothing, proves nothing.
        "Successful" | "Inconclusive" => Gate::Inconclusive,
        "Failed" | "Error" => failed(wanted.purpose, &seen),
        _ => Gate::Waiting,
    };
    (seen, gate)
}

/// Whether the run of this name judges this moment of this update, and not a step that a user skipped (guarantee D1).
fn is_for(view: &View<'_>, purpose: Purpose, name: &str) -> bool {
    let Some(run) = view.snapshot.analysis_runs.iter().find(|run| run_name(run) == name) else {
        let base = base_name(view, purpose);
        let attempt = name
            .strip_prefix(&base)
            .map(|rest| rest.strip_prefix('.').unwrap_or(rest));
        return attempt.is_some_and(|attempt| attempt.bytes().all(|byte| byte.is_ascii_digit()));
    };
    let label = |key: &str| {
        run.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    let step = match purpose {
        Purpose::Step(index) => label(well_known::STEP_INDEX) == Some(index.to_string().as_str()),
        Purpose::Background | Purpose::PrePromotion | Purpose::PostPromotion => true,
    };
    step && label(well_known::ROLLOUT_TYPE) == Some(purpose.label())
        && label(well_known::POD_TEMPLATE_HASH) == Some(view.revisions.hash.as_str())
}

/// Whether a person let the update go on after a run that proved nothing: the status knows how it ended, and the pause
/// that was set with it is gone.
fn is_overruled(current: Option<&RolloutAnalysisRunStatus>, pauses: &[PauseCondition]) -> bool {
    current.is_some_and(|current| phase::completed(&current.status))
        && !pauses.iter().any(|pause| pause.reason == INCONCLUSIVE)
}

/// The event of a run that changed its phase.
fn tell(
    purpose: Purpose,
    before: &RolloutAnalysisRunStatus,
    seen: &RolloutAnalysisRunStatus,
    decision: &mut Decision<'_>,
) {
    if seen.status == before.status || seen.status == "Pending" {
        return;
    }
    let previous = if before.status == "Pending" {
        "NoPreviousStatus"
    } else {
        before.status.as_str()
    };
    let text = format!(
        "{} Analysis Run '{}' Status New: '{}' Previous: '{previous}'",
        purpose.label(),
        seen.name,
        seen.status,
    );
    match seen.status.as_str() {
        "Running" => decision.event("AnalysisRunRunning", text),
        "Successful" => decision.event("AnalysisRunSuccessful", text),
        "Inconclusive" => decision.warning("AnalysisRunInconclusive", text),
        "Error" => decision.warning("AnalysisRunError", text),
        _ => decision.warning("AnalysisRunFailed", text),
    }
}

fn failed(purpose: Purpose, run: &RolloutAnalysisRunStatus) -> Gate {
    let message = if run.message.is_empty() {
        String::new()
    } else {
        format!(": {}", run.message)
    };
    Gate::Failed(format!("{} phase error/failed{message}", purpose.text()))
}

/// Adds the pause of an analysis that proved nothing; true when the user has just resumed from it, and it is to be made
/// anew.
pub(crate) fn hold_for_a_person(
    view: &View<'_>,
    current: Option<&RolloutAnalysisRunStatus>,
    decision: &mut Decision<'_>,
) -> bool {
    let progress = &mut decision.progress;
    if is_overruled(current, &progress.pauses) {
        progress.controller_pause = false;
        decision.wakes.push(view.now());
        return true;
    }
    decision.at_waiting_step = true;
    pause_for_a_person(
        view,
        INCONCLUSIVE,
        "an analysis was inconclusive: promote or abort",
        decision,
    );
    false
}

/// Pauses for this reason, unless it does already, until a person promotes or aborts.
pub(crate) fn pause_for_a_person(view: &View<'_>, reason: &str, message: &str, decision: &mut Decision<'_>) {
    let progress = &mut decision.progress;
    if !progress.pauses.iter().any(|pause| pause.reason == reason) {
        progress.pauses.push(PauseCondition {
            reason: reason.to_owned(),
            start_time: Some(wire_time(view.now())),
        });
        progress.controller_pause = true;
    }
    decision.wait_for(reason, message, None);
}

/// [`tidy`] for what is left of an update after a decision: an aborted or promoted one needs no run.
pub(crate) fn tidy_after(view: &View<'_>, decision: &Decision<'_>) -> Vec<Action> {
    let progress = &decision.progress;
    let over = progress.abort || decision.stable_rs == view.revisions.hash;
    let runs = match view.spec.strategy.canary {
        Some(_) => [&progress.step_run, &progress.background_run],
        None => [&progress.pre_run, &progress.post_run],
    };
    let keep: Vec<&str> = (runs.into_iter().flatten().filter(|_| !over))
        .map(|run| run.name.as_str())
        .collect();
    let experiment = (progress.experiment.as_deref()).filter(|_| !over && view.spec.strategy.canary.is_some());
    let mut actions = tidy(view, &keep);
    actions.extend(experiments::tidy(view, experiment));
    actions
}

/// How many finished runs, and how many experiments, are kept: successful ones and others.
pub(crate) fn history_limits(view: &View<'_>) -> (usize, usize) {
    let limits = view.spec.analysis.clone().unwrap_or_default();
    let limit =
        |limit: Option<i32>| usize::try_from(limit.unwrap_or(HISTORY_LIMIT_DEFAULT).max(0)).unwrap_or(usize::MAX);
    (
        limit(limits.successful_run_history_limit),
        limit(limits.unsuccessful_run_history_limit),
    )
}

/// Stops runs that no longer belong to the update, and deletes those beyond the history limits.
fn tidy(view: &View<'_>, keep: &[&str]) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut finished: Vec<&AnalysisRun> = Vec::new();
    for run in view.snapshot.analysis_runs.iter().copied() {
        let phase = run.status.as_ref().map_or("", |status| status.phase.as_str());
        if phase::completed(phase) {
            finished.push(run);
        } else if !run.spec.terminate && !keep.contains(&run_name(run)) {
            actions.push(Action::Merge {
                target: target(view, run),
                patch: json!({ "spec": { "terminate": true } }),
                manager: MANAGER,
                precondition: Some(Precondition {
                    uid: run.metadata.uid.clone(),
                    resource_version: None,
                }),
            });
        }
    }
    finished.retain(|run| !keep.contains(&run_name(run)));
    finished.sort_by_key(|run| std::cmp::Reverse(run.metadata.creation_timestamp.clone().map(|time| time.0)));
    let (successful_limit, unsuccessful_limit) = history_limits(view);
    let successful = |run: &AnalysisRun| run.status.as_ref().is_some_and(|status| status.phase == "Successful");
    let orphaned = |run: &AnalysisRun| {
        let hash = run
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(well_known::POD_TEMPLATE_HASH));
        hash.is_none_or(|hash| view.revisions.hash != *hash && view.revisions.with_hash(hash).is_none())
    };
    let (good, bad): (Vec<_>, Vec<_>) = finished
        .iter()
        .copied()
        .filter(|run| !orphaned(run))
        .partition(|run| successful(run));
    let surplus = (good.into_iter().skip(successful_limit)).chain(bad.into_iter().skip(unsuccessful_limit));
    for run in finished.iter().copied().filter(|run| orphaned(run)).chain(surplus) {
        actions.push(Action::Delete {
            target: target(view, run),
            precondition: Precondition {
                uid: run.metadata.uid.clone(),
                resource_version: run.metadata.resource_version.clone(),
            },
            propagation: Propagation::Background,
        });
    }
    actions
}

fn target(view: &View<'_>, run: &AnalysisRun) -> ObjectRef {
    ObjectRef::namespaced(crate::api::API_VERSION, "AnalysisRun", view.namespace(), run_name(run))
}

fn run_name(run: &AnalysisRun) -> &str {
    run.metadata.name.as_deref().unwrap_or_default()
}

/// `<rollout>-<hash>-<revision>[-<infix>]`, with `.1`, `.2` … when earlier attempts hold that name.
fn free_name(view: &View<'_>, purpose: Purpose) -> String {
    let base = base_name(view, purpose);
    let taken = |name: &str| view.snapshot.analysis_runs.iter().any(|run| run_name(run) == name);
    let mut name = base.clone();
    for attempt in 1.. {
        if !taken(&name) {
            break;
        }
        name = format!("{base}.{attempt}");
    }
    name
}

fn base_name(view: &View<'_>, purpose: Purpose) -> String {
    let base = format!("{}-{}-{}", view.name(), view.revisions.hash, view.revisions.number);
    match purpose.infix() {
        Some(infix) => format!("{base}-{infix}"),
        None => base,
    }
}

fn object(view: &View<'_>, wanted: &Wanted<'_>, name: &str, spec: &AnalysisRunSpec) -> Value {
    let metadata = wanted.metadata.cloned().unwrap_or_default();
    let mut labels: Map<String, Value> = metadata
        .labels
        .into_iter()
        .map(|(key, value)| (key, Value::from(value)))
        .collect();
    let selector = view
        .spec
        .selector
        .clone()
        .unwrap_or_default()
        .match_labels
        .unwrap_or_default();
    labels.extend(selector.into_iter().map(|(key, value)| (key, Value::from(value))));
    labels.insert(
        well_known::POD_TEMPLATE_HASH.to_owned(),
        Value::from(view.revisions.hash.as_str()),
    );
    labels.insert(well_known::ROLLOUT_TYPE.to_owned(), Value::from(wanted.purpose.label()));
    if let Purpose::Step(index) = wanted.purpose {
        labels.insert(well_known::STEP_INDEX.to_owned(), Value::from(index.to_string()));
    }
    if let Some(id) = view
        .snapshot
        .rollout
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(well_known::INSTANCE_ID))
    {
        labels.insert(well_known::INSTANCE_ID.to_owned(), Value::from(id.as_str()));
    }
    let mut annotations: Map<String, Value> = metadata
        .annotations
        .into_iter()
        .map(|(key, value)| (key, Value::from(value)))
        .collect();
    annotations.insert(
        well_known::REVISION.to_owned(),
        Value::from(view.revisions.number.to_string()),
    );
    json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": "AnalysisRun",
        "metadata": {
            "name": name,
            "namespace": view.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [super::owner_reference(view)],
        },
        "spec": spec,
    })
}

/// The values of a rollout's arguments.
pub(crate) fn arguments(view: &View<'_>, args: &[AnalysisRunArgument]) -> Result<Vec<Argument>, Vec<String>> {
    let mut resolved = Vec::new();
    let mut problems = Vec::new();
    for arg in args {
        let source = arg.value_from.clone().unwrap_or_default();
        let value = match (&arg.value, source.pod_template_hash_value.as_deref(), &source.field_ref) {
            (Some(value), _, _) => Ok(value.clone()),
            (None, Some("Stable"), _) => Ok(view.status.stable_rs.clone()),
            (None, Some("Latest"), _) => Ok(view.revisions.hash.clone()),
            (None, Some(other), _) => Err(format!(
                "argument {}: podTemplateHashValue is `{other}`, expected Stable or Latest",
                arg.name
            )),
            (None, None, Some(field)) => field_path::text(view.snapshot.rollout, &field.field_path),
            (None, None, None) => continue,
        };
        match value {
            Ok(value) => resolved.push(Argument {
                name: arg.name.clone(),
                value: Some(value),
                value_from: None,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(resolved)
    } else {
        Err(problems)
    }
}
