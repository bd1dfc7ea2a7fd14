//! PreDelete and PostDelete hooks: run wave by wave to their end; one that fails is removed and run again.

use super::{Deleting, Deletion, await_gone};
use crate::sync::{
    diff::foreign,
    hooks::{self, Role},
    operation::{self, hook_work, waiting::held_by},
    order::{Phase, kind_rank},
    resource::{ResourceKey, TrackingId, is_deleting, text},
    target,
    waits::Waiter,
    work::{Apply, Work},
};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// One hook of a deletion.
struct Hook {
    wave: i64,
    key: ResourceKey,
    object: Value,
}

/// The next step of the hooks of a phase; `None` when all of them have succeeded.
pub(super) fn next(deleting: &Deleting<'_>, phase: Phase) -> Option<Deletion> {
    let targets = match deleting.targets {
        Ok(targets) => targets,
        Err(problem) => {
            let what = format!(
                "waiting for the source, which says what the {} hooks are: {problem}",
                phase.name()
            );
            return Some(deleting.wait(Waiter::Progress, deleting.since(), &what));
        }
    };
    let mut found: Vec<Hook> = targets
        .hooks
        .iter()
        .filter(|hook| hooks::runs_in(hook, phase))
        .filter_map(|hook| {
            let object = hooks::object(hook, deleting.revision, phase, deleting.since())?;
            Some(Hook {
                wave: target::wave(&object),
                key: ResourceKey::of(&object),
                object,
            })
        })
        .collect();
    found.sort_by(|a, b| {
        let place = |hook: &Hook| (hook.wave, kind_rank(&hook.key.kind));
        place(a).cmp(&place(b)).then_with(|| a.key.cmp(&b.key))
    });
    let open: Vec<(&Hook, Judged)> = found
        .iter()
        .map(|hook| (hook, judge(deleting, hook)))
        .filter(|(_, judged)| !matches!(judged, Judged::Succeeded))
        .collect();
    let wave = open.first()?.0.wave;
    let now: Vec<(&Hook, Judged)> = open.into_iter().filter(|(hook, _)| hook.wave == wave).collect();
    Some(step(deleting, phase, &now))
}

/// How far a hook is.
enum Judged {
    /// Not there.
    Missing,
    /// Left from an earlier time.
    Stale,
    Running,
    Leaving,
    Succeeded,
    Failed(String),
}

fn judge(deleting: &Deleting<'_>, hook: &Hook) -> Judged {
    let Some(live) = deleting.live.get(&hook.key) else {
        return Judged::Missing;
    };
    let created = text(live, "/metadata/creationTimestamp").parse::<Timestamp>().ok();
    let is_own = created.is_some_and(|created| created.as_second() >= deleting.since().as_second());
    match operation::ended(true, Some(live), &hook.key) {
        _ if !is_own && is_deleting(live) && !hooks::is_held(live) => Judged::Leaving,
        _ if !is_own => Judged::Stale,
        Some(Ok(_)) => Judged::Succeeded,
        Some(Err(_)) if is_deleting(live) && !hooks::is_held(live) => Judged::Leaving,
        Some(Err(message)) => Judged::Failed(message),
        None if is_deleting(live) => Judged::Leaving,
        None => Judged::Running,
    }
}

fn step(deleting: &Deleting<'_>, phase: Phase, now: &[(&Hook, Judged)]) -> Deletion {
    let mut works = Vec::new();
    let mut failures = Vec::new();
    for (hook, judged) in now {
        let live = deleting.live.get(&hook.key);
        match (judged, live) {
            (Judged::Missing, _) => match deleting.project.refuses(&hook.key, deleting.kinds) {
                Some(refusal) => failures.push(refusal),
                None => works.push(apply(hook, phase)),
            },
            (Judged::Stale, Some(live)) => works.push(hook_work::delete(&hook.key, live, phase)),
            (Judged::Failed(message), Some(live)) => {
                works.push(hook_work::delete(&hook.key, live, phase));
                failures.push(format!("{} hook {} failed: {message}", phase.name(), hook.key.short()));
            }
            (Judged::Stale | Judged::Failed(_) | Judged::Running | Judged::Leaving | Judged::Succeeded, _) => {}
        }
    }
    if !failures.is_empty() {
        return Deletion::Again(works, failures.join("; "));
    }
    if !works.is_empty() {
        return Deletion::Work(works);
    }
    let names: Vec<String> = now
        .iter()
        .map(|(hook, judged)| match judged {
            Judged::Leaving => format!(
                "{} (being deleted{})",
                hook.key.short(),
                held_by(deleting.live.get(&hook.key).map(Arc::as_ref))
            ),
            Judged::Missing | Judged::Stale | Judged::Running | Judged::Succeeded | Judged::Failed(_) => {
                hook.key.short()
            }
        })
        .collect();
    let since = now
        .iter()
        .filter_map(|(hook, _)| {
            text(deleting.live.get(&hook.key)?, "/metadata/creationTimestamp")
                .parse::<Timestamp>()
                .ok()
        })
        .min();
    let what = format!("waiting for completion of {} hook {}", phase.name(), names.join(", "));
    deleting.wait(Waiter::Progress, since.unwrap_or_else(|| deleting.since()), &what)
}

fn apply(hook: &Hook, phase: Phase) -> Work {
    let body = foreign::prepare(&hook.object, None, false, None).body;
    let apply = Apply {
        body,
        validate: true,
        ..Apply::default()
    };
    Work::apply(&hook.key, phase, true, apply)
}

/// Deletes what is left of the hooks of deletions; `None` when nothing is.
pub(super) fn cleanup(deleting: &Deleting<'_>) -> Option<Deletion> {
    let left: Vec<(&ResourceKey, &Arc<Value>)> = deleting
        .live
        .iter()
        .filter(|(_, object)| {
            let is_ours = TrackingId::of_live(object).is_some_and(|id| id.instance == deleting.instance);
            let phases = match hooks::role(object) {
                Role::Hook(phases) => phases,
                Role::Resource | Role::Ignored => Vec::new(),
            };
            is_ours && !phases.is_empty() && phases.iter().all(|phase| !phase.is_of_sync())
        })
        .collect();
    if left.is_empty() {
        return None;
    }
    let works: Vec<Work> = left
        .iter()
        .filter(|(_, object)| !is_deleting(object) || hooks::is_held(object))
        .map(|(key, object)| hook_work::delete(key, object, Phase::PostDelete))
        .collect();
    Some(if works.is_empty() {
        await_gone(deleting, &left)
    } else {
        Deletion::Work(works)
    })
}
