//! Which kinds the cluster serves, where, and in which scope. Refreshed when definitions change.

use crate::{
    k8s::{backoff::WatchBackoff, error::ApiError},
    sync::{
        kinds::{KindFacts, Kinds},
        resource::{group_of, version_of},
    },
};
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    core::{ApiResource, PartialObjectMeta},
    discovery::{ApiGroup, Discovery as KubeDiscovery, Scope, verbs},
    runtime::{WatchStreamExt, watcher},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// An unknown kind asks for a refresh at most this often; protects the API server from manifests of made-up kinds.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Definitions that come together are discovered together.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// One served kind in one version.
#[derive(Clone, Debug)]
pub struct Place {
    /// How to address it.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub is_namespaced: bool,
    /// Whether it can be listed and watched.
    pub is_watchable: bool,
}

/// What is known at a time.
#[derive(Debug, Default)]
pub struct Known {
    /// The part decisions look at.
    pub kinds: Kinds,
    places: BTreeMap<(String, String), Place>,
}

impl Known {
    /// Where objects of this `apiVersion` and kind live.
    pub fn place(&self, api_version: &str, kind: &str) -> Option<&Place> {
        self.places.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// Where objects of this kind live in the version the cluster prefers.
    pub fn preferred(&self, group: &str, kind: &str) -> Option<&Place> {
        let version = self.kinds.get(group, kind)?.versions.first()?;
        let api_version = if group.is_empty() {
            version.clone()
        } else {
            format!("{group}/{version}")
        };
        self.place(&api_version, kind)
    }
}

/// Discovers kinds. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Discovery {
    client: Client,
    known: Arc<RwLock<Arc<Known>>>,
    refreshed: Arc<tokio::sync::Mutex<Option<Instant>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").finish_non_exhaustive()
    }
}

impl Discovery {
    /// Knows nothing yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Arc::default(),
            refreshed: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    /// What is known now.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes whenever other kinds are known than before.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Asks the API server now.
    pub async fn refresh(&self) -> Result<(), ApiError> {
        let mut refreshed = self.refreshed.lock().await;
        self.ask().await?;
        *refreshed = Some(Instant::now());
        Ok(())
    }

    /// Asks, unless it was done a moment ago; for kinds that are not known.
    pub async fn refresh_if_old(&self) -> Result<(), ApiError> {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|at| at.elapsed() < REFRESH_INTERVAL_MIN) {
            return Ok(());
        }
        self.ask().await?;
        *refreshed = Some(Instant::now());
        Ok(())
    }

    async fn ask(&self) -> Result<(), ApiError> {
        let aggregated = KubeDiscovery::new(self.client.clone()).run_aggregated().await;
        let discovered = match aggregated {
            Ok(discovered) => discovered,
            // Older or partly broken servers answer group by group only.
            Err(_) => KubeDiscovery::new(self.client.clone()).run().await?,
        };
        let mut found = Known::default();
        discovered.groups().for_each(|group| add(&mut found, group));
        let changed = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let changed = known.kinds != found.kinds;
            *known = Arc::new(found);
            changed
        };
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Follows CustomResourceDefinitions until dropped.
    pub async fn follow(self) {
        let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(self.client.clone());
        let stream = watcher::watcher(api, watcher::Config::default()).backoff(WatchBackoff::default());
        let mut stream = std::pin::pin!(stream);
        let mut is_denied = false;
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => {
                    is_denied = false;
                    tokio::time::sleep(SETTLE_TIME).await;
                    if let Err(error) = self.refresh().await {
                        tracing::warn!(%error, "Kinds could not be discovered; trying again at the next change.");
                    }
                }
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                // Without the right to watch definitions, new kinds are discovered when a manifest names one.
                Err(error) if is_denied => tracing::debug!(%error, "The watch of definitions is not permitted."),
                Err(error) => {
                    is_denied = true;
                    tracing::warn!(%error, "The watch of definitions failed; trying again, quietly.");
                }
            }
        }
    }
}

fn add(found: &mut Known, group: &ApiGroup) {
    let preferred = group.preferred_version_or_latest().to_owned();
    let mut versions: Vec<&str> = group.versions().collect();
    versions.sort_by_key(|version| *version != preferred);
    for version in versions {
        for (resource, capabilities) in group.versioned_resources(version) {
            if resource.plural.contains('/') || resource.kind.is_empty() {
                continue;
            }
            let is_namespaced = capabilities.scope == Scope::Namespaced;
            let is_watchable =
                capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::WATCH);
            let (name, kind) = (group_of(&resource.api_version).to_owned(), resource.kind.clone());
            let mut facts = found.kinds.get(&name, &kind).cloned().unwrap_or(KindFacts {
                is_namespaced,
                versions: Vec::new(),
            });
            let served = version_of(&resource.api_version).to_owned();
            if !facts.versions.contains(&served) {
                facts.versions.push(served);
            }
            found.kinds.insert(&name, &kind, facts);
            let place = Place {
                is_namespaced,
                is_watchable,
                resource,
            };
            let id = (place.resource.api_version.clone(), kind);
            // Some groups serve one kind under two names; the one that can be watched is the one with objects.
            match found.places.get(&id) {
                Some(other) if other.is_watchable => {}
                _ => {
                    found.places.insert(id, place);
                }
            }
        }
    }
}
