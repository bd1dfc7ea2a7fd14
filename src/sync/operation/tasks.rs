//! From comparisons to tasks, and from the tasks of one step to work.

use super::{
    Desired, Step, View, hook_work,
    waiting::{self, Reason},
};
use crate::{
    api::well_known::SYNC_MANAGER,
    json::At as _,
    plan::{Precondition, Propagation},
    sync::{
        compare::{Comparison, SyncCode},
        hooks::{self, Role},
        kinds::Kinds,
        order::{self, Effort, Phase, Task},
        prune::{self, Permission},
        resource::{ResourceKey, annotation, is_deleting, text},
        work::{Apply, Batches, Deed, ResultCode, Work},
    },
};
use serde_json::{Value, json};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

const MIGRATION_MANAGER: &str = "argocd.argoproj.io/client-side-apply-migration-manager";

/// The tasks of an operation, in order.
pub(super) struct Planned<'a> {
    pub(super) tasks: Vec<Task<'a>>,
    pub(super) sync_fail: Vec<Task<'a>>,
    /// What makes them impossible, in words.
    pub(super) problems: Vec<String>,
}

/// Builds and sorts the tasks.
pub(super) fn plan<'a>(view: &View<'a>, desired: Desired<'a>) -> Planned<'a> {
    let mut tasks = Vec::new();
    // The scope of a kind that this very sync defines is known from its definition.
    let kinds = view
        .kinds
        .with_definitions(desired.targets.resources.values().map(Arc::as_ref));
    let kinds = &kinds;
    let mut problems: Vec<String> = refused_namespace(view, kinds).into_iter().collect();
    for comparison in desired
        .comparisons
        .iter()
        .filter(|comparison| !comparison.is_hook && selected(view, &comparison.key))
    {
        let effort = if comparison.target.is_some() {
            Effort::Apply
        } else {
            Effort::Prune
        };
        if let Some(problem) = impossible(view, kinds, desired, comparison, effort) {
            problems.push(problem);
            continue;
        }
        tasks.push(Task {
            phase: Phase::Sync,
            wave: comparison.wave,
            effort,
            comparison,
            is_hook: false,
        });
    }
    let mut sync_fail = Vec::new();
    if super::runs_hooks(view.sync) {
        for comparison in desired
            .comparisons
            .iter()
            .filter(|comparison| comparison.is_hook && comparison.target.is_some())
        {
            let Some(Role::Hook(phases)) = comparison.target.as_deref().map(hooks::role) else {
                continue;
            };
            if let Some(problem) = impossible(view, kinds, desired, comparison, Effort::Apply) {
                problems.push(problem);
                continue;
            }
            for phase in phases.into_iter().filter(|phase| phase.is_of_sync()) {
                let task = Task {
                    phase,
                    wave: comparison.wave,
                    effort: Effort::Apply,
                    comparison,
                    is_hook: true,
                };
                if phase == Phase::SyncFail {
                    sync_fail.push(task)
                } else {
                    tasks.push(task)
                }
            }
        }
    }
    order::sort(&mut tasks);
    order::sort(&mut sync_fail);
    Planned {
        tasks,
        sync_fail,
        problems,
    }
}

fn selected(view: &View<'_>, key: &ResourceKey) -> bool {
    view.sync.resources.is_empty()
        || view.sync.resources.iter().any(|wanted| {
            wanted.group == key.group
                && wanted.kind == key.kind
                && wanted.name == key.name
                && (wanted.namespace.is_empty() || wanted.namespace == key.namespace)
        })
}

fn impossible(
    view: &View<'_>,
    kinds: &Kinds,
    desired: Desired<'_>,
    comparison: &Comparison,
    effort: Effort,
) -> Option<String> {
    unknown_kind(view, desired, comparison).or_else(|| {
        // Leaving an object alone needs no permission.
        let is_write = effort == Effort::Apply || view.prune.prune;
        view.project.refuses(&comparison.key, kinds).filter(|_| is_write)
    })
}

