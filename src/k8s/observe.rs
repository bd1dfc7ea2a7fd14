//! Puts together what one decision about a Rollout is based on, from the stores alone.

pub mod experiment;

use crate::{
    api::{
        analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
        experiment::Experiment,
        replica_set::ReplicaSet,
        rollout::Rollout,
        well_known,
        workload::{Workload, WorkloadKind},
    },
    k8s::{
        foreign::Standing,
        ledger::{Freshness, Ledger, Subject},
        left::{Left, managed_by, manager_of},
        pods::PodList,
        references::References,
        store::{ObjectKey, Term},
        stores::{Stores, selects},
    },
    plan::ObjectRef,
    rollout::{
        snapshot::{Pods, Settings, Snapshot},
        workload::{self, Referred},
    },
    traffic::{
        foreign::{Foreign, ForeignKind, Unserved},
        release::KINDS,
    },
};
use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use kube::core::DynamicObject;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What was found about a Rollout.
#[derive(Debug)]
pub enum Observation {
    /// Everything a decision needs.
    Complete(Box<Observed>),
    /// The stores do not show our own last writes yet; look again shortly.
    Stale {
        /// The first object they are behind for.
        behind: ObjectRef,
    },
    /// The stores have not shown our own last writes for a long time; read these objects again.
    Overdue {
        /// What was written.
        targets: Vec<ObjectRef>,
    },
    /// It names a kind of another project, or of workloads, of which the first list has not arrived; its arrival wakes the Rollout.
    Unready,
    /// The Rollout belongs to a controller with another instance id.
    Foreign,
    /// The Rollout is not there, or is going: its children are the garbage collector's.
    Gone,
    /// The same, and it has left objects behind that carry its mark.
    Left(Left),
}

/// Shared ownership of the objects of one snapshot.
#[derive(Debug)]
pub struct Observed {
    rollout: Arc<Rollout>,
    referred: Option<Reference>,
    scaled_down: Vec<Arc<Workload>>,
    replica_sets: Vec<Arc<ReplicaSet>>,
    services: Vec<Arc<Service>>,
    ingresses: Vec<Arc<Ingress>>,
    foreign: Vec<(ForeignKind, Arc<DynamicObject>)>,
    unserved: Vec<Unserved>,
    served: Vec<(ForeignKind, String)>,
    analysis_runs: Vec<Arc<AnalysisRun>>,
    experiments: Vec<Arc<Experiment>>,
    analysis_templates: Vec<Arc<AnalysisTemplate>>,
    cluster_analysis_templates: Vec<Arc<ClusterAnalysisTemplate>>,
    pods: PodList,
    settings: Arc<Settings>,
    now: Timestamp,
}

impl Observed {
    /// The snapshot to plan on.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            rollout: &self.rollout,
            referred: self.referred.as_ref().map(Reference::borrowed),
            scaled_down: borrowed(&self.scaled_down),
            replica_sets: borrowed(&self.replica_sets),
            services: borrowed(&self.services),
            ingresses: borrowed(&self.ingresses),
            foreign: (self.foreign.iter())
                .map(|(kind, object)| Foreign { kind: *kind, object })
                .collect(),
            unserved: &self.unserved,
            served: &self.served,
            analysis_runs: borrowed(&self.analysis_runs),
            experiments: borrowed(&self.experiments),
            analysis_templates: borrowed(&self.analysis_templates),
            cluster_analysis_templates: borrowed(&self.cluster_analysis_templates),
            pods: match &self.pods {
                PodList::Unlisted => Pods::Unlisted,
                PodList::Listed(pods) => Pods::Listed(pods),
                PodList::Unlistable(why) => Pods::Unlistable(why),
            },
            settings: &self.settings,
            now: self.now,
        }
    }

    /// Takes the pods that were listed for this decision.
    pub fn with_pods(&mut self, pods: PodList) {
        self.pods = pods;
    }

    /// The Rollout, with the pod template of its workload.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Rollouts that the objects it looks at are managed by, and that are gone, or going.
    pub fn gone_managers(&self, stores: &Stores) -> BTreeSet<ObjectKey> {
        let foreign = self.foreign.iter().filter(|(kind, _)| KINDS.contains(kind));
        let services = self.services.iter().filter_map(|service| managed_by(service.as_ref()));
        let managers = services.chain(foreign.filter_map(|(_, object)| manager_of(object)));
        managers.filter(|manager| living(stores, manager).is_none()).collect()
    }
}

fn borrowed<K>(objects: &[Arc<K>]) -> Vec<&K> {
    objects.iter().map(AsRef::as_ref).collect()
}

