//! One store for each kind that Rollout decisions look at, and whom a change concerns.

use crate::{
    api::{
        analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
        app_project::AppProject,
        application::Application,
        experiment::Experiment,
        replica_set::ReplicaSet,
        rollout::Rollout,
        workload::WorkloadKind,
    },
    k8s::{
        foreign::ForeignStores,
        ledger::Written,
        left::{managed_by, manager_of, managers_of},
        references::References,
        store::{Change, ObjectKey, Store, Stored, Term, controller_of, ownership_term, prune_metadata},
        workloads::{WorkloadStores, rollout_of},
    },
    plan::ObjectRef,
    traffic::{foreign::ForeignKind, release::KINDS},
};
use k8s_openapi::{
    api::{core::v1::Service, networking::v1::Ingress},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Client, Resource,
    core::{NamespaceResourceScope, Selector, SelectorExt},
};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

/// Which namespaces are watched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// All of them.
    Cluster,
    /// This one.
    Namespace(String),
}

impl Scope {
    /// An API of a namespaced kind over this scope.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

/// The stores. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// Rollouts.
    pub rollouts: Store<Rollout>,
    /// ReplicaSets; those of other controllers without their templates.
    pub replica_sets: Store<ReplicaSet>,
    /// Services.
    pub services: Store<Service>,
    /// Ingresses.
    pub ingresses: Store<Ingress>,
    /// Kinds of other projects that routers look at.
    pub foreign: ForeignStores,
    /// What Rollouts take their pod templates from.
    pub workloads: WorkloadStores,
    /// AnalysisRuns.
    pub analysis_runs: Store<AnalysisRun>,
    /// Experiments.
    pub experiments: Store<Experiment>,
    /// `AnalysisTemplate`s.
    pub analysis_templates: Store<AnalysisTemplate>,
    /// `ClusterAnalysisTemplate`s.
    pub cluster_analysis_templates: Store<ClusterAnalysisTemplate>,
    /// Applications; watched by their controller, where it runs.
    pub applications: Store<Application>,
    /// `AppProject`s; watched with the Applications.
    pub projects: Store<AppProject>,
}

impl Stores {
    /// Starts watching, in `tasks`.
    pub fn start(&self, client: &Client, scope: &Scope, tasks: &mut JoinSet<()>) {
        let Self {
            rollouts,
            replica_sets,
            services,
            ingresses,
            foreign,
            workloads,
            analysis_runs,
            experiments,
            analysis_templates,
            cluster_analysis_templates,
            applications: _,
            projects: _,
        } = self.clone();
        tasks.spawn(rollouts.watch(scope.api(client), false));
        tasks.spawn(replica_sets.watch(scope.api(client), false));
        tasks.spawn(services.watch(scope.api(client), false));
        tasks.spawn(ingresses.watch(scope.api(client), false));
        foreign.start(client, scope, tasks);
        workloads.start(client, scope, tasks);
        tasks.spawn(analysis_runs.watch(scope.api(client), false));
        tasks.spawn(experiments.watch(scope.api(client), false));
        tasks.spawn(analysis_templates.watch(scope.api(client), false));
        // With rights in one namespace only, cluster templates cannot be read; Rollouts naming them get a condition.
        let optional = matches!(scope, Scope::Namespace(_));
        tasks.spawn(cluster_analysis_templates.watch(Api::all(client.clone()), optional));
    }

