//! Puts together what one decision about an Experiment is based on, from the stores alone.

use super::{Templates, borrowed, templates, unique};
use crate::{
    api::{
        analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
        experiment::Experiment,
        replica_set::ReplicaSet,
    },
    experiment::{Snapshot, names},
    k8s::{
        references::References,
        store::{ObjectKey, Store, Stored, Term},
        stores::Stores,
    },
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use std::sync::Arc;

/// Shared ownership of the objects of one snapshot.
#[derive(Debug)]
pub struct Observed {
    experiment: Arc<Experiment>,
    replica_sets: Vec<Arc<ReplicaSet>>,
    services: Vec<Arc<Service>>,
    analysis_runs: Vec<Arc<AnalysisRun>>,
    analysis_templates: Vec<Arc<AnalysisTemplate>>,
    cluster_analysis_templates: Vec<Arc<ClusterAnalysisTemplate>>,
    now: Timestamp,
}

impl Observed {
    /// The snapshot to plan on.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            experiment: &self.experiment,
            replica_sets: borrowed(&self.replica_sets),
            services: borrowed(&self.services),
            analysis_runs: borrowed(&self.analysis_runs),
            analysis_templates: borrowed(&self.analysis_templates),
            cluster_analysis_templates: borrowed(&self.cluster_analysis_templates),
            now: self.now,
        }
    }

    /// The Experiment.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }
}

/// Looks at everything an Experiment depends on.
pub fn observe(stores: &Stores, experiment: Arc<Experiment>, now: Timestamp) -> Observed {
    let namespace = experiment.metadata.namespace.clone().unwrap_or_default();
    let owner = Term::Owner(experiment.metadata.uid.clone().unwrap_or_default());
    let wanted = names::wanted(&experiment);
    let mut analysis_runs = Vec::new();
    for base in &wanted.analysis_runs {
        let attempts = (0..).map(|number| ObjectKey::new(namespace.as_str(), names::attempt(base, number)));
        analysis_runs.extend(attempts.map_while(|key| stores.analysis_runs.get(&key)));
    }
    let (analysis_templates, cluster_analysis_templates): Templates =
        templates(stores, &namespace, &References::of_experiment(&experiment.spec));
    Observed {
        replica_sets: own(
            &stores.replica_sets,
            &owner,
            named(&stores.replica_sets, &namespace, wanted.replica_sets),
        ),
        services: own(
            &stores.services,
            &owner,
            named(&stores.services, &namespace, wanted.services),
        ),
        analysis_runs: own(&stores.analysis_runs, &owner, analysis_runs),
        analysis_templates,
        cluster_analysis_templates,
        experiment,
        now,
    }
}

fn named<K: Stored>(store: &Store<K>, namespace: &str, names: Vec<String>) -> Vec<Arc<K>> {
    let keys = names.into_iter().map(|name| ObjectKey::new(namespace, name));
    keys.filter_map(|key| store.get(&key)).collect()
}

/// The objects it controls, and these.
fn own<K: Stored>(store: &Store<K>, owner: &Term, others: Vec<Arc<K>>) -> Vec<Arc<K>> {
    unique(store.find(owner).into_iter().chain(others))
}