/// Why a target cannot be written: the cluster does not know its kind, and nothing in this sync defines it.
fn unknown_kind(view: &View<'_>, desired: Desired<'_>, comparison: &Comparison) -> Option<String> {
    let target = comparison.target.as_deref()?;
    let (api_version, kind) = (text(target, "/apiVersion"), text(target, "/kind"));
    let is_coming = desired
        .targets
        .resources
        .values()
        .any(|object| defines(object, &comparison.key));
    if view.kinds.serves(api_version, kind) || is_coming || comparison.options.skip_dry_run_on_missing_resource {
        return None;
    }
    let version = comparison.version.as_str();
    let group = if comparison.key.group.is_empty() {
        "core"
    } else {
        &comparison.key.group
    };
    Some(format!(
        "The Kubernetes API could not find version {version:?} of {group}/{kind} for requested resource {}/{}. Make sure the {kind:?} CRD is installed on the destination cluster",
        comparison.key.namespace, comparison.key.name
    ))
}

/// Whether an object is the definition of a key's kind.
pub(super) fn defines(object: &Value, key: &ResourceKey) -> bool {
    text(object, "/kind") == "CustomResourceDefinition"
        && text(object, "/spec/group") == key.group
        && text(object, "/spec/names/kind") == key.kind
}

/// Why the destination namespace may not be made, where that is needed: it is an object like any other to the project.
fn refused_namespace(view: &View<'_>, kinds: &Kinds) -> Option<String> {
    let work = namespace(view)?;
    view.project.refuses(&work.key, kinds)
}

/// The destination namespace, when the application wants it made and it is not as it should be.
pub(super) fn namespace(view: &View<'_>) -> Option<Work> {
    let wanted = view.options.create_namespace && !view.namespace.is_empty() && !view.sync.dry_run;
    if !wanted {
        return None;
    }
    let key = ResourceKey {
        kind: "Namespace".into(),
        name: view.namespace.into(),
        ..ResourceKey::default()
    };
    let is_target = view
        .desired
        .is_ok_and(|desired| desired.targets.resources.contains_key(&key));
    let live = view.live.get(&key);
    let mut body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": view.namespace}});
    let mut is_right = live.is_some();
    if let (Some(metadata), Some(fields)) = (
        view.namespace_metadata,
        body.pointer_mut("/metadata").and_then(Value::as_object_mut),
    ) {
        for (field, wanted) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
            if wanted.is_empty() {
                continue;
            }
            let current = |key: &str| live.and_then(|live| live.get("metadata")?.get(field)?.get(key)?.as_str());
            is_right &= wanted.iter().all(|(key, value)| current(key) == Some(value));
            fields.insert(field.to_owned(), json!(wanted));
        }
    }
    if is_right || is_target {
        return None;
    }
    Some(Work::apply(
        &key,
        Phase::PreSync,
        false,
        Apply {
            body,
            ..Apply::default()
        },
    ))
}

/// The work of one step: what is pruned, then what makes way for hooks, then what is applied, kind by kind.
pub(super) fn work(view: &View<'_>, tasks: &[&Task<'_>]) -> Step {
    let mut prunes = Vec::new();
    let mut replaced = Vec::new();
    let mut runs: Vec<Vec<Work>> = Vec::new();
    let mut approval = Vec::new();
    for task in tasks {
        match task.effort {
            Effort::Prune => match prune_work(view, task) {
                Some(work) => prunes.push(work),
                None => approval.push(*task),
            },
            Effort::Apply => {
                if task.is_hook
                    && let Some(delete) = hook_work::stale(view, task)
                {
                    replaced.push((*task, delete));
                    continue;
                }
                let work = apply_work(view, task);
                match runs.last_mut() {
                    Some(run) if run.last().is_some_and(|last| last.key.kind == work.key.kind) => run.push(work),
                    _ => runs.push(vec![work]),
                }
            }
        }
    }
    // An old hook must be gone before its successor is made; the change of its state brings the next pass.
    if !replaced.is_empty() {
        let deleting = replaced
            .iter()
            .all(|(_, work)| view.live.get(&work.key).is_some_and(|live| is_deleting(live)));
        if deleting {
            let waiting: Vec<&Task<'_>> = replaced.iter().map(|(task, _)| *task).collect();
            return waiting::wait(view, Reason::HookDeletion, &waiting);
        }
        return Step::Work(vec![replaced.into_iter().map(|(_, work)| work).collect()]);
    }
    if !approval.is_empty() && prunes.is_empty() && runs.is_empty() {
        return waiting::wait(view, Reason::Confirmation, &approval);
    }
    let mut batches = backwards(prunes);
    batches.extend(runs);
    Step::Work(batches)
}

