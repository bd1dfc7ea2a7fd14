//! One run of a case: a first sync in peace, a time of trouble, and calm, in which the newest good commit must be reached.

use super::{
    case::SyncCase,
    content::{Change, Content, DESTINATION, Form, Library},
    deeds::{Deed, Event},
};
use crate::{
    case::TROUBLE_MILLIS,
    facts::{later, text},
    faults::{Flaw, Schedule},
    oracle::{
        Allowance, Violation,
        sync::{SyncJudge, end::Standing},
    },
    run::{Failure, Statistics},
    story::Story,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate::{
    k8s::lease::LEASE_NAME,
    sim::{
        api::{
            self, Change as Patch, Deletion,
            kinds::{Key, Kind},
        },
        models::{
            git::{Condition, MAIN},
            people::Verb,
        },
        replica::{self, Seams},
        world::{Options, World},
    },
};

/// Time for the first sync.
const FIRST: Duration = Duration::from_secs(120);
/// Between two listings of a repository.
const POLL_SECONDS: u64 = 15;
/// After this much calm something must be visible. Longer than a failing source is waited for.
const VISIBLE: Duration = Duration::from_secs(240);
/// A person helps this often before it counts as hopeless.
const HELP_MAX: usize = 6;
/// For this long a person waits for what helps. Longer than automation waits after its last retry.
const PATIENCE: Duration = Duration::from_secs(420);
/// When no controller has asked for a write for this long, the world rests.
const QUIET: Duration = Duration::from_secs(130);
/// Within this time it must rest.
const REST_MAX: Duration = Duration::from_secs(900);
/// For this long after the end nothing may be written: longer than several resyncs.
const SILENCE: Duration = Duration::from_secs(600);
/// Things that happen in one run; protects from a world that never lets time pass.
const STEPS_MAX: u64 = 200_000;
const SOMEBODY: &str = "somebody";

/// Runs a case.
pub fn run(case: &SyncCase, seams: &Seams) -> Result<Statistics, Box<Failure>> {
    play(case, seams, Story::default())
}

/// Runs a case again, to tell what happened.
pub fn tell(case: &SyncCase, seams: &Seams) -> Result<Statistics, Box<Failure>> {
    play(case, seams, Story::told())
}

/// A failed case as a page to read.
pub fn page(case: &SyncCase, failure: &Failure) -> String {
    let Failure { violation, story } = failure;
    format!(
        "{}\n{story}\n{} broke at {}: {violation}\n",
        case.page(),
        violation.rule,
        violation.at
    )
}

fn play(case: &SyncCase, seams: &Seams, story: Story) -> Result<Statistics, Box<Failure>> {
    let mut run = Run::new(case, seams, story);
    let result = run.live();
    // The schedule holds the server that holds it.
    run.world.api().set_faults(None);
    match result {
        Ok(()) => Ok(Statistics {
            requests: run.world.api().requests(),
            commits: run.world.commits(),
            simulated: run.world.elapsed(),
            digest: run.world.digest(),
        }),
        Err(violation) => Err(Box::new(Failure {
            violation: *violation,
            story: run.story.text(run.begin),
        })),
    }
}

type Lives = Result<(), Box<Violation>>;
type SharedJudge = Arc<Mutex<SyncJudge>>;

struct Run<'a> {
    case: &'a SyncCase,
    world: World,
    judge: SharedJudge,
    library: Library,
    story: Story,
    begin: Timestamp,
    /// When dead replicas start again.
    starts: Vec<Option<Timestamp>>,
    /// What is to be ended, and when.
    ends: Vec<(Timestamp, Deed)>,
    steps: u64,
}

impl<'a> Run<'a> {
    #[expect(clippy::expect_used, reason = "a system without timers cannot simulate")]
    fn new(case: &'a SyncCase, seams: &Seams, story: Story) -> Self {
        let mut args = if case.controllers > 1 {
            Options::args_elected()
        } else {
            Options::args_alone()
        };
        args.repo_poll_seconds = POLL_SECONDS;
        let options = Options {
            seed: case.seed,
            replicas: case.controllers,
            args: Some(args),
            api: api::Options {
                // Comparisons rest on who owns which field.
                show_managed_fields: true,
                ..api::Options::default()
            },
            seams: seams.clone(),
            syncs: true,
            ..Options::default()
        };
        let mut world = World::new(options).expect("a world");
        let library = Library::default();
        let judge = SyncJudge::new(allowance(case), world.handle().git().clone(), library.clone());
        let judge: SharedJudge = Arc::new(Mutex::new(judge));
        let (observer, told) = (Arc::clone(&judge), story.clone());
        world.observe(move |commit, state| {
            told.commit(commit);
            lock(&observer).commit(commit, state);
        });
        let begin = world.now();
        Self {
            case,
            starts: vec![None; case.controllers],
            ends: Vec::new(),
            steps: 0,
            world,
            judge,
            library,
            story,
            begin,
        }
    }

