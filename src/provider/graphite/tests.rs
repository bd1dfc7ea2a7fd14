//! Against a local server with answers in the shape of Graphite's render API.

use super::*;
use crate::{
    analysis::{condition, phase::Phase, reading::Attempt},
    api::analysis::Metric,
    lang::expr::Measured,
    provider::testing::{self, Server, StillClock, always, error, transport, value},
};
use jiff::Timestamp;
use serde_json::json;

async fn measure(server: &Server, query: &str) -> Answered {
    let address = format!("{}/", server.listen().await);
    let metric = json!({"name": "m", "provider": {"graphite": {"address": address, "query": query}}});
    let provider = Graphite::new(transport(StillClock::new()));
    provider.measure(&testing::query(metric, Attempt::Begin)).await
}

#[tokio::test]
async fn each_series_gives_its_last_point() {
    let server = always(
        200,
        r#"[{"target":"a","datapoints":[[91.5,1],[90,2],[null,3]]},{"target":"b","datapoints":[[7,1]]}]"#,
    );
    let query = "target=summarize(\n  asPercent(a.{b,c}.count, d.*.count),\n  '5min',\n  'avg'\n)\n&target=b&from=-10min&format=png\n";
    let (measured, text) = value(measure(&server, query).await);
    assert_eq!(
        (measured, text.as_str()),
        (Measured::Vector(vec![90.0, 7.0]), "[90.000000,7.000000]")
    );
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/render");
    let sent: Vec<(String, String)> = form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        sent,
        [
            pair("target", "summarize(asPercent(a.{b,c}.count, d.*.count),'5min','avg')"),
            pair("target", "b"),
            pair("from", "-10min"),
            pair("format", "json"),
        ]
    );
    assert_eq!(
        parameters(" sumSeries(a.b) "),
        [
            pair("target", "sumSeries(a.b)"),
            pair("from", "-5min"),
            pair("format", "json")
        ]
    );
}

#[tokio::test]
async fn a_series_without_points_keeps_its_place_and_none_at_all_is_an_error() {
    let server = always(
        200,
        r#"[{"target":"a","datapoints":[[null,1]]},{"target":"b","datapoints":[[7,1]]}]"#,
    );
    let (measured, text) = value(measure(&server, "target=a&target=b").await);
    assert_eq!(
        (&measured, text.as_str()),
        (&Measured::Json(json!([null, 7.0])), "[nil,7.000000]")
    );
    for (condition, want) in [
        ("result[1] == 7", Phase::Successful),
        ("result[0] < 90", Phase::Error),
        ("all(result, # < 90)", Phase::Error),
        ("(result[0] ?? 0) < 90", Phase::Successful),
    ] {
        let metric = Metric {
            success_condition: condition.into(),
            ..Metric::default()
        };
        assert_eq!(
            condition::judge(&metric, &measured, Timestamp::UNIX_EPOCH).0,
            want,
            "{condition}"
        );
    }
    for none in [
        "[]",
        r#"[{"target":"a","datapoints":[]}]"#,
        r#"[{"target":"a","datapoints":[[null,1],[null,2]]}]"#,
    ] {
        assert_eq!(
            error(measure(&always(200, none), "a").await),
            "no data returned from Graphite"
        );
    }
}

#[tokio::test]
async fn anything_but_points_is_an_error() {
    assert_eq!(
        error(measure(&always(400, "no such\n function"), "a").await),
        "HTTP 400: no such function"
    );
    let other = error(measure(&always(200, "{}"), "a").await);
    assert!(
        other.starts_with("the answer is none of Graphite's render API: "),
        "{other}"
    );
    let malformed = error(measure(&always(200, "<html>"), "a").await);
    assert!(
        malformed.starts_with("HTTP 200: the answer is no JSON ("),
        "{malformed}"
    );
    let server = always(200, "[]");
    assert_eq!(error(measure(&server, " \n").await), "query is required");
    assert!(server.seen().is_empty());
    let metric = json!({"name": "m", "provider": {"graphite": {"address": "graphite:80", "query": "a"}}});
    let provider = Graphite::new(transport(StillClock::new()));
    let answered = provider.measure(&testing::query(metric, Attempt::Begin)).await;
    assert_eq!(
        error(answered),
        "address must begin with http:// or https://, found graphite:"
    );
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let message = error(measure(&always(0, ""), "a").await);
    assert!(
        message.starts_with("no answer from http://127.0.0.1:") && message.ends_with("within 10s"),
        "{message}"
    );
}
