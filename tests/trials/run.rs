//! One run of a case: a first deployment in peace, a time of trouble, and calm, in which everything must end well.

use crate::{
    case::{self, Case, Family, NAME, NAMESPACE, TROUBLE_MILLIS},
    facts::{later, text, time},
    faults::{
        Flaw,
        deeds::{Danger, Deed, Event, Side},
    },
    features::Feature,
    frame::{Failure, Frame, Lives, Player, Statistics},
    oracle::{Allowance, Judge, Witness, scene::Scene},
    story::Story,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::time::Duration;
use tidegate::{
    json::At as _,
    k8s::lease::LEASE_NAME,
    sim::{
        api::{
            self, Change, Deletion,
            kinds::{Key, Kind},
            state::State,
        },
        models::{Timing, data_plane::Entry, people::Verb, truth::Source},
        replica::{self, Seams},
        world::{Options, World},
    },
};

/// Time for the first deployment.
const DEPLOYMENT: Duration = Duration::from_secs(60);
/// Time for the pods of a Deployment that was there before.
const START: Duration = Duration::from_secs(15);
/// When no controller has asked for a write for this long, the world rests. Longer than any delay of a case.
const QUIET: Duration = Duration::from_secs(80);
/// Within this time of calm the world must rest.
const REST_MAX: Duration = Duration::from_secs(1_200);
/// For this long after the end nothing may be written: longer than a resync.
const SILENCE: Duration = Duration::from_secs(960);
/// The same where replicas renew a Lease, which takes its time.
const SILENCE_ELECTED: Duration = Duration::from_secs(180);
/// A person helps this often before it counts as hopeless.
const HELP_MAX: usize = 24;
/// After this a person sees what became of a change.
const SEEN: Duration = Duration::from_secs(1);
/// Things that happen in one run; protects from a world that never lets time pass.
const STEPS_MAX: u64 = 10_000;
/// Who writes what is no part of the command line.
const SOMEBODY: &str = "somebody";

/// Runs a case.
pub fn run(case: &Case, seams: &Seams) -> Result<Statistics, Box<Failure>> {
    play(case, seams, Story::default())
}

/// Runs a case again, to tell what happened.
pub fn tell(case: &Case, seams: &Seams) -> Result<Statistics, Box<Failure>> {
    play(case, seams, Story::told())
}

fn play(case: &Case, seams: &Seams, story: Story) -> Result<Statistics, Box<Failure>> {
    let mut run = Run::new(case, seams, story);
    let result = run.live();
    run.frame.conclude(result)
}

struct Run<'a> {
    case: &'a Case,
    frame: Frame<Judge, Deed>,
    skew: Vec<i64>,
}

