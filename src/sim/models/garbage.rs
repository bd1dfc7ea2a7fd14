//! The garbage collector.

use super::{Model, later};
use crate::sim::api::{SimApi, kinds::Kind};
use jiff::Timestamp;
use std::time::Duration;

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
        (api.collect_garbage() > 0).then(|| later(now, Duration::from_millis(1)))
    }
}
