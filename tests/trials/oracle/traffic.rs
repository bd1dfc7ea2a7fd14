//! T1 to T8: weights, Services and pods.

use super::{
    Look, Rule, Verdicts, Violation, at_write,
    scene::{MANAGED_ROUTE, Scene, Subject, leads_apart, selected_hash, share, weight_in, weight_of},
};
use crate::facts::{at, text};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate::{
    api::well_known,
    sim::{
        api::{faults::Verb, kinds::Kind, state::State},
        models::{
            data_plane::{Config, Destination, Traffic},
            pods::hash_of,
        },
    },
};

/// Annotations and labels with this prefix belong to somebody else (guarantee T8).
pub const FOREIGN_PREFIX: &str = "team.example.com/";

/// What requests that are picked by their headers count: enough for a pod.
const A_LITTLE: f64 = 1e-3;

/// What is remembered between writes.
#[derive(Debug)]
pub struct Rules {
    traffic: Traffic,
    /// ReplicaSets whose size somebody else wrote last.
    foreign_sizes: BTreeSet<String>,
    /// Since when an aborted update gets requests although the stable pods could take them.
    abort_open: Option<Timestamp>,
    /// The steps in which the update was aborted; whoever changes them begins anew.
    aborted_steps: Option<Value>,
    /// Whether a version was ever promoted: before that there is nothing to keep.
    served: bool,
}

impl Rules {
    /// Rules that may look at the data plane.
    pub fn new(traffic: Traffic) -> Self {
        Self {
            traffic,
            foreign_sizes: BTreeSet::new(),
            abort_open: None,
            aborted_steps: None,
            served: false,
        }
    }

    /// Judges a write.
    pub fn commit(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let key = &look.commit.key;
        if key.kind == Kind::ReplicaSet
            && !look.is_ours()
            && size_of(&look.commit.before) != size_of(&look.commit.after)
        {
            self.foreign_sizes.insert(key.name.clone());
        }
        if !look.after.is_aborted() {
            self.aborted_steps = None;
        } else if self.aborted_steps.is_none() {
            self.aborted_steps = Some(look.after.canary_spec()["steps"].clone());
        }
        if !look.is_ours() {
            return;
        }
        foreign_parts(look, verdicts);
        match key.kind {
            Kind::Ingress => self.ingress(look, verdicts),
            Kind::HTTPRoute => self.http_route(look, verdicts),
            Kind::Service => {
                service(look, verdicts);
                self.ping_pong(look, verdicts);
            }
            Kind::ReplicaSet => self.replica_set(look, verdicts),
            Kind::Rollout if look.commit.subresource == "status" => recorded_weights(look, verdicts),
            _ => {}
        }
    }

    fn replica_set(&mut self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let (before, after) = (size_of(&look.commit.before), size_of(&look.commit.after));
        if look.commit.verb == Verb::Delete {
            verdicts.ensure(before == 0, || {
                at_write(Rule::T3, look, format!("deleted with {before} pods"), "no pods left")
            });
            return;
        }
        if after != before {
            self.foreign_sizes.remove(&look.commit.key.name);
        }
        if after > before {
            self.growth(look, verdicts);
        } else if after < before {
            self.shrinking(look, before, after, verdicts);
        }
    }

    /// T3: the selector of a ping-pong Service that gets requests stays, beside repairs, and but for an update that a newer
    /// one interrupted and whose stable pods are not there (`docs/limits.md`).
    fn ping_pong(&self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let (Some(before), Some(after)) = (look.commit.before.as_deref(), look.commit.after.as_deref()) else {
            return;
        };
        let (from, to) = (selected_hash(before), selected_hash(after));
        let stable = look.after.recorded("stableRS");
        let pairs = !look.after.canary_spec()["pingPong"].is_null() && !stable.is_empty();
        let gone = look.scenes.lately(look.commit.at).any(|scene| scene.ready(stable) == 0);
        if !pairs || from == to || look.after.of(from).next().is_none() || gone || look.is_disturbed() {
            return;
        }
        let seen = self.traffic.lock();
        let configs = [&seen.config]
            .into_iter()
            .chain(seen.pending.iter().map(|(_, config)| config));
        let theirs = configs.flat_map(|config| config.routes.iter().flatten());
        let share = theirs
            .filter(|destination| destination.service == look.commit.key.name)
            .map(|destination| destination.share)
            .fold(0.0, f64::max);
        drop(seen);
        verdicts.ensure(share <= 0.0, || {
            at_write(
                Rule::T3,
                look,
                format!("{from:?} to {to:?} while it gets {:.0}%", share * 100.0),
                "a ping-pong Service changes when it gets nothing",
            )
        });
    }

