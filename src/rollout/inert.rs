//! Fields of a specification that are set and change nothing, because of others (guarantee C6). Nothing is wrong with
//! them; whoever set them probably meant something.

use crate::api::rollout::RolloutSpec;

/// A field without effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inert {
    /// Its path.
    pub field: &'static str,
    /// Why, and what to do instead.
    pub because: &'static str,
}

/// The fields of a specification that change nothing.
pub fn fields(spec: &RolloutSpec) -> Vec<Inert> {
    let mut found = Vec::new();
    let mut tell = |is_inert: bool, field, because| {
        if is_inert {
            found.push(Inert { field, because });
        }
    };
    let scaled_down = spec.workload_ref.as_ref().filter(|named| named.kind != "Deployment");
    tell(
        scaled_down.is_some_and(|named| !matches!(named.scale_down.as_str(), "" | "never")),
        "spec.workloadRef.scaleDown",
        "counts for a Deployment only",
    );
    if let Some(canary) = &spec.strategy.canary {
        let routed = canary.traffic_routing.is_some();
        tell(
            !routed && canary.abort_scale_down_delay_seconds.is_some(),
            "spec.strategy.canary.abortScaleDownDelaySeconds",
            "counts with trafficRouting only",
        );
        tell(
            !routed && canary.min_pods_per_replica_set.is_some(),
            "spec.strategy.canary.minPodsPerReplicaSet",
            "counts with trafficRouting only",
        );
        tell(
            routed && canary.max_surge.is_some() && !canary.dynamic_stable_scale,
            "spec.strategy.canary.maxSurge",
            "does not bound the pods of a canary with trafficRouting, whose sizes follow the weights; see setCanaryScale",
        );
        let beside =
            canary.ping_pong.is_some() && !(canary.stable_service.is_empty() && canary.canary_service.is_empty());
        tell(
            beside,
            "spec.strategy.canary.stableService",
            "gets no share of the requests beside pingPong, nor does canaryService; their selectors follow the versions",
        );
        let starting_step = canary.analysis.as_ref().and_then(|analysis| analysis.starting_step);
        let steps = canary.steps.len();
        tell(
            starting_step
                .and_then(|step| usize::try_from(step).ok())
                .is_some_and(|step| step > steps),
            "spec.strategy.canary.analysis.startingStep",
            "is beyond the last step, so this analysis never starts; steps count from 0",
        );
    }
    if let Some(blue_green) = &spec.strategy.blue_green {
        tell(
            blue_green.auto_promotion_enabled == Some(false) && blue_green.auto_promotion_seconds > 0,
            "spec.strategy.blueGreen.autoPromotionSeconds",
            "does not count with autoPromotionEnabled: false; remove one of the two",
        );
        tell(
            blue_green.preview_service.is_empty() && blue_green.preview_metadata.is_some(),
            "spec.strategy.blueGreen.previewMetadata",
            "marks pods that nothing leads to; set previewService to look at them",
        );
    }
    found
}
