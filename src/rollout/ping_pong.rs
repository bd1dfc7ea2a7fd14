//! Ping-pong Services: two that swap roles at each promotion, so that no selector of a Service that gets requests is ever
//! changed (reference, rollouts 1.3 and 2.6). Decides which of the two is stable; selectors and weights follow from that.

use super::{decision::Decision, services, view::View};
use crate::api::{
    rollout_status::{RolloutStatus, TrafficWeights},
    strategy::CanaryStrategy,
};

const PING: &str = "ping";
const PONG: &str = "pong";

/// The Services of the two sides; an empty name for one that is not named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sides<'a> {
    /// Leads to the stable version.
    pub(crate) stable: &'a str,
    /// Leads to the canary.
    pub(crate) canary: &'a str,
}

/// The Services that play the two roles now.
pub(crate) fn sides<'a>(strategy: &'a CanaryStrategy, status: &RolloutStatus) -> Sides<'a> {
    let Some(pair) = &strategy.ping_pong else {
        return Sides {
            stable: &strategy.stable_service,
            canary: &strategy.canary_service,
        };
    };
    if stable_ball(status) == PING {
        Sides {
            stable: &pair.ping_service,
            canary: &pair.pong_service,
        }
    } else {
        Sides {
            stable: &pair.pong_service,
            canary: &pair.ping_service,
        }
    }
}

/// Which of the two is stable. The original records it only with the first promotion after `pingPong` was set, and takes
/// pong until then; the first deployment of all ends with ping.
fn stable_ball(status: &RolloutStatus) -> &'static str {
    match status
        .canary
        .as_ref()
        .map_or("", |canary| canary.stable_ping_pong.as_str())
    {
        PING => PING,
        PONG => PONG,
        _ if status.stable_rs.is_empty() => PING,
        _ => PONG,
    }
}

/// The Services that the routers were last told of.
pub(crate) fn recorded(weights: Option<&TrafficWeights>) -> Option<Sides<'_>> {
    let weights = weights?;
    let sides = Sides {
        stable: &weights.stable.service_name,
        canary: &weights.canary.service_name,
    };
    (!sides.stable.is_empty() && !sides.canary.is_empty()).then_some(sides)
}

/// Whether ping-pong Services are, or were until now, those of the routers.
pub(crate) fn is_involved(strategy: &CanaryStrategy, status: &RolloutStatus) -> bool {
    let canary = status.canary.as_ref();
    strategy.ping_pong.is_some() || canary.is_some_and(|canary| !canary.stable_ping_pong.is_empty())
}

/// Whether the names that stand with the recorded weights are the original's, which takes them from `stableService` and
/// `canaryService` whatever Services it tells the routers of.
pub(crate) fn is_recorded_by_the_original(view: &View<'_>, strategy: &CanaryStrategy) -> bool {
    let Some(pair) = &strategy.ping_pong else { return false };
    let canary = view.status.canary.as_ref();
    let is_written = canary.is_some_and(|canary| canary.weights_written_at.is_some());
    let is_led = canary.is_some_and(|canary| !canary.stable_ping_pong.is_empty())
        || services::is_managed(view, &pair.ping_service)
        || services::is_managed(view, &pair.pong_service);
    !is_written && is_led
}

/// `status.canary.stablePingPong` after this decision.
pub(crate) fn to_record(view: &View<'_>, decision: &Decision<'_>) -> String {
    let canary = view.status.canary.as_ref();
    let before = canary.map_or("", |canary| canary.stable_ping_pong.as_str());
    // Until all requests are handed over the roles are those of the Services that have them.
    if decision.frozen || decision.hands_over {
        return before.to_owned();
    }
    let strategy = view.spec.strategy.canary.as_ref();
    if strategy.is_none_or(|strategy| strategy.ping_pong.is_none()) {
        return String::new();
    }
    let ball = match (stable_ball(&view.status), decision.swaps_sides) {
        (PING, false) | (PONG, true) => PING,
        _ => PONG,
    };
    ball.to_owned()
}

/// The weights as recorded once the roles are swapped: what the routers' objects say stays the same.
pub(crate) fn swapped(weights: TrafficWeights, hash: &str) -> TrafficWeights {
    let TrafficWeights {
        mut canary, mut stable, ..
    } = weights.clone();
    std::mem::swap(&mut canary, &mut stable);
    hash.clone_into(&mut canary.pod_template_hash);
    hash.clone_into(&mut stable.pod_template_hash);
    TrafficWeights {
        canary,
        stable,
        ..weights
    }
}

/// The Services of the other pair, which lead nobody's weights while ping-pong Services do, if both pairs are named.
pub(crate) fn beside<'a>(strategy: &'a CanaryStrategy, view: &View<'_>, stable_hash: &str) -> Vec<(&'a str, String)> {
    let Some(pair) = &strategy.ping_pong else {
        return Vec::new();
    };
    let busy = |name: &str| name.is_empty() || name == pair.ping_service || name == pair.pong_service;
    let canary_hash = if view.is_promoted() || view.progress.abort {
        stable_hash
    } else {
        &view.revisions.hash
    };
    let wanted = [
        (strategy.stable_service.as_str(), stable_hash),
        (strategy.canary_service.as_str(), canary_hash),
    ];
    let named = wanted.into_iter().filter(|(name, _)| !busy(name));
    named
        .filter_map(|(name, hash)| Some((name, services::reachable(view, name, hash)?)))
        .collect()
}

/// Whether Services that the specification names no more may lose their selector: the data plane had time to learn
/// that the routers' objects name others (guarantee T3).
pub(crate) fn may_release(view: &View<'_>) -> bool {
    let Some(canary) = &view.status.canary else { return true };
    let pending = (canary.weights.as_ref()).is_some_and(|weights| weights.verified == Some(false));
    let drained =
        |written: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| view.drained_at(written.0) <= view.now();
    !pending && canary.weights_written_at.as_ref().is_none_or(drained)
}
