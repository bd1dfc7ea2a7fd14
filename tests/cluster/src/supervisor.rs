//! Runs a whole cluster in the foreground: starts the parts in order, says where they are, and ends when it is told to or when its parent is gone.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    fs::{self, File},
    io::Read,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use kube::Client;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::Instant,
};
use tracing_subscriber::EnvFilter;

use crate::{
    binaries::{self, Binaries},
    control_plane::{self, ControlPlane},
    descriptor::{Descriptor, GitDescriptor},
    gateway_api,
    git::GitServer,
    ingress::{self, Ingress},
    progress,
    prometheus::{self, Prometheus},
    reaper,
    slot::Slot,
    workload::{self, Workload},
};

/// A part of the cluster that can be left out; the control plane always runs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub enum Part {
    /// nginx, and the controller that configures it.
    Ingress,
    /// Prometheus; needs [`Part::Workload`] for its targets.
    Prometheus,
    /// The Git server.
    Git,
    /// Pods that run and answer.
    Workload,
}

/// How a cluster is started.
#[derive(Clone, Debug, clap::Args)]
pub struct UpOptions {
    /// Parts to start beside the control plane, separated by commas; may be empty
    #[arg(long, value_name = "PARTS", default_value = "ingress,prometheus,git,workload", value_parser = Parts::parse)]
    pub with: Parts,
    /// How long after a change in the API the ingress follows it
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub propagation_delay: Duration,
    /// Time between two scrapes of a pod
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub scrape_interval: Duration,
    /// Folder in which the cluster makes its private folder [default: the system's temporary folder]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// End when standard input closes, that is when the parent ends or is killed
    #[arg(long)]
    pub parent_pipe: bool,
}

/// Which parts run beside the control plane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parts(pub Vec<Part>);

impl Parts {
    fn parse(text: &str) -> Result<Self, String> {
        let names = text.split(',').filter(|name| !name.is_empty());
        let parts: Self = Self(
            names
                .map(|name| Part::from_str(name, false))
                .collect::<Result<_, _>>()?,
        );
        if parts.has(Part::Prometheus) && !parts.has(Part::Workload) {
            return Err("prometheus scrapes the pods of workload, which is missing".to_owned());
        }
        Ok(parts)
    }

    fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }
}

impl Display for Parts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let values = self.0.iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        f.write_str(&names.join(","))
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits
        .parse()
        .map_err(|_error| format!("`{text}` is not a duration like 1s or 500ms"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("`{text}` needs a unit, ms or s")),
    }
}

/// Runs a cluster until it is told to stop. `ready` gets the descriptor once everything answers.
///
/// # Errors
/// When a part does not start, or ends while the cluster runs.
pub async fn up(options: UpOptions, ready: impl FnOnce(&Descriptor) -> Result<()>) -> Result<()> {
    let stop = stop_requested(options.parent_pipe)?;
    tokio::pin!(stop);
    let begun = Instant::now();
    let binaries = tokio::select! {
        binaries = binaries::ensure() => binaries?,
        reason = &mut stop => return say_stopped(&reason),
    };
    let built = Instant::now();
    let mut folder = tempfile::Builder::new();
    folder.prefix("tidegate-cluster-");
    let folder = match &options.dir {
        Some(dir) => {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            folder.tempdir_in(dir)
        }
        None => folder.tempdir(),
    }
    .context("cannot make the cluster's private folder")?;
    log_to(&folder.path().join("supervisor.log"))?;
    let reaper = reaper::start(&std::env::current_exe()?, folder.path())?;

    let mut parts = Started::default();
    let started = tokio::select! {
        started = parts.start(&options, &binaries, folder.path()) => started,
        reason = &mut stop => {
            parts.stop().await;
            return say_stopped(&reason);
        }
    };
    let mut descriptor = match started {
        Ok(descriptor) => descriptor,
        Err(error) => {
            parts.stop().await;
            return Err(error);
        }
    };
    descriptor.pids.insert("supervisor".to_owned(), std::process::id());
    descriptor.pids.insert("reaper".to_owned(), reaper);
    progress(&format!(
        "cluster ready in {:.1} s ({:.1} s with finding its programs)",
        built.elapsed().as_secs_f32(),
        begun.elapsed().as_secs_f32()
    ));
    ready(&descriptor)?;

    let result = tokio::select! {
        reason = &mut stop => say_stopped(&reason),
        end = parts.ended() => Err(end),
    };
    parts.stop().await;
    folder.close().context("cannot remove the cluster's private folder")?;
    result
}

