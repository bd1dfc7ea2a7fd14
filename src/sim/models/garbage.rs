//! The garbage collector.

use super::{Model, later};
use crate::sim::api::{SimApi, kinds::Kind};
use jiff::Timestamp;
use std::time::Duration;

/// Time between two looks while an object waits for its dependents to be gone.
const DEPENDENTS_CHECK: Duration = Duration::from_secs(5);

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Garbage;

impl Model for Garbage {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    /// Those that own something here.
    fn concerns(&self) -> &'static [Kind] {
        &[
            Kind::Rollout,
            Kind::ReplicaSet,
            Kind::AnalysisRun,
            Kind::Experiment,
            Kind::Service,
            Kind::Job,
            Kind::Namespace,
            // Those that are deleted in the foreground.
            Kind::ConfigMap,
            Kind::Deployment,
            Kind::HorizontalPodAutoscaler,
        ]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        // What was collected may own something in turn.
        if api.collect_garbage() > 0 {
            return Some(later(now, Duration::from_millis(1)));
        }
        // Pods come and go too often to be looked at each time, but a deletion in the foreground may wait for them.
        api.awaits_dependents().then(|| later(now, DEPENDENTS_CHECK))
    }
}
