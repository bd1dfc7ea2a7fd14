//! A Rollout that is gone gives its Services up: they lead to whatever takes its place.

use super::*;
use crate::{
    api::well_known::{MANAGED_BY_ROLLOUT, POD_TEMPLATE_HASH},
    sim::{
        api::{
            Deletion, Propagation,
            faults::{EventFate, EventInfo, Faults, Happening, RequestFate, RequestInfo, Verb as Asked, WatchInfo},
            refusal::refused,
        },
        models::is_ready,
    },
};
use std::sync::atomic::{AtomicBool, Ordering};

const SERVICES: [&str; 2] = ["web-stable", "web-canary"];

/// A world with a Rollout at rest, and a Deployment beside it whose pods no Service selects yet.
fn beside(options: Options) -> World {
    let mut world = deployed(options);
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "plain", "namespace": "shop"},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}}}});
    world.create(deployment).unwrap();
    assert!(world.run_until(Duration::from_secs(60), |world| {
        let state = world.api().state();
        state.list(Kind::Pod, None).iter().filter(|pod| is_ready(pod)).count() == 8
    }));
    assert!(!is_released(&world));
    assert!(!world.traffic().shares().by_hash.contains_key(""));
    world
}

fn is_released(world: &World) -> bool {
    SERVICES.iter().all(|name| {
        let service = world.get(&Key::new(Kind::Service, "shop", *name)).unwrap();
        !service.to_string().contains(MANAGED_BY_ROLLOUT) && service["spec"]["selector"] == json!({"app": "web"})
    })
}

fn delete(world: &World, propagation: Propagation) {
    let how = Deletion {
        propagation,
        ..Deletion::default()
    };
    world.api().delete(USER, &key(), &how).unwrap();
}

fn again() -> Value {
    rollout(json!([{"setWeight": 25}, {"pause": {"duration": 30}}]))
}

/// From now on, a Service that loses its mark or its hash fails the test.
fn stays_managed(world: &mut World) {
    world.observe(|commit, _| {
        let service = commit.after.as_ref().filter(|_| commit.key.kind == Kind::Service);
        if let Some(service) = service {
            let annotations = &service["metadata"]["annotations"];
            assert_eq!(annotations[MANAGED_BY_ROLLOUT], "web", "{service:#}");
            assert!(
                service["spec"]["selector"][POD_TEMPLATE_HASH].is_string(),
                "{service:#}"
            );
        }
    });
}

#[test]
fn services_of_a_deleted_rollout_lead_to_what_takes_its_place() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let mut world = beside(Options::default());
        delete(&world, propagation);
        assert!(world.run_until(Duration::from_secs(5), is_released));
        world.run_for(Duration::from_secs(90));
        let shares = world.traffic().shares();
        assert_eq!(shares.lost, 0.0);
        assert_eq!(shares.by_hash.keys().collect::<Vec<_>>(), [""]);
        assert!(world.get(&key()).is_none());
        let told: Vec<Value> = (world.api().state().list(Kind::Event, None).into_iter())
            .filter(|event| event["reason"] == "RolloutDeleted")
            .map(|event| event["message"].clone())
            .collect();
        assert_eq!(told, ["Rollout shop/web is deleted."]);
        let before = world.commits();
        world.run_for(Duration::from_secs(3600));
        assert_eq!(world.commits(), before, "nothing is written at rest");
    }
}

/// The way back without a gap: pods go only when others get their requests.
#[test]
fn a_rollout_that_is_deleted_without_its_pods_loses_no_request() {
    let mut world = beside(Options::default());
    delete(&world, Propagation::Orphan);
    assert!(world.run_until(Duration::from_secs(5), is_released));
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.traffic().shares().by_hash.len(), 2, "its pods and the others");
    let sets: Vec<String> = (world.api().state().list(Kind::ReplicaSet, None).into_iter())
        .filter(|set| set["metadata"]["ownerReferences"][0].is_null())
        .map(|set| set["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sets.len(), 1);
    let set = Key::new(Kind::ReplicaSet, "shop", sets[0].as_str());
    world.api().delete(USER, &set, &Deletion::default()).unwrap();
    world.run_for(Duration::from_secs(90));
    let shares = world.traffic().shares();
    assert_eq!(shares.by_hash.keys().collect::<Vec<_>>(), [""]);
    assert_eq!(world.traffic().lock().first_loss, None);
}

/// C4: nobody looked when it was deleted.
#[test]
fn a_rollout_that_was_deleted_while_nobody_looked_is_released_later() {
    let mut world = beside(Options::default());
    world.kill(0);
    delete(&world, Propagation::Background);
    world.run_for(Duration::from_secs(90));
    assert!(!is_released(&world));
    world.start(0);
    assert!(world.run_until(Duration::from_secs(30), is_released));
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.traffic().shares().lost, 0.0);
}

