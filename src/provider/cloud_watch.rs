//! AWS CloudWatch: the points of `GetMetricData` (reference, rollouts 6.6).
//!
//! A condition sees what the API gives, a list of results with `Id`, `Label`, `Timestamps`, `Values` and `StatusCode`. A
//! result without values, or with some of them missing, is no measurement: `all(result[0].Values, …)` would hold for it.

use super::{
    Provider, Query,
    aws::{Account, Aws, CREDENTIALS_TIMEOUT},
    http::{self, HttpError, Transport, WAIT_MAX},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::{
        analysis_provider::{CloudWatchMetric, CloudWatchMetricDataQuery},
        scalar::IntOrString,
    },
    lang::{duration, expr::Measured},
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Time for one request.
const LIMIT: Duration = Duration::from_secs(30);
/// Window of a query when the metric does not say, as in the original.
const INTERVAL_DEFAULT: &str = "5m";
/// Most pages of one answer; a page holds up to 100,800 points.
const PAGES_MAX: usize = 10;
/// What AWS calls the operation.
const TARGET: &str = "GraniteServiceVersion20100801.GetMetricData";

/// The provider.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    transport: Transport,
    aws: Aws,
}

/// A page of the answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Page {
    metric_data_results: Vec<Map<String, Value>>,
    next_token: Option<String>,
}

impl CloudWatch {
    /// The provider.
    pub fn new(transport: Transport, aws: Aws) -> Self {
        Self { transport, aws }
    }

    async fn ask(&self, metric: &CloudWatchMetric, now: Timestamp) -> Result<Vec<Map<String, Value>>, String> {
        let mut body = request(metric, now)?;
        let region = self.aws.region("")?;
        let url = http::below(&self.aws.endpoint("CLOUDWATCH", "monitoring", &region), "")?;
        let account = Account {
            region,
            ..Account::default()
        };
        let mut results: Vec<Map<String, Value>> = Vec::new();
        for _ in 0..PAGES_MAX {
            let client = self.transport.unredirected();
            let request = client
                .post(url.clone())
                .header(CONTENT_TYPE, "application/x-amz-json-1.0")
                .header("x-amz-target", TARGET)
                .body(Value::Object(body.clone()).to_string());
            let request = request.build().map_err(|error| HttpError::Request(error).to_string())?;
            let request = self.aws.sign(request, "monitoring", &account).await?;
            let reply = self.transport.ask(client, request, LIMIT).await?;
            let page: Page = serde_json::from_value(reply.json()?)
                .map_err(|error| format!("the answer is none of GetMetricData: {error}"))?;
            results = page.metric_data_results.into_iter().fold(results, add);
            match page.next_token.filter(|token| !token.is_empty()) {
                None => return complete(results),
                Some(token) => drop(body.insert("NextToken".to_owned(), token.into())),
            }
        }
        Err(format!("the answer has more than {PAGES_MAX} pages"))
    }
}

