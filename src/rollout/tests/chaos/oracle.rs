//! The guarantees as checks on plain objects: before every write, and after every pass.

use super::{
    super::world::{Objects, World},
    dice::Family,
    facts::{self, available, replicas, rollout, selected, sets, share, text, weight},
};
use crate::{
    analysis,
    plan::{Action, Plan},
};
use jiff::Timestamp;
use serde_json::Value;

/// Passes within which an abort, or a canary without pods, must be out of traffic.
const PASSES_MAX: usize = 3;

/// What the data plane may still follow: written over at this time.
enum Replaced {
    Weight(Timestamp, i64),
    Selector(Timestamp, String, String),
}

/// What a view shows.
#[derive(Clone, Copy)]
pub(super) struct Sees {
    /// Everything as it is.
    pub(super) all: bool,
    /// At least our own writes to ReplicaSets. The executor's ledger holds decisions back until then, and a budget
    /// over several ReplicaSets rests on it: no single resource version covers a sum.
    pub(super) own: bool,
}

pub(super) struct Oracle {
    family: Family,
    replaced: Vec<Replaced>,
    aborted_passes: usize,
    empty_passes: usize,
}

type Verdict = Result<(), String>;

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(text()) }
}

impl Oracle {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            replaced: vec![],
            aborted_passes: 0,
            empty_passes: 0,
        }
    }

    /// Judges one write on the state before it and the view it was decided on.
    pub(super) fn before(&mut self, world: &World, view: &Objects, sees: Sees, action: &Action) -> Verdict {
        let live = &world.objects;
        match action {
            Action::Create { object } if sees.all && object["kind"] == "ReplicaSet" => self.growth(
                (view, live),
                text(&object["metadata"], "name"),
                0,
                object["spec"]["replicas"].as_i64().unwrap(),
            ),
            Action::Create { .. } => Ok(()),
            Action::Delete {
                target, precondition, ..
            } => {
                ensure(precondition.resource_version.is_some(), || {
                    format!("C3: {target} is deleted on any version")
                })?;
                let pods = sets(live)
                    .into_iter()
                    .find(|set| set.name == target.name && target.kind == "ReplicaSet");
                ensure(pods.is_none_or(|set| set.spec == 0), || {
                    format!("T3: {target} is deleted with pods")
                })
            }
            Action::Apply {
                target,
                fields,
                precondition,
                ..
            }
            | Action::Merge {
                target,
                patch: fields,
                precondition,
                ..
            } => match target.kind.as_str() {
                "Ingress" => self.weight_write(world, view, facts::weight_of(fields)),
                "Service" => {
                    let hash = text(&fields["spec"]["selector"], crate::api::well_known::POD_TEMPLATE_HASH);
                    self.selector_write(world, view, &target.name, hash)
                }
                "ReplicaSet" => {
                    let set = sets(live).into_iter().find(|set| set.name == target.name);
                    let after = fields["spec"]["replicas"].as_i64();
                    let (Some(set), Some(after)) = (set, after) else {
                        return Ok(());
                    };
                    if after < set.spec {
                        ensure(
                            precondition.as_ref().is_some_and(|pin| pin.resource_version.is_some()),
                            || format!("C3: {} shrinks on any version", set.name),
                        )?;
                        return self.shrink(world, view, &set, after);
                    }
                    if sees.own {
                        self.growth((view, live), &set.name, set.spec, after)
                    } else {
                        Ok(())
                    }
                }
                _ => Ok(()),
            },
        }
    }

    fn weight_write(&mut self, world: &World, view: &Objects, to: i64) -> Verdict {
        let from = weight(&world.objects);
        ensure((0..=100).contains(&to), || format!("T1: weight {to}"))?;
        if to != from {
            self.replaced.push(Replaced::Weight(world.now, from));
        }
        if to <= from {
            return Ok(());
        }
        ensure(rollout(view)["status"]["abort"] != true, || {
            format!("T5: weight {from} to {to} after an abort")
        })?;
        let behind = selected(view, "web-canary");
        let pods = available(view, behind);
        let canary = &rollout(view)["spec"]["strategy"]["canary"];
        let scaled =
            canary["steps"].to_string().contains("setCanaryScale") || !canary["replicaProgressThreshold"].is_null();
        let needed = if scaled { 1 } else { share(replicas(view), to) };
        ensure(pods >= needed.max(1), || {
            format!("T2: weight {from} to {to} with {pods} of {needed} pods of {behind:?} available")
        })
    }

    fn selector_write(&mut self, world: &World, view: &Objects, service: &str, to: &str) -> Verdict {
        let from = selected(&world.objects, service).to_owned();
        if from == to {
            return Ok(());
        }
        self.replaced
            .push(Replaced::Selector(world.now, service.to_owned(), from.clone()));
        if self.family == Family::BlueGreen && service == "web-canary" {
            return Ok(()); // The preview may lead to nobody.
        }
        ensure(replicas(view) == 0 || available(view, to) > 0, || {
            format!("T2: {service} from {from:?} to {to:?} without an available pod")
        })?;
        let status = &rollout(view)["status"];
        let switch =
            self.family == Family::BlueGreen && to == text(status, "currentPodHash") && to != text(status, "stableRS");
        if switch && !text(status, "stableRS").is_empty() {
            let pods = available(view, to);
            ensure(pods >= replicas(view), || {
                format!("T2: {service} switched to {to:?} with {pods} pods")
            })?;
            let gated = !rollout(view)["spec"]["strategy"]["blueGreen"]["prePromotionAnalysis"].is_null();
            let open = !gated || status["promoteFull"] == true || evidence(view, to, "PrePromotion", None);
            ensure(open, || {
                format!("D1: {service} switched to {to:?} without a successful analysis")
            })?;
        }
        Ok(())
    }

    /// Weights that requests may still follow.
    fn weights_in_force(&self, world: &World) -> Vec<i64> {
        let drain = i64::from(world.settings.drain_seconds);
        let lately = |at: Timestamp| world.now.duration_since(at).as_secs() < drain;
        let replaced = self.replaced.iter().filter_map(|replaced| match replaced {
            Replaced::Weight(at, weight) if lately(*at) => Some(*weight),
            _ => None,
        });
        replaced.chain([weight(&world.objects)]).collect()
    }

    fn lately_selected(&self, world: &World, service: &str, hash: &str) -> bool {
        let drain = i64::from(world.settings.drain_seconds);
        self.replaced.iter().any(|replaced| match replaced {
            Replaced::Selector(at, name, before) => {
                name == service && before == hash && world.now.duration_since(*at).as_secs() < drain
            }
            Replaced::Weight(..) => false,
        })
    }

    fn shrink(&self, world: &World, view: &Objects, set: &facts::Set, after: i64) -> Verdict {
        let wanted = replicas(view);
        let canary = &rollout(view)["spec"]["strategy"]["canary"];
        let managed = self.family != Family::Basic || !canary["stableService"].is_null();
        // One pod and no surge: there is no way without a gap.
        if wanted == 0 || !managed || (self.family == Family::Basic && wanted + facts::budget(canary, wanted).0 <= 1) {
            return Ok(());
        }
        let services: &[&str] = if self.family == Family::BlueGreen {
            &["web-stable"]
        } else {
            &["web-stable", "web-canary"]
        };
        for service in services {
            let serves = *service == "web-stable" || self.weights_in_force(world).iter().any(|weight| *weight > 0);
            if after == 0 && serves {
                ensure(selected(view, service) != set.hash, || {
                    format!("T3: {} goes to zero while {service} selects it", set.name)
                })?;
            }
            let lately = serves && self.lately_selected(world, service, &set.hash);
            ensure(after > 0 || !lately, || {
                format!("T3: {} goes to zero right after {service} left it", set.name)
            })?;
        }
        if self.family != Family::Nginx || canary["steps"].to_string().contains("setCanaryScale") {
            return Ok(());
        }
        let weights = self.weights_in_force(world);
        let mut needed = 0;
        if selected(view, "web-canary") == set.hash {
            needed = share(wanted, weights.iter().copied().max().unwrap_or(0));
        }
        if selected(view, "web-stable") == set.hash {
            needed = needed.max(share(wanted, 100 - weights.iter().copied().min().unwrap_or(0)));
        }
        ensure(after >= needed, || {
            format!(
                "T3: {} from {} to {after}, but {needed} pods serve weights {weights:?}",
                set.name, set.spec
            )
        })
    }

    /// T6 for growth: never beyond the surge of what is wanted, or was when its author looked.
    fn growth(&self, (view, live): (&Objects, &Objects), name: &str, size: i64, after: i64) -> Verdict {
        if self.family != Family::Basic {
            return Ok(());
        }
        let wanted = replicas(live).max(replicas(view));
        let (surge, _) = facts::budget(&rollout(live)["spec"]["strategy"]["canary"], wanted);
        let before: i64 = sets(live).iter().map(|set| set.spec).sum();
        let sum = before + after - size;
        ensure(after == size || sum <= wanted + surge, || {
            format!("T6: {name} grows to {after}: {sum} pods, allowed {wanted} + {surge}")
        })
    }

    /// Judges a pass. `full` passes saw everything as it was and were carried out whole.
    pub(super) fn after(&mut self, world: &World, before: &Objects, plan: &Plan, full: bool) -> Verdict {
        let live = &world.objects;
        let (old, new) = (&rollout(before)["status"], &rollout(live)["status"]);
        if let Some(weights) = new["canary"].get("weights") {
            let sum = weights["canary"]["weight"].as_i64().unwrap() + weights["stable"]["weight"].as_i64().unwrap();
            ensure(sum == 100, || format!("T1: weights add up to {sum}"))?;
        }
        self.runs(live)?;
        index(live, old, new)?;
        if !full {
            return Ok(());
        }
        let stable_pods = available(before, text(old, "stableRS"));
        let invalid = text(new, "message").starts_with("InvalidSpec");
        let aborted = old["abort"] == true && new["abort"] == true;
        self.aborted_passes = if aborted { self.aborted_passes + 1 } else { 0 };
        let dynamic = rollout(live)["spec"]["strategy"]["canary"]["dynamicStableScale"] == true;
        let takes_over = stable_pods >= if dynamic { replicas(before) } else { 1 };
        if self.aborted_passes >= PASSES_MAX && takes_over {
            ensure(weight(live) == 0, || {
                format!("T5: weight {} after {} passes", weight(live), self.aborted_passes)
            })?;
        }
        let nobody = weight(live) > 0 && available(before, selected(before, "web-canary")) == 0;
        self.empty_passes = if nobody && takes_over && !invalid {
            self.empty_passes + 1
        } else {
            0
        };
        ensure(self.empty_passes < PASSES_MAX, || {
            format!("T2: weight {} leads to nobody", weight(live))
        })?;
        if self.family == Family::Basic {
            floor(before, live)?;
        }
        if plan.writes_nothing() && text(new, "phase") != "Healthy" {
            let named = !new["waitingFor"].is_null()
                || (text(new, "phase") != "Progressing" && !text(new, "message").is_empty());
            ensure(named, || {
                format!(
                    "D6: {} {:?} and nothing is named",
                    text(new, "phase"),
                    text(new, "message")
                )
            })?;
        }
        Ok(())
    }

    /// D2: one live run for each purpose, step and hash.
    fn runs(&self, live: &Objects) -> Verdict {
        let mut seen = Vec::new();
        for ((_, name), run) in live.iter().filter(|((kind, _), _)| kind == "AnalysisRun") {
            let completed = !matches!(text(&run["status"], "phase"), "" | "Pending" | "Running");
            if completed || run["spec"]["terminate"] == true {
                continue;
            }
            let labels = &run["metadata"]["labels"];
            let key = [
                text(labels, "rollout-type"),
                text(labels, "step-index"),
                text(labels, "rollouts-pod-template-hash"),
            ]
            .join("/");
            ensure(!seen.contains(&key), || {
                format!("D2: {name} is a second live run for {key}")
            })?;
            seen.push(key);
        }
        Ok(())
    }

    /// At the end: Services select what is recorded (T7), and nobody serves without weight.
    pub(super) fn at_rest(&self, live: &Objects) -> Verdict {
        let (spec, status) = (&rollout(live)["spec"], &rollout(live)["status"]);
        let stable = text(status, "stableRS");
        let selects = selected(live, "web-stable");
        // Between the switch and promotion the active Service leads to the version that is being judged.
        let judged = self.family == Family::BlueGreen && text(status, "phase") == "Paused";
        let named = !spec["strategy"]["canary"]["stableService"].is_null() || self.family == Family::BlueGreen;
        let lost = stable != text(status, "currentPodHash") && sets(live).iter().all(|set| set.hash != stable);
        if named && replicas(live) > 0 && !lost {
            ensure(
                selects == stable || (judged && selects == text(status, "currentPodHash")),
                || format!("T7: web-stable selects {selects:?}, recorded {stable:?}"),
            )?;
        }
        let healthy = text(status, "phase") == "Healthy";
        let single = sets(live)
            .iter()
            .all(|set| set.spec == if set.hash == stable { replicas(live) } else { 0 });
        ensure(!healthy || single, || format!("C1: healthy with {:?}", sets(live)))?;
        ensure(!healthy || weight(live) == 0, || {
            format!("C1: healthy with weight {}", weight(live))
        })
    }
}

