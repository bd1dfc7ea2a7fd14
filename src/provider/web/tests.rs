//! Against a local server.

use super::*;
use crate::{
    analysis::reading::Attempt,
    provider::testing::{Seen, Server, StillClock, query, transport},
};
use serde_json::json;

async fn measure(server: &Server, fields: Value) -> Answered {
    let mut web = json!({"url": format!("{}/check?a=1", server.listen().await)});
    web.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let query = query(json!({"name": "m", "provider": {"web": web}}), Attempt::Begin);
    Web::new(transport(StillClock::new())).measure(&query).await
}

fn always(status: u16, text: &'static str) -> Server {
    Server::new(move |_: &Seen| (status, text.to_owned()))
}

#[track_caller]
fn shows(answered: &Answered, want: Value, text: &str) {
    assert_eq!(
        answered.answer,
        Answer::Value {
            measured: Measured::Json(want),
            text: text.to_owned()
        }
    );
}

#[tokio::test]
async fn the_path_picks_the_value() {
    let server = always(200, r#"{"data":{"ok":true,"rate":0.5,"name":"v2","list":[1,2]}}"#);
    for (path, want, text) in [
        ("{$.data.ok}", json!(true), "true"),
        ("{$.data.rate}", json!(0.5), "0.5"),
        ("{$.data.name}", json!("v2"), "v2"),
        ("{$.data.list}", json!([1, 2]), "[1,2]"),
        ("{$.data.list[*]}", json!([1, 2]), "[1,2]"),
        (
            "",
            json!({"data": {"ok": true, "rate": 0.5, "name": "v2", "list": [1, 2]}}),
            r#"{"data":{"list":[1,2],"name":"v2","ok":true,"rate":0.5}}"#,
        ),
    ] {
        shows(&measure(&server, json!({"jsonPath": path})).await, want, text);
    }
    let missing = measure(&server, json!({"jsonPath": "{$.data.gone}"})).await;
    assert_eq!(missing, Answered::error("jsonPath: gone is not found"));
    let Answer::Error(message) = measure(&server, json!({"jsonPath": "{$.data[}"})).await.answer else {
        panic!()
    };
    assert!(message.starts_with("invalid jsonPath \"{$.data[}\": "), "{message}");
    shows(
        &measure(&always(200, "all good"), json!({})).await,
        json!("all good"),
        "all good",
    );
}

#[tokio::test]
async fn methods_bodies_and_headers_reach_the_server() {
    let server = always(200, "1");
    measure(
        &server,
        json!({"headers": [{"key": "Authorization", "value": "Bearer x"}]}),
    )
    .await;
    measure(&server, json!({"method": "POST", "jsonBody": {"a": [1]}})).await;
    measure(&server, json!({"method": "PUT", "body": "plain"})).await;
    let seen: Vec<_> = server
        .seen()
        .into_iter()
        .map(|seen| (seen.method.clone(), seen.query.clone(), seen.body.clone()))
        .collect();
    let want = [
        ("GET", "a=1", ""),
        ("POST", "a=1", "{\"a\":[1]}"),
        ("PUT", "a=1", "plain"),
    ];
    assert_eq!(
        seen,
        want.map(|(method, query, body)| (method.to_owned(), query.to_owned(), body.to_owned()))
    );
    assert_eq!(server.seen()[0].header("authorization"), "Bearer x");
    assert_eq!(server.seen()[1].header("content-type"), "application/json");
}

#[tokio::test]
async fn anything_but_success_is_an_error() {
    let error = |message: &str| Answered::error(message);
    assert_eq!(
        measure(&always(404, "{}"), json!({})).await,
        error("received non 2xx response code: 404")
    );
    assert_eq!(
        measure(&always(500, "{}"), json!({})).await,
        error("received non 2xx response code: 500")
    );
    let server = always(200, "{}");
    for (fields, want) in [
        (
            json!({"method": "DELETE"}),
            "method must be GET, POST or PUT, found \"DELETE\"",
        ),
        (
            json!({"body": "x"}),
            "body and jsonBody can only be sent with POST or PUT",
        ),
        (
            json!({"method": "PUT", "body": "x", "jsonBody": {}}),
            "use either body or jsonBody; both cannot exist for a web metric",
        ),
        (json!({"url": "nowhere"}), "invalid url: relative URL without a base"),
        (
            json!({"authentication": {"sigv4": {"region": "x"}}}),
            "authentication.sigv4 signs requests to a Prometheus only; a web metric cannot use it",
        ),
    ] {
        assert_eq!(measure(&server, fields).await, error(want));
    }
    assert!(server.seen().is_empty());
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    for (timeout, want) in [(json!({"timeoutSeconds": 3}), "within 3s"), (json!({}), "within 10s")] {
        let Answer::Error(message) = measure(&always(0, ""), timeout).await.answer else {
            panic!()
        };
        assert!(
            message.starts_with("no answer from http://127.0.0.1:") && message.ends_with(want),
            "{message}"
        );
    }
}
