//! Create, apply, patch and delete one object of any kind, each with its precondition inside the request.

use crate::{
    k8s::{error::ApiError, kinds::Kinds},
    plan::{Action, ObjectRef, PodWrite, Precondition, Propagation, StatusChange},
};
use axum::http::{Request, header::CONTENT_TYPE};
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{future::Future, time::Duration};

/// A write that takes longer than this is given up; the next pass sees whether it arrived.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Field manager of status writes.
pub const STATUS_MANAGER: &str = "tidegate-status";

/// Field manager of metadata of pods.
const POD_MANAGER: &str = "tidegate-metadata";

/// What the API server made of a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The object has this version now.
    Stored {
        /// `metadata.resourceVersion`.
        resource_version: String,
        /// `metadata.uid`.
        uid: String,
    },
    /// It is gone, or going.
    Deleted,
    /// An object of this name was there already; the next pass sees it and decides.
    AlreadyThere,
}

/// Carries out one action. `newer` is the version an earlier write of the same plan gave the object.
pub async fn perform(
    client: &Client,
    kinds: &Kinds,
    action: &Action,
    newer: Option<&str>,
) -> Result<Outcome, ApiError> {
    match action {
        Action::Create { object } => create(client, kinds, object).await,
        Action::Apply {
            target,
            fields,
            manager,
            precondition,
        } => {
            let params = PatchParams::apply(manager).force();
            let body = identified(target, fields, precondition.as_ref(), newer)?;
            patch(client, kinds, target, &params, &Patch::Apply(body), false).await
        }
        Action::Merge {
            target,
            patch: fields,
            manager,
            precondition,
        } => {
            let params = PatchParams {
                field_manager: Some((*manager).to_owned()),
                ..PatchParams::default()
            };
            let body = guarded(fields.clone(), precondition.as_ref(), newer)?;
            patch(client, kinds, target, &params, &Patch::Merge(body), false).await
        }
        Action::Delete {
            target,
            precondition,
            propagation,
        } => delete(client, kinds, target, precondition, *propagation, newer).await,
    }
}

