//! Prometheus: instant and range queries (reference, rollouts 6.6).

mod signed;

use super::{
    Provider, Query,
    aws::{Account, Aws},
    http::{self, Transport, WAIT_MAX},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::{PrometheusMetric, PrometheusRangeQuery},
    lang::{
        duration,
        expr::{self, Measured},
    },
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use prometheus_http_query::response::Data;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::OnceCell, time::Instant};

/// Time for one query when the metric does not say, as in the original.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Identical queries within this time share one request.
const SHARED_FOR: Duration = Duration::from_secs(1);
/// Most samples of a range query that are looked at; Prometheus itself refuses more than 11,000 for each series.
const SAMPLES_MAX: usize = 1_000_000;

/// The provider.
#[derive(Clone, Debug)]
pub struct Prometheus {
    transport: Transport,
    default_address: Option<String>,
    aws: Aws,
    shared: Arc<Mutex<HashMap<Key, Shared>>>,
}

/// What makes two queries the same: address, parameters, headers, whether certificates are verified, and who signs.
type Key = (
    String,
    Vec<(&'static str, String)>,
    Vec<(String, Vec<u8>)>,
    bool,
    Option<Account>,
);

#[derive(Clone, Debug)]
struct Shared {
    asked_at: Instant,
    answer: Arc<OnceCell<Result<Reply, String>>>,
}

/// What Prometheus said, once understood.
#[derive(Clone, Debug)]
struct Reply {
    measured: Measured,
    text: String,
    warnings: Vec<String>,
}

impl Prometheus {
    /// The provider; `default_address` serves metrics without one.
    pub fn new(transport: Transport, default_address: Option<String>, aws: Aws) -> Self {
        Self {
            transport,
            default_address,
            aws,
            shared: Arc::default(),
        }
    }

    async fn ask(&self, metric: &PrometheusMetric, now: Timestamp) -> Result<Reply, String> {
        let limit =
            http::time_limit(metric.timeout, TIMEOUT_DEFAULT).map_err(|problem| format!("prometheus {problem}"))?;
        let address = match (metric.address.as_str(), &self.default_address) {
            ("", None) => return Err("prometheus address is not configured".to_owned()),
            ("", Some(address)) => address.clone(),
            (address, _) => address.to_owned(),
        };
        let parameters = parameters(metric, now)?;
        let headers = self
            .transport
            .headers(&metric.headers, metric.authentication.as_ref(), metric.insecure);
        let headers = headers.await.map_err(|error| error.to_string())?;
        let signer = metric.authentication.as_ref().and_then(|auth| auth.sigv4.as_ref());
        let signer = signer.map(Account::from).filter(|signer| *signer != Account::default());
        let listed = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
        let key = (
            address.clone(),
            parameters.clone(),
            listed,
            metric.insecure,
            signer.clone(),
        );
        let answer = self.shared(key);
        let request = Request {
            address,
            parameters,
            headers,
            insecure: metric.insecure,
            signer,
            limit,
        };
        answer.get_or_init(|| self.send(request)).await.clone()
    }

    /// The answer to this query that is being waited for or has just come, or a place for a new one.
    fn shared(&self, key: Key) -> Arc<OnceCell<Result<Reply, String>>> {
        let now = Instant::now();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, shared| now.duration_since(shared.asked_at) < SHARED_FOR);
        let entry = shared.entry(key).or_insert_with(|| Shared {
            asked_at: now,
            answer: Arc::default(),
        });
        Arc::clone(&entry.answer)
    }

    async fn send(&self, request: Request) -> Result<Reply, String> {
        let Ok(place) = tokio::time::timeout(WAIT_MAX, self.transport.gate.enter(&request.address)).await else {
            return Err(format!("no turn at {} within {WAIT_MAX:?}", redacted(&request.address)));
        };
        let (address, limit) = (request.address.clone(), request.limit);
        let answer = tokio::time::timeout(limit, async {
            match request.signer.clone() {
                Some(signer) => self.exchange_signed(request, &signer).await,
                None => self.exchange(request).await,
            }
        });
        let answer = answer.await;
        drop(place);
        let (status, body) = match answer {
            Err(_) => return Err(format!("no answer from {} within {limit:?}", redacted(&address))),
            Ok(Err(error)) => return Err(format!("{}: {error}", redacted(&address))),
            Ok(Ok(answer)) => answer,
        };
        understand(status, &body)
    }

    async fn exchange(&self, request: Request) -> Result<(u16, Vec<u8>), String> {
        let http_client = self.transport.client(request.insecure).clone();
        let client = prometheus_http_query::Client::from(http_client, &request.address)
            .map_err(|error| format!("the address is not valid: {}", cause(&error)))?;
        let find = |name: &str| {
            request
                .parameters
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
        };
        let query = find("query").unwrap_or_default();
        // A long query does not fit a URL, so the body is tried first; old or restricted servers only know GET.
        let (post, get) = match (find("start"), find("end"), find("step")) {
            (Some(start), Some(end), Some(step)) => {
                let (start, end) = (start.parse().unwrap_or_default(), end.parse().unwrap_or_default());
                let builder = client.query_range(query, start, end, step.parse().unwrap_or_default());
                let builder = add_headers(request.headers, builder, |builder, name, value| {
                    builder.header(name, value)
                });
                (builder.clone().post_raw().await, Get::Range(builder))
            }
            _ => {
                let builder = client.query(query);
                let builder = add_headers(request.headers, builder, |builder, name, value| {
                    builder.header(name, value)
                });
                (builder.clone().post_raw().await, Get::Instant(builder))
            }
        };
        let mut response = post.map_err(|error| cause(&error))?;
        if matches!(response.status().as_u16(), 405 | 501) {
            let again = match get {
                Get::Instant(builder) => builder.get_raw().await,
                Get::Range(builder) => builder.get_raw().await,
            };
            response = again.map_err(|error| cause(&error))?;
        }
        let status = response.status().as_u16();
        let body = http::body(response).await.map_err(|error| error.to_string())?;
        Ok((status, body))
    }
}

