use serde_json::{Value, json};

use super::*;

/// Two Services with one pod each; `canary` and `stable` say how many endpoints are ready.
fn objects(ingresses: &[Value], stable: usize, canary: usize) -> Objects {
    Objects {
        ingresses: ingresses.iter().map(object).collect(),
        services: [service("stable"), service("canary")].iter().map(object).collect(),
        slices: [slice("stable", 1, stable), slice("canary", 2, canary)]
            .iter()
            .map(object)
            .collect(),
        routes: Vec::new(),
    }
}

fn object<K: serde::de::DeserializeOwned>(value: &Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value.clone()).unwrap())
}

fn service(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": "web"},
            {"name": "admin", "port": 81, "targetPort": 9090},
        ]},
    })
}

fn slice(service: &str, third: u8, ready: usize) -> Value {
    let endpoints: Vec<_> = (1..=3)
        .map(|host| json!({"addresses": [format!("10.244.{third}.{host}")], "conditions": {"ready": host <= ready}}))
        .collect();
    json!({
        "metadata": {"name": format!("{service}-x"), "namespace": "shop", "labels": {SERVICE_LABEL: service}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "admin", "port": 9090, "protocol": "TCP"}],
    })
}

/// An Ingress with one rule; `more` is merged into its metadata.
fn ingress(name: &str, service: &str, path: (&str, &str), more: Value) -> Value {
    let (path_type, path) = path;
    let mut ingress = json!({
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.test", "http": {"paths": [
            {"path": path, "pathType": path_type, "backend": {"service": {"name": service, "port": {"number": 80}}}},
        ]}}]},
    });
    for (key, value) in more.as_object().unwrap() {
        ingress["metadata"][key] = value.clone();
    }
    ingress
}

const ROOT: (&str, &str) = ("Prefix", "/");

fn canary_ingress(name: &str, path: (&str, &str)) -> Value {
    let annotations = json!({"annotations": {
        "nginx.ingress.kubernetes.io/canary": "true",
        "nginx.ingress.kubernetes.io/canary-weight": "30",
    }});
    ingress(name, "canary", path, annotations)
}

fn location(routing: &Routing, path: &Match) -> Location {
    routing.hosts["shop.test"][path].clone()
}

fn root() -> Match {
    Match::Prefix(String::new())
}

#[test]
fn routes_to_the_ready_endpoints_on_loopback() {
    let routing = routing(&objects(&[ingress("main", "stable", ROOT, json!({}))], 2, 0));
    assert_eq!(
        location(&routing, &root()),
        Location {
            stable: Some("shop_stable_80".to_owned()),
            canary: None
        }
    );
    let expect = ["127.244.1.1:8080", "127.244.1.2:8080"].map(|address| address.parse().unwrap());
    assert_eq!(routing.upstreams["shop_stable_80"], BTreeSet::from(expect));
}