impl Player for Run<'_> {
    type Judge = Judge;
    type Deed = Deed;

    fn frame(&mut self) -> &mut Frame<Judge, Deed> {
        &mut self.frame
    }

    fn undo(&mut self, deed: &Deed) {
        let now = self.frame.world.now();
        match deed {
            Deed::Missing(kind, name) => {
                if let Some(object) = self.case.original(*kind, name) {
                    let _ = self.frame.world.api().create(SOMEBODY, object);
                    self.frame.judge().disturb(now);
                }
            }
            Deed::Metrics(_) => self.frame.world.truth(|truth| truth.source = Source::Up),
            Deed::DataPlane(_) => self.frame.world.handle().data_plane_delay(Timing::default().data_plane),
            _ => {}
        }
    }
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, seams: &Seams, story: Story) -> Self {
        let options = Options {
            seed: case.seed,
            replicas: case.controllers,
            args: Some(if case.controllers > 1 {
                Options::args_elected()
            } else {
                Options::args_alone()
            }),
            timing: Timing::default(),
            api: api::Options {
                show_managed_fields: false,
                ..api::Options::default()
            },
            seams: seams.clone(),
            ..Options::default()
        };
        let judge = |world: &World| Judge::new(case.subject(), allowance(case), world.traffic().clone());
        let restart = Duration::from_millis(case.restart_millis);
        Self {
            case,
            skew: vec![0; case.controllers],
            frame: Frame::new(options, judge, story, restart, STEPS_MAX),
        }
    }

    fn live(&mut self) -> Lives {
        self.deploy()?;
        self.trouble()?;
        self.calm()?;
        self.end_well()
    }

    fn rollout(&self) -> Key {
        Key::new(Kind::Rollout, NAMESPACE, NAME)
    }

    /// The first deployment, in peace.
    fn deploy(&mut self) -> Lives {
        for object in self.case.surroundings() {
            let _ = self.frame.world.create(object);
        }
        let moves = self.case.features.contains(&Feature::Workload);
        if !moves {
            let _ = self.frame.world.create(self.case.rollout.clone());
        }
        let entry = match self.case.family {
            Family::Basic => Entry::Service {
                namespace: NAMESPACE.to_owned(),
                name: "web-root".to_owned(),
            },
            Family::Nginx => Entry::Ingress {
                namespace: NAMESPACE.to_owned(),
                name: NAME.to_owned(),
            },
            Family::Gateway => Entry::HttpRoute {
                namespace: NAMESPACE.to_owned(),
                name: NAME.to_owned(),
            },
            Family::BlueGreen => Entry::Service {
                namespace: NAMESPACE.to_owned(),
                name: "web-stable".to_owned(),
            },
        };
        self.frame.world.enter_through(entry);
        self.frame.schedule(&[], self.frame.begin);
        self.frame.world.start_all();
        if moves {
            // The Deployment's pods are there before.
            let until = later(self.frame.world.now(), START);
            self.advance(until)?;
            let _ = self.frame.world.create(self.case.rollout.clone());
        }
        let until = later(self.frame.world.now(), DEPLOYMENT);
        while self.frame.world.now() < until && self.phase() != "Healthy" {
            self.step(until)?;
        }
        if self.phase() != "Healthy" {
            let now = self.frame.world.now();
            let found = format!("{} {DEPLOYMENT:?} after the first deployment", self.phase());
            self.frame.judge().restless(now, found, "Healthy");
        }
        self.frame.verdict()
    }

    fn phase(&self) -> String {
        self.frame
            .world
            .get(&self.rollout())
            .map_or_else(String::new, |rollout| text(&rollout, "/status/phase").to_owned())
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
        let end = (last + 30_000).max(faults).min(TROUBLE_MILLIS + 30_000);
        self.advance(later(begin, Duration::from_millis(end)))
    }

    fn happen(&mut self, event: &Event) {
        let now = self.frame.world.now();
        self.frame.story.line(now, "—", || event.deed.to_string());
        let lasts = Duration::from_millis(event.lasts);
        match event.deed.danger() {
            Danger::None => {}
            Danger::Passing => self.frame.judge().disturb(later(now, lasts)),
            Danger::Lasting => self.frame.judge().disturb(Timestamp::MAX),
        }
        self.begin_deed(&event.deed, now, lasts);
    }

    fn begin_deed(&mut self, deed: &Deed, now: Timestamp, lasts: Duration) {
        let api = self.frame.world.api().clone();
        let rollout = self.rollout();
        match deed {
            Deed::Act(verb) => {
                let _ = self.frame.world.act(&rollout, verb);
            }
            Deed::Autoscale(replicas) => {
                let _ = api.scale("horizontal-pod-autoscaler", &rollout, *replicas);
            }
            Deed::DeleteSet(side) => {
                if let Some(name) = self.set(*side) {
                    let _ = api.delete(
                        SOMEBODY,
                        &Key::new(Kind::ReplicaSet, NAMESPACE, name),
                        &Deletion::default(),
                    );
                }
            }
            Deed::Missing(kind, name) => {
                let _ = api.delete(SOMEBODY, &Key::new(*kind, NAMESPACE, *name), &Deletion::default());
                self.frame.ends.push((later(now, lasts), deed.clone()));
            }
            Deed::Recreate => {
                let live = self.frame.world.get(&rollout);
                let _ = api.delete(SOMEBODY, &rollout, &Deletion::default());
                let mut object = self.case.rollout.clone();
                if let Some(spec) = live.and_then(|live| live.get("spec").cloned())
                    && let Some(fields) = object.as_object_mut()
                {
                    fields.insert("spec".to_owned(), spec);
                }
                let _ = api.create(SOMEBODY, object);
            }
            Deed::Restart(seconds) => {
                let at = later(now, Duration::from_secs(*seconds));
                let patch = json!({"spec": {"restartAt": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}});
                let _ = self.frame.world.act(&rollout, &Verb::Patch(patch));
            }
            Deed::EditWeight(weight) if self.case.family == Family::Gateway => self.edit_route(*weight),
            Deed::EditWeight(weight) => {
                let key = Key::new(Kind::Ingress, NAMESPACE, self.case.subject().canary_ingress());
                let patch = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": weight.to_string()}}});
                let _ = api.patch(SOMEBODY, &key, &Change::Merge(patch));
            }
            Deed::Annotate(kind, name) => self.annotate(*kind, name),
            Deed::PodsDown(side, count) => {
                let pods = self.pods(*side);
                let until = later(now, lasts);
                self.frame
                    .world
                    .truth(|truth| truth.down.extend(pods.into_iter().take(*count).map(|pod| (pod, until))));
            }
            Deed::Errors(side) => {
                if let Some(hash) = self.hash(*side) {
                    self.frame
                        .world
                        .truth(|truth| truth.versions.entry(hash).or_default().errors = 0.6);
                }
            }
            Deed::Metrics(source) => {
                self.frame.world.truth(|truth| truth.source = *source);
                self.frame.ends.push((later(now, lasts), deed.clone()));
            }
            Deed::DataPlane(range) => {
                self.frame.world.handle().data_plane_delay(*range);
                self.frame.ends.push((later(now, lasts), deed.clone()));
            }
            Deed::Jump(replica, millis) => self.jump(*replica, *millis),
            Deed::StealLease => {
                let lease = Key::new(Kind::Lease, replica::NAMESPACE, LEASE_NAME);
                let patch = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}});
                let _ = api.patch(SOMEBODY, &lease, &Change::Merge(patch));
            }
            Deed::Kill(replica) => self.frame.world.kill(*replica),
            Deed::Stop(replica) => self.frame.world.stop(*replica),
            Deed::BreakWatches(kind) => api.break_watches(*kind),
            Deed::Compact => {
                api.compact();
                api.break_watches(None);
            }
        }
    }

    fn jump(&mut self, replica: usize, millis: i64) {
        // Together no more than half a second from the truth.
        let Some(skew) = self.skew.get_mut(replica) else { return };
        let wanted = (*skew + millis).clamp(-500, 500);
        let by = wanted - *skew;
        *skew = wanted;
        self.frame.world.jump(replica, SignedDuration::from_millis(by));
    }

    /// Writes a weight of the canary into every rule of the route that has one.
    fn edit_route(&mut self, weight: u32) {
        let key = Key::new(Kind::HTTPRoute, NAMESPACE, NAME);
        let Some(live) = self.frame.world.get(&key) else { return };
        let mut rules = live["spec"]["rules"].clone();
        let rules_of = rules.as_array_mut().into_iter().flatten();
        let backends = rules_of.filter_map(|rule| rule.get_mut("backendRefs")?.as_array_mut());
        for backend in backends.flatten() {
            match backend["name"].as_str() {
                Some("web-canary") => backend["weight"] = json!(weight),
                Some("web-stable") => backend["weight"] = json!(100 - weight.min(100)),
                _ => {}
            }
        }
        let patch = Change::Merge(json!({"spec": {"rules": rules}}));
        let _ = self.frame.world.api().patch(SOMEBODY, &key, &patch);
    }

    fn annotate(&mut self, kind: Kind, name: &str) {
        let name = match name {
            "" => self.set(Side::New).unwrap_or_default(),
            name => name.to_owned(),
        };
        let note = self.frame.world.now().to_string();
        let patch = json!({"metadata": {"annotations": {"team.example.com/note": note}}});
        let _ = self
            .frame
            .world
            .api()
            .patch(SOMEBODY, &Key::new(kind, NAMESPACE, name), &Change::Merge(patch));
    }

    fn hash(&self, side: Side) -> Option<String> {
        let rollout = self.frame.world.get(&self.rollout())?;
        let field = match side {
            Side::Stable => "/status/stableRS",
            Side::New => "/status/currentPodHash",
        };
        Some(text(&rollout, field).to_owned()).filter(|hash| !hash.is_empty())
    }

    fn set(&self, side: Side) -> Option<String> {
        Some(format!("{NAME}-{}", self.hash(side)?))
    }

    fn pods(&self, side: Side) -> Vec<String> {
        let hash = self.hash(side).unwrap_or_default();
        let state = self.frame.world.api().state();
        let pods = state.labelled(Kind::Pod, NAMESPACE, case::HASH, &hash);
        pods.into_iter()
            .map(|pod| text(pod, "/metadata/name").to_owned())
            .collect()
    }

    /// Faults are over; what is missing comes back.
    fn calm(&mut self) -> Lives {
        self.calm_down();
        self.frame.world.truth(|truth| {
            truth.down.clear();
            truth.versions.clear();
        });
        // A last back-off may still run.
        self.rest(QUIET, REST_MAX)?;
        let reaction = SignedDuration::from_secs(60);
        self.frame.judge().calm(reaction);
        self.settled()
    }

    /// Judges a world at rest: it waits for a person, or is where it should be.
    fn settled(&mut self) -> Lives {
        let now = self.frame.world.now();
        {
            let api = self.frame.world.api().clone();
            let state = api.state();
            let mut judge = self.frame.judge();
            judge.at_rest(now, &state);
            let scene = Scene::read(&self.case.subject(), &state);
            let until = time(scene.status(), "/waitingFor/until");
            let image = text(scene.template(), "/spec/containers/0/image");
            let stuck = scene.recorded("phase") == "Progressing"
                && until.is_none_or(|until| until <= now)
                && !image.contains("-crash");
            let lost = scene.of(scene.recorded("stableRS")).next().is_none();
            if stuck && !lost && !aborts_into_crash(&scene, &state) {
                let found = format!(
                    "rests as Progressing {:?}, {}",
                    scene.recorded("message"),
                    scene.status()["waitingFor"]
                );
                judge.restless(now, found, "Healthy, or a person to be waited for");
            }
        }
        self.frame.verdict()
    }

    /// A person lets everything go on; it must end Healthy, and then nothing more is written.
    fn end_well(&mut self) -> Lives {
        for round in 0..HELP_MAX {
            if self.phase() == "Healthy" && round > 0 {
                let time = if self.case.controllers > 1 {
                    SILENCE_ELECTED
                } else {
                    SILENCE
                };
                return self.silence(time);
            }
            self.help(round)?;
            self.rest(QUIET, REST_MAX)?;
            self.settled()?;
        }
        let now = self.frame.world.now();
        let found = format!("{} whatever a person does", self.phase());
        self.frame.judge().restless(now, found, "Healthy");
        self.frame.verdict()
    }

    fn help(&mut self, round: usize) -> Lives {
        let rollout = self.rollout();
        let phase = self.phase();
        let now = self.frame.world.now();
        let good = Verb::SetImage {
            container: "*".to_owned(),
            image: format!("shop:v{}", 90 + round),
        };
        let mut verbs = vec![Verb::Resume];
        let object = self.frame.world.get(&rollout);
        let replicas = object
            .as_deref()
            .and_then(|rollout| rollout.at("/spec/replicas")?.as_i64())
            .unwrap_or(1);
        if replicas == 0 {
            verbs.push(Verb::Scale(2));
        }
        match phase.as_str() {
            "Healthy" => {}
            "Paused" => verbs.push(Verb::Promote),
            _ => verbs.push(good),
        }
        for verb in verbs {
            self.frame.story.line(now, "—", || format!("user helps: {verb}"));
            let _ = self.frame.world.act(&rollout, &verb);
        }
        if round > 4 {
            // Where nothing is left to go back to, evidence cannot be had. A promotion is of what is being rolled out:
            // whoever asks for it has seen the new revision.
            self.advance(later(now, SEEN))?;
            self.frame.story.line(self.frame.world.now(), "—", || {
                "user helps: promote --full".to_owned()
            });
            let _ = self.frame.world.act(&rollout, &Verb::PromoteFull);
        }
        Ok(())
    }
}