    /// T6: where pods are the weights, never more of them than the surge allows.
    fn growth(&self, look: &Look<'_>, verdicts: &mut Verdicts) {
        if look.after.is_routed() || look.after.canary_spec().is_null() {
            return;
        }
        let allowed = look
            .scenes
            .lately(look.commit.at)
            .map(|scene| scene.replicas() + scene.budget().0)
            .max();
        let lately = |name: &str| {
            let sizes = look.scenes.lately(look.commit.at).map(|scene| {
                let set = scene.sets.iter().find(|set| set.name == name);
                set.map_or(0, |set| set.size)
            });
            sizes.min().unwrap_or(0)
        };
        let pods: i64 = (look.after.sets.iter())
            .map(|set| match self.foreign_sizes.contains(&set.name) {
                true => lately(&set.name),
                false => set.size,
            })
            .sum();
        let allowed = allowed.unwrap_or(i64::MAX);
        verdicts.ensure(pods <= allowed, || {
            at_write(
                Rule::T6,
                look,
                format!("{pods} pods in all"),
                format!("at most {allowed}"),
            )
        });
    }

    fn shrinking(&self, look: &Look<'_>, before: i64, after: i64, verdicts: &mut Verdicts) {
        let lately = || look.scenes.lately(look.commit.at);
        let wanted = lately().map(Scene::replicas).min().unwrap_or(0);
        let Some(set) = look.after.sets.iter().find(|set| set.name == look.commit.key.name) else {
            return;
        };
        if wanted == 0 {
            return;
        }
        let is_stable = !set.hash.is_empty() && lately().all(|scene| scene.recorded("stableRS") == set.hash);
        let aborted = is_stable && lately().all(Scene::is_aborted) && !self.begins_anew(look);
        let current = look.after.recorded("currentPodHash") == set.hash;
        if aborted && !current && (look.after.is_routed() || look.after.canary_spec().is_null()) {
            verdicts.ensure(after >= wanted.min(before), || {
                at_write(
                    Rule::T4,
                    look,
                    format!("stable pods go from {before} to {after}"),
                    format!("{wanted} after an abort"),
                )
            });
        }
        self.traffic_first(look, &set.hash, (before, after), wanted, verdicts);
        floor(look, (before, after), verdicts);
    }

    /// Whether somebody changed the steps of an aborted update, which is an update anew.
    fn begins_anew(&self, look: &Look<'_>) -> bool {
        let steps = &look.after.canary_spec()["steps"];
        self.aborted_steps.as_ref().is_some_and(|before| before != steps)
    }

