//! Rollouts that take their pod template from another object, and what becomes of a Deployment's pods.

use super::{
    fixtures::{deployed, hash, nginx, paused, phase, rollout, selected, service, steps},
    world::World,
};
use crate::{
    api::well_known::{SCALED_DOWN, WORKLOAD_GENERATION},
    plan::Plan,
    rollout::workload::after_deletion,
};
use serde_json::{Value, json};

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "generation": 1}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "demo:v1"}]}}}})
}

/// A Rollout that refers to the Deployment, and has neither template nor selector.
fn referring(strategy: Value, scale_down: &str) -> Value {
    let mut object = rollout(strategy);
    let spec = object["spec"].as_object_mut().unwrap();
    spec.remove("template");
    spec.remove("selector");
    spec.insert(
        "workloadRef".to_owned(),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "scaleDown": scale_down}),
    );
    object
}

fn basic() -> Value {
    json!({"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}})
}

fn blue_green() -> Value {
    json!({"blueGreen": {"activeService": "web-stable"}})
}

fn world(strategy: Value, scale_down: &str, replicas: i64) -> World {
    let services = [service("web-stable"), service("web-canary"), super::fixtures::ingress()];
    let mut objects = vec![referring(strategy, scale_down), deployment(replicas)];
    objects.extend(services);
    World::of(&objects)
}

fn size(world: &World) -> i64 {
    world.get("Deployment", "web")["spec"]["replicas"].as_i64().unwrap()
}

fn remembered(world: &World) -> Option<Value> {
    let record = &world.get("Deployment", "web")["metadata"]["annotations"][SCALED_DOWN];
    serde_json::from_str(record.as_str()?).ok()
}

fn image(world: &mut World, image: &str) {
    let containers = json!([{"name": "web", "image": image}]);
    world.patch(
        "Deployment",
        "web",
        &json!({"spec": {"template": {"spec": {"containers": containers}}}}),
    );
}

/// Passes until nothing is to be done; both together have the pods that the Rollout wants at any time.
fn migrate(world: &mut World) -> Vec<i64> {
    let mut sizes = vec![size(world)];
    world.run_until("migrated", |world, plan| {
        let sets = world.objects.iter().filter(|((kind, _), _)| kind == "ReplicaSet");
        let ready: i64 = sets
            .map(|(_, set)| set["status"]["availableReplicas"].as_i64().unwrap())
            .sum();
        assert!(ready + size(world) >= 5, "{ready} + {} pods", size(world));
        plan.writes_nothing() && plan.requeue == crate::plan::Requeue::AwaitChange
    });
    sizes.push(size(world));
    sizes
}

#[test]
fn template_and_selector_are_those_of_the_deployment() {
    let mut world = world(nginx(steps()), "", 5);
    world.settle();
    assert!(phase(&world, "Healthy"), "{:#}", world.status());
    assert_eq!(world.status()["selector"], "app=web");
    let set = world.get("ReplicaSet", &format!("web-{}", hash(&world, "stableRS")));
    assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["image"], "demo:v1");
    assert_eq!(set["spec"]["selector"]["matchLabels"]["app"], "web");
    let rollout = world.get("Rollout", "web");
    assert!(
        rollout["spec"]["template"].is_null(),
        "nothing is copied into the Rollout"
    );
    assert_eq!(rollout["metadata"]["annotations"][WORKLOAD_GENERATION], "1");
    assert_eq!(world.status()["workloadObservedGeneration"], "1");
    assert_eq!(
        (size(&world), remembered(&world)),
        (5, None),
        "scaleDown is never by default"
    );
}

#[test]
fn a_changed_template_of_the_workload_is_an_update() {
    let mut world = world(nginx(steps()), "never", 5);
    world.settle();
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let new = hash(&world, "currentPodHash");
    assert_ne!(old, new);
    assert_eq!(world.set_replicas(&new), 1);
    assert_eq!(world.status()["workloadObservedGeneration"], "2");
    assert_eq!(
        world.get("Rollout", "web")["metadata"]["annotations"][WORKLOAD_GENERATION],
        "2"
    );
    // Scaling the workload is none.
    world.patch("Deployment", "web", &json!({"spec": {"replicas": 0}}));
    world.settle();
    assert_eq!(hash(&world, "currentPodHash"), new);
    assert_eq!(world.status()["workloadObservedGeneration"], "3");
}

#[test]
fn a_replica_set_and_a_pod_template_can_be_referred_to() {
    let template = deployment(1)["spec"]["template"].clone();
    for (kind, object) in [
        ("ReplicaSet", json!({"apiVersion": "apps/v1", "kind": "ReplicaSet"})),
        ("PodTemplate", json!({"apiVersion": "v1", "kind": "PodTemplate"})),
    ] {
        let (mut object, mut referring) = (object, referring(basic(), "progressively"));
        object["metadata"] = json!({"name": "base"});
        let place = if kind == "PodTemplate" {
            &mut object
        } else {
            &mut object["spec"]
        };
        place["template"] = template.clone();
        referring["spec"]["workloadRef"]["apiVersion"] = object["apiVersion"].clone();
        referring["spec"]["workloadRef"]["kind"] = json!(kind);
        referring["spec"]["workloadRef"]["name"] = json!("base");
        referring["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        let mut world = World::of(&[referring]);
        world.workloads.push(object);
        world.settle();
        assert!(phase(&world, "Healthy"), "{kind}: {:#}", world.status());
        assert_eq!(world.set_replicas(&hash(&world, "stableRS")), 5);
    }
}

/// argo-rollouts#1123: nothing of what runs is touched.
#[test]
fn a_missing_workload_is_named_and_nothing_moves_until_it_is_back() {
    for strategy in [nginx(steps()), basic(), blue_green()] {
        let mut world = world(strategy, "never", 5);
        world.settle();
        image(&mut world, "demo:v2");
        world.settle();
        let before = world.objects.clone();
        world.remove("Deployment", "web");
        for _ in 0..5 {
            world.pass();
            world.wait(60);
        }
        let status = world.status();
        let message = "The Rollout \"web\" is invalid: spec.workloadRef.name: Invalid value: \"web\": deployments.apps \"web\" not found";
        assert_eq!(
            (&status["phase"], &status["message"]),
            (&json!("Degraded"), &json!(format!("InvalidSpec: {message}")))
        );
        let sets = |objects: &super::world::Objects| -> Vec<Value> {
            let sets = objects.iter().filter(|((kind, _), _)| kind == "ReplicaSet");
            sets.map(|(_, set)| set["spec"].clone()).collect()
        };
        assert_eq!(sets(&world.objects), sets(&before));
        for field in [
            "currentPodHash",
            "stableRS",
            "currentStepIndex",
            "pauseConditions",
            "selector",
            "workloadObservedGeneration",
        ] {
            let (key, object) = before.iter().find(|((kind, _), _)| kind == "Rollout").unwrap();
            assert_eq!(status[field], object["status"][field], "{field} of {key:?}");
        }
        let told = world
            .reasons()
            .iter()
            .filter(|reason| **reason == "InvalidSpec")
            .count();
        assert_eq!(told, 1, "told once");
        let deployment = before[&("Deployment".to_owned(), "web".to_owned())].clone();
        world.put(deployment);
        world.settle();
        let rollout = &before[&("Rollout".to_owned(), "web".to_owned())];
        assert_eq!(world.status()["phase"], rollout["status"]["phase"]);
        assert_eq!(sets(&world.objects), sets(&before));
    }
}

/// T5: an abort needs no workload.
#[test]
fn an_abort_goes_through_without_the_workload() {
    let mut world = world(nginx(steps()), "never", 5);
    world.settle();
    let old = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.remove("Deployment", "web");
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    for _ in 0..5 {
        world.pass();
        world.wait(10);
    }
    assert_eq!((world.weight(), selected(&world, "web-canary")), (0, json!(old)));
}

#[test]
fn what_is_wrong_with_a_reference_is_named_at_its_field() {
    let check = |change: Value, expected: &[&str]| {
        let mut object = referring(basic(), "never");
        json_patch::merge(&mut object, &change);
        let mut world = World::of(&[object, deployment(5)]);
        world.pass();
        let message = world.status()["message"].as_str().unwrap().to_owned();
        for text in expected {
            assert!(message.contains(text), "{message}");
        }
        assert!(world.objects.keys().all(|(kind, _)| kind != "ReplicaSet"));
    };
    check(
        json!({"spec": {"template": {"spec": {}}}}),
        &["spec.template: Invalid value: \"\": template must be empty for workload reference rollout"],
    );
    check(
        json!({"spec": {"workloadRef": {"kind": "StatefulSet"}}}),
        &["spec.workloadRef: Invalid value: \"web\": workload of type apps/StatefulSet is not supported"],
    );
    check(
        json!({"spec": {"workloadRef": {"scaleDown": "Progressively"}}}),
        &["spec.workloadRef.scaleDown: Invalid value: \"Progressively\": must be never, onsuccess or progressively"],
    );
    check(
        json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}}),
        &["`selector` does not match template `labels`"],
    );
}

