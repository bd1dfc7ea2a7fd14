//! A real Prometheus that scrapes the pods. Stub.

use std::{path::PathBuf, time::Duration};

/// How Prometheus is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for its configuration and data, made by the supervisor.
    pub dir: PathBuf,
    /// The `file_sd` JSON that [`crate::workload`] writes.
    pub targets_file: PathBuf,
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
}

/// The running Prometheus; dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
}

/// Starts Prometheus and waits until it is ready.
///
/// # Errors
/// When the program is missing or does not become ready.
pub async fn start(_options: Options) -> anyhow::Result<Prometheus> {
    Ok(Prometheus { url: String::new() })
}

impl Prometheus {
    /// Base address of its HTTP API.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Process ids of what it started.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Ends it and waits for it.
    pub async fn stop(self) {}
}
