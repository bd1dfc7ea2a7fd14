//! The canary strategy: which step an update is at, whether it is done, and what the next safe state is.
//!
//! Capacity comes before traffic and traffic before scale-down (guarantees T2 and T3): a weight rises only when the
//! pods for it are available now, and pods go only when the weight that needed them was written long enough ago.

mod abort;
mod alternate;
mod handover;
mod lost;
mod sizes;
mod stepping;
mod weight;

use super::{
    decision::Decision,
    ping_pong::{self, Sides},
    progress::{Progress, Turn},
    replicas::enough,
    runs, services,
    view::View,
};
use crate::{api::strategy::CanaryStrategy, traffic::Router};
use handover::Handover;

/// Facts about this canary, read once.
pub(crate) struct Canary<'a> {
    view: &'a View<'a>,
    strategy: &'a CanaryStrategy,
    /// The Services that have the requests.
    sides: Sides<'a>,
    /// Whether requests are on their way to other Services, and how far.
    handover: Option<Handover<'a>>,
    /// What "all requests" is.
    total: i32,
    /// Whether a router splits requests; else the ratio of pods does.
    routed: bool,
    /// The canary's weight in the router's objects as read.
    observed: i32,
    /// Whether the router was taken out of the specification, and requests may still follow what it said.
    leaving: bool,
    /// Whether the data plane has had time to follow the weight last written.
    quiet: bool,
    /// The ReplicaSet the written weight was for.
    carried_hash: String,
    /// The routers of the specification.
    routers: Vec<Router<'a>>,
    /// Whether requests reach the canary beside the weight, by a header route or a mirror.
    apart: bool,
    /// Why the data plane is known not to follow what the routers' objects say.
    lag: Option<String>,
    /// Hashes that routers' objects lead the canary's side to, and the stable side.
    leads: (Vec<String>, Vec<String>),
}

/// Decides about a canary.
pub(crate) fn decide<'a>(view: &'a View<'a>, strategy: &'a CanaryStrategy) -> Decision<'a> {
    let canary = handover::of(view, strategy);
    let mut decision = Decision {
        progress: view.progress.clone(),
        stable_rs: view.status.stable_rs.clone(),
        ..Decision::default()
    };
    let target = if canary.leaving {
        canary.leave_the_router(&mut decision)
    } else if canary.handover.is_some() {
        canary.hand_over(&mut decision)
    } else if view.is_initial() {
        canary.initial(&mut decision)
    } else if view.is_promoted() {
        canary.promoted(&mut decision)
    } else if view.progress.abort {
        canary.aborted(&mut decision)
    } else {
        canary.stepping(&mut decision)
    };
    canary.route(target, &mut decision);
    canary.select(&mut decision);
    let tidied = runs::tidy_after(view, &decision);
    decision.runs.extend(tidied);
    decision
}

impl<'a> Canary<'a> {
    fn steps(&self) -> usize {
        self.strategy.steps.len()
    }

    /// First deployment: no steps, no weights, all pods at once.
    fn initial(&self, decision: &mut Decision<'a>) -> i32 {
        let view = self.view;
        decision.progress = Progress {
            step_index: self.steps(),
            turn: view.progress.turn,
            ..Progress::default()
        };
        decision.create_with = view.replicas;
        decision.managed_routes = Some(Vec::new());
        if view.spec.paused && view.status.stable_rs.is_empty() && !view.is_scaling_event() {
            decision.wait_for("Paused", "paused by spec.paused", None);
            decision.freeze(view);
            return 0;
        }
        self.resize(self.steps(), decision);
        if enough(
            view.new_available(),
            view.replicas,
            self.strategy.replica_progress_threshold.as_ref(),
        ) && view.revisions.new.is_some()
        {
            self.promote("Initial deploy".to_owned(), decision);
        } else {
            self.wait_for_all(decision);
        }
        0
    }

    fn wait_for_all(&self, decision: &mut Decision<'a>) {
        let view = self.view;
        let message = format!(
            "{} of {} pods of revision {} are available",
            view.new_available(),
            view.replicas,
            view.revisions.number
        );
        decision.wait_for("WaitingForCapacity", message, None);
    }

    /// Nothing to update: keep size and selectors, let what is old go, and take the weight back once the stable Service
    /// leads to the same pods.
    fn promoted(&self, decision: &mut Decision<'a>) -> i32 {
        decision.progress = Progress {
            step_index: self.steps(),
            turn: self.view.progress.turn,
            ..Progress::default()
        };
        if self.view.progress.turn == Turn::BackToStable {
            decision.event("SkipSteps", "Rollback to stable ReplicaSets");
        }
        decision.create_with = self.view.replicas;
        decision.managed_routes = Some(Vec::new());
        self.resize(self.steps(), decision);
        if self.view.new_available() < self.view.replicas {
            self.wait_for_all(decision);
        }
        self.weight_when_promoted(decision)
    }

