//! Random rollouts under random hands and faults: late and dying pods, lagging views, crashes in mid-pass, lost status
//! writes, deleted objects. The guarantees are judged at every write, and at the end everything must come to rest.

mod dice;
mod facts;
mod oracle;
mod verbs;

use super::{
    fixtures::{ingress, rollout, service, template},
    world::{Objects, World},
};
use crate::plan::{Plan, Requeue, StatusChange};
use dice::{Dice, Family};
use jiff::SignedDuration;
use oracle::Oracle;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// Passes under faults, for each seed.
const PASSES: usize = 40;
/// Passes within which a world without faults must come to rest.
const REST_MAX: usize = 120;
/// Passes that a view of one kind may lag behind.
const LAG_MAX: usize = 3;
/// Seeds of the quick run, for each family.
const SEEDS: u64 = 25;

pub(super) struct Chaos {
    world: World,
    dice: Dice,
    family: Family,
    oracle: Oracle,
    story: Vec<String>,
    /// Objects after each pass, newest last.
    past: Vec<Objects>,
    /// How old the view of each kind is: an index into `past`. A watch lags, but never goes back.
    seen: BTreeMap<&'static str, usize>,
    /// The first of `past` that shows our own newest write to a ReplicaSet.
    sized: usize,
}

const KINDS: [&str; 5] = ["Rollout", "ReplicaSet", "Service", "Ingress", "AnalysisRun"];

impl Chaos {
    fn new(family: Family, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut rollout = rollout(dice::strategy(family, &mut dice));
        rollout["spec"]["replicas"] = json!(1 + dice.below(6));
        if dice.chance(30) {
            rollout["spec"]["progressDeadlineSeconds"] = json!(30);
            rollout["spec"]["progressDeadlineAbort"] = json!(dice.chance(50));
        }
        let story = vec![format!("{:#}", rollout["spec"]["strategy"])];
        let world = World::of(&[
            rollout,
            service("web-canary"),
            service("web-stable"),
            ingress(),
            template("10s"),
        ]);
        Self {
            world,
            dice,
            family,
            oracle: Oracle::new(family),
            story,
            past: vec![],
            seen: BTreeMap::new(),
            sized: 0,
        }
    }

    /// The objects as the controller sees them: each kind as of now, or a little older.
    fn view(&mut self, lagging: bool) -> (Objects, bool) {
        self.past.push(self.world.objects.clone());
        let newest = self.past.len() - 1;
        let mut view = self.world.objects.clone();
        let mut fresh = true;
        for kind in KINDS {
            let seen = self.seen.entry(kind).or_insert(0);
            let lag = if lagging && self.dice.chance(25) {
                usize::try_from(self.dice.below(LAG_MAX as u64 + 1)).unwrap()
            } else {
                0
            };
            *seen = newest.saturating_sub(lag).max(*seen);
            if *seen != newest {
                fresh = false;
                view.retain(|(of, _), _| of != kind);
                let old = self.past[*seen].iter().filter(|((of, _), _)| of == kind);
                view.extend(old.map(|(key, object)| (key.clone(), object.clone())));
            }
        }
        (view, fresh)
    }

    /// One pass. With `faults`, on a view that may lag, and it may die before any of its writes.
    fn pass(&mut self, faults: bool) -> Result<Plan, String> {
        self.world.passes += 1;
        let (view, fresh) = self.view(faults);
        let before = self.world.objects.clone();
        let sees = oracle::Sees {
            all: fresh,
            own: self.seen["ReplicaSet"] >= self.sized,
        };
        let plan = self.world.plan_on(&view);
        let mut line = format!("{} {}", self.world.now, if fresh { "" } else { "(lagging view) " });
        let dies = faults && self.dice.chance(20);
        let mut left = if dies { self.dice.below(5) } else { u64::MAX };
        let mut whole = true;
        for action in plan.stages.iter().flat_map(|stage| &stage.0) {
            if left == 0 || self.world.refuses(action) {
                let _ = write!(
                    line,
                    " [{} at {}]",
                    if left == 0 { "killed" } else { "conflict" },
                    action.target()
                );
                whole = false;
                break;
            }
            left -= 1;
            let _ = write!(line, " {}", verbs::describe(action));
            if let Err(broken) = self.oracle.before(&self.world, &view, sees, action) {
                self.story.push(line);
                return Err(broken);
            }
            if action.target().kind == "ReplicaSet" {
                self.sized = self.past.len();
            }
            self.world.carry_out(action);
        }
        let lost = faults && self.dice.chance(10);
        if whole && !lost && left > 0 {
            whole = self.write_status(&plan, &view);
        } else {
            whole = whole && plan.status == StatusChange::Unchanged;
        }
        let _ = write!(
            line,
            "{} → {}",
            if whole { "" } else { " [status lost]" },
            verbs::summary(&self.world)
        );
        if !plan.writes_nothing() {
            self.story.push(line);
        }
        self.oracle.after(&self.world, &before, &plan, fresh && whole)?;
        Ok(plan)
    }

