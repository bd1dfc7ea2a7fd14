//! Against a local server with canned answers of Prometheus' HTTP API.

use super::*;
use crate::{
    analysis::reading::Attempt,
    provider::testing::{Seen, Server, StillClock, always, aws, error, query, transport, value},
};
use serde_json::json;

const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
    {"metric":{"pod":"a"},"value":[1,"0.95"]},{"metric":{"pod":"b"},"value":[1,"NaN"]},{"metric":{},"value":[1,"+Inf"]}]}}"#;

fn prometheus(clock: Arc<StillClock>, default_address: Option<String>) -> Prometheus {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "hush-hush"),
    ];
    Prometheus::new(transport(clock.clone()), default_address, aws(clock, variables))
}

async fn measure(server: &Server, fields: Value) -> Answered {
    let address = server.listen().await;
    measure_at(&prometheus(StillClock::new(), None), &address, fields).await
}

async fn measure_at(provider: &Prometheus, address: &str, fields: Value) -> Answered {
    let mut prometheus = json!({"address": address, "query": "up"});
    prometheus
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let query = query(
        json!({"name": "m", "provider": {"prometheus": prometheus}}),
        Attempt::Begin,
    );
    provider.measure(&query).await
}

#[tokio::test]
async fn scalars_vectors_and_matrices_become_numbers() {
    let scalar = always(
        200,
        r#"{"status":"success","data":{"resultType":"scalar","result":[1,"0.5"]}}"#,
    );
    assert_eq!(
        value(measure(&scalar, json!({})).await),
        (Measured::Scalar(0.5), "0.5".to_owned())
    );

    let (measured, text) = value(measure(&always(200, VECTOR), json!({})).await);
    assert_eq!(text, "[0.95,NaN,+Inf]");
    let Measured::Vector(samples) = measured else {
        panic!("{measured:?}")
    };
    assert!(samples[0] == 0.95 && samples[1].is_nan() && samples[2] == f64::INFINITY);

    let empty = always(
        200,
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
    );
    assert_eq!(
        value(measure(&empty, json!({})).await),
        (Measured::Vector(vec![]), "[]".to_owned())
    );

    let matrix = always(
        200,
        r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{},"values":[[1,"1"],[2,"2"]]},{"metric":{},"values":[[1,"1e21"]]}]}}"#,
    );
    let want = (
        Measured::Vector(vec![1.0, 2.0, 1e21]),
        "[1,2,1000000000000000000000]".to_owned(),
    );
    assert_eq!(value(measure(&matrix, json!({})).await), want);
}

#[tokio::test]
async fn the_query_headers_and_user_reach_the_server() {
    let server = always(200, VECTOR);
    let query = "sum(rate(http_requests_total{code!~\"5.*\"}[1m])) & more";
    let answered = measure(
        &server,
        json!({"query": query, "headers": [{"key": "X-Scope-OrgID", "value": "tenant_a"}, {"key": "X-A", "value": "1"},
            {"key": "X-A", "value": "2"}], "authentication": {"basicAuth": {"username": "u", "password": "p"}}}),
    )
    .await;
    assert_eq!(
        answered.metric_metadata,
        BTreeMap::from([("ResolvedPrometheusQuery".to_owned(), query.to_owned())])
    );
    let [seen] = &server.seen()[..] else {
        panic!("one request")
    };
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/api/v1/query"));
    assert_eq!(seen.parameter("query"), query);
    assert_eq!(
        (seen.header("x-scope-orgid"), seen.header("authorization")),
        ("tenant_a", "Basic dTpw")
    );
    assert_eq!(seen.headers.get_all("x-a").iter().count(), 2);
}

#[tokio::test]
async fn servers_that_only_know_get_are_asked_again() {
    let server = Server::new(|seen: &Seen| match seen.method.as_str() {
        "GET" => (200, VECTOR.to_owned()),
        _ => (405, String::new()),
    });
    value(measure(&server, json!({})).await);
    assert_eq!(server.seen().last().unwrap().parameter("query"), "up");
}

