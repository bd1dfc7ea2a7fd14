//! The promises of `docs/guarantees.md` as judgements on objects, pods and requests as they truly are.
//!
//! A [`Judge`] is told of every request of a controller, of every accepted write, and of where requests go; at the end it
//! is asked whether what came to rest is what was wanted. It never looks at what a controller believed.

pub mod controller;
pub mod decisions;
pub mod restart;
pub mod roles;
pub mod rollback;
pub mod scene;
pub mod sync;
pub mod traffic;
pub mod workload;

use jiff::{SignedDuration, Timestamp};
use scene::{Scene, Scenes, Subject};
use std::{fmt, sync::Arc};
use tidegate::sim::{
    api::{faults::RequestInfo, kinds::Kind, observe::Commit, state::State},
    models::data_plane::Traffic,
};

/// Actors of the controllers' replicas begin with this.
pub const CONTROLLERS: &str = "tidegate-";

macro_rules! rules {
    ($($name:ident: $text:literal;)*) => {
        /// A promise (see `docs/guarantees.md`).
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Rule {
            $(#[doc = $text] $name,)*
        }

        impl Rule {
            /// What it promises, and so why a breach matters.
            pub fn reason(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    T1: "weights of all destinations add up to the total in every write";
    T2: "no weight or Service leads requests to more than its ready pods can take";
    T3: "pods go only after the data plane sends them nothing";
    T4: "an abort leaves the stable pods alone and requests where healthy pods are";
    T5: "after an abort the canary's weight never rises, and reaches 0";
    T6: "no more pods than the surge, no fewer available ones than may be missing";
    T7: "Services select exactly the recorded hashes";
    T8: "what others own stays as it is";
    D1: "a gate is passed only by evidence about this version and this step";
    D2: "at most one live analysis for each gate";
    D3: "steps are passed one by one and repeated only on request; a crash repeats nothing";
    D4: "what was begun is derived from objects, not from memory";
    D5: "the same pod template is the same revision";
    D6: "whenever nothing moves, the status names what is waited for, and every wait ends";
    S1: "an operation is of one commit, and never goes back without being asked";
    S2: "a new commit goes before the retries of an older one";
    S3: "only what is tracked and no longer wanted is deleted, and never too much";
    S4: "an object is written only when earlier waves and hooks are well, as applied";
    S5: "a commit that was rolled back or aborted is not synced again by itself";
    S6: "self-healing leaves fields that others own alone";
    S7: "nothing is written beyond the project's limits";
    S8: "what is shown as Synced is what was applied";
    C1: "with inputs fixed and faults over, the desired state is reached and nothing more is written";
    C2: "events that come late, twice or never change nothing in the end";
    C3: "what takes away carries the version it was decided on";
    C4: "a start after a crash ends in the same state";
    C5: "only the holder of the lease writes";
    C6: "nothing in a specification is ignored in silence";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When.
    pub at: Timestamp,
    /// At which object.
    pub object: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            object,
            found,
            expected,
            ..
        } = self;
        write!(
            f,
            "{rule} at {object}: found {found}; expected {expected} ({})",
            rule.reason()
        )
    }
}

/// How far a controller may be behind the truth without fault of its own.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// From a change until the last write that was decided without knowing of it.
    pub staleness: SignedDuration,
    /// How long after a disturbance requests may still fail because of it.
    pub recovery: SignedDuration,
    /// Wall clocks of controllers may differ from the true time by this much.
    pub skew: SignedDuration,
    /// A replica notices this late that somebody took the Lease against the rules.
    pub theft: SignedDuration,
    /// Within this time a controller does what is to be done; absent while nobody may be there to do it.
    pub reaction: Option<SignedDuration>,
}

/// What a rule looks at.
pub struct Look<'a> {
    /// The write.
    pub commit: &'a Commit,
    /// The objects after it.
    pub state: &'a State,
    /// The facts before it.
    pub before: &'a Scene,
    /// The facts after it.
    pub after: &'a Scene,
    /// The last moments before it.
    pub scenes: &'a Scenes,
    /// Who is judged.
    pub subject: &'a Subject,
    /// What is allowed for.
    pub allowance: Allowance,
    /// Until then the world suffers from something that endangers requests.
    pub disturbed_until: Option<Timestamp>,
}

impl Look<'_> {
    /// Whether a controller wrote it.
    pub fn is_ours(&self) -> bool {
        self.commit.actor.starts_with(CONTROLLERS)
    }

    /// Whether something endangers requests.
    pub fn is_disturbed(&self) -> bool {
        self.disturbed_until.is_some_and(|until| self.commit.at < until)
    }
}

/// What rules say.
#[derive(Debug, Default)]
pub struct Verdicts(Vec<Violation>);

impl Verdicts {
    /// Notes a violation unless `holds`.
    pub fn ensure(&mut self, holds: bool, violation: impl FnOnce() -> Violation) {
        if !holds {
            self.0.push(violation());
        }
    }
}

/// A violation at the object of a write.
pub fn at_write(rule: Rule, look: &Look<'_>, found: impl Into<String>, expected: impl Into<String>) -> Violation {
    Violation {
        rule,
        at: look.commit.at,
        object: look.commit.key.to_string(),
        found: found.into(),
        expected: expected.into(),
    }
}

