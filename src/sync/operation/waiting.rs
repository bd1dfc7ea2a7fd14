//! Waits of an operation: what for, since when, until when, and what follows when the time is up (guarantee D6).

use super::{Step, View, pointless, record};
use crate::{
    api::{
        application_status::{OperationWait, ResourceResult},
        scalar::wire_time,
    },
    json::At as _,
    sync::{
        health::{self, Code},
        order::Task,
        waits::{Wait, Waiter, span},
    },
};
use jiff::SignedDuration;
use serde_json::Value;

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    Health,
    Hook,
    Deletion,
    HookDeletion,
    Confirmation,
}

impl Reason {
    /// As operation messages have it.
    fn words(self) -> &'static str {
        match self {
            Self::Health => "healthy state of",
            Self::Hook => "completion of hook",
            Self::Deletion => "deletion of",
            Self::HookDeletion => "deletion of hook",
            Self::Confirmation => "pruning confirmation of",
        }
    }

    fn is_about_hooks(self) -> bool {
        match self {
            Self::Hook | Self::HookDeletion => true,
            Self::Health | Self::Deletion | Self::Confirmation => false,
        }
    }

    fn waiter(self, tasks: &[&Task<'_>]) -> Waiter {
        let is_suspended = |task: &&Task<'_>| {
            let live = task.comparison.live.as_deref();
            live.and_then(health::of_object)
                .is_some_and(|health| health.code == Code::Suspended)
        };
        match self {
            Self::Confirmation => Waiter::Approval,
            Self::Health | Self::Hook if tasks.iter().all(is_suspended) => Waiter::Approval,
            Self::Health | Self::Hook | Self::Deletion | Self::HookDeletion => Waiter::Progress,
        }
    }
}

/// Waits, unless a newer commit makes that pointless (guarantee S2; a running hook is never cut short for it), or the
/// time is up: then what was waited for has failed.
pub(super) fn wait(view: &View<'_>, reason: Reason, tasks: &[&Task<'_>]) -> Step {
    let message = named(reason, tasks);
    if let Some(newer) = view.newer
        && !reason.is_about_hooks()
    {
        return pointless(newer, &message);
    }
    let waiter = reason.waiter(tasks);
    let step = tasks.first().map_or_else(String::new, |task| {
        let whose = match waiter {
            Waiter::Progress => "",
            Waiter::Approval => " (a person's turn)",
        };
        format!("{}/{}: {}{whose}", task.phase.name(), task.wave, reason.words())
    });
    let before = view.state.waiting.as_ref().filter(|wait| wait.step == step);
    let since = before.and_then(|wait| wait.since.as_ref()).map_or(view.now, |at| at.0);
    let wait = Wait::new(waiter, since, view.limits);
    if let Some(limit) = wait.expired(view.now) {
        return Step::Note(expired(view, reason, tasks, limit));
    }
    Step::Wait {
        message: wait.told(&message),
        until: wait.until(),
        waiting: Some(OperationWait {
            step,
            since: Some(wire_time(since)),
        }),
    }
}

fn named(reason: Reason, tasks: &[&Task<'_>]) -> String {
    let Some(first) = tasks.first() else {
        return "one or more tasks are running".to_owned();
    };
    let noun = if reason.is_about_hooks() { "hooks" } else { "resources" };
    let more = match tasks.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more {noun}"),
    };
    format!("waiting for {} {}{more}", reason.words(), first.key().short())
}

fn expired(view: &View<'_>, reason: Reason, tasks: &[&Task<'_>], limit: SignedDuration) -> Vec<ResourceResult> {
    let limit = span(limit);
    let told = |task: &Task<'_>| {
        let name = task.key().short();
        let live = task.comparison.live.as_deref();
        match reason {
            Reason::Health | Reason::Hook => {
                let now = live.and_then(health::of_object).unwrap_or_default();
                let goal = if reason == Reason::Hook {
                    "complete"
                } else {
                    "become healthy"
                };
                let why = match now.message.as_str() {
                    "" => String::new(),
                    message => format!(": {message}"),
                };
                format!("{name} did not {goal} within {limit} (it is {}{why})", now.code.name())
            }
            Reason::Deletion | Reason::HookDeletion => {
                format!("{name} is still being deleted after {limit}{}", held_by(live))
            }
            Reason::Confirmation => format!("pruning of {name} was not confirmed within {limit}"),
        }
    };
    tasks
        .iter()
        .map(|task| record::failed(view.state, task, told(task)))
        .collect()
}

/// `, held by finalizers a, b`.
pub(crate) fn held_by(live: Option<&Value>) -> String {
    let finalizers: Vec<&str> = live
        .and_then(|live| live.at("/metadata/finalizers")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if finalizers.is_empty() {
        String::new()
    } else {
        format!(", held by finalizers {}", finalizers.join(", "))
    }
}
