//! Experiments played by the real controllers: by themselves, and as a step of a canary.

use super::*;
use crate::sim::api::faults::{EventFate, EventInfo, Faults, RequestFate, RequestInfo, WatchInfo};

fn check() -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "check", "namespace": "shop"},
        "spec": {"args": [{"name": "hash"}], "metrics": [{"name": "quality", "interval": "10s", "count": 3,
            "successCondition": "result > 90", "provider": {"web": {"url": "http://quality/{{args.hash}}"}}}]}})
}

fn step() -> Value {
    json!({"experiment": {"duration": "2m",
        "templates": [{"name": "baseline", "specRef": "stable"}, {"name": "trial", "specRef": "canary", "service": {}}],
        "analyses": [{"name": "quality", "templateName": "check", "requiredForCompletion": true,
            "args": [{"name": "hash", "value": "{{templates.trial.podTemplateHash}}"}]}]}})
}

/// A world with a promoted v1 whose next update begins with an experiment.
fn world(options: Options, quality: i64) -> World {
    let mut world = World::new(options).unwrap();
    world.truth(|truth| truth.values.insert("quality".into(), json!(quality)));
    let web = rollout(json!([step(), {"setWeight": 25}, {"pause": {"duration": 10}}]));
    for object in [service("web-stable"), service("web-canary"), ingress(), check(), web] {
        world.create(object).unwrap();
    }
    world.start_all();
    let is_healthy = world.run_until(Duration::from_secs(300), |world| phase(world) == "Healthy");
    assert!(is_healthy, "{:#?}", world.get(&key()));
    world
}

fn all(world: &World, kind: Kind) -> Vec<Value> {
    world
        .api()
        .state()
        .list(kind, Some("shop"))
        .into_iter()
        .map(|object| (**object).clone())
        .collect()
}

/// ReplicaSets of Experiments that still have pods.
fn trials(world: &World) -> usize {
    let sets = all(world, Kind::ReplicaSet);
    let of_experiments = sets
        .iter()
        .filter(|set| set["metadata"]["ownerReferences"][0]["kind"] == "Experiment");
    of_experiments.filter(|set| set["spec"]["replicas"] != 0).count()
}

fn current(world: &World) -> Option<Value> {
    all(world, Kind::Experiment).into_iter().next()
}

#[test]
fn an_experiment_step_is_played_from_beginning_to_end() {
    for kills in [false, true] {
        let mut world = world(Options::default(), 95);
        update(&mut world, "web:v2");
        let runs = world.run_until(Duration::from_secs(60), |world| {
            current(world).is_some_and(|found| found["status"]["phase"] == "Running")
        });
        assert!(runs, "{:#?}", current(&world));
        assert_eq!((trials(&world), all(&world, Kind::ReplicaSet).len()), (2, 4));
        let services = all(&world, Kind::Service);
        let of_trial = services
            .iter()
            .filter(|service| service["metadata"]["ownerReferences"][0]["kind"] == "Experiment");
        assert_eq!(of_trial.count(), 1);
        let rollout = world.get(&key()).unwrap();
        assert_eq!(
            (
                rollout["status"]["currentStepIndex"].clone(),
                rollout["status"]["replicas"].clone()
            ),
            (json!(0), json!(4))
        );
        if kills {
            world.kill(0);
            world.run_for(Duration::from_secs(3));
            world.start(0);
        }
        let is_promoted = world.run_until(Duration::from_secs(400), |world| phase(world) == "Healthy");
        assert!(is_promoted, "{:#?}", world.get(&key()));
        world.run_for(Duration::from_secs(120));
        let ended = current(&world).unwrap();
        assert_eq!(
            ended["status"]["message"], "Required AnalysisRuns completed",
            "{ended:#}"
        );
        assert_eq!(
            (
                trials(&world),
                all(&world, Kind::Experiment).len(),
                all(&world, Kind::AnalysisRun).len()
            ),
            (0, 1, 1)
        );
        assert_eq!(all(&world, Kind::Service).len(), 2, "that of the experiment is gone");
        assert_eq!(all(&world, Kind::Pod).len(), 4);
        let before = world.commits();
        world.run_for(Duration::from_secs(7200));
        assert_eq!(world.commits(), before, "something is still written");
    }
}