/// Writes a status.
pub async fn write_status(
    client: &Client,
    kinds: &Kinds,
    status: &StatusChange,
    newer: Option<&str>,
) -> Result<Option<Outcome>, ApiError> {
    let StatusChange::Merge {
        target,
        patch: fields,
        subresource,
        precondition,
    } = status
    else {
        return Ok(None);
    };
    let params = PatchParams {
        field_manager: Some(STATUS_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let body = Patch::Merge(guarded(fields.clone(), Some(precondition), newer)?);
    patch(client, kinds, target, &params, &body, *subresource)
        .await
        .map(Some)
}

async fn create(client: &Client, kinds: &Kinds, object: &Value) -> Result<Outcome, ApiError> {
    let requests = kinds.requests(client, &ObjectRef::of(object)).await?;
    let body = serde_json::to_vec(object).map_err(|error| ApiError::Malformed(error.to_string()))?;
    let request = requests
        .create(&PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    match answer(client.request::<Answer>(request)).await {
        Err(error) if error.is_already_exists() => Ok(Outcome::AlreadyThere),
        answer => answer.map(Answer::stored),
    }
}

async fn patch(
    client: &Client,
    kinds: &Kinds,
    target: &ObjectRef,
    params: &PatchParams,
    body: &Patch<Value>,
    status: bool,
) -> Result<Outcome, ApiError> {
    let requests = kinds.requests(client, target).await?;
    let request = match status {
        true => requests.patch_subresource("status", &target.name, params, body),
        false => requests.patch(&target.name, params, body),
    };
    answer(client.request::<Answer>(request.map_err(kube::Error::BuildRequest)?))
        .await
        .map(Answer::stored)
}

async fn delete(
    client: &Client,
    kinds: &Kinds,
    target: &ObjectRef,
    precondition: &Precondition,
    propagation: Propagation,
    newer: Option<&str>,
) -> Result<Outcome, ApiError> {
    let params = DeleteParams {
        propagation_policy: Some(match propagation {
            Propagation::Background => PropagationPolicy::Background,
            Propagation::Foreground => PropagationPolicy::Foreground,
            Propagation::Orphan => PropagationPolicy::Orphan,
        }),
        preconditions: Some(Preconditions {
            uid: precondition.uid.clone(),
            resource_version: newer
                .map(str::to_owned)
                .or_else(|| precondition.resource_version.clone()),
        }),
        ..DeleteParams::default()
    };
    let requests = kinds.requests(client, target).await?;
    let request = requests
        .delete(&target.name, &params)
        .map_err(kube::Error::BuildRequest)?;
    // The answer is the object or a Status; either means the deletion was accepted.
    match answer(client.request_text(request)).await {
        Ok(_) => Ok(Outcome::Deleted),
        Err(ApiError::Refused { code: 404, .. }) => Ok(Outcome::Deleted),
        Err(error) => Err(error),
    }
}

/// Carries out a write to a pod.
pub async fn write_pod(client: &Client, kinds: &Kinds, write: &PodWrite) -> Result<(), ApiError> {
    match write {
        PodWrite::Evict { target, uid } => {
            let requests = kinds.requests(client, target).await?;
            // The library's own request spells `deleteOptions` so that the server does not heed the precondition.
            let eviction = json!({
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": target.name, "namespace": target.namespace},
                "deleteOptions": {"preconditions": {"uid": uid}},
            });
            let malformed = |error: &dyn std::fmt::Display| ApiError::Malformed(error.to_string());
            let body = serde_json::to_vec(&eviction).map_err(|error| malformed(&error))?;
            let request = Request::post(format!("{}/{}/eviction", requests.url_path, target.name))
                .header(CONTENT_TYPE, "application/json")
                .body(body)
                .map_err(|error| malformed(&error))?;
            answer(client.request_text(request)).await.map(drop)
        }
        PodWrite::Patch {
            target,
            uid,
            patch: fields,
        } => {
            let params = PatchParams {
                field_manager: Some(POD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let seen = Precondition {
                uid: Some(uid.clone()),
                resource_version: None,
            };
            let body = Patch::Merge(guarded(fields.clone(), Some(&seen), None)?);
            patch(client, kinds, target, &params, &body, false).await.map(drop)
        }
    }
}

/// The owned fields with the identity that server-side apply wants in the body.
fn identified(
    target: &ObjectRef,
    fields: &Value,
    precondition: Option<&Precondition>,
    newer: Option<&str>,
) -> Result<Value, ApiError> {
    let mut body = guarded(fields.clone(), precondition, newer)?;
    let metadata = metadata_of(&mut body)?;
    metadata.insert("name".to_owned(), json!(target.name));
    if let Some(namespace) = &target.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let object = object_of(&mut body)?;
    object.insert("apiVersion".to_owned(), json!(target.api_version));
    object.insert("kind".to_owned(), json!(target.kind));
    Ok(body)
}

/// The body with the precondition in its metadata: the server answers 409 when it does not hold.
fn guarded(mut body: Value, precondition: Option<&Precondition>, newer: Option<&str>) -> Result<Value, ApiError> {
    if let Some(Precondition { uid, resource_version }) = precondition {
        let metadata = metadata_of(&mut body)?;
        if let Some(uid) = uid {
            metadata.insert("uid".to_owned(), json!(uid));
        }
        if let Some(resource_version) = newer.or(resource_version.as_deref()) {
            metadata.insert("resourceVersion".to_owned(), json!(resource_version));
        }
    }
    Ok(body)
}

fn object_of(value: &mut Value) -> Result<&mut Map<String, Value>, ApiError> {
    value
        .as_object_mut()
        .ok_or_else(|| ApiError::Malformed("a patch must be an object".to_owned()))
}

fn metadata_of(body: &mut Value) -> Result<&mut Map<String, Value>, ApiError> {
    object_of(object_of(body)?.entry("metadata").or_insert_with(|| json!({})))
}

/// Waits for an answer, within bounds.
pub(crate) async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(WRITE_TIMEOUT, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ApiError::TimedOut(WRITE_TIMEOUT)),
    }
}

/// All we read of an answer; the rest of a large object is skipped.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: AnswerMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AnswerMetadata {
    resource_version: String,
    uid: String,
}

impl Answer {
    fn stored(self) -> Outcome {
        Outcome::Stored {
            resource_version: self.metadata.resource_version,
            uid: self.metadata.uid,
        }
    }
}