struct Request {
    address: String,
    parameters: Vec<(&'static str, String)>,
    headers: HeaderMap,
    insecure: bool,
    signer: Option<Account>,
    limit: Duration,
}

enum Get {
    Instant(prometheus_http_query::InstantQueryBuilder),
    Range(prometheus_http_query::RangeQueryBuilder),
}

fn add_headers<B>(
    headers: HeaderMap,
    builder: B,
    add: impl Fn(B, reqwest::header::HeaderName, reqwest::header::HeaderValue) -> B,
) -> B {
    let mut last = None;
    headers.into_iter().fold(builder, |builder, (name, value)| {
        // A repeated header comes without its name.
        last = name.or(last.take());
        match last.clone() {
            Some(name) => add(builder, name, value),
            None => builder,
        }
    })
}

/// What an error of the client library comes down to, without the URL.
fn cause(error: &prometheus_http_query::Error) -> String {
    match error {
        prometheus_http_query::Error::Client(client) => {
            let mut text = "request failed".to_owned();
            let mut source = client.inner().and_then(std::error::Error::source);
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            text
        }
        other => {
            let source = std::error::Error::source(other).map(|source| format!(": {source}"));
            format!("{other}{}", source.unwrap_or_default())
        }
    }
}

/// The parameters of the query; those of a range have whole seconds.
fn parameters(metric: &PrometheusMetric, now: Timestamp) -> Result<Vec<(&'static str, String)>, String> {
    let query = ("query", metric.query.clone());
    let Some(PrometheusRangeQuery { start, end, step }) = &metric.range_query else {
        return Ok(vec![query]);
    };
    let moment = |field: &str, text: &str| {
        let at = expr::range_time(text, now);
        at.map(|at| at.as_second())
            .map_err(|error| format!("failed to parse rangeQuery.{field} as time: {error}"))
    };
    let seconds =
        duration::parse(step).map_err(|error| format!("failed to parse rangeQuery.step as duration: {error}"))?;
    let seconds = seconds.as_secs_f64();
    if seconds <= 0.0 {
        return Err(format!(
            "failed to parse rangeQuery.step as duration: {step:?} is not positive"
        ));
    }
    let (start, end) = (moment("start", start)?, moment("end", end)?);
    Ok(vec![
        query,
        ("start", start.to_string()),
        ("end", end.to_string()),
        ("step", seconds.to_string()),
    ])
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    status: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    error: String,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    warnings: Vec<String>,
}

/// Reads an answer of the HTTP API. Anything but a success with numbers is an error.
fn understand(status: u16, body: &[u8]) -> Result<Reply, String> {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        return Err(format!("HTTP {status}: {}", text.trim()));
    };
    if envelope.status != "success" {
        return Err(match envelope.error_type.as_str() {
            "" => format!("HTTP {status}: no answer of a Prometheus"),
            kind => format!("{kind}: {}", envelope.error),
        });
    }
    let kind = envelope
        .data
        .get("resultType")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if !matches!(kind.as_str(), "scalar" | "vector" | "matrix") {
        return Err(format!("Prometheus metric type not supported: {kind:?}"));
    }
    let data: Data = serde_json::from_value(envelope.data)
        .map_err(|error| format!("the {kind} of Prometheus cannot be read: {error}"))?;
    let (measured, text) = match data {
        Data::Scalar(sample) => (Measured::Scalar(sample.value()), Number(sample.value()).to_string()),
        Data::Vector(series) => {
            let samples: Vec<f64> = series.iter().map(|series| series.sample().value()).collect();
            let text = list(&samples);
            (Measured::Vector(samples), text)
        }
        // The samples of all series in one list: users write `all(result, # < 1000)`.
        Data::Matrix(series) => {
            let all = series
                .iter()
                .flat_map(|series| series.samples())
                .map(|sample| sample.value());
            let samples: Vec<f64> = all.take(SAMPLES_MAX).collect();
            let text = list(&samples);
            (Measured::Vector(samples), text)
        }
    };
    Ok(Reply {
        measured,
        text,
        warnings: envelope.warnings,
    })
}

