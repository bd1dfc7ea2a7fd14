use crate::traffic::testing::{Ask, Bench, steps, weight};
use serde_json::{Value, json};

const BOOKS: &str = "rollouts.argoproj.io/managed-alb-annotations";
const ACTION: &str = "alb.ingress.kubernetes.io/actions.root";

fn path(path: &str, service: &str) -> Value {
    json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"name": "use-annotation"}}}})
}

fn ingress(name: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "annotations": {
            "alb.ingress.kubernetes.io/actions.redirect": "{\"Type\":\"redirect\"}", BOOKS: "{\"other\":[\"x\"]}"}},
        "spec": {"ingressClassName": "alb", "rules": [
            {"host": "a.example.com", "http": {"paths": [path("/", "redirect"), path("/shop", "root")]}},
            {"host": "b.example.com", "http": {"paths": [path("/", "elsewhere")]}},
            {"host": "c.example.com"}]}})
}

fn bench(alb: Value) -> Bench {
    let mut routing = json!({"alb": {"rootService": "root", "servicePort": 443}});
    json_patch::merge(&mut routing["alb"], &alb);
    Bench::of(routing, steps(), &[ingress("one"), ingress("two")])
}

fn action(canary: i32) -> String {
    format!(
        r#"{{"Type":"forward","ForwardConfig":{{"TargetGroups":[{{"ServiceName":"canary","ServicePort":"443","Weight":{canary}}},{{"ServiceName":"stable","ServicePort":"443","Weight":{}}}]}}}}"#,
        100 - canary
    )
}

fn at_step(index: usize, canary: i32) -> Ask {
    Ask {
        index: Some(index),
        ..weight(canary)
    }
}

