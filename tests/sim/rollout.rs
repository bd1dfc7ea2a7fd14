//! The real Rollout controller against the simulated API server, on a paused clock: it does its work, and twice the same.

#![expect(clippy::indexing_slicing, reason = "a field that is missing reads as null")]
#![expect(clippy::unwrap_used, reason = "a poisoned lock fails the test")]

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidegate::{
    controllers::{Context, args::ControllerArgs, rollout},
    k8s::{apply::Writer, lease::Leadership},
    sim::{
        api::{
            Change, Options, SimApi,
            faults::{EventFate, EventInfo, Faults, RequestFate, RequestInfo, WatchInfo},
            kinds::{Key, Kind},
        },
        clock::VirtualClock,
    },
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    controller: ControllerArgs,
}

/// Troubles in a fixed order, so that every point of the schedule is reached.
#[derive(Default)]
pub(super) struct Troubles {
    events: u64,
    requests: u64,
}

impl Faults for Troubles {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        self.requests += 1;
        let second = Duration::from_secs(1);
        match (self.requests % 11, request.verb.is_write()) {
            (3, true) => RequestFate::Lose {
                applied: true,
                after: second,
            },
            (5, true) => RequestFate::Delay(second / 3),
            (7, _) => RequestFate::DelayAnswer(second / 4),
            (9, true) => RequestFate::Lose {
                applied: false,
                after: second,
            },
            _ => RequestFate::Pass,
        }
    }

    fn on_event(&mut self, _: &WatchInfo, _: &EventInfo<'_>) -> EventFate {
        self.events += 1;
        match self.events % 13 {
            2 => EventFate::Delay(Duration::from_millis(700)),
            4 => EventFate::Repeat,
            6 => EventFate::Break,
            8 => EventFate::Expire,
            10 => EventFate::Drop,
            _ => EventFate::Deliver,
        }
    }
}

pub(super) fn web(image: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"namespace": "shop", "name": "web"},
    "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "30s"}}]}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}}})
}

/// Plays the ReplicaSet controller: every pod asked for is available at once.
fn play_pods(api: &SimApi) -> Result<()> {
    let sets: Vec<Arc<Value>> = api.state().list(Kind::ReplicaSet, None).into_iter().cloned().collect();
    for set in sets {
        let (replicas, generation) = (&set["spec"]["replicas"], &set["metadata"]["generation"]);
        let status = json!({"status": {"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
            "fullyLabeledReplicas": replicas, "observedGeneration": generation}});
        let key = Key::new(
            Kind::ReplicaSet,
            "shop",
            set["metadata"]["name"].as_str().unwrap_or_default(),
        );
        api.patch_status("replicaset-controller", &key, &Change::Merge(status))?;
    }
    Ok(())
}

async fn becomes_healthy(api: &SimApi, image: &str) -> Result<()> {
    let key = Key::new(Kind::Rollout, "shop", "web");
    for _ in 0..600 {
        play_pods(api)?;
        let rollout = api.state().get(&key).cloned().context("the Rollout is gone")?;
        let sets: BTreeMap<String, i64> = api
            .state()
            .list(Kind::ReplicaSet, Some("shop"))
            .into_iter()
            .map(|set| {
                let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
                (
                    image.unwrap_or_default().to_owned(),
                    set["spec"]["replicas"].as_i64().unwrap_or_default(),
                )
            })
            .collect();
        if rollout["status"]["phase"] == "Healthy" && sets.get(image) == Some(&4) {
            return Ok(());
        }
        sleep(Duration::from_secs(1)).await;
    }
    anyhow::bail!("{:#}", api.state().get(&key).context("the Rollout is gone")?["status"])
}

/// What happened, one line a write.
type Story = Arc<Mutex<Vec<String>>>;

fn observed(api: &SimApi) -> Story {
    let story = Story::default();
    let told = Arc::clone(&story);
    api.observe(move |commit, state| {
        assert_eq!(commit.version, state.version());
        let after = commit.after.as_ref().map(|after| after.to_string()).unwrap_or_default();
        let (verb, part) = (commit.verb, commit.subresource);
        let line = format!("{} {} {verb:?} {part} {} {after}", commit.at, commit.actor, commit.key);
        told.lock().unwrap().push(line);
    });
    story
}

/// A deployment and an update of it, with the commit log.
async fn act(faults: Option<Box<dyn Faults>>) -> Result<Vec<String>> {
    let clock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse()?));
    let api = SimApi::new(clock.clone(), Options::default());
    let story = observed(&api);
    let (_stop, stopped) = watch::channel(false);
    let arguments = Arguments::try_parse_from(["controller", "--namespace", "shop"])?;
    let client = api.client("controller", "shop");
    let mut context = Context::new(
        client.clone(),
        arguments.controller,
        Leadership::permanent(),
        clock.clone(),
        stopped,
    );
    {
        let context = Arc::get_mut(&mut context).context("the context is shared already")?;
        context.jitter = Box::new(|| 0.5);
        context.writer = Writer::new(client, clock, "simulated");
    }
    api.set_faults(faults);
    let mut tasks = JoinSet::new();
    context.stores.start(&context.client, &context.scope, &mut tasks);
    tasks.spawn(rollout::run(Arc::clone(&context)));
    api.create("user", web("demo:v1"))?;
    becomes_healthy(&api, "demo:v1").await?;
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "demo:v2"}]);
    let key = Key::new(Kind::Rollout, "shop", "web");
    api.patch("user", &key, &Change::Json(serde_json::from_value(image)?))?;
    becomes_healthy(&api, "demo:v2").await?;
    api.set_faults(None);
    sleep(Duration::from_secs(600)).await;
    let at_rest = api.state().version();
    sleep(Duration::from_secs(3600)).await;
    ensure!(api.state().version() == at_rest, "something is still written");
    api.cut("controller");
    let found = context.client.list_core_api_versions().await;
    ensure!(found.is_err(), "a client that was cut still gets answers");
    let told = story.lock().unwrap().clone();
    Ok(told)
}

pub(super) fn run(faults: impl Fn() -> Option<Box<dyn Faults>>) -> Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(act(faults()))
}

fn same_twice(faults: impl Fn() -> Option<Box<dyn Faults>>) -> Result<()> {
    let (first, second) = (run(&faults)?, run(&faults)?);
    ensure!(first.len() > 10, "only {} writes", first.len());
    for (one, other) in first.iter().zip(&second) {
        ensure!(one == other, "\n{one}\n{other}");
    }
    ensure!(
        first.len() == second.len(),
        "{} and {} writes",
        first.len(),
        second.len()
    );
    Ok(())
}

#[test]
fn a_rollout_runs_twice_to_the_same_log() -> Result<()> {
    same_twice(|| None)
}

#[test]
fn a_rollout_runs_through_the_same_troubles_twice_to_the_same_log() -> Result<()> {
    same_twice(|| Some(Box::new(Troubles::default())))
}
