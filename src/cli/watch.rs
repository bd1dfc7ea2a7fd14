//! Watching: a picture that follows the cluster, and a line for each change.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::cluster::{Cluster, experiment_resource, pod_selector};
use super::error::{CliError, Kind};
use super::info::Phase;
use super::list::{self, Columns};
use super::style::Style;
use super::terminal::Terminal;
use super::tree::{self, Family};
use crate::api::{analysis::AnalysisRun, replica_set::ReplicaSet, rollout::Rollout};
use crate::clock::SharedClock;

/// Ages are drawn anew this often.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

/// Changes that come together are drawn together.
const SETTLE: Duration = Duration::from_millis(50);

type Changes = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// `get rollout -w`: until interrupted, the Rollout is gone, or the time is over.
pub(crate) async fn tree(
    cluster: &Cluster,
    name: &str,
    terminal: &mut Terminal,
    clock: &SharedClock,
    timeout: Option<Duration>,
) -> Result<(), CliError> {
    let rollout = cluster.rollout(name).await?;
    let (stores, mut changes) = Stores::open(cluster, &rollout);
    let mut tick = interval(REDRAW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut shown = String::new();
    let mut seen = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            change = changes.next() => {
                if change.is_none() {
                    return Err(CliError::new(Kind::Cluster, "the watch ended"));
                }
                tokio::time::sleep(SETTLE).await;
                while futures::FutureExt::now_or_never(changes.next()).flatten().is_some() {}
            }
            () = until(deadline) => return Ok(()),
        }
        let Some(family) = stores.family() else {
            if seen {
                return Err(CliError::new(
                    Kind::Request,
                    format!("rollouts.argoproj.io \"{name}\" not found"),
                ));
            }
            continue;
        };
        seen = true;
        // Where nothing can be drawn over, a new age alone is no reason to write again.
        let key = tree::render(&family, Timestamp::MIN, Style::default());
        if terminal.redraws || key != shown {
            let text = tree::render(&family, clock.now(), terminal.style);
            terminal.picture(&text, shown.is_empty())?;
            shown = key;
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

struct Stores {
    rollout: reflector::Store<Rollout>,
    replica_sets: reflector::Store<ReplicaSet>,
    pods: reflector::Store<Pod>,
    analysis_runs: reflector::Store<AnalysisRun>,
    experiments: reflector::Store<DynamicObject>,
}

impl Stores {
    fn open(cluster: &Cluster, rollout: &Rollout) -> (Self, Changes) {
        let (client, namespace) = (cluster.client.clone(), cluster.namespace.as_str());
        let name = rollout.metadata.name.clone().unwrap_or_default();
        let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let selected = watcher::Config::default().labels(&pod_selector(rollout));
        let (rollout, of_rollout) = follow(cluster.rollouts(), one);
        let (replica_sets, of_sets) = follow(Api::namespaced(client.clone(), namespace), selected.clone());
        let (pods, of_pods) = follow(Api::namespaced(client.clone(), namespace), selected);
        let (analysis_runs, of_runs) = follow(Api::namespaced(client.clone(), namespace), watcher::Config::default());
        let resource = experiment_resource();
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
        let (experiments, writer) = {
            let writer = reflector::store::Writer::new(resource);
            (writer.as_reader(), writer)
        };
        let of_experiments = watcher(api, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .map(|_| ())
            .boxed();
        let changes = stream::select_all([of_rollout, of_sets, of_pods, of_runs, of_experiments]).boxed();
        (
            Self {
                rollout,
                replica_sets,
                pods,
                analysis_runs,
                experiments,
            },
            changes,
        )
    }

    fn family(&self) -> Option<Family> {
        let rollout = self.rollout.state().first()?.as_ref().clone();
        Some(Family {
            rollout,
            replica_sets: self
                .replica_sets
                .state()
                .iter()
                .map(|set| set.as_ref().clone())
                .collect(),
            pods: self.pods.state().iter().map(|pod| pod.as_ref().clone()).collect(),
            analysis_runs: self
                .analysis_runs
                .state()
                .iter()
                .map(|run| run.as_ref().clone())
                .collect(),
            experiments: self
                .experiments
                .state()
                .iter()
                .filter_map(|item| serde_json::to_value(&**item).ok())
                .collect(),
        })
    }
}

/// A store kept up to date by the stream, which must be polled.
fn follow<K>(api: Api<K>, config: watcher::Config) -> (reflector::Store<K>, Changes)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    (
        reader,
        watcher(api, config)
            .default_backoff()
            .reflect(writer)
            .map(|_| ())
            .boxed(),
    )
}

/// `status -w`: a line for each new phase or message, until Healthy or Degraded or the time is over.
pub(crate) async fn status(
    cluster: &Cluster,
    name: &str,
    terminal: &mut Terminal,
    timeout: Option<Duration>,
) -> Result<Phase, CliError> {
    let rollout = cluster.rollout(name).await?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut phase = Phase::of(&rollout);
    terminal.line(&phase.line())?;
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(cluster.rollouts(), config)
        .default_backoff()
        .applied_objects()
        .boxed();
    while !matches!(phase.phase.as_str(), "Healthy" | "Degraded") {
        tokio::select! {
            change = changes.next() => match change {
                // A broken watch is opened again by itself.
                Some(Err(_)) => {}
                Some(Ok(rollout)) => {
                    let next = Phase::of(&rollout);
                    if next != phase {
                        terminal.line(&next.line())?;
                        phase = next;
                    }
                }
                None => return Err(CliError::new(Kind::Cluster, "the watch ended")),
            },
            () = until(deadline) => return Ok(phase),
        }
    }
    Ok(phase)
}

/// `list rollouts -w`: the table, then a line for each change of a line.
pub(crate) async fn list(
    api: Api<Rollout>,
    config: watcher::Config,
    terminal: &mut Terminal,
    clock: &SharedClock,
    shown: Columns,
) -> Result<(), CliError> {
    terminal.text(&list::render(&[], clock.now(), shown))?;
    let mut lines: HashMap<Option<String>, String> = HashMap::new();
    let mut changes = watcher(api, config).default_backoff().applied_objects().boxed();
    while let Some(change) = changes.next().await {
        let Ok(rollout) = change else { continue };
        let key = list::render_change(&rollout, Timestamp::UNIX_EPOCH, shown);
        if lines.insert(rollout.metadata.uid.clone(), key.clone()).as_ref() != Some(&key) {
            terminal.text(&list::render_change(&rollout, clock.now(), shown))?;
        }
    }
    Ok(())
}
