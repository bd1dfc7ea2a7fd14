//! The Experiment of a canary step: made, read, ended and in the end deleted (guarantees D1 and D2).
//!
//! As an analysis it is first named in the status and created by the next pass under that name (`runs`). What happens
//! inside it is its own controller's; here only its end counts.

use super::{
    decision::Decision,
    field_path, injected,
    progress::Progress,
    runs::{self, Gate},
    view::View,
};
use crate::{
    analysis::{
        phase,
        template::{AnalysisParts, TemplateSet, run_spec},
    },
    api::{
        analysis::Argument,
        experiment::{Experiment, ExperimentAnalysisTemplateRef, ExperimentSpec, TemplateSpec},
        replica_set::ReplicaSet,
        strategy::{
            AnalysisTemplateRef, PodTemplateMetadata, RolloutExperimentAnalysis, RolloutExperimentStep,
            RolloutExperimentTemplate,
        },
        well_known,
    },
    experiment::is_evidence,
    lang::duration,
    plan::{Action, ObjectRef, Precondition, Propagation},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Reason of the pause that an experiment without a verdict causes.
pub(crate) const INCONCLUSIVE: &str = "InconclusiveExperiment";
/// Field manager of requests to terminate an Experiment.
const MANAGER: &str = "tidegate-experiment";

/// Makes sure that the Experiment of a step exists, and reads its verdict.
pub(crate) fn ensure(view: &View<'_>, step: &RolloutExperimentStep, index: usize, decision: &mut Decision<'_>) -> Gate {
    let current = decision.progress.experiment.clone();
    let Some(name) = current.filter(|name| is_for(view, index, name)) else {
        decision.progress.experiment = Some(free_name(view, index));
        decision.wakes.push(view.now());
        return Gate::Waiting;
    };
    let Some(experiment) = find(view, &name) else {
        match spec(view, step, standing) {
            Ok(spec) => {
                decision.event("ExperimentCreated", format!("Created Experiment '{name}'"));
                decision.runs.push(Action::Create {
                    object: object(view, &name, &spec),
                });
                decision.wait_for("WaitingForExperiment", format!("Experiment {name}"), None);
            }
            Err(problems) => {
                let message = format!("Experiment {name} cannot be made: {}", problems.join("; "));
                decision.wait_for("WaitingForExperiment", message, None);
            }
        }
        return Gate::Waiting;
    };
    let status = experiment.status.clone().unwrap_or_default();
    match status.phase.as_str() {
        "Successful" if is_evidence(experiment) => Gate::Passed,
        // Guarantee D1: an experiment that was terminated proves nothing.
        "Successful" | "Inconclusive" => Gate::Inconclusive,
        "Failed" | "Error" => {
            let colon = if status.message.is_empty() { "" } else { ": " };
            Gate::Failed(format!(
                "Experiment analysis phase is error/failed{colon}{}",
                status.message
            ))
        }
        _ => {
            let until = ends_at(experiment).filter(|until| *until > view.now());
            decision.wait_for("WaitingForExperiment", waiting(experiment, &name), until);
            Gate::Waiting
        }
    }
}

fn waiting(experiment: &Experiment, name: &str) -> String {
    let has_end = !experiment.spec.duration.is_empty()
        || experiment
            .spec
            .analyses
            .iter()
            .any(|analysis| analysis.required_for_completion);
    match has_end {
        true => format!("Experiment {name}"),
        false => format!("Experiment {name}, which has no duration and no analysis that ends it: terminate or promote"),
    }
}

/// When its duration is over, once that runs.
fn ends_at(experiment: &Experiment) -> Option<Timestamp> {
    let since = experiment.status.as_ref()?.available_at.as_ref()?.0;
    since.checked_add(duration::parse(&experiment.spec.duration).ok()?).ok()
}

/// Adds the pause of an experiment that proved nothing; true when the user has just resumed from it, and it is to be
/// made anew.
pub(crate) fn hold_for_a_person(view: &View<'_>, decision: &mut Decision<'_>) -> bool {
    let progress = &mut decision.progress;
    if progress.controller_pause && progress.pauses.is_empty() {
        progress.controller_pause = false;
        decision.wakes.push(view.now());
        return true;
    }
    let message = "an experiment was inconclusive: promote or abort";
    runs::pause_for_a_person(view, INCONCLUSIVE, message, decision);
    false
}

/// What is recorded about an experiment goes with its step.
pub(crate) fn leave(progress: &mut Progress) {
    progress.experiment = None;
    progress.pauses.retain(|pause| pause.reason != INCONCLUSIVE);
}

/// Whether an Experiment of this name belongs to this step of this update: the name says so, and nobody else holds it.
fn is_for(view: &View<'_>, index: usize, name: &str) -> bool {
    let base = base_name(view, index);
    let rest = name.strip_prefix(&base);
    let is_attempt = rest.is_some_and(|rest| {
        let number = rest.strip_prefix('-').unwrap_or(rest);
        rest.is_empty() || (number.len() < rest.len() && number.parse::<u32>().is_ok())
    });
    is_attempt && find(view, name).is_none_or(|found| belongs(view, found))
}

fn find<'a>(view: &View<'a>, name: &str) -> Option<&'a Experiment> {
    let mut experiments = view.snapshot.experiments.iter().copied();
    experiments.find(|found| found.metadata.name.as_deref() == Some(name))
}

