use super::*;
use crate::{
    analysis::reading::Attempt,
    provider::RunIdentity,
    sim::models::{
        testing::Bench,
        truth::{Flow, Stream},
    },
};

fn metric(name: &str, query: &str, condition: &str) -> Metric {
    serde_json::from_value(json!({"name": name, "successCondition": condition,
        "provider": {"prometheus": {"address": "http://p", "query": query}}}))
    .unwrap()
}

const RATIO: &str = r#"sum(rate(http_requests_total{service="web-canary",code!~"5.."}[2m])) / sum(rate(http_requests_total{service="web-canary"}[2m]))"#;

#[test]
fn what_a_query_asks_for_is_read_off_its_text() {
    for (name, query, expect) in [
        ("a", RATIO, Quantity::SuccessRate),
        ("success-rate", "job:success:ratio", Quantity::SuccessRate),
        (
            "a",
            r#"sum(rate(r{status=~"5.*"}[1m])) / sum(rate(r[1m]))"#,
            Quantity::ErrorRate,
        ),
        ("error-rate", "my_error_ratio", Quantity::ErrorRate),
        ("errors", "sum(rate(http_errors_total[1m]))", Quantity::Errors),
        (
            "p95",
            "histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket[5m])) by (le))",
            Quantity::Latency {
                quantile: 0.95,
                unit: 1.0,
            },
        ),
        (
            "latency",
            "avg(request_latency_ms)",
            Quantity::Latency {
                quantile: 0.5,
                unit: 1000.0,
            },
        ),
        ("rps", "sum(rate(http_requests_total[1m]))", Quantity::Requests),
        ("queue", "sum(queue_depth)", Quantity::Unknown),
    ] {
        assert_eq!(Quantity::of(&metric(name, query, "")), expect, "{name}: {query}");
    }
}

#[test]
fn windows_names_and_percent() {
    for (query, seconds) in [
        (RATIO, 120),
        ("rate(x[5m:1m])", 300),
        ("x", 60),
        ("x{a=\"[b]\"}[30s]", 30),
    ] {
        assert_eq!(window(query).as_secs(), seconds, "{query}");
    }
    assert!(mentions("a{service=\"web-canary\"}", "web-canary") && !mentions("a{service=\"web-canary\"}", "web"));
    let now = Timestamp::UNIX_EPOCH;
    for (query, condition, expect) in [
        (RATIO, "result[0] >= 0.95", 1.0),
        (RATIO, "result[0] >= 95", 100.0),
        (
            r#"sum(rate(r{code=~"5.."}[1m])) / sum(rate(r[1m])) * 100"#,
            "result[0] < 5",
            100.0,
        ),
        (
            r#"sum(rate(r{code=~"5.."}[1m])) / sum(rate(r[1m]))"#,
            "result[0] < 0.05",
            1.0,
        ),
    ] {
        assert_eq!(
            scale(&metric("m", query, condition), now),
            expect,
            "{query} {condition}"
        );
    }
}

/// A world of 80 % stable and 20 % canary, which fails half of its requests.
fn source() -> (Bench, Metrics, SharedTruth) {
    let bench = Bench::new();
    bench.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop"}, "spec": {}}));
    let rollout = Key::new(Kind::Rollout, "shop", "web");
    let status = json!({"status": {"currentPodHash": "bbb", "stableRS": "aaa"}});
    bench
        .api
        .patch_status("test", &rollout, &crate::sim::api::Change::Merge(status))
        .unwrap();
    bench.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "run", "namespace": "shop",
        "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "u"}]}, "spec": {}}));
    bench.service("web-canary", Some("bbb"));
    bench.service("web-stable", Some("aaa"));
    let truth = SharedTruth::default();
    let stream = |requests, errors| Stream {
        requests,
        errors,
        latency: 0.05,
    };
    truth.lock().flows(Flow {
        at: bench.now(),
        streams: BTreeMap::from([
            ("aaa".to_owned(), stream(80.0, 0.0)),
            ("bbb".to_owned(), stream(20.0, 0.5)),
        ]),
        lost: 0.0,
    });
    bench.wait(300);
    let clock: SharedClock = Arc::new(Fixed(bench.now()));
    let metrics = Metrics::new(bench.api.clone(), truth.clone(), clock, Range::default(), &Dice::new(1));
    (bench, metrics, truth)
}

