//! Controllers that are broken on purpose, each in one way, and the proof that the judge notices.
//!
//! Nothing of this is in the controllers: a defect stands in the place of the planner and alters what it sees or what it
//! decides, or stands between the client and the server and alters requests.

mod requests;
mod sees;
pub(crate) mod sync;
mod writes;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};
use tidegate::{
    controllers::Planner,
    sim::replica::{Seams, Tamper},
};
use tidegate_trials::{
    case::Case,
    oracle::Rule,
    run::{self, Failure},
};

/// Runs within which a defect must be noticed.
const RUNS_MAX: u64 = 2_000;

/// Where a defect is.
#[derive(Clone)]
pub(crate) enum Seat {
    /// In the planner's place.
    Planner(Planner),
    /// Between client and server.
    Requests(fn() -> Tamper),
}

/// One defect.
#[derive(Clone)]
pub(crate) struct Defect {
    /// What is wrong, in a few words.
    pub(crate) name: &'static str,
    /// A seed that shows it.
    pub(crate) seed: u64,
    /// The promise that is broken then.
    pub(crate) rule: Rule,
    /// Where it is.
    pub(crate) seat: Seat,
}

impl Defect {
    fn seams(&self) -> Seams {
        match &self.seat {
            Seat::Planner(planner) => Seams {
                planner: *planner,
                ..Seams::default()
            },
            Seat::Requests(tamper) => Seams {
                tamper: Some(tamper()),
                ..Seams::default()
            },
        }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Defect> {
    let planner = |(name, planner, seed, rule): (&'static str, Planner, u64, Rule)| Defect {
        name,
        seed,
        rule,
        seat: Seat::Planner(planner),
    };
    let request = |(name, tamper, seed, rule): (&'static str, fn() -> Tamper, u64, Rule)| Defect {
        name,
        seed,
        rule,
        seat: Seat::Requests(tamper),
    };
    let sees = sees::ALL.iter().copied().map(planner);
    let writes = writes::ALL.iter().copied().map(planner);
    sees.chain(writes)
        .chain(requests::ALL.iter().copied().map(request))
        .collect()
}

/// Shows for each defect the seed and the promise that catch it: those that are noted, or else the first found.
pub(crate) fn prove(filter: &str, from: u64, threads: usize) -> ExitCode {
    let mut missed = 0;
    for defect in all().iter().filter(|defect| defect.name.contains(filter)) {
        let noted = run::run(&Case::of(defect.seed), &defect.seams()).err();
        let noted = noted
            .filter(|failure| failure.violation.rule == defect.rule)
            .map(|failure| (defect.seed, failure));
        let was_noted = noted.is_some();
        match noted.or_else(|| search(defect, from, threads)) {
            Some((seed, failure)) => {
                let mark = if was_noted { "" } else { " (not as noted)" };
                println!("{:<44} seed {seed:>5}  {}{mark}", defect.name, failure.violation.rule);
            }
            None => {
                missed += 1;
                println!("{:<44} NOT NOTICED within {RUNS_MAX} runs", defect.name);
            }
        }
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The first seed at which a defect is noticed.
fn search(defect: &Defect, from: u64, threads: usize) -> Option<(u64, Box<Failure>)> {
    let next = AtomicU64::new(from);
    let best = AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + RUNS_MAX || seed > best.load(Ordering::Relaxed) {
                        break;
                    }
                    if run::run(&Case::of(seed), &defect.seams()).is_err() {
                        best.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = best.into_inner();
    let failure = run::run(&Case::of(seed), &defect.seams())
        .err()
        .filter(|_| seed < u64::MAX)?;
    Some((seed, failure))
}
