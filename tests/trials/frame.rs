//! What every run has in common: time that passes from one happening to the next, replicas that start again, what lasts
//! and ends, rest and silence, and a judge who is asked after every step.

use crate::{
    facts::later,
    faults::{Fault, Schedule},
    oracle::{Violation, Witness},
    story::Story,
};
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate::sim::world::{Options, World};

/// What a run came to, if all promises were kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Requests of all clients.
    pub requests: u64,
    /// Accepted writes.
    pub commits: u64,
    /// Time that passed in the world.
    pub simulated: Duration,
    /// Of all accepted writes.
    pub digest: u64,
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The promise.
    pub violation: Violation,
    /// What happened, if it was to be told.
    pub story: String,
}

/// A part of a run: nothing, or the promise that was broken in it.
pub type Lives = Result<(), Box<Violation>>;

/// A world with its judge.
pub struct Frame<J, D> {
    /// The world.
    pub world: World,
    /// Who judges it.
    pub judge: Arc<Mutex<J>>,
    /// What happens, if it is to be told.
    pub story: Story,
    /// The moment that the story counts from.
    pub begin: Timestamp,
    /// What is to be ended, and when.
    pub ends: Vec<(Timestamp, D)>,
    /// When dead replicas start again.
    starts: Vec<Option<Timestamp>>,
    restart: Duration,
    steps: u64,
    steps_max: u64,
}

impl<J: Witness + Send + 'static, D> Frame<J, D> {
    /// A world whose judge sees every write. Replicas start again `restart` after they died; after `steps_max`
    /// happenings the world counts as one that runs in circles.
    #[expect(clippy::expect_used, reason = "a system without timers cannot simulate")]
    pub fn new(
        options: Options,
        judge: impl FnOnce(&World) -> J,
        story: Story,
        restart: Duration,
        steps_max: u64,
    ) -> Self {
        let replicas = options.replicas;
        let mut world = World::new(options).expect("a world");
        let judge = Arc::new(Mutex::new(judge(&world)));
        let (observer, told) = (Arc::clone(&judge), story.clone());
        world.observe(move |commit, state| {
            told.commit(commit);
            lock(&observer).commit(commit, state);
        });
        Self {
            begin: world.now(),
            world,
            judge,
            story,
            ends: Vec::new(),
            starts: vec![None; replicas],
            restart,
            steps: 0,
            steps_max,
        }
    }

    /// The judge.
    pub fn judge(&self) -> MutexGuard<'_, J> {
        lock(&self.judge)
    }

    /// From now on these faults, whose times count from `begin`, and no others.
    pub fn schedule(&mut self, faults: &[Fault], begin: Timestamp) {
        let (handle, judge) = (self.world.handle(), Arc::clone(&self.judge));
        let schedule = Schedule::new(faults, handle, judge, self.story.clone(), begin);
        self.world.api().set_faults(Some(Box::new(schedule)));
    }

    /// The promise that was broken, if any was.
    pub fn verdict(&self) -> Lives {
        match self.judge().violation() {
            Some(violation) => Err(Box::new(violation.clone())),
            None => Ok(()),
        }
    }

    /// What the run came to.
    pub fn conclude(&self, result: Lives) -> Result<Statistics, Box<Failure>> {
        // The schedule holds the server that holds it.
        self.world.api().set_faults(None);
        match result {
            Ok(()) => Ok(Statistics {
                requests: self.world.api().requests(),
                commits: self.world.commits(),
                simulated: self.world.elapsed(),
                digest: self.world.digest(),
            }),
            Err(violation) => Err(Box::new(Failure {
                violation: *violation,
                story: self.story.text(self.begin),
            })),
        }
    }

    /// The next thing happens, at the latest at `until`. What is to be ended now.
    fn pass(&mut self, until: Timestamp) -> Vec<D> {
        let now = self.world.now();
        for (index, start) in self.starts.iter_mut().enumerate() {
            if !self.world.is_running(index) {
                let at = *start.get_or_insert_with(|| later(now, self.restart));
                if at <= now {
                    *start = None;
                    self.story.line(now, "world", || format!("replica {index} starts"));
                    self.world.start(index);
                }
            }
        }
        let mut next = until;
        for at in self.starts.iter().flatten().chain(self.ends.iter().map(|(at, _)| at)) {
            next = next.min((*at).max(later(now, Duration::from_millis(1))));
        }
        self.world.step(next);
        self.steps += 1;
        let now = self.world.now();
        self.ends
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, deed)| deed)
            .collect()
    }

    /// The judge looks at what flows.
    fn look(&mut self) -> Lives {
        let now = self.world.now();
        {
            let api = self.world.api().clone();
            let state = api.state();
            self.judge().flow(now, &state);
        }
        if self.steps > self.steps_max {
            let found = format!("{} things happened", self.steps_max);
            self.judge().restless(now, found, "rest");
        }
        self.verdict()
    }

    /// The judge looks at a world at rest.
    pub fn at_rest(&mut self) -> Lives {
        let now = self.world.now();
        {
            let api = self.world.api().clone();
            let state = api.state();
            self.judge().at_rest(now, &state);
        }
        self.verdict()
    }
}

/// Who plays a case in its frame.
pub trait Player {
    /// Who judges.
    type Judge: Witness + Send + 'static;
    /// What can be done to the world.
    type Deed;

    /// The frame.
    fn frame(&mut self) -> &mut Frame<Self::Judge, Self::Deed>;

    /// Ends what lasted.
    fn undo(&mut self, deed: &Self::Deed);

    /// Lets the next thing happen.
    fn step(&mut self, until: Timestamp) -> Lives {
        for deed in self.frame().pass(until) {
            self.undo(&deed);
        }
        self.frame().look()
    }

    /// Lets things happen until `until` or the first broken promise.
    fn advance(&mut self, until: Timestamp) -> Lives {
        while self.frame().world.now() < until {
            self.step(until)?;
        }
        self.frame().verdict()
    }

    /// Faults are over; what is missing comes back.
    fn calm_down(&mut self) {
        let frame = self.frame();
        let now = frame.world.now();
        frame.story.line(now, "world", || "calm".to_owned());
        frame.schedule(&[], now);
        for (_, deed) in std::mem::take(&mut frame.ends) {
            self.undo(&deed);
        }
    }

    /// Lets time pass until no controller has asked for a write for `quiet`. It must come to that within `limit`.
    fn rest(&mut self, quiet: Duration, limit: Duration) -> Lives {
        let limit = later(self.frame().world.now(), limit);
        loop {
            let writes = self.frame().judge().writes().0;
            let until = later(self.frame().world.now(), quiet);
            self.advance(until)?;
            let frame = self.frame();
            let now = frame.world.now();
            let mut judge = frame.judge();
            let (after, last) = judge.writes();
            if after == writes {
                return Ok(());
            }
            if now > limit {
                let found = format!("still writing: {last}");
                judge.restless(now, found, "rest");
                drop(judge);
                return frame.verdict();
            }
        }
    }

    /// C1: for this long nothing is written.
    fn silence(&mut self, time: Duration) -> Lives {
        let before = self.frame().judge().writes().0;
        let until = later(self.frame().world.now(), time);
        self.advance(until)?;
        let frame = self.frame();
        let now = frame.world.now();
        {
            let mut judge = frame.judge();
            let (writes, last) = judge.writes();
            if writes != before {
                let found = format!("{} writes at rest, the last one {last}", writes - before);
                judge.restless(now, found, "none");
            }
        }
        frame.verdict()
    }
}

fn lock<J>(judge: &Arc<Mutex<J>>) -> MutexGuard<'_, J> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}
