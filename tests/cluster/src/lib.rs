//! A real Kubernetes cluster on loopback, for Tidegate's tests and its demo. Development only, never shipped.
//!
//! Everything listens on 127.0.0.0/8 and keeps its files in one private temporary folder.

pub mod ingress;
pub mod process;
pub mod prometheus;
pub mod reaper;
pub mod workload;
