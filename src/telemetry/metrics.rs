//! Metrics under the names dashboards of the original controller use (reference, rollouts 9.1).
//!
//! What can be read off objects is computed at scrape time by a collector; only what happens over time is counted here.

use super::requests::RequestCounts;
use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// `Content-Type` of what `render` returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds of the reconcile histograms.
const RECONCILE_BUCKETS: [f64; 5] = [0.01, 0.15, 0.25, 0.5, 1.0];

/// Upper bounds in seconds of the histograms of whole updates.
const UPDATE_BUCKETS: [f64; 11] = [
    30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0,
];

/// Which object.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ObjectLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Which events.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct EventLabels {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// `Normal` or `Warning`.
    pub r#type: String,
    /// The event's reason.
    pub reason: String,
}

/// How an update ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EndLabels {
    status: String,
}

/// Seconds that updates took, by how they ended.
type Durations = Family<EndLabels, Histogram, fn() -> Histogram>;

/// Which kind of error.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ErrorLabels {
    controller: &'static str,
    reason: &'static str,
}

/// Which controller's queue.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct QueueLabels {
    name: &'static str,
}

/// Counters of one controller.
#[derive(Clone, Debug)]
struct ReconcileFamilies {
    duration: Family<ObjectLabels, Histogram, fn() -> Histogram>,
    /// A gauge by type, because the original's counter lacks the suffix that the format demands of counters.
    errors: Family<ObjectLabels, Gauge>,
}

/// A controller as metrics name it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ControllerKind {
    /// `rollout_*`.
    Rollout,
    /// `analysis_run_*`.
    AnalysisRun,
    /// `experiment_*`.
    Experiment,
    /// `application_*`.
    Application,
}

impl ControllerKind {
    /// The word that metric names begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::AnalysisRun => "analysis_run",
            Self::Experiment => "experiment",
            Self::Application => "application",
        }
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    rollout: ReconcileFamilies,
    analysis_run: ReconcileFamilies,
    experiment: ReconcileFamilies,
    application: ReconcileFamilies,
    events: Family<EventLabels, Counter>,
    /// Which series of events there are, to drop them with their object.
    told: Mutex<HashMap<ObjectLabels, HashSet<EventLabels>>>,
    /// Whole updates, updates without their waits for a person, and those waits.
    updates: [Durations; 3],
    /// Requests to the API server.
    pub requests: RequestCounts,
    errors: Family<ErrorLabels, Counter>,
    depth: Family<QueueLabels, Gauge>,
    leading: Gauge,
}

