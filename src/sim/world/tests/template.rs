//! Pod templates that the API server stores otherwise than they are written: one revision each, and none for the server.

use super::*;
use crate::sim::api::Change;

/// What the server fills in or leaves out, and a field that is misspelt.
fn odd(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "nodeSelector": {}, "serviceAccount": "web", "volumes": [{"name": "scratch"}],
        "containers": [{"name": "web", "image": image, "redinessProbe": {"httpGet": {"port": 80}},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}}, "readinessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}]}})
}

fn canary(template: Value) -> Value {
    let mut rollout = rollout(json!([{"setWeight": 25}, {"pause": {"duration": 30}}]));
    rollout["spec"]["template"] = template;
    rollout["spec"]["strategy"]["canary"] = json!({
        "canaryMetadata": {"labels": {"role": "canary"}}, "stableMetadata": {"labels": {"role": "stable"}},
        "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 1}},
        "steps": [{"setWeight": 25}, {"pause": {"duration": 30}}]});
    rollout
}

fn healthy(template: Value) -> World {
    let mut world = World::new(Options::default()).unwrap();
    world.create(canary(template)).unwrap();
    world.start_all();
    settle(&mut world);
    world
}

fn settle(world: &mut World) {
    let is_settled = world.run_until(Duration::from_secs(600), |world| {
        let rollout = world.get(&key()).unwrap();
        let observed = rollout["metadata"]["generation"].to_string();
        phase(world) == "Healthy" && rollout["status"]["observedGeneration"] == observed
    });
    assert!(is_settled, "{:#?}", world.get(&key()));
    world.run_for(Duration::from_secs(300));
    assert_eq!(phase(world), "Healthy");
}

/// ReplicaSets, and how often a name was taken.
fn made(world: &World) -> (usize, Option<i64>) {
    let status = world.get(&key()).unwrap()["status"].clone();
    (sets(world).len(), status["collisionCount"].as_i64())
}

fn sets(world: &World) -> Vec<Arc<Value>> {
    let state = world.api().state();
    state.list(Kind::ReplicaSet, None).into_iter().cloned().collect()
}

fn change(world: &World, patch: Value) {
    world.api().patch(USER, &key(), &Change::Merge(patch)).unwrap();
}

/// D5: what the server makes of a template is no other template, at any time of an update.
#[test]
fn a_template_that_the_server_changes_is_one_revision() {
    let mut world = healthy(odd("web:v1"));
    assert_eq!(made(&world), (1, None), "{:#?}", sets(&world));
    let container = sets(&world)[0]["spec"]["template"]["spec"]["containers"][0].clone();
    assert_eq!(container.get("redinessProbe"), None);
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/");
    let before = world.commits();
    world.run_for(Duration::from_secs(7200));
    assert_eq!(world.commits(), before);
    // Another size, another version and back.
    change(&world, json!({"spec": {"replicas": 6}}));
    settle(&mut world);
    assert_eq!(made(&world), (1, None));
    change(&world, json!({"spec": {"template": odd("web:v2")}}));
    settle(&mut world);
    assert_eq!(made(&world), (2, None));
    change(&world, json!({"spec": {"template": odd("web:v1")}}));
    settle(&mut world);
    assert_eq!(made(&world), (2, None));
}

/// The digest of what a ReplicaSet was made from speaks for no other pods.
#[test]
fn a_set_that_a_person_edited_is_not_the_templates() {
    let mut world = healthy(odd("web:v1"));
    let set = Key::new(
        Kind::ReplicaSet,
        "shop",
        sets(&world)[0]["metadata"]["name"].as_str().unwrap(),
    );
    let edit = json!({"spec": {"template": {"spec": {"nodeSelector": {"pool": "mine"}}}}});
    world.api().patch(USER, &set, &Change::Merge(edit)).unwrap();
    settle(&mut world);
    world.run_for(Duration::from_secs(600));
    assert_eq!(made(&world), (2, Some(1)), "{:#?}", sets(&world));
}

/// A take-over: the ReplicaSet was made by another controller, which compared without the unknown field.
#[test]
fn a_recorded_set_without_a_digest_is_taken_over() {
    let mut world = healthy(odd("web:v1"));
    world.stop(0);
    let set = Key::new(
        Kind::ReplicaSet,
        "shop",
        sets(&world)[0]["metadata"]["name"].as_str().unwrap(),
    );
    let forget = json!({"metadata": {"annotations": {"tidegate/made-from": null}}});
    world.api().patch(USER, &set, &Change::Merge(forget)).unwrap();
    world.start(0);
    settle(&mut world);
    assert_eq!(made(&world), (1, None));
    // From then on it is known whatever becomes of the Rollout.
    change(&world, json!({"spec": {"replicas": 6}}));
    settle(&mut world);
    assert_eq!(made(&world), (1, None));
}
