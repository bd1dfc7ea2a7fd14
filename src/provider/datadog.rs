//! Datadog: the last value of a query (API v1), or a number of queries and a formula (API v2) (reference, rollouts 6.6).
//!
//! Where Datadog has no points, a condition sees nil: users write `default(result, 0)`. Without any condition that would be
//! a success, so it is an error then. Of a query `by {tag}` (v2) a condition sees a list, one number for each group.

mod groups;

use super::{
    Provider, Query,
    environment::Environment,
    http::{self, HttpError, Transport, WAIT_MAX},
    secrets::{self, Keys, READ_TIMEOUT},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::{DatadogMetric, Metric},
    json::At as _,
    lang::{duration, expr::Measured},
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// The Secret with the keys, in the controller's namespace.
const SECRET: &str = "datadog";
/// Where Datadog is when neither Secret nor variable says.
const ADDRESS_DEFAULT: &str = "https://api.datadoghq.com";
/// Window of a query, as the CRD's default has it.
const INTERVAL_DEFAULT: &str = "5m";
/// Time for one request, as the CRD's default has it.
const REQUEST_TIMEOUT_DEFAULT: &str = "10s";
/// Longest time for one request: a measurement that takes longer says nothing about now.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// How points of the window become one number (v2), as in the original.
const AGGREGATOR_DEFAULT: &str = "last";
/// What a plain `query` is called in the request.
const QUERY_NAME: &str = "query";

/// The provider.
#[derive(Clone, Debug)]
pub struct Datadog {
    transport: Transport,
    keys: Keys,
    environment: Environment,
}

/// Where Datadog is and who asks.
struct Access {
    address: String,
    api_key: String,
    app_key: String,
}

/// What is asked, checked.
#[derive(Debug, Eq, PartialEq)]
enum Asked<'a> {
    /// API v1.
    Query(&'a str),
    /// API v2: named queries and a formula over them.
    Formula(Vec<(&'a str, &'a str)>, &'a str),
}

impl Datadog {
    /// The provider.
    pub fn new(transport: Transport, keys: Keys, environment: Environment) -> Self {
        Self {
            transport,
            keys,
            environment,
        }
    }

    /// The keys: of the Secret the metric names, else of the process' variables, else of the Secret `datadog` in the
    /// controller's namespace. Only a Secret that is not there is passed over.
    async fn access(&self, metric: &DatadogMetric, run_namespace: &str) -> Result<Access, String> {
        let mut missing = Vec::new();
        if let Some(reference) = &metric.secret_ref {
            let name = Some(reference.name.as_str())
                .filter(|name| !name.is_empty())
                .unwrap_or(SECRET);
            let namespace = if reference.namespaced {
                run_namespace
            } else {
                &self.keys.namespace
            };
            match self.keys.find(namespace, name).await? {
                Some(texts) => return of_secret(&texts, name),
                None => missing.push(format!("secret '{name}' in namespace '{namespace}'")),
            }
        }
        let variable = |name| self.environment.get(name).map(str::to_owned);
        if let (Some(api_key), Some(app_key)) = (variable("DD_API_KEY"), variable("DD_APP_KEY")) {
            return Ok(Access {
                address: variable("DD_ADDRESS").unwrap_or_else(|| ADDRESS_DEFAULT.to_owned()),
                api_key,
                app_key,
            });
        }
        if let Some(texts) = self.keys.find(&self.keys.namespace, SECRET).await? {
            return of_secret(&texts, SECRET);
        }
        missing.push("DD_API_KEY and DD_APP_KEY".to_owned());
        missing.push(format!("secret '{SECRET}' in namespace '{}'", self.keys.namespace));
        Err(format!("no Datadog keys: there is no {}", missing.join(", and no ")))
    }

    async fn ask(&self, metric: &DatadogMetric, access: &Access, now: Timestamp) -> Result<Value, String> {
        let asked = asked(metric)?;
        let limit = time_limit(metric)?;
        let start = now
            .checked_sub(window(metric)?)
            .map_err(|error| format!("interval: {error}"))?;
        let client = self.transport.unredirected();
        let request = match asked {
            Asked::Query(query) => {
                let (from, to) = (start.as_second().to_string(), now.as_second().to_string());
                let url = http::below(&access.address, "api/v1/query")?;
                client
                    .get(url)
                    .query(&[("from", from.as_str()), ("to", to.as_str()), ("query", query)])
            }
            Asked::Formula(queries, formula) => {
                let aggregator = Some(metric.aggregator.as_str()).filter(|text| !text.is_empty());
                let aggregator = aggregator.unwrap_or(AGGREGATOR_DEFAULT);
                let queries: Vec<Value> = queries
                    .into_iter()
                    .map(|(name, query)| json!({"data_source": "metrics", "name": name, "query": query, "aggregator": aggregator}))
                    .collect();
                let body = json!({"data": {"type": "scalar_request", "attributes": {
                    "from": start.as_millisecond(), "to": now.as_millisecond(),
                    "queries": queries, "formulas": [{"formula": formula}]}}});
                client
                    .post(http::below(&access.address, "api/v2/query/scalar")?)
                    .json(&body)
            }
        };
        let key = |text: &str| {
            http::sensitive(text.to_owned()).map_err(|_| "a key holds characters a header cannot".to_owned())
        };
        let request = request
            .header("DD-API-KEY", key(&access.api_key)?)
            .header("DD-APPLICATION-KEY", key(&access.app_key)?);
        let request = request.build().map_err(|error| HttpError::Request(error).to_string())?;
        self.transport.ask(client, request, limit).await?.json()
    }

    async fn answer(&self, metric: &Metric, query: &Query) -> Answered {
        let Some(datadog) = &metric.provider.datadog else {
            return Answered::error("no provider specified");
        };
        if let Err(problem) = asked(datadog) {
            return Answered::error(problem);
        }
        let access = match self.access(datadog, &query.run.namespace).await {
            Ok(access) => access,
            Err(problem) => return Answered::error(problem),
        };
        let understood = match self.ask(datadog, &access, query.now).await {
            Ok(answer) if is_v2(datadog) => scalar(&answer),
            Ok(answer) => series(&answer),
            Err(problem) => Err(problem),
        };
        let answered = match understood {
            Ok(Some(answered)) => answered,
            Ok(None) => nothing(metric),
            Err(problem) => Answered::error(problem),
        };
        secrets::masked(answered, &[&access.api_key, &access.app_key])
    }
}

fn of_secret(texts: &BTreeMap<String, String>, name: &str) -> Result<Access, String> {
    let address = texts.get("address").filter(|text| !text.is_empty());
    Ok(Access {
        address: address.cloned().unwrap_or_else(|| ADDRESS_DEFAULT.to_owned()),
        api_key: secrets::needed(texts, name, "api-key")?,
        app_key: secrets::needed(texts, name, "app-key")?,
    })
}

fn is_v2(metric: &DatadogMetric) -> bool {
    metric.api_version == "v2"
}

/// What is asked, or what is wrong with it.
fn asked(metric: &DatadogMetric) -> Result<Asked<'_>, &'static str> {
    let DatadogMetric {
        query,
        queries,
        formula,
        api_version,
        ..
    } = metric;
    match (api_version.as_str(), query.as_str(), queries.len(), formula.as_str()) {
        ("" | "v1", "", 0, "") => Err("query is required"),
        ("" | "v1", query, 0, "") => Ok(Asked::Query(query)),
        ("" | "v1", ..) => Err("queries and formula need apiVersion v2"),
        ("v2", "", 0, "") => Err("query or queries is required"),
        ("v2", _, 0, formula) if !formula.is_empty() => Err("formula needs queries"),
        ("v2", query, 0, _) => Ok(Asked::Formula(vec![(QUERY_NAME, query)], QUERY_NAME)),
        ("v2", "", number, formula) => {
            let named: Vec<(&str, &str)> = queries
                .iter()
                .map(|(name, query)| (name.as_str(), query.as_str()))
                .collect();
            match (named.as_slice(), formula) {
                ([(name, _)], "") => {
                    let name = *name;
                    Ok(Asked::Formula(named, name))
                }
                (_, "") if number > 1 => Err("several queries need a formula"),
                (_, formula) => Ok(Asked::Formula(named, formula)),
            }
        }
        ("v2", ..) => Err("use either query or queries, not both"),
        _ => Err("apiVersion must be v1 or v2"),
    }
}

fn window(metric: &DatadogMetric) -> Result<SignedDuration, String> {
    let written = Some(metric.interval.as_str()).filter(|text| !text.is_empty());
    duration::parse(written.unwrap_or(INTERVAL_DEFAULT)).map_err(|error| format!("interval: {error}"))
}

fn time_limit(metric: &DatadogMetric) -> Result<Duration, String> {
    let written = Some(metric.request_timeout.as_str()).filter(|text| !text.is_empty());
    let limit = duration::parse(written.unwrap_or(REQUEST_TIMEOUT_DEFAULT))
        .map_err(|error| format!("requestTimeout: {error}"))?;
    match Duration::try_from(limit) {
        Ok(limit) if !limit.is_zero() => Ok(limit.min(REQUEST_TIMEOUT_MAX)),
        _ => Err(format!(
            "requestTimeout must be greater than 0, found {:?}",
            metric.request_timeout
        )),
    }
}

/// No points in the window.
fn nothing(metric: &Metric) -> Answered {
    let text = "no data returned from Datadog".to_owned();
    if metric.success_condition.is_empty() && metric.failure_condition.is_empty() {
        return Answered::error(text);
    }
    Answered::plain(Answer::Value {
        measured: Measured::Json(Value::Null),
        text,
    })
}

fn number(value: f64) -> Answer {
    Answer::Value {
        measured: Measured::Json(json!(value)),
        text: value.to_string(),
    }
}

/// The last value of the first series (v1); `None` when there is none.
fn series(answer: &Value) -> Result<Option<Answered>, String> {
    if let Some(problem) = answer
        .get("error")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
    {
        return Err(format!("Datadog: {problem}"));
    }
    let Some(series) = answer.get("series").and_then(Value::as_array) else {
        return Err("the answer is none of Datadog's query API: it holds no series".to_owned());
    };
    let points = series
        .first()
        .and_then(|first| first.get("pointlist"))
        .and_then(Value::as_array);
    let mut points = points.into_iter().flatten().rev();
    let Some(last) = points.find_map(|point| point.at("/1").and_then(Value::as_f64)) else {
        return Ok(None);
    };
    let metadata = match series.len() {
        1 => BTreeMap::new(),
        // As in the original; here one can at least see it.
        several => BTreeMap::from([("series".to_owned(), format!("the first of {several}"))]),
    };
    Ok(Some(Answered {
        metadata,
        ..Answered::plain(number(last))
    }))
}

/// The number, or those of the groups (v2); `None` when there is none.
fn scalar(answer: &Value) -> Result<Option<Answered>, String> {
    if let Some(problem) = answer
        .get("errors")
        .filter(|problem| !problem.is_null() && **problem != json!([]))
    {
        return Err(format!(
            "Datadog: {}",
            problem.as_str().map_or_else(|| problem.to_string(), str::to_owned)
        ));
    }
    let Some(columns) = answer.at("/data/attributes/columns").and_then(Value::as_array) else {
        return Err("the answer is none of Datadog's scalar API: it holds no columns".to_owned());
    };
    let of_kind = |kind: &'static str| {
        let columns = columns
            .iter()
            .filter(move |column| column.get("type").and_then(Value::as_str) == Some(kind));
        columns.filter_map(|column| column.get("values").and_then(Value::as_array))
    };
    let tags: Vec<&Vec<Value>> = of_kind("group").collect();
    let Some(numbers) = of_kind("number").next() else {
        return Ok(None);
    };
    match (tags.as_slice(), numbers.as_slice()) {
        ([], []) => Ok(None),
        ([], [one]) => Ok(one.as_f64().map(|value| Answered::plain(number(value)))),
        ([], several) => Err(format!("Datadog gave {} values without groups", several.len())),
        (tags, numbers) => Ok(groups::answered(tags, numbers)),
    }
}

impl Provider for Datadog {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(self.answer(&query.metric, query))
    }

    fn time_limit(&self, query: &Query) -> Duration {
        let metric = query.metric.provider.datadog.as_ref();
        let limit = metric.and_then(|metric| time_limit(metric).ok()).unwrap_or_default();
        WAIT_MAX + READ_TIMEOUT * 2 + limit + Duration::from_secs(10)
    }
}

#[cfg(test)]
mod tests;