/// Who judges a world: hears of every request before it is served, of every write after it was accepted, and looks at
/// what flows in between.
pub trait Witness {
    /// Judges a request.
    fn request(&mut self, request: &RequestInfo<'_>, at: Timestamp, state: &State);

    /// Judges an accepted write.
    fn commit(&mut self, commit: &Commit, state: &State);

    /// Judges what is so at a moment, whoever wrote it.
    fn flow(&mut self, at: Timestamp, state: &State);

    /// Judges what came to rest once faults are over.
    fn at_rest(&mut self, at: Timestamp, state: &State);

    /// Notes that the world runs in circles, did not come to rest, or wrote after it had.
    fn restless(&mut self, at: Timestamp, found: String, expected: &str);

    /// Faults are over: from now on a controller must react within this time.
    fn calm(&mut self, reaction: SignedDuration);

    /// Writes that controllers asked for so far, and the last of them; what concerns the Lease is left out.
    fn writes(&self) -> (u64, &str);

    /// The first promise that was broken so far.
    fn violation(&self) -> Option<&Violation>;
}

/// Judges one Rollout.
#[derive(Debug)]
pub struct Judge {
    subject: Subject,
    allowance: Allowance,
    scenes: Scenes,
    traffic: traffic::Rules,
    decisions: decisions::Rules,
    controller: controller::Rules,
    restart: restart::Rules,
    verdicts: Verdicts,
    disturbed_until: Option<Timestamp>,
}

impl Judge {
    /// A judge over `subject`, who may look at the data plane.
    pub fn new(subject: Subject, allowance: Allowance, traffic: Traffic) -> Self {
        Self {
            scenes: Scenes::remembering(allowance.staleness),
            traffic: traffic::Rules::new(traffic.clone()),
            decisions: decisions::Rules::new(traffic),
            controller: controller::Rules::default(),
            restart: restart::Rules::default(),
            verdicts: Verdicts::default(),
            disturbed_until: None,
            subject,
            allowance,
        }
    }

    /// Something happens that endangers requests whatever a controller does: pods die, a Service is deleted.
    pub fn disturb(&mut self, at: Timestamp) {
        let until = at.saturating_add(self.allowance.recovery).unwrap_or(Timestamp::MAX);
        self.disturbed_until = self.disturbed_until.max(Some(until));
    }
}

impl Witness for Judge {
    fn request(&mut self, request: &RequestInfo<'_>, at: Timestamp, state: &State) {
        if request.actor.starts_with(CONTROLLERS) && request.verb.is_write() && !request.dry_run {
            self.controller.request(request, at, state, &mut self.verdicts);
        }
    }

    fn commit(&mut self, commit: &Commit, state: &State) {
        let concerns = matches!(
            commit.key.kind,
            Kind::Rollout
                | Kind::ReplicaSet
                | Kind::Pod
                | Kind::Service
                | Kind::Ingress
                | Kind::HTTPRoute
                | Kind::Deployment
        );
        let before = self.scenes.now();
        let after = if concerns {
            let scene = Scene::read(&self.subject, state);
            self.scenes.push(commit.at, scene);
            self.scenes.now()
        } else {
            Arc::clone(&before)
        };
        let look = Look {
            commit,
            state,
            before: &before,
            after: &after,
            scenes: &self.scenes,
            subject: &self.subject,
            allowance: self.allowance,
            disturbed_until: self.disturbed_until,
        };
        self.traffic.commit(&look, &mut self.verdicts);
        self.decisions.commit(&look, &mut self.verdicts);
        self.controller.commit(&look, &mut self.verdicts);
        workload::commit(&look, &mut self.verdicts);
        if self.restart.commit(&look, &mut self.verdicts) {
            self.disturb(commit.at);
        }
    }

    fn flow(&mut self, at: Timestamp, _: &State) {
        let scene = self.scenes.now();
        let disturbed = self.disturbed_until.is_some_and(|until| at < until);
        self.traffic.flow(at, &scene, disturbed, &mut self.verdicts);
        if let Some(reaction) = self.allowance.reaction {
            self.traffic
                .abort_takes_effect(at, &scene, reaction, &mut self.verdicts);
            self.decisions
                .silence(at, &self.subject, &scene, reaction, &mut self.verdicts);
        }
    }

    fn at_rest(&mut self, at: Timestamp, state: &State) {
        let scene = Scene::read(&self.subject, state);
        traffic::at_rest(at, &self.subject, &scene, &mut self.verdicts);
        decisions::at_rest(at, &self.subject, &scene, &mut self.verdicts);
        controller::at_rest(at, &self.subject, &scene, state, &mut self.verdicts);
        self.restart
            .at_rest(at, &self.subject, &scene, state, &mut self.verdicts);
        workload::at_rest(at, &self.subject, &scene, &mut self.verdicts);
        roles::at_rest(at, &self.subject, &scene, state, &mut self.verdicts);
    }

    fn restless(&mut self, at: Timestamp, found: String, expected: &str) {
        self.verdicts.0.push(Violation {
            rule: Rule::C1,
            at,
            object: self.subject.rollout().to_string(),
            found,
            expected: expected.to_owned(),
        });
    }

    fn calm(&mut self, reaction: SignedDuration) {
        self.allowance.reaction = Some(reaction);
    }

    fn writes(&self) -> (u64, &str) {
        (self.controller.writes, &self.controller.last)
    }

    fn violation(&self) -> Option<&Violation> {
        self.verdicts.0.first()
    }
}
