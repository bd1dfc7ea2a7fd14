//! Makes a failing case smaller as long as it still breaks the same promise.

use crate::{case::Case, frame::Failure, oracle::Rule, run};
use serde_json::Value;
use tidegate::{json::At as _, sim::replica::Seams};

/// Runs that a shrinking may take.
const RUNS_MAX: usize = 400;

/// The smallest case found that breaks the same promise, and how it fails, told as a story.
pub fn shrink(case: &Case, rule: Rule, seams: &Seams) -> (Case, Option<Box<Failure>>) {
    let fails = |case: &Case| run::run(case, seams).is_err_and(|failure| failure.violation.rule == rule);
    let best = smallest(case, RUNS_MAX, candidates, fails);
    let failure = run::tell(&best, seams).err();
    (best, failure)
}

/// Goes on to the first smaller case that still fails, until none does or `runs` are used up.
pub(crate) fn smallest<C: Clone>(
    case: &C,
    runs: usize,
    candidates: impl Fn(&C) -> Vec<C>,
    fails: impl Fn(&C) -> bool,
) -> C {
    let mut best = case.clone();
    let mut left = runs;
    let mut still_fails = |candidate: &C| {
        left = left.saturating_sub(1);
        left > 0 && fails(candidate)
    };
    while let Some(smaller) = candidates(&best).into_iter().find(|candidate| still_fails(candidate)) {
        best = smaller;
    }
    best
}

/// Cases a little smaller, the boldest first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut smaller = case.clone();
        change(&mut smaller);
        all.push(smaller);
    };
    if case.faults.len() > 1 {
        with(&|case| case.faults.clear());
    }
    if case.events.len() > 3 {
        let half = case.events.len() / 2;
        with(&|case| case.events.truncate(half));
        with(&|case| {
            case.events.drain(1..=half);
        });
    }
    for index in 0..case.faults.len() {
        with(&|case| {
            case.faults.remove(index);
        });
    }
    for index in (0..case.events.len()).rev() {
        with(&|case| {
            case.events.remove(index);
        });
    }
    if case.controllers > 1 {
        with(&|case| case.controllers = 1);
    }
    for (strategy, field) in options(&case.rollout) {
        with(&|case| {
            if let Some(Value::Object(options)) = case.rollout.pointer_mut(&strategy) {
                options.remove(&field);
            }
        });
    }
    for index in 0..steps(&case.rollout) {
        with(&|case| {
            if let Some(Value::Array(steps)) = case.rollout.pointer_mut("/spec/strategy/canary/steps") {
                steps.remove(index);
            }
        });
    }
    let replicas = case.rollout.at("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    for fewer in [1, 2].into_iter().filter(|fewer| *fewer < replicas) {
        with(&|case| {
            if let Some(replicas) = case.rollout.pointer_mut("/spec/replicas") {
                *replicas = fewer.into();
            }
        });
    }
    all
}

fn steps(rollout: &Value) -> usize {
    rollout
        .at("/spec/strategy/canary/steps")
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// Fields that a specification can do without.
fn options(rollout: &Value) -> Vec<(String, String)> {
    let needed = [
        "steps",
        "canaryService",
        "stableService",
        "trafficRouting",
        "pingPong",
        "activeService",
    ];
    let mut found = Vec::new();
    for strategy in ["canary", "blueGreen"] {
        let pointer = format!("/spec/strategy/{strategy}");
        let fields = rollout.at(&pointer).and_then(Value::as_object);
        let optional = fields
            .into_iter()
            .flatten()
            .map(|(field, _)| field)
            .filter(|field| !needed.contains(&field.as_str()));
        // Without a surge a rollout needs to be allowed to miss pods.
        let optional = optional.filter(|field| *field != "maxUnavailable");
        found.extend(optional.map(|field| (pointer.clone(), field.clone())));
    }
    for field in [
        "progressDeadlineSeconds",
        "progressDeadlineAbort",
        "revisionHistoryLimit",
        "rollbackWindow",
    ] {
        if rollout["spec"].get(field).is_some() {
            found.push(("/spec".to_owned(), field.to_owned()));
        }
    }
    found
}
