use super::*;
use crate::lang::yaml;

fn manifest(name: &str) -> Vec<Value> {
    let path = format!(
        "{}/tests/data/manifests/rollouts/{name}.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    yaml::documents(&text)
        .unwrap()
        .into_iter()
        .map(|document| document.value)
        .collect()
}

#[test]
fn what_the_files_name_and_do_not_hold_is_made_up() {
    for (file, expect, entry) in [
        (
            "bluegreen",
            vec!["Service api-server-active", "Service api-server-preview"],
            "api-server-active",
        ),
        ("canary-basic", vec!["Service api-server"], "api-server"),
        (
            "canary-nginx",
            vec!["Service myapp-stable", "Service myapp-canary", "Ingress myapp-stable"],
            "myapp-stable",
        ),
    ] {
        let cast = Cast::of(manifest(file), "").unwrap();
        assert_eq!(cast.supplied, expect, "{file}");
        let (Entry::Ingress { name, .. } | Entry::Service { name, .. } | Entry::HttpRoute { name, .. }) =
            cast.entry.unwrap();
        assert_eq!(name, entry);
    }
}

#[test]
fn templates_and_secrets_are_followed_to_their_end() {
    let rollout = json!({"kind": "Rollout", "metadata": {"name": "web"}, "spec": {"strategy": {"canary": {"steps": [
        {"analysis": {"templates": [{"templateName": "mine"}, {"templateName": "everybodys", "clusterScope": true}],
            "args": [{"name": "service", "value": "x"}]}}]}}}});
    let mine = json!({"kind": "AnalysisTemplate", "metadata": {"name": "mine"}, "spec": {"templates": [{"templateName": "deeper"}],
        "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "prometheus", "key": "token"}}}]}});
    let crd = json!({"kind": "CustomResourceDefinition", "metadata": {"name": "x"}});
    let cast = Cast::of(vec![mine, rollout, crd], "web").unwrap();
    assert_eq!(
        cast.supplied,
        [
            "ClusterAnalysisTemplate everybodys",
            "AnalysisTemplate deeper",
            "Secret prometheus",
            "Service web"
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<Vec<_>>()
    );
    assert_eq!(cast.left_out, ["CustomResourceDefinition x"]);
    let template = cast
        .others
        .iter()
        .find(|object| kind(object) == "ClusterAnalysisTemplate")
        .unwrap();
    assert_eq!(template.pointer("/spec/args/0/name"), Some(&json!("service")));
    assert_eq!(template.pointer("/metadata/namespace"), None);
}

#[test]
fn the_rollout_must_be_clear() {
    let rollout = |name: &str| json!({"kind": "Rollout", "metadata": {"name": name}});
    let error = |objects: Vec<Value>, name: &str| Cast::of(objects, name).unwrap_err().to_string();
    assert_eq!(error(vec![], ""), "the files hold no Rollout");
    assert_eq!(
        error(vec![rollout("a"), rollout("b")], ""),
        "the files hold 2 Rollouts (a, b); say which one"
    );
    assert_eq!(
        error(vec![rollout("a")], "c"),
        "the files hold no Rollout `c`; they hold a"
    );
    assert_eq!(
        name(&Cast::of(vec![rollout("a"), rollout("b")], "b").unwrap().rollout),
        "b"
    );
}

#[test]
fn the_next_version_follows_the_last() {
    for (image, expect) in [
        ("shop:v1", "shop:v2"),
        ("host:5000/shop:1.4.9", "host:5000/shop:1.4.10"),
        ("host:5000/shop", "host:5000/shop:next"),
        ("myapp:stable", "myapp:stable-next"),
        ("shop", "shop:next"),
    ] {
        assert_eq!(next_image(image), expect);
    }
}

#[test]
fn requests_come_in_through_the_route_that_a_gateway_splits() {
    let rollout = json!({"kind": "Rollout", "metadata": {"name": "web"}, "spec": {"strategy": {"canary": {
        "stableService": "web-stable", "canaryService": "web-canary",
        "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "shop"}}}}}}});
    let cast = Cast::of(vec![rollout], "").unwrap();
    assert_eq!(
        cast.supplied,
        ["Service web-stable", "Service web-canary", "HTTPRoute shop"]
    );
    let entry = Entry::HttpRoute {
        namespace: "default".to_owned(),
        name: "shop".to_owned(),
    };
    assert_eq!(cast.entry, Some(entry));
}