/// The log goes to a file: standard error belongs to the person at the terminal, and may close.
fn log_to(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    // kube reports each failed look at a server that is still starting as an error.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_error| EnvFilter::new("info,kube_client=off"));
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter(filter)
        .with_writer(Mutex::new(file));
    subscriber
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot set up the log: {error}"))
}

#[expect(clippy::unnecessary_wraps, reason = "it ends a function that returns a result")]
fn say_stopped(reason: &str) -> Result<()> {
    progress(&format!("stopping: {reason}"));
    Ok(())
}

/// Resolves to the reason when somebody asks the supervisor to stop.
fn stop_requested(parent_pipe: bool) -> Result<impl Future<Output = String>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (parent_gone, parent) = oneshot::channel();
    if parent_pipe {
        // A thread of its own: tokio's standard input would hold up the end of the runtime.
        std::thread::spawn(move || {
            let mut ignored = [0; 64];
            while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
            parent_gone.send(()).ok();
        });
    } else {
        // Keeps the channel open for good; without a parent there is nobody to miss.
        std::mem::forget(parent_gone);
    }
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "interrupted".to_owned(),
            _ = terminate.recv() => "terminated".to_owned(),
            _ = hang_up.recv() => "the terminal is gone".to_owned(),
            _ = parent => "the parent is gone".to_owned(),
        }
    })
}

/// What runs, in the order of starting.
#[derive(Debug, Default)]
struct Started {
    slot: Option<Slot>,
    control_plane: Option<ControlPlane>,
    workload: Option<Workload>,
    ingress: Option<Ingress>,
    prometheus: Option<Prometheus>,
    git: Option<GitServer>,
}

impl Started {
    /// Starts the control plane, then the parts that were asked for.
    async fn start(&mut self, options: &UpOptions, binaries: &Binaries, dir: &Path) -> Result<Descriptor> {
        let mut slot = Slot::claim()?;
        let control_plane = ControlPlane::start(binaries, dir, &mut slot).await?;
        tracing::info!("The control plane is ready.");
        let client = control_plane::client(control_plane.kubeconfig()).await?;
        let mut descriptor = Descriptor {
            dir: dir.to_owned(),
            kubeconfig: control_plane.kubeconfig().to_owned(),
            kubectl: binaries.kubectl.clone(),
            api_server: control_plane.url().to_owned(),
            slot: slot.number(),
            ingress: None,
            prometheus: None,
            git: None,
            pids: control_plane.pids().into_iter().collect(),
        };
        let pod_range = slot.pod_range();
        self.slot = Some(slot);
        self.control_plane = Some(control_plane);

        if options.with.has(Part::Workload) {
            let workload_options = workload::Options {
                pod_range,
                dir: part_dir(dir, "workload")?,
            };
            let workload = workload::start(client.clone(), workload_options)
                .await
                .context("cannot start the workload")?;
            // A pod that ends must serve until the ingress has heard of it, however late that is.
            workload.set_drain(workload::drain_for(options.propagation_delay));
            self.workload = Some(workload);
        }
        if options.with.has(Part::Ingress) {
            self.start_ingress(client, options, &mut descriptor).await?;
        }
        if options.with.has(Part::Prometheus) {
            self.start_prometheus(options, &mut descriptor).await?;
        }
        if options.with.has(Part::Git) {
            let git = GitServer::start(part_dir(dir, "git")?)
                .await
                .context("cannot start the Git server")?;
            descriptor.git = Some(GitDescriptor {
                url: git.url(),
                control_url: git.control_url(),
                dir: git.dir().to_owned(),
            });
            self.git = Some(git);
        }
        Ok(descriptor)
    }