    fn live(&mut self) -> Lives {
        self.first()?;
        self.trouble()?;
        self.calm()?;
        self.arrive()?;
        self.end()
    }

    fn schedule(&mut self, faults: &[crate::faults::Fault], begin: Timestamp) {
        let (handle, judge) = (self.world.handle(), Arc::clone(&self.judge));
        let schedule = Schedule::new(faults, handle, judge, self.story.clone(), begin);
        self.world.api().set_faults(Some(Box::new(schedule)));
    }

    /// Lets things happen until `until` or the first broken promise.
    fn advance(&mut self, until: Timestamp) -> Lives {
        while self.world.now() < until {
            self.step(until)?;
        }
        self.verdict()
    }

    fn step(&mut self, until: Timestamp) -> Lives {
        let now = self.world.now();
        for index in 0..self.case.controllers {
            if !self.world.is_running(index) {
                let Some(start) = self.starts.get_mut(index) else {
                    continue;
                };
                let at = *start.get_or_insert_with(|| later(now, Duration::from_millis(self.case.restart_millis)));
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
        while let Some(position) = self.ends.iter().position(|(at, _)| *at <= now) {
            let (_, deed) = self.ends.remove(position);
            self.undo(&deed);
        }
        {
            let api = self.world.api().clone();
            let state = api.state();
            lock(&self.judge).flow(now, &state);
        }
        if self.steps > STEPS_MAX {
            lock(&self.judge).restless(now, format!("{STEPS_MAX} things happened"), "rest");
        }
        self.verdict()
    }

    fn verdict(&self) -> Lives {
        match lock(&self.judge).violation() {
            Some(violation) => Err(Box::new(violation.clone())),
            None => Ok(()),
        }
    }

    fn standing(&self) -> Standing {
        let state = self.world.api().state();
        lock(&self.judge).standing(&state)
    }

    fn has_arrived(&self) -> bool {
        let state = self.world.api().state();
        lock(&self.judge).has_arrived(&state)
    }

    /// Waits until the Application is as the newest commit says; says whether it is.
    fn wait_for_arrival(&mut self, time: Duration) -> Result<bool, Box<Violation>> {
        let until = later(self.world.now(), time);
        while self.world.now() < until {
            if self.has_arrived() {
                return Ok(true);
            }
            self.step(until)?;
        }
        Ok(self.has_arrived())
    }

    /// The first sync, in peace.
    fn first(&mut self) -> Lives {
        self.push(self.case.content.clone());
        let _ = self.world.create(SyncCase::project());
        let _ = self.world.create(self.case.application());
        self.schedule(&[], self.begin);
        self.world.start_all();
        if self.case.policy["automated"].is_null() {
            self.advance(later(self.world.now(), Duration::from_secs(5)))?;
            self.sync(None, false);
        }
        if !self.wait_for_arrival(FIRST)? {
            let found = format!("{:?} {FIRST:?} after it was created", self.standing());
            lock(&self.judge).restless(self.world.now(), found, "Synced and Healthy");
        }
        self.verdict()
    }

    fn trouble(&mut self) -> Lives {
        let begin = self.world.now();
        self.begin = begin;
        self.story.line(begin, "world", || "trouble begins".to_owned());
        self.schedule(&self.case.faults, begin);
        for event in &self.case.events {
            self.advance(later(begin, Duration::from_millis(event.at)))?;
            self.happen(event);
            self.verdict()?;
        }
        let last = self.case.events.last().map_or(0, |event| event.at);
        let faults = self.case.faults.iter().map(|fault| fault.to).max().unwrap_or(0);
        let end = (last + 40_000).max(faults).min(TROUBLE_MILLIS + 40_000);
        self.advance(later(begin, Duration::from_millis(end)))
    }

    fn push(&mut self, content: Content) {
        let handle = self.world.handle();
        let commit = handle.git().push(MAIN, &content.files(), "a change");
        self.story
            .line(self.world.now(), "git", || format!("main is at {commit}"));
        self.library.add(&commit, content);
    }

    fn tip(&self) -> String {
        self.world.handle().git().tip(MAIN).unwrap_or_default()
    }

    fn content(&self) -> Content {
        let content = self.library.get(&self.tip());
        content.map_or_else(|| self.case.content.clone(), |content| (*content).clone())
    }

    fn application(&self) -> Option<Arc<Value>> {
        self.world.get(&SyncCase::key())
    }

    fn patch(&self, key: &Key, patch: Value) {
        let _ = self.world.api().patch(SOMEBODY, key, &Patch::Merge(patch));
    }

    fn sync(&self, revision: Option<String>, prune: bool) {
        if self
            .application()
            .is_none_or(|app| app.get("operation").is_some_and(|operation| !operation.is_null()))
        {
            // Somebody else asked a moment ago; the command line refuses a second one.
            return;
        }
        let sync = json!({"revision": revision, "prune": prune});
        let operation = json!({"sync": sync, "initiatedBy": {"username": "ada"}});
        self.patch(&SyncCase::key(), json!({"operation": operation}));
    }

    fn happen(&mut self, event: &Event) {
        let now = self.world.now();
        self.story.line(now, "—", || event.deed.to_string());
        if self.begin_deed(&event.deed, now) {
            let end = later(now, Duration::from_millis(event.lasts));
            self.ends.push((end, event.deed.clone()));
        }
    }

    /// Begins a deed; says whether it is to be ended.
    fn begin_deed(&mut self, deed: &Deed, now: Timestamp) -> bool {
        let api = self.world.api().clone();
        let somewhere = |kind: Kind, name: &str| Key::new(kind, DESTINATION, name);
        match deed {
            Deed::Push(change) => self.push(self.content().after(change)),
            Deed::Back(commits) => {
                let handle = self.world.handle();
                if let Some(commit) = handle.git().before(&self.tip(), *commits) {
                    self.story.line(now, "git", || format!("main is at {commit}"));
                    handle.git().reset(MAIN, &commit);
                }
            }
            Deed::Drift(kind, name, patch) => self.patch(&somewhere(*kind, name), patch.clone()),
            Deed::Delete(kind, name) => {
                let _ = api.delete(SOMEBODY, &somewhere(*kind, name), &Deletion::default());
            }
            Deed::Stranger(id) => {
                let _ = api.create(SOMEBODY, stranger(id));
            }
            Deed::Sync { back, prune } => {
                let revision = back.and_then(|back| self.world.handle().git().before(&self.tip(), back));
                self.sync(revision, *prune);
            }
            Deed::Terminate => {
                let app = self.application();
                let is_running = app.is_some_and(|app| text(&app, "/status/operationState/phase") == "Running");
                if is_running {
                    let state = json!({"status": {"operationState": {"phase": "Terminating"}}});
                    self.patch(&SyncCase::key(), state);
                }
            }
            Deed::Refresh => self.patch(
                &SyncCase::key(),
                json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}),
            ),
            Deed::Policy(policy) => self.patch(&SyncCase::key(), json!({"spec": {"syncPolicy": policy}})),
            Deed::Git(condition) => {
                self.world.handle().git().set(*condition);
                lock(&self.judge).git_trouble(Timestamp::MAX);
                return true;
            }
            Deed::Limits(limits) => {
                self.patch(&SyncCase::project_key(), json!({"spec": limits}));
                return true;
            }
            Deed::Autoscale(replicas) => {
                let target = somewhere(Kind::Deployment, "api");
                let _ = api.scale("horizontal-pod-autoscaler", &target, *replicas);
            }
            Deed::Abort => {
                let _ = self.world.act(&somewhere(Kind::Rollout, "web"), &Verb::Abort);
            }
            Deed::Kill(replica) => self.world.kill(*replica),
            Deed::Stop(replica) => self.world.stop(*replica),
            Deed::StealLease => {
                let lease = Key::new(Kind::Lease, replica::NAMESPACE, LEASE_NAME);
                self.patch(
                    &lease,
                    json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}}),
                );
            }
            Deed::BreakWatches(kind) => api.break_watches(*kind),
            Deed::Compact => {
                api.compact();
                api.break_watches(None);
            }
        }
        false
    }

    /// Ends what lasted.
    fn undo(&mut self, deed: &Deed) {
        let now = self.world.now();
        match deed {
            Deed::Git(_) => {
                self.story.line(now, "world", || "Git is well again".to_owned());
                self.world.handle().git().set(Condition::Up);
                lock(&self.judge).git_trouble(now);
            }
            Deed::Limits(_) => {
                let spec = SyncCase::project()["spec"].clone();
                self.patch(&SyncCase::project_key(), json!({"spec": spec}));
            }
            _ => {}
        }
    }

    /// Faults are over. Whatever is not as it should be by now, somebody who looks is told.
    fn calm(&mut self) -> Lives {
        let now = self.world.now();
        self.story.line(now, "world", || "calm".to_owned());
        self.schedule(&[], now);
        for (_, deed) in std::mem::take(&mut self.ends) {
            self.undo(&deed);
        }
        // A last back-off may still run.
        self.advance(later(now, VISIBLE))?;
        lock(&self.judge).calm(SignedDuration::from_secs(60));
        let now = self.world.now();
        if let Standing::Silent(found) = self.standing()
            && !self.has_arrived()
        {
            let found = format!("{VISIBLE:?} into calm it is {found}");
            lock(&self.judge).restless(now, found, "Synced, or a word about why not");
        }
        self.verdict()
    }

    /// A person pushes a good commit; it must be reached.
    fn arrive(&mut self) -> Lives {
        for round in 0..HELP_MAX {
            let now = self.world.now();
            let number = 90 + u64::try_from(round).unwrap_or(0);
            let mut content = self.content();
            content.form = Form::Good;
            if content.objects.is_empty() {
                content = self.case.content.clone();
            }
            let good = Change::Together(vec![
                Change::Value(0, number),
                Change::Image(format!("web:v{number}")),
                Change::HookImage(format!("job:v{number}")),
                Change::Late(number),
            ]);
            self.story
                .line(now, "—", || "user helps: pushes a good commit".to_owned());
            self.push(content.after(&good));
            let app = self.application();
            let is_manual = app.is_some_and(|app| app["spec"]["syncPolicy"]["automated"].is_null());
            if is_manual || round > 1 {
                // Whoever syncs has seen the commit.
                self.patch(
                    &SyncCase::key(),
                    json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}),
                );
                self.advance(later(now, Duration::from_secs(20)))?;
                self.story
                    .line(self.world.now(), "—", || "user helps: syncs with prune".to_owned());
                self.sync(None, true);
            }
            if self.wait_for_arrival(PATIENCE)? {
                return Ok(());
            }
        }
        let found = format!("{:?} whatever a person does", self.standing());
        lock(&self.judge).restless(self.world.now(), found, "Synced and Healthy");
        self.verdict()
    }

    /// C1 and S8: the end is as the commit says, and nothing more is written.
    fn end(&mut self) -> Lives {
        self.rest()?;
        {
            let now = self.world.now();
            let api = self.world.api().clone();
            let state = api.state();
            lock(&self.judge).at_rest(now, &state);
        }
        self.verdict()?;
        let before = lock(&self.judge).writes().0;
        self.advance(later(self.world.now(), SILENCE))?;
        let now = self.world.now();
        {
            let mut judge = lock(&self.judge);
            let (writes, last) = judge.writes();
            if writes != before {
                let found = format!("{} writes at rest, the last one {last}", writes - before);
                judge.restless(now, found, "none");
            }
        }
        self.verdict()
    }

    /// Lets time pass until no controller writes any more.
    fn rest(&mut self) -> Lives {
        let limit = later(self.world.now(), REST_MAX);
        loop {
            let writes = lock(&self.judge).writes().0;
            self.advance(later(self.world.now(), QUIET))?;
            let now = self.world.now();
            let mut judge = lock(&self.judge);
            let (after, last) = judge.writes();
            if after == writes {
                return Ok(());
            }
            if now > limit {
                let found = format!("still writing: {last}");
                judge.restless(now, found, "rest");
                drop(judge);
                return self.verdict();
            }
        }
    }
}

