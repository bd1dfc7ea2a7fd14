//! New Relic: the result of an NRQL query, by NerdGraph (reference, rollouts 6.6).
//!
//! A condition sees a map when the query gives one result, and a list of maps when it gives several. Results in which
//! nothing was measured (`null`, as an average over no events is) are no value.

use super::{
    Provider, Query,
    http::{self, HttpError, Transport, WAIT_MAX},
    secrets::{self, Keys, READ_TIMEOUT},
};
use crate::{
    analysis::reading::{Answer, Answered},
    api::analysis::NewRelicMetric,
    json::At as _,
    lang::expr::Measured,
};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// The Secret with the keys, in the controller's namespace, when the metric names none.
const PROFILE_DEFAULT: &str = "newrelic";
/// Time New Relic may take for a query when the metric does not say, as in the original.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Time the way there and back may take beside it.
const WAY: Duration = Duration::from_secs(5);
/// Fields of a result that are there also when nothing was measured.
const FRAME: [&str; 4] = ["beginTimeSeconds", "endTimeSeconds", "facet", "timestamp"];
/// What is asked.
const GRAPH_QUERY: &str = "query($account: Int!, $nrql: Nrql!, $timeout: Seconds) { actor { account(id: $account) { \
                           nrql(query: $nrql, timeout: $timeout) { results } } } }";

/// The provider.
#[derive(Clone, Debug)]
pub struct NewRelic {
    transport: Transport,
    keys: Keys,
}

/// Where New Relic is and who asks.
struct Access {
    url: String,
    api_key: String,
    account: i64,
}

impl NewRelic {
    /// The provider.
    pub fn new(transport: Transport, keys: Keys) -> Self {
        Self { transport, keys }
    }

    async fn access(&self, metric: &NewRelicMetric) -> Result<Access, String> {
        let profile = Some(metric.profile.as_str()).filter(|profile| !profile.is_empty());
        let profile = profile.unwrap_or(PROFILE_DEFAULT);
        let texts = self.keys.own(profile).await?;
        let account = secrets::needed(&texts, profile, "account-id")?;
        let account = account.parse();
        Ok(Access {
            url: url(&texts).map_err(|problem| format!("secret '{profile}': {problem}"))?,
            api_key: secrets::needed(&texts, profile, "personal-api-key")?,
            account: account.map_err(|_| format!("key 'account-id' of secret '{profile}' must be a number"))?,
        })
    }

    async fn ask(&self, metric: &NewRelicMetric, access: &Access) -> Result<Value, String> {
        let limit = time_limit(metric)?;
        let body = json!({"query": GRAPH_QUERY, "variables": {
            "account": access.account, "nrql": metric.query, "timeout": limit.as_secs()}});
        let key = http::sensitive(access.api_key.clone());
        let key = key.map_err(|_| "the API key holds characters a header cannot".to_owned())?;
        let client = self.transport.unredirected();
        let request = client.post(&access.url).header("API-Key", key).json(&body);
        let request = request.build().map_err(|error| HttpError::Request(error).to_string())?;
        self.transport.ask(client, request, limit + WAY).await?.json()
    }

    async fn answer(&self, query: &Query) -> Answered {
        let Some(metric) = &query.metric.provider.new_relic else {
            return Answered::error("no provider specified");
        };
        if metric.query.is_empty() {
            return Answered::error("query is required");
        }
        let access = match self.access(metric).await {
            Ok(access) => access,
            Err(problem) => return Answered::error(problem),
        };
        let answer = self.ask(metric, &access).await.and_then(|answer| understand(&answer));
        let answered = match answer {
            Err(problem) => Answered::error(problem),
            Ok(result) => Answered::plain(Answer::Value {
                text: result.to_string(),
                measured: Measured::Json(result),
            }),
        };
        secrets::masked(answered, &[&access.api_key])
    }
}

/// Where NerdGraph is: `base-url-nerdgraph`, or the region's.
fn url(texts: &BTreeMap<String, String>) -> Result<String, String> {
    let text = |key: &str| texts.get(key).map(String::as_str).filter(|text| !text.is_empty());
    if let Some(own) = text("base-url-nerdgraph") {
        return http::below(own, "").map(|_| own.to_owned());
    }
    let region = text("region").unwrap_or("us").to_ascii_lowercase();
    Ok(match region.as_str() {
        "us" => "https://api.newrelic.com/graphql".to_owned(),
        "eu" => "https://api.eu.newrelic.com/graphql".to_owned(),
        "staging" => "https://staging-api.newrelic.com/graphql".to_owned(),
        other => return Err(format!("region must be us, eu or staging, found {other:?}")),
    })
}

fn time_limit(metric: &NewRelicMetric) -> Result<Duration, String> {
    http::time_limit(metric.timeout, TIMEOUT_DEFAULT).map_err(|problem| format!("newRelic {problem}"))
}

/// The one result, or all of them.
fn understand(answer: &Value) -> Result<Value, String> {
    if let Some(problems) = http::graphql_errors(answer) {
        return Err(format!("New Relic: {problems}"));
    }
    let results = answer.at("/data/actor/account/nrql/results").and_then(Value::as_array);
    let Some(results) = results else {
        return Err("the answer is none of NerdGraph: it holds no results".to_owned());
    };
    if !results.iter().filter_map(Value::as_object).any(is_measured) {
        return Err("no data returned from New Relic".to_owned());
    }
    Ok(match results.as_slice() {
        [one] => one.clone(),
        several => Value::Array(several.to_vec()),
    })
}

fn is_measured(result: &Map<String, Value>) -> bool {
    let mut values = result.iter().filter(|(name, _)| !FRAME.contains(&name.as_str()));
    values.any(|(_, value)| !value.is_null())
}

impl Provider for NewRelic {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(self.answer(query))
    }

    fn time_limit(&self, query: &Query) -> Duration {
        let metric = query.metric.provider.new_relic.as_ref();
        let limit = metric.and_then(|metric| time_limit(metric).ok()).unwrap_or_default();
        WAIT_MAX + READ_TIMEOUT + limit + WAY + Duration::from_secs(10)
    }
}

#[cfg(test)]
mod tests;
