//! A watch store: every object of one kind as the API server last reported it, with secondary indexes.
//!
//! Reading never touches the network and never copies an object. Listeners hear of each change once, with the object
//! before and after; a relist that brings nothing new is silent.

use crate::{
    api::workload::WorkloadKind,
    k8s::{backoff::WatchBackoff, cell::WaitCell},
    traffic::foreign::ForeignKind,
};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client, Resource,
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ObjectKey {
    /// `metadata.namespace`, or empty.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What an object can be found by, besides its name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Term {
    /// Its controlling owner's uid.
    Owner(String),
    /// It has no controlling owner and lives in this namespace.
    Orphan(String),
    /// It lives in this namespace.
    Namespace(String),
    /// It is managed by the Rollout of this name, by annotation.
    ManagedBy(ObjectKey),
    /// It refers to this Service.
    Service(ObjectKey),
    /// It refers to this Ingress.
    Ingress(ObjectKey),
    /// It refers to this object of another project.
    Foreign(ForeignKind, ObjectKey),
    /// It refers to some object of this kind of another project.
    ForeignKind(ForeignKind),
    /// It takes its pod template from this object.
    Workload(WorkloadKind, ObjectKey),
    /// It takes its pod template from some object of this kind.
    WorkloadKind(WorkloadKind),
    /// It refers to this `AnalysisTemplate`.
    Template(ObjectKey),
    /// It refers to the `ClusterAnalysisTemplate` of this name.
    ClusterTemplate(String),
}

/// A kind that is kept in a store.
pub trait Stored: Resource + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static {
    /// Drops what no decision needs. Called before the object is stored.
    fn prune(&mut self) {
        prune_metadata(self);
    }

    /// What the object can be found by.
    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// Drops field ownership and the copy that `kubectl apply` leaves: together often more than the object itself.
pub fn prune_metadata<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

const LAST_APPLIED: &str = crate::api::well_known::LAST_APPLIED;

/// The owner reference marked as controller.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object
        .meta()
        .owner_references
        .as_deref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// `Owner` of the controlling owner, or `Orphan` of the namespace.
pub fn ownership_term<K: Resource>(object: &K) -> Term {
    match controller_of(object) {
        Some(owner) => Term::Owner(owner.uid.clone()),
        None => Term::Orphan(object.meta().namespace.clone().unwrap_or_default()),
    }
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// Which object.
    pub key: ObjectKey,
    /// As it was known before; absent when it is new.
    pub before: Option<Arc<K>>,
    /// As it is now; absent when it is gone.
    pub after: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// Both states that exist, so that what pointed at the old one is woken too.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<K>> {
        self.before.iter().chain(self.after.iter())
    }
}

type Listener<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A cheap handle on the objects of one kind.
pub struct Store<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K> fmt::Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

struct Shared<K> {
    contents: RwLock<Contents<K>>,
    listeners: RwLock<Vec<Listener<K>>>,
    ready: WaitCell<bool>,
}

struct Contents<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    index: HashMap<Term, BTreeSet<ObjectKey>>,
    /// The newest resource version seen, when versions are comparable numbers (Kubernetes 1.35 and later promise it).
    high_water: Option<u64>,
}

impl<K: Stored> Default for Store<K> {
    fn default() -> Self {
        let contents = Contents {
            objects: BTreeMap::new(),
            index: HashMap::new(),
            high_water: None,
        };
        Self {
            shared: Arc::new(Shared {
                contents: RwLock::new(contents),
                listeners: RwLock::default(),
                ready: WaitCell::new(false),
            }),
        }
    }
}

impl<K: Stored> Store<K> {
    /// The object of this name.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// The objects found by this term, by name.
    pub fn find(&self, term: &Term) -> Vec<Arc<K>> {
        let contents = self.read();
        let keys = contents.index.get(term).into_iter().flatten();
        keys.filter_map(|key| contents.objects.get(key).cloned()).collect()
    }

    /// The names found by this term.
    pub fn find_keys(&self, term: &Term) -> Vec<ObjectKey> {
        self.read().index.get(term).into_iter().flatten().cloned().collect()
    }