/// Whether the pods that an aborted or restored update should come back to never become ready.
fn aborts_into_crash(scene: &Scene, state: &State) -> bool {
    let uid = scene
        .rollout
        .as_deref()
        .map_or("", |rollout| text(rollout, "/metadata/uid"));
    state.owned_by(uid).into_iter().any(|(key, set)| {
        key.kind == Kind::ReplicaSet
            && text(set, "/spec/template/spec/containers/0/image").contains("-crash")
            && set
                .at("/spec/replicas")
                .and_then(serde_json::Value::as_i64)
                .unwrap_or(0)
                > 0
    })
}

/// What must be allowed for in a case.
fn allowance(case: &Case) -> Allowance {
    let millis: u64 = case.faults.iter().map(|fault| fault.flaw.staleness()).sum();
    let watches = case
        .events
        .iter()
        .any(|event| matches!(event.deed, Deed::BreakWatches(_) | Deed::Compact));
    let replicas = case
        .events
        .iter()
        .any(|event| matches!(event.deed, Deed::Kill(_) | Deed::Stop(_) | Deed::StealLease));
    let impeded = case.faults.iter().any(|fault| fault.flaw.impedes()) || replicas || watches || case.controllers > 1;
    let seconds = |seconds| SignedDuration::from_secs(seconds);
    let staleness = 500 + millis + if watches { 8_000 } else { 0 };
    let refused = case.faults.iter().any(|fault| matches!(fault.flaw, Flaw::Refuse(_)));
    Allowance {
        staleness: SignedDuration::from_millis(i64::try_from(staleness).unwrap_or(i64::MAX)),
        recovery: seconds(if refused {
            400
        } else if impeded {
            200
        } else {
            90
        }),
        skew: seconds(1),
        theft: seconds(8),
        reaction: (!impeded).then(|| seconds(60)),
    }
}
