use super::*;
use crate::sim::models::{endpoints::Endpoints, testing::Bench};
use serde_json::json;

fn ingress(bench: &Bench, name: &str, service: &str, annotations: Value) -> Key {
    bench.put(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"rules": [{"host": "web.local", "http": {"paths": [{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}}))
}

fn canary(weight: &str, total: Option<&str>) -> Value {
    let mut annotations =
        json!({"nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": weight});
    if let Some(total) = total {
        annotations["nginx.ingress.kubernetes.io/canary-weight-total"] = total.into();
    }
    annotations
}

struct Plane {
    bench: Bench,
    model: DataPlane,
    traffic: Traffic,
    truth: SharedTruth,
    /// Of the canary version.
    pod: Key,
}

/// Two stable pods and one of the canary, behind Services and Ingresses.
fn plane(delay: u64, annotations: Value) -> Plane {
    let bench = Bench::new();
    bench.service("web-stable", Some("a"));
    bench.service("web-canary", Some("b"));
    bench.pod("a1", "a", true);
    bench.pod("a2", "a", true);
    let pod = bench.pod("b1", "b", true);
    ingress(&bench, "web", "web-stable", json!({}));
    ingress(&bench, "web-canary", "web-canary", annotations);
    bench.act(&mut Endpoints);
    let (truth, traffic) = (SharedTruth::default(), Traffic::default());
    traffic.lock().delay = Range::millis(delay, delay);
    traffic.lock().entries.push(Entry::Ingress {
        namespace: "shop".into(),
        name: "web".into(),
    });
    let model = DataPlane::new(&Dice::new(1), truth.clone(), traffic.clone());
    Plane {
        bench,
        model,
        traffic,
        truth,
        pod,
    }
}

impl Plane {
    fn shares(&mut self) -> (f64, f64, f64) {
        self.bench.act(&mut self.model);
        let shares = self.traffic.shares();
        let of = |hash: &str| shares.by_hash.get(hash).copied().unwrap_or(0.0);
        (of("a"), of("b"), shares.lost)
    }
}

#[test]
fn shares_follow_weights() {
    for (annotations, expect) in [
        (canary("0", None), (1.0, 0.0, 0.0)),
        (canary("25", None), (0.75, 0.25, 0.0)),
        (canary("100", None), (0.0, 1.0, 0.0)),
        (canary("5", Some("10")), (0.5, 0.5, 0.0)),
        (
            json!({"nginx.ingress.kubernetes.io/canary": "false", "nginx.ingress.kubernetes.io/canary-weight": "50"}),
            (1.0, 0.0, 0.0),
        ),
        (
            json!({"my.prefix/canary": "true", "my.prefix/canary-weight": "50"}),
            (0.5, 0.5, 0.0),
        ),
    ] {
        assert_eq!(plane(0, annotations.clone()).shares(), expect, "{annotations}");
    }
}

#[test]
fn changes_are_taken_up_late_and_in_order() {
    let mut plane = plane(3000, canary("25", None));
    assert_eq!(plane.shares(), (0.0, 0.0, 0.0), "nothing taken up yet");
    plane.bench.wait(3);
    assert_eq!(plane.shares(), (0.75, 0.25, 0.0));
    let key = Key::new(Kind::Ingress, "shop", "web-canary");
    plane.bench.patch(
        &key,
        json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "50"}}}),
    );
    assert_eq!(plane.shares(), (0.75, 0.25, 0.0));
    plane.traffic.lock().delay = Range::default();
    plane.bench.patch(
        &key,
        json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "0"}}}),
    );
    assert_eq!(
        plane.shares(),
        (0.75, 0.25, 0.0),
        "the quicker change does not overtake the slower one"
    );
    plane.bench.wait(3);
    assert_eq!(plane.shares(), (1.0, 0.0, 0.0));
}

#[test]
fn requests_without_a_pod_are_lost_and_counted() {
    let mut plane = plane(0, canary("25", None));
    plane.shares();
    plane.truth.lock().down.insert("b1".into(), Timestamp::MAX);
    assert_eq!(plane.shares(), (0.75, 0.0, 0.25));
    plane.bench.wait(4);
    plane.shares();
    let seen = plane.traffic.lock().clone();
    assert_eq!(
        (seen.lost_requests, seen.first_loss.unwrap().1.as_str()),
        (100.0, "web-canary")
    );
    plane.truth.lock().down.insert("a1".into(), Timestamp::MAX);
    assert_eq!(plane.shares().0, 0.75, "the other stable pod is tried next");
}

#[test]
fn a_pod_on_its_way_out_still_answers() {
    let mut plane = plane(10_000, canary("25", None));
    plane.shares();
    plane.bench.wait(10);
    plane.shares();
    plane
        .bench
        .api
        .delete("test", &plane.pod.clone(), &Default::default())
        .unwrap();
    plane.bench.act(&mut Endpoints);
    assert_eq!(plane.shares(), (0.75, 0.25, 0.0));
    plane.bench.wait(10);
    assert_eq!(
        plane.shares(),
        (0.75, 0.0, 0.25),
        "the endpoints are gone from the data plane, the weight is not"
    );
}

#[test]
fn versions_show_in_the_flow_of_requests() {
    let mut plane = plane(0, canary("25", None));
    plane.truth.lock().versions.insert(
        "b".into(),
        crate::sim::models::behaviour::Behaviour::of_image("x:v-errors40-slow500"),
    );
    plane.shares();
    let truth = plane.truth.lock();
    let stream = truth.flow().unwrap().streams["b"];
    assert_eq!(
        stream,
        Stream {
            requests: 25.0,
            errors: 0.4,
            latency: 0.55
        }
    );
}

/// Rules that ask for headers take other requests; of the rest the first counts, by its weights.
#[test]
fn a_route_splits_requests_by_the_weights_of_its_backends() {
    let mut plane = plane(0, json!({}));
    let backend = |name: &str, weight: u64| json!({"name": name, "port": 80, "weight": weight});
    let route = plane.bench.put(
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {"rules": [
            {"matches": [{"headers": [{"name": "X-Canary", "value": "1"}]}], "backendRefs": [backend("web-canary", 1)]},
            {"backendRefs": [backend("web-stable", 75), backend("web-canary", 25)]},
        ]}}),
    );
    plane.traffic.lock().entries = vec![Entry::HttpRoute {
        namespace: "shop".into(),
        name: "web".into(),
    }];
    assert_eq!(plane.shares(), (0.75, 0.25, 0.0));
    let unweighted = json!([{"name": "web-stable"}, {"name": "web-canary", "weight": 0}]);
    plane
        .bench
        .patch(&route, json!({"spec": {"rules": [{"backendRefs": unweighted}]}}));
    assert_eq!(plane.shares(), (1.0, 0.0, 0.0));
}
