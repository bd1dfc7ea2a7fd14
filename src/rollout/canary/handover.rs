//! From the Services that the routers were told of to those that the specification names now, when ping-pong Services
//! come or go (guarantees T2 and T3). All requests go to the stable one of before; then, once the data plane follows and
//! the new one leads to the same pods, from there to the new stable one; then the update goes on from a weight of 0.

use super::Canary;
use crate::{
    api::strategy::CanaryStrategy,
    rollout::{
        decision::Decision,
        ping_pong::{self, Sides},
        services,
        view::View,
    },
};

/// How far requests are on their way to other Services.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Handover<'a> {
    /// They leave the canary of before; these Services come next.
    Leaving(Sides<'a>),
    /// All of them are sent to the new stable Service.
    Arriving,
}

/// The facts about this canary, with the Services that have the requests.
pub(super) fn of<'a>(view: &'a View<'a>, strategy: &'a CanaryStrategy) -> Canary<'a> {
    let next = ping_pong::sides(strategy, &view.status);
    let weights = view.status.canary.as_ref().and_then(|canary| canary.weights.as_ref());
    let moves = ping_pong::is_involved(strategy, &view.status)
        && strategy.traffic_routing.is_some()
        && !ping_pong::is_recorded_by_the_original(view, strategy);
    let before = ping_pong::recorded(weights).filter(|before| moves && !view.is_initial() && *before != next);
    let Some(before) = before else {
        return Canary::with(view, strategy, next, None);
    };
    let canary = Canary::with(view, strategy, before, Some(Handover::Leaving(next)));
    if !canary.has_left(next) {
        return canary;
    }
    // The routers move requests between two Services: from the old stable one to the new, where their objects know both.
    let across = Sides {
        canary: before.stable,
        ..next
    };
    let sides = if before.stable != next.stable && canary.fits(across) {
        across
    } else {
        next
    };
    Canary::with(view, strategy, sides, Some(Handover::Arriving))
}

impl<'a> Canary<'a> {
    /// Whether the objects of the routers may be told of the new Services; also when they know the old ones no more.
    fn has_left(&self, next: Sides<'_>) -> bool {
        let is_there = |service: &str| self.view.service(service).is_some();
        if !is_there(self.sides.stable) || !is_there(self.sides.canary) || !self.fits(self.sides) {
            return true;
        }
        let leads = self.view.selected_hash(next.stable) == Some(self.stable_hash(self.view.progress.abort));
        leads && !self.gets_requests()
    }

    /// Whether requests may reach the canary's Service.
    pub(super) fn gets_requests(&self) -> bool {
        self.observed > 0 || self.apart || !self.quiet
    }

    /// Nothing is sized or stepped until the requests are where the specification wants them.
    pub(super) fn hand_over(&self, decision: &mut Decision<'a>) -> i32 {
        decision.freeze(self.view);
        decision.hands_over = true;
        let weight = self.weight_when_aborted(decision);
        let message = "requests move to the Services that the specification names now";
        decision.wait_for("WaitingForDataPlane", message, self.settles_at());
        weight
    }

    /// The new stable Service leads to the stable pods before any request is sent to it; every other selector stays.
    pub(super) fn select_for_handover(&self, handover: Handover<'_>, decision: &mut Decision<'a>) {
        let Handover::Leaving(next) = handover else { return };
        let is_used = next.stable == self.sides.canary && self.gets_requests();
        let wanted = self.stable_hash(decision.progress.abort);
        if let Some(hash) = services::reachable(self.view, next.stable, wanted).filter(|_| !is_used) {
            decision.selectors.push((next.stable.to_owned(), hash));
        }
    }
}
