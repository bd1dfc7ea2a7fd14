//! Stores of kinds of other projects: watched from the first Rollout on that names one, in the version the cluster
//! serves, and looked for again while it serves none.

use crate::{
    k8s::{
        cell::WaitCell,
        left::manager_of,
        store::{ObjectKey, Store, Stored, Term, ownership_term},
        stores::Scope,
    },
    traffic::foreign::{ForeignKind, Unserved},
};
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::task::JoinSet;

/// Time between two looks whether the cluster serves a kind by now. Its definition may be installed at any time.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

impl Stored for DynamicObject {
    fn terms(&self) -> Vec<Term> {
        let namespace = self.metadata.namespace.clone().unwrap_or_default();
        let manager = manager_of(self).map(Term::ManagedBy);
        let terms = [ownership_term(self), Term::Namespace(namespace)];
        terms.into_iter().chain(manager).collect()
    }
}

/// What somebody chose instead of the present group and the version the cluster prefers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choice {
    /// The API group.
    pub group: Option<String>,
    /// The version; passed over where the cluster does not serve it.
    pub version: Option<String>,
}

/// Choices by kind.
pub type Choices = BTreeMap<ForeignKind, Choice>;

/// How far the watch of a kind is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nothing is known yet.
    Unknown,
    /// The cluster does not serve it, or not to us.
    Unserved(String),
    /// The first list has arrived.
    Ready,
}

/// The stores. Cloning shares them.
#[derive(Clone)]
pub struct ForeignStores {
    slots: Arc<BTreeMap<ForeignKind, Slot>>,
}

struct Slot {
    choice: Choice,
    store: Store<DynamicObject>,
    wanted: WaitCell<bool>,
    served: RwLock<Served>,
    listeners: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct Served {
    resource: Option<ApiResource>,
    refusal: Option<String>,
}

impl Default for ForeignStores {
    fn default() -> Self {
        Self::new(&Choices::default())
    }
}

impl fmt::Debug for ForeignStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignStores").finish_non_exhaustive()
    }
}

impl ForeignStores {
    /// The stores, empty, of kinds in the groups and versions that were chosen.
    pub fn new(choices: &Choices) -> Self {
        let slot = |kind: &ForeignKind| {
            let slot = Slot {
                choice: choices.get(kind).cloned().unwrap_or_default(),
                store: Store::default(),
                wanted: WaitCell::new(false),
                served: RwLock::default(),
                listeners: RwLock::default(),
            };
            (*kind, slot)
        };
        Self {
            slots: Arc::new(ForeignKind::ALL.iter().map(slot).collect()),
        }
    }

    /// Starts a watch of each kind in `tasks`, as soon as it is wanted.
    pub fn start(&self, client: &Client, scope: &Scope, tasks: &mut JoinSet<()>) {
        for kind in ForeignKind::ALL {
            tasks.spawn(self.clone().watch(*kind, client.clone(), scope.clone()));
        }
    }

    /// How far a kind is; it is watched from now on.
    pub fn want(&self, kind: ForeignKind) -> Standing {
        let Some(slot) = self.slots.get(&kind) else {
            return Standing::Unknown;
        };
        if !slot.wanted.get() {
            slot.wanted.set(true);
        }
        let served = slot.served();
        match &served.refusal {
            Some(refusal) => Standing::Unserved(refusal.clone()),
            None if slot.store.is_ready() => Standing::Ready,
            None => Standing::Unknown,
        }
    }

    /// [`ForeignStores::want`] for several kinds: those the cluster does not serve, or nothing when a kind is not known
    /// yet.
    pub fn unserved(&self, kinds: impl IntoIterator<Item = ForeignKind>) -> Option<Vec<Unserved>> {
        let mut unserved = Vec::new();
        let mut unknown = false;
        for kind in kinds {
            match self.want(kind) {
                Standing::Unknown => unknown = true,
                Standing::Unserved(message) => unserved.push(Unserved { kind, message }),
                Standing::Ready => {}
            }
        }
        (!unknown).then_some(unserved)
    }

    /// The `apiVersion` under which the cluster serves each of several kinds.
    pub fn served(&self, kinds: impl IntoIterator<Item = ForeignKind>) -> Vec<(ForeignKind, String)> {
        let api_version = |kind: ForeignKind| {
            let served = self.slots.get(&kind)?.served();
            Some((kind, served.resource.as_ref()?.api_version.clone()))
        };
        kinds.into_iter().filter_map(api_version).collect()
    }

