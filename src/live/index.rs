//! Live objects by key and by the application that tracks them. A kind is watched from the moment an application needs
//! it; of what the watch brings, only objects that are tracked, or named by some target, are kept.
//!
//! Our own writes enter the index with the API server's answer, so a decision never runs on a state older than what we
//! applied (guarantee S4), and nobody has to wait for the watch.

mod state;

use super::discovery::{Discovery, Place};
use crate::{
    k8s::{backoff::WatchBackoff, cell::WaitCell, error::ApiError, stores::Scope},
    sync::{
        compare::LiveObjects,
        resource::{ResourceKey, text},
    },
};
use futures::{StreamExt, stream};
use kube::{
    Api, Client,
    core::DynamicObject,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use state::State;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::AbortHandle;

/// The first list of a kind may take this long before an application says that it waits for it.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);
/// Direct reads under way at once.
const READS_MAX: usize = 16;
/// A direct read may take this long.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Hears which application (by its name in tracking ids) a change concerns. Must be quick.
pub type Touched = Box<dyn Fn(&str) + Send + Sync>;

/// The index. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct LiveIndex {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    discovery: Discovery,
    scope: Scope,
    state: Mutex<State>,
    watches: Mutex<BTreeMap<(String, String), KindWatch>>,
    touched: Touched,
}

/// A kind under watch.
struct KindWatch {
    api_version: String,
    ready: WaitCell<Readiness>,
    task: AbortHandle,
}

impl Drop for KindWatch {
    fn drop(&mut self) {
        self.task.abort();
        // Nobody waits for a watch that has ended.
        self.ready.set(Readiness::Failing("the watch ended".to_owned()));
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Readiness {
    Listing,
    Ready,
    Failing(String),
}

/// The live state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A kind cannot be listed.
    #[error("failed to watch {kind} of {api_version}: {reason}")]
    Watch {
        /// `apiVersion`.
        api_version: String,
        /// Kind.
        kind: String,
        /// What the API server said.
        reason: String,
    },
    /// An object cannot be read.
    #[error("failed to read {key}: {source}")]
    Read {
        /// The object.
        key: ResourceKey,
        /// What the API server said.
        source: ApiError,
    },
}

/// What an application needs to see.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Objects that targets name, with the `apiVersion` they are named in.
    pub keys: BTreeMap<ResourceKey, String>,
    /// Kinds of which it may track objects.
    pub kinds: BTreeSet<(String, String)>,
}

impl std::fmt::Debug for LiveIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveIndex").finish_non_exhaustive()
    }
}

