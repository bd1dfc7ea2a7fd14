//! Controllers that are broken on purpose, each in one way, and the proof that the judge notices.
//!
//! Nothing of this is in the controllers: a defect stands in the place of the planner and alters what it sees or what it
//! decides, or stands between the client and the server and alters requests.

#![expect(clippy::print_stderr, reason = "a word for whoever waits")]

mod aborts;
mod features;
mod requests;
mod sees;
pub(crate) mod sync;
mod writes;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};
use tidegate::{
    controllers::Planner,
    sim::replica::{Seams, Tamper},
};
use tidegate_trials::{case::Case, features::Feature, frame::Failure, oracle::Rule, run, shrink, story};

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
    /// The first seed that shows it, counted from 0.
    pub(crate) seed: u64,
    /// The promise that is broken then.
    pub(crate) rule: Rule,
    /// Where it is.
    pub(crate) seat: Seat,
    /// A feature of lives without which there is nothing to notice.
    pub(crate) only: Option<Feature>,
}

/// What to do with the defects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Prove that each is noticed as noted, or else look for the seed that shows it.
    Prove,
    /// The same, as the table of `docs/simulation-defects.md`.
    Markdown,
    /// Tell the story of the noted seed, made as short as possible or as it is.
    Tell(Length),
    /// List what breaks in every one of so many runs.
    List(u64),
}

/// How long a story may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Length {
    /// As it is.
    Whole,
    /// Made as short as possible, which takes a few minutes.
    Shrunk,
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

    /// What a run of this seed breaks, unless it breaks a promise without the defect too and so proves nothing.
    fn breach(&self, seed: u64) -> Option<Box<Failure>> {
        let case = Case::of(seed);
        if self.only.is_some_and(|feature| !case.features.contains(&feature)) {
            return None;
        }
        let failure = run::run(&case, &self.seams()).err()?;
        run::run(&case, &Seams::default()).is_ok().then_some(failure)
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Defect> {
    let planner = |(name, planner, seed, rule): (&'static str, Planner, u64, Rule)| Defect {
        name,
        seed,
        rule,
        seat: Seat::Planner(planner),
        only: None,
    };
    let request = |(name, tamper, seed, rule): (&'static str, fn() -> Tamper, u64, Rule)| Defect {
        name,
        seed,
        rule,
        seat: Seat::Requests(tamper),
        only: None,
    };
    let sees = sees::ALL.iter().copied().map(planner);
    let writes = writes::ALL.iter().copied().map(planner);
    let aborts = aborts::ALL.iter().copied().map(planner);
    let features = features::ALL.iter().copied();
    let features = features.map(|(name, of, only, seed, rule)| Defect {
        only,
        ..planner((name, of, seed, rule))
    });
    sees.chain(writes)
        .chain(aborts)
        .chain(features)
        .chain(requests::ALL.iter().copied().map(request))
        .collect()
}

/// Deals with all defects with this text in their name.
pub(crate) fn main(filter: &str, mode: Mode, from: u64, threads: usize) -> ExitCode {
    let mut chosen = all();
    chosen.retain(|defect| defect.name.contains(filter));
    let good = match mode {
        Mode::Prove | Mode::Markdown => prove(&chosen, mode, from, threads),
        Mode::Tell(length) => chosen.iter().filter(|defect| !tell(defect, length)).count() == 0,
        Mode::List(runs) => {
            chosen.iter().for_each(|defect| list(defect, from, runs, threads));
            true
        }
    };
    if good && !chosen.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Shows for each defect the seed and the promise that catch it: those that are noted, or else the first found. Whether
/// all are as noted.
fn prove(chosen: &[Defect], mode: Mode, from: u64, threads: usize) -> bool {
    let started = Instant::now();
    let noted: Vec<Mutex<Option<Box<Failure>>>> = chosen.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some((defect, slot)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    chosen.get(index).zip(noted.get(index))
                } {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = defect.breach(defect.seed);
                }
            });
        }
    });
    if mode == Mode::Markdown {
        say!("| what is wrong | seed | runs | promise | what the judge says |\n|---|---|---|---|---|");
    }
    let mut astray = 0;
    for (defect, noted) in chosen.iter().zip(noted) {
        let noted = noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let noted = noted.filter(|failure| failure.violation.rule == defect.rule);
        let as_noted = noted.is_some();
        astray += usize::from(!as_noted);
        match noted
            .map(|failure| (defect.seed, failure))
            .or_else(|| search(defect, from, threads))
        {
            Some((seed, failure)) if mode == Mode::Markdown => {
                let violation = &failure.violation;
                let said = format!("{}; expected {}", violation.found, violation.expected).replace('|', "\\|");
                say!(
                    "| {} | {seed} | {} | {} | {said} |",
                    defect.name,
                    seed + 1,
                    violation.rule
                );
            }
            Some((seed, failure)) => {
                let mark = if as_noted { "" } else { " (not as noted)" };
                say!("{:<48} seed {seed:>5}  {}{mark}", defect.name, failure.violation.rule);
            }
            None => say!("{:<48} NOT NOTICED within {RUNS_MAX} runs", defect.name),
        }
    }
    if mode == Mode::Prove {
        say!(
            "{} defects, {astray} of them not noticed as noted, in {:.1} s",
            chosen.len(),
            started.elapsed().as_secs_f64()
        );
    }
    astray == 0
}