fn belongs(view: &View<'_>, experiment: &Experiment) -> bool {
    let uid = view.snapshot.rollout.metadata.uid.as_deref();
    let mut owners = experiment.metadata.owner_references.iter().flatten();
    uid.is_some() && owners.any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
}

/// `<rollout>-<hash>-<revision>-<step>`, with `-1`, `-2` … when earlier attempts, or somebody else, hold that name.
fn free_name(view: &View<'_>, index: usize) -> String {
    let base = base_name(view, index);
    let mut name = base.clone();
    let mut attempt = 0;
    while find(view, &name).is_some() {
        attempt += 1;
        name = format!("{base}-{attempt}");
    }
    name
}

fn base_name(view: &View<'_>, index: usize) -> String {
    format!(
        "{}-{}-{}-{index}",
        view.name(),
        view.revisions.hash,
        view.revisions.number
    )
}

/// Where the pods of a template come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Set(&'a ReplicaSet),
    /// The Rollout's own pod template, for checking.
    Written(&'a Value, i32),
}

/// The ReplicaSet that a template is cloned from.
fn standing<'a>(view: &View<'a>, spec_ref: &str) -> Result<Source<'a>, String> {
    let set = match spec_ref {
        "stable" => view.revisions.stable,
        _ => view.revisions.new,
    };
    set.map(Source::Set)
        .ok_or_else(|| format!("the {spec_ref} ReplicaSet is not there"))
}

/// The specification of a step's Experiment, as far as it can be told before there are ReplicaSets; for checking.
pub(crate) fn spec_to_check(view: &View<'_>, step: &RolloutExperimentStep) -> Result<ExperimentSpec, Vec<String>> {
    let nothing = Value::Null;
    let pods = view.spec.template.as_ref().unwrap_or(&nothing);
    spec(view, step, |_, _| {
        Ok(Source::Written(pods, view.spec.min_ready_seconds))
    })
}

