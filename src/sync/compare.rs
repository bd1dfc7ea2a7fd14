//! Targets against live objects: what differs, what is missing, what is no longer wanted, and how well each does.

use super::{
    diff::{
        self, Verdict,
        foreign::{self, Prepared},
        ignore::IgnoreRules,
    },
    health::{self, Health},
    hooks,
    kinds::Kinds,
    options::{AppOptions, ObjectOptions},
    project::Project,
    resource::{ResourceKey, TrackingId, annotation_lists, text, version_of},
    target::{self, TargetSet},
};
use crate::api::{application::ResourceIgnoreDifferences, well_known::COMPARE_OPTIONS};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Live objects by key: those an application tracks, and those its targets name.
pub type LiveObjects = BTreeMap<ResourceKey, Arc<Value>>;

/// What a server-side dry run of a target answered: the object as it would be, or the refusal.
pub type DryRuns = BTreeMap<ResourceKey, Result<Arc<Value>, String>>;

/// Whether an object is as its source says.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum SyncCode {
    /// Yes.
    Synced,
    /// No.
    OutOfSync,
    /// It could not be told.
    #[default]
    Unknown,
}

impl SyncCode {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Unknown => "Unknown",
        }
    }
}

/// One object, wanted or found.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which.
    pub key: ResourceKey,
    /// API version of the target, else of the live object.
    pub version: String,
    /// What the source says; `None` when only pruning brings it in sync.
    pub target: Option<Arc<Value>>,
    /// The target as it is applied.
    pub prepared: Option<Prepared>,
    /// What there is.
    pub live: Option<Arc<Value>>,
    /// The verdict.
    pub sync: SyncCode,
    /// Fields that differ.
    pub differences: Vec<String>,
    /// Whether only a server-side dry run can tell; until then `sync` is `OutOfSync`.
    pub needs_dry_run: bool,
    /// Whether it counts for the application's sync status.
    pub counts: bool,
    /// Health of the live object, where its kind has a check.
    pub health: Option<Health>,
    /// Wave.
    pub wave: i64,
    /// Options.
    pub options: ObjectOptions,
    /// Whether it is pruned after everything else.
    pub prune_last: bool,
    /// Whether it is a hook: never compared, never pruned.
    pub is_hook: bool,
    /// Another application that tracks the live object.
    pub shared_with: Option<String>,
}

impl Comparison {
    /// Whether only pruning brings it in sync.
    pub fn requires_pruning(&self) -> bool {
        self.target.is_none() && self.live.is_some() && !self.is_hook
    }
}

/// What a comparison is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// What the source says.
    pub targets: &'a TargetSet,
    /// What there is.
    pub live: &'a LiveObjects,
    /// Name of the application in tracking ids.
    pub instance: &'a str,
    /// `spec.ignoreDifferences`.
    pub ignore: &'a [ResourceIgnoreDifferences],
    /// Options of the application.
    pub options: &'a AppOptions,
    /// Answers of dry runs, as far as there are any.
    pub dry_runs: &'a DryRuns,
    /// Whether this very source was applied already, so that a difference is either drift or no difference at all and
    /// worth a dry run before it is reported.
    pub was_applied: bool,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// What the project permits: a live object beyond that is none of the application's, whatever it says itself.
    pub project: Project<'a>,
}

/// Compares every target with its live object, and finds tracked objects that have no target. Ordered by key.
pub fn compare(sides: Sides<'_>) -> Vec<Comparison> {
    let autoscaled: Vec<(String, String, String)> = {
        let targets: Vec<&Value> = sides.targets.resources.values().map(Arc::as_ref).collect();
        foreign::autoscaled(&targets)
    };
    let mut found: BTreeMap<ResourceKey, Comparison> = BTreeMap::new();
    for (key, target) in &sides.targets.resources {
        let is_scaled = autoscaled
            .iter()
            .any(|(kind, namespace, name)| (kind, namespace, name) == (&key.kind, &key.namespace, &key.name));
        found.insert(key.clone(), with_target(key, target, is_scaled, sides));
    }
    for (key, live) in sides.live {
        if found.contains_key(key) {
            continue;
        }
        // A live object that no target names concerns us only if it says itself that it is ours (guarantee S3).
        let is_ours = TrackingId::of_live(live).is_some_and(|id| id.instance == sides.instance);
        if is_ours && sides.project.refuses(key, sides.kinds).is_none() {
            found.insert(key.clone(), without_target(key, live, sides));
        }
    }
    found.into_values().collect()
}