    /// T3: what the data plane sends to these pods, now or by what it has begun to take up.
    fn traffic_first(&self, look: &Look<'_>, hash: &str, size: (i64, i64), wanted: i64, verdicts: &mut Verdicts) {
        let (before, after) = size;
        let canary = look.after.canary_spec();
        if !canary.is_null() && !look.after.is_routed() {
            let allowed = wanted + look.after.budget().0;
            let named = canary.get("stableService").is_some() && allowed > 1 && !look.is_disturbed();
            let selected = look
                .scenes
                .lately(look.commit.at)
                .all(|scene| scene.stable.as_deref() == Some(hash));
            verdicts.ensure(!(named && after == 0 && selected), || {
                at_write(
                    Rule::T3,
                    look,
                    format!("{before} to 0 pods of {hash}"),
                    "the stable Service to select others first",
                )
            });
            return;
        }
        let seen = self.traffic.lock();
        let configs = [&seen.config]
            .into_iter()
            .chain(seen.pending.iter().map(|(_, config)| config));
        let shares = configs.map(|config| {
            let mut apart = config.apart.iter();
            let picked = apart.any(|one| one.service == look.after.sides.canary && leads_to(one, hash, look.state));
            share_of(config, hash, look.state).max(if picked { A_LITTLE } else { 0.0 })
        });
        let share = shares.fold(0.0, f64::max);
        drop(seen);
        let scaled =
            canary["steps"].to_string().contains("setCanaryScale") || !canary["replicaProgressThreshold"].is_null();
        // A hair below a whole pod is that pod.
        let needed = (share * wanted as f64 - 1e-6).ceil() as i64;
        let needed = if scaled { needed.min(1) } else { needed };
        let disturbed = look.is_disturbed();
        verdicts.ensure(after >= needed || disturbed, || {
            let found = format!(
                "{before} to {after} pods of {hash} while the data plane sends them {:.0}%",
                share * 100.0
            );
            at_write(
                Rule::T3,
                look,
                found,
                format!("at least {needed} until it sends them less"),
            )
        });
    }

    /// The weight in the canary Ingress; T8 at every other.
    fn ingress(&self, look: &Look<'_>, verdicts: &mut Verdicts) {
        if look.commit.key.name != look.subject.canary_ingress() {
            verdicts.ensure(false, || {
                at_write(
                    Rule::T8,
                    look,
                    format!("{:?} by {}", look.commit.verb, look.commit.actor),
                    "a foreign Ingress is only read",
                )
            });
            return;
        }
        let weight = |object: &Option<Arc<Value>>| object.as_deref().map_or(0, weight_of);
        self.reweighted(look, weight(&look.commit.before), weight(&look.commit.after), verdicts);
    }

    /// T8 at the route: the weights of the two Services and the rules of managed routes are ours, nothing else.
    fn http_route(&self, look: &Look<'_>, verdicts: &mut Verdicts) {
        let (Some(before), Some(after)) = (look.commit.before.as_deref(), look.commit.after.as_deref()) else {
            verdicts.ensure(false, || {
                at_write(Rule::T8, look, "created or deleted", "routes are the user's")
            });
            return;
        };
        let users = |route: &Value| {
            let mut route = json!([
                route["metadata"]["labels"],
                route["metadata"]["annotations"],
                route["spec"]
            ]);
            let rules = route.pointer_mut("/2/rules").and_then(Value::as_array_mut);
            if let Some(rules) = rules {
                rules.retain(|rule| rule["name"] != MANAGED_ROUTE);
                for rule in rules {
                    let backends = rule.get_mut("backendRefs").and_then(Value::as_array_mut);
                    for backend in backends.into_iter().flatten().filter_map(Value::as_object_mut) {
                        let name = backend.get("name").and_then(Value::as_str).unwrap_or_default();
                        if name == look.subject.stable_service || name == look.subject.canary_service {
                            backend.remove("weight");
                        }
                    }
                }
            }
            route
        };
        verdicts.ensure(users(before) == users(after), || {
            at_write(
                Rule::T8,
                look,
                "parts changed beside the weights",
                "only those of the two Services",
            )
        });
        let behind: BTreeSet<String> = (look.scenes.lately(look.commit.at))
            .filter_map(|scene| scene.canary.clone())
            .collect();
        let answers = (behind.iter()).any(|hash| look.scenes.most_ready(look.commit.at, hash) > 0);
        verdicts.ensure(leads_apart(before) || !leads_apart(after) || answers, || {
            let found = "a route to the canary without a ready pod".to_owned();
            at_write(Rule::T2, look, found, "at least one")
        });
        let weight = |route: &Value| weight_in(route, &look.after.sides);
        self.reweighted(look, weight(before), weight(after), verdicts);
    }

