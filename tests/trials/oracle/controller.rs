//! C1, C3 and C5: rest, versions on what takes away, and one writer.

use super::{
    CONTROLLERS, Look, Rule, Verdicts, Violation, at_write,
    scene::{Scene, Set, Subject, label},
};
use crate::facts::{self, text};
use jiff::Timestamp;
use serde_json::Value;
use tidegate::{
    api::well_known,
    k8s::lease::LEASE_NAME,
    sim::{
        api::{
            faults::{RequestInfo, Verb},
            kinds::{Key, Kind},
            state::State,
        },
        replica::NAMESPACE,
    },
};

/// Whether a Deployment carries the mark of a Rollout that takes its pods away.
fn is_scaled_down(deployment: &Value) -> bool {
    !label(deployment, well_known::SCALED_DOWN).is_empty()
}

/// What is remembered between writes.
#[derive(Debug, Default)]
pub struct Rules {
    /// Writes that controllers asked for, those about the Lease left out; also those that came to nothing.
    pub writes: u64,
    /// The last of them.
    pub last: String,
    /// When somebody else took the Lease without asking.
    stolen: Option<Timestamp>,
}

impl Rules {
    /// Judges a controller's request to write: C3.
    pub fn request(&mut self, request: &RequestInfo<'_>, at: Timestamp, state: &State, verdicts: &mut Verdicts) {
        let Some(kind) = request.kind.filter(|kind| *kind != Kind::Lease) else {
            return;
        };
        self.writes += 1;
        self.last = format!("{:?} {kind} {}", request.verb, request.name);
        let key = Key::new(kind, request.namespace, request.name);
        let Some(live) = state.get(&key) else { return };
        let pinned = |pointer: &str| !text(request.body, pointer).is_empty();
        let broken = |found: &str| Violation {
            rule: Rule::C3,
            at,
            object: key.to_string(),
            found: found.to_owned(),
            expected: "the resourceVersion it was decided on".to_owned(),
        };
        match (request.verb, kind) {
            (Verb::Delete, _) => {
                verdicts.ensure(pinned("/preconditions/resourceVersion"), || {
                    broken("a deletion on any version")
                });
            }
            (Verb::Create, Kind::Pod) if request.subresource == "eviction" => {
                verdicts.ensure(pinned("/deleteOptions/preconditions/uid"), || {
                    broken("an eviction of any pod of this name")
                });
            }
            // A Deployment has the size that its manifest says, but for one that a Rollout scales down.
            (Verb::Patch | Verb::Apply | Verb::Update, Kind::ReplicaSet | Kind::Deployment)
                if kind == Kind::ReplicaSet || [live, request.body].into_iter().any(is_scaled_down) =>
            {
                let size = |object: &Value| facts::at(object, "/spec/replicas").and_then(Value::as_i64);
                let shrinks = size(request.body).is_some_and(|size_after| size_after < size(live).unwrap_or(1));
                verdicts.ensure(!shrinks || pinned("/metadata/resourceVersion"), || {
                    broken("a smaller size on any version")
                });
            }
            (Verb::Patch | Verb::Apply | Verb::Update, Kind::Rollout) if request.subresource == "status" => {
                verdicts.ensure(pinned("/metadata/resourceVersion"), || {
                    broken("a status on any version")
                });
            }
            _ => {}
        }
    }

    /// Judges an accepted write: C5.
    pub fn commit(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let kind = look.commit.key.kind;
        if kind == Kind::Lease && !look.is_ours() {
            self.stolen = Some(look.commit.at);
        }
        if !look.is_ours() || matches!(kind, Kind::Lease | Kind::Event | Kind::EventsEvent) {
            return;
        }
        let lease = look.state.get(&Key::new(Kind::Lease, NAMESPACE, LEASE_NAME));
        let holder = lease.map_or("", |lease| text(lease, "/spec/holderIdentity"));
        let stolen = self
            .stolen
            .is_some_and(|at| look.commit.at.duration_since(at) <= look.allowance.theft);
        let held = holder.is_empty() || holder.starts_with(&format!("{}_", look.commit.actor)) || stolen;
        verdicts.ensure(held || lease.is_none(), || {
            at_write(
                Rule::C5,
                look,
                format!("written by {} while {holder} holds the lease", look.commit.actor),
                "one writer",
            )
        });
        debug_assert!(look.commit.actor.starts_with(CONTROLLERS));
    }
}

/// C1: what a healthy Rollout looks like.
pub fn at_rest(at: Timestamp, subject: &Subject, scene: &Scene, state: &State, verdicts: &mut Verdicts) {
    if scene.rollout.is_none() || scene.recorded("phase") != "Healthy" {
        return;
    }
    let broken = |found: String, expected: String| Violation {
        rule: Rule::C1,
        at,
        object: subject.rollout().to_string(),
        found,
        expected,
    };
    let (stable, current) = (scene.recorded("stableRS"), scene.recorded("currentPodHash"));
    verdicts.ensure(stable == current, || {
        broken(
            format!("Healthy with {stable} stable"),
            format!("{current}, the present template"),
        )
    });
    let replicas = scene.replicas();
    let right = |set: &Set| set.size == if set.hash == stable { replicas } else { 0 };
    verdicts.ensure(scene.sets.iter().all(right) && scene.ready(stable) == replicas, || {
        broken(
            format!("Healthy with {:?}", scene.sets),
            format!("{replicas} pods of {stable} and no others"),
        )
    });
    let runs = state.list(Kind::AnalysisRun, Some(&subject.namespace));
    let open = runs
        .into_iter()
        .find(|run| matches!(text(run, "/status/phase"), "" | "Pending" | "Running"));
    verdicts.ensure(open.is_none(), || {
        let name = open.map_or("", |run| text(run, "/metadata/name"));
        broken(
            format!("AnalysisRun {name} still runs"),
            "no analysis without an update".to_owned(),
        )
    });
}
