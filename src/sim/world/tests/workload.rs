//! Pods move from a Deployment to a Rollout that refers to it, and back, in every mode, with real pods that take their
//! time: both together keep the pods that are wanted, whatever dies in between.

use super::*;
use crate::sim::{
    api::faults::{self, EventFate, EventInfo, Faults, RequestFate, RequestInfo, WatchInfo},
    models::is_ready,
};

const REPLICAS: usize = 4;

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}}}})
}

fn referring(scale_down: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"strategy": {"canary": {"maxUnavailable": 0, "steps": [{"setWeight": 25}, {"pause": {"duration": 30}}]}},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "scaleDown": scale_down}}})
}

fn deployment_key() -> Key {
    Key::new(Kind::Deployment, "shop", "web")
}

fn size(world: &World) -> i64 {
    let deployment = world.get(&deployment_key()).unwrap();
    deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap()
}

fn ready(state: &crate::sim::api::state::State) -> usize {
    let pods = state.list(Kind::Pod, None).into_iter();
    pods.filter(|pod| is_ready(pod) && pod.pointer("/metadata/deletionTimestamp").is_none())
        .count()
}

/// A world with a Deployment of four pods, in which from now on there are always four that are ready (guarantee T6).
fn running(seed: u64) -> World {
    let mut world = World::new(Options {
        seed,
        ..Options::default()
    })
    .unwrap();
    world.create(deployment()).unwrap();
    assert!(world.run_until(Duration::from_secs(60), |world| ready(&world.api().state()) == REPLICAS));
    let mut is_there = false;
    world.observe(move |commit, state| {
        let ready = ready(state);
        let was_there = std::mem::replace(&mut is_there, state.get(&key()).is_some());
        is_there |= was_there;
        // Once the Rollout is deleted its pods are the garbage collector's.
        let is_gone = is_there && state.get(&key()).is_none();
        assert!(
            ready >= REPLICAS || is_gone,
            "{ready} pods after {} of {}",
            commit.actor,
            commit.key
        );
    });
    world
}

fn healthy_without(world: &mut World) {
    assert!(
        world.run_until(Duration::from_secs(300), |world| phase(world) == "Healthy"
            && size(world) == 0),
        "{} pods: {:#?}",
        size(world),
        world.get(&key())
    );
}

fn delete(world: &mut World) {
    let verb = Verb::Delete {
        kind: Kind::Rollout,
        name: "web".into(),
    };
    world.act(&key(), &verb).unwrap();
}

fn migrate(scale_down: &str, seed: u64) -> World {
    let mut world = running(seed);
    world.start_all();
    world.create(referring(scale_down)).unwrap();
    healthy_without(&mut world);
    world
}

#[test]
fn progressively_pods_move_to_the_rollout_one_by_one() {
    for seed in 0..4 {
        let mut world = running(seed);
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&sizes);
        world.observe(move |commit, _| {
            let after = commit.after.as_ref().filter(|_| commit.key.kind == Kind::Deployment);
            let size = after.and_then(|after| after.pointer("/spec/replicas")?.as_i64());
            noted.lock().unwrap().extend(size);
        });
        world.start_all();
        world.create(referring("progressively")).unwrap();
        healthy_without(&mut world);
        let mut sizes = sizes.lock().unwrap().clone();
        sizes.dedup();
        assert!(
            sizes.len() > 2 && sizes.is_sorted_by(|one, next| one > next),
            "{sizes:?}"
        );
        assert_eq!(
            world.get(&key()).unwrap().pointer("/spec/replicas"),
            Some(&json!(4)),
            "as many as there were"
        );
        // The Deployment's last pods take their time.
        world.run_for(Duration::from_secs(30));
        let before = world.commits();
        world.run_for(Duration::from_secs(3600));
        assert_eq!(world.commits(), before, "nothing is written at rest");
    }
}

#[test]
fn on_success_pods_move_to_the_rollout_at_once() {
    let mut world = migrate("onsuccess", 1);
    // Somebody applies the manifest of the Deployment again.
    let again = Verb::Apply(deployment());
    world.act(&key(), &again).unwrap();
    assert_eq!(size(&world), 4);
    healthy_without(&mut world);
}

#[test]
fn never_both_run_side_by_side() {
    let mut world = running(1);
    world.start_all();
    world.create(referring("never")).unwrap();
    assert!(world.run_until(Duration::from_secs(300), |world| phase(world) == "Healthy"));
    world.run_for(Duration::from_secs(120));
    assert_eq!(size(&world), 4);
}

/// C4: the controller dies again and again in the middle of it.
#[test]
fn a_migration_survives_the_death_of_the_controller() {
    let mut world = running(3);
    world.start_all();
    world.create(referring("progressively")).unwrap();
    for _ in 0..12 {
        world.run_for(Duration::from_millis(700));
        world.kill(0);
        world.run_for(Duration::from_millis(50));
        world.start(0);
    }
    healthy_without(&mut world);
}

