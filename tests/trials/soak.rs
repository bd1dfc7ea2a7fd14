//! Runs seeds until all are through or one fails; then prints its shortest story and how to repeat it.

#[macro_use]
mod say;

mod defects;

use clap::Parser;
use defects::{Length, Mode};
use std::{
    collections::BTreeMap,
    process::{self, ExitCode},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tidegate::sim::replica::Seams;
use tidegate_trials::{
    case::Family,
    features::Feature,
    frame::{Failure, Statistics},
    life::{Choice, Life},
};

// A run is little but small objects that come and go; the system's allocator was a quarter of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A run takes a fraction of a second; a machine that stands still for minutes is no fault of its.
const RUN_MAX: Duration = Duration::from_secs(1_800);

/// Runs the real controllers through random lives of a Rollout or an Application, and judges every write they make.
#[derive(Debug, Parser)]
#[command(name = "tests/soak")]
struct Arguments {
    /// How many seeds.
    #[arg(default_value_t = 5_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads; each has worlds of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Tells the story of the first seed, whether it fails or not.
    #[arg(long)]
    tell: bool,
    /// Goes on after a failure and lists all of them, unshrunk.
    #[arg(long)]
    all: bool,
    /// Does not make a failing case smaller.
    #[arg(long)]
    no_shrink: bool,
    /// Only lives of Applications, whatever the seed stands for otherwise.
    #[arg(long, conflicts_with = "rollout")]
    sync: bool,
    /// Only lives of Rollouts, whatever the seed stands for otherwise.
    #[arg(long)]
    rollout: bool,
    /// Only seeds that stand for lives of this family.
    #[arg(long, value_enum, conflicts_with = "sync")]
    family: Option<Family>,
    /// Only seeds that stand for lives with this feature.
    #[arg(long, value_enum, conflicts_with = "sync")]
    feature: Option<Feature>,
    /// Proves that the judge notices controllers that are broken on purpose, or only those with this text in their name:
    /// runs the noted seed of each, and looks for another where the noted promise does not break. With `--tell`, tells
    /// the story of each; with `--all`, lists what breaks in every run.
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    defects: Option<String>,
    /// With `--defects`: as a table for the documentation.
    #[arg(long, requires = "defects")]
    markdown: bool,
}

impl Arguments {
    fn wants(&self, life: &Life) -> bool {
        (self.family.is_none() || life.family() == self.family) && self.feature.is_none_or(|feature| life.has(feature))
    }

    fn choice(&self) -> Choice {
        match (self.sync, self.rollout) {
            (true, _) => Choice::Sync,
            (false, true) => Choice::Rollout,
            (false, false) => Choice::Mixed,
        }
    }
}

struct Total {
    runs: AtomicU64,
    requests: AtomicU64,
    simulated: AtomicU64,
    digest: AtomicU64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(filter) = &arguments.defects {
        if arguments.sync {
            return defects::sync::prove(filter, arguments.from);
        }
        let mode = match arguments {
            Arguments {
                tell: true, no_shrink, ..
            } => Mode::Tell(if no_shrink { Length::Whole } else { Length::Shrunk }),
            Arguments { all: true, seeds, .. } => Mode::List(seeds),
            Arguments { markdown: true, .. } => Mode::Markdown,
            _ => Mode::Prove,
        };
        return defects::main(filter, mode, arguments.from, arguments.threads);
    }
    if arguments.tell {
        return tell(arguments.from, arguments.choice());
    }
    let started = Instant::now();
    let total = Total {
        runs: AtomicU64::new(0),
        requests: AtomicU64::new(0),
        simulated: AtomicU64::new(0),
        digest: AtomicU64::new(0),
    };
    let failed: Mutex<Vec<(u64, Box<Failure>)>> = Mutex::default();
    let stop = AtomicBool::new(false);
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let busy = Busy::default();
    let more = || next.load(Ordering::Relaxed) < end && !stop.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let life = Life::of(seed, arguments.choice());
                    if !arguments.wants(&life) {
                        continue;
                    }
                    note(&busy).insert(seed, Instant::now());
                    let result = life.run(&Seams::default());
                    note(&busy).remove(&seed);
                    match result {
                        Ok(statistics) => total.add(seed, &statistics),
                        Err(failure) => {
                            if arguments.all {
                                say!("seed {seed}: {}", failure.violation);
                            }
                            failed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push((seed, failure));
                            stop.store(!arguments.all, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        scope.spawn(|| watch(&total, &busy, more, started));
    });
    total.print(started.elapsed());
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if arguments.seeds > 0 {
        // `tests/run` counts lines of this form; the whole set is one test.
        let (passed, of) = (u64::from(failed.is_empty()), u64::from(!failed.is_empty()));
        say!("test result: simulated lives. {passed} passed; {of} failed");
    }
    failed.sort_by_key(|(seed, _)| *seed);
    let Some((seed, failure)) = failed.first() else {
        return ExitCode::SUCCESS;
    };
    say!("{} of these seeds broke a promise; the first is {seed}.", failed.len());
    if !arguments.all {
        explain(*seed, failure, &arguments);
    }
    ExitCode::FAILURE
}

impl Total {
    fn add(&self, seed: u64, statistics: &Statistics) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(statistics.requests, Ordering::Relaxed);
        self.simulated
            .fetch_add(statistics.simulated.as_secs(), Ordering::Relaxed);
        // The same in whatever order the seeds come to their end.
        self.digest.fetch_xor(
            statistics.digest.rotate_left(u32::try_from(seed % 64).unwrap_or(0)),
            Ordering::Relaxed,
        );
    }

    fn print(&self, took: Duration) {
        let runs = self.runs.load(Ordering::Relaxed);
        let minutes = took.as_secs_f64() / 60.0;
        say!(
            "{runs} runs in {:.1} s: {:.0} runs a minute, {:.0} requests a run, {:.1} simulated days, digest {:016x}",
            took.as_secs_f64(),
            runs as f64 / minutes,
            self.requests.load(Ordering::Relaxed) as f64 / runs.max(1) as f64,
            self.simulated.load(Ordering::Relaxed) as f64 / 86_400.0,
            self.digest.load(Ordering::Relaxed),
        );
    }
}

/// Seeds under way, and since when.
type Busy = Mutex<BTreeMap<u64, Instant>>;

fn note(busy: &Busy) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A word now and then for whoever waits; and an end for a run in which a controller never lets time pass.
fn watch(total: &Total, busy: &Busy, more: impl Fn() -> bool, started: Instant) {
    let mut last = Instant::now();
    while more() || !note(busy).is_empty() {
        thread::sleep(Duration::from_millis(100));
        if last.elapsed() > Duration::from_secs(60) {
            last = Instant::now();
            total.print(started.elapsed());
        }
        let stuck = note(busy)
            .iter()
            .find_map(|(seed, since)| (since.elapsed() > RUN_MAX).then_some(*seed));
        if let Some(seed) = stuck {
            say!("seed {seed}: no end after {RUN_MAX:?}: a controller never lets time pass");
            say!("test result: simulated lives. 0 passed; 1 failed");
            process::exit(1);
        }
    }
}

fn explain(seed: u64, failure: &Failure, arguments: &Arguments) {
    say!("\n{}\n", failure.violation);
    let life = Life::of(seed, arguments.choice());
    let seams = Seams::default();
    let (small, told) = if arguments.no_shrink {
        (life.clone(), life.tell(&seams).err())
    } else {
        life.shrink(failure, &seams)
    };
    if let Some(told) = told {
        say!("{}", small.page(&told));
    }
    let choice = match arguments.choice() {
        Choice::Mixed => "",
        Choice::Sync => " --sync",
        Choice::Rollout => " --rollout",
    };
    say!("Repeat it with: tests/soak 1 --from {seed}{choice}");
}

fn tell(seed: u64, choice: Choice) -> ExitCode {
    let life = Life::of(seed, choice);
    match life.tell(&Seams::default()) {
        Ok(statistics) => {
            say!("{life:#?}\n{statistics:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say!("{}", life.page(&failure));
            ExitCode::FAILURE
        }
    }
}
