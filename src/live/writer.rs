//! Carries out the work of an operation on live objects: server-side apply, replacement, deletion, dry runs. Decides
//! nothing; what comes back from the API server enters the index at once.

use super::{
    discovery::{Discovery, Place},
    index::LiveIndex,
};
use crate::{
    api::{scalar::wire_time, well_known::SYNC_MANAGER},
    class::Class,
    clock::SharedClock,
    json::At as _,
    k8s::{error::ApiError, lease::Fence},
    plan::{Precondition, Propagation},
    sync::{
        diff::managed,
        health::HOOK_FINALIZER,
        hooks,
        operation::tasks::kubectl_name,
        resource::{ResourceKey, text},
        work::{Apply, Batches, Deed, Report, Work, is_inconclusive},
    },
};
use futures::{StreamExt, stream};
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy, ValidationDirective},
    core::Request,
};
use serde_json::{Value, json};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Requests of one batch under way at once; protects the API server.
const CONCURRENT_MAX: usize = 16;
/// A write that takes longer is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A definition must be established, and a replaced object gone, within this time.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at an object that is about to settle. Bounded by [`SETTLE_TIMEOUT`].
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);

/// Writes objects of any kind.
#[derive(Clone)]
pub struct SyncWriter {
    client: Client,
    discovery: Discovery,
    index: LiveIndex,
    clock: SharedClock,
}

impl std::fmt::Debug for SyncWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncWriter").finish_non_exhaustive()
    }
}

/// What came of a list of work.
#[derive(Debug, Default)]
pub struct Done {
    /// Results. Work that met a conflict has none: it is decided on again.
    pub reports: Vec<Report>,
    /// Whether the lease was lost on the way.
    pub is_fenced_off: bool,
}

impl SyncWriter {
    /// A writer whose results enter `index`.
    pub fn new(client: Client, discovery: Discovery, index: LiveIndex, clock: SharedClock) -> Self {
        Self {
            client,
            discovery,
            index,
            clock,
        }
    }

    /// Does the work, batch by batch; a failure ends it after its batch.
    pub async fn work(&self, fence: &Fence, batches: Batches) -> Done {
        let mut done = Done::default();
        for batch in batches {
            if !fence.is_valid() {
                done.is_fenced_off = true;
                return done;
            }
            let works = batch.into_iter().map(|work| self.perform(work));
            let results: Vec<Option<Report>> = stream::iter(works).buffered(CONCURRENT_MAX).collect().await;
            let is_complete = results.iter().all(Option::is_some);
            done.reports.extend(results.into_iter().flatten());
            if !is_complete || done.reports.iter().any(|report| report.outcome.is_err()) {
                return done;
            }
        }
        done
    }

    /// What the API server would make of a body, or why it refuses it.
    pub async fn dry_run(&self, body: &Value) -> Result<Arc<Value>, String> {
        let apply = Apply {
            body: body.clone(),
            dry_run: true,
            ..Apply::default()
        };
        self.patch(&ResourceKey::of(body), &apply)
            .await
            .map(Arc::new)
            .map_err(|error| told(&error, body))
    }

    async fn perform(&self, work: Work) -> Option<Report> {
        let result = match &work.deed {
            Deed::Note { message, .. } => Ok(message.clone()),
            Deed::Apply(apply) => self.apply(&work.key, apply).await,
            Deed::Try { apply, pending } => self.attempt(&work.key, apply, pending).await,
            Deed::Release => self.release(&work).await.map(|()| "released".to_owned()),
            Deed::Delete {
                precondition,
                propagation,
                ..
            } => self
                .delete(&work, precondition, *propagation)
                .await
                .map(|()| "pruned".to_owned()),
        };
        let outcome = match result {
            Err(error) if error.class() == Class::Conflict => {
                // Somebody was faster. The next look decides on the object as it is now.
                let _known = self.index.refresh(&work.key).await;
                return None;
            }
            Err(error) => Err(match &work.deed {
                Deed::Apply(apply) | Deed::Try { apply, .. } => told(&error, &apply.body),
                Deed::Delete { .. } | Deed::Release | Deed::Note { .. } => message(&error),
            }),
            Ok(message) => Ok(message),
        };
        Some(Report { work, outcome })
    }

    async fn apply(&self, key: &ResourceKey, apply: &Apply) -> Result<String, ApiError> {
        let before = self.index.get(key);
        if apply.migrate
            && !apply.dry_run
            && let Some(before) = &before
        {
            self.migrate(key, apply, before).await?;
        }
        let written = match (apply.replace, self.put(key, apply, before.as_deref()).await) {
            (_, Err(error)) if apply.force && is_immutable(&error) && apply.dry_run => {
                return Ok(format!("{} deleted and created again (dry run)", kubectl_name(key)));
            }
            (_, Err(error)) if apply.force && is_immutable(&error) => self.recreate(key, apply).await?,
            (_, result) => result?,
        };
        let change = match &before {
            None => "created",
            Some(before) if version(before) == version(&written) => "unchanged",
            Some(_) => "configured",
        };
        if apply.dry_run {
            return Ok(format!("{} {change} (dry run)", kubectl_name(key)));
        }
        self.index.put(written);
        if key.kind == "CustomResourceDefinition" {
            self.await_established(key).await?;
        }
        Ok(format!("{} {change}", kubectl_name(key)))
    }

