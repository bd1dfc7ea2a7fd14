//! Plays kubelet and workload for every pod of a cluster, in one process.
//!
//! A pod with the IP `10.244.a.b` answers on `127.244.a.b`, which needs neither routes nor rights. Its image says how:
//!
//! | image | behaviour |
//! |---|---|
//! | `demo:v2` | answers `v2` with the headers `X-Version: v2` and `X-Pod: <name>` |
//! | `demo:v2-errors30` | fails 30 % of requests with 500, evenly spread |
//! | `demo:v2-slow500` | answers 500 ms later |
//! | `demo:v2-crash` | never becomes ready; `restartCount` rises |
//! | `demo:v2-ready5` | becomes ready, and listens, after 5 s |
//! | `demo:v2-exit3` | in a Job pod without a command: ends with exit code 3 |
//! | any other | answers its tag |
//!
//! Options combine (`demo:v3-errors30-slow500`). `/metrics` and `/healthz` always answer and are not counted.
//!
//! # How a pod ends without a failed request
//!
//! From the moment a pod is marked for deletion, its EndpointSlice says not ready, but the ingress learns it only after its propagation delay.
//! So the pod goes on serving, new connections too, for the shorter of its grace period and its containers' preStop sleep
//! (without one, the drain of [`Workload::set_drain`]); then it stops listening, finishes what is in flight and is
//! deleted. No request is lost as long as the drain is longer than the ingress' propagation delay plus a second.
//!
//! Probes are not run and volumes not mounted. Ports under 1024 need the right to bind them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

pub(crate) use self::address::loopback_twin;
use self::{
    address::Addresses,
    metrics::Registry,
    pod::{Actor, Life},
};

mod address;
mod image;
mod job;
mod metrics;
mod pod;
mod server;
mod status;

/// Drain of a pod unless said otherwise: twice the ingress' usual propagation delay.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(2);

/// The drain that loses no request behind an ingress of this propagation delay: the delay, a reload, and time to spare.
#[must_use]
pub fn drain_for(propagation_delay: Duration) -> Duration {
    (propagation_delay + Duration::from_secs(1)).max(DRAIN_DEFAULT)
}

/// How pods are played.
#[derive(Clone, Debug)]
pub struct Options {
    /// Values of the third octet of this cluster's pod IPs; clusters side by side need disjoint ranges.
    pub pod_range: Range<u8>,
    /// Folder for the Prometheus service discovery file, made by the supervisor.
    pub dir: PathBuf,
}

/// What all pods share.
#[derive(Debug)]
struct Shared {
    addresses: Addresses,
    registry: Registry,
    drain_milliseconds: AtomicU64,
}

impl Shared {
    fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_milliseconds.load(Ordering::Relaxed))
    }

    fn set_drain(&self, drain: Duration) {
        self.drain_milliseconds
            .store(u64::try_from(drain.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The running workload. Everything stops at once when it is dropped; the pods' objects stay as they are.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    targets_file: PathBuf,
    metrics_address: SocketAddr,
    tasks: JoinSet<()>,
}

/// Starts to play every pod of the cluster.
///
/// # Errors
/// When the metrics port cannot be bound or the targets file not written.
pub async fn start(client: Client, options: Options) -> anyhow::Result<Workload> {
    let Options { pod_range, dir } = options;
    let targets_file = dir.join("targets.json");
    let shared = Arc::new(Shared {
        addresses: Addresses::new(pod_range),
        registry: Registry::default(),
        drain_milliseconds: AtomicU64::default(),
    });
    shared.set_drain(DRAIN_DEFAULT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("failed to bind the pods' metrics port")?;
    let metrics_address = listener.local_addr().context("failed to read the pods' metrics port")?;
    write_targets(&targets_file, metrics_address)
        .with_context(|| format!("failed to write the targets file {}", targets_file.display()))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_metrics(listener, shared.registry.clone()));
    tasks.spawn(play_pods(client, Arc::clone(&shared)));
    Ok(Workload {
        shared,
        targets_file,
        metrics_address,
        tasks,
    })
}

impl Workload {
    /// The Prometheus service discovery file. It names one target, which relays the metrics of every pod with the
    /// labels `namespace`, `pod`, `app`, `version`, `rollouts_pod_template_hash` and `instance` (scrape it with
    /// `honor_labels`).
    ///
    /// Prometheus takes up to 10 s to notice a new target (two tickers of 5 s that no option shortens), but one
    /// scrape to notice new series of a known one.
    #[must_use]
    pub fn targets_file(&self) -> &Path {
        &self.targets_file
    }

    /// Where the metrics of every pod are read (`/metrics`).
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// How long a pod goes on serving after it was marked for deletion, at most its grace period: [`DRAIN_DEFAULT`] until set.
    /// Holds for every pod that ends from now on.
    pub fn set_drain(&self, drain: Duration) {
        self.shared.set_drain(drain);
    }

    /// Stops all pods at once, without touching their objects.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Writes the service discovery file in one step, so that Prometheus never reads half of it.
fn write_targets(file: &Path, metrics_address: SocketAddr) -> anyhow::Result<()> {
    let targets = json!([{"targets": [metrics_address.to_string()], "labels": {}}]);
    let directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&mut new, &targets)?;
    new.persist(file)?;
    Ok(())
}

async fn serve_metrics(listener: TcpListener, registry: Registry) {
    let answer = move || async move {
        (
            [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            registry.render(),
        )
    };
    let router = Router::new().route("/metrics", get(answer));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, "The pods' metrics are no longer served.");
    }
}

/// A pod being played.
struct Played {
    pod: watch::Sender<Arc<Pod>>,
    life: watch::Sender<Life>,
    task: JoinHandle<()>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Watches all pods and plays each one that has a node.
async fn play_pods(client: Client, shared: Arc<Shared>) {
    let events = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut played = Stage {
        client,
        shared,
        pods: BTreeMap::new(),
    };
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                listed.extend(pod.metadata.uid.clone());
                played.apply(pod);
            }
            Ok(watcher::Event::InitDone) => played.keep_only(&listed),
            Ok(watcher::Event::Apply(pod)) => played.apply(pod),
            Ok(watcher::Event::Delete(pod)) => played.remove(pod.metadata.uid.as_deref()),
            Err(error) => tracing::debug!(%error, "The watch of pods was interrupted."),
        }
    }
}

/// All pods being played, by UID.
struct Stage {
    client: Client,
    shared: Arc<Shared>,
    pods: BTreeMap<String, Played>,
}

impl Stage {
    fn apply(&mut self, pod: Pod) {
        let scheduled = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let Some(uid) = pod.metadata.uid.clone().filter(|_| scheduled) else {
            return;
        };
        let life = Life::of(&pod);
        if let Some(played) = self.pods.get(&uid) {
            played.pod.send_replace(Arc::new(pod));
            played
                .life
                .send_if_modified(|known| std::mem::replace(known, life) != life);
            return;
        }
        let (pod, pod_seen) = watch::channel(Arc::new(pod));
        let (life, life_seen) = watch::channel(life);
        let actor = Actor::new(Arc::clone(&self.shared), self.client.clone(), pod_seen, life_seen);
        self.pods.insert(
            uid,
            Played {
                pod,
                life,
                task: tokio::spawn(actor.run()),
            },
        );
    }

    fn remove(&mut self, uid: Option<&str>) {
        // Dropping it ends the actor, and with it server, address and metrics.
        self.pods.retain(|known, _| Some(known.as_str()) != uid);
    }

    fn keep_only(&mut self, listed: &BTreeSet<String>) {
        self.pods.retain(|uid, _| listed.contains(uid));
    }
}
