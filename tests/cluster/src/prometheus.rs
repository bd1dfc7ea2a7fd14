//! A real Prometheus that scrapes the pods.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::process::{self, Program, Running};

/// How long Prometheus may take to become ready, and how often that is asked.
const START_MAX: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(25);

/// Another program may take a free port before Prometheus does.
const START_TRIES: usize = 3;

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
    running: Running,
    address: SocketAddr,
}

/// Starts Prometheus and waits until it is ready.
///
/// # Errors
/// When the program is missing or does not become ready.
pub async fn start(options: Options) -> Result<Prometheus> {
    let Some(path) = process::find_on_path("prometheus") else {
        bail!("Prometheus is not installed (Debian: apt-get install prometheus)");
    };
    let configuration = options.dir.join("prometheus.yml");
    fs::write(&configuration, configuration_text(&options))
        .with_context(|| format!("failed to write {}", configuration.display()))?;
    let mut tried = None;
    for _ in 0..START_TRIES {
        let address = free_address()?;
        let mut running = Program::new("prometheus", &path, &options.dir)
            .arguments([
                format!("--config.file={}", configuration.display()),
                format!("--storage.tsdb.path={}", options.dir.join("data").display()),
                format!("--web.listen-address={address}"),
                "--storage.tsdb.retention.time=1d".to_owned(),
                "--log.level=warn".to_owned(),
                // How soon targets found are scraped; 5 s if not said.
                "--scrape.discovery-reload-interval=100ms".to_owned(),
                // Beside a control plane on few cores; the garbage collector would otherwise take them all.
                "--query.max-concurrency=4".to_owned(),
            ])
            .environment("GOMAXPROCS", "2")
            .start()?;
        match until_ready(&mut running, address).await {
            Ok(()) => return Ok(Prometheus { running, address }),
            Err(error) => tried = Some(error),
        }
    }
    Err(tried.context("Prometheus was not tried")?)
}

impl Prometheus {
    /// Base address of its HTTP API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Process ids of what it started.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        vec![self.running.pid()]
    }

    /// Ends it and waits for it. Its data is not wanted any more, so it is not asked to save it.
    pub async fn stop(self) {
        self.running.kill().await;
    }
}

/// JSON, which is YAML too.
fn configuration_text(options: &Options) -> String {
    let interval = format!("{}ms", options.scrape_interval.as_millis());
    let configuration = json!({
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": [{
            "job_name": "pods",
            // The one target relays all pods; the labels it gives are those of the pods.
            "honor_labels": true,
            "file_sd_configs": [{"files": [options.targets_file], "refresh_interval": "1s"}],
        }],
    });
    configuration.to_string()
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port for Prometheus")?;
    listener
        .local_addr()
        .context("failed to find a free port for Prometheus")
}

async fn until_ready(running: &mut Running, address: SocketAddr) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let ready = async {
        loop {
            running.check_alive()?;
            let answer = client.get(format!("http://{address}/-/ready")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(START_POLL).await;
        }
    };
    let in_time = tokio::time::timeout(START_MAX, ready).await;
    in_time.with_context(|| format!("Prometheus was not ready within {START_MAX:?}"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_targets_and_interval() {
        let options = Options {
            dir: "/data".into(),
            targets_file: "/data/targets.json".into(),
            scrape_interval: Duration::from_millis(500),
        };
        let configuration: serde_json::Value = serde_json::from_str(&configuration_text(&options)).unwrap();
        assert_eq!(configuration["global"]["scrape_interval"], "500ms");
        assert_eq!(
            configuration["scrape_configs"][0]["file_sd_configs"][0]["files"][0],
            "/data/targets.json"
        );
    }
}
