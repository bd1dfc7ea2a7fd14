//! Takes a request apart: path, query, headers, body.

use super::{
    Change, Deletion, Propagation,
    faults::Verb,
    kinds::Kind,
    list::Paging,
    log::Selection,
    refusal::{Refused, bad_request, refused, unsupported},
    selector::{Fields, Labels},
    stored::Form,
};
use crate::json::At as _;
use axum::http::{HeaderMap, Method, header};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// What a path leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// Objects of a kind.
    Objects {
        kind: Kind,
        namespace: String,
        /// Empty for the collection.
        name: String,
        subresource: &'static str,
    },
    /// Anything else, taken apart at the slashes.
    Other(Vec<String>),
}

impl Target {
    pub(super) fn parse(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let other = || Self::Other(parts.iter().map(|part| (*part).to_owned()).collect());
        let (api_version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return other(),
        };
        let (namespace, rest) = match rest {
            // `namespaces/x/status` is the status of a Namespace, `namespaces/x/pods` are the pods in it.
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) => {
                (*namespace, rest)
            }
            _ => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return other(),
        };
        let subresource = match subresource {
            "" => "",
            "status" => "status",
            "scale" => "scale",
            "eviction" if (api_version.as_str(), plural) == ("v1", "pods") => "eviction",
            _ => return other(),
        };
        match Kind::served(&api_version, plural) {
            Some(kind) => Self::Objects {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                subresource,
            },
            None => other(),
        }
    }
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.get("dryRun") == Some("All")
    }

    pub(super) fn selection(&self, kind: Kind, namespace: &str) -> Result<Selection, Refused> {
        Ok(Selection {
            namespace: Some(namespace)
                .filter(|namespace| !namespace.is_empty())
                .map(str::to_owned),
            labels: Labels::parse(self.get("labelSelector").unwrap_or_default())?,
            fields: Fields::parse(kind, self.get("fieldSelector").unwrap_or_default())?,
        })
    }

    /// `resourceVersion`; 0 means "any", as does none.
    pub(super) fn version(&self) -> Result<Option<u64>, Refused> {
        let Some(text) = self.get("resourceVersion") else {
            return Ok(None);
        };
        let version = text
            .parse()
            .map_err(|_| bad_request(format!("invalid resource version {text:?}")))?;
        Ok(Some(version).filter(|version| *version > 0))
    }

    pub(super) fn paging(&self) -> Result<Paging, Refused> {
        Ok(Paging {
            limit: self
                .get("limit")
                .and_then(|limit| limit.parse().ok())
                .unwrap_or_default(),
            continued: self.get("continue").map(str::to_owned),
            version: self.version()?,
            is_exact: self.get("resourceVersionMatch") == Some("Exact"),
        })
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        let seconds = self.get("timeoutSeconds")?.parse().ok()?;
        Some(Duration::from_secs(seconds)).filter(|timeout| !timeout.is_zero())
    }
}

/// The form of objects the client accepts.
pub(super) fn form(headers: &HeaderMap) -> Form {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    match accepted.is_some_and(|accepted| accepted.contains("as=PartialObjectMetadata")) {
        true => Form::Metadata,
        false => Form::Whole,
    }
}

/// Whether the client asks for aggregated discovery.
pub(super) fn is_aggregated(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("as=APIGroupDiscoveryList"))
}

/// The media type of a body, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next()).unwrap_or_default()
}

/// Sent with `PATCH` for server-side apply.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// What is asked for, by method, target and media type.
pub(super) fn verb(method: &Method, target: &Target, query: &Query, media_type: &str) -> Result<Verb, Refused> {
    let Target::Objects { name, subresource, .. } = target else {
        return Ok(Verb::Discover);
    };
    if *subresource == "eviction" && *method == Method::POST {
        return Ok(Verb::Create);
    }
    Ok(match (method, name.is_empty()) {
        (&Method::GET, _) if query.is("watch") => Verb::Watch,
        (&Method::GET, true) => Verb::List,
        (&Method::GET, false) => Verb::Get,
        (&Method::POST, true) => Verb::Create,
        (&Method::PUT, false) => Verb::Update,
        (&Method::PATCH, false) if media_type == APPLY => Verb::Apply,
        (&Method::PATCH, false) => Verb::Patch,
        (&Method::DELETE, false) => Verb::Delete,
        (&Method::DELETE, true) => Verb::DeleteCollection,
        _ => {
            return Err(refused(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ));
        }
    })
}

/// The patch in a body.
pub(super) fn change(media_type: &str, body: Value) -> Result<Change, Refused> {
    match media_type {
        "application/merge-patch+json" => Ok(Change::Merge(body)),
        "application/strategic-merge-patch+json" => Ok(Change::Strategic(body)),
        "application/json-patch+json" => serde_json::from_value(body)
            .map(Change::Json)
            .map_err(|error| bad_request(format!("error decoding patch: {error}"))),
        other => Err(unsupported(&format!("{other} is no patch"))),
    }
}

/// The options of a deletion, from the body or the query.
pub(super) fn deletion(query: &Query, body: &Value) -> Deletion {
    let text = |pointer: &str| body.at(pointer).and_then(Value::as_str).map(str::to_owned);
    let propagation = text("/propagationPolicy").or_else(|| query.get("propagationPolicy").map(str::to_owned));
    let asked = query.get("gracePeriodSeconds").and_then(|seconds| seconds.parse().ok());
    Deletion {
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
        propagation: match propagation.as_deref() {
            Some("Foreground") => Propagation::Foreground,
            Some("Orphan") => Propagation::Orphan,
            _ => Propagation::Background,
        },
        grace_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64).or(asked),
    }
}

/// Whether a deletion is only tried.
pub(super) fn deletion_is_dry_run(query: &Query, body: &Value) -> bool {
    let listed = body.get("dryRun").and_then(Value::as_array);
    query.is_dry_run() || listed.is_some_and(|listed| listed.iter().any(|one| one == "All"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let objects = |kind, namespace: &str, name: &str, subresource| Target::Objects {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource,
        };
        for (path, target) in [
            ("/api/v1/pods", objects(Kind::Pod, "", "", "")),
            ("/api/v1/namespaces/shop/pods/a", objects(Kind::Pod, "shop", "a", "")),
            ("/api/v1/namespaces", objects(Kind::Namespace, "", "", "")),
            ("/api/v1/namespaces/shop", objects(Kind::Namespace, "", "shop", "")),
            (
                "/api/v1/namespaces/shop/status",
                objects(Kind::Namespace, "", "shop", "status"),
            ),
            (
                "/api/v1/namespaces/shop/pods/a/eviction",
                objects(Kind::Pod, "shop", "a", "eviction"),
            ),
            (
                "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web/scale",
                objects(Kind::Rollout, "shop", "web", "scale"),
            ),
        ] {
            assert_eq!(Target::parse(path), target, "{path}");
        }
        for path in [
            "/apis",
            "/api/v1",
            "/apis/apps/v1/gadgets",
            "/api/v1/namespaces/shop/pods/a/exec",
        ] {
            assert!(matches!(Target::parse(path), Target::Other(_)), "{path}");
        }
    }
}
