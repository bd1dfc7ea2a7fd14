//! In which order objects are written: phase, wave, kind, name, then namespaces and definitions before what needs them
//! (reference, applications 2.2).

use super::{
    compare::Comparison,
    resource::{ResourceKey, text},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Part of a sync operation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Hooks before anything else.
    PreSync,
    /// The objects, and hooks beside them.
    Sync,
    /// Hooks after all objects are healthy.
    PostSync,
    /// Hooks after a failure.
    SyncFail,
    /// Hooks before the objects are deleted with their application.
    PreDelete,
    /// Hooks after that.
    PostDelete,
}

impl Phase {
    /// The name in `syncResult.resources[].syncPhase`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreSync => "PreSync",
            Self::Sync => "Sync",
            Self::PostSync => "PostSync",
            Self::SyncFail => "SyncFail",
            Self::PreDelete => "PreDelete",
            Self::PostDelete => "PostDelete",
        }
    }

    /// Whether it is part of a sync, not of a deletion.
    pub fn is_of_sync(self) -> bool {
        match self {
            Self::PreSync | Self::Sync | Self::PostSync | Self::SyncFail => true,
            Self::PreDelete | Self::PostDelete => false,
        }
    }

    /// The inverse of [`Phase::name`].
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::PreSync,
            Self::Sync,
            Self::PostSync,
            Self::SyncFail,
            Self::PreDelete,
            Self::PostDelete,
        ];
        all.into_iter().find(|phase| phase.name() == name)
    }
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Effort {
    /// Deleted.
    Prune,
    /// Created or updated.
    Apply,
}

/// One object's part of an operation.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// When.
    pub phase: Phase,
    /// Within the phase.
    pub wave: i64,
    /// What is done.
    pub effort: Effort,
    /// Target and live object.
    pub comparison: &'a Comparison,
    /// Whether it is a hook of this phase.
    pub is_hook: bool,
}

impl Task<'_> {
    /// The object.
    pub fn key(&self) -> &ResourceKey {
        &self.comparison.key
    }

    /// The batch it belongs to.
    pub fn step(&self) -> (Phase, i64) {
        (self.phase, self.wave)
    }
}

const KINDS: &[&str] = &[
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    // Rollouts and Experiments name them, and say so in a condition while they are missing.
    "AnalysisTemplate",
    "ClusterAnalysisTemplate",
];

/// The place of a kind; kinds that are not listed come last.
pub fn kind_rank(kind: &str) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len())
}

/// Sorts tasks into the order in which they are to be done. The result does not depend on the order given.
pub fn sort(tasks: &mut Vec<Task<'_>>) {
    mirror_prune_waves(tasks);
    tasks.sort_by(|a, b| {
        let place = |task: &Task<'_>| (task.phase, task.wave, kind_rank(&task.key().kind));
        place(a).cmp(&place(b)).then_with(|| {
            let (a, b) = ((a.key(), a.effort), (b.key(), b.effort));
            (&a.0.name, a.0, a.1).cmp(&(&b.0.name, b.0, b.1))
        })
    });
    let namespaces = provided(tasks, |object| match text(object, "/kind") {
        "Namespace" => vec![text(object, "/metadata/name").to_owned()],
        _ => Vec::new(),
    });
    for name in namespaces {
        advance(
            tasks,
            |task| is_target(task, "Namespace", |o| text(o, "/metadata/name") == name),
            |task| task.key().namespace == name,
        );
    }
    let definitions = provided(tasks, |object| match text(object, "/kind") {
        "CustomResourceDefinition" => {
            vec![format!(
                "{}/{}",
                text(object, "/spec/group"),
                text(object, "/spec/names/kind")
            )]
        }
        _ => Vec::new(),
    });
    for defined in definitions {
        let defines = |o: &Value| format!("{}/{}", text(o, "/spec/group"), text(o, "/spec/names/kind")) == defined;
        advance(
            tasks,
            |task| is_target(task, "CustomResourceDefinition", defines),
            |task| format!("{}/{}", task.key().group, task.key().kind) == defined,
        );
    }
}

fn provided(tasks: &[Task<'_>], names: impl Fn(&Value) -> Vec<String>) -> Vec<String> {
    tasks
        .iter()
        .filter(|task| task.effort == Effort::Apply)
        .filter_map(|task| task.comparison.target.as_deref())
        .flat_map(names)
        .collect()
}

fn is_target(task: &Task<'_>, kind: &str, matches: impl Fn(&Value) -> bool) -> bool {
    task.effort == Effort::Apply && task.key().kind == kind && task.comparison.target.as_deref().is_some_and(matches)
}

/// Moves the provider in front of the first task that needs it; it takes over that task's phase and wave.
fn advance(tasks: &mut Vec<Task<'_>>, provides: impl Fn(&Task<'_>) -> bool, needs: impl Fn(&Task<'_>) -> bool) {
    let Some(provider) = tasks.iter().position(provides) else {
        return;
    };
    let Some(first) = tasks
        .iter()
        .position(|task| task.effort == Effort::Apply && needs(task))
    else {
        return;
    };
    if first >= provider {
        return;
    }
    let mut moved = tasks.remove(provider);
    if let Some(task) = tasks.get(first) {
        (moved.phase, moved.wave) = task.step();
    }
    tasks.insert(first, moved);
}

/// Removal goes backwards: the lowest wave of the objects to be pruned changes places with the highest, and so on.
/// What asks for `PruneLast=true` goes behind everything else.
fn mirror_prune_waves(tasks: &mut [Task<'_>]) {
    let mut waves: Vec<i64> = tasks
        .iter()
        .filter(|task| task.effort == Effort::Prune)
        .map(|task| task.wave)
        .collect();
    waves.sort_unstable();
    waves.dedup();
    let mirrored: BTreeMap<i64, i64> = waves.iter().copied().zip(waves.iter().rev().copied()).collect();
    for task in tasks.iter_mut().filter(|task| task.effort == Effort::Prune) {
        if let Some(wave) = mirrored.get(&task.wave) {
            task.wave = *wave;
        }
    }
    let last = tasks
        .iter()
        .filter(|task| task.phase == Phase::Sync)
        .map(|task| task.wave)
        .max()
        .unwrap_or(0);
    for task in tasks
        .iter_mut()
        .filter(|task| task.effort == Effort::Prune && task.comparison.prune_last)
    {
        task.wave = last.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
