//! Apache SkyWalking: the data of a GraphQL query (reference, rollouts 6.6).
//!
//! A condition sees the answer's `data`. A list named `values` without a point that was measured is no value wherever it
//! stands in the answer: `all(result.a.values.values, …)` would hold for an empty one.

use super::{
    Provider, Query,
    http::{self, HttpError, Transport, WAIT_MAX},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::SkyWalkingMetric,
    lang::{duration, expr::Measured},
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Time for one request, as in the original.
const LIMIT: Duration = Duration::from_secs(30);
/// Window of a query when the metric does not say, as in the original.
const INTERVAL_DEFAULT: &str = "5m";
/// How SkyWalking writes a minute. It has no place for a time zone; SkyWalking's own is UTC unless changed.
const MINUTE: &str = "%Y-%m-%d %H%M";

/// The provider.
#[derive(Clone, Debug)]
pub struct SkyWalking {
    transport: Transport,
}

impl SkyWalking {
    /// The provider.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    async fn ask(&self, metric: &SkyWalkingMetric, now: Timestamp) -> Result<Value, String> {
        if metric.query.trim().is_empty() {
            return Err("query is required".to_owned());
        }
        let written = Some(metric.interval.as_str()).filter(|text| !text.is_empty());
        let window =
            duration::parse(written.unwrap_or(INTERVAL_DEFAULT)).map_err(|error| format!("interval: {error}"))?;
        let start = now.checked_sub(window).map_err(|error| format!("interval: {error}"))?;
        let body = json!({"query": metric.query, "variables": {"duration": {
            "start": start.strftime(MINUTE).to_string(), "end": now.strftime(MINUTE).to_string(), "step": "MINUTE"}}});
        // Nothing is sent that must not reach another host, so redirects are followed.
        let client = self.transport.client(false);
        let request = client.post(http::below(&metric.address, "graphql")?).json(&body);
        let request = request.build().map_err(|error| HttpError::Request(error).to_string())?;
        understand(self.transport.ask(client, request, LIMIT).await?.json()?)
    }
}

/// The data of an answer that holds some and tells of no error.
fn understand(mut answer: Value) -> Result<Value, String> {
    if let Some(problems) = http::graphql_errors(&answer) {
        return Err(format!("SkyWalking: {problems}"));
    }
    let Some(data) = answer.get_mut("data").map(Value::take) else {
        return Err("the answer is none of SkyWalking: it holds no data".to_owned());
    };
    let is_nothing = match &data {
        Value::Object(fields) => fields.values().all(Value::is_null),
        other => other.is_null(),
    };
    match is_nothing || has_no_points(&data) {
        true => Err("no data returned from SkyWalking".to_owned()),
        false => Ok(data),
    }
}

/// Whether somewhere a list of values has none that was measured. (JSON that was parsed is not nested deeply.)
fn has_no_points(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let lacks = name == "values" && value.as_array().is_some_and(|points| points.iter().all(is_empty_point));
            lacks || has_no_points(value)
        }),
        Value::Array(items) => items.iter().any(has_no_points),
        _ => false,
    }
}

/// Whether SkyWalking says of a point that nothing was measured: its value is then 0 or null.
fn is_empty_point(point: &Value) -> bool {
    match point {
        Value::Object(fields) => {
            fields.get("isEmptyValue") == Some(&Value::Bool(true)) || fields.get("value").is_some_and(Value::is_null)
        }
        other => other.is_null(),
    }
}

impl Provider for SkyWalking {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let Some(metric) = &query.metric.provider.skywalking else {
                return Answered::error("no provider specified");
            };
            match self.ask(metric, query.now).await {
                Err(problem) => Answered::error(problem),
                Ok(data) => Answered::plain(Answer::Value {
                    text: data.to_string(),
                    measured: Measured::Json(data),
                }),
            }
        })
    }

    fn time_limit(&self, _: &Query) -> Duration {
        WAIT_MAX + LIMIT + Duration::from_secs(10)
    }
}

#[cfg(test)]
mod tests;
