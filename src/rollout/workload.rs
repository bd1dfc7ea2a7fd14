//! A Rollout that takes its pod template from another object (`spec.workloadRef`; reference, rollouts 4.10): what it then
//! stands for, and what is wrong with the reference. Scaling the Deployment down is in `scale_down`.

pub(crate) mod scale_down;

use super::{snapshot::Snapshot, validate::Problem, view::View};
use crate::{
    api::{
        replica_set::ReplicaSet,
        rollout::{Rollout, WorkloadRef},
        rollout_status::RolloutStatus,
        well_known,
        workload::{Workload, WorkloadKind},
    },
    plan::Plan,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// What `spec.workloadRef` led to.
#[derive(Clone, Copy, Debug)]
pub struct Referred<'a> {
    /// Its kind.
    pub kind: WorkloadKind,
    /// The object; absent when there is none of this name.
    pub found: Option<&'a Workload>,
    /// Why objects of its kind cannot be read, if they cannot.
    pub refusal: Option<&'a str>,
    /// Whether the Rollout has a pod template of its own beside the reference.
    pub has_own_template: bool,
}

/// The Rollout with the pod template of its workload, and with that one's selector if it has none.
///
/// Without the workload it has no template at all, so that nobody takes another one for the present one; its selector is
/// then that of the ReplicaSet recorded as the present one, for autoscalers go on asking for it. `sets` are those it
/// controls.
pub fn resolve<'s>(
    rollout: &Rollout,
    found: Option<&Workload>,
    sets: impl IntoIterator<Item = &'s ReplicaSet>,
) -> Rollout {
    let mut resolved = rollout.clone();
    resolved.spec.template = found.and_then(Workload::pod_template);
    if resolved.spec.selector.is_some() {
        return resolved;
    }
    resolved.spec.selector = match found {
        Some(workload) => workload.spec.selector.clone(),
        None => {
            let status = rollout.status.as_ref();
            let hash = status.map_or("", |status| status.current_pod_hash.as_str());
            let recorded = sets.into_iter().find(|set| !hash.is_empty() && set.pod_hash() == hash);
            recorded.map(|set| without_hash(&set.spec.selector))
        }
    };
    resolved
}

fn without_hash(selector: &LabelSelector) -> LabelSelector {
    let mut selector = selector.clone();
    if let Some(labels) = &mut selector.match_labels {
        labels.remove(well_known::POD_TEMPLATE_HASH);
    }
    selector
}

/// The name of the Rollout that a workload is marked as scaled down by.
pub fn scaled_down_by(workload: &Workload) -> Option<String> {
    scale_down::Record::of(workload).map(|record| record.rollout)
}

/// What to do when a Rollout is gone: the Deployments that it scaled down get their pods back.
pub fn after_deletion(scaled_down: &[&Workload]) -> Plan {
    let mut plan = Plan::default();
    for workload in scaled_down {
        scale_down::give_back(workload, 0, "its Rollout is gone", &mut plan);
    }
    plan
}

/// Whether the pod template is that of a workload that cannot be read, so that nobody knows the present revision.
pub(crate) fn is_unknown(rollout: &Rollout) -> bool {
    rollout.spec.workload_ref.is_some() && rollout.spec.template.is_none()
}

/// `metadata.generation` of the workload, as annotation and status have it.
fn generation(snapshot: &Snapshot<'_>) -> Option<String> {
    let workload = snapshot.referred?.found?;
    Some(workload.generation().to_string())
}

/// Whether the status was written for the workload as it is now, if there is one.
pub(crate) fn is_observed(snapshot: &Snapshot<'_>, status: &RolloutStatus) -> bool {
    snapshot.rollout.spec.workload_ref.is_none()
        || generation(snapshot).is_some_and(|generation| generation == status.workload_observed_generation)
}