#[test]
fn on_success_the_deployment_goes_once_the_rollout_is_healthy() {
    for strategy in [nginx(steps()), basic(), blue_green()] {
        let mut world = world(strategy, "onsuccess", 5);
        world.run_until("healthy", |world, _| {
            assert_eq!(size(world), 5);
            phase(world, "Healthy")
        });
        assert_eq!(migrate(&mut world), [5, 0]);
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
        assert_eq!(remembered(&world).unwrap()["replicas"], 5);
        assert_eq!(world.status()["workloadObservedGeneration"], "2");
    }
}

#[test]
fn progressively_the_deployment_goes_as_pods_become_available() {
    for strategy in [nginx(steps()), basic(), blue_green()] {
        let mut world = world(strategy, "progressively", 5);
        let mut sizes = Vec::new();
        for ready in 0..=5 {
            world.ready_at_most = Some(ready);
            for _ in 0..4 {
                world.pass();
                world.wait(1);
            }
            sizes.push(size(&world));
            assert!(ready + size(&world) >= 5);
        }
        assert_eq!(sizes[..5], [5, 4, 3, 2, 1]);
        migrate(&mut world);
        assert_eq!(size(&world), 0);
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
    }
}

#[test]
fn a_first_deployment_that_loses_its_pods_gives_them_back_to_the_deployment() {
    let mut world = world(basic(), "progressively", 5);
    for (ready, kept) in [(3, 2), (1, 4), (0, 5)] {
        world.ready_at_most = Some(ready);
        for _ in 0..6 {
            world.pass();
        }
        assert_eq!(size(&world), kept);
    }
}

