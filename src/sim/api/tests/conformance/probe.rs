//! A client that speaks plain paths and JSON.

use anyhow::{Context, Result, bail, ensure};
use axum::http::{Method, Request};
use futures::{StreamExt, stream::BoxStream};
use kube::{Client, api::WatchEvent};
use serde_json::{Value, json};
use std::time::Duration;

/// A real garbage collector may need 30 s to learn of our kinds; a paused clock does not wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client and a namespace of its own.
pub(crate) struct Probe {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Whether the server has forgotten its first versions.
    pub(crate) forgets: bool,
    /// Collects garbage, where it is not collected by itself.
    pub(crate) collect: Box<dyn Fn() + Send + Sync>,
}

/// What a server answered instead of what was asked.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) causes: Vec<(String, String)>,
}

pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(super) const JSON: &str = "application/json-patch+json";
pub(super) const APPLY: &str = "application/apply-patch+yaml";

impl Probe {
    /// Path of a namespaced kind's collection in our namespace, or of what is in it.
    pub(super) fn path(&self, resource: &str) -> String {
        let (plural, rest) = resource.split_at(resource.find(['/', '?']).unwrap_or(resource.len()));
        let root = match plural {
            "rollouts" | "analysisruns" => "/apis/argoproj.io/v1alpha1",
            "replicasets" => "/apis/apps/v1",
            _ => "/api/v1",
        };
        format!("{root}/namespaces/{}/{plural}{rest}", self.namespace)
    }