/// D1 and D3: how the step index may move by the controller's own status write.
fn index(live: &Objects, old: &Value, new: &Value) -> Verdict {
    let at = |status: &Value| usize::try_from(status["currentStepIndex"].as_i64().unwrap_or(0)).unwrap_or(0);
    let (from, to) = (at(old), at(new));
    let hash = text(new, "currentPodHash");
    let same = text(old, "currentPodHash") == hash && text(old, "currentStepHash") == text(new, "currentStepHash");
    let canary = &rollout(live)["spec"]["strategy"]["canary"];
    let retried = !old["abortedAt"].is_null() && new["abortedAt"].is_null();
    let clamped = canary["steps"].as_array().map_or(0, Vec::len) < from;
    ensure(
        to >= from || !same || new["abort"] == true || retried || clamped,
        || format!("D3: the step index falls from {from} to {to}"),
    )?;
    let promoted = text(new, "stableRS") == hash;
    let full = old["promoteFull"] == true || new["promoteFull"] == true;
    if !same || full || text(old, "stableRS").is_empty() || text(old, "stableRS") == hash {
        return Ok(());
    }
    for step in from..to {
        let gate = canary["steps"][step].get("analysis").is_some();
        ensure(!gate || evidence(live, hash, "Step", Some(step)), || {
            format!("D1: step {step} passed without evidence")
        })?;
    }
    let post = !rollout(live)["spec"]["strategy"]["blueGreen"]["postPromotionAnalysis"].is_null();
    ensure(
        !(post && promoted) || evidence(live, hash, "PostPromotion", None),
        || "D1: promoted without a successful post-promotion analysis".to_owned(),
    )
}