#[test]
fn an_update_under_way_leaves_a_deployment_that_is_gone_at_zero() {
    let mut world = world(basic(), "progressively", 5);
    migrate(&mut world);
    image(&mut world, "demo:v2");
    world.ready_at_most = Some(3);
    for _ in 0..10 {
        world.pass();
        world.wait(5);
    }
    assert_eq!(size(&world), 0);
}

/// argo-rollouts#4935 and #4681: in both modes, at any revision.
#[test]
fn a_deployment_that_is_scaled_up_again_is_scaled_down_again() {
    for mode in ["onsuccess", "progressively"] {
        let mut world = world(basic(), mode, 5);
        migrate(&mut world);
        image(&mut world, "demo:v2");
        world.settle();
        world.patch("Rollout", "web", &json!({"status": {"promoteFull": true}}));
        world.settle();
        assert!(phase(&world, "Healthy"), "{:#}", world.status());
        world.events.clear();
        world.patch("Deployment", "web", &json!({"spec": {"replicas": 7}}));
        migrate(&mut world);
        assert_eq!(
            (size(&world), remembered(&world).unwrap()["replicas"].clone()),
            (0, json!(7))
        );
        assert_eq!(world.reasons(), ["ScalingDeployment"]);
        // Again at once: it is answered a minute later.
        world.patch("Deployment", "web", &json!({"spec": {"replicas": 7}}));
        for _ in 0..3 {
            world.pass();
        }
        assert_eq!(size(&world), 7, "{mode}");
        migrate(&mut world);
        assert_eq!(size(&world), 0);
    }
}

#[test]
fn scale_down_never_gives_the_pods_back() {
    for mode in ["onsuccess", "progressively"] {
        let mut world = world(blue_green(), mode, 5);
        migrate(&mut world);
        world.patch("Rollout", "web", &json!({"spec": {"replicas": 8}}));
        world.settle();
        assert_eq!(
            remembered(&world).unwrap()["replicas"],
            8,
            "as many as the Rollout has now"
        );
        world.patch(
            "Rollout",
            "web",
            &json!({"spec": {"workloadRef": {"scaleDown": "never"}}}),
        );
        world.settle();
        assert_eq!((size(&world), remembered(&world)), (8, None));
        assert!(world.get("Deployment", "web")["metadata"]["labels"][SCALED_DOWN].is_null());
        assert_eq!(
            world.set_replicas(&hash(&world, "stableRS")),
            8,
            "the Rollout keeps its own"
        );
    }
}