    /// Every object, by name. Shares the objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// Every name.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.read().objects.keys().cloned().collect()
    }

    /// Calls `visit` with every object while the store is locked for writing by nobody; `visit` must be quick.
    pub fn for_each(&self, mut visit: impl FnMut(&K)) {
        self.read().objects.values().for_each(|object| visit(object));
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the store reflects a write that gave the object this resource version.
    ///
    /// Versions are opaque by contract; they are compared when both are numbers. Otherwise only the very version
    /// counts, and the caller bounds its patience.
    pub fn has_seen(&self, key: &ObjectKey, version: &str) -> bool {
        let contents = self.read();
        let stored = contents
            .objects
            .get(key)
            .and_then(|object| object.meta().resource_version.as_deref());
        if stored == Some(version) {
            return true;
        }
        let Ok(version) = version.parse::<u64>() else {
            return false;
        };
        let newest = stored.and_then(|stored| stored.parse().ok()).max(contents.high_water);
        newest.is_some_and(|newest| newest >= version)
    }

    /// Whether the store reflects that the object with this uid was deleted, or is being deleted.
    pub fn has_seen_deletion(&self, key: &ObjectKey, uid: Option<&str>) -> bool {
        self.read().objects.get(key).is_none_or(|object| {
            let meta = object.meta();
            meta.deletion_timestamp.is_some() || uid.is_some_and(|uid| meta.uid.as_deref() != Some(uid))
        })
    }

    /// Whether the first list has arrived.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.get()
    }

    /// Waits until the first list has arrived.
    pub async fn ready(&self) {
        self.shared.ready.wait_for(|ready| ready).await;
    }

    /// Calls `listener` at every change from now on. It must be quick and must not read this store's listeners.
    pub fn listen(&self, listener: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.shared
            .listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(listener));
    }

    /// Forgets all listeners. What they hold (other stores, this one too) would else be held for ever.
    pub fn forget_listeners(&self) {
        let listeners = std::mem::take(&mut *self.shared.listeners.write().unwrap_or_else(PoisonError::into_inner));
        drop(listeners);
    }

    /// Watches until the task is dropped. With `optional`, a server that does not serve the kind, or does not permit
    /// to watch it, leaves the store empty and ready.
    pub async fn watch(self, api: Api<K>, optional: bool)
    where
        K: Serialize,
    {
        let kind = api.resource_url().to_owned();
        let events = watcher(api, watcher::Config::default()).backoff(WatchBackoff::default());
        let mut events = std::pin::pin!(events);
        let mut pending: Option<Vec<K>> = None;
        while let Some(event) = events.next().await {
            match event {
                Err(error) if optional && is_unavailable(&error) => {
                    if !self.is_ready() {
                        tracing::warn!(%kind, %error, "The kind is not available; going on without it.");
                    }
                    self.shared.ready.set(true);
                }
                event => self.take(&kind, event, &mut pending),
            }
        }
    }

    /// Watches until the server ceases to serve the kind, or to permit it, and says so. The store is not ready before
    /// the first list.
    pub(crate) async fn watch_while_served(&self, api: Api<K>) -> String {
        self.shared.ready.set(false);
        let kind = api.resource_url().to_owned();
        let events = watcher(api, watcher::Config::default()).backoff(WatchBackoff::default());
        let mut events = std::pin::pin!(events);
        let mut pending: Option<Vec<K>> = None;
        while let Some(event) = events.next().await {
            match event {
                Err(error) if is_unavailable(&error) => {
                    self.replace(Vec::new());
                    return format!("{kind} cannot be watched: {error}");
                }
                event => self.take(&kind, event, &mut pending),
            }
        }
        format!("the watch of {kind} ended")
    }

    fn take(&self, kind: &str, event: Result<watcher::Event<K>, watcher::Error>, pending: &mut Option<Vec<K>>) {
        match event {
            Ok(watcher::Event::Init) => *pending = Some(Vec::new()),
            Ok(watcher::Event::InitApply(object)) => pending.get_or_insert_default().push(pruned(object)),
            Ok(watcher::Event::InitDone) => self.replace(pending.take().unwrap_or_default()),
            Ok(watcher::Event::Apply(object)) => self.put(pruned(object)),
            Ok(watcher::Event::Delete(object)) => self.remove(&object),
            Err(error) => tracing::warn!(%kind, %error, "A watch failed; trying again."),
        }
    }

    /// Asks the server for one object and takes its answer, for when the watch is behind or an event was lost. A newer
    /// version that arrives meanwhile is kept.
    ///
    /// # Errors
    /// When the server does not answer the question.
    pub(crate) async fn reread(&self, client: &Client, key: &ObjectKey) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.reread_by(&Api::namespaced(client.clone(), &key.namespace), key)
            .await
    }

    /// [`Store::reread`] for a kind that is known at run time only; `api` is that of the object's namespace.
    pub(crate) async fn reread_by(&self, api: &Api<K>, key: &ObjectKey) -> Result<(), kube::Error> {
        let known = self.get(key);
        let change = match api.get_opt(&key.name).await? {
            Some(object) => self.write().put_newer(pruned(object)),
            None => {
                let mut contents = self.write();
                // What was made under this name meanwhile is another object.
                let is_same = |known: &Arc<K>| contents.objects.get(key).is_some_and(|now| Arc::ptr_eq(known, now));
                if known.as_ref().is_some_and(is_same) {
                    contents.remove(key)
                } else {
                    None
                }
            }
        };
        self.tell(change);
        Ok(())
    }

    /// Stores what a watch reports. It may come after the object was read again, and be older than that.
    pub(crate) fn put(&self, object: K) {
        let change = {
            let mut contents = self.write();
            contents.raise_high_water(&object);
            contents.put_newer(object)
        };
        self.tell(change);
    }

    /// Forgets one object, which was deleted in this version.
    pub(crate) fn remove(&self, object: &K) {
        let change = {
            let mut contents = self.write();
            contents.raise_high_water(object);
            if contents.is_outdated(object) {
                None
            } else {
                contents.remove(&ObjectKey::of(object))
            }
        };
        self.tell(change);
    }

    /// Takes `objects` for all there are, as after a list.
    pub(crate) fn replace(&self, objects: Vec<K>) {
        let mut changes = Vec::new();
        {
            let mut contents = self.write();
            // A list may come from a replica of the API server that is behind: what it says is what we know.
            contents.high_water = None;
            let listed: BTreeSet<ObjectKey> = objects.iter().map(ObjectKey::of).collect();
            let gone: Vec<ObjectKey> = contents
                .objects
                .keys()
                .filter(|key| !listed.contains(key))
                .cloned()
                .collect();
            changes.extend(gone.iter().filter_map(|key| contents.remove(key)));
            for object in objects {
                contents.raise_high_water(&object);
                changes.extend(contents.put(object));
            }
        }
        changes.into_iter().for_each(|change| self.tell(Some(change)));
        self.shared.ready.set(true);
    }

    fn tell(&self, change: Option<Change<K>>) {
        let Some(change) = change else { return };
        let listeners = self.shared.listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(&change));
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents<K>> {
        self.shared.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents<K>> {
        self.shared.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Stored> Contents<K> {
    /// Stores an object unless it is known in a newer version, or another one has its name by now.
    fn put_newer(&mut self, object: K) -> Option<Change<K>> {
        if self.is_outdated(&object) {
            None
        } else {
            self.put(object)
        }
    }

    /// Whether a newer version of what has this name is known. Versions that are no numbers cannot be compared; then the
    /// last word counts.
    fn is_outdated(&self, object: &K) -> bool {
        let number = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
        let known = self.objects.get(&ObjectKey::of(object));
        known.is_some_and(
            |known| matches!((number(known), number(object)), (Some(known), Some(reported)) if reported < known),
        )
    }

    fn put(&mut self, object: K) -> Option<Change<K>> {
        let key = ObjectKey::of(&object);
        let before = self.objects.get(&key).cloned();
        if let Some(before) = &before {
            let version = |object: &K| object.meta().resource_version.clone();
            // Delivered twice (a relist, a reconnect): nothing has changed. Without a version we cannot know.
            if version(before).is_some() && version(before) == version(&object) {
                return None;
            }
            self.unindex(&key, before);
        }
        for term in object.terms() {
            self.index.entry(term).or_default().insert(key.clone());
        }
        let after = Arc::new(object);
        self.objects.insert(key.clone(), Arc::clone(&after));
        Some(Change {
            key,
            before,
            after: Some(after),
        })
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Change<K>> {
        let before = self.objects.remove(key)?;
        self.unindex(key, &before);
        Some(Change {
            key: key.clone(),
            before: Some(before),
            after: None,
        })
    }

    fn unindex(&mut self, key: &ObjectKey, object: &K) {
        for term in object.terms() {
            if let Some(keys) = self.index.get_mut(&term) {
                keys.remove(key);
                if keys.is_empty() {
                    self.index.remove(&term);
                }
            }
        }
    }

    fn raise_high_water(&mut self, object: &K) {
        let version = object
            .meta()
            .resource_version
            .as_deref()
            .and_then(|version| version.parse().ok());
        self.high_water = self.high_water.max(version);
    }
}

fn pruned<K: Stored>(mut object: K) -> K {
    object.prune();
    object
}

/// The kind is not served here, or we may not watch it.
fn is_unavailable(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 403 | 404),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
