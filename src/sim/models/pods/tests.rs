use super::*;
use crate::sim::models::testing::Bench;

fn pods(truth: &SharedTruth) -> Pods {
    Pods::new(
        truth.clone(),
        Range::millis(2000, 2000),
        Range::millis(5000, 5000),
        &Dice::new(1),
    )
}

fn pod(bench: &Bench, image: &str) -> Key {
    bench.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop",
        "labels": {"rollouts-pod-template-hash": "h"}}, "spec": {"nodeName": "node", "containers": [{"name": "web", "image": image}]}}))
}

#[test]
fn pods_behave_as_their_image_says() {
    use Shown::{Crashing, Ready, Starting};
    for (image, expect) in [
        ("web:v1", [Starting, Starting, Ready, Ready]),
        ("web:v1-ready5", [Starting, Starting, Starting, Ready]),
        ("web:v1-crash", [Starting, Starting, Crashing, Crashing]),
    ] {
        let (bench, truth) = (Bench::new(), SharedTruth::default());
        let (mut model, key) = (pods(&truth), pod(&bench, image));
        let seen = [0, 1, 1, 5].map(|seconds| {
            bench.wait(seconds);
            bench.act(&mut model);
            shows(&bench.get(&key)).unwrap()
        });
        assert_eq!(seen, expect, "{image}");
    }
}

#[test]
fn a_ready_pod_may_crash_and_come_back() {
    let (bench, truth) = (Bench::new(), SharedTruth::default());
    let (mut model, key) = (pods(&truth), pod(&bench, "web:v1"));
    assert_eq!(bench.act(&mut model), Some(2));
    bench.wait(2);
    assert_eq!(bench.act(&mut model), None);
    truth
        .lock()
        .down
        .insert("p".to_owned(), later(bench.now(), std::time::Duration::from_secs(30)));
    assert_eq!(bench.act(&mut model), Some(30));
    assert_eq!(shows(&bench.get(&key)), Some(Shown::Crashing));
    bench.wait(30);
    bench.act(&mut model);
    assert_eq!(shows(&bench.get(&key)), Some(Shown::Ready));
}

#[test]
fn a_deleted_pod_serves_until_its_end() {
    let (bench, truth) = (Bench::new(), SharedTruth::default());
    let (mut model, key) = (pods(&truth), pod(&bench, "web:v1"));
    bench.act(&mut model);
    bench.wait(2);
    bench.act(&mut model);
    bench.api.delete("test", &key, &Deletion::default()).unwrap();
    assert_eq!(bench.act(&mut model), Some(5));
    assert!(is_ready(&bench.get(&key)));
    bench.wait(5);
    bench.act(&mut model);
    assert!(bench.names(Kind::Pod).is_empty());
    assert!(model.plans.contains_key("nobody") || model.plans.len() <= 1);
}
