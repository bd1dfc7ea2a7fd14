//! Against a local server with answers in annotated CSV, and an API server with Secrets.

use super::*;
use crate::{
    analysis::reading::Attempt,
    provider::testing::{self, Server, StillClock, always, error, keys, transport, value as value_of},
};

const TWO_TABLES: &str = "#datatype,string,long,dateTime:RFC3339,double,string\r\n,result,table,_time,_value,host\r\n\
                          ,_result,0,2026-01-01T00:00:00Z,0.25,\"a \"\"b\"\", c\"\r\n,_result,0,2026-01-01T00:01:00Z,0.5,x\r\n\r\n\
                          #datatype,string,long,long\r\n,result,table,_value\r\n,_result,1,7\r\n\r\n";

async fn measure(server: &Server, query: &str) -> Answered {
    let address = server.listen().await;
    let secret = json!({"address": format!("{address}/"), "authToken": "hush-hush", "org": "my org"});
    measure_with(json!({"tidegate/influxdb": secret}), json!({"query": query})).await
}

async fn measure_with(secrets: Value, influxdb: Value) -> Answered {
    let api = testing::secrets(secrets);
    let provider = Influxdb::new(transport(StillClock::new()), keys(&api));
    let metric = json!({"name": "m", "provider": {"influxdb": influxdb}});
    provider.measure(&testing::query(metric, Attempt::Begin)).await
}

#[tokio::test]
async fn the_values_of_all_tables_are_a_list() {
    let server = always(200, TWO_TABLES);
    let (measured, text) = value_of(measure(&server, "from(bucket: \"b\")").await);
    assert_eq!(
        (measured, text.as_str()),
        (Measured::Vector(vec![0.25, 0.5, 7.0]), "[0.25,0.5,7.0]")
    );
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/api/v2/query"));
    assert_eq!(
        (seen.parameter("org").as_str(), seen.header("authorization")),
        ("my org", "Token hush-hush")
    );
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        (&body["query"], &body["dialect"]["annotations"]),
        (&json!("from(bucket: \"b\")"), &json!(["datatype"]))
    );
}

#[test]
fn values_have_the_types_of_their_columns() {
    let csv = "#datatype,string,string\n,t,_value\n,0,ok\n,0,\n\n#datatype,string,boolean\n,t,_value\n,0,true\n\n#datatype,string,double\n\
               ,t,_value\n,0,NaN\n,0,1e3\n";
    let found = values(csv.as_bytes()).unwrap();
    assert_eq!(
        found,
        [json!("ok"), Value::Null, json!(true), Value::Null, json!(1000.0)]
    );
    assert!(matches!(measured(found), Measured::Json(Value::Array(_))));
    assert_eq!(
        values(b",t,_value\n,0,4\n").unwrap(),
        [json!(4.0)],
        "without annotations"
    );
}

#[tokio::test]
async fn what_is_empty_is_no_value() {
    for none in [
        "",
        "\r\n",
        "#datatype,string,double\n,t,_value\n",
        "#datatype,string,double\n,t,_value\n,0,\n",
    ] {
        assert_eq!(
            error(measure(&always(200, none), "q").await),
            "no data returned from InfluxDB",
            "{none:?}"
        );
    }
}

#[tokio::test]
async fn refusals_are_said_without_the_token() {
    let refused = always(401, r#"{"code":"unauthorized","message":"token hush-hush"}"#);
    assert_eq!(
        error(measure(&refused, "q").await),
        "HTTP 401: {\"code\":\"unauthorized\",\"message\":\"token *****\"}"
    );
    let broken = always(
        200,
        "#datatype,string,double\n,t,_value\n,0,1\n\n#datatype,string,string\n,error,reference\n,query terminated,897\n",
    );
    assert_eq!(error(measure(&broken, "q").await), "InfluxDB: query terminated");
    let other = always(200, "#datatype,string,long\n,result,count\n,_result,3\n");
    assert_eq!(error(measure(&other, "q").await), "the query gives no column _value");
    let page = always(200, "<html>\n<body>");
    assert_eq!(error(measure(&page, "q").await), "the query gives no column _value");
    let binary = Server::new(|_| (200, "a,\u{0}\n\"x".to_owned()));
    assert_eq!(error(measure(&binary, "q").await), "the query gives no column _value");
}

#[tokio::test]
async fn the_secret_must_hold_what_is_needed() {
    let secret = |texts: Value| json!({"tidegate/mine": texts});
    for (secrets, want) in [
        (
            json!({"shop/mine": {}}),
            "secret 'mine' does not exist in namespace 'tidegate'",
        ),
        (secret(json!({})), "key 'address' does not exist in secret 'mine'"),
        (
            secret(json!({"address": "http://a"})),
            "key 'authToken' does not exist in secret 'mine'",
        ),
        (
            secret(json!({"address": "http://a", "authToken": "t"})),
            "key 'org' does not exist in secret 'mine'",
        ),
    ] {
        assert_eq!(
            error(measure_with(secrets, json!({"profile": "mine", "query": "q"})).await),
            want
        );
    }
    let message = error(measure_with(json!({}), json!({"query": "q"})).await);
    assert_eq!(message, "secret 'influxdb' does not exist in namespace 'tidegate'");
    assert_eq!(error(measure_with(json!({}), json!({})).await), "query is required");
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let message = error(measure(&always(0, ""), "q").await);
    assert!(
        message.starts_with("no answer from http://127.0.0.1:") && message.ends_with("within 30s"),
        "{message}"
    );
}