    /// Records the new ReplicaSet as stable. Services and weights follow in the next pass, from the status.
    fn promote(&self, reason: String, decision: &mut Decision<'a>) {
        decision.stable_rs.clone_from(&self.view.revisions.hash);
        decision.promotion = Some(reason);
        decision.swaps_sides =
            self.strategy.ping_pong.is_some() && !self.view.is_initial() && self.observed == self.total;
        decision.progress = Progress {
            step_index: self.steps(),
            turn: decision.progress.turn,
            ..Progress::default()
        };
        decision.wakes.push(self.view.now());
    }

    /// Which hash each Service must select.
    fn select(&self, decision: &mut Decision<'a>) {
        let view = self.view;
        if let Some(handover) = self.handover {
            return self.select_for_handover(handover, decision);
        }
        let stable_hash = self.stable_hash(decision.progress.abort);
        let mut want = |service: &str, hash: Option<String>| {
            if let Some(hash) = hash.filter(|_| !service.is_empty()) {
                decision.selectors.push((service.to_owned(), hash));
            }
        };
        let Sides {
            stable: stable_service,
            canary: canary_service,
        } = self.sides;
        want(stable_service, services::reachable(view, stable_service, stable_hash));
        if let Some(selected) = view.selected_hash(canary_service) {
            let lead = (selected, services::is_managed(view, canary_service));
            want(canary_service, self.canary_selector(lead, stable_hash));
        }
        for (service, hash) in ping_pong::beside(self.strategy, view, stable_hash) {
            want(service, Some(hash));
        }
    }

    /// Which hash a router's own objects must lead each side to, the canary's first: what the Service of that side would
    /// have to select.
    fn subset_hashes(&self, aborts: bool) -> (Option<String>, Option<String>) {
        let stable_hash = self.stable_hash(aborts);
        let canary = self.leads.0.first().and_then(|selected| {
            let selected = self.known(selected);
            self.canary_selector((selected, false), stable_hash)
        });
        let stable = self
            .leads
            .1
            .first()
            .and_then(|selected| services::reachable_from(self.view, self.known(selected), false, stable_hash));
        (canary, stable)
    }

    /// A hash of one of the Rollout's ReplicaSets; any other, as a placeholder, leads to no pods that could be lost.
    fn known<'s>(&self, hash: &'s str) -> &'s str {
        if self.view.revisions.with_hash(hash).is_some() {
            hash
        } else {
            ""
        }
    }

    /// The hash that requests to the canary are led to; empty for every version, `None` when nothing leads there.
    fn canary_lead(&self) -> Option<&str> {
        if self.sides.canary.is_empty() {
            return self.leads.0.first().map(String::as_str);
        }
        self.view.selected_hash(self.sides.canary)
    }

    /// The same for the stable side.
    fn stable_lead(&self) -> Option<&str> {
        if self.sides.stable.is_empty() {
            return self.leads.1.first().map(String::as_str);
        }
        self.view.selected_hash(self.sides.stable)
    }

    /// The hash to lead the canary's side to, which leads to `selected` now.
    fn canary_selector(&self, (selected, is_managed): (&str, bool), stable_hash: &str) -> Option<String> {
        if self.strategy.ping_pong.is_some() {
            return self.alternate_selector((selected, is_managed), stable_hash);
        }
        let view = self.view;
        let reachable = |wanted: &str| services::reachable_from(view, selected, is_managed, wanted);
        let hash = &view.revisions.hash;
        let leaves_update = view.is_initial() || view.is_promoted() || view.progress.abort;
        if leaves_update {
            // An aborted canary whose stable side cannot serve yet keeps its Service: traffic stays where healthy
            // pods are (guarantee T4).
            // So does one whose stable side has yet to grow back under the weight.
            let grows_back = self.strategy.dynamic_stable_scale && self.observed > 0 && !self.carried_hash.is_empty();
            let wanted = match view.is_initial() {
                true => hash,
                false if grows_back => &self.carried_hash,
                false => stable_hash,
            };
            return reachable(wanted);
        }
        // Endpoints and weights reach the data plane each on their own way. So a canary Service is never without
        // endpoints when a weight rises: while there are no pods of the canary, it leads to the stable ones (guarantee T2).
        if self.routed && self.observed == 0 && self.quiet && view.new_available() == 0 {
            return reachable(stable_hash);
        }
        // The Service of an update that was interrupted by a newer one must not be moved under a weight that still
        // sends requests to it.
        let free = !(self.routed || self.leaving)
            || self.carried_hash == *hash
            || (self.observed == 0 && self.quiet && !self.apart)
            || self.takes_over();
        if free && let Some(reached) = reachable(hash) {
            return Some(reached);
        }
        // A selector that was removed selects every version: repair it to where the weight was leading.
        if !selected.is_empty() && view.revisions.with_hash(selected).is_some() {
            return None;
        }
        let carried = reachable(&self.carried_hash).filter(|_| self.observed > 0 || self.apart);
        carried.or_else(|| reachable(stable_hash))
    }
}