    /// T1, T2, T4 and T5 at a weight that was written.
    fn reweighted(&self, look: &Look<'_>, from: i64, to: i64, verdicts: &mut Verdicts) {
        let total = look.after.total();
        verdicts.ensure((0..=total).contains(&to), || {
            at_write(Rule::T1, look, format!("weight {to}"), format!("0 to {total}"))
        });
        let lately = || look.scenes.lately(look.commit.at);
        let stable = look.after.recorded("stableRS");
        // A stable ReplicaSet that is lost is stood in for by the pods that its Service leads to.
        let serves = |scene: &Scene| {
            let behind = scene.stable.as_deref().unwrap_or_default();
            scene.ready(stable) > 0 || scene.ready(behind) > 0
        };
        if to < from && look.after.is_aborted() && lately().all(|scene| !serves(scene) && scene.replicas() > 0) {
            let carried = look.before.canary.clone().unwrap_or_default();
            let healthy = lately().all(|scene| scene.ready(&carried) > 0) && !carried.is_empty() && carried != stable;
            verdicts.ensure(!healthy, || {
                at_write(
                    Rule::T4,
                    look,
                    format!("weight {from} to {to} while no stable pod is ready"),
                    "requests stay where healthy pods are",
                )
            });
        }
        // One that cannot be read, as of a route that somebody made anew, is no weight to rise from.
        if to > from.max(0) {
            self.rise(look, from, to, verdicts);
        }
    }

    fn rise(&self, look: &Look<'_>, from: i64, to: i64, verdicts: &mut Verdicts) {
        let lately = || look.scenes.lately(look.commit.at);
        verdicts.ensure(self.begins_anew(look) || !lately().all(Scene::is_aborted), || {
            at_write(
                Rule::T5,
                look,
                format!("weight {from} to {to}"),
                "no rise after an abort",
            )
        });
        let total = look.after.total();
        let canary = look.after.canary_spec();
        let scaled =
            canary["steps"].to_string().contains("setCanaryScale") || !canary["replicaProgressThreshold"].is_null();
        let wanted = lately().map(Scene::replicas).min().unwrap_or(0);
        let needed = if scaled { 1 } else { share(wanted, to, total).max(1) };
        let same = lately().filter(|scene| scene.sides == look.after.sides);
        let behind: BTreeSet<&str> = same.filter_map(|scene| scene.canary.as_deref()).collect();
        let most = behind
            .iter()
            .map(|hash| look.scenes.most_ready(look.commit.at, hash))
            .max()
            .unwrap_or(0);
        verdicts.ensure(most >= needed, || {
            let behind: Vec<&str> = behind.into_iter().collect();
            at_write(
                Rule::T2,
                look,
                format!(
                    "weight {from} to {to} with {most} ready pods of {}",
                    behind.join(" or ")
                ),
                format!("at least {needed}"),
            )
        });
    }

    /// Judges requests: none may fail because of the order of our writes, and an abort must take effect.
    pub fn flow(&mut self, at: Timestamp, scene: &Scene, disturbed: bool, verdicts: &mut Verdicts) {
        let (now, answered, config, known, follows) = {
            let seen = self.traffic.lock();
            let known: Vec<String> = (seen.config.routes.iter().flatten())
                .map(|destination| format!("{} knows {:?}", destination.service, destination.pods))
                .collect();
            let answered: f64 = seen.shares.by_hash.values().sum();
            (
                seen.shares.lost,
                answered,
                seen.shares.lost_at.join(", "),
                known.join(", "),
                seen.pending.is_empty(),
            )
        };
        let stable = scene.recorded("stableRS");
        // Where everything may be missing at once, it may.
        let (surge, unavailable) = scene.budget();
        let gap = !scene.canary_spec().is_null()
            && !scene.is_routed()
            && (scene.replicas() <= unavailable || scene.replicas() + surge <= 1);
        let serving = self.served && !gap;
        // A data plane that still lags may answer from the time before somebody wanted no pods at all.
        self.served = self.served || (!stable.is_empty() && scene.ready(stable) > 0 && answered > 0.99 && follows);
        if scene.rollout.is_none() || scene.replicas() == 0 || gap {
            self.served = false;
        }
        if serving && !disturbed && now > 0.0 {
            let rule = if scene.weight > 0 { Rule::T2 } else { Rule::T3 };
            verdicts.ensure(false, || Violation {
                rule,
                at,
                object: format!("requests to {config}"),
                found: format!("{:.0}% fail because no pod answers: {known}", now * 100.0),
                expected: "none, whatever is deployed".to_owned(),
            });
        }
    }

