//! `AnalysisTemplate`, `ClusterAnalysisTemplate` and `AnalysisRun` (reference, rollouts 1.8, 2.7 and 6).

use super::{
    analysis_provider::{CloudWatchMetric, KayentaMetric},
    resource,
    scalar::{self, IntOrString},
    strategy::{AnalysisTemplateRef, FieldRef, PodTemplateMetadata},
    wire, wire_required,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use std::collections::BTreeMap;

resource! {
    /// Metrics and arguments to judge by, in a namespace.
    AnalysisTemplate, "analysistemplates", NamespaceResourceScope, {
        /// What to measure.
        spec: AnalysisTemplateSpec,
    }
}

resource! {
    /// Metrics and arguments to judge by, for every namespace.
    ClusterAnalysisTemplate, "clusteranalysistemplates", ClusterResourceScope, {
        /// What to measure.
        spec: AnalysisTemplateSpec,
    }
}

resource! {
    /// One judgement: measurements being taken and their verdict. Status is part of the object, without a subresource.
    AnalysisRun, "analysisruns", NamespaceResourceScope, {
        /// What is measured.
        spec: AnalysisRunSpec,
        /// What was measured.
        status: Option<AnalysisRunStatus>,
    }
}

wire! {
    /// `AnalysisTemplate.spec`.
    pub struct AnalysisTemplateSpec {
        /// What to measure.
        pub metrics: Vec<Metric>,
        /// Arguments and their defaults.
        pub args: Vec<Argument>,
        /// Metrics whose verdict does not count.
        pub dry_run: Vec<DryRun>,
        /// How many measurements are kept.
        pub measurement_retention: Vec<MeasurementRetention>,
        /// Further templates to run with this one.
        pub templates: Vec<AnalysisTemplateRef>,
    }

    /// `AnalysisRun.spec`.
    pub struct AnalysisRunSpec {
        /// What is measured.
        pub metrics: Vec<Metric>,
        /// Arguments with their values.
        pub args: Vec<Argument>,
        /// Stop now.
        pub terminate: bool,
        /// Metrics whose verdict does not count.
        pub dry_run: Vec<DryRun>,
        /// How many measurements are kept.
        pub measurement_retention: Vec<MeasurementRetention>,
        /// When the run is deleted after it ended.
        pub ttl_strategy: Option<TtlStrategy>,
    }

    /// Seconds after which an ended run is deleted; success and failure override completion.
    pub struct TtlStrategy {
        /// After any end.
        pub seconds_after_completion: Option<i32>,
        /// After a failure.
        pub seconds_after_failure: Option<i32>,
        /// After a success.
        pub seconds_after_success: Option<i32>,
    }

    /// An argument.
    pub struct Argument {
        /// Its name.
        pub name: String,
        /// Its value.
        pub value: Option<String>,
        /// Or where to take it from.
        pub value_from: Option<ValueFrom>,
    }

    /// Where an argument's value comes from.
    pub struct ValueFrom {
        /// A Secret in the run's namespace.
        pub secret_key_ref: Option<SecretKeyRef>,
        /// A field of the owning object.
        pub field_ref: Option<FieldRef>,
    }

    /// A key of a Secret.
    pub struct SecretKeyRef {
        /// Name of the Secret.
        pub name: String,
        /// The key.
        pub key: String,
    }

    /// One metric.
    pub struct Metric {
        /// Its name, unique in the run.
        pub name: String,
        /// Time between measurements, for instance `30s`.
        pub interval: String,
        /// Time before the first measurement.
        pub initial_delay: String,
        /// Measurements to take; absent means 1 without an interval and no end with one.
        pub count: Option<IntOrString>,
        /// True means success.
        pub success_condition: String,
        /// True means failure; wins over `successCondition`.
        pub failure_condition: String,
        /// Failures tolerated; −1 tolerates all.
        pub failure_limit: Option<IntOrString>,
        /// Inconclusive measurements tolerated.
        pub inconclusive_limit: Option<IntOrString>,
        /// Errors in a row tolerated; absent means 4.
        pub consecutive_error_limit: Option<IntOrString>,
        /// Successes in a row that end the metric as successful; 0 is off.
        pub consecutive_success_limit: Option<IntOrString>,
        /// Where the number comes from; exactly one member.
        pub provider: MetricProvider,
    }

    /// Exactly one member.
    pub struct MetricProvider {
        /// Prometheus.
        pub prometheus: Option<PrometheusMetric>,
        /// Spinnaker Kayenta.
        pub kayenta: Option<KayentaMetric>,
        /// A JSON answer over HTTP.
        pub web: Option<WebMetric>,
        /// Datadog.
        pub datadog: Option<DatadogMetric>,
        /// Wavefront.
        pub wavefront: Option<AddressQuery>,
        /// New Relic.
        pub new_relic: Option<NewRelicMetric>,
        /// A Kubernetes Job.
        pub job: Option<JobMetric>,
        /// AWS CloudWatch.
        pub cloud_watch: Option<CloudWatchMetric>,
        /// Graphite.
        pub graphite: Option<AddressQuery>,
        /// InfluxDB.
        pub influxdb: Option<InfluxdbMetric>,
        /// Apache SkyWalking.
        pub skywalking: Option<SkyWalkingMetric>,
        /// Plugins, each `namespace/name` with its own configuration.
        #[schemars(schema_with = "scalar::any_object")]
        pub plugin: Option<Value>,
    }

    /// A Prometheus query.
    pub struct PrometheusMetric {
        /// Base URL of the server.
        pub address: String,
        /// `PromQL`.
        pub query: String,
        /// How to authenticate.
        pub authentication: Option<Authentication>,
        /// Seconds; absent means 30.
        pub timeout: Option<i64>,
        /// Do not verify the server's certificate.
        pub insecure: bool,
        /// Headers of the request.
        pub headers: Vec<WebMetricHeader>,
        /// Ask for a range instead of an instant.
        pub range_query: Option<PrometheusRangeQuery>,
    }

    /// The range of a Prometheus query; start and end are expressions such as `now() - duration("1h")`.
    pub struct PrometheusRangeQuery {
        /// Start of the range.
        pub start: String,
        /// End of the range.
        pub end: String,
        /// Resolution, for instance `1m`.
        pub step: String,
    }

    /// How to authenticate at a metric provider.
    pub struct Authentication {
        /// AWS signature version 4.
        pub sigv4: Option<Sigv4Config>,
        /// OAuth 2 client credentials.
        pub oauth2: Option<OAuth2Config>,
        /// User and password.
        pub basic_auth: Option<BasicAuth>,
    }

    /// AWS signature version 4.
    pub struct Sigv4Config {
        /// AWS region.
        #[serde(rename = "region")]
        pub region: String,
        /// Profile in the credentials file.
        pub profile: String,
        /// Role to assume.
        pub role_arn: String,
    }

    /// OAuth 2 client credentials.
    pub struct OAuth2Config {
        /// Token endpoint.
        pub token_url: String,
        /// Client.
        pub client_id: String,
        /// Its secret.
        pub client_secret: String,
        /// Scopes asked for.
        pub scopes: Vec<String>,
    }

    /// User and password.
    pub struct BasicAuth {
        /// User.
        pub username: String,
        /// Password.
        pub password: String,
    }

    /// A header of a request.
    pub struct WebMetricHeader {
        /// Name.
        pub key: String,
        /// Value.
        pub value: String,
    }

    /// A JSON answer over HTTP.
    pub struct WebMetric {
        /// `GET` (default), `POST` or `PUT`.
        pub method: String,
        /// URL.
        pub url: String,
        /// Headers of the request.
        pub headers: Vec<WebMetricHeader>,
        /// Body as text.
        pub body: String,
        /// Body as JSON.
        #[schemars(schema_with = "scalar::any_value")]
        pub json_body: Option<Value>,
        /// Seconds; absent means 10.
        pub timeout_seconds: i64,
        /// Where the value is in the answer; absent means all of it.
        pub json_path: String,
        /// Do not verify the server's certificate.
        pub insecure: bool,
        /// How to authenticate.
        pub authentication: Option<Authentication>,
    }

    /// Datadog.
    pub struct DatadogMetric {
        /// Window of the query.
        pub interval: String,
        /// One query.
        pub query: String,
        /// Several named queries (API v2).
        pub queries: BTreeMap<String, String>,
        /// A formula over them (API v2).
        pub formula: String,
        /// `v1` or `v2`.
        pub api_version: String,
        /// How points become one number (API v2).
        pub aggregator: String,
        /// Secret with the keys.
        pub secret_ref: Option<DatadogSecretRef>,
        /// Time limit of a request.
        pub request_timeout: String,
    }

    /// Secret with Datadog keys.
    pub struct DatadogSecretRef {
        /// Its name.
        pub name: String,
        /// Whether it is in the run's namespace.
        pub namespaced: bool,
    }

    /// An address and a query.
    pub struct AddressQuery {
        /// Address.
        pub address: String,
        /// Query.
        pub query: String,
    }

    /// New Relic.
    pub struct NewRelicMetric {
        /// Secret with the keys; absent means `newrelic`.
        pub profile: String,
        /// NRQL.
        pub query: String,
        /// Seconds; absent means 5.
        pub timeout: Option<i64>,
    }

    /// A Kubernetes Job.
    pub struct JobMetric {
        /// Labels and annotations of the Job.
        pub metadata: Option<PodTemplateMetadata>,
        /// The Job's specification, as written.
        #[schemars(schema_with = "scalar::any_object")]
        pub spec: Option<Value>,
    }

    /// InfluxDB.
    pub struct InfluxdbMetric {
        /// Secret with the keys; absent means `influxdb`.
        pub profile: String,
        /// Flux query.
        pub query: String,
    }

    /// Apache SkyWalking.
    pub struct SkyWalkingMetric {
        /// Address.
        pub address: String,
        /// `GraphQL` query.
        pub query: String,
        /// Window of the query.
        pub interval: String,
    }

    /// `AnalysisRun.status`.
    pub struct AnalysisRunStatus {
        /// `Pending`, `Running`, `Successful`, `Failed`, `Error` or `Inconclusive`.
        pub phase: String,
        /// Why.
        pub message: String,
        /// One entry a metric.
        pub metric_results: Vec<MetricResult>,
        /// When the run began.
        #[schemars(schema_with = "scalar::time")]
        pub started_at: Option<Time>,
        /// Counts over metrics.
        pub run_summary: Option<RunSummary>,
        /// Counts over dry-run metrics.
        pub dry_run_summary: Option<RunSummary>,
        /// When the run ended.
        #[schemars(schema_with = "scalar::time")]
        pub completed_at: Option<Time>,
    }

    /// Counts over metrics.
    pub struct RunSummary {
        /// All.
        pub count: i32,
        /// Successful ones.
        pub successful: i32,
        /// Failed ones.
        pub failed: i32,
        /// Inconclusive ones.
        pub inconclusive: i32,
        /// Those in error.
        pub error: i32,
    }

    /// What one metric gave.
    pub struct MetricResult {
        /// Its name.
        pub name: String,
        /// Its phase.
        pub phase: String,
        /// The measurements kept, oldest first.
        pub measurements: Vec<Measurement>,
        /// Why.
        pub message: String,
        /// Completed measurements without an error.
        pub count: i32,
        /// Successful ones.
        pub successful: i32,
        /// Failed ones.
        pub failed: i32,
        /// Inconclusive ones.
        pub inconclusive: i32,
        /// Errors.
        pub error: i32,
        /// Errors in a row.
        pub consecutive_error: i32,
        /// Whether the verdict does not count.
        pub dry_run: bool,
        /// What the provider says about the metric, for instance the resolved query.
        pub metadata: BTreeMap<String, String>,
        /// Successes in a row.
        pub consecutive_success: i32,
    }

    /// One reading and its verdict.
    pub struct Measurement {
        /// Its verdict.
        pub phase: String,
        /// Why.
        pub message: String,
        /// When it began.
        #[schemars(schema_with = "scalar::time")]
        pub started_at: Option<Time>,
        /// When it ended.
        #[schemars(schema_with = "scalar::time")]
        pub finished_at: Option<Time>,
        /// What was read, as text.
        pub value: String,
        /// What the provider says about it.
        pub metadata: BTreeMap<String, String>,
        /// When to ask again about one that is under way.
        #[schemars(schema_with = "scalar::time")]
        pub resume_at: Option<Time>,
    }
}

wire_required! {
    /// Metrics whose verdict does not count.
    pub struct DryRun {
        /// A regular expression over metric names.
        pub metric_name: String,
    }

    /// How many measurements are kept.
    pub struct MeasurementRetention {
        /// A regular expression over metric names.
        pub metric_name: String,
        /// How many.
        pub limit: i32,
    }
}
