//! What is seen of the cluster, as it happens: the newest object of each kind, and when each weight was written.

use crate::say;
use anyhow::{Result, bail};
use futures::StreamExt;
use k8s_openapi::api::{core::v1::Event, networking::v1::Ingress};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate::api::{analysis::AnalysisRun, application::Application, rollout::Rollout};
use tokio::sync::{Notify, RwLock};

/// Annotation that carries the weight.
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) rollout: Option<Rollout>,
    pub(crate) apps: BTreeMap<String, Application>,
    pub(crate) runs: BTreeMap<String, AnalysisRun>,
    /// When each run was first seen to have failed.
    pub(crate) failed_at: BTreeMap<String, Instant>,
    /// Every weight as it was first seen.
    pub(crate) weights: Vec<(Instant, i64)>,
    /// When the image of the Rollout was last seen to change.
    pub(crate) image_changed: Option<(Instant, String)>,
}

/// The cluster as seen by watches.
#[derive(Clone)]
pub(crate) struct Watch {
    seen: Arc<RwLock<Seen>>,
    changed: Arc<Notify>,
}

impl Watch {
    pub(crate) fn start(client: &Client) -> Self {
        let watch = Self {
            seen: Arc::default(),
            changed: Arc::default(),
        };
        watch.follow(Api::<Rollout>::all(client.clone()), |seen, rollout| {
            let image = image(&rollout);
            if seen.rollout.as_ref().map(self::image) != Some(image.clone()) {
                seen.image_changed = Some((Instant::now(), image));
            }
            seen.rollout = Some(rollout);
        });
        watch.follow(Api::<Application>::all(client.clone()), |seen, app| {
            let name = app.metadata.name.clone().unwrap_or_default();
            let (before, after) = (seen.apps.get(&name).map(summary), summary(&app));
            if before.as_ref() != Some(&after) {
                say::note(&format!("  application {name}: {after}"));
            }
            seen.apps.insert(name, app);
        });
        watch.follow(Api::<AnalysisRun>::all(client.clone()), |seen, run| {
            let name = run.metadata.name.clone().unwrap_or_default();
            let failed = run
                .status
                .as_ref()
                .is_some_and(|status| matches!(status.phase.as_str(), "Failed" | "Error"));
            if failed && !seen.failed_at.contains_key(&name) {
                seen.failed_at.insert(name.clone(), Instant::now());
            }
            seen.runs.insert(name, run);
        });
        watch.follow(Api::<Ingress>::all(client.clone()), |seen, ingress| {
            let weight = ingress
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(WEIGHT)?.parse().ok());
            if let Some(weight) = weight.filter(|weight| seen.weights.last().is_none_or(|(_, last)| last != weight)) {
                seen.weights.push((Instant::now(), weight));
            }
        });
        watch.follow(Api::<Event>::all(client.clone()), |_, event| {
            let kind = event.involved_object.kind.as_deref().unwrap_or_default();
            if matches!(kind, "Rollout" | "AnalysisRun")
                || (kind == "Application" && event.type_.as_deref() == Some("Warning"))
            {
                say::event(
                    event.reason.as_deref().unwrap_or_default(),
                    event.message.as_deref().unwrap_or_default(),
                );
            }
        });
        watch
    }

    fn follow<K>(&self, api: Api<K>, take: impl Fn(&mut Seen, K) + Send + Sync + 'static)
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let this = self.clone();
        tokio::spawn(async move {
            let mut stream = watcher(api, watcher::Config::default())
                .default_backoff()
                .applied_objects()
                .boxed();
            while let Some(object) = stream.next().await {
                let Ok(object) = object else { continue };
                take(&mut *this.seen.write().await, object);
                this.changed.notify_waiters();
            }
        });
    }

    pub(crate) async fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&*self.seen.read().await)
    }

    /// Waits until `probe` finds something; an error names what was waited for and how the Rollout and applications
    /// stood.
    pub(crate) async fn until<T>(
        &self,
        deadline: Duration,
        what: &str,
        mut probe: impl FnMut(&Seen) -> Option<T>,
    ) -> Result<T> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let changed = self.changed.notified();
            if let Some(found) = self.look(&mut probe).await {
                return Ok(found);
            }
            if tokio::time::timeout_at(end, changed).await.is_err() {
                let state = self.look(describe).await;
                bail!("timed out after {deadline:?} waiting until {what}; last seen: {state}");
            }
        }
    }
}

pub(crate) fn image(rollout: &Rollout) -> String {
    let template = rollout.spec.template.as_ref();
    let image = template.and_then(|template| template.pointer("/spec/containers/0/image")?.as_str());
    image.unwrap_or_default().to_owned()
}

pub(crate) fn phase(rollout: &Rollout) -> &str {
    rollout.status.as_ref().map_or("", |status| status.phase.as_str())
}

/// `Synced, Healthy at 1a2b3c4`, and the hold if there is one.
pub(crate) fn summary(app: &Application) -> String {
    let status = app.status.clone().unwrap_or_default();
    let commit: String = status.sync.revision.chars().take(7).collect();
    let held = status.hold.map(|hold| {
        let held: String = hold.revision.chars().take(7).collect();
        format!(", holding back {held} by {}: {}", hold.by, hold.reason)
    });
    format!(
        "{}, {} at {commit}{}",
        status.sync.status,
        status.health.status,
        held.unwrap_or_default()
    )
}

fn describe(seen: &Seen) -> String {
    let rollout = seen.rollout.as_ref().map(|rollout| {
        let status = rollout.status.clone().unwrap_or_default();
        format!(
            "{} is {} ({}), step {:?}",
            image(rollout),
            status.phase,
            status.message,
            status.current_step_index
        )
    });
    let apps: Vec<String> = seen
        .apps
        .iter()
        .map(|(name, app)| format!("{name}: {}", summary(app)))
        .collect();
    format!(
        "{}; {}",
        rollout.unwrap_or_else(|| "no rollout".to_owned()),
        apps.join("; ")
    )
}
