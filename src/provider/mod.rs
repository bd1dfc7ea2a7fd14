//! Metric providers: they take a measurement and say what came of it. No verdicts here, and no schedule.
//!
//! Every provider answers within its time limit, hides nothing, and never takes "no answer" for a value. `desk` runs
//! them beside the controller, so that a slow one holds up nobody else.

pub mod aws;
pub mod cloud_watch;
pub mod datadog;
pub mod desk;
pub mod environment;
pub mod gate;
pub mod graphite;
pub mod http;
pub mod influxdb;
pub mod job;
pub mod kayenta;
pub mod new_relic;
mod numbers;
pub mod oauth2;
pub mod prometheus;
pub mod secrets;
pub mod skywalking;
pub mod wavefront;
pub mod web;

use crate::{
    analysis::{
        reading::{Answered, Attempt},
        validate,
    },
    api::analysis::Metric,
    clock::SharedClock,
};
use environment::Environment;
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The run a measurement belongs to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When it began; absent before that is written.
    pub started_at: Option<Timestamp>,
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
    /// `ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG`: in which cluster Jobs run; absent: in the controller's.
    pub job_kubeconfig: Option<String>,
    /// Whether `HTTP_PROXY` and its kin are honoured.
    pub no_proxy: bool,
    /// The controller's own namespace, where Secrets with providers' keys are.
    pub namespace: String,
    /// Keys and places that come with the process.
    pub environment: Environment,
}

impl ProviderSettings {
    /// Reads the variables the original reads; `namespace` is the controller's own.
    pub fn from_env(namespace: &str) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            prometheus_address: variable("ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"),
            job_namespace: variable("ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE"),
            job_kubeconfig: variable(job::KUBECONFIG_VARIABLE),
            no_proxy: false,
            namespace: namespace.to_owned(),
            environment: Environment::of_process(),
        }
    }
}

/// Providers by the field name of their metrics, such as `prometheus`.
pub struct Providers(BTreeMap<&'static str, Box<dyn Provider>>);

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<const N: usize> From<[(&'static str, Box<dyn Provider>); N]> for Providers {
    fn from(providers: [(&'static str, Box<dyn Provider>); N]) -> Self {
        Self(providers.into())
    }
}

impl Providers {
    /// The providers of this process. Nothing is asked yet.
    pub fn new(client: kube::Client, clock: SharedClock, settings: &ProviderSettings) -> Result<Self, http::HttpError> {
        let transport = http::Transport::new(settings.no_proxy, Arc::clone(&clock))?;
        let aws = aws::Aws::new(transport.clone(), settings.environment.clone(), clock);
        let keys = secrets::Keys {
            client: client.clone(),
            namespace: settings.namespace.clone(),
        };
        let (http, environment) = (|| transport.clone(), settings.environment.clone());
        let prometheus = prometheus::Prometheus::new(http(), settings.prometheus_address.clone(), aws.clone());
        let datadog = datadog::Datadog::new(http(), keys.clone(), environment);
        let jobs = job::Jobs::new(client, settings.job_namespace.clone()).elsewhere(settings.job_kubeconfig.clone());
        let all: [(_, Box<dyn Provider>); 11] = [
            ("cloudWatch", Box::new(cloud_watch::CloudWatch::new(http(), aws))),
            ("datadog", Box::new(datadog)),
            ("graphite", Box::new(graphite::Graphite::new(http()))),
            ("influxdb", Box::new(influxdb::Influxdb::new(http(), keys.clone()))),
            ("job", Box::new(jobs)),
            ("kayenta", Box::new(kayenta::Kayenta::new(http()))),
            ("newRelic", Box::new(new_relic::NewRelic::new(http(), keys.clone()))),
            ("prometheus", Box::new(prometheus)),
            ("skywalking", Box::new(skywalking::SkyWalking::new(http()))),
            ("wavefront", Box::new(wavefront::Wavefront::new(http(), keys))),
            ("web", Box::new(web::Web::new(http()))),
        ];
        Ok(Self::from(all))
    }

    /// Takes a measurement with the provider its metric names, and gives up after the provider's time limit. Whatever goes
    /// wrong is an answer.
    pub async fn measure(&self, query: &Query) -> Answered {
        let kind = match validate::provider(&query.metric) {
            Ok(kind) => kind,
            Err(problem) => return Answered::error(problem),
        };
        let Some(provider) = self.0.get(kind) else {
            let known: Vec<&str> = self.0.keys().copied().collect();
            let known = known.join(", ");
            return Answered::error(format!(
                "metric provider '{kind}' is not supported yet (supported: {known})"
            ));
        };
        let limit = provider.time_limit(query);
        match tokio::time::timeout(limit, provider.measure(query)).await {
            Ok(answered) => answered,
            Err(_) => Answered::error(format!("no answer from the metric provider within {limit:?}")),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
