//! A world: the real controllers on a paused clock, the simulated API server, and models of everything around.
//!
//! One seed fixes everything that happens. Time passes only when nobody has anything left to do at the present moment;
//! then it jumps to the next moment somebody waits for. A world has no thread, no socket and no wall clock of its own.

use super::{
    api::{
        self, SimApi,
        kinds::{Key, Kind},
        observe::Commit,
        refusal::Refused,
        state::State,
    },
    clock::VirtualClock,
    dice::{Dice, Range},
    models::{
        Model, Slot, Timing,
        autoscaler::Autoscaler,
        data_plane::{DataPlane, Entry, Traffic},
        deployment_pods::DeploymentPods,
        deployments::Deployments,
        endpoints::Endpoints,
        garbage::Garbage,
        gateway::Gateway,
        git::GitServer,
        jobs::Jobs,
        later,
        metrics::Metrics,
        people::{self, Verb},
        pods::Pods,
        replica_sets::ReplicaSets,
        truth::{SharedTruth, Truth},
    },
    replica::{self, Replica, Seams},
};
use crate::{
    clock::{Clock, SharedClock},
    controllers::args::ControllerArgs,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    hash::Hasher,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

/// Actor of what the user does.
pub const USER: &str = "kubectl-tidegate";
/// The models act at the earliest this long after a write; meanwhile the controllers come to rest.
const SETTLE: Duration = Duration::from_millis(1);

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fixes everything that is left to chance.
    pub seed: u64,
    /// The time at its beginning.
    pub start: Timestamp,
    /// Replicas of the controllers; none of them runs before `start`.
    pub replicas: usize,
    /// The controllers' command line; `None` is what they have by default, without an election.
    pub args: Option<ControllerArgs>,
    /// How long the surroundings take.
    pub timing: Timing,
    /// How the API server behaves.
    pub api: api::Options,
    /// Where a defect can be put in.
    pub seams: Seams,
    /// Whether Applications are looked after too, from the Git server of this world.
    pub syncs: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            start: Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH),
            replicas: 1,
            args: None,
            timing: Timing::default(),
            api: api::Options {
                show_managed_fields: false,
                ..api::Options::default()
            },
            seams: Seams::default(),
            syncs: false,
        }
    }
}

impl Options {
    /// The controllers' command line without an election.
    pub fn args_alone() -> ControllerArgs {
        let mut args = replica::default_args();
        args.leader_elect = false;
        args
    }

    /// The controllers' command line with an election among replicas.
    pub fn args_elected() -> ControllerArgs {
        let mut args = replica::default_args();
        args.leader_elect = true;
        args
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// The moment at its end.
    pub now: Timestamp,
    /// Accepted writes so far, by anybody.
    pub commits: u64,
}

/// What may be reached from everywhere in a world, from inside a fault schedule too. Cloning shares it.
#[derive(Clone)]
pub struct Handle {
    api: SimApi,
    truth: SharedTruth,
    traffic: Traffic,
    shared: Arc<Shared>,
    clock: Arc<VirtualClock>,
    git: GitServer,
}

#[derive(Default)]
struct Shared {
    noted: Mutex<Noted>,
    changed: Notify,
}

#[derive(Default)]
struct Noted {
    commits: u64,
    dirty: BTreeSet<Kind>,
    /// The truth changed: everybody looks again.
    all: bool,
    kills: Vec<usize>,
    digest: Digest,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// The API server.
    pub fn api(&self) -> &SimApi {
        &self.api
    }

    /// What the data plane does.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The Git server.
    pub fn git(&self) -> &GitServer {
        &self.git
    }

    /// The present moment, by the world's own clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Changes what is true; the models learn of it at once.
    pub fn truth<T>(&self, change: impl FnOnce(&mut Truth) -> T) -> T {
        let result = change(&mut self.truth.lock());
        self.shared.lock().all = true;
        self.shared.changed.notify_one();
        result
    }

    /// Looks at what is true.
    pub fn truth_now<T>(&self, look: impl FnOnce(&Truth) -> T) -> T {
        look(&self.truth.lock())
    }

    /// Changes how long the data plane takes.
    pub fn data_plane_delay(&self, delay: Range) {
        self.traffic.lock().delay = delay;
    }