fn evidence(objects: &Objects, hash: &str, purpose: &str, step: Option<usize>) -> bool {
    let runs = objects.iter().filter(|((kind, _), _)| kind == "AnalysisRun");
    runs.map(|(_, run)| run).any(|run| {
        let labels = &run["metadata"]["labels"];
        text(labels, "rollout-type") == purpose
            && text(labels, "rollouts-pod-template-hash") == hash
            && step.is_none_or(|step| text(labels, "step-index") == step.to_string())
            && analysis::is_evidence(&serde_json::from_value(run.clone()).unwrap())
    })
}

/// T6: what a pass keeps available, pods that it did not remove counted as they were.
fn floor(before: &Objects, live: &Objects) -> Verdict {
    let wanted = replicas(before);
    let (_, unavailable) = facts::budget(&rollout(before)["spec"]["strategy"]["canary"], wanted);
    let had: i64 = sets(before).iter().map(|set| set.available).sum();
    let after = sets(live);
    let kept: i64 = (sets(before).iter())
        .map(|set| {
            let spec = after
                .iter()
                .find(|after| after.name == set.name)
                .map_or(0, |after| after.spec);
            set.available.min(spec)
        })
        .sum();
    ensure(kept >= had.min(wanted - unavailable), || {
        format!("T6: {had} available pods become {kept}, wanted {wanted} − {unavailable}")
    })
}
