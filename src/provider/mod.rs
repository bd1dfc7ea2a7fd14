//! Metric providers: they take a measurement and say what came of it. No verdicts here, and no schedule.
//!
//! Every provider answers within its time limit, hides nothing, and never takes "no answer" for a value. `desk` runs
//! them beside the controller, so that a slow one holds up nobody else.

pub mod desk;
pub mod gate;
pub mod http;
pub mod job;
pub mod oauth2;
pub mod prometheus;
pub mod secrets;
pub mod web;

use crate::{
    analysis::{
        reading::{Answered, Attempt},
        validate,
    },
    api::analysis::Metric,
    clock::SharedClock,
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::time::Duration;

/// The run a measurement belongs to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What is asked of a provider.
#[derive(Clone, Debug)]
pub struct Query {
    /// For whom.
    pub run: RunIdentity,
    /// The metric with all arguments, secrets included, in place.
    pub metric: Metric,
    /// Which of the metric's measurements it is, from 1.
    pub sequence: i64,
    /// Whether to begin, ask again or end.
    pub attempt: Attempt,
    /// The moment of asking.
    pub now: Timestamp,
}

/// A source of measurements. A trait object because the kinds are many and tests bring their own.
pub trait Provider: Send + Sync {
    /// Takes the measurement. Whatever goes wrong is an answer.
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered>;

    /// After this long the answer is not waited for any more. Longer than any time limit inside.
    fn time_limit(&self, query: &Query) -> Duration;
}

/// What the environment says about providers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProviderSettings {
    /// `ARGO_ROLLOUTS_PROMETHEUS_ADDRESS`: the Prometheus of metrics without an address.
    pub prometheus_address: Option<String>,
    /// `ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE`: where Jobs run; absent: in the run's namespace.
    pub job_namespace: Option<String>,
    /// Whether `HTTP_PROXY` and its kin are honoured.
    pub no_proxy: bool,
}

impl ProviderSettings {
    /// Reads the variables the original reads.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            prometheus_address: variable("ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"),
            job_namespace: variable("ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE"),
            no_proxy: false,
        }
    }
}

/// One provider of each kind.
pub struct Providers {
    /// Answers metrics with `provider.prometheus`.
    pub prometheus: Box<dyn Provider>,
    /// Answers metrics with `provider.web`.
    pub web: Box<dyn Provider>,
    /// Answers metrics with `provider.job`.
    pub job: Box<dyn Provider>,
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers").finish_non_exhaustive()
    }
}

impl Providers {
    /// The providers of this process. Nothing is asked yet.
    pub fn new(client: kube::Client, clock: SharedClock, settings: &ProviderSettings) -> Result<Self, http::HttpError> {
        let transport = http::Transport::new(settings.no_proxy, clock)?;
        Ok(Self {
            prometheus: Box::new(prometheus::Prometheus::new(
                transport.clone(),
                settings.prometheus_address.clone(),
            )),
            web: Box::new(web::Web::new(transport)),
            job: Box::new(job::Jobs::new(client, settings.job_namespace.clone())),
        })
    }

    /// The provider a metric names; otherwise one that says it is not supported.
    pub fn of(&self, metric: &Metric) -> &dyn Provider {
        let provider = &metric.provider;
        if provider.prometheus.is_some() {
            self.prometheus.as_ref()
        } else if provider.web.is_some() {
            self.web.as_ref()
        } else if provider.job.is_some() {
            self.job.as_ref()
        } else {
            &Unsupported
        }
    }
}

/// Answers for the kinds that are not built yet.
#[derive(Clone, Copy, Debug)]
struct Unsupported;

impl Provider for Unsupported {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        let message = match validate::provider(&query.metric) {
            Ok(kind) => format!("metric provider '{kind}' is not supported yet (supported: prometheus, web, job)"),
            Err(problem) => problem,
        };
        Box::pin(std::future::ready(Answered::error(message)))
    }

    fn time_limit(&self, _: &Query) -> Duration {
        Duration::from_secs(1)
    }
}

#[cfg(test)]
pub(crate) mod testing;
