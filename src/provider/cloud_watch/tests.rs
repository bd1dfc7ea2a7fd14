//! Against a local server with answers in the shape of CloudWatch's JSON protocol.

use super::*;
use crate::{
    analysis::{condition, phase::Phase, reading::Attempt},
    api::analysis::Metric,
    provider::testing::{self, Seen, Server, StillClock, always, aws, error, transport, value},
};

fn metric(fields: Value) -> Value {
    let mut cloud_watch = json!({"interval": "30m", "metricDataQueries": [
        {"id": "rate", "expression": "errors / requests"},
        {"id": "errors", "returnData": false, "period": 60, "metricStat": {"metric": {"namespace": "app",
            "metricName": "errors", "dimensions": [{"name": "Pod", "value": "a"}]}, "period": "300", "stat": "Sum", "unit": "Count"}},
    ]});
    cloud_watch
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    json!({"name": "m", "provider": {"cloudWatch": cloud_watch}})
}

async fn measure(server: &Server, fields: Value) -> Answered {
    let address = server.listen().await;
    let aws = aws(
        StillClock::new(),
        [
            ("AWS_ENDPOINT_URL_CLOUDWATCH", address.as_str()),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "hush-hush"),
        ],
    );
    let provider = CloudWatch::new(transport(StillClock::new()), aws);
    provider.measure(&testing::query(metric(fields), Attempt::Begin)).await
}

fn result(id: &str, values: Value, status: &str) -> Value {
    json!({"Id": id, "Label": id, "Timestamps": [1, 2], "Values": values, "StatusCode": status})
}

fn page(results: &[Value], next: Option<&str>) -> String {
    json!({"MetricDataResults": results, "Messages": [], "NextToken": next}).to_string()
}

#[tokio::test]
async fn the_points_of_each_query_are_a_list() {
    let server = always(200, &page(&[result("rate", json!([0.01, 0.02]), "Complete")], None));
    let (measured, text) = value(measure(&server, json!({})).await);
    assert_eq!(text, "[[0.01,0.02]]");
    for (condition, want) in [
        ("all(result[0].Values, {# <= 0.02})", Phase::Successful),
        ("all(result[0].Values, {# <= 0.01})", Phase::Failed),
        ("result[0].Id == \"rate\"", Phase::Successful),
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
}

#[tokio::test]
async fn the_request_is_signed_and_spelled_as_the_api_has_it() {
    let server = always(200, &page(&[result("rate", json!([1]), "Complete")], None));
    value(measure(&server, json!({})).await);
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/"));
    assert_eq!(
        seen.header("x-amz-target"),
        "GraniteServiceVersion20100801.GetMetricData"
    );
    assert_eq!(seen.header("content-type"), "application/x-amz-json-1.0");
    let authorization = seen.header("authorization");
    let scope = "Credential=AKIDEXAMPLE/19700112/eu-west-1/monitoring/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-target,";
    assert!(authorization.contains(scope), "{authorization}");
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        body,
        json!({"StartTime": 998_200, "EndTime": 1_000_000, "MetricDataQueries": [
            {"Id": "rate", "Expression": "errors / requests"},
            {"Id": "errors", "ReturnData": false, "Period": 60, "MetricStat": {"Metric": {"Namespace": "app",
                "MetricName": "errors", "Dimensions": [{"Name": "Pod", "Value": "a"}]}, "Period": 300, "Stat": "Sum", "Unit": "Count"}},
        ]})
    );
}

#[tokio::test]
async fn pages_are_put_together() {
    let server = Server::new(|seen: &Seen| {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        let page = match body.get("NextToken").and_then(Value::as_str) {
            None => page(&[result("rate", json!([1, 2]), "PartialData")], Some("more")),
            _ => page(
                &[
                    result("rate", json!([3, 4]), "Complete"),
                    result("b", json!([5]), "Complete"),
                ],
                None,
            ),
        };
        (200, page)
    });
    let (_, text) = value(measure(&server, json!({})).await);
    assert_eq!((text.as_str(), server.seen().len()), ("[[1,2,3,4],[5]]", 2));
    let endless = always(200, &page(&[result("rate", json!([1]), "PartialData")], Some("more")));
    assert_eq!(
        error(measure(&endless, json!({})).await),
        "the answer has more than 10 pages"
    );
    assert_eq!(endless.seen().len(), PAGES_MAX);
}

#[tokio::test]
async fn what_is_empty_or_in_part_is_no_value() {
    let whole = result("rate", json!([1]), "Complete");
    for (results, want) in [
        (vec![], "no data returned from CloudWatch"),
        (
            vec![whole.clone(), result("b", json!([]), "Complete")],
            "no data returned from CloudWatch for query 'b'",
        ),
        (
            vec![whole, result("b", json!([1]), "PartialData")],
            "the data of query 'b' is not complete: PartialData",
        ),
    ] {
        assert_eq!(
            error(measure(&always(200, &page(&results, None)), json!({})).await),
            want
        );
    }
}

#[tokio::test]
async fn refusals_and_bad_settings_are_said() {
    let refused = always(400, r#"{"__type":"AccessDenied","message":"User is not authorized"}"#);
    assert_eq!(
        error(measure(&refused, json!({})).await),
        "HTTP 400: {\"__type\":\"AccessDenied\",\"message\":\"User is not authorized\"}"
    );
    let malformed = error(measure(&always(200, "<xml/>"), json!({})).await);
    assert!(
        malformed.starts_with("HTTP 200: the answer is no JSON ("),
        "{malformed}"
    );
    let server = always(200, "{}");
    for (fields, want) in [
        (json!({"metricDataQueries": []}), "metricDataQueries is required"),
        (json!({"interval": "soon"}), "interval: invalid duration \"soon\""),
        (
            json!({"metricDataQueries": [{"id": "a", "period": "x"}]}),
            "period must be a number of seconds, found \"x\"",
        ),
    ] {
        let message = error(measure(&server, fields).await);
        assert!(message.starts_with(want), "{message}");
    }
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
