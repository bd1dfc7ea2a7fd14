//! Against a local server with answers in the shape of NerdGraph, and an API server with Secrets.

use super::*;
use crate::{
    analysis::{condition, phase::Phase, reading::Attempt},
    api::analysis::Metric,
    provider::testing::{self, Server, StillClock, always, error, keys, transport, value},
};
use jiff::Timestamp;

async fn measure(server: &Server, fields: Value) -> Answered {
    let address = server.listen().await;
    let secret = json!({"personal-api-key": "hush-hush\n", "account-id": "1234", "base-url-nerdgraph": format!("{address}/graphql")});
    measure_with(json!({"tidegate/newrelic": secret}), fields).await
}

async fn measure_with(secrets: Value, fields: Value) -> Answered {
    let mut new_relic = json!({"query": "FROM Transaction SELECT count(*)"});
    new_relic
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let api = testing::secrets(secrets);
    let provider = NewRelic::new(transport(StillClock::new()), keys(&api));
    let metric = json!({"name": "m", "provider": {"newRelic": new_relic}});
    provider.measure(&testing::query(metric, Attempt::Begin)).await
}

fn results(results: Value) -> Server {
    always(
        200,
        &json!({"data": {"actor": {"account": {"nrql": {"results": results}}}}}).to_string(),
    )
}

#[track_caller]
fn holds(condition: &str, measured: &Measured) {
    let metric = Metric {
        success_condition: condition.into(),
        ..Metric::default()
    };
    let judged = condition::judge(&metric, measured, Timestamp::UNIX_EPOCH);
    assert_eq!(judged.0, Phase::Successful, "{condition}: {}", judged.1);
}

#[tokio::test]
async fn one_result_is_a_map_and_several_are_a_list() {
    let server = results(json!([{"successRate": 0.97}]));
    let (measured, text) = value(measure(&server, json!({"timeout": 20})).await);
    assert_eq!(text, "{\"successRate\":0.97}");
    holds("result.successRate >= 0.95", &measured);
    let (measured, _) = value(measure(&results(json!([{"average.duration": 1}])), json!({})).await);
    holds("result['average.duration'] == 1", &measured);
    let facets = results(json!([{"facet": "a", "count": 0}, {"facet": "b", "count": 4}]));
    let (measured, text) = value(measure(&facets, json!({})).await);
    assert_eq!(text, "[{\"count\":0,\"facet\":\"a\"},{\"count\":4,\"facet\":\"b\"}]");
    holds("result[1].count == 4", &measured);

    let seen = &server.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), seen.header("api-key")),
        ("POST", "/graphql", "hush-hush")
    );
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        body["variables"],
        json!({"account": 1234, "nrql": "FROM Transaction SELECT count(*)", "timeout": 20})
    );
}

#[tokio::test]
async fn what_is_empty_is_no_value() {
    for none in [
        json!([]),
        json!([{"successRate": null}]),
        json!([{"beginTimeSeconds": 1, "endTimeSeconds": 2, "average": null}, {"facet": "b", "average": null}]),
    ] {
        let message = error(measure(&results(none), json!({})).await);
        assert_eq!(message, "no data returned from New Relic");
    }
}

#[tokio::test]
async fn refusals_are_said_without_the_key() {
    let syntax = always(
        200,
        r#"{"data":{"actor":{"account":{"nrql":null}}},"errors":[{"message":"NRQL Syntax Error at hush-hush"}]}"#,
    );
    assert_eq!(
        error(measure(&syntax, json!({})).await),
        "New Relic: NRQL Syntax Error at *****"
    );
    let refused = always(401, r#"{"errors":["no"]}"#);
    assert_eq!(
        error(measure(&refused, json!({})).await),
        "HTTP 401: {\"errors\":[\"no\"]}"
    );
    let other = always(200, r#"{"data":null}"#);
    assert_eq!(
        error(measure(&other, json!({})).await),
        "the answer is none of NerdGraph: it holds no results"
    );
    let malformed = error(measure(&always(200, "<html>"), json!({})).await);
    assert!(
        malformed.starts_with("HTTP 200: the answer is no JSON ("),
        "{malformed}"
    );
}

#[tokio::test]
async fn the_secret_must_hold_what_is_needed() {
    for (secrets, fields, want) in [
        (
            json!({}),
            json!({}),
            "secret 'newrelic' does not exist in namespace 'tidegate'",
        ),
        (
            json!({"shop/mine": {}}),
            json!({"profile": "mine"}),
            "secret 'mine' does not exist in namespace 'tidegate'",
        ),
        (
            json!({"tidegate/newrelic": {}}),
            json!({}),
            "key 'account-id' does not exist in secret 'newrelic'",
        ),
        (
            json!({"tidegate/newrelic": {"account-id": "x", "personal-api-key": "k"}}),
            json!({}),
            "key 'account-id' of secret 'newrelic' must be a number",
        ),
        (
            json!({"tidegate/newrelic": {"account-id": "1"}}),
            json!({}),
            "key 'personal-api-key' does not exist in secret 'newrelic'",
        ),
        (
            json!({"tidegate/newrelic": {"account-id": "1", "region": "moon"}}),
            json!({}),
            "secret 'newrelic': region must be us, eu or staging, found \"moon\"",
        ),
        (json!({}), json!({"query": ""}), "query is required"),
    ] {
        assert_eq!(error(measure_with(secrets, fields).await), want);
    }
    let region = |region: &str| url(&BTreeMap::from([("region".to_owned(), region.to_owned())])).unwrap();
    assert_eq!(
        (region("EU"), region("")),
        (
            "https://api.eu.newrelic.com/graphql".into(),
            "https://api.newrelic.com/graphql".into()
        )
    );
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    for (fields, want) in [(json!({}), "within 10s"), (json!({"timeout": 15}), "within 20s")] {
        let message = error(measure(&always(0, ""), fields).await);
        assert!(
            message.starts_with("no answer from http://127.0.0.1:") && message.ends_with(want),
            "{message}"
        );
    }
    let message = error(measure(&always(200, ""), json!({"timeout": -1})).await);
    assert_eq!(message, "newRelic timeout must be greater than 0, found -1");
}