fn with_target(key: &ResourceKey, target: &Arc<Value>, is_scaled: bool, sides: Sides<'_>) -> Comparison {
    let live = sides.live.get(key);
    let rules = IgnoreRules::for_object(sides.ignore, key);
    let respected = sides.options.respect_ignore_differences.then_some(&rules);
    let prepared = foreign::prepare(target, live.map(Arc::as_ref), is_scaled, respected);
    let (sync, differences, needs_dry_run) = match live {
        None => (SyncCode::OutOfSync, Vec::new(), false),
        Some(live) => judge(key, &prepared, live, &rules, sides),
    };
    let options = sides.options.of_object(target);
    Comparison {
        key: key.clone(),
        version: version_of(text(target, "/apiVersion")).to_owned(),
        target: Some(Arc::clone(target)),
        prepared: Some(prepared),
        live: live.cloned(),
        sync,
        differences,
        needs_dry_run,
        counts: true,
        health: live.and_then(|live| health::of_object(live)),
        wave: target::wave(target),
        options,
        prune_last: options.prune_last,
        is_hook: false,
        shared_with: live
            .and_then(|live| TrackingId::of_live(live))
            .map(|id| id.instance)
            .filter(|instance| instance != sides.instance),
    }
}

fn judge(
    key: &ResourceKey,
    prepared: &Prepared,
    live: &Value,
    rules: &IgnoreRules,
    sides: Sides<'_>,
) -> (SyncCode, Vec<String>, bool) {
    let verdict = diff::compare(&prepared.body, live, rules);
    let (paths, is_sure) = match verdict {
        Verdict::Same => return (SyncCode::Synced, Vec::new(), false),
        Verdict::Different(paths) => (paths, !sides.was_applied),
        Verdict::Unsure(paths) => (paths, false),
    };
    if is_sure {
        return (SyncCode::OutOfSync, paths, false);
    }
    match sides.dry_runs.get(key) {
        None => (SyncCode::OutOfSync, paths, true),
        // A refused dry run is a difference too: unknown is never success.
        Some(Err(_)) => (SyncCode::OutOfSync, paths, false),
        Some(Ok(after)) => match diff::confirm(after, live, rules) {
            Verdict::Same => (SyncCode::Synced, Vec::new(), false),
            Verdict::Different(paths) | Verdict::Unsure(paths) => (SyncCode::OutOfSync, paths, false),
        },
    }
}

fn without_target(key: &ResourceKey, live: &Arc<Value>, sides: Sides<'_>) -> Comparison {
    let options = sides.options.of_object(live);
    let is_hook = hooks::is_hook(live);
    Comparison {
        key: key.clone(),
        version: version_of(text(live, "/apiVersion")).to_owned(),
        target: None,
        prepared: None,
        live: Some(Arc::clone(live)),
        sync: if is_hook { SyncCode::Synced } else { SyncCode::OutOfSync },
        differences: Vec::new(),
        needs_dry_run: false,
        counts: !is_hook && !annotation_lists(live, COMPARE_OPTIONS, "IgnoreExtraneous"),
        health: health::of_object(live),
        wave: target::wave(live),
        options,
        prune_last: options.prune_last,
        is_hook,
        shared_with: None,
    }
}

/// Conditions about live objects that another application claims too.
pub fn shared(comparisons: &[Comparison], app_name: &str) -> Vec<String> {
    comparisons
        .iter()
        .filter_map(|comparison| {
            let other = comparison.shared_with.as_deref()?;
            let key = &comparison.key;
            Some(format!(
                "{}/{} is part of applications {app_name} and {other}",
                key.kind, key.name
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests;