struct Fixed(Timestamp);

impl crate::clock::Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

async fn ask(metrics: &Metrics, metric: Metric) -> String {
    let run = RunIdentity {
        namespace: "shop".into(),
        name: "run".into(),
        uid: "u".into(),
        started_at: None,
    };
    let query = Query {
        run,
        metric,
        sequence: 1,
        attempt: Attempt::Begin,
        now: Timestamp::UNIX_EPOCH,
    };
    match metrics.measure(&query).await.answer {
        Answer::Value { text, .. } => text,
        Answer::Error(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_about_the_version_that_is_named() {
    let (_bench, metrics, _) = source();
    for (query, expect) in [
        (RATIO.to_owned(), "[0.5]"),
        (RATIO.replace("web-canary", "web-stable"), "[1]"),
        (RATIO.replace("web-canary", "web"), "[0.9]"),
        (RATIO.replace("web-canary", "bbb-unknown"), "[0.9]"),
        (
            "sum(rate(http_requests_total{version=\"canary\"}[1m]))".to_owned(),
            "[20]",
        ),
        ("sum(rate(http_requests_total[1m]))".to_owned(), "[100]"),
    ] {
        assert_eq!(ask(&metrics, metric("m", &query, "")).await, expect, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_metric_nobody_understands_is_judged_as_the_truth_is() {
    let (_bench, metrics, truth) = source();
    let depth = || metric("queue", "queue_depth", "result[0] < 7");
    assert_eq!(ask(&metrics, depth()).await, "[100]", "bad: the canary fails requests");
    truth.lock().values.insert("queue".into(), json!(3));
    assert_eq!(ask(&metrics, depth()).await, "[3]");
    let web: Metric = serde_json::from_value(json!({"name": "smoke", "successCondition": "result.status == \"ok\"",
        "provider": {"web": {"url": "http://web-stable/health"}}}))
    .unwrap();
    assert_eq!(
        ask(&metrics, web).await,
        r#"{"status":"ok"}"#,
        "the stable version is well"
    );
    let odd = metric("odd", "odd", "result[0] == 12345.6");
    assert!(
        ask(
            &metrics,
            Metric {
                failure_condition: "false".into(),
                ..odd
            }
        )
        .await
        .contains("does not know what the metric `odd` answers")
    );
}

#[tokio::test(start_paused = true)]
async fn the_source_may_be_in_any_state() {
    let (_bench, metrics, truth) = source();
    for (source, expect, seconds) in [
        (Source::Up, "[0.5]", 0),
        (Source::Down, "request failed: connection refused", 0),
        (Source::Absent, "[]", 0),
        (Source::Nan, "[NaN]", 0),
        (Source::Error, "HTTP 503: the query processor is overloaded", 0),
        (Source::Slow, "[0.5]", 29),
        (Source::Hangs, "no answer within 30s", 30),
    ] {
        truth.lock().source = source;
        let begun = tokio::time::Instant::now();
        assert_eq!(ask(&metrics, metric("m", RATIO, "")).await, expect);
        assert_eq!(begun.elapsed().as_secs(), seconds, "{source:?}");
    }
    truth.lock().source = Source::Up;
    let now = metrics.clock.now();
    truth.lock().flows(Flow {
        at: now.saturating_sub(jiff::SignedDuration::from_secs(200)).unwrap(),
        streams: BTreeMap::new(),
        lost: 0.0,
    });
    assert_eq!(
        ask(&metrics, metric("m", RATIO, "")).await,
        "[NaN]",
        "a share of no requests"
    );
}
