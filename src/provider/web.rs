//! A value out of a JSON answer over HTTP (reference, rollouts 6.6).

use super::{
    Provider, Query,
    http::{self, HttpError, Transport, WAIT_MAX},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::WebMetric,
    lang::{expr::Measured, jsonpath::JsonPath},
};
use futures::future::BoxFuture;
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::Value;
use std::time::Duration;

/// Time for one request when the metric does not say, as in the original.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The whole answer.
const WHOLE: &str = "{$}";

/// The provider.
#[derive(Clone, Debug)]
pub struct Web {
    transport: Transport,
}

impl Web {
    /// The provider.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    async fn ask(&self, metric: &WebMetric) -> Result<Value, String> {
        let limit = http::time_limit(Some(metric.timeout_seconds), TIMEOUT_DEFAULT)
            .map_err(|problem| format!("web {problem}"))?;
        let path = if metric.json_path.is_empty() {
            WHOLE
        } else {
            metric.json_path.as_str()
        };
        let path = JsonPath::parse(path).map_err(|error| format!("invalid jsonPath {path:?}: {error}"))?;
        let url: reqwest::Url = metric.url.parse().map_err(|error| format!("invalid url: {error}"))?;
        let server = url.origin().ascii_serialization();
        let Ok(place) = tokio::time::timeout(WAIT_MAX, self.transport.gate.enter(&server)).await else {
            return Err(format!("no turn at {server} within {WAIT_MAX:?}"));
        };
        let answer = tokio::time::timeout(limit, self.exchange(metric, url)).await;
        drop(place);
        let (status, body) = match answer {
            Err(_) => return Err(format!("no answer from {server} within {limit:?}")),
            Ok(answer) => answer.map_err(|error| format!("{server}: {error}"))?,
        };
        if !(200..300).contains(&status) {
            return Err(format!("received non 2xx response code: {status}"));
        }
        let Ok(value) = serde_json::from_slice::<Value>(&body) else {
            // An answer that is no JSON is a text, whatever the path says, as in the original.
            return Ok(Value::String(String::from_utf8_lossy(&body).into_owned()));
        };
        let found = path.find(&value).map_err(|error| format!("jsonPath: {error}"))?;
        Ok(match found.as_slice() {
            [one] => (*one).clone(),
            several => Value::Array(several.iter().map(|value| (*value).clone()).collect()),
        })
    }

    async fn exchange(&self, metric: &WebMetric, url: reqwest::Url) -> Result<(u16, Vec<u8>), HttpError> {
        let method = match metric.method.as_str() {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            _ => Method::GET,
        };
        let headers = self
            .transport
            .headers(&metric.headers, metric.authentication.as_ref(), metric.insecure)
            .await?;
        let typed = headers.contains_key(CONTENT_TYPE);
        let mut request = self
            .transport
            .client(metric.insecure)
            .request(method, url)
            .headers(headers);
        if let Some(json) = &metric.json_body {
            request = request.body(json.to_string());
            if !typed {
                request = request.header(CONTENT_TYPE, "application/json");
            }
        } else if !metric.body.is_empty() {
            request = request.body(metric.body.clone());
        }
        let response = request.send().await.map_err(HttpError::Request)?;
        let status = response.status().as_u16();
        Ok((status, http::body(response).await?))
    }
}

/// What is wrong with a request before it is sent.
fn problem(metric: &WebMetric) -> Option<String> {
    let sigv4 = metric.authentication.as_ref().and_then(|auth| auth.sigv4.as_ref());
    if sigv4.is_some_and(|sigv4| *sigv4 != Default::default()) {
        return Some("authentication.sigv4 signs requests to a Prometheus only; a web metric cannot use it".to_owned());
    }
    match metric.method.as_str() {
        "" | "GET" if metric.json_body.is_some() || !metric.body.is_empty() => {
            Some("body and jsonBody can only be sent with POST or PUT".to_owned())
        }
        "" | "GET" => None,
        "POST" | "PUT" if metric.json_body.is_some() && !metric.body.is_empty() => {
            Some("use either body or jsonBody; both cannot exist for a web metric".to_owned())
        }
        "POST" | "PUT" => None,
        other => Some(format!("method must be GET, POST or PUT, found {other:?}")),
    }
}

/// A value as it is shown: text as it is, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Provider for Web {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let Some(metric) = &query.metric.provider.web else {
                return Answered::error("no provider specified");
            };
            if let Some(problem) = problem(metric) {
                return Answered::error(problem);
            }
            match self.ask(metric).await {
                Err(message) => Answered::error(message),
                Ok(value) => {
                    let text = shown(&value);
                    Answered::plain(Answer::Value {
                        measured: Measured::Json(value),
                        text,
                    })
                }
            }
        })
    }

    fn time_limit(&self, query: &Query) -> Duration {
        let seconds = query.metric.provider.web.as_ref().map(|metric| metric.timeout_seconds);
        WAIT_MAX + http::time_limit(seconds, TIMEOUT_DEFAULT).unwrap_or(TIMEOUT_DEFAULT) * 2 + Duration::from_secs(10)
    }
}

#[cfg(test)]
mod tests;
