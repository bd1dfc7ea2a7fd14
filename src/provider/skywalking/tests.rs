//! Against a local server with answers in the shape of SkyWalking's query protocol.

use super::*;
use crate::{
    analysis::{condition, phase::Phase, reading::Attempt},
    api::analysis::Metric,
    provider::testing::{self, Server, StillClock, always, error, transport, value},
};

const QUERY: &str = "query queryData($duration: Duration!) { service_apdex: readMetricsValues(...) { label values { values { value } } } }";

async fn measure(server: &Server, fields: Value) -> Answered {
    let mut skywalking = json!({"address": server.listen().await, "query": QUERY, "interval": "3m"});
    skywalking
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let metric = json!({"name": "m", "provider": {"skywalking": skywalking}});
    let provider = SkyWalking::new(transport(StillClock::new()));
    provider.measure(&testing::query(metric, Attempt::Begin)).await
}

fn points(points: Value) -> Value {
    json!({"service_apdex": {"label": "apdex", "values": {"values": points}}})
}

fn data(data: Value) -> Server {
    always(200, &json!({"data": data}).to_string())
}

#[tokio::test]
async fn a_condition_sees_the_data() {
    let server = data(points(
        json!([{"value": 10_000}, {"value": 9950, "isEmptyValue": false}]),
    ));
    let (measured, text) = value(measure(&server, json!({})).await);
    assert!(text.starts_with("{\"service_apdex\":{\"label\":"), "{text}");
    for (condition, want) in [
        (
            "all(result.service_apdex.values.values, {asFloat(.value) >= 9900})",
            Phase::Successful,
        ),
        (
            "all(result.service_apdex.values.values, {asFloat(.value) >= 9990})",
            Phase::Failed,
        ),
    ] {
        let metric = Metric {
            success_condition: condition.into(),
            ..Metric::default()
        };
        let judged = condition::judge(&metric, &measured, Timestamp::UNIX_EPOCH);
        assert_eq!(judged.0, want, "{condition}: {}", judged.1);
    }
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/graphql"));
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body["query"], json!(QUERY));
    assert_eq!(
        body["variables"],
        json!({"duration": {"start": "1970-01-12 1343", "end": "1970-01-12 1346", "step": "MINUTE"}})
    );
    let other = data(json!({"getAlarm": {"msgs": []}}));
    value(measure(&other, json!({})).await);
}

#[tokio::test]
async fn what_is_empty_is_no_value() {
    for none in [
        json!(null),
        json!({}),
        json!({"service_apdex": null}),
        points(json!([])),
        points(json!([{"value": 0, "isEmptyValue": true}, {"value": null}])),
    ] {
        assert_eq!(
            error(measure(&data(none.clone()), json!({})).await),
            "no data returned from SkyWalking",
            "{none}"
        );
    }
}

#[tokio::test]
async fn anything_but_data_is_an_error() {
    let syntax = always(200, r#"{"data":null,"errors":[{"message":"Validation error"},{}]}"#);
    assert_eq!(
        error(measure(&syntax, json!({})).await),
        "SkyWalking: Validation error; an error without a message"
    );
    assert_eq!(error(measure(&always(500, "down"), json!({})).await), "HTTP 500: down");
    assert_eq!(
        error(measure(&always(200, "{}"), json!({})).await),
        "the answer is none of SkyWalking: it holds no data"
    );
    let malformed = error(measure(&always(200, "<html>"), json!({})).await);
    assert!(
        malformed.starts_with("HTTP 200: the answer is no JSON ("),
        "{malformed}"
    );
    let server = data(json!({"a": 1}));
    assert_eq!(
        error(measure(&server, json!({"query": " "})).await),
        "query is required"
    );
    let message = error(measure(&server, json!({"interval": "3"})).await);
    assert!(message.starts_with("interval: invalid duration \"3\""), "{message}");
    assert!(server.seen().is_empty());
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let message = error(measure(&always(0, ""), json!({})).await);
    assert!(
        message.starts_with("no answer from http://127.0.0.1:") && message.ends_with("within 30s"),
        "{message}"
    );
}