/// The specification of a step's Experiment, or what stands in its way.
fn spec<'a>(
    view: &View<'a>,
    step: &RolloutExperimentStep,
    source: impl Fn(&View<'a>, &str) -> Result<Source<'a>, String>,
) -> Result<ExperimentSpec, Vec<String>> {
    let mut problems = Vec::new();
    let mut spec = ExperimentSpec {
        duration: step.duration.clone(),
        progress_deadline_seconds: view.spec.progress_deadline_seconds,
        scale_down_delay_seconds: step.scale_down_delay_seconds,
        dry_run: step.dry_run.clone(),
        analysis_run_metadata: step.analysis_run_metadata.clone(),
        ..ExperimentSpec::default()
    };
    for template in &step.templates {
        match source(view, &template.spec_ref) {
            Ok(source) => spec.templates.push(cloned(view, template, source)),
            Err(problem) => problems.push(problem),
        }
    }
    for analysis in &step.analyses {
        match arguments(view, step, analysis) {
            Ok(args) => spec.analyses.push(ExperimentAnalysisTemplateRef {
                name: analysis.name.clone(),
                template_name: analysis.template_name.clone(),
                cluster_scope: analysis.cluster_scope,
                args,
                required_for_completion: analysis.required_for_completion,
            }),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(spec) } else { Err(problems) }
}

/// A template with the pods of a ReplicaSet as the user wrote them, with labels and annotations of its own.
fn cloned(view: &View<'_>, template: &RolloutExperimentTemplate, source: Source<'_>) -> TemplateSpec {
    let (mut pods, min_ready_seconds) = match source {
        Source::Set(set) => {
            let present = view.spec.template.as_ref().unwrap_or(&Value::Null);
            (injected::restored(set, present), set.spec.min_ready_seconds)
        }
        Source::Written(pods, seconds) => (pods.clone(), seconds),
    };
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut selector = template
        .selector
        .clone()
        .or_else(|| view.spec.selector.clone())
        .unwrap_or_default();
    let match_labels = selector.match_labels.get_or_insert_default();
    match_labels.extend(metadata.labels.clone());
    if let Some(whole) = pods.as_object_mut() {
        let of_pods = whole.entry("metadata").or_insert_with(|| json!({}));
        if let Some(of_pods) = of_pods.as_object_mut() {
            decorate(of_pods, metadata);
        }
    }
    TemplateSpec {
        name: template.name.clone(),
        replicas: template.replicas,
        min_ready_seconds,
        selector: Some(selector),
        template: Some(pods),
        service: template.service.clone(),
    }
}

/// Adds labels and annotations, and takes the hash of the Rollout's own ReplicaSet away: its Services select by it.
fn decorate(of_pods: &mut Map<String, Value>, metadata: PodTemplateMetadata) {
    for (field, added) in [("labels", metadata.labels), ("annotations", metadata.annotations)] {
        let known = of_pods.entry(field).or_insert_with(|| json!({}));
        if let Some(known) = known.as_object_mut() {
            known.remove(well_known::POD_TEMPLATE_HASH);
            known.extend(added.into_iter().map(|(key, value)| (key, Value::from(value))));
        }
    }
    of_pods.retain(|_, value| value.as_object().is_none_or(|members| !members.is_empty()));
}

/// The arguments of an analysis with their values, as far as the Rollout gives them, or what is wrong with the analysis.
pub(crate) fn arguments(
    view: &View<'_>,
    step: &RolloutExperimentStep,
    analysis: &RolloutExperimentAnalysis,
) -> Result<Vec<Argument>, Vec<String>> {
    let mut args = runs::arguments(view, &analysis.args)?;
    let templates = TemplateSet {
        namespaced: &view.snapshot.analysis_templates,
        cluster: &view.snapshot.cluster_analysis_templates,
    };
    let roots = [AnalysisTemplateRef {
        template_name: analysis.template_name.clone(),
        cluster_scope: Some(analysis.cluster_scope),
    }];
    // The rules of a dry run are for all analyses together.
    let alone = step.analyses.len() == 1;
    let parts = AnalysisParts {
        templates: &roots,
        dry_run: if alone { &step.dry_run } else { &[] },
        measurement_retention: &[],
    };
    let field = |path: &str| field_path::text(view.snapshot.rollout, path);
    let merged = run_spec(parts, args.clone(), &templates, field)?.args;
    // A template that asks for a field means one of the Rollout's, which the Experiment does not have.
    let known = args.clone();
    let is_new = |argument: &Argument| known.iter().all(|own| own.name != argument.name);
    args.extend(
        merged
            .into_iter()
            .filter(|argument| is_new(argument) && asks_for_field(view, &argument.name)),
    );
    Ok(args)
}

fn asks_for_field(view: &View<'_>, argument: &str) -> bool {
    let namespaced = view
        .snapshot
        .analysis_templates
        .iter()
        .flat_map(|template| &template.spec.args);
    let cluster = view
        .snapshot
        .cluster_analysis_templates
        .iter()
        .flat_map(|template| &template.spec.args);
    namespaced.chain(cluster).any(|asked| {
        let from = asked.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        asked.name == argument && asked.value.is_none() && from.is_some()
    })
}

fn object(view: &View<'_>, name: &str, spec: &ExperimentSpec) -> Value {
    let mut labels = Map::new();
    labels.insert(
        well_known::POD_TEMPLATE_HASH.to_owned(),
        Value::from(view.revisions.hash.as_str()),
    );
    let of_rollout = view.snapshot.rollout.metadata.labels.as_ref();
    if let Some(id) = of_rollout.and_then(|labels| labels.get(well_known::INSTANCE_ID)) {
        labels.insert(well_known::INSTANCE_ID.to_owned(), Value::from(id.as_str()));
    }
    json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": "Experiment",
        "metadata": {
            "name": name,
            "namespace": view.namespace(),
            "labels": labels,
            "annotations": { well_known::REVISION: view.revisions.number.to_string() },
            "ownerReferences": [super::owner_reference(view)],
        },
        "spec": spec,
    })
}