#[test]
fn the_action_carries_the_weights_and_nothing_else_changes() {
    let mut bench = bench(json!({"ingress": "one"}));
    for canary in [20, 100, 0] {
        assert!(bench.make(weight(canary)).reweighted);
        let mut expected = ingress("one");
        expected["metadata"]["annotations"][ACTION] = json!(action(canary));
        let books = format!(r#"{{"other":["x"],"web":["{ACTION}"]}}"#);
        expected["metadata"]["annotations"][BOOKS] = json!(books);
        assert_eq!(bench.get("Ingress", "one"), expected);
    }
    assert_eq!(bench.get("Ingress", "two"), ingress("two"));
}

/// Hazard 5: one that needs nothing kept the next from being edited.
#[test]
fn an_ingress_that_needs_nothing_holds_up_no_other() {
    let mut bench = bench(json!({"ingresses": ["one", "two"]}));
    bench.make(weight(20));
    bench.patch(
        "Ingress",
        "two",
        json!({"metadata": {"annotations": {ACTION: action(50)}}}),
    );
    assert!(!bench.seen().everywhere && bench.seen().weight == 50);
    assert_eq!(bench.make(weight(20)).edits.len(), 1);
    bench.remove("Ingress", "one");
    let routing = bench.routed(weight(30));
    assert_eq!(routing.problems, ["ingress `one` not found"]);
    assert_eq!(routing.edits.len(), 1);
}

#[test]
fn another_spelling_of_the_same_action_is_left_as_it_is() {
    let mut bench = bench(json!({"ingress": "one"}));
    bench.make(weight(20));
    let spaced = action(20).replace(':', ": ");
    bench.patch("Ingress", "one", json!({"metadata": {"annotations": {ACTION: spaced}}}));
    assert!(bench.routed(weight(20)).written);
    let other_case = action(20)
        .replace("ForwardConfig", "forwardConfig")
        .replace("Weight", "weight");
    bench.patch(
        "Ingress",
        "one",
        json!({"metadata": {"annotations": {ACTION: other_case}}}),
    );
    assert_eq!(bench.seen().weight, 20);
}

#[test]
fn stickiness_prefix_and_stable_service_are_heeded() {
    let mut bench = bench(
        json!({"ingress": "one", "annotationPrefix": "lb.example.com", "rootService": "elsewhere",
        "stickinessConfig": {"enabled": true, "durationSeconds": 60}}),
    );
    bench.make(weight(10));
    let annotations = bench.get("Ingress", "one")["metadata"]["annotations"].clone();
    let action = annotations["lb.example.com/actions.elsewhere"].as_str().unwrap();
    assert!(
        action.ends_with(r#""TargetGroupStickinessConfig":{"Enabled":true,"DurationSeconds":60}}}"#),
        "{action}"
    );
}

#[test]
fn a_header_route_has_an_action_a_condition_and_paths_while_its_step_lasts() {
    let mut bench = bench(json!({"ingress": "one"}));
    bench.make(weight(0));
    let before = bench.get("Ingress", "one");
    assert!(bench.make(at_step(0, 0)).reweighted);
    let made = bench.get("Ingress", "one");
    let annotations = &made["metadata"]["annotations"];
    assert_eq!(
        annotations["alb.ingress.kubernetes.io/actions.by-header"],
        r#"{"Type":"forward","ForwardConfig":{"TargetGroups":[{"ServiceName":"canary","ServicePort":"443","Weight":100}]}}"#
    );
    let condition = annotations["alb.ingress.kubernetes.io/conditions.by-header"]
        .as_str()
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(condition).unwrap(),
        json!([{"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "x-canary", "values": ["yes"]}}])
    );
    let books: Value = serde_json::from_str(annotations[BOOKS].as_str().unwrap()).unwrap();
    assert_eq!(books["web"].as_array().unwrap().len(), 3);
    let paths = &made["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(
        *paths,
        json!([path("/shop", "by-header"), path("/", "redirect"), path("/shop", "root")])
    );
    assert_eq!(made["spec"]["rules"][1], before["spec"]["rules"][1]);
    assert!(bench.seen().routed_apart);
    assert!(
        bench.routed(weight(0)).written,
        "it stays when nobody says what should be"
    );
    bench.make(weight(40));
    assert!(bench.seen().routed_apart);
    bench.make(at_step(1, 0));
    assert_eq!(bench.get("Ingress", "one"), before);
    assert!(!bench.seen().routed_apart);
}

#[test]
fn the_old_annotation_is_read_and_cleaned_at_take_over() {
    const OLD: &str = "rollouts.argoproj.io/managed-alb-actions";
    const GONE: &str = "alb.ingress.kubernetes.io/actions.before";
    let annotations = |old: &str| json!({"metadata": {"annotations": {OLD: old, GONE: "{}", ACTION: action(20)}}});
    let read = |bench: &Bench, key: &str| bench.get("Ingress", "one")["metadata"]["annotations"][key].clone();
    let own = format!(r#""web":["{GONE}","{ACTION}"]"#);
    for (old, rest) in [
        (format!("{{{own}}}"), Value::Null),
        (format!(r#"{{"other":["x"],{own}}}"#), json!(r#"{"other":["x"]}"#)),
    ] {
        let mut bench = bench(json!({"ingress": "one"}));
        bench.patch("Ingress", "one", annotations(&old));
        bench.make(weight(20));
        assert_eq!((read(&bench, OLD), read(&bench, GONE)), (rest, Value::Null));
        assert_eq!(read(&bench, ACTION), json!(action(20)), "the weight stays");
        assert_eq!(
            read(&bench, BOOKS),
            json!(format!(r#"{{"other":["x"],"web":["{ACTION}"]}}"#))
        );
        assert!(bench.routed(weight(20)).written, "and no more is to be done");
    }
    // What is of others only, or cannot be read, is not ours to clean.
    for old in [r#"{"other":["x"]}"#, "[]"] {
        let mut bench = bench(json!({"ingress": "one"}));
        bench.patch("Ingress", "one", annotations(old));
        bench.make(weight(20));
        assert_eq!((read(&bench, OLD), read(&bench, GONE)), (json!(old), json!("{}")));
    }
}

#[test]
fn what_does_not_fit_is_named_and_an_abort_goes_through() {
    let mut bench = bench(json!({"ingress": "one"}));
    bench.make(weight(20));
    bench.patch(
        "Ingress",
        "one",
        json!({"spec": {"rules": [{"http": {"paths": [path("/", "elsewhere")]}}]}}),
    );
    let routing = bench.routed(weight(0));
    assert_eq!(
        routing.problems,
        ["ingress `one` has no rules using service root backend"]
    );
    assert_eq!(routing.edits.len(), 1);
    bench.put(ingress("one"));
    assert!(bench.problems(at_step(2, 0)).is_empty(), "mirrors are another router's");
    bench.patch("Ingress", "one", json!({"metadata": {"annotations": {BOOKS: "[]"}}}));
    assert!(bench.problems(weight(0))[0].starts_with(&format!("ingress `one`: annotation {BOOKS} is not a map")));
}

#[test]
fn what_a_gone_rollout_wrote_is_taken_back_and_nothing_else_changes() {
    let mut bench = bench(json!({"ingress": "one"}));
    bench.make(at_step(0, 20));
    assert_ne!(bench.get("Ingress", "one"), ingress("one"));
    let edits = bench.released();
    bench.carry_out(&edits);
    assert_eq!(bench.get("Ingress", "one"), ingress("one"));
    assert_eq!(bench.released(), []);
}
