//! What Rollouts that are gone have left behind: found by the marks that objects carry, from the stores alone.

use crate::{
    api::{well_known, workload::Workload},
    k8s::{
        store::{ObjectKey, Term},
        stores::Stores,
    },
    rollout::departure::Remains,
    traffic::{
        alb,
        foreign::{Foreign, ForeignKind},
        release::{self, KINDS},
    },
};
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use kube::{Resource, core::DynamicObject};
use std::{collections::BTreeSet, sync::Arc};

/// Objects that are marked as a Rollout's. Shares them.
#[derive(Debug)]
pub struct Left {
    scaled_down: Vec<Arc<Workload>>,
    services: Vec<Arc<Service>>,
    ingresses: Vec<Arc<Ingress>>,
    foreign: Vec<(ForeignKind, Arc<DynamicObject>)>,
}

impl Left {
    /// What is marked as this Rollout's; `None` if nothing is.
    pub(crate) fn by(stores: &Stores, rollout: &ObjectKey) -> Option<Self> {
        let term = Term::ManagedBy(rollout.clone());
        let foreign = KINDS.into_iter().flat_map(|kind| {
            let found = stores.foreign.store(kind).map(|store| store.find(&term));
            found.into_iter().flatten().map(move |object| (kind, object))
        });
        let left = Self {
            scaled_down: stores.workloads.scaled_down_by(rollout),
            services: stores.services.find(&term),
            ingresses: stores.ingresses.find(&term),
            foreign: foreign.collect(),
        };
        let Self {
            scaled_down,
            services,
            ingresses,
            foreign,
        } = &left;
        let is_nothing = scaled_down.is_empty() && services.is_empty() && ingresses.is_empty() && foreign.is_empty();
        (!is_nothing).then_some(left)
    }

    /// The same, to decide on.
    pub fn remains<'a>(&'a self, rollout: &'a ObjectKey) -> Remains<'a> {
        Remains {
            rollout: &rollout.name,
            scaled_down: self.scaled_down.iter().map(AsRef::as_ref).collect(),
            services: self.services.iter().map(AsRef::as_ref).collect(),
            ingresses: self.ingresses.iter().map(AsRef::as_ref).collect(),
            foreign: (self.foreign.iter())
                .map(|(kind, object)| Foreign { kind: *kind, object })
                .collect(),
        }
    }
}

/// The Rollouts that objects are marked as those of. Some of them may be gone.
pub(crate) fn named(stores: &Stores) -> BTreeSet<ObjectKey> {
    let mut found = BTreeSet::from_iter(stores.workloads.rollouts());
    stores.services.for_each(|service| found.extend(managed_by(service)));
    stores.ingresses.for_each(|ingress| found.extend(managers_of(ingress)));
    for store in KINDS.into_iter().filter_map(|kind| stores.foreign.store(kind)) {
        store.for_each(|object| found.extend(manager_of(object)));
    }
    found
}

/// The Rollout that an object says it is managed by.
pub(crate) fn managed_by<K: Resource>(object: &K) -> Option<ObjectKey> {
    let marks = object.meta().annotations.as_ref()?;
    rollout(object, marks.get(well_known::MANAGED_BY_ROLLOUT)?)
}

/// The same of an object of another project, if it is known which Rollout that is.
pub(crate) fn manager_of(object: &DynamicObject) -> Option<ObjectKey> {
    rollout(object, release::manager(object)?)
}

/// The Rollouts that annotations of an Ingress belong to.
pub(crate) fn managers_of(ingress: &Ingress) -> Vec<ObjectKey> {
    let managers = alb::managers(ingress);
    managers.iter().filter_map(|name| rollout(ingress, name)).collect()
}

/// The Rollout of this name beside an object. A mark may say anything, and what no name can be is not asked for.
fn rollout<K: Resource>(beside: &K, name: &str) -> Option<ObjectKey> {
    let is_of_names = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let is_name = name.starts_with(char::is_alphanumeric) && name.chars().all(is_of_names);
    is_name.then(|| ObjectKey::new(beside.meta().namespace.clone().unwrap_or_default(), name))
}