/// A float as the original shows it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number if number == f64::INFINITY => f.write_str("+Inf"),
            number if number == f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number}"),
        }
    }
}

fn list(samples: &[f64]) -> String {
    let texts: Vec<String> = samples.iter().map(|sample| Number(*sample).to_string()).collect();
    format!("[{}]", texts.join(","))
}

/// An address without user and password.
fn redacted(address: &str) -> String {
    match url::Url::parse(address) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            let hidden = url.set_username("").is_ok() && url.set_password(None).is_ok();
            if hidden {
                url.to_string()
            } else {
                "the address".to_owned()
            }
        }
        Ok(_) | Err(_) => address.to_owned(),
    }
}

impl Provider for Prometheus {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let Some(metric) = &query.metric.provider.prometheus else {
                return Answered::error("no provider specified");
            };
            let metric_metadata = match metric.query.is_empty() {
                true => BTreeMap::new(),
                false => BTreeMap::from([("ResolvedPrometheusQuery".to_owned(), metric.query.clone())]),
            };
            let (answer, metadata) = match self.ask(metric, query.now).await {
                Err(message) => (Answer::Error(message), BTreeMap::new()),
                Ok(Reply {
                    measured,
                    text,
                    warnings,
                }) => (Answer::Value { measured, text }, noted(&warnings)),
            };
            Answered {
                answer,
                metadata,
                metric_metadata,
            }
        })
    }

    fn time_limit(&self, query: &Query) -> Duration {
        let seconds = query
            .metric
            .provider
            .prometheus
            .as_ref()
            .and_then(|metric| metric.timeout);
        let limit = http::time_limit(seconds, TIMEOUT_DEFAULT).unwrap_or(TIMEOUT_DEFAULT);
        // A token, a turn, a request that is being shared, and our own.
        WAIT_MAX + limit * 2 + Duration::from_secs(30)
    }
}

fn noted(warnings: &[String]) -> BTreeMap<String, String> {
    if warnings.is_empty() {
        return BTreeMap::new();
    }
    let quoted: Vec<String> = warnings.iter().map(|warning| format!("\"{warning}\"")).collect();
    BTreeMap::from([("warnings".to_owned(), quoted.join(", "))])
}

#[cfg(test)]
mod tests;
