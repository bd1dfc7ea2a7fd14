//! The controller on an API server in memory, with a paused clock and measurements that the test answers.

use super::*;
use crate::{
    analysis::{
        args::Known,
        phase::Phase,
        reading::{Answer, Answered, Reading},
    },
    clock::Clock,
    controllers::args::ControllerArgs,
    k8s::{lease::Leadership, testing::FakeApi},
    provider::desk::Order,
};
use clap::Parser;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Mutex;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

/// The time of the paused clock.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.0.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(1_000_000_000 + elapsed).unwrap()
    }
}

/// What the metric of that name answers; `None` never answers.
type Answers = Arc<dyn Fn(&Order) -> Option<Phase> + Send + Sync>;

struct Script {
    answers: Answers,
    taken: Arc<Mutex<Vec<String>>>,
    clock: Arc<TestClock>,
}

impl Measurer for Script {
    fn take(&self, order: Order) -> BoxFuture<'static, Reading> {
        self.taken.lock().unwrap().push(order.due.metric.clone());
        let (phase, now) = ((self.answers)(&order), self.clock.now());
        Box::pin(async move {
            let Some(phase) = phase else {
                return std::future::pending().await;
            };
            let answered = Answered::plain(Answer::Judged {
                phase,
                message: String::new(),
            });
            Reading::judge(order.due, &order.metric, &Known::default(), answered, (now, now))
        })
    }
}

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: ControllerArgs,
}

/// A running controller; dropping it is a crash.
struct Running {
    taken: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
    _stop: watch::Sender<bool>,
}

impl Running {
    fn start(api: &FakeApi, answers: impl Fn(&Order) -> Option<Phase> + Send + Sync + 'static) -> Self {
        let clock = Arc::new(TestClock(Instant::now()));
        let (stop, stopped) = watch::channel(false);
        let args = Command::parse_from(["controller"]).args;
        let context = Context::new(api.client(), args, Leadership::permanent(), clock.clone(), stopped);
        let mut tasks = JoinSet::new();
        context.stores.start(&context.client, &context.scope, &mut tasks);
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let script = Script {
            answers: Arc::new(answers),
            taken: Arc::clone(&taken),
            clock,
        };
        tasks.spawn(run_with(context, Arc::new(script)));
        Self {
            taken,
            _tasks: tasks,
            _stop: stop,
        }
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

fn put(api: &FakeApi, spec: Value) {
    api.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
        "metadata": {"name": "r", "namespace": "shop"}, "spec": spec}));
}

fn get(api: &FakeApi) -> Option<Value> {
    api.get("argoproj.io/v1alpha1", "analysisruns", "shop", "r")
}

/// Waits until the run is as wanted. Time is the paused clock's.
async fn until(api: &FakeApi, seconds: u64, wanted: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            if let Some(run) = get(api).filter(|run| wanted(run)) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(seconds), waiting)
        .await
        .unwrap_or_else(|_| panic!("it stays {:#?}", get(api)))
}

fn phase(run: &Value) -> &str {
    run["status"]["phase"].as_str().unwrap_or_default()
}

fn metric(name: &str, fields: Value) -> Value {
    let mut metric = json!({"name": name, "provider": {"web": {"url": "http://x"}}});
    metric
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    metric
}

#[tokio::test(start_paused = true)]
async fn a_bad_measurement_fails_the_run_at_once_while_another_hangs() {
    let api = FakeApi::new();
    put(
        &api,
        json!({"metrics": [metric("hangs", json!({})), metric("bad", json!({}))]}),
    );
    let started = Instant::now();
    let _running = Running::start(&api, |order| (order.due.metric == "bad").then_some(Phase::Failed));
    let run = until(&api, 1, |run| phase(run) == "Failed").await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(
        run["status"]["message"],
        json!("Metric \"bad\" assessed Failed due to failed (1) > failureLimit (0)")
    );
    assert_eq!(run["status"]["metricResults"].as_array().map(Vec::len), Some(1));
    assert!(run["status"]["completedAt"].is_string());
}

