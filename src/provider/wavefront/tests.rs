//! Against a local server with answers in the shape of Wavefront's chart API, and an API server with the tokens.

use super::*;
use crate::{
    analysis::reading::Attempt,
    provider::testing::{self, Server, StillClock, always, error, keys, transport, value},
};
use serde_json::{Value, json};

async fn measure(server: &Server) -> Answered {
    let host = server.listen().await.replace("http://", "");
    measure_with(
        json!({"tidegate/wavefront-api-tokens": {&host: "hush-hush\n"}}),
        &host,
        "ts(\"a\")\n",
    )
    .await
}

async fn measure_with(secrets: Value, address: &str, query: &str) -> Answered {
    let api = testing::secrets(secrets);
    let provider = Wavefront {
        scheme: "http://",
        ..Wavefront::new(transport(StillClock::new()), keys(&api))
    };
    let metric = json!({"name": "m", "provider": {"wavefront": {"address": address, "query": query}}});
    provider.measure(&testing::query(metric, Attempt::Begin)).await
}

#[tokio::test]
async fn one_series_is_a_number_and_several_are_a_list() {
    let server = always(
        200,
        r#"{"name":"q","timeseries":[{"label":"a","data":[[1,0.5],[2,0.25]]}],"warnings":"slow"}"#,
    );
    let answered = measure(&server).await;
    assert_eq!(answered.metadata["warnings"], "slow");
    assert_eq!(value(answered), (Measured::Scalar(0.25), "0.25".to_owned()));
    let seen = &server.seen()[0];
    assert_eq!(
        (seen.path.as_str(), seen.header("authorization")),
        ("/api/v2/chart/api", "Bearer hush-hush")
    );
    let parameters = ["q", "s", "e", "g"].map(|name| seen.parameter(name));
    assert_eq!(parameters, ["ts(\"a\")", "999700000", "1000000000", "s"]);

    let several = always(200, r#"{"timeseries":[{"data":[[1,1]]},{"data":[[1,2],[2,3]]}]}"#);
    assert_eq!(
        value(measure(&several).await),
        (Measured::Vector(vec![1.0, 3.0]), "[1,3]".to_owned())
    );
    let holes = always(200, r#"{"timeseries":[{"data":[]},{"data":[[1,2]]}]}"#);
    assert_eq!(
        value(measure(&holes).await),
        (Measured::Json(json!([null, 2.0])), "[nil,2]".to_owned())
    );
}

#[tokio::test]
async fn what_is_empty_is_no_value() {
    for none in [
        "{}",
        r#"{"timeseries":[]}"#,
        r#"{"timeseries":null}"#,
        r#"{"timeseries":[{"data":[]}]}"#,
    ] {
        assert_eq!(
            error(measure(&always(200, none)).await),
            "no data returned from Wavefront"
        );
    }
}

#[tokio::test]
async fn refusals_are_said_without_the_token() {
    let syntax = always(
        200,
        r#"{"errorType":"QuerySyntaxError","errorMessage":"no hush-hush here"}"#,
    );
    assert_eq!(
        error(measure(&syntax).await),
        "Wavefront: QuerySyntaxError: no ***** here"
    );
    assert_eq!(error(measure(&always(401, "no")).await), "HTTP 401: no");
    let malformed = error(measure(&always(200, "<html>")).await);
    assert!(
        malformed.starts_with("HTTP 200: the answer is no JSON ("),
        "{malformed}"
    );
    let other = error(measure(&always(200, r#"{"timeseries":3}"#)).await);
    assert!(
        other.starts_with("the answer is none of Wavefront's chart API: "),
        "{other}"
    );
}

#[tokio::test]
async fn the_token_goes_to_its_own_address_only() {
    let tokens = json!({"tidegate/wavefront-api-tokens": {"a.example.com": "hush-hush"}});
    for (secrets, address, query, want) in [
        (
            json!({}),
            "a.example.com",
            "q",
            "secret 'wavefront-api-tokens' does not exist in namespace 'tidegate'",
        ),
        (
            tokens.clone(),
            "https://b.example.com/",
            "q",
            "key 'b.example.com' does not exist in secret 'wavefront-api-tokens'",
        ),
        (
            tokens.clone(),
            "http://a.example.com",
            "q",
            "address must begin with https:// or be a host",
        ),
        (
            tokens.clone(),
            "a.example.com@evil.example.com",
            "q",
            "address must be a host such as example.wavefront.com, found \"evil.example.com\"",
        ),
        (tokens, "a.example.com", " ", "query is required"),
    ] {
        assert_eq!(error(measure_with(secrets, address, query).await), want);
    }
    assert_eq!(host("https://a.example.com/"), Ok("a.example.com"));
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let message = error(measure(&always(0, "")).await);
    assert!(
        message.starts_with("no answer from http://127.0.0.1:") && message.ends_with("within 30s"),
        "{message}"
    );
}
