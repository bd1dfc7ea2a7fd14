//! `undo`: which revision is gone back to, and its pod template as the user wrote it. The decision is pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::{CliError, Kind};
use super::verbs::{ATTEMPTS_MAX, Session, overtaken};
use crate::api::{
    replica_set::ReplicaSet,
    rollout::{Rollout, WorkloadRef},
    well_known,
    workload::{Workload, WorkloadKind},
};
use crate::rollout::{check::same_template, workload::resolve};

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
    let restored = |set: &ReplicaSet| restored(set, present);
    let matches = |set: &ReplicaSet| same_template(&restored(set), present);
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

/// The pod template of a ReplicaSet without what the controller put into it: the hash label, metadata of the role it
/// had, and the anti-affinity to the version it replaced. `present` tells values that injected metadata covered.
fn restored(set: &ReplicaSet, present: &Value) -> Value {
    let mut template = set.spec.template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        if metadata.get("creationTimestamp").is_some_and(Value::is_null) {
            metadata.remove("creationTimestamp");
        }
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(well_known::POD_TEMPLATE_HASH);
        }
        let injected = set.annotation(well_known::EPHEMERAL_METADATA);
        let injected: BTreeMap<String, Value> = injected
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        for part in ["labels", "annotations"] {
            let keys = injected.get(part).and_then(Value::as_object);
            let Some(fields) = metadata.get_mut(part).and_then(Value::as_object_mut) else {
                continue;
            };
            let covered = present.pointer(&format!("/metadata/{part}"));
            for key in keys.into_iter().flat_map(Map::keys) {
                match covered.and_then(|covered| covered.get(key)) {
                    Some(value) => fields.insert(key.clone(), value.clone()),
                    None => fields.remove(key),
                };
            }
            if fields.is_empty() {
                metadata.remove(part);
            }
        }
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        remove_anti_affinity(spec);
    }
    template
}

/// Removes the terms that keep pods away from those of another hash; a user cannot know a hash. Members that are empty
/// afterwards go as well.
fn remove_anti_affinity(spec: &mut Map<String, Value>) {
    let (affinity, anti) = ("affinity", "podAntiAffinity");
    let Some(terms) = spec
        .get_mut(affinity)
        .and_then(|affinity| affinity.get_mut(anti))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let mut removed = false;
    for (list, selector) in [
        ("requiredDuringSchedulingIgnoredDuringExecution", "/labelSelector"),
        (
            "preferredDuringSchedulingIgnoredDuringExecution",
            "/podAffinityTerm/labelSelector",
        ),
    ] {
        let Some(entries) = terms.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        let before = entries.len();
        entries.retain(|term| !names_hash(term.pointer(selector)));
        removed |= entries.len() < before;
        if entries.is_empty() {
            terms.remove(list);
        }
    }
    if !removed || !terms.is_empty() {
        return;
    }
    if let Some(around) = spec.get_mut(affinity).and_then(Value::as_object_mut) {
        around.remove(anti);
        if around.is_empty() {
            spec.remove(affinity);
        }
    }
}

fn names_hash(selector: Option<&Value>) -> bool {
    let expressions = selector.and_then(|selector| selector.get("matchExpressions"));
    expressions
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|expression| {
            expression
                .get("key")
                .is_some_and(|key| key == well_known::POD_TEMPLATE_HASH)
        })
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
