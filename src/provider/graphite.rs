//! Graphite: the last point of each series of a render query (reference, rollouts 6.6).
//!
//! A condition sees a list with a number for each series, in the order of the answer. A series without a point keeps its
//! place as nil, so that no other number is taken for it; when no series has one, that is an error.

use super::{
    Provider, Query,
    http::{self, HttpError, Transport, WAIT_MAX},
    numbers,
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::AddressQuery,
};
use futures::future::BoxFuture;
use serde::Deserialize;
use std::time::Duration;
use url::form_urlencoded;

/// Time for one request, as in the original.
const LIMIT: Duration = Duration::from_secs(10);
/// Window of a query that does not say `from`.
const FROM_DEFAULT: &str = "-5min";

/// The provider.
#[derive(Clone, Debug)]
pub struct Graphite {
    transport: Transport,
}

#[derive(Deserialize)]
struct Series {
    datapoints: Vec<(Option<f64>, f64)>,
}

impl Graphite {
    /// The provider.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    async fn ask(&self, metric: &AddressQuery) -> Result<Vec<Option<f64>>, String> {
        if metric.query.trim().is_empty() {
            return Err("query is required".to_owned());
        }
        let mut url = http::below(&metric.address, "render")?;
        url.query_pairs_mut().extend_pairs(parameters(&metric.query));
        // Nothing is sent that must not reach another host, so redirects are followed.
        let client = self.transport.client(false);
        let request = client
            .get(url)
            .build()
            .map_err(|error| HttpError::Request(error).to_string())?;
        let reply = self.transport.ask(client, request, LIMIT).await?;
        let series: Vec<Series> = serde_json::from_value(reply.json()?)
            .map_err(|error| format!("the answer is none of Graphite's render API: {error}"))?;
        let last = |series: &Series| series.datapoints.iter().rev().find_map(|(value, _)| *value);
        Ok(series.iter().map(last).collect())
    }
}

/// The parameters of the request. A query is written as they stand in a URL (`target=…&from=-10min`), or is a target alone.
fn parameters(query: &str) -> Vec<(String, String)> {
    // Users write a target over several lines.
    let query: String = query.lines().map(str::trim).collect();
    let mut parameters: Vec<(String, String)> = match query.starts_with("target=") || query.contains("&target=") {
        true => form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        false => vec![("target".to_owned(), query)],
    };
    parameters.retain(|(name, _)| name != "format");
    if !parameters.iter().any(|(name, _)| name == "from") {
        parameters.push(("from".to_owned(), FROM_DEFAULT.to_owned()));
    }
    parameters.push(("format".to_owned(), "json".to_owned()));
    parameters
}

impl Provider for Graphite {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let Some(metric) = &query.metric.provider.graphite else {
                return Answered::error("no provider specified");
            };
            let samples = match self.ask(metric).await {
                Ok(samples) => samples,
                Err(problem) => return Answered::error(problem),
            };
            match numbers::measured(&samples) {
                None => Answered::error("no data returned from Graphite"),
                Some(measured) => Answered::plain(Answer::Value {
                    measured,
                    // The documentation promises six decimal places.
                    text: numbers::shown(&samples, |sample| format!("{sample:.6}")),
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
