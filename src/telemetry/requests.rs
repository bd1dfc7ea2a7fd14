//! Counts requests to the API server (`controller_clientset_k8s_request_total`; reference, rollouts 9.1).

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Series beyond this many count under an empty name: names of objects come and go without end.
const SERIES_MAX: usize = 10_000;

/// Which requests.
#[derive(Clone, Debug, Default, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RequestLabels {
    /// The kind, as paths spell it: lower case, in the plural.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object; empty for lists, watches and creations.
    pub name: String,
    /// `Get`, `List`, `Watch`, `Create`, `Update`, `Patch` or `Delete`.
    pub verb: &'static str,
    /// HTTP status; 0 when no answer came.
    pub status_code: u32,
}

/// The counter. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct RequestCounts {
    family: Family<RequestLabels, Counter>,
    /// How many series there are.
    series: Arc<AtomicUsize>,
}

impl RequestCounts {
    /// What a registry takes.
    pub(super) fn family(&self) -> Family<RequestLabels, Counter> {
        self.family.clone()
    }

    /// Counts a request, unless it is about no object.
    pub fn count(&self, method: &str, path: &str, query: &str, status_code: u16) {
        if let Some(labels) = RequestLabels::of(method, path, query) {
            self.add(RequestLabels {
                status_code: status_code.into(),
                ..labels
            });
        }
    }

    fn add(&self, mut labels: RequestLabels) {
        let is_new = self.family.get(&labels).is_none();
        if is_new && self.series.fetch_add(1, Ordering::Relaxed) >= SERIES_MAX {
            labels.name.clear();
        }
        self.family.get_or_create(&labels).inc();
    }
}

impl RequestLabels {
    /// Reads a request; `None` when it is about no object, as discovery.
    fn of(method: &str, path: &str, query: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let skipped = match parts.next()? {
            "api" => 1,
            "apis" => 2,
            _ => return None,
        };
        let mut rest = parts.skip(skipped).peekable();
        let mut kind = rest.next()?;
        let mut namespace = "";
        let mut name = rest.next().unwrap_or_default();
        if kind == "namespaces"
            && let Some(inner) = rest.next_if(|part| !matches!(*part, "status" | "finalize"))
        {
            (namespace, kind, name) = (name, inner, rest.next().unwrap_or_default());
        }
        let watches = query
            .split('&')
            .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"));
        let verb = match method {
            "GET" if watches => "Watch",
            "GET" if name.is_empty() => "List",
            "GET" => "Get",
            "POST" => "Create",
            "PUT" => "Update",
            "PATCH" => "Patch",
            "DELETE" => "Delete",
            _ => return None,
        };
        Some(Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            verb,
            status_code: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_kind_namespace_and_object() {
        let labels = |method: &str, path: &str, query: &str| {
            let labels = RequestLabels::of(method, path, query)?;
            Some(format!(
                "{} {}/{}/{}",
                labels.verb, labels.kind, labels.namespace, labels.name
            ))
        };
        for (method, path, query, want) in [
            (
                "GET",
                "/api/v1/services",
                "watch=true&resourceVersion=1",
                Some("Watch services//"),
            ),
            (
                "GET",
                "/apis/apps/v1/namespaces/shop/replicasets",
                "",
                Some("List replicasets/shop/"),
            ),
            (
                "PATCH",
                "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web/status",
                "",
                Some("Patch rollouts/shop/web"),
            ),
            (
                "POST",
                "/api/v1/namespaces/shop/events",
                "",
                Some("Create events/shop/"),
            ),
            ("GET", "/api/v1/namespaces/shop", "", Some("Get namespaces//shop")),
            (
                "PATCH",
                "/api/v1/namespaces/shop/status",
                "",
                Some("Patch namespaces//shop"),
            ),
            ("GET", "/apis/argoproj.io/v1alpha1", "", None),
            ("GET", "/version", "", None),
        ] {
            assert_eq!(labels(method, path, query).as_deref(), want, "{method} {path}");
        }
    }

    #[test]
    fn series_are_bounded() {
        let counts = RequestCounts::default();
        for number in 0..SERIES_MAX + 5 {
            let labels = RequestLabels {
                name: number.to_string(),
                ..RequestLabels::default()
            };
            counts.add(labels);
        }
        let rest = counts.family.get_or_create(&RequestLabels::default());
        assert_eq!(rest.get(), 5);
    }
}
