//! Against a local server with answers in the shape of Datadog's API, and an API server with Secrets.

use super::*;
use crate::{
    analysis::{condition, phase::Phase, reading::Attempt},
    provider::testing::{self, Seen, Server, StillClock, always, error, keys, transport, value},
};

fn metric(fields: Value) -> Value {
    let mut datadog = json!({"query": "sum:errors{service:web}"});
    datadog
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    json!({"name": "m", "successCondition": "default(result, 0) < 5", "provider": {"datadog": datadog}})
}

async fn measure(server: &Server, fields: Value) -> Answered {
    let address = server.listen().await;
    let secret = json!({"address": format!("{address}/\n"), "api-key": "hush-api", "app-key": "hush-app\n"});
    let api = testing::secrets(json!({"tidegate/datadog": secret}));
    measure_with(&api, Environment::default(), metric(fields)).await
}

async fn measure_with(api: &Server, environment: Environment, metric: Value) -> Answered {
    let provider = Datadog::new(transport(StillClock::new()), keys(api), environment);
    provider.measure(&testing::query(metric, Attempt::Begin)).await
}

fn v2(fields: Value) -> Value {
    let mut all = json!({"apiVersion": "v2"});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    all
}

fn columns(columns: Value) -> Server {
    always(
        200,
        &json!({"data": {"type": "scalar_response", "attributes": {"columns": columns}}}).to_string(),
    )
}

fn judge(success: &str, measured: &Measured) -> Phase {
    let metric = Metric {
        success_condition: success.into(),
        ..Metric::default()
    };
    condition::judge(&metric, measured, Timestamp::UNIX_EPOCH).0
}

