//! Seeded schedules of what goes wrong between the controllers and the API server.
//!
//! A schedule is a list of plain values, each with its own stream of chance, so that taking one away leaves the others
//! as they are.

pub mod deeds;

use crate::{
    case::TROUBLE_MILLIS,
    oracle::{CONTROLLERS, Witness},
    story::Story,
};
use jiff::Timestamp;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate::sim::{
    api::{
        faults::{EventFate, EventInfo, Faults, RequestFate, RequestInfo, WatchInfo},
        kinds::Kind,
        refusal,
    },
    dice::Dice,
    world::Handle,
};

/// A view lags at most this much. In milliseconds. Beyond five seconds the executor goes on without having seen its own
/// writes.
pub const LAG_MILLIS: u64 = 7_000;
/// A request is on its way at most this long, well below what a lease leaves between its holders. In milliseconds.
pub const DELAY_MILLIS: u64 = 1_500;
/// So many requests at one moment are a controller that runs in circles and lets no time pass.
const RUSH_MAX: u64 = 2_000;

/// Something that goes wrong for a while.
#[derive(Clone, Debug)]
pub struct Fault {
    /// From when, since the beginning of the trouble. In milliseconds.
    pub from: u64,
    /// Until when. In milliseconds.
    pub to: u64,
    /// Its own stream of chance.
    pub seed: u64,
    /// What.
    pub flaw: Flaw,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Flaw {
    /// Events of a kind come late, by up to this many milliseconds.
    Lag(Kind, u64),
    /// Some events of all kinds come late, so that kinds overtake each other.
    Reorder,
    /// Some events come twice.
    Repeat,
    /// Some events are lost, and the watch must list again.
    Drop,
    /// Some watches end before an event.
    Break,
    /// Some watches end with 410.
    Expire,
    /// Some requests are refused.
    Refuse(u16),
    /// Some writes get no answer, and were done.
    LostAfter,
    /// Some writes get no answer, and were not done.
    LostBefore,
    /// Some writes are on their way for up to so many milliseconds.
    Late(u64),
    /// Answers are on their way for up to so many milliseconds.
    LateAnswer(u64),
    /// Requests about the Lease fail.
    NoLease,
    /// The author of a write is killed, before (`false`) or after (`true`) it was done: the n-th of the time.
    Crash(u32, bool),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lag(kind, millis) => write!(f, "events of {kind} come up to {millis} ms late"),
            Self::Reorder => f.write_str("some events come late"),
            Self::Repeat => f.write_str("some events come twice"),
            Self::Drop => f.write_str("some events are lost"),
            Self::Break => f.write_str("some watches end"),
            Self::Expire => f.write_str("some watches end with 410"),
            Self::Refuse(code) => write!(f, "some requests are answered {code}"),
            Self::LostAfter => f.write_str("some writes are done without an answer"),
            Self::LostBefore => f.write_str("some writes are lost"),
            Self::Late(millis) => write!(f, "some writes take up to {millis} ms"),
            Self::LateAnswer(millis) => write!(f, "some answers take up to {millis} ms"),
            Self::NoLease => f.write_str("the Lease cannot be reached"),
            Self::Crash(nth, done) => write!(
                f,
                "the author of write {nth} is killed {} it is done",
                if *done { "after" } else { "before" }
            ),
        }
    }
}

impl Flaw {
    /// The faults of a seed.
    pub fn some(controllers: usize, dice: &mut Dice) -> Vec<Fault> {
        let mut faults = Vec::new();
        // A third of all lives has none: what is promised then is promised without excuses.
        let count = if dice.chance(33) { 0 } else { 1 + dice.below(5) };
        for _ in 0..count {
            let from = dice.below(TROUBLE_MILLIS);
            let to = from + 2_000 + dice.below(60_000);
            let flaw = Self::one(controllers, dice);
            faults.push(Fault {
                from,
                to: to.min(TROUBLE_MILLIS),
                seed: dice.bits(),
                flaw,
            });
        }
        faults
    }

    fn one(controllers: usize, dice: &mut Dice) -> Self {
        let kinds = [
            Kind::Rollout,
            Kind::ReplicaSet,
            Kind::Service,
            Kind::Ingress,
            Kind::AnalysisRun,
        ];
        match dice.below(17) {
            0..3 => Self::Lag(
                dice.pick(&kinds).copied().unwrap_or(Kind::Rollout),
                200 + dice.below(LAG_MILLIS - 200),
            ),
            3 => Self::Reorder,
            4 => Self::Repeat,
            5 => Self::Drop,
            6 => Self::Break,
            7 => Self::Expire,
            8 => Self::Refuse(dice.pick(&[500, 503, 429, 409, 504]).copied().unwrap_or(500)),
            9 => Self::LostAfter,
            10 => Self::LostBefore,
            11 => Self::Late(DELAY_MILLIS),
            12 => Self::LateAnswer(DELAY_MILLIS),
            13 if controllers > 1 => Self::NoLease,
            _ => Self::Crash(u32::try_from(dice.below(40)).unwrap_or(0), dice.chance(50)),
        }
    }

    /// Whether a controller may be unable to act because of it.
    pub fn impedes(&self) -> bool {
        !matches!(self, Self::Repeat | Self::Lag(..) | Self::Reorder)
    }

    /// How old a fact may become because of it that a write rests on. In milliseconds.
    pub fn staleness(&self) -> u64 {
        match self {
            Self::Lag(_, millis) => *millis,
            Self::Reorder => 3_000,
            // A watch that ended is taken up again after a back-off.
            Self::Drop | Self::Break | Self::Expire => 6_000,
            Self::Late(millis) | Self::LateAnswer(millis) => 4 * millis,
            Self::LostAfter | Self::LostBefore => 2_000,
            // Watches are opened with requests too.
            Self::Refuse(_) => 12_000,
            Self::Repeat | Self::NoLease | Self::Crash(..) => 0,
        }
    }
}