/// Looks at one Rollout and everything it depends on.
pub fn observe(
    stores: &Stores,
    ledger: &Ledger,
    settings: &Arc<Settings>,
    key: &ObjectKey,
    now: Timestamp,
) -> Observation {
    let subject = Subject::new("Rollout", key.clone());
    let Some(rollout) = living(stores, key) else {
        ledger.forget(&subject);
        return Left::by(stores, key).map_or(Observation::Gone, Observation::Left);
    };
    if instance_id(&rollout) != settings.instance_id {
        return Observation::Foreign;
    }
    match ledger.look(&subject, stores) {
        Freshness::Current => {}
        Freshness::Behind(behind) => return Observation::Stale { behind },
        Freshness::Overdue(targets) => return Observation::Overdue { targets },
    }
    let references = References::of_rollout(&rollout);
    let Some(unserved) = stores.foreign.unserved(references.foreign_kinds()) else {
        return Observation::Unready;
    };
    let Ok(referred) = referred(stores, &rollout, &references) else {
        return Observation::Unready;
    };
    let owned = stores.replica_sets.find(&owned_by(&rollout));
    let rollout = match &rollout.spec.workload_ref {
        None => rollout,
        Some(_) => {
            let found = referred.as_ref().and_then(|referred| referred.found.as_deref());
            let sets = owned.iter().map(AsRef::as_ref);
            Arc::new(workload::resolve(&rollout, found, sets))
        }
    };
    let (analysis_templates, cluster_analysis_templates) = templates(stores, &key.namespace, &references);
    Observation::Complete(Box::new(Observed {
        replica_sets: replica_sets(stores, &rollout, owned, key, &references),
        scaled_down: stores.workloads.scaled_down_by(key),
        referred,
        services: services(stores, key, &references),
        ingresses: ingresses(stores, &rollout, &key.namespace, &references),
        foreign: foreign(stores, &rollout, &references),
        unserved,
        served: stores.foreign.served(references.foreign_kinds()),
        analysis_runs: stores.analysis_runs.find(&owned_by(&rollout)),
        experiments: experiments(stores, &rollout, &key.namespace),
        analysis_templates,
        cluster_analysis_templates,
        pods: PodList::Unlisted,
        settings: Arc::clone(settings),
        now,
        rollout,
    }))
}

/// The Rollout of this name, unless it is gone or going.
fn living(stores: &Stores, key: &ObjectKey) -> Option<Arc<Rollout>> {
    let rollout = stores.rollouts.get(key);
    rollout.filter(|rollout| rollout.metadata.deletion_timestamp.is_none())
}

/// The instance of the controller that a Rollout belongs to.
pub(crate) fn instance_id(rollout: &Rollout) -> &str {
    let labels = rollout.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(well_known::INSTANCE_ID))
        .map(String::as_str)
        .unwrap_or_default()
}

fn owned_by(rollout: &Rollout) -> Term {
    Term::Owner(rollout.metadata.uid.clone().unwrap_or_default())
}

/// What `spec.workloadRef` leads to.
#[derive(Debug)]
struct Reference {
    kind: WorkloadKind,
    found: Option<Arc<Workload>>,
    refusal: Option<String>,
    has_own_template: bool,
}

impl Reference {
    fn borrowed(&self) -> Referred<'_> {
        Referred {
            kind: self.kind,
            found: self.found.as_deref(),
            refusal: self.refusal.as_deref(),
            has_own_template: self.has_own_template,
        }
    }
}

/// The first list has not arrived.
struct NotListed;

fn referred(stores: &Stores, rollout: &Rollout, references: &References) -> Result<Option<Reference>, NotListed> {
    let Some((kind, key)) = &references.workload else {
        return Ok(None);
    };
    let refusal = match stores.workloads.want(*kind) {
        Standing::Unknown => return Err(NotListed),
        Standing::Unserved(refusal) => Some(refusal),
        Standing::Ready => None,
    };
    let store = stores.workloads.store(*kind).filter(|_| refusal.is_none());
    Ok(Some(Reference {
        kind: *kind,
        found: store.and_then(|store| store.get(key)),
        refusal,
        has_own_template: rollout.spec.template.is_some(),
    }))
}

fn replica_sets(
    stores: &Stores,
    rollout: &Rollout,
    owned: Vec<Arc<ReplicaSet>>,
    key: &ObjectKey,
    references: &References,
) -> Vec<Arc<ReplicaSet>> {
    let mut found = owned;
    let orphans = stores.replica_sets.find(&Term::Orphan(key.namespace.clone()));
    // One that the pod template is taken from is no revision.
    let workload = match &references.workload {
        Some((WorkloadKind::ReplicaSet, workload)) => Some(workload.name.as_str()),
        _ => None,
    };
    found.extend(
        orphans
            .into_iter()
            .filter(|orphan| Some(orphan.name()) != workload)
            .filter(|orphan| selects(rollout.spec.selector.as_ref(), orphan.as_ref())),
    );
    found
}

