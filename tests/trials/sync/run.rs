//! One run of a case: a first sync in peace, a time of trouble, and calm, in which the newest good commit must be reached.

use super::{
    case::SyncCase,
    content::{Change, Content, DESTINATION, Form, Library},
    deeds::{Deed, Event},
};
use crate::{
    case::TROUBLE_MILLIS,
    facts::{later, text},
    faults::Flaw,
    frame::{Failure, Frame, Lives, Player, Statistics},
    oracle::{
        Allowance, Violation, Witness,
        sync::{SyncJudge, end::Standing},
    },
    story::Story,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
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
    run.frame.conclude(result)
}

struct Run<'a> {
    case: &'a SyncCase,
    library: Library,
    frame: Frame<SyncJudge, Deed>,
}

impl Player for Run<'_> {
    type Judge = SyncJudge;
    type Deed = Deed;

    fn frame(&mut self) -> &mut Frame<SyncJudge, Deed> {
        &mut self.frame
    }

    fn undo(&mut self, deed: &Deed) {
        let now = self.frame.world.now();
        match deed {
            Deed::Git(_) => {
                self.frame.story.line(now, "world", || "Git is well again".to_owned());
                self.frame.world.handle().git().set(Condition::Up);
                self.frame.judge().git_trouble(now);
            }
            Deed::Limits(_) => {
                let spec = SyncCase::project()["spec"].clone();
                self.patch(&SyncCase::project_key(), json!({"spec": spec}));
            }
            _ => {}
        }
    }
}

impl<'a> Run<'a> {
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
        let library = Library::default();
        let known = library.clone();
        let judge = |world: &World| SyncJudge::new(allowance(case), world.handle().git().clone(), known);
        let restart = Duration::from_millis(case.restart_millis);
        Self {
            case,
            library,
            frame: Frame::new(options, judge, story, restart, STEPS_MAX),
        }
    }

    fn live(&mut self) -> Lives {
        self.first()?;
        self.trouble()?;
        self.calm()?;
        self.arrive()?;
        self.end()
    }

    fn standing(&self) -> Standing {
        let state = self.frame.world.api().state();
        self.frame.judge().standing(&state)
    }

    fn has_arrived(&self) -> bool {
        let state = self.frame.world.api().state();
        self.frame.judge().has_arrived(&state)
    }

    /// Waits until the Application is as the newest commit says; says whether it is.
    fn wait_for_arrival(&mut self, time: Duration) -> Result<bool, Box<Violation>> {
        let until = later(self.frame.world.now(), time);
        while self.frame.world.now() < until {
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
        let _ = self.frame.world.create(SyncCase::project());
        let _ = self.frame.world.create(self.case.application());
        self.frame.schedule(&[], self.frame.begin);
        self.frame.world.start_all();
        if self.case.policy["automated"].is_null() {
            self.advance(later(self.frame.world.now(), Duration::from_secs(5)))?;
            self.sync(None, false);
        }
        if !self.wait_for_arrival(FIRST)? {
            let found = format!("{:?} {FIRST:?} after it was created", self.standing());
            self.frame
                .judge()
                .restless(self.frame.world.now(), found, "Synced and Healthy");
        }
        self.frame.verdict()
    }

    fn trouble(&mut self) -> Lives {
        let begin = self.frame.world.now();
        self.frame.begin = begin;
        self.frame.story.line(begin, "world", || "trouble begins".to_owned());
        self.frame.schedule(&self.case.faults, begin);
        for event in &self.case.events {
            self.advance(later(begin, Duration::from_millis(event.at)))?;
            self.happen(event);
            self.frame.verdict()?;
        }
        let last = self.case.events.last().map_or(0, |event| event.at);
        let faults = self.case.faults.iter().map(|fault| fault.to).max().unwrap_or(0);
        let end = (last + 40_000).max(faults).min(TROUBLE_MILLIS + 40_000);
        self.advance(later(begin, Duration::from_millis(end)))
    }

    fn push(&mut self, content: Content) {
        let handle = self.frame.world.handle();
        let commit = handle.git().push(MAIN, &content.files(), "a change");
        self.frame
            .story
            .line(self.frame.world.now(), "git", || format!("main is at {commit}"));
        self.library.add(&commit, content);
    }

    fn tip(&self) -> String {
        self.frame.world.handle().git().tip(MAIN).unwrap_or_default()
    }

    fn content(&self) -> Content {
        let content = self.library.get(&self.tip());
        content.map_or_else(|| self.case.content.clone(), |content| (*content).clone())
    }

    fn application(&self) -> Option<Arc<Value>> {
        self.frame.world.get(&SyncCase::key())
    }

    fn patch(&self, key: &Key, patch: Value) {
        let _ = self.frame.world.api().patch(SOMEBODY, key, &Patch::Merge(patch));
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
        let now = self.frame.world.now();
        self.frame.story.line(now, "—", || event.deed.to_string());
        if self.begin_deed(&event.deed, now) {
            let end = later(now, Duration::from_millis(event.lasts));
            self.frame.ends.push((end, event.deed.clone()));
        }
    }

    /// Begins a deed; says whether it is to be ended.
    fn begin_deed(&mut self, deed: &Deed, now: Timestamp) -> bool {
        let api = self.frame.world.api().clone();
        let somewhere = |kind: Kind, name: &str| Key::new(kind, DESTINATION, name);
        match deed {
            Deed::Push(change) => self.push(self.content().after(change)),
            Deed::Back(commits) => {
                let handle = self.frame.world.handle();
                if let Some(commit) = handle.git().before(&self.tip(), *commits) {
                    self.frame.story.line(now, "git", || format!("main is at {commit}"));
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
                let revision = back.and_then(|back| self.frame.world.handle().git().before(&self.tip(), back));
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
                self.frame.world.handle().git().set(*condition);
                self.frame.judge().git_trouble(Timestamp::MAX);
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
                let _ = self.frame.world.act(&somewhere(Kind::Rollout, "web"), &Verb::Abort);
            }
            Deed::Kill(replica) => self.frame.world.kill(*replica),
            Deed::Stop(replica) => self.frame.world.stop(*replica),
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

    /// Faults are over. Whatever is not as it should be by now, somebody who looks is told.
    fn calm(&mut self) -> Lives {
        let now = self.frame.world.now();
        self.calm_down();
        // A last back-off may still run.
        self.advance(later(now, VISIBLE))?;
        self.frame.judge().calm(SignedDuration::from_secs(60));
        let now = self.frame.world.now();
        if let Standing::Silent(found) = self.standing()
            && !self.has_arrived()
        {
            let found = format!("{VISIBLE:?} into calm it is {found}");
            self.frame
                .judge()
                .restless(now, found, "Synced, or a word about why not");
        }
        self.frame.verdict()
    }

    /// A person pushes a good commit; it must be reached.
    fn arrive(&mut self) -> Lives {
        for round in 0..HELP_MAX {
            let now = self.frame.world.now();
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
            self.frame
                .story
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
                self.frame.story.line(self.frame.world.now(), "—", || {
                    "user helps: syncs with prune".to_owned()
                });
                self.sync(None, true);
            }
            if self.wait_for_arrival(PATIENCE)? {
                return Ok(());
            }
        }
        let found = format!("{:?} whatever a person does", self.standing());
        self.frame
            .judge()
            .restless(self.frame.world.now(), found, "Synced and Healthy");
        self.frame.verdict()
    }

    /// C1 and S8: the end is as the commit says, and nothing more is written.
    fn end(&mut self) -> Lives {
        self.rest(QUIET, REST_MAX)?;
        self.frame.at_rest()?;
        self.silence(SILENCE)
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