#[test]
fn a_reference_that_is_removed_gives_the_pods_back() {
    let mut world = world(basic(), "onsuccess", 5);
    migrate(&mut world);
    let template = deployment(5)["spec"]["template"].clone();
    let own = json!({"spec": {"workloadRef": null, "selector": {"matchLabels": {"app": "web"}}, "template": template}});
    let before = hash(&world, "stableRS");
    world.patch("Rollout", "web", &own);
    world.settle();
    assert_eq!((size(&world), remembered(&world)), (5, None));
    assert_eq!((hash(&world, "stableRS"), world.set_replicas(&before)), (before, 5));
    assert_eq!(world.status()["workloadObservedGeneration"], Value::Null);
}

fn released(world: &World) -> Plan {
    let workload = serde_json::from_value(world.get("Deployment", "web").clone()).unwrap();
    after_deletion(&[&workload])
}

/// argo-rollouts#3855.
#[test]
fn a_deleted_rollout_gives_the_pods_back_but_no_size_that_somebody_else_chose() {
    let mut world = world(basic(), "onsuccess", 5);
    migrate(&mut world);
    let mut other = World::of(&[]);
    other.put(world.get("Deployment", "web").clone());
    for (size_now, back) in [(0, 5), (3, 3)] {
        other.patch("Deployment", "web", &json!({"spec": {"replicas": size_now}}));
        let mut gone = World::of(&[]);
        gone.put(other.get("Deployment", "web").clone());
        for action in released(&gone).stages.iter().flat_map(|stage| &stage.0) {
            assert!(!gone.refuses(action));
            gone.carry_out(action);
        }
        assert_eq!((size(&gone), remembered(&gone)), (back, None));
        assert!(released(&gone).writes_nothing(), "once");
    }
}

/// argo-rollouts#4110: a Rollout without a number takes that of the Deployment, so that nothing dips to one pod.
#[test]
fn a_rollout_without_replicas_takes_those_of_its_deployment() {
    for (mode, taken) in [("onsuccess", 6), ("progressively", 6), ("never", 1)] {
        let mut world = world(basic(), mode, 6);
        world.patch("Rollout", "web", &json!({"spec": {"replicas": null}}));
        world.settle();
        assert_eq!(world.get("Rollout", "web")["spec"]["replicas"], taken);
        assert_eq!(world.set_replicas(&hash(&world, "stableRS")), taken);
        // Applied anew without a number.
        world.patch("Rollout", "web", &json!({"spec": {"replicas": null}}));
        world.settle();
        assert_eq!(world.get("Rollout", "web")["spec"]["replicas"], taken);
    }
}

#[test]
fn nobody_is_scaled_down_by_a_rollout_that_is_paused_wrong_or_of_no_pods() {
    for change in [
        json!({"spec": {"paused": true}}),
        json!({"spec": {"replicas": 0}}),
        json!({"spec": {"minReadySeconds": -1}}),
    ] {
        let mut world = world(basic(), "progressively", 5);
        world.patch("Rollout", "web", &change);
        for _ in 0..5 {
            world.pass();
            world.wait(10);
        }
        assert_eq!((size(&world), remembered(&world)), (5, None), "{change}");
    }
}

#[test]
fn a_deployment_of_another_rollout_is_left_alone() {
    let mut world = world(basic(), "onsuccess", 5);
    let record = json!({"rollout": "other", "replicas": 5, "set": 2}).to_string();
    world.patch(
        "Deployment",
        "web",
        &json!({"metadata": {"annotations": {SCALED_DOWN: record}}, "spec": {"replicas": 2}}),
    );
    world.settle();
    assert_eq!(size(&world), 2);
}

/// C3: every size of the Deployment is bound to what was seen.
#[test]
fn every_write_to_the_deployment_carries_its_version() {
    let mut world = world(basic(), "progressively", 5);
    let mut seen = 0;
    for _ in 0..10 {
        let plan = world.plan();
        for action in plan.stages.iter().flat_map(|stage| &stage.0) {
            if action.target().kind == "Deployment" {
                seen += 1;
                let mut moved = World::of(&[]);
                let mut changed = world.get("Deployment", "web").clone();
                changed["spec"]["replicas"] = json!(9);
                moved.put(changed);
                moved.patch("Deployment", "web", &json!({"metadata": {"annotations": {"a": "b"}}}));
                assert!(moved.refuses(action), "{action:?}");
            }
        }
        world.pass();
        world.wait(5);
    }
    assert!(seen > 0);
}

#[test]
fn a_rollout_that_names_its_own_template_is_not_touched_by_a_deployment_beside_it() {
    let mut world = deployed(basic());
    world.put(deployment(5));
    world.settle();
    assert_eq!(size(&world), 5);
}