    /// A trial before the sync. A refusal that says nothing about the sync is none.
    async fn attempt(&self, key: &ResourceKey, apply: &Apply, pending: &[String]) -> Result<String, ApiError> {
        match self.apply(key, apply).await {
            Err(error) if error.class() == Class::Conflict || is_inconclusive(&message(&error), pending) => {
                Ok(format!("{} not tried", kubectl_name(key)))
            }
            result => result,
        }
    }

    /// Takes our finalizer off a hook.
    async fn release(&self, work: &Work) -> Result<(), ApiError> {
        let Some(live) = self.index.get(&work.key).filter(|live| hooks::is_held(live)) else {
            return Ok(());
        };
        let rest: Vec<&Value> = live
            .at("/metadata/finalizers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|finalizer| *finalizer != HOOK_FINALIZER)
            .collect();
        let patch = json!({"metadata": {"resourceVersion": version(&live), "finalizers": rest}});
        let place = self.place(&work.api_version, &work.key.kind).await?;
        let params = PatchParams {
            field_manager: Some(SYNC_MANAGER.into()),
            ..PatchParams::default()
        };
        let request = requests(&place, &work.key)?.patch(&work.key.name, &params, &Patch::Merge(&patch));
        match self.send::<Value>(request).await {
            Ok(_) => {}
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) => return Err(error),
        }
        // An object that is being deleted goes away with its last finalizer; ask what is there now. Where that cannot be
        // asked, the watch tells it.
        if let Err(error) = self.index.refresh(&work.key).await {
            tracing::debug!(object = %work.key, %error, "What became of a hook without our finalizer is not known yet.");
        }
        Ok(())
    }