/// The body of the request.
fn request(metric: &CloudWatchMetric, now: Timestamp) -> Result<Map<String, Value>, String> {
    let CloudWatchMetric {
        interval,
        metric_data_queries,
    } = metric;
    if metric_data_queries.is_empty() {
        return Err("metricDataQueries is required".to_owned());
    }
    let written = if interval.is_empty() {
        INTERVAL_DEFAULT
    } else {
        interval
    };
    let window = duration::parse(written).map_err(|error| format!("interval: {error}"))?;
    let start = now.checked_sub(window).map_err(|error| format!("interval: {error}"))?;
    let queries: Vec<Value> = metric_data_queries.iter().map(query).collect::<Result<_, _>>()?;
    let body = [
        ("StartTime", json!(start.as_second())),
        ("EndTime", json!(now.as_second())),
        ("MetricDataQueries", Value::Array(queries)),
    ];
    Ok(body.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
}

/// A query as the API spells it.
fn query(written: &CloudWatchMetricDataQuery) -> Result<Value, String> {
    let CloudWatchMetricDataQuery {
        id,
        expression,
        label,
        metric_stat,
        period,
        return_data,
    } = written;
    let fields = [
        ("Id", Some(json!(id))),
        ("Expression", expression.as_ref().map(|text| json!(text))),
        ("Label", label.as_ref().map(|text| json!(text))),
        ("MetricStat", metric_stat.as_ref().map(capitalized).transpose()?),
        (
            "Period",
            period.as_ref().map(|period| seconds(&json!(period))).transpose()?,
        ),
        ("ReturnData", return_data.map(Value::from)),
    ];
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(Value::Object(fields.collect()))
}

/// `metricStat` and what is below it, with names as the API spells them.
fn capitalized(written: &Value) -> Result<Value, String> {
    Ok(match written {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                let mut rest = name.chars();
                let first = rest.next().map(|first| first.to_ascii_uppercase());
                let name: String = first.into_iter().chain(rest).collect();
                let value = match name.as_str() {
                    "Period" => seconds(value)?,
                    _ => capitalized(value)?,
                };
                Ok((name, value))
            });
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        Value::Array(items) => Value::Array(items.iter().map(capitalized).collect::<Result<_, _>>()?),
        plain => plain.clone(),
    })
}

/// A period, which may be written as text.
fn seconds(written: &Value) -> Result<Value, String> {
    let number = match serde_json::from_value::<IntOrString>(written.clone()) {
        Ok(IntOrString::Int(number)) => Some(number),
        Ok(IntOrString::String(text)) => text.trim().parse().ok(),
        Err(_) => None,
    };
    let number = number.ok_or_else(|| format!("period must be a number of seconds, found {written}"))?;
    Ok(number.into())
}

/// The results with one more: of the same query on an earlier page, or a new one.
fn add(mut results: Vec<Map<String, Value>>, more: Map<String, Value>) -> Vec<Map<String, Value>> {
    let same = results
        .iter_mut()
        .find(|result| result.get("Id") == more.get("Id") && result.get("Label") == more.get("Label"));
    let Some(result) = same else {
        results.push(more);
        return results;
    };
    for (name, value) in more {
        match (result.get_mut(&name), value) {
            (Some(Value::Array(items)), Value::Array(further)) => items.extend(further),
            (_, value) => drop(result.insert(name, value)),
        }
    }
    results
}

/// The results when each of them is whole; otherwise what is missing.
fn complete(results: Vec<Map<String, Value>>) -> Result<Vec<Map<String, Value>>, String> {
    if results.is_empty() {
        return Err("no data returned from CloudWatch".to_owned());
    }
    for result in &results {
        let id = result.get("Id").and_then(Value::as_str).unwrap_or_default();
        match result.get("StatusCode").and_then(Value::as_str) {
            Some("Complete") | None => {}
            Some(status) => return Err(format!("the data of query '{id}' is not complete: {status}")),
        }
        let points = result.get("Values").and_then(Value::as_array);
        if points.is_none_or(Vec::is_empty) {
            return Err(format!("no data returned from CloudWatch for query '{id}'"));
        }
    }
    Ok(results)
}

/// The values alone, as they are shown.
fn shown(results: &[Map<String, Value>]) -> String {
    let values: Vec<&Value> = results.iter().filter_map(|result| result.get("Values")).collect();
    json!(values).to_string()
}

impl Provider for CloudWatch {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let Some(metric) = &query.metric.provider.cloud_watch else {
                return Answered::error("no provider specified");
            };
            let results = match self.ask(metric, query.now).await {
                Ok(results) => results,
                Err(message) => return Answered::error(message),
            };
            let text = shown(&results);
            let measured = Measured::Json(Value::Array(results.into_iter().map(Value::Object).collect()));
            Answered::plain(Answer::Value { measured, text })
        })
    }

    fn time_limit(&self, _: &Query) -> Duration {
        // Further pages come faster than the first, or not in time.
        WAIT_MAX + LIMIT * 3 + CREDENTIALS_TIMEOUT
    }
}

#[cfg(test)]
mod tests;