/// A ConfigMap that is none of the Application's, whatever it says.
fn stranger(id: &str) -> Value {
    let mut annotations = BTreeMap::new();
    if !id.is_empty() {
        annotations.insert(tidegate::api::well_known::TRACKING_ID, id);
    }
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "stranger", "namespace": DESTINATION, "annotations": annotations},
    })
}

fn lock(judge: &SharedJudge) -> MutexGuard<'_, SyncJudge> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What must be allowed for in a case.
fn allowance(case: &SyncCase) -> Allowance {
    let millis: u64 = case.faults.iter().map(|fault| fault.flaw.staleness()).sum();
    let watches = case
        .events
        .iter()
        .any(|event| matches!(event.deed, Deed::BreakWatches(_) | Deed::Compact));
    let replicas = case
        .events
        .iter()
        .any(|event| matches!(event.deed, Deed::Kill(_) | Deed::Stop(_) | Deed::StealLease));
    let repeats = |flaw: &Flaw| matches!(flaw, Flaw::Repeat | Flaw::Lag(..) | Flaw::Reorder);
    let impeded = case.faults.iter().any(|fault| !repeats(&fault.flaw)) || replicas || watches || case.controllers > 1;
    let staleness = 1_000 + millis + if watches { 8_000 } else { 0 };
    let seconds = SignedDuration::from_secs;
    Allowance {
        staleness: SignedDuration::from_millis(i64::try_from(staleness).unwrap_or(i64::MAX)),
        recovery: seconds(90),
        skew: seconds(1),
        theft: seconds(8),
        reaction: (!impeded).then(|| seconds(60)),
    }
}