    async fn start_ingress(&mut self, client: Client, options: &UpOptions, descriptor: &mut Descriptor) -> Result<()> {
        gateway_api::install(&descriptor.kubectl, &descriptor.kubeconfig).await?;
        let ingress_options = ingress::Options {
            dir: part_dir(&descriptor.dir, "ingress")?,
            propagation_delay: options.propagation_delay,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
        };
        let ingress = ingress::start(client, ingress_options)
            .await
            .context("cannot start the ingress")?;
        tracing::info!("The ingress is ready.");
        descriptor.ingress = Some(format!("http://{}", ingress.http_address()));
        note_pids(&mut descriptor.pids, "nginx", &ingress.pids());
        self.ingress = Some(ingress);
        Ok(())
    }

    async fn start_prometheus(&mut self, options: &UpOptions, descriptor: &mut Descriptor) -> Result<()> {
        let workload = self
            .workload
            .as_ref()
            .context("Prometheus needs the workload's targets")?;
        let prometheus_options = prometheus::Options {
            dir: part_dir(&descriptor.dir, "prometheus")?,
            targets_file: workload.targets_file().to_owned(),
            scrape_interval: options.scrape_interval,
        };
        let prometheus = prometheus::start(prometheus_options)
            .await
            .context("cannot start Prometheus")?;
        tracing::info!("Prometheus is ready.");
        descriptor.prometheus = Some(prometheus.url());
        note_pids(&mut descriptor.pids, "prometheus", &prometheus.pids());
        self.prometheus = Some(prometheus);
        Ok(())
    }

    /// Waits until something ends that should not.
    async fn ended(&mut self) -> anyhow::Error {
        match &mut self.control_plane {
            Some(control_plane) => control_plane.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Stops what runs, clients before what they speak to.
    async fn stop(self) {
        let Self {
            slot,
            control_plane,
            workload,
            ingress,
            prometheus,
            git,
        } = self;
        if let Some(git) = git {
            git.stop().await;
        }
        if let Some(prometheus) = prometheus {
            prometheus.stop().await;
        }
        if let Some(ingress) = ingress {
            ingress.stop().await;
        }
        if let Some(workload) = workload {
            workload.stop().await;
        }
        if let Some(control_plane) = control_plane {
            control_plane.stop().await;
        }
        // Last: the addresses and ports are free only now.
        drop(slot);
    }
}

/// Makes a part's own folder.
fn part_dir(dir: &Path, name: &str) -> Result<PathBuf> {
    let folder = dir.join(name);
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn note_pids(pids: &mut BTreeMap<String, u32>, name: &str, of_part: &[u32]) {
    for (index, pid) in of_part.iter().enumerate() {
        let name = if index == 0 {
            name.to_owned()
        } else {
            format!("{name}-{index}")
        };
        pids.insert(name, *pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_a_list_that_may_be_empty() {
        let parse = |text: &str| Parts::parse(text).map(|parts| parts.to_string());
        assert_eq!(parse(""), Ok(String::new()));
        assert_eq!(
            parse("git,workload,prometheus"),
            Ok("git,workload,prometheus".to_owned())
        );
        assert!(parse("git,grafana").is_err());
        assert!(parse("prometheus").unwrap_err().contains("workload"));
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        for (text, expected) in [
            ("1s", Some(Duration::from_secs(1))),
            ("0s", Some(Duration::ZERO)),
            ("250ms", Some(Duration::from_millis(250))),
            ("5", None),
            ("s", None),
            ("1m", None),
            ("-1s", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected, "{text}");
        }
    }
}
