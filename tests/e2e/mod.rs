//! The controller on a real cluster, each test in its own namespace.

mod api_conformance;
mod crds;
mod forge;
mod harness;
mod plugin;
mod rights;
mod rollout_bad_input;
mod rollout_canary;
mod rollout_crash;
mod rollout_failover;
mod rollout_features;
mod rollout_gateway;
mod rollout_manifests;
mod rollout_repair;
mod rollout_takeover;
mod rollout_traffic;
mod root_application;
mod site;
mod sync;
