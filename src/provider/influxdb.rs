//! InfluxDB 2: the values of a Flux query (reference, rollouts 6.6).
//!
//! A condition sees a list of what stands in the column `_value`, of all tables in their order. No records, or none with a
//! value, is an error.

use super::{
    Provider, Query,
    http::{self, HttpError, Transport, WAIT_MAX},
    secrets::{self, Keys, READ_TIMEOUT},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::InfluxdbMetric,
    lang::expr::Measured,
};
use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde_json::{Value, json};
use std::time::Duration;

/// The Secret with the keys, in the controller's namespace, when the metric names none.
const PROFILE_DEFAULT: &str = "influxdb";
/// Time for one request, as in the original.
const LIMIT: Duration = Duration::from_secs(30);
/// The column that counts.
const VALUE: &str = "_value";

/// The provider.
#[derive(Clone, Debug)]
pub struct Influxdb {
    transport: Transport,
    keys: Keys,
}

/// Where InfluxDB is and who asks.
struct Access {
    address: String,
    token: String,
    org: String,
}

impl Influxdb {
    /// The provider.
    pub fn new(transport: Transport, keys: Keys) -> Self {
        Self { transport, keys }
    }

    async fn access(&self, metric: &InfluxdbMetric) -> Result<Access, String> {
        let profile = Some(metric.profile.as_str()).filter(|profile| !profile.is_empty());
        let profile = profile.unwrap_or(PROFILE_DEFAULT);
        let texts = self.keys.own(profile).await?;
        Ok(Access {
            address: secrets::needed(&texts, profile, "address")?,
            token: secrets::needed(&texts, profile, "authToken")?,
            org: secrets::needed(&texts, profile, "org")?,
        })
    }

    async fn ask(&self, metric: &InfluxdbMetric, access: &Access) -> Result<Vec<Value>, String> {
        let mut url = http::below(&access.address, "api/v2/query")?;
        url.query_pairs_mut().append_pair("org", &access.org);
        let token = http::sensitive(format!("Token {}", access.token));
        let token = token.map_err(|_| "authToken holds characters a header cannot".to_owned())?;
        let body = json!({"query": metric.query, "type": "flux", "dialect": {
            "header": true, "delimiter": ",", "commentPrefix": "#", "annotations": ["datatype"]}});
        let client = self.transport.unredirected();
        let request = client
            .post(url)
            .header(AUTHORIZATION, token)
            .header(ACCEPT, "application/csv");
        let request = request.json(&body).build();
        let request = request.map_err(|error| HttpError::Request(error).to_string())?;
        let reply = self.transport.ask(client, request, LIMIT).await?;
        values(reply.success()?)
    }

    async fn answer(&self, query: &Query) -> Answered {
        let Some(metric) = &query.metric.provider.influxdb else {
            return Answered::error("no provider specified");
        };
        if metric.query.trim().is_empty() {
            return Answered::error("query is required");
        }
        let access = match self.access(metric).await {
            Ok(access) => access,
            Err(problem) => return Answered::error(problem),
        };
        let answered = match self.ask(metric, &access).await {
            Err(problem) => Answered::error(problem),
            Ok(values) if values.iter().all(Value::is_null) => Answered::error("no data returned from InfluxDB"),
            Ok(values) => Answered::plain(Answer::Value {
                text: Value::Array(values.clone()).to_string(),
                measured: measured(values),
            }),
        };
        secrets::masked(answered, &[&access.token])
    }
}

/// Floats when all are numbers, as of a Prometheus; otherwise whatever they are.
fn measured(values: Vec<Value>) -> Measured {
    let numbers: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
    numbers.map_or(Measured::Json(Value::Array(values)), Measured::Vector)
}

/// What stands in the column `_value` of an annotated CSV: tables, each with rows about its columns and one with their names
/// before its records.
fn values(csv: &[u8]) -> Result<Vec<Value>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(csv);
    let (mut kinds, mut names) = (csv::StringRecord::new(), None::<csv::StringRecord>);
    let mut values = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| format!("the answer is no CSV: {error}"))?;
        match (record.get(0).unwrap_or_default(), &names) {
            ("#datatype", _) => {
                names = None;
                kinds = record;
            }
            (annotation, _) if annotation.starts_with('#') => names = None,
            (_, None) => names = Some(record),
            (_, Some(names)) => {
                let place = |column: &str| names.iter().position(|name| name == column);
                // InfluxDB says so in a table when a query breaks after its answer has begun.
                if let (Some(error), Some(_)) = (place("error"), place("reference")) {
                    return Err(format!("InfluxDB: {}", record.get(error).unwrap_or_default()));
                }
                let Some(place) = place(VALUE) else {
                    return Err(format!("the query gives no column {VALUE}"));
                };
                values.push(value(
                    record.get(place).unwrap_or_default(),
                    kinds.get(place).unwrap_or_default(),
                ));
            }
        }
    }
    Ok(values)
}

/// A value of an InfluxDB type; null when it is absent, or not the number it should be (`NaN`).
fn value(text: &str, kind: &str) -> Value {
    match (text, kind) {
        ("", _) => Value::Null,
        (text, "double" | "long" | "unsignedLong") => text.parse::<f64>().map_or(Value::Null, Value::from),
        (text, "boolean") => text.parse::<bool>().map_or(Value::Null, Value::from),
        (text, "") => text.parse::<f64>().map_or_else(|_| text.into(), Value::from),
        (text, _) => text.into(),
    }
}

impl Provider for Influxdb {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(self.answer(query))
    }

    fn time_limit(&self, _: &Query) -> Duration {
        WAIT_MAX + READ_TIMEOUT + LIMIT + Duration::from_secs(10)
    }
}

#[cfg(test)]
mod tests;