#[test]
fn a_standby_that_takes_over_releases_what_was_left() {
    let mut world = beside(Options {
        replicas: 2,
        args: Some(Options::args_elected()),
        ..Options::default()
    });
    world.kill(0);
    world.kill(1);
    world.start(1);
    delete(&world, Propagation::Background);
    assert!(world.run_until(Duration::from_secs(90), is_released));
}

#[test]
fn a_rollout_that_is_made_again_at_once_keeps_its_services() {
    let mut world = beside(Options::default());
    stays_managed(&mut world);
    delete(&world, Propagation::Background);
    world.create(again()).unwrap();
    assert!(
        world.run_until(Duration::from_secs(300), |world| phase(world) == "Healthy"),
        "{:#?}",
        world.get(&key())
    );
    world.run_for(Duration::from_secs(90));
    assert!(!world.traffic().shares().by_hash.contains_key(""));
}

/// Shows no new Rollout for a while, and answers no question for one when told so.
#[derive(Default)]
struct Blind {
    late: Duration,
    is_mute: Arc<AtomicBool>,
}

impl Faults for Blind {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        let is_asked = request.kind == Some(Kind::Rollout) && request.verb == Asked::Get;
        match is_asked && self.is_mute.load(Ordering::Relaxed) {
            true => RequestFate::Refuse(refused(500, "InternalError", "the test wants it so")),
            false => RequestFate::Pass,
        }
    }

    fn on_event(&mut self, watch: &WatchInfo, event: &EventInfo<'_>) -> EventFate {
        match watch.kind == Kind::Rollout && event.happening == Happening::Added {
            true => EventFate::Delay(self.late),
            false => EventFate::Deliver,
        }
    }
}

/// C3 and T7: the watch shows that the Rollout is gone, and not yet that there is another one.
#[test]
fn a_stale_view_releases_nothing() {
    let mut world = beside(Options::default());
    stays_managed(&mut world);
    world.api().set_faults(Some(Box::new(Blind {
        late: Duration::from_secs(20),
        ..Blind::default()
    })));
    delete(&world, Propagation::Background);
    world.create(again()).unwrap();
    world.run_for(Duration::from_secs(90));
    assert!(world.run_until(Duration::from_secs(300), |world| phase(world) == "Healthy"));
}

/// Hazard 3: a server that does not answer has not said that the Rollout is gone.
#[test]
fn an_error_releases_nothing() {
    let mut world = beside(Options::default());
    let blind = Blind::default();
    let is_mute = Arc::clone(&blind.is_mute);
    is_mute.store(true, Ordering::Relaxed);
    world.api().set_faults(Some(Box::new(blind)));
    delete(&world, Propagation::Background);
    world.run_for(Duration::from_secs(120));
    assert!(!is_released(&world));
    is_mute.store(false, Ordering::Relaxed);
    assert!(world.run_until(Duration::from_secs(60), is_released));
}

/// A Rollout of another name on the same Services was refused for good.
#[test]
fn a_rollout_of_another_name_takes_the_services_over() {
    let mut world = beside(Options::default());
    let mut other = again();
    other["metadata"]["name"] = json!("shop-web");
    world.create(other).unwrap();
    let other = Key::new(Kind::Rollout, "shop", "shop-web");
    world.run_for(Duration::from_secs(10));
    let refused = world.get(&other).unwrap();
    assert!(
        refused.to_string().contains("is managed by another Rollout (web)"),
        "{refused:#}"
    );
    delete(&world, Propagation::Background);
    assert!(
        world.run_until(Duration::from_secs(300), |world| {
            let other = world.get(&other).unwrap();
            other["status"]["phase"] == "Healthy"
        }),
        "{:#?}",
        world.get(&other)
    );
    for name in SERVICES {
        let service = world.get(&Key::new(Kind::Service, "shop", name)).unwrap();
        assert_eq!(service["metadata"]["annotations"][MANAGED_BY_ROLLOUT], "shop-web");
    }
}
