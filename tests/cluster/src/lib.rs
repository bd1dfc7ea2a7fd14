//! A real Kubernetes cluster on loopback, for Tidegate's tests and its demo. Development only, never shipped.
//!
//! The binary `tidegate-cluster` is the supervisor: it starts etcd, the API server, the controller manager, the scheduler and KWOK's nodes, and beside them
//! pods that answer, an nginx ingress, a Prometheus and a Git server. Tests talk to it through [`Cluster`], which spawns the supervisor with a pipe and
//! reads the [`Descriptor`] it prints; when the pipe closes, however that comes about, the cluster goes away.
//!
//! Everything listens on 127.0.0.0/8 and keeps its files in one private temporary folder.

pub mod binaries;
pub mod control_plane;
pub mod descriptor;
pub mod gateway_api;
pub mod git;
pub mod handle;
pub mod ingress;
mod poll;
pub mod process;
pub mod prometheus;
pub mod reaper;
pub mod slot;
pub mod supervisor;
pub mod traffic;
pub mod workload;

use std::io::Write;

pub use self::{
    descriptor::Descriptor,
    handle::{Cluster, Options, shared},
    poll::eventually,
};

/// Says a line to the person at the terminal, who may be gone: then nobody minds.
pub fn progress(line: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "tidegate-cluster: {line}").ok();
}