#[tokio::test(start_paused = true)]
async fn measurements_follow_the_interval_and_each_is_recorded_once() {
    let api = FakeApi::new();
    put(
        &api,
        json!({"metrics": [metric("m", json!({"interval": "60s", "count": 3}))]}),
    );
    let started = Instant::now();
    let running = Running::start(&api, |_| Some(Phase::Successful));
    let run = until(&api, 300, |run| phase(run) == "Successful").await;
    assert_eq!(started.elapsed().as_secs(), 120);
    assert_eq!(
        (running.taken(), &run["status"]["metricResults"][0]["count"]),
        (3, &json!(3))
    );
    api.take_writes();
    tokio::time::sleep(Duration::from_secs(2000)).await;
    assert!(api.take_writes().is_empty(), "no writes at rest");
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_could_not_be_written_is_written_later_and_not_taken_again() {
    let api = FakeApi::new();
    put(&api, json!({"metrics": [metric("m", json!({}))]}));
    let refusals = Arc::new(Mutex::new(3));
    let left = Arc::clone(&refusals);
    api.inject(move |write| {
        let ended = write.body.pointer("/status/completedAt").is_some();
        let mut left = left.lock().unwrap();
        (ended && *left > 0).then(|| {
            *left -= 1;
            if *left == 1 {
                (503, "ServiceUnavailable")
            } else {
                (409, "Conflict")
            }
        })
    });
    let running = Running::start(&api, |_| Some(Phase::Successful));
    let run = until(&api, 60, |run| phase(run) == "Successful").await;
    assert_eq!((running.taken(), *refusals.lock().unwrap()), (1, 0));
    assert_eq!(run["status"]["metricResults"][0]["count"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_recording_only_repeats_the_measurement() {
    let api = FakeApi::new();
    put(&api, json!({"metrics": [metric("m", json!({}))]}));
    api.inject(|write| {
        write
            .body
            .pointer("/status/completedAt")
            .map(|_| (503, "ServiceUnavailable"))
    });
    let running = Running::start(&api, |_| Some(Phase::Failed));
    until(&api, 10, |run| phase(run) == "Running").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(running.taken(), 1);
    drop(running);
    api.heal();
    let running = Running::start(&api, |_| Some(Phase::Successful));
    let run = until(&api, 10, |run| phase(run) == "Successful").await;
    assert_eq!(
        (running.taken(), &run["status"]["metricResults"][0]["count"]),
        (1, &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn terminating_is_heard_while_a_measurement_hangs() {
    let api = FakeApi::new();
    put(&api, json!({"metrics": [metric("m", json!({}))]}));
    let _running = Running::start(&api, |_| None);
    let mut run = until(&api, 10, |run| phase(run) == "Running").await;
    run["spec"]["terminate"] = json!(true);
    api.put(run);
    let run = until(&api, 1, |run| phase(run) == "Successful").await;
    assert_eq!(run["status"]["message"], json!("Run Terminated"));
}

#[tokio::test(start_paused = true)]
async fn an_ended_run_is_deleted_when_its_time_is_over() {
    let api = FakeApi::new();
    put(
        &api,
        json!({"metrics": [metric("m", json!({}))], "ttlStrategy": {"secondsAfterCompletion": 600}}),
    );
    let _running = Running::start(&api, |_| Some(Phase::Successful));
    until(&api, 10, |run| phase(run) == "Successful").await;
    tokio::time::sleep(Duration::from_secs(590)).await;
    assert!(get(&api).is_some());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(get(&api).is_none());
}

#[tokio::test(start_paused = true)]
async fn runs_of_another_instance_are_left_alone() {
    let api = FakeApi::new();
    api.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "r", "namespace": "shop",
        "labels": {"argo-rollouts.argoproj.io/controller-instance-id": "other"}}, "spec": {"metrics": [metric("m", json!({}))]}}));
    let running = Running::start(&api, |_| Some(Phase::Successful));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(api.take_writes().is_empty() && running.taken() == 0);
}