    /// Learns what became of an object whose deletion was accepted. Where that cannot be asked, it counts as leaving, not
    /// as gone: a finalizer may hold it for long (guarantees S4 and S8). The watch tells the rest.
    async fn look_again(&self, key: &ResourceKey, uid: &str) {
        if self.index.refresh(key).await.is_ok() {
            return;
        }
        let Some(live) = self.index.get(key).filter(|live| text(live, "/metadata/uid") == uid) else {
            return;
        };
        let mut leaving = Value::clone(&live);
        if let Some(metadata) = leaving.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            let now = wire_time(self.clock.now());
            metadata.entry("deletionTimestamp").or_insert_with(|| json!(now));
        }
        self.index.put(leaving);
    }

    async fn put(&self, key: &ResourceKey, apply: &Apply, before: Option<&Value>) -> Result<Value, ApiError> {
        if !apply.replace {
            return self.patch(key, apply).await;
        }
        let params = PostParams {
            dry_run: apply.dry_run,
            field_manager: Some(SYNC_MANAGER.into()),
        };
        let requests = self.requests(&apply.body, key).await?;
        let request = match before {
            None => requests.create(&params, encode(&apply.body)?),
            Some(before) => {
                let mut body = apply.body.clone();
                if let Some(metadata) = body.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                    metadata.insert("resourceVersion".into(), version(before).into());
                }
                requests.replace(&key.name, &params, encode(&body)?)
            }
        };
        self.send(request).await
    }

    async fn patch(&self, key: &ResourceKey, apply: &Apply) -> Result<Value, ApiError> {
        let mut body = apply.body.clone();
        if let (Some(guard), Some(metadata)) = (
            &apply.guard,
            body.pointer_mut("/metadata").and_then(Value::as_object_mut),
        ) {
            metadata.insert("resourceVersion".into(), guard.clone().into());
        }
        let validation = if apply.validate {
            ValidationDirective::Strict
        } else {
            ValidationDirective::Ignore
        };
        let params = PatchParams {
            dry_run: apply.dry_run,
            force: true,
            field_manager: Some(SYNC_MANAGER.into()),
            field_validation: Some(validation),
        };
        let requests = self.requests(&body, key).await?;
        self.send(requests.patch(&key.name, &params, &Patch::Apply(&body)))
            .await
    }

    /// Moves the fields of client-side apply to us, so that what the source no longer names goes away.
    async fn migrate(&self, key: &ResourceKey, apply: &Apply, live: &Value) -> Result<(), ApiError> {
        let Some(entries) = managed::migrated(live, apply.migrate_from.as_deref()) else {
            return Ok(());
        };
        let patch = json!({"metadata": {"resourceVersion": version(live), "managedFields": entries}});
        let requests = self.requests(live, key).await?;
        let params = PatchParams {
            field_manager: Some(SYNC_MANAGER.into()),
            ..PatchParams::default()
        };
        let migrated = self
            .send(requests.patch(&key.name, &params, &Patch::Merge(&patch)))
            .await?;
        self.index.put(migrated);
        Ok(())
    }

    /// Deletes an object that cannot be changed and creates it again.
    async fn recreate(&self, key: &ResourceKey, apply: &Apply) -> Result<Value, ApiError> {
        let requests = self.requests(&apply.body, key).await?;
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let _answer: Value = self.send(requests.delete(&key.name, &params)).await?;
        let gone = self.settles(key, |live| live.is_none()).await?;
        if !gone {
            return Err(ApiError::TimedOut(SETTLE_TIMEOUT));
        }
        self.patch(
            key,
            &Apply {
                guard: None,
                ..apply.clone()
            },
        )
        .await
    }

    async fn delete(&self, work: &Work, precondition: &Precondition, propagation: Propagation) -> Result<(), ApiError> {
        let params = DeleteParams {
            propagation_policy: Some(match propagation {
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: Some(Preconditions {
                uid: precondition.uid.clone(),
                resource_version: precondition.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let place = self.place(&work.api_version, &work.key.kind).await?;
        let request = requests(&place, &work.key)?.delete(&work.key.name, &params);
        match self.send::<Value>(request).await {
            Ok(_) => {}
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) => return Err(error),
        }
        // The answer may be the object with a deletion timestamp or a mere confirmation; ask what is there now.
        self.look_again(&work.key, precondition.uid.as_deref().unwrap_or_default())
            .await;
        // A hook that is deleted on purpose has been looked at for the last time.
        self.release(work).await
    }

    /// Objects of a new kind can be written once its definition is established.
    async fn await_established(&self, key: &ResourceKey) -> Result<(), ApiError> {
        use crate::sync::health::{Code, of_object};
        let is_healthy = |live: Option<&Value>| {
            live.and_then(of_object)
                .is_some_and(|health| health.code == Code::Healthy)
        };
        self.settles(key, is_healthy).await?;
        self.discovery.refresh().await
    }

    /// Whether an object becomes as `settled` says in time.
    async fn settles(&self, key: &ResourceKey, settled: impl Fn(Option<&Value>) -> bool) -> Result<bool, ApiError> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            let live = self.index.refresh(key).await.map_err(|error| match error {
                super::index::LiveError::Read { source, .. } => source,
                other @ super::index::LiveError::Watch { .. } => ApiError::Malformed(other.to_string()),
            })?;
            if settled(live.as_deref()) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(SETTLE_INTERVAL).await;
        }
    }

    async fn requests(&self, body: &Value, key: &ResourceKey) -> Result<Request, ApiError> {
        let place = self.place(text(body, "/apiVersion"), &key.kind).await?;
        requests(&place, key)
    }

    async fn place(&self, api_version: &str, kind: &str) -> Result<Place, ApiError> {
        if let Some(place) = self.discovery.known().place(api_version, kind) {
            return Ok(place.clone());
        }
        self.discovery.refresh_if_old().await?;
        self.discovery.known().place(api_version, kind).cloned().ok_or_else(|| {
            ApiError::Malformed(format!(
                "the server does not serve kind {kind:?} in {api_version:?}; is its CustomResourceDefinition installed?"
            ))
        })
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        within(self.client.request(request)).await
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    match tokio::time::timeout(WRITE_TIMEOUT, answer).await {
        Ok(result) => result.map_err(ApiError::from),
        Err(_) => Err(ApiError::TimedOut(WRITE_TIMEOUT)),
    }
}

fn requests(place: &Place, key: &ResourceKey) -> Result<Request, ApiError> {
    let resource = &place.resource;
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let (version, plural) = (&resource.api_version, &resource.plural);
    match (place.is_namespaced, key.namespace.as_str()) {
        (true, "") => Err(ApiError::Malformed(format!("{} needs a namespace", key.short()))),
        (true, namespace) => Ok(Request::new(format!(
            "{root}/{version}/namespaces/{namespace}/{plural}"
        ))),
        (false, "") => Ok(Request::new(format!("{root}/{version}/{plural}"))),
        // The kind became known after the decision, and what is permitted depends on its scope.
        (false, _) => Err(ApiError::Malformed(format!(
            "{} was decided on as an object of a namespace, and its kind is cluster-scoped",
            key.short()
        ))),
    }
}

fn encode(body: &Value) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(body).map_err(|error| ApiError::Malformed(error.to_string()))
}

fn version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

/// The API server says that a field cannot be changed.
fn is_immutable(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused { code: 422, .. })
}

/// What a person is told, with the object's name. The server quotes the values it refuses, so nothing it says about a
/// Secret is repeated.
fn told(error: &ApiError, body: &Value) -> String {
    if text(body, "/kind") == "Secret" && matches!(error, ApiError::Refused { .. }) {
        return format!(
            "Secret {}/{} was refused ({}); what the API server said may hold secret values and is withheld",
            text(body, "/metadata/namespace"),
            text(body, "/metadata/name"),
            error.label()
        );
    }
    let message = message(error);
    let key = ResourceKey::of(body);
    if message.contains(&key.name) {
        message
    } else {
        format!("{}: {message}", kubectl_name(&key))
    }
}

fn message(error: &ApiError) -> String {
    match error {
        ApiError::Refused { message, .. } if !message.is_empty() => message.clone(),
        other => other.to_string(),
    }
}
