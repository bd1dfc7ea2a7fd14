use super::*;
use crate::sim::models::testing::Bench;

fn endpoints(bench: &Bench, service: &str) -> Vec<(String, bool, bool)> {
    let slice = bench.get(&Key::new(Kind::EndpointSlice, "shop", slice_name(service)));
    let yes = |endpoint: &Value, field: &str| endpoint.pointer(field) == Some(&json!(true));
    let all = slice["endpoints"].as_array().unwrap().iter();
    all.map(|endpoint| {
        let name = text(endpoint, "/targetRef/name").to_owned();
        (
            name,
            yes(endpoint, "/conditions/ready"),
            yes(endpoint, "/conditions/terminating"),
        )
    })
    .collect()
}

#[test]
fn slices_follow_selectors_and_readiness() {
    let bench = Bench::new();
    let service = bench.service("web", Some("a"));
    bench.pod("a1", "a", true);
    bench.pod("a2", "a", false);
    let going = bench.pod("a3", "a", true);
    bench.pod("b1", "b", true);
    bench.api.delete("test", &going, &Deletion::default()).unwrap();
    bench.act(&mut Endpoints);
    let named = |name: &str, ready, going| (name.to_owned(), ready, going);
    assert_eq!(
        endpoints(&bench, "web"),
        [
            named("a1", true, false),
            named("a2", false, false),
            named("a3", false, true)
        ]
    );
    bench.patch(
        &service,
        json!({"spec": {"selector": {"rollouts-pod-template-hash": "b"}}}),
    );
    bench.act(&mut Endpoints);
    assert_eq!(endpoints(&bench, "web"), [named("b1", true, false)]);
    let before = bench.api.state().version();
    bench.act(&mut Endpoints);
    assert_eq!(bench.api.state().version(), before, "nothing to do, nothing written");
    bench.api.delete("test", &service, &Deletion::default()).unwrap();
    bench.act(&mut Endpoints);
    assert!(bench.names(Kind::EndpointSlice).is_empty());
}
