//! Metrics of Applications under the names dashboards of the original know (reference, applications 10.5).
//!
//! What an Application says of itself is read at scrape time; syncs and passes are counted as they happen.

use crate::api::{
    application::Application,
    well_known::{IN_CLUSTER_NAME, IN_CLUSTER_SERVER},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, TypedMetric, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
};
use std::{fmt, sync::Arc};

/// Upper bounds in seconds of `argocd_app_reconcile`.
const RECONCILE_BUCKETS: [f64; 7] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];

/// Labels of `argocd_app_sync_total`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct SyncLabels {
    /// Namespace of the Application.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: String,
    /// API server it deploys to.
    pub dest_server: String,
    /// How the sync ended.
    pub phase: String,
    /// Whether it was only tried; `true` or `false`.
    pub dry_run: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReconcileLabels {
    namespace: String,
    dest_server: String,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct InfoLabels {
    namespace: String,
    name: String,
    project: String,
    autosync_enabled: String,
    repo: String,
    dest_server: String,
    dest_namespace: String,
    sync_status: String,
    health_status: String,
    operation: String,
}

/// A repository's address as it may be shown.
pub type Redact = fn(&str) -> String;

/// Hands every Application of this control plane to a visitor.
pub type Visit = Arc<dyn Fn(&mut dyn FnMut(&Application)) + Send + Sync>;

/// The metrics. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct ApplicationMetrics {
    applications: Visit,
    redact: Redact,
    syncs: Family<SyncLabels, Counter>,
    reconciles: Family<ReconcileLabels, Histogram, fn() -> Histogram>,
}

impl fmt::Debug for ApplicationMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationMetrics").finish_non_exhaustive()
    }
}

impl ApplicationMetrics {
    /// Metrics over the Applications that `applications` visits; to be registered as a collector.
    pub fn new(applications: Visit, redact: Redact) -> Self {
        Self {
            applications,
            redact,
            syncs: Family::default(),
            reconciles: Family::new_with_constructor(|| Histogram::new(RECONCILE_BUCKETS)),
        }
    }

    /// Notes the end of a sync.
    pub fn synced(&self, app: &Application, phase: &str, dry_run: bool) {
        let labels = SyncLabels {
            namespace: app.metadata.namespace.clone().unwrap_or_default(),
            name: app.metadata.name.clone().unwrap_or_default(),
            project: app.spec.project.clone(),
            dest_server: server(app),
            phase: phase.to_owned(),
            dry_run: dry_run.to_string(),
        };
        self.syncs.get_or_create(&labels).inc();
    }

    /// Notes a pass over an Application and how many seconds it took.
    pub fn reconciled(&self, app: &Application, seconds: f64) {
        let labels = ReconcileLabels {
            namespace: app.metadata.namespace.clone().unwrap_or_default(),
            dest_server: server(app),
        };
        self.reconciles.get_or_create(&labels).observe(seconds);
    }

    /// Drops the series of an Application that is gone. `phases` of an operation are few, so all of them are tried.
    pub fn forget(&self, app: &Application) {
        for phase in ["Succeeded", "Failed", "Error"] {
            for dry_run in ["true", "false"] {
                self.syncs.remove(&SyncLabels {
                    namespace: app.metadata.namespace.clone().unwrap_or_default(),
                    name: app.metadata.name.clone().unwrap_or_default(),
                    project: app.spec.project.clone(),
                    dest_server: server(app),
                    phase: phase.to_owned(),
                    dry_run: dry_run.to_owned(),
                });
            }
        }
    }
}

/// The server by its address, also where the destination goes by its name.
fn server(app: &Application) -> String {
    let destination = &app.spec.destination;
    if destination.server.is_empty() && destination.name == IN_CLUSTER_NAME {
        return IN_CLUSTER_SERVER.to_owned();
    }
    destination.server.clone()
}

