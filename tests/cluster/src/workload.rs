//! Plays kubelet and workload for every pod. Stub.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// How the workload process is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The values of `a` in pod addresses 10.244.a.b that this cluster may hand out.
    pub pod_range: Range<u8>,
    /// Folder for its files, made by the supervisor.
    pub dir: PathBuf,
}

/// The running workload; dropping it ends it.
#[derive(Debug)]
pub struct Workload {
    targets_file: PathBuf,
}

/// Starts serving the pods of the cluster `client` speaks to.
///
/// # Errors
/// When the targets file cannot be written.
pub async fn start(_client: kube::Client, options: Options) -> anyhow::Result<Workload> {
    let targets_file = options.dir.join("targets.json");
    tokio::fs::write(&targets_file, "[]").await?;
    Ok(Workload { targets_file })
}

impl Workload {
    /// The file-based service discovery that names every pod for Prometheus.
    #[must_use]
    pub fn targets_file(&self) -> &Path {
        &self.targets_file
    }

    /// Ends it and waits for its tasks.
    pub async fn stop(self) {}
}
