//! What people do, by the same decisions as the command line.

use super::{number, text};
use crate::json::At as _;
use crate::{
    api::{rollout::Rollout, workload::WorkloadKind},
    cli::{image, promote},
    sim::api::{
        Change, Deletion, SimApi,
        kinds::{Key, Kind},
        refusal::Refused,
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// Something a person does to a Rollout or to what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// `set image`: a new image for a container, `*` for all.
    SetImage {
        /// Container, or `*`.
        container: String,
        /// The image.
        image: String,
    },
    /// `promote`.
    Promote,
    /// `promote --full`.
    PromoteFull,
    /// `abort`.
    Abort,
    /// `retry rollout`.
    Retry,
    /// `pause`.
    Pause,
    /// Takes `spec.paused` back.
    Resume,
    /// `kubectl scale`.
    Scale(u32),
    /// Replaces the steps of the canary strategy.
    Steps(Value),
    /// Merges a patch into the Rollout.
    Patch(Value),
    /// Merges a patch into the selector of a Service.
    EditSelector {
        /// The Service.
        service: String,
        /// The patch; `null` removes.
        selector: Value,
    },
    /// Deletes an object in the Rollout's namespace.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// Creates or replaces an object.
    Apply(Value),
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetImage { container, image } => write!(f, "set image {container}={image}"),
            Self::Promote => f.write_str("promote"),
            Self::PromoteFull => f.write_str("promote --full"),
            Self::Abort => f.write_str("abort"),
            Self::Retry => f.write_str("retry"),
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::Scale(replicas) => write!(f, "scale to {replicas}"),
            Self::Steps(steps) => write!(f, "edit steps to {steps}"),
            Self::Patch(patch) => write!(f, "patch {patch}"),
            Self::EditSelector { service, selector } => write!(f, "edit the selector of Service {service}: {selector}"),
            Self::Delete { kind, name } => write!(f, "delete {kind} {name}"),
            Self::Apply(object) => write!(f, "apply {} {}", text(object, "/kind"), text(object, "/metadata/name")),
        }
    }
}

/// Does it, as `actor`. Returns what stood in the way, in words; "nothing to promote" is no failure.
pub fn act(api: &SimApi, actor: &str, rollout: &Key, verb: &Verb, now: Timestamp) -> Result<(), String> {
    let status = |patch: Value| api.patch_status(actor, rollout, &Change::Merge(json!({ "status": patch })));
    let spec = |patch: Value| api.patch(actor, rollout, &Change::Merge(json!({ "spec": patch })));
    let result = match verb {
        Verb::SetImage { container, image } => return set_image(api, actor, rollout, container, image),
        Verb::Promote => return promote(api, actor, rollout, false, now),
        Verb::PromoteFull => return promote(api, actor, rollout, true, now),
        Verb::Abort => status(json!({"abort": true})),
        Verb::Retry => status(json!({"abort": false})),
        Verb::Pause => spec(json!({"paused": true})),
        Verb::Resume => spec(json!({"paused": false})),
        Verb::Scale(replicas) => api.scale(actor, rollout, *replicas),
        Verb::Steps(steps) => spec(json!({"strategy": {"canary": {"steps": steps}}})),
        Verb::Patch(patch) => api.patch(actor, rollout, &Change::Merge(patch.clone())),
        Verb::EditSelector { service, selector } => {
            let key = Key::new(Kind::Service, rollout.namespace.as_str(), service.as_str());
            api.patch(actor, &key, &Change::Merge(json!({"spec": {"selector": selector}})))
        }
        Verb::Delete { kind, name } => {
            let key = Key::new(*kind, rollout.namespace.as_str(), name.as_str());
            api.delete(actor, &key, &Deletion::default())
        }
        Verb::Apply(object) => api.apply(actor, object.clone(), true),
    };
    said(result)
}

fn said(result: Result<Arc<Value>, Refused>) -> Result<(), String> {
    result.map(|_| ()).map_err(|refused| refused.message.clone())
}

fn read(api: &SimApi, rollout: &Key) -> Result<Rollout, String> {
    let found = api
        .state()
        .get(rollout)
        .cloned()
        .ok_or_else(|| format!("{rollout} not found"))?;
    serde_json::from_value((*found).clone()).map_err(|error| error.to_string())
}

fn set_image(api: &SimApi, actor: &str, key: &Key, container: &str, image: &str) -> Result<(), String> {
    let change = image::Change {
        container: container.to_owned(),
        image: image.to_owned(),
    };
    let mut rollout = read(api, key)?;
    let workload = workload(api, key, &rollout);
    if let Some((_, workload)) = &workload {
        rollout.spec.workload_ref = None;
        rollout.spec.template = workload.at("/spec/template").cloned();
    }
    let operations = image::operations(&rollout, &[change]).map_err(|error| error.message)?;
    if operations.is_empty() {
        return Ok(());
    }
    let patch = serde_json::from_value(Value::Array(operations)).map_err(|error| error.to_string())?;
    let target = workload.as_ref().map_or(key, |(target, _)| target);
    said(api.patch(actor, target, &Change::Json(patch)))
}

/// The Deployment that a Rollout takes its pod template from: a new image is set there.
fn workload(api: &SimApi, key: &Key, rollout: &Rollout) -> Option<(Key, Arc<Value>)> {
    let named = rollout.spec.workload_ref.as_ref()?;
    let kind = WorkloadKind::of(&named.api_version, &named.kind).filter(|kind| *kind == WorkloadKind::Deployment)?;
    let target = Key::new(
        Kind::named(kind.api_version(), kind.kind())?,
        key.namespace.as_str(),
        named.name.as_str(),
    );
    let found = api.state().get(&target).cloned()?;
    Some((target, found))
}

fn promote(api: &SimApi, actor: &str, key: &Key, full: bool, now: Timestamp) -> Result<(), String> {
    match promote::decide(&read(api, key)?, full, now) {
        promote::Promotion::Write { spec, status } => {
            if let Some(spec) = spec {
                said(api.patch(actor, key, &Change::Merge(spec)))?;
            }
            status.map_or(Ok(()), |status| {
                said(api.patch_status(actor, key, &Change::Merge(status)))
            })
        }
        promote::Promotion::Underway | promote::Promotion::Nothing => Ok(()),
    }
}

/// Whether a Rollout waits for a person: since when, and why.
pub fn waits(rollout: &Value) -> Option<(Timestamp, &str)> {
    if text(rollout, "/status/phase") != "Paused" || rollout.at("/spec/paused") == Some(&Value::Bool(true)) {
        return None;
    }
    let reason = text(rollout, "/status/pauseConditions/0/reason");
    let since = super::time(rollout, "/status/pauseConditions/0/startTime")?;
    let index = usize::try_from(number(rollout, "/status/currentStepIndex").unwrap_or(0)).unwrap_or_default();
    let step = rollout.at(&format!("/spec/strategy/canary/steps/{index}/pause"));
    let ends_by_itself = match reason {
        "CanaryPauseStep" => {
            step.is_some_and(|pause| pause.get("duration").is_some_and(|duration| !duration.is_null()))
        }
        "BlueGreenPause" => number(rollout, "/spec/strategy/blueGreen/autoPromotionSeconds").unwrap_or(0) > 0,
        _ => false,
    };
    (!ends_by_itself).then_some((since, reason))
}

#[cfg(test)]
mod tests;
