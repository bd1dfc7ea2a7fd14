//! How far each Rollout is and what it waits for, as metrics: what the original has no series for. Read off the store at
//! scrape time.

use crate::{
    api::{rollout::Rollout, rollout_status::RolloutStatus},
    clock::SharedClock,
    k8s::{
        object_metrics::{Encoded, gauges, name, namespace},
        stores::Stores,
    },
};
use jiff::Timestamp;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use std::fmt;

/// Series about every Rollout.
pub struct ProgressMetrics {
    /// Where the Rollouts are.
    pub stores: Stores,
    /// What the time is, for the seconds waited.
    pub clock: SharedClock,
}

impl fmt::Debug for ProgressMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressMetrics").finish_non_exhaustive()
    }
}

impl Collector for ProgressMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        self.weights(&mut encoder)?;
        self.steps(&mut encoder)?;
        self.waits(&mut encoder)
    }
}

impl ProgressMetrics {
    fn weights(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let help = "Share of requests last written for a destination, in percent or of maxTrafficWeight";
        gauges(encoder, "rollout_weight", help, |series| {
            self.stores.rollouts.for_each(|rollout| {
                let canary = rollout.status.as_ref().and_then(|status| status.canary.as_ref());
                let Some(weights) = canary.and_then(|canary| canary.weights.as_ref()) else {
                    return;
                };
                for (destination, weight) in [("canary", &weights.canary.weight), ("stable", &weights.stable.weight)] {
                    let labels = [
                        ("namespace", namespace(rollout)),
                        ("name", name(rollout)),
                        ("destination", destination),
                    ];
                    series.add(&labels, i64::from(weight.0));
                }
            });
        })
    }

    fn steps(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let help = "Index of the current step, from 0; the number of steps when all are done";
        gauges(encoder, "rollout_current_step", help, |series| {
            self.stores.rollouts.for_each(|rollout| {
                let index = rollout.status.as_ref().and_then(|status| status.current_step_index);
                if let Some(index) = index {
                    series.add(
                        &[("namespace", namespace(rollout)), ("name", name(rollout))],
                        i64::from(index),
                    );
                }
            });
        })?;
        gauges(encoder, "rollout_steps", "Number of steps", |series| {
            self.stores.rollouts.for_each(|rollout| {
                if let Some(canary) = &rollout.spec.strategy.canary {
                    let count = i64::try_from(canary.steps.len()).unwrap_or(i64::MAX);
                    series.add(&[("namespace", namespace(rollout)), ("name", name(rollout))], count);
                }
            });
        })
    }

    fn waits(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let now = self.clock.now();
        let help = "Seconds since a Rollout that is under way last got on, by what it waits for";
        gauges(encoder, "rollout_waiting_seconds", help, |series| {
            self.stores.rollouts.for_each(|rollout| {
                let Some((reason, since)) = waits(rollout) else { return };
                let labels = [
                    ("namespace", namespace(rollout)),
                    ("name", name(rollout)),
                    ("reason", reason),
                ];
                series.add(&labels, now.duration_since(since).as_secs().max(0));
            });
        })
    }
}

/// What a Rollout waits for, and since when: the beginning of its pause, or else the last progress it made.
fn waits(rollout: &Rollout) -> Option<(&str, Timestamp)> {
    let status = rollout.status.as_ref()?;
    let paused = status.pause_conditions.first();
    let reason = match (&status.waiting_for, paused) {
        (Some(waiting), _) => waiting.reason.as_str(),
        (None, Some(paused)) => paused.reason.as_str(),
        (None, None) => return None,
    };
    let pause = paused.and_then(|paused| paused.start_time.as_ref());
    let since = pause.map(|time| time.0).or_else(|| last_progress(status))?;
    Some((reason, since))
}

fn last_progress(status: &RolloutStatus) -> Option<Timestamp> {
    let progressing = status.condition("Progressing")?;
    let updated = progressing.last_update_time.as_ref();
    updated.or(progressing.last_transition_time.as_ref()).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{provider::testing::StillClock, telemetry::metrics::Metrics};
    use serde_json::json;

    #[test]
    fn weight_step_and_wait_are_read_from_the_status() {
        let stores = Stores::default();
        let clock = StillClock::new();
        let now = crate::clock::Clock::now(&*clock);
        let before = |seconds: i64| (now - jiff::SignedDuration::from_secs(seconds)).to_string();
        let canary = json!({"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}]});
        let weights = json!({"canary": {"weight": 20}, "stable": {"weight": 80}});
        let paused = json!({
            "metadata": {"namespace": "shop", "name": "paused"}, "spec": {"strategy": {"canary": canary}},
            "status": {"currentStepIndex": 1, "canary": {"weights": weights},
                "waitingFor": {"reason": "CanaryPauseStep", "message": "the pause of this step"},
                "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": before(90)}]},
        });
        let pods = json!({
            "metadata": {"namespace": "shop", "name": "pods"}, "spec": {"strategy": {"blueGreen": {"activeService": "a"}}},
            "status": {"waitingFor": {"reason": "WaitingForCapacity", "message": "1 of 2 pods"},
                "conditions": [{"type": "Progressing", "status": "True", "lastUpdateTime": before(7), "lastTransitionTime": before(70)}]},
        });
        let healthy = json!({"metadata": {"namespace": "shop", "name": "healthy"}, "spec": {"strategy": {"canary": {}}},
            "status": {"phase": "Healthy"}});
        for rollout in [paused, pods, healthy] {
            stores.rollouts.put(serde_json::from_value(rollout).unwrap());
        }
        let metrics = Metrics::new();
        metrics.collect(Box::new(ProgressMetrics { stores, clock }));
        let page = metrics.render().unwrap();
        for line in [
            r#"rollout_weight{namespace="shop",name="paused",destination="canary"} 20"#,
            r#"rollout_weight{namespace="shop",name="paused",destination="stable"} 80"#,
            r#"rollout_current_step{namespace="shop",name="paused"} 1"#,
            r#"rollout_steps{namespace="shop",name="paused"} 3"#,
            r#"rollout_waiting_seconds{namespace="shop",name="paused",reason="CanaryPauseStep"} 90"#,
            r#"rollout_waiting_seconds{namespace="shop",name="pods",reason="WaitingForCapacity"} 7"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains(r#"rollout_waiting_seconds{namespace="shop",name="healthy""#));
    }
}
