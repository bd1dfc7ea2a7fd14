//! Landing, recording and forgetting; and the whole way from an order to a reading.

use super::*;
use crate::{
    analysis::phase::Phase,
    provider::{
        ProviderSettings,
        testing::{Seen, Server, StillClock},
    },
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

fn run(spec: Value) -> AnalysisRun {
    serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u"}, "spec": spec}))
        .unwrap()
}

fn two_metrics() -> AnalysisRun {
    run(json!({"metrics": [{"name": "a"}, {"name": "b"}]}))
}

fn due(run: &AnalysisRun, index: usize, attempt: Attempt) -> Due {
    Due {
        metric: run.spec.metrics[index].name.clone(),
        index,
        sequence: 1,
        attempt,
    }
}

/// Answers when the test says so.
struct Manual(mpsc::UnboundedSender<(Order, oneshot::Sender<Phase>)>);

impl Measurer for Manual {
    fn take(&self, order: Order) -> BoxFuture<'static, Reading> {
        let (answer, answered) = oneshot::channel();
        self.0.send((order.clone(), answer)).unwrap();
        Box::pin(async move {
            let phase = answered.await.expect("the test drops no answer");
            let answer = crate::analysis::reading::Answer::Judged {
                phase,
                message: String::new(),
            };
            let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
            Reading::judge(
                order.due,
                &order.metric,
                &Known::default(),
                Answered::plain(answer),
                times,
            )
        })
    }
}

type Orders = mpsc::UnboundedReceiver<(Order, oneshot::Sender<Phase>)>;

fn desk() -> (Desk, Orders) {
    let (sender, orders) = mpsc::unbounded_channel();
    (Desk::new(Arc::new(Manual(sender)), StillClock::new()), orders)
}

/// Begins a measurement; the receiver tells when it has landed.
fn begin(desk: &Desk, run: &AnalysisRun, due: Due) -> oneshot::Receiver<()> {
    let (sender, landed) = oneshot::channel();
    desk.begin(run, due, move || {
        // Nobody may be waiting any more.
        let _ = sender.send(());
    });
    landed
}

#[tokio::test]
async fn a_hanging_metric_holds_up_no_other() {
    let (desk, mut orders) = desk();
    let run = two_metrics();
    let hanging = begin(&desk, &run, due(&run, 0, Attempt::Begin));
    let quick = begin(&desk, &run, due(&run, 1, Attempt::Begin));
    let (_first, _unanswered) = orders.recv().await.unwrap();
    let (order, answer) = orders.recv().await.unwrap();
    assert_eq!((order.due.metric.as_str(), order.run.namespace.as_str()), ("b", "shop"));
    answer.send(Phase::Failed).unwrap();
    quick.await.unwrap();
    let readings = desk.landed("u");
    assert_eq!(
        readings.iter().map(|reading| reading.phase).collect::<Vec<_>>(),
        [Phase::Failed]
    );
    drop(hanging);
}

#[tokio::test]
async fn a_reading_stays_until_it_is_recorded_and_is_not_taken_twice() {
    let (desk, mut orders) = desk();
    let run = two_metrics();
    let landed = begin(&desk, &run, due(&run, 0, Attempt::Begin));
    let (_, answer) = orders.recv().await.unwrap();
    begin(&desk, &run, due(&run, 0, Attempt::Begin))
        .await
        .expect_err("it is under way");
    answer.send(Phase::Successful).unwrap();
    landed.await.unwrap();
    begin(&desk, &run, due(&run, 0, Attempt::Begin))
        .await
        .expect_err("it has landed and is not recorded");
    let readings = desk.landed("u");
    assert_eq!(readings, desk.landed("u"), "until it is recorded");
    desk.recorded("u", &readings);
    assert!(desk.landed("u").is_empty() && desk.lock().is_empty());
    let _again = begin(
        &desk,
        &run,
        Due {
            sequence: 2,
            ..due(&run, 0, Attempt::Begin)
        },
    );
    assert_eq!(orders.recv().await.unwrap().0.due.sequence, 2);
}

#[tokio::test]
async fn an_order_to_end_comes_before_an_order_to_ask_again() {
    let (desk, mut orders) = desk();
    let run = two_metrics();
    let asking = begin(&desk, &run, due(&run, 0, Attempt::Resume(Default::default())));
    let (_, _unanswered) = orders.recv().await.unwrap();
    let ending = begin(&desk, &run, due(&run, 0, Attempt::Terminate(Default::default())));
    asking.await.expect_err("given up");
    let (order, answer) = orders.recv().await.unwrap();
    assert!(matches!(order.due.attempt, Attempt::Terminate(_)));
    answer.send(Phase::Inconclusive).unwrap();
    ending.await.unwrap();
    assert_eq!(desk.landed("u")[0].message, "Metric Terminated");
}

