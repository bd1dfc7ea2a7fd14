//! Where objects of a kind live on the API server: by table for the kinds we write, by discovery for others.

use crate::{k8s::error::ApiError, plan::ObjectRef};
use kube::{Client, core::Request};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// `(apiVersion, kind, plural, namespaced)` of the kinds we write most.
const KNOWN: &[(&str, &str, &str, bool)] = &[
    ("argoproj.io/v1alpha1", "Rollout", "rollouts", true),
    ("argoproj.io/v1alpha1", "AnalysisRun", "analysisruns", true),
    ("argoproj.io/v1alpha1", "AnalysisTemplate", "analysistemplates", true),
    (
        "argoproj.io/v1alpha1",
        "ClusterAnalysisTemplate",
        "clusteranalysistemplates",
        false,
    ),
    ("argoproj.io/v1alpha1", "Experiment", "experiments", true),
    ("argoproj.io/v1alpha1", "Application", "applications", true),
    ("argoproj.io/v1alpha1", "AppProject", "appprojects", true),
    ("argoproj.io/v1alpha1", "ApplicationSet", "applicationsets", true),
    ("apps/v1", "ReplicaSet", "replicasets", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("batch/v1", "Job", "jobs", true),
    ("networking.k8s.io/v1", "Ingress", "ingresses", true),
    ("v1", "Service", "services", true),
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Event", "events", true),
    ("v1", "Pod", "pods", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "Secret", "secrets", true),
];

/// More kinds than any cluster serves; protects memory against objects with made-up kinds.
const CACHED_MAX: usize = 10_000;

/// Where the objects of one kind live.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Name in the URL, in the plural.
    pub plural: String,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
}

/// Finds places; remembers what discovery answered.
#[derive(Debug, Default)]
pub struct Kinds {
    discovered: Mutex<HashMap<(String, String), Place>>,
}

impl Kinds {
    /// Where objects of this API version and kind live.
    pub async fn place(&self, client: &Client, api_version: &str, kind: &str) -> Result<Place, ApiError> {
        let known = KNOWN
            .iter()
            .find(|(version, name, ..)| *version == api_version && *name == kind);
        if let Some((_, _, plural, namespaced)) = known {
            return Ok(Place {
                plural: (*plural).to_owned(),
                namespaced: *namespaced,
            });
        }
        let id = (api_version.to_owned(), kind.to_owned());
        if let Some(place) = self.discovered.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(place.clone());
        }
        let resources = match api_version.contains('/') {
            true => client.list_api_group_resources(api_version).await?,
            false => client.list_core_api_resources(api_version).await?,
        };
        let found = resources
            .resources
            .into_iter()
            .find(|resource| resource.kind == kind && !resource.name.contains('/'));
        let Some(resource) = found else {
            return Err(ApiError::Refused {
                code: 404,
                reason: "NotFound".to_owned(),
                message: format!("the server does not serve kind `{kind}` in `{api_version}`"),
                retry_after_seconds: None,
            });
        };
        let place = Place {
            plural: resource.name,
            namespaced: resource.namespaced,
        };
        let mut discovered = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        if discovered.len() < CACHED_MAX {
            discovered.insert(id, place.clone());
        }
        Ok(place)
    }

    /// A request builder for the collection the object is in.
    pub async fn requests(&self, client: &Client, target: &ObjectRef) -> Result<Request, ApiError> {
        let place = self.place(client, &target.api_version, &target.kind).await?;
        let root = if target.api_version.contains('/') {
            "/apis"
        } else {
            "/api"
        };
        let version = &target.api_version;
        let plural = &place.plural;
        match (place.namespaced, target.namespace.as_deref().unwrap_or_default()) {
            (true, "") => Err(ApiError::Malformed(format!("{target} needs a namespace"))),
            (true, namespace) => Ok(Request::new(format!(
                "{root}/{version}/namespaces/{namespace}/{plural}"
            ))),
            (false, _) => Ok(Request::new(format!("{root}/{version}/{plural}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Json, Router, routing::get};
    use serde_json::json;

    #[tokio::test]
    async fn unknown_kinds_are_discovered_once() {
        let answers = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = std::sync::Arc::clone(&answers);
        let server = Router::new().route(
            "/apis/networking.istio.io/v1",
            get(async move || {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Json(json!({"kind": "APIResourceList", "groupVersion": "networking.istio.io/v1", "resources": [
                    {"name": "virtualservices/status", "kind": "VirtualService", "namespaced": true, "singularName": "", "verbs": []},
                    {"name": "virtualservices", "kind": "VirtualService", "namespaced": true, "singularName": "", "verbs": []},
                ]}))
            }),
        );
        let client = Client::new(server, "default");
        let kinds = Kinds::default();
        for _ in 0..2 {
            let place = kinds
                .place(&client, "networking.istio.io/v1", "VirtualService")
                .await
                .unwrap();
            assert_eq!(
                place,
                Place {
                    plural: "virtualservices".to_owned(),
                    namespaced: true
                }
            );
        }
        assert_eq!(answers.load(std::sync::atomic::Ordering::SeqCst), 1);
        let missing = kinds
            .place(&client, "networking.istio.io/v1", "Gateway")
            .await
            .unwrap_err();
        assert_eq!(missing.label(), "NotFound");
    }
}
