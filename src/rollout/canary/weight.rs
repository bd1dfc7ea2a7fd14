//! The weight of a canary: what the router's objects say, what they should say, and since when.

use super::{Canary, handover::Handover};
use crate::{
    api::{
        replica_set::ReplicaSet,
        rollout_status::{TrafficWeights, Weight, WeightDestination},
        scalar::wire_time,
        strategy::CanaryStrategy,
    },
    plan::Action,
    rollout::{
        decision::Decision,
        ping_pong::{self, Sides},
        replicas::share,
        view::View,
    },
    traffic::{
        self, Objects, Router, Routing, Wanted, Weights, nginx,
        routes::{Route, routes_at},
    },
};

/// The objects that routers look at.
fn objects<'a>(view: &'a View<'a>) -> Objects<'a> {
    Objects {
        ingresses: &view.snapshot.ingresses,
        foreign: &view.snapshot.foreign,
        served: view.snapshot.served,
    }
}

fn wanted<'a>(view: &View<'a>, sides: Sides<'a>, weights: Weights, routes: Option<&'a [Route<'a>]>) -> Wanted<'a> {
    Wanted {
        rollout: view.snapshot.rollout,
        stable_service: sides.stable,
        canary_service: sides.canary,
        weights,
        routes,
        stable_hash: None,
        canary_hash: None,
        quiet: false,
    }
}

impl<'a> Canary<'a> {
    pub(super) fn with(
        view: &'a View<'a>,
        strategy: &'a CanaryStrategy,
        sides: Sides<'a>,
        handover: Option<Handover<'a>>,
    ) -> Self {
        let routing = strategy.traffic_routing.as_ref();
        let status = view.status.canary.clone().unwrap_or_default();
        let total = routing
            .and_then(|routing| routing.max_traffic_weight)
            .filter(|total| *total > 0)
            .unwrap_or(100);
        let (rollout, ingresses) = (view.snapshot.rollout, view.snapshot.ingresses.as_slice());
        let routers = routing.map(Router::all).unwrap_or_default();
        let wanted = wanted(view, sides, Weights { canary: 0, total }, None);
        let traffic = traffic::seen(&routers, &wanted, objects(view));
        // What the specification names no more may still send requests.
        let left_behind = match routing.is_some_and(|routing| routing.nginx.is_some()) {
            true => 0,
            false => nginx::left_behind(rollout, ingresses),
        };
        let observed = traffic.weight.max(left_behind);
        let recorded = status.weights.as_ref().map_or(0, |weights| weights.canary.weight.0);
        let everywhere = traffic.everywhere && (routers.is_empty() || left_behind == 0);
        let seen = (status.weights.as_ref()).is_none_or(|weights| weights.verified != Some(false));
        // A status without this time was written by the original, or long ago. A weight that is not the recorded one
        // was written, or changed by somebody, at a time that is not known.
        let quiet = recorded == observed
            && everywhere
            && traffic.lag.is_none()
            && seen
            && (status.weights_written_at.as_ref()).is_none_or(|written| view.drained_at(written.0) <= view.now());
        let left = observed == 0 && quiet && nginx::retire(rollout, ingresses).is_empty();
        Self {
            view,
            strategy,
            sides,
            handover,
            total,
            routed: routing.is_some(),
            observed,
            leaving: routing.is_none() && (observed > 0 || status.weights.is_some()) && !left,
            quiet,
            carried_hash: status
                .weights
                .map(|weights| weights.canary.pod_template_hash)
                .unwrap_or_default(),
            routers,
            apart: traffic.routed_apart,
            lag: traffic.lag,
            leads: (traffic.canary_leads, traffic.stable_leads),
        }
    }

    fn persisted(&self) -> Option<&TrafficWeights> {
        self.view
            .status
            .canary
            .as_ref()
            .and_then(|canary| canary.weights.as_ref())
    }

    /// Whether requests are known to be split at `weight` by now.
    pub(super) fn settled(&self, weight: i32) -> bool {
        // A rollout of no pods has no requests to split.
        if self.view.replicas == 0 && self.observed == 0 {
            return true;
        }
        let recorded = self.persisted().map_or(0, |weights| weights.canary.weight.0);
        if self.observed != weight || recorded != weight || !self.quiet {
            return false;
        }
        weight == 0 || (self.carried_hash == self.view.revisions.hash && self.leads_to_new())
    }

    fn leads_to_new(&self) -> bool {
        let hash = &self.view.revisions.hash;
        self.canary_lead() == Some(hash.as_str()) && self.leads.0.iter().all(|lead| lead == hash)
    }

    /// When the data plane is taken to follow the weight last written.
    pub(super) fn settles_at(&self) -> Option<jiff::Timestamp> {
        let written = self.view.status.canary.as_ref()?.weights_written_at.as_ref()?;
        Some(self.view.drained_at(written.0)).filter(|at| *at > self.view.now())
    }

    /// Whether the pods of the newest version take over the weight of an interrupted one: nobody else could, because the
    /// stable pods are not there. A cure for a broken stable version must not wait for that version (guarantee T2).
    pub(super) fn takes_over(&self) -> bool {
        let needed = share(self.view.replicas, self.observed, self.total).max(1);
        self.routed && self.observed > 0 && !self.stable_can_take(0) && self.view.new_available() >= needed
    }

    /// Whether a standing weight leads to the newest version since the last look (see [`Self::takes_over`]).
    fn taken_over(&self, decision: &Decision<'_>) -> bool {
        let steps = !self.view.is_promoted() && !self.view.is_initial() && !decision.progress.abort;
        steps && self.observed > 0 && self.carried_hash != self.view.revisions.hash && self.leads_to_new()
    }

    /// The weight to write while stepping, when the step asks for `wanted`.
    pub(super) fn weight_when_stepping(&self, wanted: i32, capacity: bool, decision: &mut Decision<'_>) -> i32 {
        if !self.routed {
            return 0;
        }
        let view = self.view;
        let wanted = if self.is_interrupted() || view.new_available() == 0 {
            0
        } else {
            wanted
        };
        if wanted > self.observed {
            // Guarantee T2: the pods for it are available, and the canary Service already leads to them.
            return if capacity && self.leads_to_new() {
                wanted
            } else {
                self.observed
            };
        }
        if wanted < self.observed && !self.stable_can_take(wanted) {
            decision.wait_for("WaitingForStableCapacity", self.stable_capacity(wanted), None);
            return self.observed;
        }
        wanted
    }

    /// Whether requests still reach the pods of an update that a newer one interrupted.
    fn is_interrupted(&self) -> bool {
        (self.observed > 0 || self.apart) && self.carried_hash != self.view.revisions.hash
    }

    /// The header and mirror routes at a step. None lead to a canary without pods, or to another version's
    /// (guarantee T2).
    pub(super) fn routes_when_stepping(&self, index: usize) -> Vec<Route<'a>> {
        if self.withholds_routes() {
            return Vec::new();
        }
        routes_at(self.strategy, index)
    }

    fn withholds_routes(&self) -> bool {
        self.is_interrupted() || self.view.new_available() == 0 || !self.leads_to_new()
    }

    /// The routes to write at a step; `None` while what is there stays, because the change is to be announced first, as
    /// a raise of the weight is.
    pub(super) fn routes_to_write(&self, index: usize, decision: &mut Decision<'a>) -> Option<Vec<Route<'a>>> {
        let routes = self.routes_when_stepping(index);
        let is_announced = self.persisted().is_some_and(|weights| weights.verified == Some(false));
        let names_none =
            (self.strategy.traffic_routing.as_ref()).is_none_or(|routing| routing.managed_routes.is_empty());
        // What is withheld goes at once: nobody answers there, or another version's pods do, which go slowly by themselves.
        if is_announced || names_none || self.withholds_routes() {
            return Some(routes);
        }
        let edits = |routes| -> Vec<Action> { self.routings(routes).flat_map(|routing| routing.edits).collect() };
        decision.announces_routes = edits(Some(&routes)) != edits(None);
        (!decision.announces_routes).then_some(routes)
    }

    /// What the routers would do for these routes under the weight that stands.
    fn routings<'r>(&'r self, routes: Option<&'r [Route<'r>]>) -> impl Iterator<Item = Routing> + 'r {
        self.routings_of(self.sides, routes)
    }

    fn routings_of<'r>(
        &'r self,
        sides: Sides<'r>,
        routes: Option<&'r [Route<'r>]>,
    ) -> impl Iterator<Item = Routing> + 'r {
        let weights = Weights {
            canary: self.observed,
            total: self.total,
        };
        let wanted = wanted(self.view, sides, weights, routes);
        let routers = self.routers.iter();
        routers.map(move |router| router.route(&wanted, objects(self.view)))
    }

    /// Whether the routers' objects know both Services.
    pub(super) fn fits(&self, sides: Sides<'_>) -> bool {
        self.routings_of(sides, None).all(|routing| routing.problems.is_empty())
    }

    /// Whether the routers' objects hold the routes of a step, and the data plane follows.
    pub(super) fn routes_stand(&self, index: usize) -> bool {
        let routes = routes_at(self.strategy, index);
        if self.routes_when_stepping(index) != routes {
            return false;
        }
        self.quiet && self.routings(Some(&routes)).all(|routing| routing.written)
    }

    /// Whether the stable pods can take what `canary_weight` leaves to them. No stable pod is needed where no canary
    /// pod could serve either.
    pub(super) fn stable_can_take(&self, canary_weight: i32) -> bool {
        let needed = share(self.view.replicas, self.total - canary_weight, self.total);
        let floor = if self.strategy.dynamic_stable_scale {
            needed
        } else {
            needed.min(1)
        };
        self.stable_available() >= floor || self.canary_available() == 0
    }

    /// Available pods that the canary's share of requests reaches: after an interrupted update those of the older one.
    fn canary_available(&self) -> i32 {
        match self.canary_lead() {
            None | Some("") => self.view.new_available(),
            Some(hash) => self.view.revisions.with_hash(hash).map_or(0, ReplicaSet::available),
        }
    }

    pub(super) fn stable_capacity(&self, canary_weight: i32) -> String {
        let needed = share(self.view.replicas, self.total - canary_weight, self.total);
        format!(
            "{} of {needed} stable pods are available to take their share of requests",
            self.stable_available()
        )
    }

    /// After an abort: nothing goes to the canary as soon as the stable pods can take it (guarantees T4 and T5).
    pub(super) fn weight_when_aborted(&self, decision: &mut Decision<'_>) -> i32 {
        if self.stable_can_take(0) {
            decision.managed_routes = Some(Vec::new());
            return 0;
        }
        decision.wait_for("WaitingForStableCapacity", self.stable_capacity(0), None);
        if !self.strategy.dynamic_stable_scale || self.view.replicas == 0 {
            return self.observed;
        }
        // The stable side grows back step by step; it takes what it can now.
        let taken = i64::from(self.stable_available()) * i64::from(self.total) / i64::from(self.view.replicas);
        self.observed
            .min((self.total - i32::try_from(taken).unwrap_or(self.total)).max(0))
    }

    /// After promotion both Services lead to the same pods; the weight goes once the data plane knows that.
    pub(super) fn weight_when_promoted(&self, decision: &mut Decision<'_>) -> i32 {
        let view = self.view;
        if self.observed == 0 {
            return 0;
        }
        if self.carried_hash != view.revisions.hash {
            // Back to the stable template in the middle of an update: as after an abort (guarantee T4).
            return self.weight_when_aborted(decision);
        }
        if !self.stable_follows() {
            let message = "the stable Service still selects older pods";
            decision.wait_for("WaitingForStableCapacity", message, None);
            return self.observed;
        }
        // Of ping-pong Services the one that is stable had the requests already; the other must not get any.
        if self.strategy.ping_pong.is_some() {
            return self.weight_when_aborted(decision);
        }
        // The write that is waited for here is that of the stable Service, see `clocked`.
        if !self.quiet {
            let message = "the data plane learns the new stable pods";
            decision.wait_for("WaitingForDataPlane", message, self.settles_at());
            return self.observed;
        }
        0
    }

    /// Whether the stable Service leads to the promoted pods.
    fn stable_follows(&self) -> bool {
        let hash = &self.view.revisions.hash;
        self.stable_lead() == Some(hash.as_str()) && self.leads.1.iter().all(|lead| lead == hash)
    }

    /// Starts the clock of the drain time. It starts with a write, and once more when the write is first seen: that it
    /// was done only later than it was decided must not shorten the drain. In between `verified` is false.
    ///
    /// After promotion the stable Service is led elsewhere under a standing weight, which counts as such a write.
    fn clocked(&self, target: i32, reweighted: bool, weights: &mut TrafficWeights, decision: &mut Decision<'_>) {
        let view = self.view;
        let before = self.persisted();
        let recorded = before.map_or(0, |weights| weights.canary.weight.0);
        let pending = before.is_some_and(|weights| weights.verified == Some(false));
        // The drain time begins when who carries out the weights says that they were taken up.
        let follows = (view.is_promoted() && target > 0 && !self.stable_follows()) || self.lag.is_some();
        let written = reweighted || self.observed != target || recorded != target;
        let starts = written || (follows && !pending);
        weights.verified = (starts || (pending && follows)).then_some(false);
        if starts || (pending && !follows) {
            decision.weights_written_at = Some(wire_time(view.now()));
            decision.wakes.push(view.drained_at(wire_time(view.now()).0));
        } else {
            let status = view.status.canary.as_ref();
            decision.weights_written_at = status.and_then(|status| status.weights_written_at.clone());
        }
    }

    /// The router was taken out of the specification in mid-update: nothing is sized or stepped until requests have left
    /// the canary Ingress, which only the pods at their present size can serve (guarantees T3 and T4).
    pub(super) fn leave_the_router(&self, decision: &mut Decision<'a>) -> i32 {
        decision.freeze(self.view);
        let weight = self.weight_when_aborted(decision);
        let message = "requests leave the canary Ingress that the specification names no more";
        decision.wait_for("WaitingForDataPlane", message, self.settles_at());
        weight
    }

    /// Writes `target` to the routers and records it.
    pub(super) fn route(&self, target: i32, decision: &mut Decision<'a>) {
        if !self.routed && !self.leaving {
            return;
        }
        let view = self.view;
        decision.wakes.extend(self.settles_at());
        let mut reweighted = false;
        let routes = decision.managed_routes.take();
        // A raise is announced by the status before it is written: were it written first and its status lost, and then
        // taken back, nobody would know that requests may still be on their way to the canary (guarantees D4 and T3).
        let is_announced = self.persisted().is_some_and(|weights| {
            weights.canary.weight.0 == target && weights.canary.pod_template_hash == view.revisions.hash
        });
        let raises = target > self.observed && !is_announced;
        if raises || decision.announces_routes {
            decision.wakes.push(view.now());
        }
        let weights = Weights {
            canary: if raises { self.observed } else { target },
            total: self.total,
        };
        let mut leads = self.leads.0.iter().chain(&self.leads.1);
        decision.leads_elsewhere = leads.any(|lead| *lead != view.revisions.hash);
        let (canary_hash, stable_hash) = self.subset_hashes(decision.progress.abort);
        let wanted = Wanted {
            stable_hash: stable_hash.as_deref(),
            canary_hash: canary_hash.as_deref(),
            quiet: self.quiet && self.observed == 0,
            ..wanted(view, self.sides, weights, routes.as_deref())
        };
        for router in &self.routers {
            let routing = router.route(&wanted, objects(view));
            reweighted |= routing.reweighted;
            decision.routes.extend(routing.edits);
            for (reason, message) in routing.events {
                decision.event(reason, message);
            }
            // The condition names it from now on; the event is told once.
            if view.status.condition("InvalidSpec").is_none() {
                for problem in routing.problems {
                    decision.warning("TrafficRoutingError", problem);
                }
            }
        }
        let has_nginx = self.routers.iter().any(|router| matches!(router, Router::Nginx(_)));
        let may_retire = if self.leaving {
            target == 0
        } else {
            self.stable_can_take(0)
        };
        if !has_nginx && may_retire {
            let edits = nginx::retire(view.snapshot.rollout, &view.snapshot.ingresses);
            reweighted |= !edits.is_empty();
            decision.routes.extend(edits);
        }
        let destination = |weight, service: &str, hash: &str| WeightDestination {
            weight: Weight(weight),
            service_name: service.to_owned(),
            pod_template_hash: hash.to_owned(),
        };
        // A weight above zero stays with the pods it was raised for; only at zero does it change hands.
        let taken_over = target > 0 && self.taken_over(decision);
        let stands = (target > 0 && self.observed > 0) || self.apart;
        let keeps_hands = stands && !self.carried_hash.is_empty() && !taken_over;
        let canary_hash = if keeps_hands {
            &self.carried_hash
        } else {
            &view.revisions.hash
        };
        let stable_hash = self.stable_hash(decision.progress.abort);
        let mut weights = TrafficWeights {
            canary: destination(target, self.sides.canary, canary_hash),
            stable: destination(self.total - target, self.sides.stable, stable_hash),
            ..TrafficWeights::default()
        };
        let before = self.persisted().map(|weights| weights.canary.weight.0);
        let announces = decision.announces_routes;
        self.clocked(target, reweighted || taken_over || announces, &mut weights, decision);
        match before {
            Some(before) if before != target => {
                decision.event(
                    "TrafficWeightUpdated",
                    format!("Traffic weight updated from {before} to {target}"),
                );
            }
            None if target > 0 => decision.event("TrafficWeightUpdated", format!("Traffic weight updated to {target}")),
            _ => {}
        }
        decision.weights = Some(match decision.swaps_sides {
            true => ping_pong::swapped(weights, &view.revisions.hash),
            false => weights,
        });
    }
}