    /// Kills a replica: it is cut from the server at once, and its tasks end within this moment.
    pub fn kill(&self, replica: usize) {
        self.api.cut(&format!("tidegate-{replica}"));
        self.shared.lock().kills.push(replica);
        self.shared.changed.notify_one();
    }
}

/// The world.
pub struct World {
    runtime: Runtime,
    inner: Inner,
}

struct Inner {
    handle: Handle,
    origin: Instant,
    start: Timestamp,
    dice: Dice,
    slots: Vec<Slot>,
    replicas: Vec<Replica>,
    args: ControllerArgs,
    metrics: Metrics,
    seams: Seams,
    syncs: bool,
}

impl World {
    /// A world without objects, in which no controller runs yet. Fails only when the system refuses a timer or poll.
    pub fn new(options: Options) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let guard = runtime.enter();
        let dice = Dice::new(options.seed);
        let clock = Arc::new(VirtualClock::starting_at(options.start));
        let shared_clock: SharedClock = Arc::clone(&clock) as SharedClock;
        let api = SimApi::new(Arc::clone(&shared_clock), options.api.clone());
        let (truth, traffic) = (SharedTruth::default(), Traffic::default());
        traffic.lock().delay = options.timing.data_plane;
        let shared = Arc::new(Shared::default());
        let observer = Arc::clone(&shared);
        api.observe(move |commit, _| {
            let mut noted = observer.lock();
            noted.commits += 1;
            noted.dirty.insert(commit.key.kind);
            noted.digest.add(commit);
            drop(noted);
            observer.changed.notify_one();
        });
        let git = GitServer::new(Arc::clone(&shared_clock), &dice);
        let metrics = Metrics::new(api.clone(), truth.clone(), shared_clock, options.timing.metrics, &dice);
        let slots = slots(&options, &dice, &truth, &traffic);
        let replicas = (0..options.replicas)
            .map(|index| Replica::new(index, options.start, &dice))
            .collect();
        let handle = Handle {
            api,
            truth,
            traffic,
            shared,
            clock,
            git,
        };
        let inner = Inner {
            handle,
            origin: Instant::now(),
            start: options.start,
            slots,
            replicas,
            args: options.args.unwrap_or_else(Options::args_alone),
            metrics,
            seams: options.seams,
            syncs: options.syncs,
            dice,
        };
        drop(guard);
        Ok(Self { runtime, inner })
    }

    /// What may be reached from everywhere.
    pub fn handle(&self) -> Handle {
        self.inner.handle.clone()
    }

    /// The API server.
    pub fn api(&self) -> &SimApi {
        &self.inner.handle.api
    }

    /// A stream of chance for a consumer of this name.
    pub fn dice(&self, name: &str) -> Dice {
        self.inner.dice.fork(name)
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.inner.handle.now()
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::try_from(self.now().duration_since(self.inner.start)).unwrap_or_default()
    }

    /// Where requests go now, what the data plane will do, and what it lost.
    pub fn traffic(&self) -> &Traffic {
        &self.inner.handle.traffic
    }

    /// Lets requests in here. The weights of several ways in are equal.
    pub fn enter_through(&mut self, entry: Entry) {
        self.inner.handle.traffic.lock().entries.push(entry);
        self.truth(|_| {});
    }

    /// Changes what is true.
    pub fn truth<T>(&mut self, change: impl FnOnce(&mut Truth) -> T) -> T {
        self.inner.handle.truth(change)
    }

    /// Creates an object, as a user does.
    pub fn create(&mut self, object: Value) -> Result<Arc<Value>, Refused> {
        self.api().create(USER, object)
    }

    /// Does what a person does to a Rollout.
    pub fn act(&mut self, rollout: &Key, verb: &Verb) -> Result<(), String> {
        let now = self.now();
        people::act(self.api(), USER, rollout, verb, now)
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.api().state().get(key).cloned()
    }

    /// Calls `hook` with every accepted write and the state after it, before anybody else learns of it.
    pub fn observe(&mut self, hook: impl FnMut(&Commit, &State) + Send + 'static) {
        self.api().observe(hook);
    }

    /// Accepted writes so far, by anybody.
    pub fn commits(&self) -> u64 {
        self.inner.handle.shared.lock().commits
    }

    /// A digest of all accepted writes: who, what, when, and the object after it. Equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.inner.handle.shared.lock().digest.0
    }

    /// How many replicas there are, running or not.
    pub fn replicas(&self) -> usize {
        self.inner.replicas.len()
    }

    /// Whether a replica runs.
    pub fn is_running(&self, replica: usize) -> bool {
        self.inner.replicas.get(replica).is_some_and(Replica::is_running)
    }

    /// Starts a replica, unless it runs.
    pub fn start(&mut self, replica: usize) {
        let _guard = self.runtime.enter();
        let inner = &mut self.inner;
        if let Some(replica) = inner.replicas.get_mut(replica) {
            let git = inner.syncs.then_some(&inner.handle.git);
            replica.start(&inner.handle.api, &inner.args, &inner.metrics, &inner.seams, git);
        }
    }

    /// Starts all replicas.
    pub fn start_all(&mut self) {
        (0..self.replicas()).for_each(|replica| self.start(replica));
    }

    /// Kills a replica between two awaits: nothing it does reaches the server any more.
    pub fn kill(&mut self, replica: usize) {
        let _guard = self.runtime.enter();
        let inner = &mut self.inner;
        if let Some(replica) = inner.replicas.get_mut(replica) {
            replica.kill(&inner.handle.api);
        }
    }

    /// Stops a replica in good order: it ends its passes and gives the lease back, while time passes.
    pub fn stop(&mut self, replica: usize) {
        let _guard = self.runtime.enter();
        if let Some(replica) = self.inner.replicas.get_mut(replica) {
            replica.stop();
        }
    }

    /// Makes the wall clock of a replica jump.
    pub fn jump(&mut self, replica: usize, by: SignedDuration) {
        if let Some(replica) = self.inner.replicas.get_mut(replica) {
            replica.jump(by);
        }
    }

    /// Goes on to the next thing that happens, at the latest to `until`: the models do what is due, or somebody wrote
    /// and the controllers came to rest.
    pub fn step(&mut self, until: Timestamp) -> Step {
        self.runtime.block_on(self.inner.step(until))
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = later(self.now(), time);
        while self.now() < until {
            self.step(until);
        }
    }

    /// Lets time pass until `met`, at the longest for `time`. Returns whether it was met.
    pub fn run_until(&mut self, time: Duration, mut met: impl FnMut(&Self) -> bool) -> bool {
        let until = later(self.now(), time);
        loop {
            if met(self) {
                return true;
            }
            if self.now() >= until {
                return false;
            }
            self.step(until);
        }
    }
}