    /// Guarded by the Rollout's version; this plan's own writes to the Rollout count as seen.
    fn write_status(&mut self, plan: &Plan, view: &Objects) -> bool {
        let StatusChange::Merge { patch, .. } = &plan.status else {
            return true;
        };
        let own = plan
            .stages
            .iter()
            .flat_map(|stage| &stage.0)
            .any(|action| action.target().kind == "Rollout");
        let version = |objects: &Objects| facts::rollout(objects)["metadata"]["resourceVersion"].clone();
        let newest = self.past.last().map(version);
        if version(view) != version(&self.world.objects) && !(own && newest == Some(version(view))) {
            return false;
        }
        let mut object = self.world.get("Rollout", "web").clone();
        json_patch::merge(&mut object, patch);
        self.world.put(object);
        true
    }

    fn under_faults(&mut self) -> Result<(), String> {
        for _ in 0..PASSES {
            if self.dice.chance(30) {
                let verb = verbs::act(&mut self.world, self.family, &mut self.dice);
                self.story.push(format!("    user: {verb}"));
            }
            let plan = self.pass(true)?;
            verbs::pods(&mut self.world, &mut self.dice);
            verbs::analyses(&mut self.world, &mut self.dice);
            match plan.requeue {
                Requeue::At(at) if self.dice.chance(50) => self.world.now = at.max(self.world.now),
                _ => self.world.now += SignedDuration::from_millis(i64::try_from(self.dice.below(4000)).unwrap()),
            }
        }
        Ok(())
    }

    /// No more faults: pods come up, analyses succeed, missing objects are back. Ends when nothing is left to do.
    fn calm(&mut self) -> Result<(), String> {
        for object in [service("web-canary"), service("web-stable"), ingress()] {
            let key = (
                object["kind"].as_str().unwrap().to_owned(),
                object["metadata"]["name"].as_str().unwrap().to_owned(),
            );
            if !self.world.objects.contains_key(&key) {
                self.world.put(object);
            }
        }
        for _ in 0..REST_MAX {
            verbs::all_pods(&mut self.world);
            verbs::succeed(&mut self.world);
            let plan = self.pass(false)?;
            if !plan.writes_nothing() {
                self.world.now += SignedDuration::from_millis(10);
                continue;
            }
            match plan.requeue {
                Requeue::AwaitChange => {
                    if verbs::all_pods(&mut self.world) | verbs::succeed(&mut self.world) {
                        continue;
                    }
                    return self.rested();
                }
                Requeue::At(at) if at <= self.world.now => {
                    return Err("C1: writes nothing and wants to be woken at once".to_owned());
                }
                Requeue::At(at) => self.world.now = at,
            }
        }
        Err(format!("C1: no rest within {REST_MAX} passes"))
    }

    fn rested(&mut self) -> Result<(), String> {
        let status = self.world.status();
        let phase = facts::text(status, "phase");
        let ended = matches!(phase, "Healthy" | "Paused") || (phase == "Degraded" && status["abort"] == true);
        if !ended {
            return Err(format!("C1: rests as {phase} {}", status["message"]));
        }
        self.oracle.at_rest(&self.world.objects)
    }

    /// A person lets everything go on; it must end Healthy.
    fn end_well(&mut self) -> Result<(), String> {
        for _ in 0..20 {
            let status = self.world.status();
            if facts::text(status, "phase") == "Healthy" {
                return Ok(());
            }
            self.story.push("    user: goes on".to_owned());
            let patch = json!({"spec": {"paused": false}, "status": {"abort": false, "pauseConditions": null}});
            self.world.patch("Rollout", "web", &patch);
            self.calm()?;
        }
        Err("never Healthy, whatever a person does".to_owned())
    }
}

fn live(family: Family, seed: u64) {
    let mut chaos = Chaos::new(family, seed);
    let run = |chaos: &mut Chaos| {
        chaos.calm()?;
        chaos.under_faults()?;
        chaos.story.push("    calm".to_owned());
        chaos.calm()?;
        chaos.end_well()
    };
    if let Err(broken) = run(&mut chaos) {
        let last: Vec<&String> = chaos.story.iter().collect();
        let story: Vec<String> = last.into_iter().cloned().collect();
        panic!(
            "{family:?} seed {seed}: {broken}\n{}\nstatus: {:#}",
            story.join("\n"),
            chaos.world.status()
        );
    }
}

fn seeds(family: Family) {
    for seed in 0..SEEDS {
        live(family, seed);
    }
}

#[test]
fn nginx_canaries_keep_every_guarantee() {
    seeds(Family::Nginx);
}

#[test]
fn basic_canaries_keep_every_guarantee() {
    seeds(Family::Basic);
}

#[test]
fn blue_green_rollouts_keep_every_guarantee() {
    seeds(Family::BlueGreen);
}

/// A status as merge patches see it.
fn patched(status: Value) -> Value {
    json!({ "status": status })
}