#[tokio::test]
async fn v1_gives_the_last_value() {
    let server = always(
        200,
        r#"{"status":"ok","series":[{"metric":"m","pointlist":[[1.0,0.5],[2.0,0.25],[3.0,null]]}]}"#,
    );
    let answered = measure(&server, json!({"interval": "10m"})).await;
    assert!(answered.metadata.is_empty());
    let (measured, text) = value(answered);
    assert_eq!(
        (judge("result == 0.25", &measured), text.as_str()),
        (Phase::Successful, "0.25")
    );
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/api/v1/query"));
    let parameters = ["from", "to", "query"].map(|name| seen.parameter(name));
    assert_eq!(parameters, ["999400", "1000000", "sum:errors{service:web}"]);
    assert_eq!(
        (seen.header("dd-api-key"), seen.header("dd-application-key")),
        ("hush-api", "hush-app")
    );
    let several = always(200, r#"{"series":[{"pointlist":[[1,2]]},{"pointlist":[[1,3]]}]}"#);
    let answered = measure(&several, json!({})).await;
    assert_eq!(answered.metadata["series"], "the first of 2");
}

#[tokio::test]
async fn v2_gives_a_number_of_queries_and_a_formula() {
    let server = columns(json!([{"name": "a / b", "type": "number", "values": [0.125]}]));
    let (measured, text) = value(measure(&server, v2(json!({"interval": "5m"}))).await);
    assert_eq!(
        (judge("result < 0.2", &measured), text.as_str()),
        (Phase::Successful, "0.125")
    );
    let formula = json!({"query": "", "queries": {"a": "sum:errors{*}", "b": "sum:hits{*}"}, "formula": "a / b", "aggregator": "sum"});
    value(measure(&server, v2(formula)).await);
    value(measure(&server, v2(json!({"query": "", "queries": {"only": "sum:hits{*}"}}))).await);
    let bodies: Vec<Value> = server
        .seen()
        .iter()
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect();
    let attributes: Vec<&Value> = bodies.iter().map(|body| &body["data"]["attributes"]).collect();
    assert_eq!(
        bodies[0],
        json!({"data": {"type": "scalar_request", "attributes": {"from": 999_700_000, "to": 1_000_000_000,
            "queries": [{"data_source": "metrics", "name": "query", "query": "sum:errors{service:web}", "aggregator": "last"}],
            "formulas": [{"formula": "query"}]}}})
    );
    assert_eq!(
        attributes[1]["queries"],
        json!([{"data_source": "metrics", "name": "a", "query": "sum:errors{*}", "aggregator": "sum"},
            {"data_source": "metrics", "name": "b", "query": "sum:hits{*}", "aggregator": "sum"}])
    );
    assert_eq!(attributes[1]["formulas"], json!([{"formula": "a / b"}]));
    assert_eq!(attributes[2]["formulas"], json!([{"formula": "only"}]));
    assert_eq!(server.seen()[0].path, "/api/v2/query/scalar");
}

#[tokio::test]
async fn groups_are_a_list_also_when_there_is_one() {
    let server = columns(json!([
        {"name": "env", "type": "group", "values": [["prod"], ["test"], ["dead"]]},
        {"name": "path", "type": "group", "values": [["GET /a"], ["GET /b,c"], ["x"]]},
        {"name": "q", "type": "number", "values": [0.25, 0.5, null]},
    ]));
    let answered = measure(&server, v2(json!({}))).await;
    assert_eq!(
        answered.metadata,
        BTreeMap::from([(
            "groups".to_owned(),
            r#"[{"name":"test,GET /b,c","value":0.5},{"name":"prod,GET /a","value":0.25}]"#.to_owned()
        )])
    );
    let (measured, text) = value(answered);
    assert_eq!(
        (measured, text.as_str()),
        (Measured::Vector(vec![0.25, 0.5]), "[0.25,0.5]")
    );
    let one = columns(json!([{"type": "group", "values": [["prod"]]}, {"type": "number", "values": [3]}]));
    let (measured, _) = value(measure(&one, v2(json!({}))).await);
    assert_eq!(judge("max(result) == 3", &measured), Phase::Successful);
}

#[tokio::test]
async fn of_many_groups_the_highest_are_shown_and_all_are_judged() {
    for (groups, length) in [(120, 10), (90, 60)] {
        let names: Vec<Value> = (0..groups).map(|group| json!([format!("{group:0length$}")])).collect();
        let numbers: Vec<i32> = (0..groups).collect();
        let server = columns(json!([{"type": "group", "values": names}, {"type": "number", "values": numbers}]));
        let answered = measure(&server, v2(json!({}))).await;
        assert_eq!(answered.metadata["groups_truncated"], "true");
        let shown: Vec<Value> = serde_json::from_str(&answered.metadata["groups"]).unwrap();
        assert!(
            shown.len() <= 100 && shown.len() > 40 && answered.metadata["groups"].len() <= 4096,
            "{}",
            shown.len()
        );
        assert_eq!(shown[0]["value"], json!(f64::from(groups - 1)));
        let Measured::Vector(all) = value(answered).0 else {
            panic!()
        };
        assert_eq!(all.len(), numbers.len());
    }
}

#[tokio::test]
async fn no_points_are_nil_and_without_a_condition_an_error() {
    let v1_empty = always(200, r#"{"status":"ok","series":[]}"#);
    let v1_null = always(200, r#"{"status":"ok","series":[{"pointlist":[[1,null]]}]}"#);
    let none = columns(json!([{"type": "number", "values": []}]));
    let null = columns(json!([{"type": "number", "values": [null]}]));
    let no_groups = columns(json!([{"type": "group", "values": []}, {"type": "number", "values": []}]));
    for (server, fields) in [
        (v1_empty, json!({})),
        (v1_null, json!({})),
        (none, v2(json!({}))),
        (null, v2(json!({}))),
        (no_groups, v2(json!({}))),
        (columns(json!([])), v2(json!({}))),
    ] {
        let (measured, text) = value(measure(&server, fields.clone()).await);
        assert_eq!(
            (&measured, text.as_str()),
            (&Measured::Json(Value::Null), "no data returned from Datadog")
        );
        assert_eq!(judge("default(result, 0) < 5", &measured), Phase::Successful);
        assert_eq!(judge("result < 5", &measured), Phase::Error);
        assert_eq!(judge("all(result, # < 5)", &measured), Phase::Error);
        let mut bare = metric(fields);
        bare["successCondition"] = json!("");
        let secret = json!({"address": server.listen().await, "api-key": "k", "app-key": "k"});
        let api = testing::secrets(json!({"tidegate/datadog": secret}));
        let answered = measure_with(&api, Environment::default(), bare).await;
        assert_eq!(error(answered), "no data returned from Datadog");
    }
}

#[tokio::test]
async fn keys_are_those_of_the_metric_then_of_the_process_then_of_the_controller() {
    let server = Server::new(|seen: &Seen| {
        (
            403,
            format!("{{\"errors\":[\"{}\"]}}", seen.header("dd-application-key").len()),
        )
    });
    let address = server.listen().await;
    let secret = |app_key: &str| json!({"address": address, "api-key": "k", "app-key": app_key});
    let api = testing::secrets(
        json!({"shop/mine": secret("1"), "tidegate/theirs": secret("12"), "tidegate/datadog": secret("123")}),
    );
    let process = || {
        Environment::from([
            ("DD_API_KEY", "k"),
            ("DD_APP_KEY", "1234"),
            ("DD_ADDRESS", address.as_str()),
        ])
    };
    for (reference, environment, want) in [
        (json!({"name": "mine", "namespaced": true}), process(), "1"),
        (json!({"name": "theirs"}), process(), "2"),
        (json!({"name": "gone", "namespaced": true}), process(), "4"),
        (json!({"name": "gone", "namespaced": true}), Environment::default(), "3"),
        (json!(null), process(), "4"),
        (json!(null), Environment::from([("DD_API_KEY", "k")]), "3"),
    ] {
        let answered = measure_with(&api, environment, metric(json!({"secretRef": reference}))).await;
        assert_eq!(
            error(answered),
            format!("HTTP 403: {{\"errors\":[\"{want}\"]}}"),
            "{reference}"
        );
    }
    let nothing = testing::secrets(json!({"shop/mine": {"api-key": "k"}}));
    let answered = measure_with(
        &nothing,
        Environment::default(),
        metric(json!({"secretRef": {"name": "gone"}})),
    )
    .await;
    assert_eq!(
        error(answered),
        "no Datadog keys: there is no secret 'gone' in namespace 'tidegate', and no DD_API_KEY and DD_APP_KEY, and no secret \
         'datadog' in namespace 'tidegate'"
    );
    let mine = metric(json!({"secretRef": {"name": "mine", "namespaced": true}}));
    let answered = measure_with(&nothing, process(), mine).await;
    assert_eq!(error(answered), "key 'app-key' does not exist in secret 'mine'");
}

#[tokio::test]
async fn refusals_are_said_without_keys() {
    let repeats = always(403, r#"{"errors":["key hush-api is not valid"]}"#);
    assert_eq!(
        error(measure(&repeats, json!({})).await),
        "HTTP 403: {\"errors\":[\"key ***** is not valid\"]}"
    );
    let limited = always(429, r#"{"errors":["Too many requests"]}"#);
    assert_eq!(
        error(measure(&limited, v2(json!({}))).await),
        "HTTP 429: {\"errors\":[\"Too many requests\"]}"
    );
    let v1 = always(200, r#"{"status":"error","error":"Error parsing query"}"#);
    assert_eq!(error(measure(&v1, json!({})).await), "Datadog: Error parsing query");
    let in_part = always(
        200,
        r#"{"data":{"attributes":{"columns":[{"type":"number","values":[1]}]}},"errors":"timeout"}"#,
    );
    assert_eq!(error(measure(&in_part, v2(json!({}))).await), "Datadog: timeout");
    for (fields, want) in [
        (
            json!({}),
            "the answer is none of Datadog's query API: it holds no series",
        ),
        (
            v2(json!({})),
            "the answer is none of Datadog's scalar API: it holds no columns",
        ),
    ] {
        assert_eq!(error(measure(&always(200, "{}"), fields.clone()).await), want);
        let malformed = error(measure(&always(200, "<html>"), fields).await);
        assert!(
            malformed.starts_with("HTTP 200: the answer is no JSON ("),
            "{malformed}"
        );
    }
    let elsewhere = always(302, "");
    assert_eq!(error(measure(&elsewhere, json!({})).await), "HTTP 302");
}

#[tokio::test]
async fn what_makes_no_sense_is_not_sent() {
    let server = always(200, "{}");
    for (fields, want) in [
        (json!({"query": ""}), "query is required"),
        (json!({"formula": "a"}), "queries and formula need apiVersion v2"),
        (v2(json!({"query": ""})), "query or queries is required"),
        (v2(json!({"formula": "a"})), "formula needs queries"),
        (
            v2(json!({"queries": {"a": "q"}})),
            "use either query or queries, not both",
        ),
        (
            v2(json!({"query": "", "queries": {"a": "q", "b": "q"}})),
            "several queries need a formula",
        ),
        (json!({"apiVersion": "v3"}), "apiVersion must be v1 or v2"),
        (
            json!({"requestTimeout": "0s"}),
            "requestTimeout must be greater than 0, found \"0s\"",
        ),
    ] {
        assert_eq!(error(measure(&server, fields).await), want);
    }
    let message = error(measure(&server, json!({"interval": "5"})).await);
    assert!(message.starts_with("interval: invalid duration \"5\""), "{message}");
    assert!(server.seen().is_empty());
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    for (fields, want) in [
        (json!({}), "within 10s"),
        (v2(json!({"requestTimeout": "30s"})), "within 30s"),
    ] {
        let message = error(measure(&always(0, ""), fields).await);
        assert!(
            message.starts_with("no answer from http://127.0.0.1:") && message.ends_with(want),
            "{message}"
        );
    }
}