#[tokio::test]
async fn a_forgotten_run_has_nothing_under_way() {
    let (desk, mut orders) = desk();
    let run = two_metrics();
    let landed = begin(&desk, &run, due(&run, 0, Attempt::Begin));
    let (_, _unanswered) = orders.recv().await.unwrap();
    desk.forget("u");
    landed.await.expect_err("the task was ended");
}

#[tokio::test]
async fn a_provider_that_breaks_is_an_error() {
    struct Broken;
    impl Measurer for Broken {
        fn take(&self, _: Order) -> BoxFuture<'static, Reading> {
            Box::pin(async { panic!("broken") })
        }
    }
    let desk = Desk::new(Arc::new(Broken), StillClock::new());
    let run = two_metrics();
    begin(&desk, &run, due(&run, 0, Attempt::Begin)).await.unwrap();
    assert_eq!(desk.landed("u")[0].phase, Phase::Error);
}

async fn take(api: &Server, metric: Value, args: Value) -> Reading {
    let clock = StillClock::new();
    let settings = ProviderSettings {
        no_proxy: true,
        ..ProviderSettings::default()
    };
    let providers = Providers::new(api.client(), clock.clone(), &settings).unwrap();
    let instruments = Instruments::new(api.client(), clock, providers);
    let run = run(json!({"metrics": [metric], "args": args}));
    let order = Order {
        run: identity(&run),
        metric: run.spec.metrics[0].clone(),
        args: run.spec.args.clone(),
        due: due(&run, 0, Attempt::Begin),
    };
    instruments.take(order).await
}

/// An API server with one Secret.
fn api() -> Server {
    Server::new(|seen: &Seen| match seen.path.as_str() {
        "/api/v1/namespaces/shop/secrets/tokens" => {
            let secret = json!({"metadata": {"name": "tokens"}, "data": {"api": "aHVzaC1odXNo", "binary": "/w=="}});
            (200, secret.to_string())
        }
        _ => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
                "message": "secrets \"gone\" not found"});
            (404, status.to_string())
        }
    })
}

fn secret(name: &str, key: &str) -> Value {
    json!([{"name": "token", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}])
}

#[tokio::test]
async fn secrets_reach_the_provider_and_nothing_else() {
    let web = Server::new(|seen: &Seen| (200, format!("\"you said {}\"", seen.header("authorization"))));
    let metric = json!({"name": "m", "successCondition": "result contains \"{{args.token}}\"", "provider": {"web": {
        "url": web.listen().await, "headers": [{"key": "Authorization", "value": "Bearer {{args.token}}"}]}}});
    let api = api();
    let reading = take(&api, metric, secret("tokens", "api")).await;
    assert_eq!(
        (reading.phase, reading.value.as_str()),
        (Phase::Successful, "you said Bearer *****")
    );
    assert_eq!(web.seen()[0].header("authorization"), "Bearer hush-hush");
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_an_error_of_the_measurement() {
    let metric = json!({"name": "m", "provider": {"web": {"url": "http://127.0.0.1:1/{{args.token}}"}}});
    for (name, key, want) in [
        ("tokens", "other", "key 'other' does not exist in secret 'tokens'"),
        ("tokens", "binary", "key 'binary' of secret 'tokens' is not text"),
        ("gone", "api", "secrets \"gone\" not found"),
    ] {
        let reading = take(&api(), metric.clone(), secret(name, key)).await;
        assert_eq!(reading.phase, Phase::Error);
        assert_eq!(reading.message, format!("Unable to resolve metric arguments: {want}"));
    }
}

#[tokio::test]
async fn a_provider_is_found_by_its_name() {
    let take = async |provider: Value| {
        let reading = take(&api(), json!({"name": "m", "provider": provider}), json!([])).await;
        assert_eq!(reading.phase, Phase::Error);
        reading.message
    };
    assert_eq!(
        take(json!({"plugin": {"acme/metric": {}}})).await,
        "metric provider 'plugin' is not supported yet (supported: cloudWatch, datadog, graphite, influxdb, job, kayenta, \
         newRelic, prometheus, skywalking, wavefront, web)"
    );
    for (provider, want) in [
        (json!({}), "no provider specified"),
        (json!({"web": {}, "graphite": {}}), "multiple providers specified"),
        (json!({"cloudWatch": {}}), "metricDataQueries is required"),
        (json!({"datadog": {}}), "query is required"),
        (json!({"graphite": {}}), "query is required"),
        (json!({"influxdb": {}}), "query is required"),
        (json!({"kayenta": {}}), "scopes are required"),
        (json!({"newRelic": {}}), "query is required"),
        (json!({"prometheus": {}}), "prometheus address is not configured"),
        (json!({"skywalking": {}}), "query is required"),
        (json!({"wavefront": {"address": "a"}}), "query is required"),
        (json!({"web": {}}), "invalid url: relative URL without a base"),
        (json!({"job": {"spec": {}}}), "secrets \"gone\" not found"),
    ] {
        assert_eq!(take(provider).await, want);
    }
}