impl Metrics {
    /// Metrics of this build, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let version = env!("CARGO_PKG_VERSION");
        registry.register(
            "argo_rollouts_controller",
            "Running controller",
            Info::new([("version", version)]),
        );
        let build = [
            ("version", version),
            ("goversion", ""),
            ("goarch", std::env::consts::ARCH),
            ("commit", ""),
        ];
        registry.register("build", "Build of the running program", Info::new(build));
        let metrics = Self {
            rollout: ReconcileFamilies::register(&mut registry, ControllerKind::Rollout),
            analysis_run: ReconcileFamilies::register(&mut registry, ControllerKind::AnalysisRun),
            experiment: ReconcileFamilies::register(&mut registry, ControllerKind::Experiment),
            application: ReconcileFamilies::register(&mut registry, ControllerKind::Application),
            events: Family::default(),
            told: Mutex::default(),
            updates: std::array::from_fn(|_| durations()),
            requests: RequestCounts::default(),
            errors: Family::default(),
            depth: Family::default(),
            leading: Gauge::default(),
            registry: Mutex::default(),
        };
        registry.register("rollout_events", "Events of Rollouts", metrics.events.clone());
        let names = [
            ("rollout_duration_seconds", "Seconds an update took"),
            (
                "rollout_progression_duration_seconds",
                "Seconds an update took without its waits for a person",
            ),
            (
                "rollout_manual_pause_duration_seconds",
                "Seconds an update waited for a person",
            ),
        ];
        for ((name, help), family) in names.into_iter().zip(&metrics.updates) {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "controller_clientset_k8s_request",
            "Requests to the API server",
            metrics.requests.family(),
        );
        registry.register(
            "tidegate_reconcile_errors",
            "Failed passes by what went wrong",
            metrics.errors.clone(),
        );
        registry.register(
            "workqueue_depth",
            "Objects waiting to be worked on",
            metrics.depth.clone(),
        );
        registry.register(
            "tidegate_leading",
            "1 while this replica may write",
            metrics.leading.clone(),
        );
        Self {
            registry: Mutex::new(registry),
            ..metrics
        }
    }

    /// Adds metrics that are computed at scrape time.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        self.registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .register_collector(collector);
    }

    /// Notes a pass over one object and how many seconds it took.
    pub fn reconciled(&self, controller: ControllerKind, object: ObjectLabels, seconds: f64) {
        self.families(controller)
            .duration
            .get_or_create(&object)
            .observe(seconds);
    }

    /// Notes a pass that failed; `reason` is the error's label.
    pub fn failed(&self, controller: ControllerKind, object: ObjectLabels, reason: &'static str) {
        self.families(controller).errors.get_or_create(&object).inc();
        self.errors
            .get_or_create(&ErrorLabels {
                controller: controller.prefix(),
                reason,
            })
            .inc();
    }

    /// Notes an event.
    pub fn event(&self, event: &EventLabels) {
        let object = ObjectLabels {
            namespace: event.namespace.clone(),
            name: event.name.clone(),
        };
        self.told().entry(object).or_default().insert(event.clone());
        self.events.get_or_create(event).inc();
    }

    /// Notes the end of an update: how it ended, the seconds it took, and those it waited for a person.
    pub fn finished(&self, status: &str, seconds: f64, paused_seconds: f64) {
        let end = EndLabels {
            status: status.to_owned(),
        };
        let values = [seconds, (seconds - paused_seconds).max(0.0), paused_seconds];
        for (family, value) in self.updates.iter().zip(values) {
            family.get_or_create(&end).observe(value);
        }
    }

    /// Notes how many objects wait to be worked on.
    pub fn queued(&self, controller: ControllerKind, depth: usize) {
        self.depth
            .get_or_create(&QueueLabels {
                name: controller.prefix(),
            })
            .set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Notes whether this replica leads.
    pub fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// Drops the series of an object that is gone.
    pub fn forget(&self, controller: ControllerKind, object: &ObjectLabels) {
        let families = self.families(controller);
        families.duration.remove(object);
        families.errors.remove(object);
        if controller == ControllerKind::Rollout {
            for event in self.told().remove(object).into_iter().flatten() {
                self.events.remove(&event);
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, HashMap<ObjectLabels, HashSet<EventLabels>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything in the text format.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::new();
        text::encode(&mut page, &registry)?;
        Ok(page)
    }

    fn families(&self, controller: ControllerKind) -> &ReconcileFamilies {
        match controller {
            ControllerKind::Rollout => &self.rollout,
            ControllerKind::AnalysisRun => &self.analysis_run,
            ControllerKind::Experiment => &self.experiment,
            ControllerKind::Application => &self.application,
        }
    }
}

fn durations() -> Durations {
    Family::new_with_constructor(|| Histogram::new(UPDATE_BUCKETS))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ReconcileFamilies {
    fn register(registry: &mut Registry, controller: ControllerKind) -> Self {
        let families = Self {
            duration: Family::new_with_constructor(|| Histogram::new(RECONCILE_BUCKETS)),
            errors: Family::default(),
        };
        let prefix = controller.prefix();
        registry.register(
            format!("{prefix}_reconcile"),
            "Seconds a pass took",
            families.duration.clone(),
        );
        registry.register(
            format!("{prefix}_reconcile_error"),
            "Passes that failed",
            families.errors.clone(),
        );
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_original() {
        let metrics = Metrics::new();
        let web = ObjectLabels {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        };
        metrics.reconciled(ControllerKind::Rollout, web.clone(), 0.1);
        metrics.failed(ControllerKind::Rollout, web.clone(), "Rejected");
        let event = EventLabels {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            r#type: "Normal".to_owned(),
            reason: "RolloutCompleted".to_owned(),
        };
        metrics.event(&event);
        let page = metrics.render().unwrap();
        let has = |line: &str| assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        has(r#"rollout_reconcile_bucket{le="0.15",namespace="shop",name="web"} 1"#);
        has(r#"rollout_reconcile_error{namespace="shop",name="web"} 1"#);
        has(r#"rollout_events_total{namespace="shop",name="web",type="Normal",reason="RolloutCompleted"} 1"#);
        has(&format!(
            r#"argo_rollouts_controller_info{{version="{}"}} 1"#,
            env!("CARGO_PKG_VERSION")
        ));
        metrics.finished("Promoted", 700.0, 650.0);
        let page = metrics.render().unwrap();
        let has = |line: &str| assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        has(r#"rollout_duration_seconds_bucket{le="900.0",status="Promoted"} 1"#);
        has(r#"rollout_progression_duration_seconds_bucket{le="60.0",status="Promoted"} 1"#);
        has(r#"rollout_manual_pause_duration_seconds_sum{status="Promoted"} 650.0"#);
        metrics.forget(ControllerKind::Rollout, &web);
        let page = metrics.render().unwrap();
        assert!(!page.contains("rollout_reconcile_error{"));
        assert!(!page.contains("rollout_events_total{"));
    }
}
