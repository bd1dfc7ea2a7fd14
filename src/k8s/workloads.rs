//! Stores of what `spec.workloadRef` names: each kind is watched from the first Rollout on that names one of it, since a
//! cluster has many Deployments and most clusters have no Rollout that takes its pod template from one.
//!
//! Deployments are also watched when, at the start, one is marked as scaled down: its Rollout may have been deleted, or
//! name it no more, while nobody looked.

use crate::{
    api::{
        well_known,
        workload::{Workload, WorkloadKind},
    },
    k8s::{
        cell::WaitCell,
        foreign::Standing,
        store::{ObjectKey, Store, Stored, Term, prune_metadata},
        stores::Scope,
    },
    rollout::workload::scaled_down_by,
};
use kube::{Api, Client, api::ListParams, core::ObjectMeta};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::task::JoinSet;

/// Time until a kind that could not be watched, or asked for, is tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

impl Stored for Workload {
    fn prune(&mut self) {
        prune_metadata(self);
        let ObjectMeta {
            annotations, labels, ..
        } = &mut self.metadata;
        *labels = None;
        if let Some(annotations) = annotations {
            annotations.retain(|key, _| key == well_known::SCALED_DOWN);
        }
    }

    fn terms(&self) -> Vec<Term> {
        rollout_of(self).map(Term::ManagedBy).into_iter().collect()
    }
}

/// The Rollout that a workload is marked as scaled down by.
pub(crate) fn rollout_of(workload: &Workload) -> Option<ObjectKey> {
    Some(ObjectKey::new(workload.namespace(), scaled_down_by(workload)?))
}

/// The stores. Cloning shares them.
#[derive(Clone)]
pub struct WorkloadStores {
    slots: Arc<BTreeMap<WorkloadKind, Slot>>,
}

struct Slot {
    store: Store<Workload>,
    wanted: WaitCell<bool>,
    refusal: RwLock<Option<String>>,
    listeners: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl Default for WorkloadStores {
    fn default() -> Self {
        let slot = |kind| {
            let slot = Slot {
                store: Store::default(),
                wanted: WaitCell::new(false),
                refusal: RwLock::default(),
                listeners: RwLock::default(),
            };
            (kind, slot)
        };
        Self {
            slots: Arc::new(WorkloadKind::ALL.into_iter().map(slot).collect()),
        }
    }
}

impl fmt::Debug for WorkloadStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadStores").finish_non_exhaustive()
    }
}

impl WorkloadStores {
    /// Starts a watch of each kind in `tasks`, as soon as it is wanted.
    pub fn start(&self, client: &Client, scope: &Scope, tasks: &mut JoinSet<()>) {
        for kind in WorkloadKind::ALL {
            tasks.spawn(self.clone().watch(kind, client.clone(), scope.clone()));
        }
    }

    /// How far a kind is; it is watched from now on.
    pub fn want(&self, kind: WorkloadKind) -> Standing {
        let Some(slot) = self.slots.get(&kind) else {
            return Standing::Unknown;
        };
        if !slot.wanted.get() {
            slot.wanted.set(true);
        }
        let refusal = slot.refusal.read().unwrap_or_else(PoisonError::into_inner);
        match &*refusal {
            Some(refusal) => Standing::Unserved(refusal.clone()),
            None if slot.store.is_ready() => Standing::Ready,
            None => Standing::Unknown,
        }
    }

    /// The objects of a kind.
    pub fn store(&self, kind: WorkloadKind) -> Option<&Store<Workload>> {
        self.slots.get(&kind).map(|slot| &slot.store)
    }

    /// Deployments that are marked as scaled down by this Rollout.
    pub fn scaled_down_by(&self, rollout: &ObjectKey) -> Vec<Arc<Workload>> {
        let store = self.store(WorkloadKind::Deployment);
        store.map_or_else(Vec::new, |store| store.find(&Term::ManagedBy(rollout.clone())))
    }

    /// Calls `listener` whenever a kind can, or can no longer, be watched, from now on.
    pub fn listen(&self, kind: WorkloadKind, listener: impl Fn() + Send + Sync + 'static) {
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

    /// Asks the server for one object and takes its answer, if its kind is watched.
    ///
    /// # Errors
    /// When the server does not answer the question.
    pub async fn reread(&self, client: &Client, kind: WorkloadKind, key: &ObjectKey) -> Result<(), kube::Error> {
        let Some(slot) = self.slots.get(&kind).filter(|slot| slot.store.is_ready()) else {
            return Ok(());
        };
        let api = Api::namespaced_with(client.clone(), &key.namespace, &kind);
        slot.store.reread_by(&api, key).await
    }

    async fn watch(self, kind: WorkloadKind, client: Client, scope: Scope) {
        let Some(slot) = self.slots.get(&kind) else { return };
        if kind == WorkloadKind::Deployment {
            tokio::select! {
                biased;
                _ = slot.wanted.wait_for(|wanted| wanted) => {}
                () = left_behind(&client, &scope) => {
                    slot.wanted.set(true);
                }
            }
        }
        slot.wanted.wait_for(|wanted| wanted).await;
        loop {
            let api: Api<Workload> = match &scope {
                Scope::Cluster => Api::all_with(client.clone(), &kind),
                Scope::Namespace(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            };
            slot.tell(None);
            let refused = slot.store.watch_while_served(api).await;
            slot.tell(Some(refused));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Slot {
    fn tell(&self, refusal: Option<String>) {
        let changed = {
            let mut held = self.refusal.write().unwrap_or_else(PoisonError::into_inner);
            let changed = *held != refusal;
            *held = refusal;
            changed
        };
        if changed {
            let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().for_each(|listener| listener());
        }
    }
}

/// Ends when a Deployment is found that is marked as scaled down; never, if there is none or Deployments may not be
/// listed. Those that are marked later are marked by this process, or by one that takes over and looks for itself.
async fn left_behind(client: &Client, scope: &Scope) {
    let kind = WorkloadKind::Deployment;
    let api: Api<Workload> = match scope {
        Scope::Cluster => Api::all_with(client.clone(), &kind),
        Scope::Namespace(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
    };
    let marked = ListParams::default().labels(well_known::SCALED_DOWN).limit(1);
    loop {
        let found = api.list(&marked).await;
        eprintln!("DEBUG left_behind {:?}", found.as_ref().map(|found| found.items.len()));
        match found {
            Ok(found) if !found.items.is_empty() => return,
            Err(error) if !matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404)) => {
                tracing::debug!(%error, "Cannot find out whether a Deployment is scaled down; asking again.");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(_) | Err(_) => return std::future::pending().await,
        }
    }
}