    /// T5: an abort takes the weight to 0 within `reaction`.
    pub fn abort_takes_effect(
        &mut self,
        at: Timestamp,
        scene: &Scene,
        reaction: SignedDuration,
        verdicts: &mut Verdicts,
    ) {
        let stable = scene.recorded("stableRS");
        let dynamic = scene.canary_spec()["dynamicStableScale"] == true;
        let enough = if dynamic { scene.replicas() } else { 1 };
        let open = scene.is_aborted() && scene.weight > 0 && scene.replicas() > 0 && scene.ready(stable) >= enough;
        if !open {
            self.abort_open = None;
            return;
        }
        let since = *self.abort_open.get_or_insert(at);
        verdicts.ensure(at.duration_since(since) < reaction, || Violation {
            rule: Rule::T5,
            at,
            object: "the canary's weight".to_owned(),
            found: format!(
                "{} since {since}, although {} stable pods are ready",
                scene.weight,
                scene.ready(stable)
            ),
            expected: "0 soon after an abort".to_owned(),
        });
    }
}

fn size_of(set: &Option<Arc<Value>>) -> i64 {
    set.as_deref()
        .map_or(0, |set| at(set, "/spec/replicas").and_then(Value::as_i64).unwrap_or(1))
}

/// Whether a destination knows a pod of this hash.
fn leads_to(destination: &Destination, hash: &str, state: &State) -> bool {
    let pods = state.list(Kind::Pod, None).into_iter();
    let mut theirs = pods.filter(|pod| hash_of(pod) == hash);
    theirs.any(|pod| {
        destination
            .pods
            .iter()
            .any(|known| known == text(pod, "/metadata/name"))
    })
}

/// The share of requests that a configuration sends to pods of this hash.
pub(super) fn share_of(config: &Config, hash: &str, state: &State) -> f64 {
    let mut sum = 0.0;
    let entries = config.routes.len().max(1) as f64;
    let hashes: BTreeMap<&str, &str> = state
        .list(Kind::Pod, None)
        .into_iter()
        .map(|pod| (text(pod, "/metadata/name"), hash_of(pod)))
        .collect();
    for destination in config
        .routes
        .iter()
        .flatten()
        .filter(|destination| !destination.pods.is_empty())
    {
        let theirs = destination
            .pods
            .iter()
            .filter(|pod| hashes.get(pod.as_str()).is_some_and(|of| *of == hash))
            .count();
        sum += destination.share / entries * theirs as f64 / destination.pods.len() as f64;
    }
    sum
}

