//! S1 to S8: what is written for an Application, and what its status says about it.
//!
//! The judge knows what every commit says, where the branch truly was, and every object; it never looks at what the
//! engine believed. Because a controller's view may lag, a write is right when it was right at some moment that its
//! author can have seen.

pub mod end;
pub mod facts;
mod operations;
mod writes;

use super::{
    Allowance, CONTROLLERS, Look, Rule, Verdicts, Violation, Witness, controller,
    scene::{Scene, Scenes, Subject},
};
use crate::{
    facts::text,
    sync::{
        case::{NAME, SyncCase},
        content::{self, Content, Library},
    },
};
use facts::Op;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use tidegate::sim::{
    api::{
        faults::{RequestInfo, Verb},
        kinds::{Key, Kind},
        observe::Commit,
        state::State,
    },
    models::git::GitServer,
};

/// Past states remembered of one thing.
const REMEMBERED_MAX: usize = 64;

/// A time in which an object was well and did not change.
#[derive(Clone, Debug)]
struct Spell {
    value: Arc<Value>,
    until: Option<Timestamp>,
}

/// States of one thing, newest last: from when on, and what.
type Past<T> = VecDeque<(Timestamp, T)>;

/// The commit that must not be synced without being asked, since when, and whether somebody rolled it back.
#[derive(Clone, Debug)]
struct Held {
    revision: String,
    since: Timestamp,
}

/// Judges one Application.
#[derive(Debug)]
pub struct SyncJudge {
    allowance: Allowance,
    git: GitServer,
    library: Library,
    controller: controller::Rules,
    verdicts: Verdicts,
    subject: Subject,
    scenes: Scenes,
    ops: Past<Option<Op>>,
    apps: Past<Arc<Value>>,
    projects: Past<Arc<Value>>,
    spells: BTreeMap<Key, VecDeque<Spell>>,
    /// When somebody else last wrote an object.
    meddled: BTreeMap<Key, Timestamp>,
    /// When Jobs ended well, by name.
    hooks_done: BTreeMap<String, Timestamp>,
    /// What an operation deleted so far, and how much there was when it began.
    pruned: BTreeMap<String, (usize, BTreeSet<Key>)>,
    held: Option<Held>,
    aborted_since: Option<Timestamp>,
    /// When an operation to a commit first began.
    tried: BTreeMap<String, Timestamp>,
    /// Since when an autoscaler chose the replicas of these.
    scaled: BTreeMap<Key, Timestamp>,
    /// Of those, the ones whose replicas a person wrote afterwards: the field is the person's then.
    rescaled: BTreeSet<Key>,
    /// Git was not well until then.
    git_trouble: Option<Timestamp>,
    /// An Application's policy or project changed then.
    policy_since: Option<Timestamp>,
}

impl SyncJudge {
    /// A judge who knows the repository.
    pub fn new(allowance: Allowance, git: GitServer, library: Library) -> Self {
        let subject = Subject {
            namespace: content::DESTINATION.to_owned(),
            name: "web".to_owned(),
            stable_service: "web-stable".to_owned(),
            canary_service: "web-canary".to_owned(),
            ingress: "web".to_owned(),
            route: "web".to_owned(),
        };
        Self {
            scenes: Scenes::remembering(allowance.staleness),
            allowance,
            git,
            library,
            controller: controller::Rules::default(),
            verdicts: Verdicts::default(),
            subject,
            ops: VecDeque::new(),
            apps: VecDeque::new(),
            projects: VecDeque::new(),
            spells: BTreeMap::new(),
            meddled: BTreeMap::new(),
            hooks_done: BTreeMap::new(),
            pruned: BTreeMap::new(),
            held: None,
            aborted_since: None,
            tried: BTreeMap::new(),
            scaled: BTreeMap::new(),
            rescaled: BTreeSet::new(),
            git_trouble: None,
            policy_since: None,
        }
    }

    /// Git is not well at this moment, or stops being so.
    pub fn git_trouble(&mut self, at: Timestamp) {
        self.git_trouble = Some(at);
    }

    fn blame(&mut self, rule: Rule, at: Timestamp, found: impl Into<String>, expected: impl Into<String>) {
        self.blame_for(rule, at, &SyncCase::key().to_string(), found, expected);
    }

    fn blame_for(
        &mut self,
        rule: Rule,
        at: Timestamp,
        object: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.verdicts.0.push(Violation {
            rule,
            at,
            object: object.to_owned(),
            found: found.into(),
            expected: expected.into(),
        });
    }

    /// The oldest moment that a write at `at` may rest on.
    fn horizon(&self, at: Timestamp) -> Timestamp {
        at.saturating_sub(self.allowance.staleness).unwrap_or(at)
    }

