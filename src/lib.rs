//! Tidegate: progressive delivery and GitOps for Kubernetes in one binary.
//!
//! Every controller is the same three words, `observe → plan → apply`: a snapshot of objects is read from watch
//! stores, a pure function decides what to do about it, and a small executor carries that out. The modules below are
//! listed in reading order, from words to wiring; a module imports only from modules above its own layer
//! (`docs/architecture.md` has the map, `tests/tidy.rs` checks it).

// L0: words.
pub mod api;
pub mod class;
pub mod json;
pub mod lang;

// L1: decisions. Pure: no client, no clock, no task, no environment.
pub mod analysis;
pub mod experiment;
pub mod plan;
pub mod rollout;
pub mod sync;
pub mod traffic;

// L2: adapters. Input and output, no decisions.
pub mod clock;
pub mod http;
pub mod k8s;
pub mod live;
pub mod process;
pub mod provider;
pub mod repo;
pub mod telemetry;

// L3: shells.
pub mod cli;
pub mod controllers;
pub mod server;
pub mod sim;