fn info(app: &Application, redact: Redact) -> InfoLabels {
    let spec = &app.spec;
    let status = app.status.as_ref();
    let is_automated = spec
        .sync_policy
        .as_ref()
        .and_then(|policy| policy.automated.as_ref())
        .is_some_and(|automated| automated.enabled.unwrap_or(true));
    let is_syncing = app.operation.is_some()
        || status
            .and_then(|status| status.operation_state.as_ref())
            .is_some_and(|state| matches!(state.phase.as_str(), "Running" | "Terminating"));
    let operation = match (app.metadata.deletion_timestamp.is_some(), is_syncing) {
        (true, _) => "delete",
        (false, true) => "sync",
        (false, false) => "",
    };
    let told = |word: Option<&str>| match word {
        None | Some("") => "Unknown".to_owned(),
        Some(word) => word.to_owned(),
    };
    InfoLabels {
        namespace: app.metadata.namespace.clone().unwrap_or_default(),
        name: app.metadata.name.clone().unwrap_or_default(),
        project: spec.project.clone(),
        autosync_enabled: is_automated.to_string(),
        repo: spec
            .effective_sources()
            .first()
            .map(|source| redact(&source.repo_url))
            .unwrap_or_default(),
        dest_server: server(app),
        dest_namespace: spec.destination.namespace.clone(),
        sync_status: told(status.map(|status| status.sync.status.as_str())),
        health_status: told(status.map(|status| status.health.status.as_str())),
        operation: operation.to_owned(),
    }
}

impl Collector for ApplicationMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Information about an Application";
        let mut metric = encoder.encode_descriptor("argocd_app_info", help, None, MetricType::Gauge)?;
        let mut result = Ok(());
        (self.applications)(&mut |app| {
            let one = ConstGauge::new(1_i64);
            let encoded = metric
                .encode_family(&info(app, self.redact))
                .and_then(|encoder| one.encode(encoder));
            if encoded.is_err() {
                result = encoded;
            }
        });
        result?;
        let metric =
            encoder.encode_descriptor("argocd_app_sync", "Syncs by how they ended", None, Counter::<u64>::TYPE)?;
        self.syncs.encode(metric)?;
        let metric = encoder.encode_descriptor(
            "argocd_app_reconcile",
            "Seconds a pass took",
            None,
            MetricType::Histogram,
        )?;
        self.reconciles.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use serde_json::json;

    #[test]
    fn names_and_labels_are_those_of_the_original() {
        let app: Application = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "argocd"},
            "spec": {"project": "team", "source": {"repoURL": "https://me:secret@git.example/r"},
                "destination": {"name": "in-cluster", "namespace": "shop"}, "syncPolicy": {"automated": {}}},
            "status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}}}))
        .unwrap();
        let listed = app.clone();
        let metrics = Metrics::new();
        let applications = ApplicationMetrics::new(Arc::new(move |visit| visit(&listed)), |url| {
            url.replace("me:secret@", "")
        });
        metrics.collect(Box::new(applications.clone()));
        applications.synced(&app, "Succeeded", false);
        applications.reconciled(&app, 0.3);
        let page = metrics.render().unwrap();
        let server = "https://kubernetes.default.svc";
        for line in [
            format!(
                r#"argocd_app_info{{namespace="argocd",name="web",project="team",autosync_enabled="true",repo="https://git.example/r",dest_server="{server}",dest_namespace="shop",sync_status="Synced",health_status="Healthy",operation=""}} 1"#
            ),
            format!(
                r#"argocd_app_sync_total{{namespace="argocd",name="web",project="team",dest_server="{server}",phase="Succeeded",dry_run="false"}} 1"#
            ),
            format!(r#"argocd_app_reconcile_bucket{{le="0.5",namespace="argocd",dest_server="{server}"}} 1"#),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
        applications.forget(&app);
        assert!(!metrics.render().unwrap().contains("argocd_app_sync_total{"));
    }
}