#[tokio::test]
async fn ranges_are_expressions_of_time() {
    let server = always(
        200,
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
    );
    let range = json!({"rangeQuery": {"start": "now() - duration(\"1h\")", "end": "now()", "step": "1m"}});
    assert_eq!(value(measure(&server, range).await).1, "[]");
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/api/v1/query_range");
    let parameters = ["start", "end", "step"].map(|name| seen.parameter(name));
    assert_eq!(parameters, ["996400", "1000000", "60"]);
    for (start, step, want) in [
        ("yesterday(", "1m", "failed to parse rangeQuery.start as time: "),
        ("1 + 1", "1m", "failed to parse rangeQuery.start as time: "),
        ("now()", "often", "failed to parse rangeQuery.step as duration: "),
        ("now()", "0s", "failed to parse rangeQuery.step as duration: "),
    ] {
        let message = error(
            measure(
                &server,
                json!({"rangeQuery": {"start": start, "end": "now()", "step": step}}),
            )
            .await,
        );
        assert!(message.starts_with(want), "{message}");
    }
}

#[tokio::test]
async fn what_prometheus_refuses_is_said_in_its_words() {
    for (status, text, want) in [
        (
            400,
            r#"{"status":"error","errorType":"bad_data","error":"1:1: parse error: unexpected end of input"}"#,
            "bad_data: 1:1: parse error: unexpected end of input",
        ),
        (
            503,
            r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
            "timeout: query timed out",
        ),
        (502, "<html>bad gateway</html>", "HTTP 502: <html>bad gateway</html>"),
        (200, "{}", "HTTP 200: no answer of a Prometheus"),
        (
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            "Prometheus metric type not supported: \"string\"",
        ),
    ] {
        assert_eq!(error(measure(&always(status, text), json!({})).await), want);
    }
    let odd = always(
        200,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#,
    );
    assert!(error(measure(&odd, json!({})).await).starts_with("the vector of Prometheus cannot be read: "));
}