/// What is pruned goes in the opposite order of kinds; kinds without a place of their own go first, at once.
fn backwards(prunes: Vec<Work>) -> Batches {
    let mut by_rank: BTreeMap<Reverse<usize>, Vec<Work>> = BTreeMap::new();
    for work in prunes {
        by_rank
            .entry(Reverse(order::kind_rank(&work.key.kind)))
            .or_default()
            .push(work);
    }
    by_rank.into_values().collect()
}

fn prune_work(view: &View<'_>, task: &Task<'_>) -> Option<Work> {
    let comparison = task.comparison;
    let live = comparison.live.as_deref()?;
    let note = |message: &str| Deed::Note {
        code: ResultCode::PruneSkipped,
        message: message.to_owned(),
    };
    let deed = match prune::permission(comparison, view.prune) {
        Permission::AwaitsApproval => return None,
        Permission::NotAsked => note("ignored (requires pruning)"),
        Permission::Never => note("ignored (no prune)"),
        Permission::EmptySource => {
            note("ignored (the source has no objects; set syncPolicy.automated.allowEmpty to prune all)")
        }
        Permission::ExceedsShare => note(
            "ignored (automation would prune too many resources at once; sync with prune, or annotate with argocd.argoproj.io/deletion-approved, to approve)",
        ),
        Permission::Allowed if view.sync.dry_run => Deed::Note {
            code: ResultCode::Pruned,
            message: "pruned (dry run)".into(),
        },
        Permission::Allowed => Deed::Delete {
            precondition: identity(live),
            propagation: view.options.propagation.unwrap_or(Propagation::Foreground),
            is_preparation: false,
        },
    };
    Some(Work {
        key: comparison.key.clone(),
        api_version: text(live, "/apiVersion").to_owned(),
        phase: task.phase,
        is_hook: false,
        deed,
    })
}

pub(super) fn apply_work(view: &View<'_>, task: &Task<'_>) -> Work {
    let comparison = task.comparison;
    let (body, has_live_values) = comparison.prepared.as_ref().map_or((Value::Null, false), |prepared| {
        (prepared.body.clone(), prepared.has_live_values)
    });
    let is_settled = comparison.sync == SyncCode::Synced && comparison.live.as_deref().is_some_and(is_applied_by_us);
    // Applying what is already so changes nothing; a person's sync does it all the same, in case we are wrong.
    let skip = is_settled
        && !task.is_hook
        && (view.options.apply_out_of_sync_only || view.state.operation.initiated_by.automated);
    let force_all = view.sync.sync_strategy.as_ref().is_some_and(|strategy| {
        [&strategy.apply, &strategy.hook]
            .into_iter()
            .flatten()
            .any(|options| options.force)
    });
    if skip {
        return Work {
            key: comparison.key.clone(),
            api_version: text(&body, "/apiVersion").to_owned(),
            phase: task.phase,
            is_hook: false,
            deed: Deed::Note {
                code: ResultCode::Synced,
                message: format!("{} unchanged", kubectl_name(&comparison.key)),
            },
        };
    }
    let options = comparison.options;
    let live = comparison.live.as_deref();
    let guard = has_live_values
        .then(|| live.map(|live| text(live, "/metadata/resourceVersion").to_owned()))
        .flatten();
    let apply = Apply {
        migrate_from: comparison
            .target
            .as_deref()
            .and_then(|target| annotation(target, MIGRATION_MANAGER))
            .map(str::to_owned),
        body,
        guard,
        validate: options.validate,
        replace: options.replace,
        force: options.force || force_all,
        migrate: options.migrate_client_side_apply && live.is_some(),
        dry_run: view.sync.dry_run,
    };
    Work::apply(&comparison.key, task.phase, task.is_hook, apply)
}

/// `deployment.apps/web`, as kubectl prints it.
pub fn kubectl_name(key: &ResourceKey) -> String {
    let kind = key.kind.to_lowercase();
    if key.group.is_empty() {
        format!("{kind}/{}", key.name)
    } else {
        format!("{kind}.{}/{}", key.group, key.name)
    }
}

/// Identity and version of a live object.
pub fn identity(live: &Value) -> Precondition {
    let own = |pointer: &str| {
        Some(text(live, pointer))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    Precondition {
        uid: own("/metadata/uid"),
        resource_version: own("/metadata/resourceVersion"),
    }
}

fn is_applied_by_us(live: &Value) -> bool {
    let entries = live.at("/metadata/managedFields").and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .any(|entry| text(entry, "/manager") == SYNC_MANAGER && text(entry, "/operation") == "Apply")
}