    /// Kinds of a rollout whose first list has not arrived.
    pub fn unready(&self) -> Vec<&'static str> {
        let kinds = [
            ("Rollout", self.rollouts.is_ready()),
            ("ReplicaSet", self.replica_sets.is_ready()),
            ("Service", self.services.is_ready()),
            ("Ingress", self.ingresses.is_ready()),
            ("AnalysisRun", self.analysis_runs.is_ready()),
            ("Experiment", self.experiments.is_ready()),
            ("AnalysisTemplate", self.analysis_templates.is_ready()),
            ("ClusterAnalysisTemplate", self.cluster_analysis_templates.is_ready()),
        ];
        kinds
            .into_iter()
            .filter(|(_, ready)| !ready)
            .map(|(kind, _)| kind)
            .collect()
    }

    /// [`Stores::unready`] for the kinds of the sync engine.
    pub fn unready_to_sync(&self) -> Vec<&'static str> {
        let kinds = [
            ("Application", self.applications.is_ready()),
            ("AppProject", self.projects.is_ready()),
        ];
        kinds
            .into_iter()
            .filter(|(_, ready)| !ready)
            .map(|(kind, _)| kind)
            .collect()
    }

    /// Waits until the first list of every kind of a rollout has arrived.
    pub async fn ready(&self) {
        self.rollouts.ready().await;
        self.replica_sets.ready().await;
        self.services.ready().await;
        self.ingresses.ready().await;
        self.analysis_runs.ready().await;
        self.experiments.ready().await;
        self.analysis_templates.ready().await;
        self.cluster_analysis_templates.ready().await;
    }

    /// Calls `wake` with the name of every Rollout that a change concerns, from now on.
    pub fn wake_rollouts(&self, wake: impl Fn(ObjectKey) + Clone + Send + Sync + 'static) {
        on_change(&self.rollouts, &wake, |change| vec![change.key.clone()]);
        let stores = self.clone();
        on_change(&self.replica_sets, &wake, move |change| {
            stores.rollouts_of_replica_set(change)
        });
        let stores = self.clone();
        on_change(&self.services, &wake, move |change| {
            let mut rollouts = stores.rollouts.find_keys(&Term::Service(change.key.clone()));
            rollouts.extend(change.sides().filter_map(|service| managed_by(service.as_ref())));
            rollouts
        });
        let stores = self.clone();
        on_change(&self.ingresses, &wake, move |change| {
            let mut rollouts = stores.rollouts.find_keys(&Term::Ingress(change.key.clone()));
            rollouts.extend(change.sides().filter_map(|ingress| owning_rollout(ingress.as_ref())));
            rollouts.extend(change.sides().flat_map(|ingress| managers_of(ingress)));
            rollouts
        });
        self.wake_by_foreign_kinds(&wake);
        self.wake_by_workloads(&wake);
        on_change(&self.analysis_runs, &wake, |change| {
            change.sides().filter_map(|run| owning_rollout(run.as_ref())).collect()
        });
        on_change(&self.experiments, &wake, |change| {
            change
                .sides()
                .filter_map(|found| owning_rollout(found.as_ref()))
                .collect()
        });
        let stores = self.clone();
        on_change(&self.analysis_templates, &wake, move |change| {
            stores.users_of(&stores.rollouts, Term::Template(change.key.clone()))
        });
        let stores = self.clone();
        on_change(&self.cluster_analysis_templates, &wake, move |change| {
            stores.users_of(&stores.rollouts, Term::ClusterTemplate(change.key.name.clone()))
        });
    }

    /// Calls `wake` with the name of every Experiment that a change concerns, from now on.
    pub fn wake_experiments(&self, wake: impl Fn(ObjectKey) + Clone + Send + Sync + 'static) {
        fn owners<K: Stored>(change: &Change<K>) -> Vec<ObjectKey> {
            change
                .sides()
                .filter_map(|child| owner_of_kind(child.as_ref(), "Experiment"))
                .collect()
        }
        on_change(&self.experiments, &wake, |change| vec![change.key.clone()]);
        on_change(&self.replica_sets, &wake, owners);
        on_change(&self.services, &wake, owners);
        on_change(&self.analysis_runs, &wake, owners);
        let stores = self.clone();
        on_change(&self.analysis_templates, &wake, move |change| {
            stores.users_of(&stores.experiments, Term::Template(change.key.clone()))
        });
        let stores = self.clone();
        on_change(&self.cluster_analysis_templates, &wake, move |change| {
            stores.users_of(&stores.experiments, Term::ClusterTemplate(change.key.name.clone()))
        });
    }

    fn wake_by_foreign_kinds(&self, wake: &(impl Fn(ObjectKey) + Clone + Send + Sync + 'static)) {
        for kind in ForeignKind::ALL.iter().copied() {
            if let Some(store) = self.foreign.store(kind) {
                let rollouts = self.rollouts.clone();
                on_change(store, wake, move |change| {
                    let all = ObjectKey::new(change.key.namespace.as_str(), "");
                    let mut keys = rollouts.find_keys(&Term::Foreign(kind, change.key.clone()));
                    keys.extend(rollouts.find_keys(&Term::Foreign(kind, all)));
                    if KINDS.contains(&kind) {
                        keys.extend(change.sides().filter_map(|object| manager_of(object)));
                    }
                    keys
                });
            }
            let (rollouts, wake) = (self.rollouts.clone(), wake.clone());
            self.foreign.listen(kind, move || {
                rollouts.find_keys(&Term::ForeignKind(kind)).into_iter().for_each(&wake);
            });
        }
    }

    fn wake_by_workloads(&self, wake: &(impl Fn(ObjectKey) + Clone + Send + Sync + 'static)) {
        for kind in WorkloadKind::ALL {
            if let Some(store) = self.workloads.store(kind) {
                let rollouts = self.rollouts.clone();
                on_change(store, wake, move |change| {
                    let mut keys = rollouts.find_keys(&Term::Workload(kind, change.key.clone()));
                    keys.extend(change.sides().filter_map(|workload| rollout_of(workload)));
                    keys
                });
            }
            let (rollouts, wake) = (self.rollouts.clone(), wake.clone());
            self.workloads.listen(kind, move || {
                rollouts
                    .find_keys(&Term::WorkloadKind(kind))
                    .into_iter()
                    .for_each(&wake);
            });
        }
    }

    /// Forgets everybody who listens; for the end of a replica within a process that goes on.
    pub fn forget_listeners(&self) {
        self.rollouts.forget_listeners();
        self.replica_sets.forget_listeners();
        self.services.forget_listeners();
        self.ingresses.forget_listeners();
        self.foreign.forget_listeners();
        self.workloads.forget_listeners();
        self.analysis_runs.forget_listeners();
        self.experiments.forget_listeners();
        self.analysis_templates.forget_listeners();
        self.cluster_analysis_templates.forget_listeners();
        self.applications.forget_listeners();
        self.projects.forget_listeners();
    }

    /// Whether the stores reflect one of our own writes. Kinds that are not watched always do.
    pub fn have_seen(&self, target: &ObjectRef, written: &Written) -> bool {
        fn seen<K: Stored>(store: &Store<K>, key: &ObjectKey, written: &Written) -> bool {
            match written {
                Written::Version(version) => store.has_seen(key, version),
                Written::Deleted { uid } => store.has_seen_deletion(key, uid.as_deref()),
            }
        }
        let key = ObjectKey::new(target.namespace.clone().unwrap_or_default(), target.name.as_str());
        match target.kind.as_str() {
            "Rollout" => seen(&self.rollouts, &key, written),
            "ReplicaSet" => seen(&self.replica_sets, &key, written),
            "Service" if target.api_version == "v1" => seen(&self.services, &key, written),
            "Ingress" if target.api_version.starts_with("networking.k8s.io/") => seen(&self.ingresses, &key, written),
            "AnalysisRun" => seen(&self.analysis_runs, &key, written),
            "Deployment" if target.api_version.starts_with("apps/") => (self.workloads.store(WorkloadKind::Deployment))
                .is_none_or(|store| !store.is_ready() || seen(store, &key, written)),
            "Experiment" => seen(&self.experiments, &key, written),
            _ => (foreign_kind(target).and_then(|kind| self.foreign.store(kind)))
                .is_none_or(|store| !store.is_ready() || seen(store, &key, written)),
        }
    }

    /// Asks the server for one object and takes its answer, for when the watch does not bring it. Kinds that are not
    /// watched are left alone.
    ///
    /// # Errors
    /// When the server does not answer the question.
    pub async fn reread(&self, client: &Client, target: &ObjectRef) -> Result<(), kube::Error> {
        let key = ObjectKey::new(target.namespace.clone().unwrap_or_default(), target.name.as_str());
        match target.kind.as_str() {
            "Rollout" => self.rollouts.reread(client, &key).await,
            "ReplicaSet" => self.replica_sets.reread(client, &key).await,
            "Service" if target.api_version == "v1" => self.services.reread(client, &key).await,
            "Ingress" if target.api_version.starts_with("networking.k8s.io/") => {
                self.ingresses.reread(client, &key).await
            }
            "AnalysisRun" => self.analysis_runs.reread(client, &key).await,
            "Deployment" if target.api_version.starts_with("apps/") => {
                let workloads = &self.workloads;
                workloads.reread(client, WorkloadKind::Deployment, &key).await
            }
            "Experiment" => self.experiments.reread(client, &key).await,
            _ => match foreign_kind(target) {
                Some(kind) => self.foreign.reread(client, kind, &key).await,
                None => Ok(()),
            },
        }
    }

    /// The Rollout that controls the ReplicaSet, or, of an orphan, those that may adopt it.
    fn rollouts_of_replica_set(&self, change: &Change<ReplicaSet>) -> Vec<ObjectKey> {
        let mut concerned = Vec::new();
        for replica_set in change.sides() {
            if controller_of(replica_set.as_ref()).is_some() {
                concerned.extend(owning_rollout(replica_set.as_ref()));
                continue;
            }
            let neighbours = self.rollouts.find(&Term::Namespace(change.key.namespace.clone()));
            // One without a selector takes that of its workload.
            let adopters = neighbours.iter().filter(|rollout| match &rollout.spec.selector {
                None => rollout.spec.workload_ref.is_some(),
                selector => selects(selector.as_ref(), replica_set.as_ref()),
            });
            concerned.extend(adopters.map(|rollout| ObjectKey::of(rollout.as_ref())));
        }
        concerned
    }

    /// Those of `users` that name this template, or a template that leads to it.
    fn users_of<K: Stored>(&self, users: &Store<K>, template: Term) -> Vec<ObjectKey> {
        let mut found = Vec::new();
        let mut visited = BTreeSet::new();
        let mut open = vec![template];
        while let Some(term) = open.pop() {
            found.extend(users.find_keys(&term));
            open.extend(self.analysis_templates.find_keys(&term).into_iter().map(Term::Template));
            open.extend(
                self.cluster_analysis_templates
                    .find_keys(&term)
                    .into_iter()
                    .map(|key| Term::ClusterTemplate(key.name)),
            );
            visited.insert(term);
            open.retain(|term| !visited.contains(term));
        }
        found
    }
}

fn foreign_kind(target: &ObjectRef) -> Option<ForeignKind> {
    let (group, _) = target.api_version.split_once('/')?;
    ForeignKind::of(group, &target.kind)
}

fn on_change<K: Stored>(
    store: &Store<K>,
    wake: &(impl Fn(ObjectKey) + Clone + Send + Sync + 'static),
    concerned: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
) {
    let wake = wake.clone();
    store.listen(move |change| concerned(change).into_iter().for_each(&wake));
}

/// The Rollout that controls an object.
fn owning_rollout<K: Resource>(object: &K) -> Option<ObjectKey> {
    owner_of_kind(object, "Rollout")
}

/// The object of this kind that controls an object.
fn owner_of_kind<K: Resource>(object: &K, kind: &str) -> Option<ObjectKey> {
    let owner = controller_of(object).filter(|owner| owner.kind == kind)?;
    Some(ObjectKey::new(
        object.meta().namespace.clone().unwrap_or_default(),
        owner.name.as_str(),
    ))
}

/// Whether a selector matches an object's labels; an absent, empty or broken one matches nothing.
pub fn selects<K: Resource>(selector: Option<&LabelSelector>, object: &K) -> bool {
    let Some(selector) = selector.cloned().and_then(|selector| Selector::try_from(selector).ok()) else {
        return false;
    };
    let none = std::collections::BTreeMap::new();
    !selector.selects_all() && selector.matches(object.meta().labels.as_ref().unwrap_or(&none))
}

impl Stored for Rollout {
    fn terms(&self) -> Vec<Term> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let mut terms = References::of_rollout(self).terms(namespace);
        terms.push(Term::Namespace(namespace.to_owned()));
        terms
    }
}

impl Stored for ReplicaSet {
    fn prune(&mut self) {
        prune_metadata(self);
        // In a cluster most ReplicaSets belong to Deployments; their templates would be most of our memory.
        if controller_of(self).is_some_and(|owner| !matches!(owner.kind.as_str(), "Rollout" | "Experiment")) {
            self.spec.template = serde_json::Value::Null;
            self.metadata.annotations = None;
        }
    }

    fn terms(&self) -> Vec<Term> {
        vec![ownership_term(self)]
    }
}

impl Stored for Service {
    fn terms(&self) -> Vec<Term> {
        let owner = controller_of(self).filter(|owner| owner.kind == "Experiment");
        let owner = owner.map(|owner| Term::Owner(owner.uid.clone()));
        managed_by(self).map(Term::ManagedBy).into_iter().chain(owner).collect()
    }
}

impl Stored for Ingress {
    fn terms(&self) -> Vec<Term> {
        let managers = managers_of(self).into_iter().map(Term::ManagedBy);
        std::iter::once(ownership_term(self)).chain(managers).collect()
    }
}

impl Stored for AnalysisRun {
    fn terms(&self) -> Vec<Term> {
        vec![ownership_term(self)]
    }
}

impl Stored for Experiment {
    fn terms(&self) -> Vec<Term> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let mut terms = References::of_experiment(&self.spec).terms(namespace);
        terms.push(ownership_term(self));
        terms
    }
}

impl Stored for AnalysisTemplate {
    fn terms(&self) -> Vec<Term> {
        References::of_template(&self.spec).terms(self.metadata.namespace.as_deref().unwrap_or_default())
    }
}

impl Stored for ClusterAnalysisTemplate {
    fn terms(&self) -> Vec<Term> {
        References::of_template(&self.spec).terms("")
    }
}

#[cfg(test)]
mod tests;
