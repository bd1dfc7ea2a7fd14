//! Wavefront: the latest value of a query (reference, rollouts 6.6).
//!
//! A condition sees a number when the query gives one series, and a list when it gives several, with nil for one without a
//! point. No point at all is an error.

use super::{
    Provider, Query,
    http::{self, HttpError, Transport, WAIT_MAX},
    numbers,
    secrets::{self, Keys, READ_TIMEOUT},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::AddressQuery,
    lang::expr::Measured,
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use std::time::Duration;

/// The Secret with the tokens, in the controller's namespace: keys are addresses.
const SECRET: &str = "wavefront-api-tokens";
/// Time for one request.
const LIMIT: Duration = Duration::from_secs(30);
/// How far back the latest value may be: points come each minute or so.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// The provider.
#[derive(Clone, Debug)]
pub struct Wavefront {
    transport: Transport,
    keys: Keys,
    /// `https://`: the token is not to be sent in the open, wherever an address leads. Tests have no certificate.
    scheme: &'static str,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Chart {
    timeseries: Option<Vec<Series>>,
    warnings: Option<String>,
    error_type: Option<String>,
    error_message: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Series {
    data: Vec<(f64, Option<f64>)>,
}

impl Wavefront {
    /// The provider.
    pub fn new(transport: Transport, keys: Keys) -> Self {
        Self {
            transport,
            keys,
            scheme: "https://",
        }
    }

    async fn ask(&self, host: &str, token: &str, metric: &AddressQuery, now: Timestamp) -> Result<Chart, String> {
        let mut url = http::below(&format!("{}{host}", self.scheme), "api/v2/chart/api")?;
        let start = now.checked_sub(WINDOW).unwrap_or(now).as_millisecond().to_string();
        let end = now.as_millisecond().to_string();
        url.query_pairs_mut().extend_pairs([
            ("q", metric.query.trim()),
            ("s", &start),
            ("e", &end),
            ("g", "s"),
            // Only points inside the window.
            ("strict", "true"),
        ]);
        let token = http::sensitive(format!("Bearer {token}"));
        let token = token.map_err(|_| "the token holds characters a header cannot".to_owned())?;
        let client = self.transport.unredirected();
        let request = client.get(url).header(AUTHORIZATION, token).build();
        let request = request.map_err(|error| HttpError::Request(error).to_string())?;
        let reply = self.transport.ask(client, request, LIMIT).await?;
        let chart: Chart = serde_json::from_value(reply.json()?)
            .map_err(|error| format!("the answer is none of Wavefront's chart API: {error}"))?;
        match (&chart.error_type, &chart.error_message) {
            (None, None) => Ok(chart),
            (kind, message) => {
                let texts: Vec<&str> = [kind, message].into_iter().flatten().map(String::as_str).collect();
                Err(format!("Wavefront: {}", texts.join(": ")))
            }
        }
    }

    async fn answer(&self, query: &Query) -> Answered {
        let Some(metric) = &query.metric.provider.wavefront else {
            return Answered::error("no provider specified");
        };
        let host = match host(&metric.address) {
            Ok(_) if metric.query.trim().is_empty() => return Answered::error("query is required"),
            Ok(host) => host,
            Err(problem) => return Answered::error(problem),
        };
        let tokens = self.keys.own(SECRET).await;
        let token = match tokens.and_then(|texts| secrets::needed(&texts, SECRET, host)) {
            Ok(token) => token,
            Err(problem) => return Answered::error(problem),
        };
        let answered = match self.ask(host, &token, metric, query.now).await {
            Ok(chart) => understand(chart),
            Err(problem) => Answered::error(problem),
        };
        secrets::masked(answered, &[&token])
    }
}

/// The address as the Secret has it: without scheme and slash.
fn host(address: &str) -> Result<&str, String> {
    let address = address.trim();
    if address.starts_with("http://") {
        return Err("address must begin with https:// or be a host".to_owned());
    }
    let host = address
        .strip_prefix("https://")
        .unwrap_or(address)
        .trim_end_matches('/');
    match host.is_empty() || host.contains(['/', '@', '?', '#']) {
        true => Err(format!(
            "address must be a host such as example.wavefront.com, found {:?}",
            host.rsplit('@').next().unwrap_or_default()
        )),
        false => Ok(host),
    }
}

fn understand(chart: Chart) -> Answered {
    let series = chart.timeseries.unwrap_or_default();
    let latest = |series: &Series| series.data.iter().rev().find_map(|(_, value)| *value);
    let samples: Vec<Option<f64>> = series.iter().map(latest).collect();
    let Some(several) = numbers::measured(&samples) else {
        return Answered::error("no data returned from Wavefront");
    };
    let (measured, text) = match samples.as_slice() {
        [Some(one)] => (Measured::Scalar(*one), one.to_string()),
        several_samples => (several, numbers::shown(several_samples, |sample| sample.to_string())),
    };
    let warnings = chart.warnings.filter(|text| !text.is_empty());
    Answered {
        metadata: warnings.map(|text| ("warnings".to_owned(), text)).into_iter().collect(),
        ..Answered::plain(Answer::Value { measured, text })
    }
}

impl Provider for Wavefront {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(self.answer(query))
    }

    fn time_limit(&self, _: &Query) -> Duration {
        WAIT_MAX + READ_TIMEOUT + LIMIT + Duration::from_secs(10)
    }
}

#[cfg(test)]
mod tests;