#[test]
fn an_experiment_step_that_fails_aborts_the_update() {
    let mut world = world(Options::default(), 50);
    update(&mut world, "web:v2");
    assert!(world.run_until(Duration::from_secs(300), |world| phase(world) == "Degraded"));
    let rollout = world.get(&key()).unwrap();
    let message = rollout["status"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("Experiment analysis phase is error/failed: Metric \"quality\" assessed Failed"),
        "{message}"
    );
    world.run_for(Duration::from_secs(120));
    assert_eq!((trials(&world), all(&world, Kind::Pod).len()), (0, 4));
    assert_eq!(all(&world, Kind::AnalysisRun).len(), 1);
}

#[test]
fn an_experiment_by_itself_runs_its_duration_and_goes_with_its_deletion() {
    let mut world = World::new(Options::default()).unwrap();
    let pods =
        json!({"metadata": {"labels": {"app": "lab"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
    let template = json!({"name": "one", "replicas": 2, "selector": {"matchLabels": {"app": "lab"}}, "template": pods});
    world
        .create(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "lab", "namespace": "shop"},
            "spec": {"duration": "1m", "templates": [template]}}))
        .unwrap();
    world.start_all();
    let lab = Key::new(Kind::Experiment, "shop", "lab");
    let ended = |world: &World| {
        world
            .get(&lab)
            .is_some_and(|found| found["status"]["phase"] == "Successful")
    };
    assert!(
        world.run_until(Duration::from_secs(90), ended),
        "{:#?}",
        world.get(&lab)
    );
    world.run_for(Duration::from_secs(60));
    assert_eq!(
        (
            trials(&world),
            all(&world, Kind::ReplicaSet).len(),
            all(&world, Kind::Pod).len()
        ),
        (0, 1, 0)
    );
    let deletion = Verb::Delete {
        kind: Kind::Experiment,
        name: "lab".into(),
    };
    world.act(&key(), &deletion).unwrap();
    world.run_for(Duration::from_secs(60));
    assert_eq!(all(&world, Kind::ReplicaSet).len(), 0);
}

/// Troubles in a fixed order, so that every point of the schedule is reached.
#[derive(Default)]
struct Troubles {
    events: u64,
    requests: u64,
}

impl Faults for Troubles {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        self.requests += 1;
        let after = Duration::from_secs(1);
        match (self.requests % 11, request.verb.is_write()) {
            (3, true) => RequestFate::Lose { applied: true, after },
            (5, true) => RequestFate::Delay(after / 3),
            (9, true) => RequestFate::Lose { applied: false, after },
            _ => RequestFate::Pass,
        }
    }

    fn on_event(&mut self, _: &WatchInfo, _: &EventInfo<'_>) -> EventFate {
        self.events += 1;
        match self.events % 13 {
            2 => EventFate::Delay(Duration::from_millis(700)),
            4 => EventFate::Repeat,
            8 => EventFate::Expire,
            10 => EventFate::Drop,
            _ => EventFate::Deliver,
        }
    }
}

/// C2, C4, D2: lost answers, lost events and a leader that is killed change nothing in the end.
#[test]
fn an_experiment_comes_through_troubles() {
    for seed in 0..6 {
        let mut world = world(
            Options {
                seed,
                replicas: 2,
                args: Some(Options::args_elected()),
                ..Options::default()
            },
            95,
        );
        world.api().set_faults(Some(Box::new(Troubles::default())));
        update(&mut world, "web:v2");
        world.run_for(Duration::from_secs(3 + 5 * seed));
        world.kill(0);
        world.run_for(Duration::from_secs(20));
        world.start(0);
        world.run_for(Duration::from_secs(300));
        world.api().set_faults(None);
        let is_promoted = world.run_until(Duration::from_secs(3600), |world| {
            let rollout = world.get(&key()).unwrap();
            let status = &rollout["status"];
            status["phase"] == "Healthy" && status["stableRS"] == status["currentPodHash"]
        });
        assert!(is_promoted, "seed {seed}: {:#?}", world.get(&key()));
        world.run_for(Duration::from_secs(1800));
        let found = (
            trials(&world),
            all(&world, Kind::Experiment).len(),
            all(&world, Kind::AnalysisRun).len(),
            all(&world, Kind::Service).len(),
        );
        assert_eq!(found, (0, 1, 1, 2), "seed {seed}");
    }
}