/// T2, T7 and T8 at Services.
fn service(look: &Look<'_>, verdicts: &mut Verdicts) {
    let (Some(before), Some(after)) = (look.commit.before.as_deref(), look.commit.after.as_deref()) else {
        verdicts.ensure(false, || {
            at_write(Rule::T8, look, "created or deleted", "Services are the user's")
        });
        return;
    };
    let strip = |service: &Value| {
        let mut service = service.clone();
        for (pointer, key) in [
            ("/metadata", "resourceVersion"),
            ("/metadata", "managedFields"),
            ("/metadata", "generation"),
            ("/metadata/annotations", well_known::MANAGED_BY_ROLLOUT),
            ("/spec/selector", well_known::POD_TEMPLATE_HASH),
        ] {
            if let Some(Value::Object(map)) = service.pointer_mut(pointer) {
                map.remove(key);
            }
        }
        if at(&service, "/metadata/annotations").is_some_and(|all| *all == serde_json::json!({}))
            && let Some(Value::Object(metadata)) = service.pointer_mut("/metadata")
        {
            metadata.remove("annotations");
        }
        service
    };
    verdicts.ensure(strip(before) == strip(after), || {
        at_write(
            Rule::T8,
            look,
            "fields changed beside the selected hash",
            "only that key and our annotation",
        )
    });
    let (from, to) = (selected_hash(before), selected_hash(after));
    let name = look.commit.key.name.as_str();
    let names = [&look.subject.stable_service, &look.subject.canary_service];
    if from == to || names.iter().all(|known| *known != name) {
        return;
    }
    let lately = || look.scenes.lately(look.commit.at);
    let known = lately().any(|scene| scene.of(to).next().is_some());
    verdicts.ensure(known, || {
        at_write(
            Rule::T7,
            look,
            format!("selects {to:?}"),
            "the hash of one of the Rollout's ReplicaSets",
        )
    });
    let blue_green = !look.after.blue_green_spec().is_null();
    let preview = blue_green && name == look.after.sides.canary;
    let empty = lately().any(|scene| scene.replicas() == 0);
    if preview || empty {
        return;
    }
    let stable = look.after.recorded("stableRS");
    let current = look.after.recorded("currentPodHash");
    let lost = look.after.of(stable).next().is_none();
    let stable_side = lately().all(|scene| name == scene.sides.stable);
    if stable_side && !stable.is_empty() && !lost {
        let recorded = lately().any(|scene| scene.recorded("stableRS") == to);
        verdicts.ensure(recorded || (blue_green && to == current), || {
            at_write(
                Rule::T7,
                look,
                format!("{from:?} to {to:?}"),
                format!("the recorded {stable:?}"),
            )
        });
    }
    let switch = blue_green && to == current && to != stable && !stable.is_empty();
    let needed = if switch {
        lately().map(Scene::replicas).min().unwrap_or(0)
    } else {
        1
    };
    let most = look.scenes.most_ready(look.commit.at, to);
    verdicts.ensure(most >= needed, || {
        at_write(
            Rule::T2,
            look,
            format!("{from:?} to {to:?} with {most} ready pods"),
            format!("at least {needed}"),
        )
    });
}

/// T1 in the status.
fn recorded_weights(look: &Look<'_>, verdicts: &mut Verdicts) {
    let weights = &look.after.status()["canary"]["weights"];
    let of = |side: &str| weights[side]["weight"].as_i64().unwrap_or(0);
    let (sum, total) = (of("canary") + of("stable"), look.after.total());
    verdicts.ensure(weights.is_null() || sum == total, || {
        at_write(Rule::T1, look, format!("weights add up to {sum}"), total.to_string())
    });
}