impl LiveIndex {
    /// An empty index over `scope`.
    pub fn new(client: Client, discovery: Discovery, scope: Scope, touched: Touched) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                discovery,
                scope,
                state: Mutex::default(),
                watches: Mutex::default(),
                touched,
            }),
        }
    }

    /// The objects an application tracks and those it wants, as far as they exist.
    pub async fn read(&self, instance: &str, wanted: &Wanted) -> Result<LiveObjects, LiveError> {
        let known = self.shared.discovery.known();
        let mut kinds = wanted.kinds.clone();
        kinds.extend(wanted.keys.keys().map(|key| (key.group.clone(), key.kind.clone())));
        let new = self.state().want(instance, wanted.keys.keys());
        let mut fresh = BTreeSet::new();
        for (group, kind) in &kinds {
            let Some(place) = known.preferred(group, kind).filter(|place| place.is_watchable) else {
                continue;
            };
            if self.ensure_watch(place) {
                fresh.insert((group.clone(), kind.clone()));
            }
        }
        for (group, kind) in &kinds {
            self.await_ready(group, kind).await?;
        }
        // A watch that was running already may have dropped the objects that are wanted only now.
        let unseen: Vec<ResourceKey> = new
            .into_iter()
            .filter(|key| !fresh.contains(&(key.group.clone(), key.kind.clone())))
            .collect();
        self.read_all(unseen).await?;
        let mut found = self.state().of_instance(instance);
        self.in_wanted_versions(wanted, &mut found).await?;
        Ok(found)
    }

    /// An application that is gone wants nothing any more.
    pub fn release(&self, instance: &str) {
        self.state().want(instance, std::iter::empty());
    }

    /// Enters an object as the API server answered it.
    pub fn put(&self, object: Value) {
        let touched = self.state().put(object, true);
        self.tell(touched);
    }

    /// The object as the index has it.
    pub fn get(&self, key: &ResourceKey) -> Option<Arc<Value>> {
        self.state().get(key)
    }

    /// Reads an object from the API server, and enters what it says.
    pub async fn refresh(&self, key: &ResourceKey) -> Result<Option<Arc<Value>>, LiveError> {
        let known = self.shared.discovery.known();
        let Some(place) = known.preferred(&key.group, &key.kind) else {
            return Ok(None);
        };
        let found = self.fetch(place, key).await?;
        let mut state = self.state();
        let touched = match found {
            Some(object) => state.put(object, true),
            None => state.vanish(key),
        };
        let now = state.get(key);
        drop(state);
        self.tell(touched);
        Ok(now)
    }

    async fn fetch(&self, place: &Place, key: &ResourceKey) -> Result<Option<Value>, LiveError> {
        let api = self.api(place, &key.namespace);
        let failed = |source: ApiError| LiveError::Read {
            key: key.clone(),
            source,
        };
        match tokio::time::timeout(READ_TIMEOUT, api.get_opt(&key.name)).await {
            Ok(Ok(found)) => Ok(found.map(|object| to_value(object, place))),
            Ok(Err(error)) => Err(failed(error.into())),
            Err(_) => Err(failed(ApiError::TimedOut(READ_TIMEOUT))),
        }
    }

    fn api(&self, place: &Place, namespace: &str) -> Api<DynamicObject> {
        let client = self.shared.client.clone();
        if place.is_namespaced && !namespace.is_empty() {
            Api::namespaced_with(client, namespace, &place.resource)
        } else {
            Api::all_with(client, &place.resource)
        }
    }

    async fn read_all(&self, keys: Vec<ResourceKey>) -> Result<(), LiveError> {
        let reads = keys
            .into_iter()
            .map(|key| async move { self.refresh(&key).await.map(drop) });
        let results: Vec<Result<(), LiveError>> = stream::iter(reads).buffer_unordered(READS_MAX).collect().await;
        results.into_iter().collect()
    }

    /// The watch reads a kind in one version; a target in another one is compared with the object in that version.
    async fn in_wanted_versions(&self, wanted: &Wanted, found: &mut LiveObjects) -> Result<(), LiveError> {
        let known = self.shared.discovery.known();
        let other: Vec<(ResourceKey, Place)> = wanted
            .keys
            .iter()
            .filter(|(key, version)| {
                found
                    .get(*key)
                    .is_some_and(|live| text(live, "/apiVersion") != version.as_str())
            })
            .filter_map(|(key, version)| Some((key.clone(), known.place(version, &key.kind)?.clone())))
            .collect();
        let reads = other.into_iter().map(|(key, place)| async move {
            let object = self.fetch(&place, &key).await;
            (key, object)
        });
        let results: Vec<_> = stream::iter(reads).buffer_unordered(READS_MAX).collect().await;
        for (key, result) in results {
            match result? {
                Some(object) => found.insert(key, Arc::new(object)),
                None => found.remove(&key),
            };
        }
        Ok(())
    }

    /// Starts watching a kind; true when it was not watched before.
    fn ensure_watch(&self, place: &Place) -> bool {
        let id = (place.resource.group.clone(), place.resource.kind.clone());
        let mut watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if watches
            .get(&id)
            .is_some_and(|watch| watch.api_version == place.resource.api_version)
        {
            return false;
        }
        let ready = WaitCell::new(Readiness::Listing);
        let task = tokio::spawn(self.clone().follow(place.clone(), ready.clone())).abort_handle();
        watches.insert(
            id,
            KindWatch {
                api_version: place.resource.api_version.clone(),
                ready,
                task,
            },
        );
        true
    }

    async fn await_ready(&self, group: &str, kind: &str) -> Result<(), LiveError> {
        let found = {
            let watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
            watches
                .get(&(group.to_owned(), kind.to_owned()))
                .map(|watch| (watch.api_version.clone(), watch.ready.clone()))
        };
        let Some((api_version, ready)) = found else {
            return Ok(());
        };
        let settled = ready.wait_for(|readiness| readiness != Readiness::Listing);
        let reason = match tokio::time::timeout(LIST_TIMEOUT, settled).await {
            Ok(Readiness::Ready) => return Ok(()),
            Ok(Readiness::Failing(reason)) => reason,
            Ok(Readiness::Listing) | Err(_) => format!("no list within {LIST_TIMEOUT:?}"),
        };
        Err(LiveError::Watch {
            api_version,
            kind: kind.to_owned(),
            reason,
        })
    }

    async fn follow(self, place: Place, ready: WaitCell<Readiness>) {
        let api: Api<DynamicObject> = match (&self.shared.scope, place.is_namespaced) {
            (Scope::Namespace(namespace), true) => self.api(&place, namespace),
            (Scope::Namespace(_), false) | (Scope::Cluster, _) => self.api(&place, ""),
        };
        let id = (place.resource.group.clone(), place.resource.kind.clone());
        let stream = watcher::watcher(api, watcher::Config::default()).backoff(WatchBackoff::default());
        let mut stream = std::pin::pin!(stream);
        let mut listed = BTreeSet::new();
        while let Some(event) = stream.next().await {
            let touched = match event {
                Ok(watcher::Event::Init) => {
                    listed.clear();
                    self.state().begin_list(&id);
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    let object = to_value(object, &place);
                    listed.insert(ResourceKey::of(&object));
                    self.state().put(object, false)
                }
                Ok(watcher::Event::InitDone) => {
                    let touched = self.state().end_list(&id, &std::mem::take(&mut listed));
                    ready.set(Readiness::Ready);
                    touched
                }
                Ok(watcher::Event::Apply(object)) => self.state().put(to_value(object, &place), false),
                Ok(watcher::Event::Delete(object)) => {
                    let object = to_value(object, &place);
                    self.state()
                        .remove(&ResourceKey::of(&object), text(&object, "/metadata/uid"))
                }
                Err(error) => {
                    tracing::warn!(kind = %place.resource.kind, api_version = %place.resource.api_version, %error, "A watch failed; trying again.");
                    if ready.get() != Readiness::Ready {
                        ready.set(Readiness::Failing(error.to_string()));
                    }
                    continue;
                }
            };
            self.tell(touched);
        }
    }

    fn tell(&self, touched: BTreeSet<String>) {
        touched.iter().for_each(|instance| (self.shared.touched)(instance));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object as JSON, with the type that items of a list do not carry.
fn to_value(object: DynamicObject, place: &Place) -> Value {
    let DynamicObject {
        types: _,
        metadata,
        data,
    } = object;
    let mut value = match data {
        Value::Object(map) => Value::Object(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => json!({}),
    };
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), place.resource.api_version.clone().into());
        map.insert("kind".into(), place.resource.kind.clone().into());
        map.insert("metadata".into(), serde_json::to_value(metadata).unwrap_or_default());
    }
    value
}
