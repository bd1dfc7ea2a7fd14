//! `undo`: which revision is gone back to, and its pod template as the user wrote it. The decision is pure.

use serde_json::{Value, json};

use super::error::{CliError, Kind};
use super::verbs::{ATTEMPTS_MAX, Session, overtaken};
use crate::api::{
    replica_set::ReplicaSet,
    rollout::{Rollout, WorkloadRef},
    workload::{Workload, WorkloadKind},
};
use crate::rollout::{
    check::{is_of_template, restored_template},
    workload::resolve,
};

/// What an undo amounts to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undo {
    /// Write this pod template.
    Write(Value),
    /// It is there already: that of this revision.
    Matches(i64),
}

/// Decides what to write; revision 0 stands for the one before the present. `rollout` has the pod template of its workload.
pub(crate) fn decide(rollout: &Rollout, sets: &[ReplicaSet], revision: i64) -> Result<Undo, CliError> {
    let name = rollout.metadata.name.as_deref().unwrap_or_default();
    let uid = rollout.metadata.uid.as_deref().unwrap_or_default();
    let mut own: Vec<&ReplicaSet> = sets
        .iter()
        .filter(|set| !uid.is_empty() && set.controller_uid() == Some(uid) && set.revision() > 0)
        .collect();
    own.sort_by_key(|set| std::cmp::Reverse(set.revision()));
    let null = Value::Null;
    let present = rollout.spec.template.as_ref().unwrap_or(&null);
    let restored = |set: &ReplicaSet| restored_template(set, present);
    let matches = |set: &ReplicaSet| is_of_template(set, present);
    let target = if revision == 0 {
        previous(&own, matches)
    } else {
        own.iter().copied().find(|set| set.revision() == revision)
    };
    let Some(target) = target else {
        let message = if revision == 0 {
            format!("no earlier revision of rollout \"{name}\" found")
        } else {
            format!("unable to find revision {revision} of rollout \"{name}\"")
        };
        let error = CliError::new(Kind::Request, message);
        let known: Vec<String> = own.iter().map(|set| set.revision().to_string()).collect();
        return Err(if known.is_empty() {
            error
        } else {
            error.hint(format!("there are the revisions {}", known.join(", ")))
        });
    };
    Ok(if matches(target) {
        Undo::Matches(target.revision())
    } else {
        Undo::Write(restored(target))
    })
}

/// The kind of a workload whose pod template can be written back.
fn can_be_undone(named: &WorkloadRef) -> Result<WorkloadKind, CliError> {
    let told = |message: String| CliError::new(Kind::Request, message);
    match WorkloadKind::of(&named.api_version, &named.kind) {
        Some(kind @ (WorkloadKind::Deployment | WorkloadKind::PodTemplate)) => Ok(kind),
        Some(kind @ WorkloadKind::ReplicaSet) => {
            let message = format!(
                "the pod template of this rollout is that of {kind} {}, which never changes",
                named.name
            );
            Err(told(message).hint("let workloadRef name another object, or apply a Deployment instead"))
        }
        None => Err(told(format!(
            "workload of type {} {} is not supported",
            named.api_version, named.kind
        ))),
    }
}

/// The revision before the present one. While the controller has not yet seen the template that is written, that is
/// either the newest revision there is, or, if the template is that of an older one, an undo that is under way: it is
/// not undone by asking twice (guarantee D3).
fn previous<'s>(newest_first: &[&'s ReplicaSet], matches: impl Fn(&ReplicaSet) -> bool) -> Option<&'s ReplicaSet> {
    let (newest, older) = newest_first.split_first()?;
    if matches(newest) {
        return older.first().copied();
    }
    let underway = older.iter().copied().find(|set| matches(set));
    underway.or(Some(newest))
}

impl Session {
    /// `undo`: compare-and-set on the version it was decided on (guarantee D3).
    pub async fn undo(&mut self, name: &str, revision: i64) -> Result<(), CliError> {
        for _ in 0..ATTEMPTS_MAX {
            let rollout = self.cluster.rollout(name).await?;
            let sets = self.cluster.replica_sets().await?;
            let workload = self.workload(&rollout).await?;
            let rollout = match &workload {
                Some((_, workload)) => resolve(&rollout, Some(workload), []),
                None => rollout,
            };
            let template = match decide(&rollout, &sets, revision)? {
                Undo::Write(template) => template,
                Undo::Matches(revision) => {
                    return self.terminal.line(&format!(
                        "skipped rollback (current template already matches revision {revision})"
                    ));
                }
            };
            let meta = workload
                .as_ref()
                .map_or(&rollout.metadata, |(_, workload)| &workload.metadata);
            let path = match workload {
                Some((WorkloadKind::PodTemplate, _)) => "/template",
                _ => "/spec/template",
            };
            // A resource version that is not the present one makes the server answer 409.
            let operations = json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": meta.resource_version},
                {"op": if rollout.spec.template.is_some() { "replace" } else { "add" }, "path": path, "value": template},
            ]);
            let written = match &workload {
                Some((kind, workload)) => self.cluster.patch_workload(*kind, workload.name(), operations).await,
                None => self.cluster.json_patch(name, operations).await.map(|_| ()),
            };
            match written {
                Ok(()) => return self.terminal.line(&format!("rollout '{name}' undo")),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.cluster.write_error::<Rollout>(name, error).await),
            }
        }
        Err(overtaken("rollout", name))
    }

    /// What the Rollout takes its pod template from, which is then what is undone.
    async fn workload(&self, rollout: &Rollout) -> Result<Option<(WorkloadKind, Workload)>, CliError> {
        let Some(named) = &rollout.spec.workload_ref else {
            return Ok(None);
        };
        let kind = can_be_undone(named)?;
        let found = self.cluster.workload(kind, &named.name).await?;
        Ok(Some((kind, found)))
    }
}

#[cfg(test)]
mod tests;
