use super::*;
use crate::sim::models::testing::Bench;

fn set(bench: &Bench, replicas: i64, min_ready: i64) -> Key {
    let labels = json!({"app": "web", "rollouts-pod-template-hash": "h"});
    bench.put(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web-h", "namespace": "shop", "labels": labels},
        "spec": {"replicas": replicas, "minReadySeconds": min_ready, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}}}}))
}

fn keys(bench: &Bench) -> Vec<Key> {
    bench
        .names(Kind::Pod)
        .into_iter()
        .map(|name| Key::new(Kind::Pod, "shop", name))
        .collect()
}

#[track_caller]
fn check(bench: &Bench, key: &Key, expect: [Option<i64>; 3]) {
    let set = bench.get(key);
    let found =
        ["replicas", "readyReplicas", "availableReplicas"].map(|field| number(&set, &format!("/status/{field}")));
    assert_eq!(found, expect);
}

#[test]
fn pods_are_made_counted_and_available_in_their_time() {
    let bench = Bench::new();
    let mut model = ReplicaSets::new(&Dice::new(1));
    let key = set(&bench, 3, 10);
    bench.act(&mut model);
    check(&bench, &key, [Some(3), None, None]);
    keys(&bench).iter().take(2).for_each(|pod| bench.ready(pod, true));
    assert_eq!(bench.act(&mut model), Some(10));
    check(&bench, &key, [Some(3), Some(2), None]);
    bench.wait(10);
    assert_eq!(bench.act(&mut model), None);
    check(&bench, &key, [Some(3), Some(2), Some(2)]);
    let before = bench.api.state().version();
    bench.act(&mut model);
    assert_eq!(bench.api.state().version(), before, "nothing to do, nothing written");
}

#[test]
fn those_not_ready_go_first_then_the_youngest() {
    let bench = Bench::new();
    let mut model = ReplicaSets::new(&Dice::new(1));
    let key = set(&bench, 2, 0);
    bench.act(&mut model);
    let old = keys(&bench);
    old.iter().for_each(|pod| bench.ready(pod, true));
    bench.wait(60);
    bench.patch(&key, json!({"spec": {"replicas": 4}}));
    bench.act(&mut model);
    let young: Vec<Key> = keys(&bench).into_iter().filter(|pod| !old.contains(pod)).collect();
    bench.ready(&young[0], true);
    let left = |replicas: i64, model: &mut ReplicaSets| {
        bench.patch(&key, json!({"spec": {"replicas": replicas}}));
        bench.act(model);
        keys(&bench)
            .into_iter()
            .filter(|pod| !is_going(&bench.get(pod)))
            .collect::<Vec<_>>()
    };
    assert!(!left(3, &mut model).contains(&young[1]), "the one that is not ready");
    assert_eq!(left(2, &mut model), old, "the youngest");
    check(&bench, &key, [Some(2), Some(2), Some(2)]);
}