    async fn send(
        &self,
        method: Method,
        resource: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Result<Result<Value, Refusal>> {
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = Request::builder()
            .method(method)
            .uri(self.path(resource))
            .header("content-type", kind)
            .body(bytes)?;
        match self.client.request::<Value>(request).await {
            Ok(value) => Ok(Ok(value)),
            Err(kube::Error::Api(status)) => Ok(Err(Refusal {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                causes: status
                    .details
                    .iter()
                    .flat_map(|details| &details.causes)
                    .map(|cause| (cause.message.clone(), cause.field.clone()))
                    .collect(),
            })),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn try_get(&self, resource: &str) -> Result<Result<Value, Refusal>> {
        self.send(Method::GET, resource, "application/json", None).await
    }

    pub(super) async fn try_create(&self, resource: &str, body: &Value) -> Result<Result<Value, Refusal>> {
        self.send(Method::POST, resource, "application/json", Some(body)).await
    }

    pub(super) async fn try_update(&self, resource: &str, body: &Value) -> Result<Result<Value, Refusal>> {
        self.send(Method::PUT, resource, "application/json", Some(body)).await
    }

    pub(super) async fn try_patch(&self, kind: &str, resource: &str, body: &Value) -> Result<Result<Value, Refusal>> {
        self.send(Method::PATCH, resource, kind, Some(body)).await
    }

    pub(super) async fn try_delete(&self, resource: &str, options: &Value) -> Result<Result<Value, Refusal>> {
        self.send(Method::DELETE, resource, "application/json", Some(options))
            .await
    }

    pub(super) async fn get(&self, resource: &str) -> Result<Value> {
        accepted(self.try_get(resource).await?, resource)
    }

    pub(super) async fn create(&self, resource: &str, body: &Value) -> Result<Value> {
        accepted(self.try_create(resource, body).await?, resource)
    }

    pub(super) async fn update(&self, resource: &str, body: &Value) -> Result<Value> {
        accepted(self.try_update(resource, body).await?, resource)
    }

    pub(super) async fn patch(&self, resource: &str, body: &Value) -> Result<Value> {
        accepted(self.try_patch(MERGE, resource, body).await?, resource)
    }

    pub(super) async fn delete(&self, resource: &str, options: &Value) -> Result<Value> {
        accepted(self.try_delete(resource, options).await?, resource)
    }

    /// Applies as `manager`, which may be followed by more of the query.
    pub(super) async fn try_apply(
        &self,
        manager: &str,
        resource: &str,
        body: &Value,
    ) -> Result<Result<Value, Refusal>> {
        self.try_patch(APPLY, &format!("{resource}?fieldManager={manager}"), body)
            .await
    }

    pub(super) async fn apply(&self, manager: &str, resource: &str, body: &Value) -> Result<Value> {
        accepted(self.try_apply(manager, resource, body).await?, resource)
    }

    /// Whether the object is there.
    pub(super) async fn exists(&self, resource: &str) -> Result<bool> {
        match self.try_get(resource).await? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == 404 => Ok(false),
            Err(refusal) => bail!("{refusal:?}"),
        }
    }

    /// Waits, and collects garbage, until `settled` says so.
    pub(super) async fn until(&self, what: &str, settled: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let waited = async {
            loop {
                (self.collect)();
                if settled().await? {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited)
            .await
            .with_context(|| format!("waiting until {what}"))?
    }

    /// Opens a watch.
    pub(super) async fn watch(&self, resource: &str) -> Result<Watch> {
        self.watch_as(resource, "application/json").await
    }

    pub(super) async fn watch_as(&self, resource: &str, accept: &str) -> Result<Watch> {
        let path = self.path(resource);
        let request = Request::get(path).header("accept", accept).body(Vec::new())?;
        let events = self.client.request_events::<Value>(request).await?;
        Ok(Watch(events.boxed()))
    }
}

/// A watch under way.
pub(super) struct Watch(BoxStream<'static, kube::Result<WatchEvent<Value>>>);

impl Watch {
    /// The next event: its type and object. A bookmark has its version and annotations only.
    pub(super) async fn next(&mut self) -> Result<(&'static str, Value)> {
        let event = tokio::time::timeout(PATIENCE, self.0.next())
            .await
            .context("no event")?;
        Ok(match event.context("the watch ended")?? {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            WatchEvent::Bookmark(bookmark) => (
                "BOOKMARK",
                json!({"metadata": {"resourceVersion": bookmark.metadata.resource_version, "annotations": bookmark.metadata.annotations}}),
            ),
            WatchEvent::Error(status) => ("ERROR", json!({"code": status.code, "reason": status.reason})),
        })
    }

    /// The next event, which must be of this type and about this object.
    pub(super) async fn expect(&mut self, happening: &str, name: &str) -> Result<Value> {
        let (found, object) = self.next().await?;
        ensure!(
            found == happening && object["metadata"]["name"] == name,
            "expected {happening} of {name}, found {found} of {}",
            object["metadata"]["name"]
        );
        Ok(object)
    }
}

fn accepted(answer: Result<Value, Refusal>, resource: &str) -> Result<Value> {
    match answer {
        Ok(value) => Ok(value),
        Err(refusal) => bail!("{resource}: {refusal:?}"),
    }
}

/// Checks that a request was refused with this code and reason, and says how.
pub(super) fn refused(answer: Result<Value, Refusal>, code: u16, reason: &str) -> Result<Refusal> {
    match answer {
        Ok(value) => bail!("expected {code} {reason}, found {value}"),
        Err(refusal) => {
            ensure!(
                refusal.code == code && refusal.reason == reason,
                "expected {code} {reason}, found {refusal:?}"
            );
            Ok(refusal)
        }
    }
}

/// Fails with both values.
pub(super) fn same(what: &str, found: impl Into<Value>, expected: impl Into<Value>) -> Result<()> {
    let (found, expected) = (found.into(), expected.into());
    ensure!(found == expected, "{what}: found {found}, expected {expected}");
    Ok(())
}

/// A ConfigMap.
pub(super) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"color": "blue"}})
}

/// A Rollout.
pub(super) fn rollout(name: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}]}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": "demo:v1", "unknownField": 1}]}}}})
}

/// A ReplicaSet without pods.
pub(super) fn replica_set(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name},
    "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": "demo:v1"}]}}}})
}

/// `metadata.resourceVersion`
pub(super) fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}