/// The first seed at which the noted promise breaks, or, if there is none, the first at which any does.
fn search(defect: &Defect, from: u64, threads: usize) -> Option<(u64, Box<Failure>)> {
    let found: Mutex<BTreeMap<u64, Box<Failure>>> = Mutex::default();
    let fits = |failure: &Failure| failure.violation.rule == defect.rule;
    let enough = AtomicBool::new(false);
    each_seed(from, RUNS_MAX, threads, &enough, |seed| {
        if let Some(failure) = defect.breach(seed) {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            let rule = failure.violation.rule;
            enough.fetch_or(fits(&failure), Ordering::Relaxed);
            if !found.values().any(|other| other.violation.rule == rule) {
                eprintln!("{}, seed {seed}: {}", defect.name, failure.violation);
            }
            found.insert(seed, failure);
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seed = found
        .iter()
        .find(|(_, failure)| fits(failure))
        .or_else(|| found.iter().next())
        .map(|(seed, _)| *seed)?;
    found.remove_entry(&seed)
}

/// What breaks, and how often.
fn list(defect: &Defect, from: u64, runs: u64, threads: usize) {
    say!("{}, {runs} runs:", defect.name);
    let counts: Mutex<BTreeMap<Rule, u64>> = Mutex::default();
    each_seed(from, runs, threads, &AtomicBool::new(false), |seed| {
        if let Some(failure) = defect.breach(seed) {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(failure.violation.rule).or_default() += 1;
            say!("  seed {seed}: {}", failure.violation);
        }
    });
    say!("  {:?}", counts.into_inner().unwrap_or_else(PoisonError::into_inner));
}

/// Calls for each seed, on so many threads, until it is enough; those begun before come to their end.
fn each_seed(from: u64, runs: u64, threads: usize, enough: &AtomicBool, call: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(from);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from.saturating_add(runs) {
                        break;
                    }
                    call(seed);
                }
            });
        }
    });
}

/// The story of the noted seed, and whether it is noticed there.
fn tell(defect: &Defect, length: Length) -> bool {
    say!("=== {} ===\n", defect.name);
    let Some(failure) = defect.breach(defect.seed) else {
        say!("Seed {} does not show it.\n", defect.seed);
        return false;
    };
    let case = Case::of(defect.seed);
    let (small, told) = match length {
        Length::Whole => (case.clone(), run::tell(&case, &defect.seams()).err()),
        Length::Shrunk => shrink::shrink(&case, failure.violation.rule, &defect.seams()),
    };
    if let Some(told) = told {
        say!("{}", story::page(&small, &told.violation, &told.story));
    }
    if run::run(&small, &Seams::default()).is_err() {
        say!("(Made so small, it breaks a promise without the defect too.)");
    }
    failure.violation.rule == defect.rule
}