#[test]
fn service_ports_go_by_name_number_and_target() {
    for (port, expect) in [
        (json!({"number": 80}), Some(8080)),
        (json!({"number": 81}), Some(9090)),
        (json!({"name": "admin"}), Some(9090)),
        (json!({"name": "web"}), Some(8080)),
        (json!({"number": 8080}), None),
        (json!({"name": "none"}), None),
    ] {
        let mut main = ingress("main", "stable", ROOT, json!({}));
        main["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] = port.clone();
        let routing = routing(&objects(&[main], 1, 0));
        let found = routing.upstreams.values().flatten().map(SocketAddrV4::port).next();
        assert_eq!(found, expect, "{port}");
    }
}

#[test]
fn only_our_class_is_served() {
    let class = |class: Value, annotation: Value| {
        let mut main = ingress("main", "stable", ROOT, json!({"annotations": annotation}));
        main["spec"]["ingressClassName"] = class;
        routing(&objects(&[main], 1, 0)).hosts.len()
    };
    assert_eq!(class(json!("nginx"), json!({})), 1);
    assert_eq!(class(json!(null), json!({"kubernetes.io/ingress.class": "nginx"})), 1);
    assert_eq!(class(json!("other"), json!({})), 0);
    assert_eq!(
        class(json!("other"), json!({"kubernetes.io/ingress.class": "nginx"})),
        0
    );
    assert_eq!(class(json!(null), json!({})), 0);
}

#[test]
fn a_canary_attaches_to_the_same_host_and_path_only() {
    let main = ingress("main", "stable", ("Prefix", "/shop"), json!({}));
    let with = |canary| routing(&objects(&[main.clone(), canary], 1, 1));
    let attached = with(canary_ingress("canary", ("Prefix", "/shop")));
    let shop = Match::Prefix("/shop".to_owned());
    assert_eq!(location(&attached, &shop).canary.unwrap().rule.weight, 3_000);
    let other_path = with(canary_ingress("canary", ROOT));
    assert_eq!(location(&other_path, &shop).canary, None);
    assert_eq!(
        other_path.hosts["shop.test"].len(),
        1,
        "a canary makes no location of its own"
    );
    let mut other_host = canary_ingress("canary", ("Prefix", "/shop"));
    other_host["spec"]["rules"][0]["host"] = json!("other.test");
    let other_host = with(other_host);
    assert_eq!(location(&other_host, &shop).canary, None);
    assert_eq!(other_host.hosts.len(), 1);
}

#[test]
fn endpoints_decide_whether_a_canary_counts() {
    let both = [
        ingress("main", "stable", ROOT, json!({})),
        canary_ingress("canary", ROOT),
    ];
    let none = routing(&objects(&both, 1, 0));
    assert_eq!(
        location(&none, &root()),
        Location {
            stable: Some("shop_stable_80".to_owned()),
            canary: None
        }
    );
    let no_stable = routing(&objects(&both, 0, 1));
    assert_eq!(
        location(&no_stable, &root()),
        Location {
            stable: None,
            canary: None
        }
    );
}

#[test]
fn the_oldest_wins_and_the_second_canary_is_ignored() {
    let young = json!({"creationTimestamp": "2026-02-01T00:00:00Z"});
    let mut second = canary_ingress("a-second", ROOT);
    second["metadata"]["creationTimestamp"] = json!("2026-02-01T00:00:00Z");
    second["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] = json!({"number": 81});
    let all = [
        ingress("a-young", "canary", ROOT, young),
        ingress("z-old", "stable", ROOT, json!({})),
        second,
        canary_ingress("z-first", ROOT),
    ];
    let routing = routing(&objects(&all, 1, 1));
    let location = location(&routing, &root());
    assert_eq!(location.stable.as_deref(), Some("shop_stable_80"));
    assert_eq!(location.canary.unwrap().upstream, "shop_canary_80");
}

#[test]
fn the_default_backend_takes_what_no_host_does() {
    let mut main = ingress("main", "stable", ROOT, json!({}));
    main["spec"] = json!({
        "ingressClassName": "nginx",
        "defaultBackend": {"service": {"name": "stable", "port": {"number": 80}}},
    });
    let routing = routing(&objects(&[main], 1, 0));
    assert_eq!(routing.hosts[""][&root()].stable.as_deref(), Some("shop_stable_80"));
}

#[test]
fn a_path_that_cannot_be_said_is_skipped() {
    let odd = ingress("odd", "stable", ("ImplementationSpecific", "/a\nb"), json!({}));
    assert!(routing(&objects(&[odd], 1, 0)).hosts.is_empty());
}

/// An HTTPRoute that shares requests to `/` between the two Services, with a rule for requests with a header in front.
fn http_route(weights: [u64; 2]) -> Value {
    let backend = |name: &str, weight: u64| json!({"name": name, "port": 80, "weight": weight});
    let path = json!({"type": "PathPrefix", "value": "/"});
    json!({
        "metadata": {"name": "web", "namespace": "shop", "generation": 4},
        "spec": {"parentRefs": [{"name": "nginx"}], "hostnames": ["shop.test"], "rules": [
            {"matches": [{"path": path, "headers": [{"name": "x-tester", "value": "1"}]}], "backendRefs": [backend("canary", 1)]},
            {"matches": [{"path": path}], "backendRefs": [backend("stable", weights[0]), backend("canary", weights[1])]},
        ]},
    })
}

#[test]
fn a_route_shares_requests_by_weight_and_by_header() {
    let mut objects = objects(&[], 1, 0);
    objects.routes = vec![object(&http_route([60, 20]))];
    let location = location(&routing(&objects), &root());
    let canary = location.canary.unwrap();
    assert_eq!(
        (canary.rule.weight, canary.upstream.as_str()),
        (2_500, "shop_canary_80")
    );
    assert_eq!(canary.rule.header.unwrap().name, "x-tester");
    assert_eq!(location.stable.as_deref(), Some("shop_stable_80"));
    let routing = routing(&objects);
    assert!(
        routing.upstreams["shop_canary_80"].is_empty(),
        "it gets its share, and fails"
    );
}

#[test]
fn only_routes_of_our_gateway_are_served() {
    let mut objects = objects(&[], 1, 1);
    let mut route = http_route([1, 1]);
    route["spec"]["parentRefs"][0]["name"] = json!("other");
    objects.routes = vec![object(&route)];
    assert!(routing(&objects).hosts.is_empty());
}

#[test]
fn a_route_is_said_to_be_taken_up_once_for_each_generation() {
    let mut route = http_route([1, 1]);
    let read = |route: &Value| serde_json::from_value::<DynamicObject>(route.clone()).unwrap();
    let status = http_route::status(&read(&route)).unwrap();
    route["status"] = status["status"].clone();
    assert_eq!(http_route::status(&read(&route)), None);
    route["metadata"]["generation"] = json!(5);
    assert!(http_route::status(&read(&route)).is_some());
}
