//! What becomes of single pods: a restart, and metadata of roles.

use super::*;
use crate::sim::{
    api::{
        Change,
        faults::{Faults, RequestFate, RequestInfo, Verb as Asked},
        refusal::refused,
    },
    models::{is_going, is_ready},
};
use std::sync::atomic::{AtomicU64, Ordering};

fn patch(world: &World, patch: Value) {
    world.api().patch(USER, &key(), &Change::Merge(patch)).unwrap();
}

/// Asks for a restart at this moment, in whole seconds.
fn restart(world: &World) -> String {
    let now = world.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    patch(world, json!({"spec": {"restartAt": now}}));
    now
}

fn pods(world: &World) -> Vec<Arc<Value>> {
    world.api().state().list(Kind::Pod, None).into_iter().cloned().collect()
}

fn names(world: &World) -> BTreeSet<String> {
    let text = |pod: &Value| pod.pointer("/metadata/name").unwrap().to_string();
    let staying = pods(world).into_iter().filter(|pod| !is_going(pod));
    staying.map(|pod| text(&pod)).collect()
}

fn is_restarted(world: &World, at: &str) -> bool {
    world.get(&key()).unwrap()["status"]["restartedAt"] == at
}

/// Refuses so many lists of pods.
struct Refused(u64);

impl Faults for Refused {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        if request.kind != Some(Kind::Pod) || request.verb != Asked::List || self.0 == 0 {
            return RequestFate::Pass;
        }
        self.0 -= 1;
        RequestFate::Refuse(refused(409, "Conflict", "the test wants it so"))
    }
}

/// Counts lists of pods by the controllers.
struct Lists(Arc<AtomicU64>);

impl Faults for Lists {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        if request.kind == Some(Kind::Pod) && request.verb == Asked::List {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        RequestFate::Pass
    }
}

fn counted(world: &World) -> Arc<AtomicU64> {
    let lists = Arc::new(AtomicU64::new(0));
    world.api().set_faults(Some(Box::new(Lists(Arc::clone(&lists)))));
    lists
}

#[test]
fn a_restart_replaces_every_pod_and_never_lacks_more_than_one() {
    let mut world = deployed(Options::default());
    let lists = counted(&world);
    let (before, commits) = (names(&world), world.commits());
    world.run_for(Duration::from_secs(60));
    assert_eq!((lists.load(Ordering::Relaxed), world.commits()), (0, commits));
    let fewest = Arc::new(AtomicU64::new(u64::MAX));
    let seen = Arc::clone(&fewest);
    world.observe(move |_, state| {
        let pods = state.list(Kind::Pod, None).into_iter();
        let ready = pods.filter(|pod| is_ready(pod) && !is_going(pod)).count();
        seen.fetch_min(ready as u64, Ordering::Relaxed);
    });
    let at = restart(&world);
    assert!(
        world.run_until(Duration::from_secs(900), |world| is_restarted(world, &at)),
        "{:#?}",
        world.get(&key())
    );
    assert!(world.run_until(Duration::from_secs(120), |world| phase(world) == "Healthy"));
    assert!(names(&world).is_disjoint(&before), "every pod is another one");
    assert_eq!(fewest.load(Ordering::Relaxed), 3);
    assert_eq!(world.traffic().lock().first_loss, None);
    // At rest nobody asks for pods again.
    world.run_for(Duration::from_secs(60));
    let (listed, commits) = (lists.load(Ordering::Relaxed), world.commits());
    world.run_for(Duration::from_secs(3600));
    assert_eq!((lists.load(Ordering::Relaxed), world.commits()), (listed, commits));
}

#[test]
fn a_disruption_budget_holds_a_restart_and_nothing_else() {
    let mut world = deployed(Options::default());
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"minAvailable": 4, "selector": {"matchLabels": {"app": "web"}}}});
    world.create(budget).unwrap();
    let before = names(&world);
    let at = restart(&world);
    world.run_for(Duration::from_secs(120));
    assert_eq!(names(&world), before);
    let status = world.get(&key()).unwrap()["status"].clone();
    assert_eq!(
        (&status["phase"], &status["message"]),
        (&json!("Progressing"), &json!("rollout is restarting"))
    );
    assert_eq!(status["waitingFor"]["reason"], "Restarting");
    // An update that comes meanwhile brings new pods, and the restart is done with it.
    update(&mut world, "web:v2");
    assert!(
        world.run_until(Duration::from_secs(600), |world| phase(world) == "Healthy"),
        "{:#?}",
        world.get(&key())
    );
    assert!(is_restarted(&world, &at));
}

