use super::*;
use serde_json::json;

fn rollout() -> Rollout {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}})).unwrap()
}

fn ingress(value: Value) -> Ingress {
    serde_json::from_value(value).unwrap()
}

fn stable() -> Ingress {
    ingress(json!({
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"kubernetes.io/ingress.class": "nginx", "other": "x"}},
        "spec": {"rules": [
            {"host": "web.example.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web-stable", "port": {"number": 80}}}},
                {"path": "/api", "pathType": "Prefix", "backend": {"service": {"name": "api", "port": {"number": 80}}}}]}},
            {"host": "other.example.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "other", "port": {"number": 80}}}}]}},
            {"host": "only.example.com"},
        ]},
    }))
}

fn spec() -> NginxTrafficRouting {
    serde_json::from_value(
        json!({"stableIngress": "web", "additionalIngressAnnotations": {"canary-by-header": "X-Canary"}}),
    )
    .unwrap()
}

fn routed(ingresses: &[&Ingress], canary: i32) -> Result<Routing, String> {
    let routing = route(
        &rollout(),
        &spec(),
        ("web-stable", "web-canary"),
        ingresses,
        Weights { canary, total: 100 },
    );
    match routing.problems.first() {
        Some(problem) => Err(problem.clone()),
        None => Ok(routing),
    }
}

fn applied(stable: &Ingress, routing: &Routing) -> Ingress {
    let Some(Action::Apply { fields, target, .. }) = routing.edits.first() else {
        panic!("no edit")
    };
    let mut object = fields.clone();
    object["metadata"]["name"] = json!(target.name);
    object["metadata"]["namespace"] = json!(stable.metadata.namespace);
    ingress(object)
}

#[test]
fn creates_the_canary_from_the_rules_that_use_the_stable_service() {
    let stable = stable();
    let routing = routed(&[&stable], 20).unwrap();
    assert_eq!((routing.observed, routing.written), (0, false));
    let canary = serde_json::to_value(applied(&stable, &routing)).unwrap();
    assert_eq!(canary["metadata"]["name"], "web-web-canary");
    assert_eq!(
        canary["metadata"]["annotations"],
        json!({
            "kubernetes.io/ingress.class": "nginx",
            "nginx.ingress.kubernetes.io/canary": "true",
            "nginx.ingress.kubernetes.io/canary-by-header": "X-Canary",
            "nginx.ingress.kubernetes.io/canary-weight": "20",
        })
    );
    let rules = canary["spec"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0]["http"]["paths"][0]["backend"]["service"]["name"], "web-canary");
    assert_eq!(rules[0]["http"]["paths"][1]["backend"]["service"]["name"], "api");
}

#[test]
fn writes_nothing_when_the_live_canary_carries_the_weight() {
    let stable = stable();
    let canary = applied(&stable, &routed(&[&stable], 20).unwrap());
    let again = routed(&[&stable, &canary], 20).unwrap();
    assert_eq!((again.edits.len(), again.observed, again.written), (0, 20, true));
    let next = routed(&[&stable, &canary], 40).unwrap();
    assert_eq!((next.edits.len(), next.observed, next.written), (1, 20, false));
}

#[test]
fn an_edited_canary_is_repaired_and_foreign_annotations_are_left() {
    let stable = stable();
    let mut canary = applied(&stable, &routed(&[&stable], 20).unwrap());
    let annotations = canary.metadata.annotations.as_mut().unwrap();
    annotations.insert("foreign".into(), "kept".into());
    assert!(routed(&[&stable, &canary], 20).unwrap().written);
    canary
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("nginx.ingress.kubernetes.io/canary-weight".into(), "90".into());
    let repaired = routed(&[&stable, &canary], 20).unwrap();
    let Some(Action::Apply { fields, .. }) = repaired.edits.first() else {
        panic!("no edit")
    };
    assert!(fields["metadata"]["annotations"].get("foreign").is_none());
}

#[test]
fn names_what_is_wrong() {
    let stable = stable();
    assert!(routed(&[], 20).unwrap_err().contains("stableIngress `web`"));
    let mut foreign = applied(&stable, &routed(&[&stable], 20).unwrap());
    foreign.metadata.owner_references = None;
    assert!(
        routed(&[&stable, &foreign], 20)
            .unwrap_err()
            .contains("canary ingress `web-web-canary` controlled by different object")
    );
    let none = ingress(json!({"metadata": {"name": "web"}, "spec": {"rules": [{"host": "x"}]}}));
    assert!(
        routed(&[&none], 20)
            .unwrap_err()
            .contains("ingress `web` has no rules using service web-stable backend")
    );
}

#[test]
fn long_names_are_cut() {
    let name = canary_name(&"r".repeat(200), &"i".repeat(200));
    assert_eq!(name.len(), 253);
    assert!(name.ends_with("-canary"));
}
