//! Makes a failing case smaller as long as it still breaks the same promise.

use super::{case::SyncCase, run};
use crate::{frame::Failure, oracle::Rule, shrink::smallest};
use tidegate::sim::replica::Seams;

/// Runs that a shrinking may take.
const RUNS_MAX: usize = 300;

/// The smallest case found that breaks the same promise, and how it fails, told as a story.
pub fn shrink(case: &SyncCase, rule: Rule, seams: &Seams) -> (SyncCase, Option<Box<Failure>>) {
    let fails = |case: &SyncCase| run::run(case, seams).is_err_and(|failure| failure.violation.rule == rule);
    let best = smallest(case, RUNS_MAX, candidates, fails);
    let failure = run::tell(&best, seams).err();
    (best, failure)
}

/// Cases a little smaller, the boldest first.
fn candidates(case: &SyncCase) -> Vec<SyncCase> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut SyncCase)| {
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
            case.events.drain(..half);
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
    for file in case.content.objects.keys() {
        let file = file.clone();
        with(&move |case| {
            case.content.objects.remove(&file);
        });
    }
    all
}