/// The annotation that says which generation of the workload is looked at, when it is to be written.
pub(crate) fn annotation(view: &View<'_>) -> Option<String> {
    let generation = generation(view.snapshot)?;
    (annotated(view) != Some(&generation)).then_some(generation)
}

fn annotated<'a>(view: &View<'a>) -> Option<&'a String> {
    let annotations = view.snapshot.rollout.metadata.annotations.as_ref()?;
    annotations.get(well_known::WORKLOAD_GENERATION)
}

/// `status.workloadObservedGeneration`: a copy of the annotation as it is after this pass, since clients take the two for
/// different until the reference was followed. A pass that writes nothing but a status leaves the annotation.
pub(crate) fn observed_generation(view: &View<'_>, frozen: bool) -> String {
    if view.spec.workload_ref.is_none() {
        return String::new();
    }
    let written = if frozen { None } else { generation(view.snapshot) };
    written.or_else(|| annotated(view).cloned()).unwrap_or_default()
}

/// The ReplicaSet of the present pod template when that cannot be read: the one recorded.
pub(crate) fn recorded<'a>(sets: &[&'a ReplicaSet], status: &RolloutStatus) -> Option<&'a ReplicaSet> {
    let hash = &status.current_pod_hash;
    (sets.iter().copied()).find(|set| !hash.is_empty() && set.pod_hash() == *hash)
}

/// What is wrong with the reference, and with what it leads to.
pub(crate) fn problems(view: &View<'_>, named: &WorkloadRef, problems: &mut Vec<Problem>) {
    const FIELD: &str = "spec.workloadRef";
    if named.name.is_empty() {
        problems.push(Problem::required("spec.workloadRef.name"));
    }
    if scale_down::Mode::of(&named.scale_down).is_none() {
        let message = "must be never, onsuccess or progressively";
        problems.push(Problem::invalid(
            format!("{FIELD}.scaleDown"),
            named.scale_down.as_str(),
            message,
        ));
    }
    let Some(referred) = view.snapshot.referred else {
        let group = named.api_version.split_once('/').map_or("", |(group, _)| group);
        let message = format!("workload of type {group}/{} is not supported", named.kind);
        problems.push(Problem::invalid(FIELD, named.name.as_str(), message));
        return;
    };
    if referred.has_own_template {
        let message = "template must be empty for workload reference rollout";
        problems.push(Problem::invalid("spec.template", "", message));
    }
    if let Some(refusal) = referred.refusal {
        problems.push(Problem::invalid(FIELD, named.name.as_str(), refusal));
    } else if referred.found.is_none() && !named.name.is_empty() {
        let message = format!("{} \"{}\" not found", referred.kind.resource(), named.name);
        problems.push(Problem::invalid(format!("{FIELD}.name"), named.name.as_str(), message));
    }
}

/// Pods of a Rollout that names no number: as many as its Deployment has, or had, when that is scaled down for it, so
/// that neither the switch nor an autoscaler that follows it begins with a dip; else 1.
pub(crate) fn replicas_if_absent(snapshot: &Snapshot<'_>) -> i32 {
    let mode = (snapshot.rollout.spec.workload_ref.as_ref()).and_then(|named| scale_down::Mode::of(&named.scale_down));
    let deployment = snapshot.referred.and_then(|referred| match referred.kind {
        WorkloadKind::Deployment => referred.found,
        WorkloadKind::ReplicaSet | WorkloadKind::PodTemplate => None,
    });
    match (mode, deployment) {
        (Some(scale_down::Mode::OnSuccess | scale_down::Mode::Progressively), Some(deployment)) => {
            let had = scale_down::Record::of(deployment).map_or(0, |record| record.replicas);
            deployment.replicas().max(had).max(1)
        }
        _ => 1,
    }
}

/// Whether the new ReplicaSet can be made: its pod template must be known.
pub(crate) fn can_create(view: &View<'_>) -> bool {
    view.revisions.new.is_none() && !is_unknown(view.snapshot.rollout)
}