    /// Operations that were under way at some moment its author can have seen.
    fn running(&self, at: Timestamp) -> Vec<Op> {
        let seen = within(&self.ops, self.horizon(at));
        seen.filter_map(|op| op.clone()).filter(Op::is_running).collect()
    }

    fn content(&self, revision: &str) -> Option<Arc<Content>> {
        self.library.get(revision)
    }

    /// C5 by the same rule as for Rollouts.
    fn one_writer(&mut self, commit: &Commit, state: &State) {
        let scene = Arc::new(Scene::default());
        let look = Look {
            commit,
            state,
            before: &scene,
            after: &scene,
            scenes: &self.scenes,
            subject: &self.subject,
            allowance: self.allowance,
            disturbed_until: None,
        };
        self.controller.commit(&look, &mut self.verdicts);
    }

    fn object_changed(&mut self, commit: &Commit, is_ours: bool) {
        let key = &commit.key;
        if !is_ours {
            self.meddled.insert(key.clone(), commit.at);
        }
        if commit.subresource == "scale" {
            self.scaled.entry(key.clone()).or_insert(commit.at);
            self.rescaled.remove(key);
        } else if !is_ours && replicas(commit.before.as_deref()) != replicas(commit.after.as_deref()) {
            self.rescaled.insert(key.clone());
        }
        let spells = self.spells.entry(key.clone()).or_default();
        if let Some(last) = spells.back_mut()
            && last.until.is_none()
        {
            last.until = Some(commit.at);
        }
        let Some(after) = &commit.after else {
            self.scaled.remove(key);
            self.rescaled.remove(key);
            return;
        };
        if facts::is_healthy(key, after) {
            spells.push_back(Spell {
                value: Arc::clone(after),
                until: None,
            });
            if spells.len() > REMEMBERED_MAX {
                spells.pop_front();
            }
            if key.kind == Kind::Job {
                self.hooks_done.insert(key.name.clone(), commit.at);
            }
        }
        if key.kind == Kind::Rollout {
            let is_aborted = after["status"]["abort"] == true;
            self.aborted_since = match self.aborted_since {
                Some(since) if is_aborted => Some(since),
                _ => is_aborted.then_some(commit.at),
            };
        }
    }
}

impl Witness for SyncJudge {
    fn request(&mut self, request: &RequestInfo<'_>, at: Timestamp, state: &State) {
        if !request.actor.starts_with(CONTROLLERS) || !request.verb.is_write() || request.dry_run {
            return;
        }
        self.controller.request(request, at, state, &mut self.verdicts);
        let Some(kind) = request.kind else { return };
        if kind == Kind::Application
            && matches!(request.verb, Verb::Patch | Verb::Apply | Verb::Update)
            && text(request.body, "/metadata/resourceVersion").is_empty()
        {
            self.blame(
                Rule::C3,
                at,
                "a status on any version",
                "the resourceVersion it was decided on",
            );
        }
        let is_sync = facts::KINDS.contains(&kind) && !facts::tracking_id(request.body).is_empty();
        if is_sync && matches!(request.verb, Verb::Apply | Verb::Create | Verb::Update) {
            let key = Key::new(kind, content::DESTINATION, text(request.body, "/metadata/name"));
            self.applies(&key, request.body, at);
        }
    }

    fn commit(&mut self, commit: &Commit, state: &State) {
        self.one_writer(commit, state);
        let is_ours = commit.actor.starts_with(CONTROLLERS);
        match commit.key.kind {
            Kind::Application if commit.key.name == NAME => self.application_changed(commit, state, is_ours),
            Kind::AppProject => {
                if let Some(after) = &commit.after {
                    remember(&mut self.projects, commit.at, Arc::clone(after));
                    self.policy_since = Some(commit.at);
                }
            }
            kind if facts::KINDS.contains(&kind) => {
                if is_ours {
                    self.object_written(commit);
                }
                self.object_changed(commit, is_ours);
            }
            _ => {}
        }
    }

    fn flow(&mut self, at: Timestamp, state: &State) {
        self.newest_first(at, state);
    }

    fn at_rest(&mut self, at: Timestamp, state: &State) {
        self.arrived_well(at, state);
    }

    fn restless(&mut self, at: Timestamp, found: String, expected: &str) {
        self.blame(Rule::C1, at, found, expected);
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

fn remember<T>(past: &mut Past<T>, at: Timestamp, value: T) {
    past.push_back((at, value));
    if past.len() > REMEMBERED_MAX {
        past.pop_front();
    }
}

/// States that held at some moment since `horizon`.
fn within<T>(past: &Past<T>, horizon: Timestamp) -> impl Iterator<Item = &T> {
    let older = past.iter().rposition(|(since, _)| *since <= horizon).unwrap_or(0);
    past.iter().skip(older).map(|(_, value)| value)
}

fn replicas(object: Option<&Value>) -> Option<&Value> {
    object?.pointer("/spec/replicas")
}