/// T8 at any object: keys of others, and the parts of a Rollout that are the user's.
fn foreign_parts(look: &Look<'_>, verdicts: &mut Verdicts) {
    let (Some(before), Some(after)) = (look.commit.before.as_deref(), look.commit.after.as_deref()) else {
        return;
    };
    let foreign = |object: &Value| -> BTreeMap<String, Value> {
        let maps = ["/metadata/annotations", "/metadata/labels"]
            .into_iter()
            .filter_map(|pointer| at(object, pointer)?.as_object());
        let entries = maps.flatten().filter(|(key, _)| key.starts_with(FOREIGN_PREFIX));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (had, has) = (foreign(before), foreign(after));
    verdicts.ensure(had == has, || {
        at_write(Rule::T8, look, format!("{has:?}"), format!("{had:?} as before"))
    });
    if look.commit.key.kind == Kind::Rollout && look.commit.subresource.is_empty() {
        let spec = |object: &Value| {
            let mut spec = object.get("spec").cloned().unwrap_or_default();
            if let Value::Object(spec) = &mut spec
                && at(before, "/spec/replicas").is_none()
            {
                spec.remove("replicas");
            }
            spec
        };
        verdicts.ensure(spec(before) == spec(after), || {
            at_write(Rule::T8, look, "spec changed", "the specification is the user's")
        });
    }
}

/// T6: what a shrinking leaves available.
fn floor(look: &Look<'_>, (before, after): (i64, i64), verdicts: &mut Verdicts) {
    let canary = look.after.canary_spec();
    // Where requests are led, old pods that get none are no loss, unless both versions share the pods of the budget.
    let shares = canary["dynamicStableScale"] == true
        && !canary["steps"].to_string().contains("setCanaryScale")
        && !look.is_disturbed();
    let led = canary.is_null() || look.after.is_routed();
    if !canary["replicaProgressThreshold"].is_null() || (led && !shares) {
        return;
    }
    let lately = || look.scenes.lately(look.commit.at);
    let hash = (look.after.sets.iter())
        .find(|set| set.name == look.commit.key.name)
        .map_or("", |set| set.hash.as_str());
    let takes_part = |scene: &Scene| [scene.recorded("stableRS"), scene.recorded("currentPodHash")].contains(&hash);
    if led && !lately().any(takes_part) {
        return;
    }
    // The newest of them is the one after this write: what it took away does not count as wanted.
    let earlier = lately().count().saturating_sub(1);
    let needed = lately().take(earlier).map(|scene| {
        let had: i64 = scene.sets.iter().map(|set| set.ready).sum();
        had.min(scene.replicas() - scene.budget().1)
    });
    let needed = needed.min().unwrap_or(0);
    let kept: i64 = (look.after.sets.iter())
        .map(|set| look.scenes.most_ready(look.commit.at, &set.hash).min(set.size))
        .sum();
    verdicts.ensure(kept >= needed, || {
        at_write(
            Rule::T6,
            look,
            format!("{before} to {after} pods leaves {kept} available"),
            format!("at least {needed}"),
        )
    });
}

/// T7 and T2 once everything rests.
pub fn at_rest(at: Timestamp, subject: &Subject, scene: &Scene, verdicts: &mut Verdicts) {
    if scene.rollout.is_none() || scene.replicas() == 0 {
        return;
    }
    let stable = scene.recorded("stableRS");
    let healthy = scene.recorded("phase") == "Healthy";
    let named = |field: &str| !scene.canary_spec()[field].is_null();
    let pairs = named("pingPong");
    let stable_named = pairs || named("stableService") || !scene.blue_green_spec().is_null();
    if healthy && stable_named && scene.stable.is_some() {
        let selects = scene.stable.clone().unwrap_or_default();
        verdicts.ensure(selects == stable, || Violation {
            rule: Rule::T7,
            at,
            object: subject.key(Kind::Service, &scene.sides.stable).to_string(),
            found: format!("selects {selects:?}"),
            expected: format!("{stable:?}, as recorded"),
        });
    }
    if healthy && (pairs || named("canaryService")) && scene.canary.is_some() {
        let selects = scene.canary.clone().unwrap_or_default();
        verdicts.ensure(selects == stable, || Violation {
            rule: Rule::T7,
            at,
            object: subject.key(Kind::Service, &scene.sides.canary).to_string(),
            found: format!("selects {selects:?}"),
            expected: format!("{stable:?}, as recorded"),
        });
    }
    let aborted = scene.is_aborted() && scene.ready(stable) >= scene.replicas();
    verdicts.ensure(!(healthy || aborted) || scene.weight == 0, || Violation {
        rule: if aborted { Rule::T5 } else { Rule::C1 },
        at,
        object: subject.key(Kind::Ingress, &subject.canary_ingress()).to_string(),
        found: format!("weight {}", scene.weight),
        expected: "0 at rest".to_owned(),
    });
    verdicts.ensure(!(healthy || aborted) || !scene.apart, || Violation {
        rule: if aborted { Rule::T5 } else { Rule::C1 },
        at,
        object: subject.key(Kind::HTTPRoute, &subject.route).to_string(),
        found: format!("a rule of the managed route {MANAGED_ROUTE}"),
        expected: "none at rest".to_owned(),
    });
}
