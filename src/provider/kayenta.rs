//! Spinnaker Kayenta: a comparison of stable and canary that Kayenta runs by itself and scores from 0 to 100 (reference,
//! rollouts 6.6). It is begun, and asked about until it is complete.

use super::{
    Provider, Query,
    http::{self, HttpError, Transport, WAIT_MAX},
};
use crate::{
    analysis::{
        phase::Phase,
        reading::{Answer, Answered, Attempt},
    },
    api::{
        analysis::Measurement,
        analysis_provider::{KayentaMetric, KayentaScope, KayentaThreshold, ScopeDetail},
        scalar::IntOrString,
    },
    json::At as _,
    lang::duration,
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Key in `measurements[].metadata`: Kayenta's name of the comparison.
const EXECUTION: &str = "canaryExecutionId";
/// Time for one request.
const LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks at a comparison, as in the original.
const POLL: SignedDuration = SignedDuration::from_secs(15);
/// A comparison that is not complete by then never will be: most take a minute.
const COMPLETE_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Seconds between points when a scope does not say.
const STEP_DEFAULT: i64 = 60;

/// The provider.
#[derive(Clone, Debug)]
pub struct Kayenta {
    transport: Transport,
}

/// A canary configuration in Kayenta's list.
#[derive(Deserialize)]
struct Config {
    id: String,
    name: String,
}

impl Kayenta {
    /// The provider.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    async fn answer(&self, query: &Query) -> Answered {
        let Some(metric) = &query.metric.provider.kayenta else {
            return Answered::error("no provider specified");
        };
        match &query.attempt {
            Attempt::Begin => match self.begin(metric, query).await {
                Err(problem) => Answered::error(problem),
                Ok(execution) => Answered {
                    metadata: BTreeMap::from([(EXECUTION.to_owned(), execution)]),
                    ..Answered::plain(again(query.now))
                },
            },
            Attempt::Resume(measurement) => Answered::plain(self.look(metric, query.now, measurement).await),
            // Kayenta ends the comparison by itself; nobody waits for it any more.
            Attempt::Terminate(_) => Answered::plain(Answer::Judged {
                phase: Phase::Inconclusive,
                message: String::new(),
            }),
        }
    }

    /// Begins a comparison; the result is Kayenta's name for it.
    async fn begin(&self, metric: &KayentaMetric, query: &Query) -> Result<String, String> {
        let body = json!({
            "scopes": scopes(metric, query)?,
            "thresholds": {"pass": metric.threshold.pass, "marginal": metric.threshold.marginal},
        });
        let accounts = [
            ("application", metric.application.as_str()),
            ("metricsAccountName", &metric.metrics_account_name),
            ("configurationAccountName", &metric.configuration_account_name),
            ("storageAccountName", &metric.storage_account_name),
        ];
        let config = self.config(metric).await?;
        let url = address(metric, &["canary", &config], &accounts)?;
        let answer = self.ask(self.transport.client(false).post(url).json(&body)).await?;
        let execution = answer
            .get(EXECUTION)
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty());
        execution
            .map(str::to_owned)
            .ok_or_else(|| format!("the answer is none of Kayenta: it holds no {EXECUTION}"))
    }

    /// The configuration's id by its name.
    async fn config(&self, metric: &KayentaMetric) -> Result<String, String> {
        let parameters = [
            ("application", metric.application.as_str()),
            ("configurationAccountName", &metric.configuration_account_name),
        ];
        let url = address(metric, &["canaryConfig"], &parameters)?;
        let answer = self.ask(self.transport.client(false).get(url)).await?;
        let configs: Vec<Config> = serde_json::from_value(answer)
            .map_err(|error| format!("the answer is no list of Kayenta's configurations: {error}"))?;
        let name = &metric.canary_config_name;
        let config = configs.into_iter().find(|config| config.name == *name);
        config.map(|config| config.id).ok_or_else(|| {
            format!(
                "canary config '{name}' is not among those of application '{}'",
                metric.application
            )
        })
    }

    /// Looks at a comparison that was begun.
    async fn look(&self, metric: &KayentaMetric, now: Timestamp, measurement: &Measurement) -> Answer {
        let Some(execution) = measurement.metadata.get(EXECUTION) else {
            return Answer::Error("the measurement does not name its canary execution".to_owned());
        };
        let begun_at = measurement.started_at.as_ref().map(|time| time.0);
        let is_late = begun_at.is_some_and(|begun_at| now.duration_since(begun_at) >= COMPLETE_MAX);
        let parameters = [("storageAccountName", metric.storage_account_name.as_str())];
        let answer = match address(metric, &["canary", execution], &parameters) {
            Ok(url) => self.ask(self.transport.client(false).get(url)).await,
            Err(problem) => Err(problem),
        };
        match answer {
            Ok(answer) if answer.get("complete") == Some(&Value::Bool(true)) => score(&metric.threshold, &answer),
            Ok(answer) if !answer.is_object() => Answer::Error("the answer is none of Kayenta".to_owned()),
            Ok(_) if is_late => Answer::Error(format!(
                "canary execution '{execution}' is not complete after {COMPLETE_MAX:#}"
            )),
            // The comparison goes on while Kayenta cannot be asked; a new one would begin from the start.
            Err(problem) if is_late => Answer::Error(problem),
            Ok(_) | Err(_) => again(now),
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Value, String> {
        let request = request.build().map_err(|error| HttpError::Request(error).to_string())?;
        self.transport
            .ask(self.transport.client(false), request, LIMIT)
            .await?
            .json()
    }
}

fn again(now: Timestamp) -> Answer {
    Answer::UnderWay {
        resume_at: now.checked_add(POLL).unwrap_or(now),
    }
}

/// A place below the address, each part of the path encoded, with the parameters that are set.
fn address(metric: &KayentaMetric, path: &[&str], parameters: &[(&str, &str)]) -> Result<Url, String> {
    let mut url = http::below(&metric.address, "")?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    let set = parameters.iter().filter(|(_, value)| !value.is_empty());
    url.query_pairs_mut().extend_pairs(set);
    Ok(url)
}

/// The scopes as Kayenta's API has them.
fn scopes(metric: &KayentaMetric, query: &Query) -> Result<Value, String> {
    if metric.scopes.is_empty() {
        return Err("scopes are required".to_owned());
    }
    let sides = metric.scopes.iter().map(|scope| {
        let KayentaScope {
            name,
            control_scope,
            experiment_scope,
        } = scope;
        let side = |written, field| {
            side(written, metric.lookback, query).map_err(|problem| format!("scopes '{name}': {field}: {problem}"))
        };
        let both = json!({
            "controlScope": side(control_scope, "controlScope")?,
            "experimentScope": side(experiment_scope, "experimentScope")?,
        });
        Ok((name.clone(), both))
    });
    let sides: Map<String, Value> = sides.collect::<Result<_, String>>()?;
    Ok(Value::Object(sides))
}

/// One side of a comparison. Without a start it is the run's (`lookback`), or one interval ago.
fn side(written: &ScopeDetail, lookback: bool, query: &Query) -> Result<Value, String> {
    let ScopeDetail {
        scope,
        region,
        step,
        start,
        end,
    } = written;
    let moment = |field: &str, text: &str| {
        let at: Result<Timestamp, _> = text.parse();
        at.map_err(|error| format!("{field} {text:?} is no time: {error}"))
    };
    let end = match end.as_str() {
        "" => query.now,
        text => moment("end", text)?,
    };
    let start = match (start.as_str(), lookback) {
        ("", true) => query.run.started_at.unwrap_or(query.now),
        ("", false) => one_interval_ago(query)?,
        (text, _) => moment("start", text)?,
    };
    if start >= end {
        return Err(format!("the window is empty: it begins at {start} and ends at {end}"));
    }
    let step = match step {
        None => STEP_DEFAULT,
        Some(IntOrString::Int(seconds)) => *seconds,
        Some(IntOrString::String(text)) => text
            .trim()
            .parse()
            .map_err(|_| format!("step must be a number of seconds, found {text:?}"))?,
    };
    Ok(json!({"scope": scope, "location": region, "step": step, "start": start.to_string(), "end": end.to_string()}))
}

fn one_interval_ago(query: &Query) -> Result<Timestamp, String> {
    let interval = query.metric.interval.as_str();
    if interval.is_empty() {
        return Err("start is required for a metric without an interval and without lookback".to_owned());
    }
    let interval = duration::parse(interval).map_err(|error| format!("interval: {error}"))?;
    query
        .now
        .checked_sub(interval)
        .map_err(|error| format!("interval: {error}"))
}

/// What the score of a complete comparison means.
fn score(threshold: &KayentaThreshold, answer: &Value) -> Answer {
    let status = answer.get("status").and_then(Value::as_str).unwrap_or_default();
    if !status.eq_ignore_ascii_case("succeeded") {
        return Answer::Error(format!("canary execution ended with status '{status}'"));
    }
    let Some(score) = answer.at("/result/judgeResult/score/score").and_then(Value::as_f64) else {
        return Answer::Error("no data returned from Kayenta: the canary execution has no score".to_owned());
    };
    let phase = match () {
        () if score >= threshold.pass as f64 => Phase::Successful,
        () if score >= threshold.marginal as f64 => Phase::Inconclusive,
        () => Phase::Failed,
    };
    Answer::Scored {
        phase,
        text: score.to_string(),
    }
}

impl Provider for Kayenta {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(self.answer(query))
    }

    fn time_limit(&self, _: &Query) -> Duration {
        (WAIT_MAX + LIMIT) * 2 + Duration::from_secs(10)
    }
}

#[cfg(test)]
mod tests;
