//! Which ReplicaSet is which: the new revision, the stable one, and the older ones.
//!
//! A ReplicaSet is matched by its stored label and then by the meaning of its template, never by recomputing a hash
//! alone (guarantee D5), so that an upgrade or a take-over creates no revision.

use super::{injected, snapshot::Snapshot, template, workload};
use crate::api::{replica_set::ReplicaSet, rollout_status::RolloutStatus, well_known};

/// The ReplicaSets of a Rollout by role.
#[derive(Clone, Debug)]
pub(crate) struct Revisions<'a> {
    /// The one of the current pod template, if it exists.
    pub(crate) new: Option<&'a ReplicaSet>,
    /// The hash of the current pod template: the label of `new`, or of the ReplicaSet to be created.
    pub(crate) hash: String,
    /// The one last promoted, if it exists. The same as `new` once everything is promoted.
    pub(crate) stable: Option<&'a ReplicaSet>,
    /// All others, newest revision first.
    pub(crate) older: Vec<&'a ReplicaSet>,
    /// The revision number of the current pod template.
    pub(crate) number: i64,
}

impl<'a> Revisions<'a> {
    /// Every ReplicaSet once.
    pub(crate) fn all(&self) -> Vec<&'a ReplicaSet> {
        let mut all: Vec<_> = self.new.into_iter().collect();
        all.extend(
            self.stable
                .filter(|stable| self.new.is_none_or(|new| new.name() != stable.name())),
        );
        all.extend(self.older.iter().copied());
        all
    }

    /// The ReplicaSet with this pod-template-hash.
    pub(crate) fn with_hash(&self, hash: &str) -> Option<&'a ReplicaSet> {
        self.all().into_iter().find(|set| set.pod_hash() == hash)
    }
}

/// Assigns roles.
pub(crate) fn assign<'a>(snapshot: &Snapshot<'a>) -> Revisions<'a> {
    let rollout = snapshot.rollout;
    let null = serde_json::Value::Null;
    let wanted = rollout.spec.template.as_ref().unwrap_or(&null);
    let status = rollout.status.clone().unwrap_or_default();
    let computed = template::hash(wanted, status.collision_count);

    let mut sets: Vec<&ReplicaSet> = snapshot
        .replica_sets
        .iter()
        .copied()
        .filter(|set| set.metadata.deletion_timestamp.is_none())
        // Those of an Experiment may match the selector, and may lose their owner; they are never a revision.
        .filter(|set| {
            let is_own = set.controller_uid().is_some() && set.controller_uid() == rollout.metadata.uid.as_deref();
            is_own || set.annotation(well_known::EXPERIMENT_NAME).is_none()
        })
        .collect();
    sets.sort_by_key(|set| {
        (
            set.metadata.creation_timestamp.clone().map(|time| time.0),
            set.name().to_owned(),
        )
    });

    // A label that equals the computed hash still needs the same meaning: a template that was edited in place must not
    // be adopted under its old name.
    let is_recorded = is_recorded(snapshot, &status);
    let new = (sets.iter().copied())
        .filter(|set| injected::is_of(wanted, set, is_recorded && set.pod_hash() == status.current_pod_hash))
        .max_by_key(|set| {
            (
                set.pod_hash() == computed,
                set.pod_hash() == status.current_pod_hash,
                set.revision(),
            )
        });
    let is_unknown = workload::is_unknown(rollout);
    let new = if is_unknown {
        workload::recorded(&sets, &status)
    } else {
        new
    };
    let hash = match new {
        Some(set) => set.pod_hash().to_owned(),
        None if is_unknown => status.current_pod_hash.clone(),
        // Its ReplicaSet was deleted: it comes back under the hash it had, whoever computed that (guarantee D5).
        None if is_recorded && sets.iter().all(|set| set.pod_hash() != status.current_pod_hash) => {
            status.current_pod_hash.clone()
        }
        None => computed,
    };
    let stable = (!status.stable_rs.is_empty())
        .then(|| sets.iter().copied().find(|set| set.pod_hash() == status.stable_rs))
        .flatten();

    let is = |role: Option<&ReplicaSet>, set: &ReplicaSet| role.is_some_and(|role| role.name() == set.name());
    let mut older: Vec<&ReplicaSet> = sets
        .iter()
        .copied()
        .filter(|set| !is(new, set) && !is(stable, set))
        .collect();
    older.sort_by_key(|set| std::cmp::Reverse((set.revision(), set.metadata.creation_timestamp.clone().map(|t| t.0))));

    let highest_other = sets
        .iter()
        .filter(|set| !is(new, set))
        .map(|set| set.revision())
        .max()
        .unwrap_or(0);
    let number = match new {
        Some(set) if set.revision() > highest_other => set.revision(),
        _ => highest_other + 1,
    };
    Revisions {
        new,
        hash,
        stable,
        older,
        number,
    }
}

/// Whether the status was written for this very specification, so that its hash is that of the present pod template.
fn is_recorded(snapshot: &Snapshot<'_>, status: &RolloutStatus) -> bool {
    let rollout = snapshot.rollout;
    let generation = rollout.metadata.generation.map(|generation| generation.to_string());
    !status.current_pod_hash.is_empty()
        && rollout.spec.template.is_some()
        && generation.is_some_and(|generation| generation == status.observed_generation)
        && workload::is_observed(snapshot, status)
}

/// The revision-history annotation after `set` received a new number.
pub(crate) fn history_after_reuse(set: &ReplicaSet) -> Option<String> {
    let before = set.revision();
    (before > 0).then(|| match set.annotation(well_known::REVISION_HISTORY) {
        Some(history) if !history.is_empty() => format!("{history},{before}"),
        _ => before.to_string(),
    })
}