/// Back without a gap: first the Deployment gets its pods, then the Rollout is deleted.
#[test]
fn back_to_the_deployment_by_scale_down_never() {
    let mut world = migrate("progressively", 2);
    let patch = json!({"spec": {"workloadRef": {"scaleDown": "never"}}});
    world.act(&key(), &Verb::Patch(patch)).unwrap();
    assert!(world.run_until(Duration::from_secs(60), |world| size(world) == 4
        && ready(&world.api().state()) == 2 * REPLICAS));
    delete(&mut world);
    world.run_for(Duration::from_secs(60));
    assert_eq!((size(&world), ready(&world.api().state())), (4, REPLICAS));
}

/// argo-rollouts#3855.
#[test]
fn a_deleted_rollout_gives_the_deployment_its_pods_back() {
    let mut world = migrate("onsuccess", 2);
    delete(&mut world);
    assert!(world.run_until(Duration::from_secs(5), |world| size(world) == 4));
    world.run_for(Duration::from_secs(60));
    assert_eq!(ready(&world.api().state()), REPLICAS);
    let deployment = world.get(&deployment_key()).unwrap();
    assert!(
        !deployment.to_string().contains(crate::api::well_known::SCALED_DOWN),
        "{deployment:#}"
    );
}

/// Nobody looked when it was deleted, and no Rollout names a Deployment any more.
#[test]
fn a_rollout_that_was_deleted_while_nobody_looked_gives_the_pods_back() {
    let mut world = migrate("onsuccess", 2);
    world.kill(0);
    delete(&mut world);
    world.run_for(Duration::from_secs(30));
    assert_eq!(size(&world), 0);
    world.start(0);
    assert!(world.run_until(Duration::from_secs(30), |world| size(world) == 4));
}

#[test]
fn a_deployment_that_is_deleted_by_hand_takes_nothing_from_the_rollout() {
    let mut world = migrate("progressively", 1);
    let verb = Verb::Delete {
        kind: Kind::Deployment,
        name: "web".into(),
    };
    world.act(&key(), &verb).unwrap();
    assert!(world.run_until(Duration::from_secs(10), |world| phase(world) == "Degraded"));
    world.run_for(Duration::from_secs(120));
    assert_eq!(ready(&world.api().state()), REPLICAS);
    world.create(deployment()).unwrap();
    healthy_without(&mut world);
}

#[test]
fn an_image_of_the_workload_is_an_update() {
    let mut world = migrate("onsuccess", 1);
    update(&mut world, "web:v2");
    healthy_without(&mut world);
    // The last old pods are on their way out.
    world.run_for(Duration::from_secs(15));
    let state = world.api().state();
    let pods = state.list(Kind::Pod, None).into_iter();
    assert!(pods.into_iter().all(|pod| pod.to_string().contains("web:v2")));
}

/// Counts watches of Deployments, and lets events be late, come twice, or break their watch.
#[derive(Default)]
struct Troubles {
    watches: Arc<Mutex<u32>>,
    events: u64,
    is_bad: bool,
}

impl Faults for Troubles {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        if request.verb == faults::Verb::Watch && request.kind == Some(Kind::Deployment) {
            *self.watches.lock().unwrap() += 1;
        }
        RequestFate::Pass
    }

    fn on_event(&mut self, _: &WatchInfo, _: &EventInfo<'_>) -> EventFate {
        self.events += 1;
        match self.events % 7 {
            1 if self.is_bad => EventFate::Delay(Duration::from_millis(1_500)),
            3 if self.is_bad => EventFate::Repeat,
            5 if self.is_bad => EventFate::Break,
            _ => EventFate::Deliver,
        }
    }
}

#[test]
fn deployments_are_watched_from_the_first_rollout_on_that_names_one() {
    let mut world = running(1);
    let troubles = Troubles::default();
    let watches = Arc::clone(&troubles.watches);
    world.api().set_faults(Some(Box::new(troubles)));
    world.start_all();
    world.run_for(Duration::from_secs(60));
    assert_eq!(*watches.lock().unwrap(), 0);
    world.create(referring("never")).unwrap();
    assert!(world.run_until(Duration::from_secs(300), |world| phase(world) == "Healthy"));
    assert!(*watches.lock().unwrap() > 0);
}

/// C2 and C3: sizes are decided on late views, and refused by the server where that matters.
#[test]
fn a_migration_survives_late_and_repeated_events() {
    for mode in ["progressively", "onsuccess"] {
        let mut world = running(2);
        let is_bad = true;
        world.api().set_faults(Some(Box::new(Troubles {
            is_bad,
            ..Troubles::default()
        })));
        world.start_all();
        world.create(referring(mode)).unwrap();
        healthy_without(&mut world);
    }
}
