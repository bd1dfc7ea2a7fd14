use super::*;
use crate::sim::models::testing::Bench;

#[test]
fn it_scales_within_its_bounds() {
    let (bench, truth) = (Bench::new(), SharedTruth::default());
    let rollout = bench.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": 4}}));
    bench.put(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"minReplicas": 2, "maxReplicas": 8,
            "scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"}}}));
    let mut model = Autoscaler::new(truth.clone(), Range::millis(15_000, 15_000), &Dice::new(1));
    for (wish, expect) in [(None, 4), (Some(6), 6), (Some(100), 8), (Some(0), 2)] {
        truth.lock().pods_wanted = wish;
        assert_eq!(bench.act(&mut model), Some(15));
        assert_eq!(number(&bench.get(&rollout), "/spec/replicas"), Some(expect), "{wish:?}");
        truth.lock().pods_wanted = Some(5);
        bench.act(&mut model);
        assert_eq!(
            number(&bench.get(&rollout), "/spec/replicas"),
            Some(expect),
            "not before its time"
        );
        bench.wait(15);
    }
}