#[tokio::test]
async fn warnings_are_noted() {
    let server = always(
        200,
        r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]},"warnings":["slow","partial"]}"#,
    );
    let answered = measure(&server, json!({})).await;
    assert_eq!(
        answered.metadata,
        BTreeMap::from([("warnings".to_owned(), "\"slow\", \"partial\"".to_owned())])
    );
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    for (timeout, want) in [(json!({"timeout": 7}), "within 7s"), (json!({}), "within 30s")] {
        let message = error(measure(&always(0, ""), timeout).await);
        assert!(
            message.starts_with("no answer from http://127.0.0.1:") && message.ends_with(want),
            "{message}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_address_is_said() {
    let server = always(200, VECTOR);
    let message = error(measure(&server, json!({"timeout": -1})).await);
    assert_eq!(message, "prometheus timeout must be greater than 0, found -1");
    let provider = prometheus(StillClock::new(), None);
    // Nothing listens on port 1 of the loopback interface.
    let message = error(measure_at(&provider, "http://user:secret@127.0.0.1:1", json!({})).await);
    assert!(
        message.starts_with("http://127.0.0.1:1/: request failed") && !message.contains("secret"),
        "{message}"
    );
    let message = error(measure_at(&provider, "not a url", json!({})).await);
    assert!(message.starts_with("not a url: the address is not valid"), "{message}");
    assert_eq!(
        error(measure_at(&provider, "", json!({})).await),
        "prometheus address is not configured"
    );
}

#[tokio::test]
async fn the_address_may_come_from_the_environment() {
    let server = always(200, VECTOR);
    let provider = prometheus(StillClock::new(), Some(server.listen().await));
    value(measure_at(&provider, "", json!({})).await);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn equal_queries_at_the_same_time_share_a_request() {
    let server = always(200, VECTOR);
    let address = server.listen().await;
    let provider = prometheus(StillClock::new(), None);
    let asked = [
        json!({}),
        json!({}),
        json!({"query": "down"}),
        json!({"headers": [{"key": "X", "value": "1"}]}),
    ];
    let all = asked.map(|fields| measure_at(&provider, &address, fields));
    futures::future::join_all(all)
        .await
        .into_iter()
        .for_each(|answered| drop(value(answered)));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn tokens_are_fetched_once_and_again_when_they_expire() {
    let server = Server::new(|seen: &Seen| match (seen.path.as_str(), seen.header("authorization")) {
        ("/token", "Basic aWQ6cyUyNXM=") => (200, r#"{"access_token":"t1","expires_in":60}"#.to_owned()),
        ("/token", _) => (401, "{}".to_owned()),
        (_, "Bearer t1") => (200, VECTOR.to_owned()),
        (_, other) => (401, format!("unexpected {other}")),
    });
    let address = server.listen().await;
    let clock = StillClock::new();
    let provider = prometheus(clock.clone(), None);
    let with = |query: &str, secret: &str| {
        json!({"query": query, "authentication": {"oauth2": {"tokenUrl": format!("{address}/token"), "clientId": "id",
            "clientSecret": secret, "scopes": ["a", "b"]}}})
    };
    value(measure_at(&provider, &address, with("one", "s%s")).await);
    value(measure_at(&provider, &address, with("two", "s%s")).await);
    let tokens = || {
        server
            .seen()
            .into_iter()
            .filter(|seen| seen.path == "/token")
            .collect::<Vec<_>>()
    };
    assert_eq!(tokens().len(), 1);
    assert_eq!(
        (tokens()[0].parameter("grant_type"), tokens()[0].parameter("scope")),
        ("client_credentials".into(), "a b".into())
    );
    clock.advance(55);
    value(measure_at(&provider, &address, with("three", "s%s")).await);
    assert_eq!(tokens().len(), 2);
    let message = error(measure_at(&provider, &address, with("four", "wrong")).await);
    assert_eq!(
        message,
        format!("failed to get an OAuth2 token from {address}/token: HTTP 401")
    );
    assert_eq!(
        tokens().last().unwrap().parameter("client_secret"),
        "wrong",
        "in the body the second time"
    );
}

#[tokio::test]
async fn requests_to_amazons_prometheus_are_signed() {
    let server = Server::new(|seen: &Seen| match (seen.method.as_str(), seen.query.is_empty()) {
        ("POST", _) => (405, String::new()),
        _ => (200, VECTOR.to_owned()),
    });
    let signed = json!({"authentication": {"sigv4": {"region": "eu-west-1"}}, "query": "sum(up) / 2"});
    value(measure(&server, signed).await);
    let seen = server.seen();
    let form = "query=sum%28up%29+%2F+2";
    assert_eq!((seen.len(), seen[0].path.as_str()), (2, "/api/v1/query"));
    assert_eq!((seen[0].body.as_str(), seen[1].query.as_str()), (form, form));
    for seen in &seen {
        let authorization = seen.header("authorization");
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/19700112/eu-west-1/aps/aws4_request, SignedHeaders=";
        assert!(authorization.starts_with(scope), "{authorization}");
        assert_eq!(seen.header("x-amz-date"), "19700112T134640Z");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_said() {
    let server = always(200, VECTOR);
    let sigv4 = |config: Value| json!({"authentication": {"sigv4": config}});
    for (config, want) in [
        (
            json!({"profile": "ops"}),
            ": no AWS region: neither region nor AWS_REGION is set",
        ),
        (
            json!({"region": "eu-west-1", "profile": "ops"}),
            ": no AWS credentials: profile 'ops' is in neither AWS_SHARED_CREDENTIALS_FILE nor AWS_CONFIG_FILE",
        ),
    ] {
        let message = error(measure(&server, sigv4(config)).await);
        assert!(message.ends_with(want), "{message}");
    }
    assert!(server.seen().is_empty());
    value(measure(&server, sigv4(json!({}))).await);
    let message = error(measure(&server, json!({"headers": [{"key": "bad name", "value": "1"}]})).await);
    assert_eq!(message, "header 'bad name' has an invalid name or value");
}