    /// The objects of a kind.
    pub fn store(&self, kind: ForeignKind) -> Option<&Store<DynamicObject>> {
        self.slots.get(&kind).map(|slot| &slot.store)
    }

    /// Calls `listener` whenever a kind begins or ceases to be served, from now on.
    pub fn listen(&self, kind: ForeignKind, listener: impl Fn() + Send + Sync + 'static) {
        if let Some(slot) = self.slots.get(&kind) {
            let mut listeners = slot.listeners.write().unwrap_or_else(PoisonError::into_inner);
            listeners.push(Box::new(listener));
        }
    }

    /// Forgets everybody who listens.
    pub fn forget_listeners(&self) {
        for slot in self.slots.values() {
            slot.store.forget_listeners();
            let listeners = std::mem::take(&mut *slot.listeners.write().unwrap_or_else(PoisonError::into_inner));
            drop(listeners);
        }
    }

    /// Asks the server for one object and takes its answer.
    ///
    /// # Errors
    /// When the server does not answer the question.
    pub async fn reread(&self, client: &Client, kind: ForeignKind, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(slot) = self.slots.get(&kind) else {
            return Ok(());
        };
        let resource = slot.served().resource.clone();
        let Some(resource) = resource else { return Ok(()) };
        let api = Api::namespaced_with(client.clone(), &key.namespace, &resource);
        slot.store.reread_by(&api, key).await
    }

    async fn watch(self, kind: ForeignKind, client: Client, scope: Scope) {
        let Some(slot) = self.slots.get(&kind) else { return };
        slot.wanted.wait_for(|wanted| wanted).await;
        loop {
            match discover(&client, kind, &slot.choice).await {
                Ok(Some(resource)) => {
                    let api: Api<DynamicObject> = match &scope {
                        Scope::Cluster => Api::all_with(client.clone(), &resource),
                        Scope::Namespace(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                    };
                    slot.tell(Some(resource), None);
                    let refused = slot.store.watch_while_served(api).await;
                    slot.tell(None, Some(refused));
                }
                Ok(None) => {
                    let group = slot.choice.group.as_deref().unwrap_or(kind.group());
                    let message = format!("the cluster does not serve kind {kind} of {group}");
                    slot.tell(None, Some(message));
                }
                Err(error) => {
                    tracing::warn!(%kind, %error, "Cannot find out whether the cluster serves a kind; asking again.")
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Slot {
    fn served(&self) -> std::sync::RwLockReadGuard<'_, Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, resource: Option<ApiResource>, refusal: Option<String>) {
        let changed = {
            let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
            let changed = served.refusal != refusal;
            *served = Served { resource, refusal };
            changed
        };
        if changed {
            let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().for_each(|listener| listener());
        }
    }
}

/// A kind in the version that was chosen, or else in the one the cluster prefers among those that have the kind.
async fn discover(client: &Client, kind: ForeignKind, choice: &Choice) -> Result<Option<ApiResource>, kube::Error> {
    let groups = client.list_api_groups().await?;
    let name = choice.group.as_deref().unwrap_or(kind.group());
    let Some(group) = groups.groups.into_iter().find(|group| group.name == name) else {
        return Ok(None);
    };
    let preferred = group.preferred_version.map(|version| version.version);
    let mut versions: Vec<String> = group.versions.into_iter().map(|version| version.version).collect();
    // Stable: the server lists versions by preference.
    versions.sort_by_key(|version| {
        (
            Some(version) != choice.version.as_ref(),
            Some(version) != preferred.as_ref(),
        )
    });
    for version in versions {
        let group_version = format!("{name}/{version}");
        let resources = client.list_api_group_resources(&group_version).await?;
        let mut resources = resources.resources.into_iter();
        let Some(found) = resources.find(|resource| resource.kind == kind.kind() && !resource.name.contains('/'))
        else {
            continue;
        };
        if let Some(chosen) = choice.version.as_ref().filter(|chosen| **chosen != version) {
            tracing::warn!(%kind, %chosen, %version, "The cluster does not serve a kind in the version that was chosen.");
        }
        return Ok(Some(ApiResource {
            group: name.to_owned(),
            version,
            api_version: group_version,
            kind: kind.kind().to_owned(),
            plural: found.name,
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