/// Ends Experiments that no longer belong to the update, and deletes those beyond the history limits.
pub(crate) fn tidy(view: &View<'_>, keep: Option<&str>) -> Vec<Action> {
    let own = || {
        view.snapshot
            .experiments
            .iter()
            .copied()
            .filter(|found| belongs(view, found))
    };
    let is_kept = |found: &Experiment| keep.is_some() && found.metadata.name.as_deref() == keep;
    let phase = |found: &Experiment| {
        found
            .status
            .as_ref()
            .map_or(String::new(), |status| status.phase.clone())
    };
    let target = |found: &Experiment| {
        let name = found.metadata.name.as_deref().unwrap_or_default();
        ObjectRef::namespaced(crate::api::API_VERSION, "Experiment", view.namespace(), name)
    };
    let running = own().filter(|found| !phase::completed(&phase(found)) && !found.spec.terminate && !is_kept(found));
    let mut actions: Vec<Action> = running
        .map(|found| Action::Merge {
            target: target(found),
            patch: json!({ "spec": { "terminate": true } }),
            manager: MANAGER,
            precondition: Some(Precondition {
                uid: found.metadata.uid.clone(),
                resource_version: None,
            }),
        })
        .collect();
    let mut finished: Vec<&Experiment> = own()
        .filter(|found| {
            phase::completed(&phase(found)) && !is_kept(found) && found.metadata.deletion_timestamp.is_none()
        })
        .collect();
    finished.sort_by_key(|found| std::cmp::Reverse(found.metadata.creation_timestamp.clone().map(|time| time.0)));
    let (orphaned, standing): (Vec<_>, Vec<_>) = finished.into_iter().partition(|found| is_orphaned(view, found));
    let (good, bad): (Vec<_>, Vec<_>) = standing.into_iter().partition(|found| phase(found) == "Successful");
    let (successful, unsuccessful) = runs::history_limits(view);
    let surplus = good
        .into_iter()
        .skip(successful)
        .chain(bad.into_iter().skip(unsuccessful));
    actions.extend(orphaned.into_iter().chain(surplus).map(|found| Action::Delete {
        target: target(found),
        precondition: Precondition {
            uid: found.metadata.uid.clone(),
            resource_version: found.metadata.resource_version.clone(),
        },
        propagation: Propagation::Background,
    }));
    actions
}

/// Whether the ReplicaSet that the Experiment was about is gone.
fn is_orphaned(view: &View<'_>, experiment: &Experiment) -> bool {
    let labels = experiment.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(well_known::POD_TEMPLATE_HASH));
    hash.is_none_or(|hash| view.revisions.hash != *hash && view.revisions.with_hash(hash).is_none())
}
