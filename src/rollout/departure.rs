//! What is taken back when a Rollout is gone: Deployments get their pods, and what leads to pods by their hash leads to
//! all that its user's own selector finds.
//!
//! Pods of the Rollout may still be there, or stay for good where it was deleted without its dependents. A Service without
//! the hash finds these as well, and finds those that take their place from their first moment on: no order of the two
//! leaves it without an endpoint that it had.

use super::{services, workload};
use crate::{
    api::workload::Workload,
    plan::{Action, Plan},
    traffic::{foreign::Foreign, release},
};
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};

/// What still carries the name of a Rollout that is gone.
#[derive(Clone, Debug)]
pub struct Remains<'a> {
    /// The name.
    pub rollout: &'a str,
    /// Deployments that it scaled down.
    pub scaled_down: Vec<&'a Workload>,
    /// Services that it manages.
    pub services: Vec<&'a Service>,
    /// Ingresses with annotations of it.
    pub ingresses: Vec<&'a Ingress>,
    /// Objects of other projects that it manages.
    pub foreign: Vec<Foreign<'a>>,
}

/// What to do about it. Every write is bound to the version that was seen (guarantee C3).
pub fn plan(remains: &Remains<'_>) -> Plan {
    let mut plan = workload::after_deletion(&remains.scaled_down);
    // One stage: no write waits for another, and one that is refused holds up none.
    let mut actions: Vec<Action> = plan.stages.drain(..).flat_map(|stage| stage.0).collect();
    let mut released: Vec<Action> = remains.services.iter().copied().map(services::release).collect();
    released.extend(release::releases(remains.rollout, &remains.ingresses, &remains.foreign));
    for action in &released {
        plan.because(
            "Releases",
            format!("{} is released: its Rollout is gone", action.target()),
        );
    }
    actions.extend(released);
    plan.stage(actions);
    plan
}
