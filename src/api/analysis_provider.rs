//! Metric providers with settings of several levels (reference, rollouts 6.6). The others are in `analysis`.

use super::{
    scalar::{self, IntOrString},
    wire,
};
use serde_json::Value;

wire! {
    /// Spinnaker Kayenta.
    pub struct KayentaMetric {
        /// Base URL of the server.
        pub address: String,
        /// Application as Kayenta knows it.
        pub application: String,
        /// Name of the canary configuration.
        pub canary_config_name: String,
        /// Account that metrics are read with.
        pub metrics_account_name: String,
        /// Account that configurations are read with.
        pub configuration_account_name: String,
        /// Account that results are stored with.
        pub storage_account_name: String,
        /// Scores that decide.
        pub threshold: KayentaThreshold,
        /// What is compared.
        pub scopes: Vec<KayentaScope>,
        /// Judge from the start each time, instead of one interval.
        pub lookback: bool,
    }

    /// Scores that decide, from 0 to 100.
    pub struct KayentaThreshold {
        /// From here on it is successful.
        pub pass: i64,
        /// From here on it is inconclusive.
        pub marginal: i64,
    }

    /// What is compared.
    pub struct KayentaScope {
        /// Name of the scope.
        pub name: String,
        /// The stable side.
        pub control_scope: ScopeDetail,
        /// The canary side.
        pub experiment_scope: ScopeDetail,
    }

    /// One side of a comparison.
    pub struct ScopeDetail {
        /// Scope as the metric system knows it.
        pub scope: String,
        /// Region.
        pub region: String,
        /// Seconds between points.
        pub step: Option<IntOrString>,
        /// Start of the window.
        pub start: String,
        /// End of the window.
        pub end: String,
    }

    /// AWS CloudWatch.
    pub struct CloudWatchMetric {
        /// Window of the query; empty means `5m`.
        pub interval: String,
        /// The queries.
        pub metric_data_queries: Vec<CloudWatchMetricDataQuery>,
    }

    /// A CloudWatch query, as its API has it with names in camel case.
    pub struct CloudWatchMetricDataQuery {
        /// Its name in expressions.
        pub id: String,
        /// A formula over other queries.
        pub expression: Option<String>,
        /// Its name for people.
        pub label: Option<String>,
        /// Or a metric and how its points are put together.
        #[schemars(schema_with = "scalar::any_object")]
        pub metric_stat: Option<Value>,
        /// Seconds between points.
        pub period: Option<IntOrString>,
        /// Whether it is part of the answer; absent means true.
        pub return_data: Option<bool>,
    }
}