impl Inner {
    async fn step(&mut self, until: Timestamp) -> Step {
        let handle = self.handle.clone();
        let due = self.slots.iter().filter_map(|slot| slot.due).min();
        let next = self.instant(due.map_or(until, |due| due.min(until)));
        tokio::select! {
            biased;
            () = handle.shared.changed.notified() => sleep(SETTLE).await,
            () = sleep_until(next) => {}
        }
        let now = handle.now();
        let (dirty, all, kills) = {
            let mut noted = handle.shared.lock();
            (
                std::mem::take(&mut noted.dirty),
                std::mem::take(&mut noted.all),
                std::mem::take(&mut noted.kills),
            )
        };
        for index in kills {
            if let Some(replica) = self.replicas.get_mut(index) {
                replica.kill(&handle.api);
            }
        }
        for slot in &mut self.slots {
            if all {
                slot.due = Some(now);
            } else if slot.model.concerns().iter().any(|kind| dirty.contains(kind)) {
                slot.concern(now);
            }
            if slot.due.is_some_and(|due| due <= now) {
                slot.act(&handle.api, now);
            }
        }
        let commits = handle.shared.lock().commits;
        Step { now, commits }
    }

    /// The runtime's moment for a moment of the world.
    fn instant(&self, at: Timestamp) -> Instant {
        self.origin + Duration::try_from(at.duration_since(self.start)).unwrap_or_default()
    }
}

fn slots(options: &Options, dice: &Dice, truth: &SharedTruth, traffic: &Traffic) -> Vec<Slot> {
    let timing = &options.timing;
    let now = options.start;
    let at_once = Range::default();
    let slot = |model: Box<dyn Model>, reaction| Slot::new(model, reaction, dice, now);
    let mut slots = vec![
        slot(Box::new(ReplicaSets::new(dice)), timing.replica_sets),
        slot(
            Box::new(Pods::new(truth.clone(), timing.pod_start, timing.pod_end, dice)),
            at_once,
        ),
        slot(Box::new(Endpoints), timing.endpoints),
        slot(Box::new(Jobs::new(truth.clone(), timing.jobs, dice)), at_once),
        slot(
            Box::new(Autoscaler::new(truth.clone(), timing.autoscaler, dice)),
            at_once,
        ),
        slot(Box::new(Garbage), timing.garbage),
        slot(Box::new(Gateway), timing.gateway),
        slot(Box::new(DataPlane::new(dice, truth.clone(), traffic.clone())), at_once),
    ];
    slots.push(match options.syncs {
        true => slot(Box::new(Deployments::new(dice)), at_once),
        false => slot(Box::new(DeploymentPods), timing.replica_sets),
    });
    slots
}

/// A running digest (FNV-1a) of writes.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

impl Digest {
    fn add(&mut self, commit: &Commit) {
        self.write(&commit.at.as_nanosecond().to_le_bytes());
        for part in [
            &*commit.actor,
            commit.subresource,
            commit.key.namespace.as_str(),
            commit.key.name.as_str(),
        ] {
            self.write(part.as_bytes());
            self.write(&[0]);
        }
        self.write(&[commit.key.kind as u8, commit.verb as u8]);
        self.write(&commit.version.to_le_bytes());
        if let Some(after) = &commit.after {
            self.value(after);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.write(b"n"),
            Value::Bool(yes) => self.write(if *yes { b"t" } else { b"f" }),
            Value::Number(number) => match number.as_i64() {
                Some(number) => self.write(&number.to_le_bytes()),
                None => self.write(number.to_string().as_bytes()),
            },
            Value::String(text) => {
                self.write(b"s");
                self.write(text.as_bytes());
            }
            Value::Array(items) => {
                self.write(b"[");
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(fields) => {
                self.write(b"{");
                for (key, field) in fields {
                    self.write(key.as_bytes());
                    self.value(field);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