/// A schedule at work. Also tells the judge of every request.
pub struct Schedule {
    faults: Vec<Running>,
    handle: Handle,
    judge: Arc<Mutex<dyn Witness + Send>>,
    story: Story,
    begin: Timestamp,
    /// Requests at this moment.
    rush: (Timestamp, u64),
}

struct Running {
    fault: Fault,
    dice: Dice,
    writes: u32,
}

impl Running {
    fn is_on(&self, millis: u64) -> bool {
        (self.fault.from..self.fault.to).contains(&millis)
    }
}

impl Schedule {
    /// A schedule whose times count from `begin`.
    pub fn new<J: Witness + Send + 'static>(
        faults: &[Fault],
        handle: Handle,
        judge: Arc<Mutex<J>>,
        story: Story,
        begin: Timestamp,
    ) -> Self {
        let running = faults.iter().map(|fault| Running {
            dice: Dice::new(fault.seed),
            writes: 0,
            fault: fault.clone(),
        });
        Self {
            faults: running.collect(),
            handle,
            judge,
            story,
            begin,
            rush: (begin, 0),
        }
    }

    /// Tells the judge, and whether no promise is broken so far.
    fn judged(&mut self, request: &RequestInfo<'_>, now: Timestamp) -> bool {
        let state = self.handle.api().state();
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        judge.request(request, now, &state);
        self.rush = (now, if self.rush.0 == now { self.rush.1 + 1 } else { 0 });
        if self.rush.1 > RUSH_MAX {
            judge.restless(now, format!("{RUSH_MAX} requests at one moment"), "rest");
        }
        judge.violation().is_none()
    }

    fn millis(&self) -> u64 {
        let since = self.handle.now().duration_since(self.begin);
        u64::try_from(since.as_millis()).unwrap_or(0)
    }
}

impl Faults for Schedule {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        let now = self.handle.now();
        let judged = self.judged(request, now);
        if !request.actor.starts_with(CONTROLLERS) {
            return RequestFate::Pass;
        }
        if !judged {
            // Nothing more is to be learned, and what runs in circles would never end.
            self.handle.kill(replica_of(request.actor));
            return RequestFate::Kill { applied: false };
        }
        let millis = self.millis();
        for running in self.faults.iter_mut().filter(|running| running.is_on(millis)) {
            let fate = running.request(request, &self.handle);
            if !matches!(fate, RequestFate::Pass) {
                self.story.fate(now, request, &fate);
                return fate;
            }
        }
        RequestFate::Pass
    }

    fn on_event(&mut self, watch: &WatchInfo, event: &EventInfo<'_>) -> EventFate {
        let millis = self.millis();
        let now = self.handle.now();
        for running in self.faults.iter_mut().filter(|running| running.is_on(millis)) {
            let fate = running.event(watch);
            if fate != EventFate::Deliver {
                self.story.event(now, watch, event, fate);
                return fate;
            }
        }
        EventFate::Deliver
    }
}

impl Running {
    fn request(&mut self, request: &RequestInfo<'_>, handle: &Handle) -> RequestFate {
        let about_lease = request.kind == Some(Kind::Lease);
        let write = request.verb.is_write() && !request.dry_run && !about_lease;
        let millis = |range: u64, dice: &mut Dice| Duration::from_millis(1 + dice.below(range));
        match self.fault.flaw {
            Flaw::Refuse(code) if !about_lease && self.dice.chance(25) => RequestFate::Refuse(refused(code)),
            Flaw::LostAfter if write && self.dice.chance(25) => RequestFate::Lose {
                applied: true,
                after: millis(400, &mut self.dice),
            },
            Flaw::LostBefore if write && self.dice.chance(25) => RequestFate::Lose {
                applied: false,
                after: millis(400, &mut self.dice),
            },
            Flaw::Late(most) if write && self.dice.chance(30) => RequestFate::Delay(millis(most, &mut self.dice)),
            Flaw::LateAnswer(most) if write && self.dice.chance(30) => {
                RequestFate::DelayAnswer(millis(most, &mut self.dice))
            }
            Flaw::NoLease if about_lease => RequestFate::Lose {
                applied: false,
                after: Duration::from_millis(50),
            },
            Flaw::Crash(nth, applied) if write => {
                self.writes += 1;
                if self.writes != nth + 1 {
                    return RequestFate::Pass;
                }
                handle.kill(replica_of(request.actor));
                RequestFate::Kill { applied }
            }
            _ => RequestFate::Pass,
        }
    }

    fn event(&mut self, watch: &WatchInfo) -> EventFate {
        match self.fault.flaw {
            Flaw::Lag(kind, most) if watch.kind == kind => {
                EventFate::Delay(Duration::from_millis(self.dice.below(most)))
            }
            Flaw::Reorder if self.dice.chance(40) => EventFate::Delay(Duration::from_millis(self.dice.below(3_000))),
            Flaw::Repeat if self.dice.chance(40) => EventFate::Repeat,
            Flaw::Drop if self.dice.chance(15) => EventFate::Drop,
            Flaw::Break if self.dice.chance(15) => EventFate::Break,
            Flaw::Expire if self.dice.chance(15) => EventFate::Expire,
            _ => EventFate::Deliver,
        }
    }
}

/// Which replica of the controllers an actor is.
fn replica_of(actor: &str) -> usize {
    let index = actor.strip_prefix(CONTROLLERS).and_then(|index| index.parse().ok());
    index.unwrap_or(0)
}

fn refused(code: u16) -> refusal::Refused {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    refusal::refused(code, reason, "the simulation wants it so")
}