#[test]
fn a_restart_survives_the_death_of_the_controller() {
    let mut world = deployed(Options::default());
    let before = names(&world);
    let at = restart(&world);
    for pause in [1, 3, 7] {
        world.run_for(Duration::from_secs(pause));
        world.kill(0);
        world.run_for(Duration::from_secs(5));
        world.start(0);
    }
    assert!(world.run_until(Duration::from_secs(900), |world| is_restarted(world, &at)));
    assert!(world.run_until(Duration::from_secs(120), |world| phase(world) == "Healthy"));
    assert!(names(&world).is_disjoint(&before));
    assert_eq!(world.traffic().lock().first_loss, None);
}

fn role(pod: &Value) -> &str {
    pod.pointer("/metadata/labels/role")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn roles(world: &World) -> Vec<String> {
    let mut roles: Vec<String> = pods(world)
        .iter()
        .filter(|pod| !is_going(pod))
        .map(|pod| role(pod).to_owned())
        .collect();
    roles.sort();
    roles
}

/// C4: what is still to be done to pods is remembered by their ReplicaSet.
#[test]
fn metadata_reaches_every_pod_though_the_controller_dies() {
    for moment in [2, 5, 10, 20, 50, 200] {
        let mut world = deployed(Options::default());
        patch(
            &world,
            json!({"spec": {"strategy": {"canary": {"stableMetadata": {"labels": {"role": "stable"}}}}}}),
        );
        world.run_for(Duration::from_millis(moment));
        world.kill(0);
        world.run_for(Duration::from_secs(5));
        world.start(0);
        assert!(
            world.run_until(Duration::from_secs(60), |world| roles(world) == ["stable"; 4]),
            "killed after {moment} ms: {:?}",
            roles(&world)
        );
    }
}

/// No watch says when pods can be listed again.
#[test]
fn metadata_reaches_every_pod_though_a_list_of_pods_is_refused() {
    let mut world = deployed(Options::default());
    world.api().set_faults(Some(Box::new(Refused(3))));
    patch(
        &world,
        json!({"spec": {"strategy": {"canary": {"stableMetadata": {"labels": {"role": "stable"}}}}}}),
    );
    let reached = world.run_until(Duration::from_secs(60), |world| roles(world) == ["stable"; 4]);
    assert!(reached, "{:?}", roles(&world));
}

#[test]
fn pods_change_their_metadata_with_their_role_and_are_not_replaced() {
    let mut world = deployed(Options::default());
    let lists = counted(&world);
    let before = names(&world);
    let metadata = json!({"spec": {"strategy": {"canary": {
        "stableMetadata": {"labels": {"role": "stable"}},
        "canaryMetadata": {"labels": {"role": "canary"}, "annotations": {"note": "new"}}}}}});
    patch(&world, metadata);
    assert!(world.run_until(Duration::from_secs(30), |world| roles(world) == ["stable"; 4]));
    assert_eq!(names(&world), before, "no pod is replaced");
    world.run_for(Duration::from_secs(60));
    assert_eq!(phase(&world), "Healthy");
    update(&mut world, "web:v2");
    assert!(
        world.run_until(Duration::from_secs(60), |world| roles(world)
            .first()
            .is_some_and(|role| role == "canary")),
        "{:?}",
        roles(&world)
    );
    assert!(world.run_until(Duration::from_secs(300), |world| phase(world) == "Healthy"));
    world.run_for(Duration::from_secs(120));
    assert_eq!(roles(&world), ["stable"; 4]);
    assert!(
        pods(&world)
            .iter()
            .all(|pod| pod.pointer("/metadata/annotations/note").is_none())
    );
    assert_eq!(world.api().state().list(Kind::ReplicaSet, None).len(), 2);
    assert_eq!(world.traffic().lock().first_loss, None);
    // Nothing is left to remember, so nobody asks.
    let records = world
        .api()
        .state()
        .list(Kind::ReplicaSet, None)
        .into_iter()
        .cloned()
        .collect::<Vec<_>>();
    assert!(
        records.iter().all(|set| !set.to_string().contains("pending")),
        "{records:#?}"
    );
    let (listed, commits) = (lists.load(Ordering::Relaxed), world.commits());
    world.run_for(Duration::from_secs(3600));
    assert_eq!((lists.load(Ordering::Relaxed), world.commits()), (listed, commits));
}
