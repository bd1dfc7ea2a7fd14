//! An Application from the simulated Git server, by the real controller.

use super::*;
use crate::sim::{
    api::{
        faults::{Faults, RequestFate, RequestInfo, Verb as Asked},
        refusal,
    },
    models::git::MAIN,
};
use std::collections::BTreeMap;

fn application() -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "shop", "namespace": "tidegate"},
        "spec": {"project": "default", "source": {"repoURL": "https://git.example.com/shop.git", "path": "app", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
            "syncPolicy": {"automated": {"prune": true, "selfHeal": true}}}})
}

fn files(maps: &[(&str, &str)]) -> BTreeMap<String, String> {
    let file = |(name, value): &(&str, &str)| {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: {value}}}\n");
        (format!("app/{name}.yaml"), text)
    };
    maps.iter().map(file).collect()
}

fn config_map(name: &str) -> Key {
    Key::new(Kind::ConfigMap, "shop", name)
}

fn is_synced_to(world: &World, commit: &str) -> bool {
    let app = world.get(&Key::new(Kind::Application, "tidegate", "shop")).unwrap();
    app["status"]["sync"]["status"] == "Synced" && app["status"]["sync"]["revision"] == commit
}

/// A push, drift, the death of the controller and another push; returns the digest of everything written.
fn life() -> u64 {
    let mut world = World::new(Options {
        seed: 5,
        syncs: true,
        ..Options::default()
    })
    .unwrap();
    let git = world.handle().git().clone();
    let first = git.push(MAIN, &files(&[("one", "a"), ("two", "b")]), "first");
    world.create(application()).unwrap();
    world.start_all();
    let minutes = Duration::from_secs(600);
    assert!(world.run_until(minutes, |world| is_synced_to(world, &first)));
    let drift = api::Change::Merge(json!({"data": {"value": "drifted"}}));
    world.api().patch("somebody", &config_map("one"), &drift).unwrap();
    let is_healed = |world: &World| world.get(&config_map("one")).unwrap()["data"]["value"] == "a";
    assert!(world.run_until(minutes, is_healed));
    world.kill(0);
    let second = git.push(MAIN, &files(&[("one", "c")]), "second");
    world.run_for(Duration::from_secs(5));
    world.start(0);
    assert!(world.run_until(minutes, |world| is_synced_to(world, &second)));
    assert!(world.get(&config_map("two")).is_none());
    assert_eq!(world.get(&config_map("one")).unwrap()["data"]["value"], "c");
    world.digest()
}

#[test]
fn an_application_follows_its_repository_the_same_way_each_time() {
    assert_eq!(life(), life());
}

fn syncing() -> World {
    let options = Options {
        syncs: true,
        ..Options::default()
    };
    World::new(options).unwrap()
}

/// Refuses to let hooks go, so many times.
struct Stubborn(Arc<Mutex<usize>>);

impl Faults for Stubborn {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        let mut left = self.0.lock().unwrap();
        if request.kind == Some(Kind::Job) && request.verb == Asked::Patch && *left > 0 {
            *left -= 1;
            return RequestFate::Refuse(refusal::refused(503, "ServiceUnavailable", "not now"));
        }
        RequestFate::Pass
    }
}

#[test]
fn a_hook_that_cannot_be_let_go_is_tried_again_with_pauses() {
    const REFUSALS: usize = 2_000;
    let mut world = syncing();
    let left = Arc::new(Mutex::new(REFUSALS));
    world.api().set_faults(Some(Box::new(Stubborn(Arc::clone(&left)))));
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "before", "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
        "spec": {"template": {"spec": {"containers": [{"name": "run", "image": "job:v1"}]}}}});
    let mut all = files(&[("one", "a")]);
    all.insert("app/job.yaml".to_owned(), job.to_string());
    world.handle().git().push(MAIN, &all, "first");
    world.create(application()).unwrap();
    world.start_all();
    world.run_for(Duration::from_secs(60));
    let tried = REFUSALS - *left.lock().unwrap();
    assert!((2..30).contains(&tried), "{tried} tries in a minute");
}

/// Refuses to show ConfigMaps one by one, once it is told to.
struct Blind(Arc<Mutex<bool>>);

impl Faults for Blind {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        if *self.0.lock().unwrap() && request.kind == Some(Kind::ConfigMap) && request.verb == Asked::Get {
            return RequestFate::Refuse(refusal::refused(503, "ServiceUnavailable", "not now"));
        }
        RequestFate::Pass
    }
}

/// S8: the index took what a finalizer held for gone, for ever, when the API server would not tell.
#[test]
fn what_a_finalizer_holds_is_not_taken_for_gone_when_it_cannot_be_read() {
    let mut world = syncing();
    let is_blind = Arc::new(Mutex::new(false));
    world.api().set_faults(Some(Box::new(Blind(Arc::clone(&is_blind)))));
    let git = world.handle().git().clone();
    let first = git.push(MAIN, &files(&[("one", "a"), ("two", "b")]), "first");
    world.create(application()).unwrap();
    world.start_all();
    let minutes = Duration::from_secs(600);
    assert!(world.run_until(minutes, |world| is_synced_to(world, &first)));

    let hold = |finalizers: Value| api::Change::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let two = config_map("two");
    world
        .api()
        .patch("somebody", &two, &hold(json!(["example.com/hold"])))
        .unwrap();
    world.run_for(Duration::from_secs(1));
    *is_blind.lock().unwrap() = true;
    let second = git.push(MAIN, &files(&[("one", "a")]), "second");
    let is_leaving = |world: &World| {
        let two = world.get(&config_map("two"));
        two.is_none_or(|two| !two["metadata"]["deletionTimestamp"].is_null())
    };
    assert!(world.run_until(minutes, is_leaving));
    world.run_for(Duration::from_secs(60));
    assert!(world.get(&two).is_some());
    assert!(!is_synced_to(&world, &second), "shown as Synced with an object left");

    world.api().patch("somebody", &two, &hold(json!([]))).unwrap();
    assert!(world.run_until(minutes, |world| is_synced_to(world, &second)));
}
