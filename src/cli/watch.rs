//! Watching: a picture that follows the cluster, and a line for each change.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::cluster::{Cluster, Named, pod_selector};
use super::error::{CliError, Kind};
use super::experiment;
use super::info::Phase;
use super::list::{self, Columns};
use super::output::Format;
use super::picture::Picture;
use super::style::Style;
use super::terminal::Terminal;
use super::tree::{self, Relatives};
use crate::api::{analysis::AnalysisRun, experiment::Experiment, replica_set::ReplicaSet, rollout::Rollout};
use crate::clock::SharedClock;

/// Ages are drawn anew this often.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

/// Changes that come together are drawn together.
const SETTLE: Duration = Duration::from_millis(50);

type Changes = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// What is drawn while watching: a Rollout or an Experiment, which becomes a picture.
pub(crate) trait Root: Named + kube::Resource + Send + Sync + 'static {
    /// Selects its ReplicaSets and pods.
    fn pod_selector(&self) -> String;
    /// The picture.
    fn picture(&self, relatives: &Relatives, now: Timestamp, wide: bool) -> Picture;
}

impl Root for Rollout {
    fn pod_selector(&self) -> String {
        pod_selector(self)
    }

    fn picture(&self, relatives: &Relatives, now: Timestamp, wide: bool) -> Picture {
        tree::rollout(self, relatives, now, wide)
    }
}

impl Root for Experiment {
    fn pod_selector(&self) -> String {
        // Each of its templates has a selector of its own.
        String::new()
    }

    fn picture(&self, relatives: &Relatives, now: Timestamp, wide: bool) -> Picture {
        experiment::picture(self, relatives, now, wide)
    }
}

/// `get … -w`: until interrupted, the object is gone, or the time is over.
pub(crate) async fn tree<K: Root>(
    cluster: &Cluster,
    name: &str,
    terminal: &mut Terminal,
    clock: &SharedClock,
    (timeout, format): (Option<Duration>, Format),
) -> Result<(), CliError> {
    let root: K = cluster.object(name).await?;
    let (stores, mut changes) = Stores::<K>::open(cluster, name, &root.pod_selector());
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
        let Some((root, relatives)) = stores.read() else {
            if seen {
                let plural = K::plural(&());
                let message = format!("{plural}.{} \"{name}\" not found", crate::api::GROUP);
                return Err(CliError::new(Kind::Request, message));
            }
            continue;
        };
        seen = true;
        // Where nothing can be drawn over, a new age alone is no reason to write again.
        let ageless = root.picture(&relatives, Timestamp::MIN, format.is_wide());
        let key = ageless.text(Timestamp::MIN, Style::default());
        if format.is_text() && terminal.redraws || key != shown {
            let picture = root.picture(&relatives, clock.now(), format.is_wide());
            if format.is_text() {
                let text = picture.text(clock.now(), terminal.style);
                terminal.picture(&text, shown.is_empty())?;
            } else {
                format.write(&picture.json(), true, terminal)?;
            }
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

struct Stores<K: Root> {
    root: reflector::Store<K>,
    replica_sets: reflector::Store<ReplicaSet>,
    pods: reflector::Store<Pod>,
    analysis_runs: reflector::Store<AnalysisRun>,
    experiments: reflector::Store<Experiment>,
}

impl<K: Root> Stores<K> {
    fn open(cluster: &Cluster, name: &str, selector: &str) -> (Self, Changes) {
        let all = watcher::Config::default;
        let one = all().fields(&format!("metadata.name={name}"));
        let selected = all().labels(selector);
        let (root, of_root) = follow(cluster.api(), one);
        let (replica_sets, of_sets) = follow(cluster.api(), selected.clone());
        let (pods, of_pods) = follow(cluster.api(), selected);
        let (analysis_runs, of_runs) = follow(cluster.api(), all());
        let (experiments, of_experiments) = follow(cluster.api(), all());
        let changes = stream::select_all([of_root, of_sets, of_pods, of_runs, of_experiments]).boxed();
        let stores = Self {
            root,
            replica_sets,
            pods,
            analysis_runs,
            experiments,
        };
        (stores, changes)
    }

    /// What is known now; nothing while the object itself is not there.
    fn read(&self) -> Option<(Arc<K>, Relatives)> {
        let root = self.root.state().into_iter().next()?;
        let relatives = Relatives {
            replica_sets: copied(&self.replica_sets),
            pods: copied(&self.pods),
            analysis_runs: copied(&self.analysis_runs),
            experiments: copied(&self.experiments),
        };
        Some((root, relatives))
    }
}

fn copied<K>(store: &reflector::Store<K>) -> Vec<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| object.as_ref().clone()).collect()
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
    (timeout, format): (Option<Duration>, Format),
) -> Result<Phase, CliError> {
    let rollout = cluster.rollout(name).await?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut phase = Phase::of(&rollout);
    let mut shown = phase.shown(&rollout, format);
    tell(&phase, &rollout, format, true, terminal)?;
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
                    phase = Phase::of(&rollout);
                    let next = phase.shown(&rollout, format);
                    if next != shown {
                        tell(&phase, &rollout, format, true, terminal)?;
                        shown = next;
                    }
                }
                None => return Err(CliError::new(Kind::Cluster, "the watch ended")),
            },
            () = until(deadline) => return Ok(phase),
        }
    }
    Ok(phase)
}

/// Writes what `status` shows. `stream`: one of many.
pub(crate) fn tell(
    phase: &Phase,
    rollout: &Rollout,
    format: Format,
    stream: bool,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    match format {
        Format::Json | Format::Yaml => format.write(&phase.facts(rollout), stream, terminal),
        Format::Text | Format::Wide | Format::Name => terminal.line(&phase.shown(rollout, format)),
    }
}

/// `list rollouts -w`: the table, then a line for each change of a line.
pub(crate) async fn list(
    api: Api<Rollout>,
    config: watcher::Config,
    terminal: &mut Terminal,
    clock: &SharedClock,
    (shown, format): (Columns, Format),
) -> Result<(), CliError> {
    if format.is_text() {
        terminal.text(&list::render(&[], clock.now(), shown))?;
    }
    let mut lines: HashMap<Option<String>, String> = HashMap::new();
    let mut changes = watcher(api, config).default_backoff().applied_objects().boxed();
    while let Some(change) = changes.next().await {
        let Ok(rollout) = change else { continue };
        let key = if format.is_text() {
            list::render_change(&rollout, Timestamp::UNIX_EPOCH, shown)
        } else {
            list::facts(&rollout).to_string()
        };
        if lines.insert(rollout.metadata.uid.clone(), key.clone()).as_ref() != Some(&key) {
            match format {
                Format::Name => terminal.line(&list::resource_name(&rollout))?,
                _ if format.is_text() => terminal.text(&list::render_change(&rollout, clock.now(), shown))?,
                _ => format.write(&list::facts(&rollout), true, terminal)?,
            }
        }
    }
    Ok(())
}