/// Those it controls, and whoever holds the name of the one it is at, or one of that step's other attempts: a name that
/// is taken and not seen would be chosen again and again.
fn experiments(stores: &Stores, rollout: &Rollout, namespace: &str) -> Vec<Arc<Experiment>> {
    let canary = rollout.status.as_ref().and_then(|status| status.canary.as_ref());
    let current = canary.map_or("", |canary| canary.current_experiment.as_str());
    let holder = |name: &str| stores.experiments.get(&ObjectKey::new(namespace, name));
    let first = current.rsplit_once('-').map(|(first, _attempt)| first);
    let mut found = stores.experiments.find(&owned_by(rollout));
    for base in [Some(current), first].into_iter().flatten() {
        found.extend(holder(base));
        found.extend((1..).map_while(|attempt| holder(&format!("{base}-{attempt}"))));
    }
    unique(found.into_iter())
}

fn services(stores: &Stores, rollout: &ObjectKey, references: &References) -> Vec<Arc<Service>> {
    let named = references.services.iter().filter_map(|name| {
        stores
            .services
            .get(&ObjectKey::new(rollout.namespace.as_str(), name.as_str()))
    });
    unique(named.chain(stores.services.find(&Term::ManagedBy(rollout.clone()))))
}

fn ingresses(stores: &Stores, rollout: &Rollout, namespace: &str, references: &References) -> Vec<Arc<Ingress>> {
    let named = references
        .ingresses
        .iter()
        .filter_map(|name| stores.ingresses.get(&ObjectKey::new(namespace, name.as_str())));
    unique(named.chain(stores.ingresses.find(&owned_by(rollout))))
}

/// The objects named, all of a namespace where the empty name stands for them, and those it controls of these kinds.
fn foreign(stores: &Stores, rollout: &Rollout, references: &References) -> Vec<(ForeignKind, Arc<DynamicObject>)> {
    let mut found = Vec::new();
    for kind in references.foreign_kinds() {
        let Some(store) = stores.foreign.store(kind) else {
            continue;
        };
        let named = references.foreign.iter().filter(|(of, _)| *of == kind);
        let named = named.flat_map(|(_, key)| match key.name.is_empty() {
            true => store.find(&Term::Namespace(key.namespace.clone())),
            false => store.get(key).into_iter().collect(),
        });
        let all = unique(named.chain(store.find(&owned_by(rollout))));
        found.extend(all.into_iter().map(|object| (kind, object)));
    }
    found
}

fn unique<K: kube::Resource>(objects: impl Iterator<Item = Arc<K>>) -> Vec<Arc<K>> {
    let by_key: BTreeMap<ObjectKey, Arc<K>> = objects.map(|object| (ObjectKey::of(object.as_ref()), object)).collect();
    by_key.into_values().collect()
}

type Templates = (Vec<Arc<AnalysisTemplate>>, Vec<Arc<ClusterAnalysisTemplate>>);

/// The templates referred to, directly or through other templates. Each is visited once, so cycles end.
fn templates(stores: &Stores, namespace: &str, references: &References) -> Templates {
    let mut found = BTreeMap::new();
    let mut found_cluster = BTreeMap::new();
    let mut open: Vec<(bool, String)> = names(references);
    while let Some((cluster_scope, name)) = open.pop() {
        if cluster_scope && !found_cluster.contains_key(&name) {
            let Some(template) = stores
                .cluster_analysis_templates
                .get(&ObjectKey::new("", name.as_str()))
            else {
                continue;
            };
            open.extend(names(&References::of_template(&template.spec)));
            found_cluster.insert(name, template);
        } else if !cluster_scope && !found.contains_key(&name) {
            let Some(template) = stores.analysis_templates.get(&ObjectKey::new(namespace, name.as_str())) else {
                continue;
            };
            open.extend(names(&References::of_template(&template.spec)));
            found.insert(name, template);
        }
    }
    (found.into_values().collect(), found_cluster.into_values().collect())
}

fn names(references: &References) -> Vec<(bool, String)> {
    let namespaced = references.templates.iter().map(|name| (false, name.clone()));
    namespaced
        .chain(references.cluster_templates.iter().map(|name| (true, name.clone())))
        .collect()
}

#[cfg(test)]
mod tests;
