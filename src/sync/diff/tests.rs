use super::*;
use crate::{api::application::ResourceIgnoreDifferences, sync::resource::ResourceKey};
use serde_json::json;

#[derive(Debug, PartialEq)]
enum Expect {
    Same,
    Different(&'static str),
    Unsure(&'static str),
}
use Expect::{Different, Same, Unsure};

/// Compares with a live object of which we own `owned` (a `fieldsV1` tree).
#[track_caller]
fn check(what: &str, target: Value, mut live: Value, owned: Value, expected: Expect) {
    let entry = json!({"manager": "argocd-controller", "operation": "Apply", "fieldsV1": owned});
    live.as_object_mut().unwrap().entry("metadata").or_insert(json!({}))["managedFields"] = json!([entry]);
    check_plain(what, &target, &live, expected);
}

#[track_caller]
fn check_plain(what: &str, target: &Value, live: &Value, expected: Expect) {
    let prepared = foreign::prepare(target, Some(live), false, None);
    let found = match super::compare(&prepared.body, live, &IgnoreRules::default()) {
        Verdict::Same => "same".to_owned(),
        Verdict::Different(paths) => format!("different {}", paths.join(" ")),
        Verdict::Unsure(paths) => format!("unsure {}", paths.join(" ")),
    };
    let expected = match expected {
        Same => "same".to_owned(),
        Different(path) => format!("different {path}"),
        Unsure(path) => format!("unsure {path}"),
    };
    assert_eq!(found, expected, "{what}");
}

#[test]
fn fields_of_others_do_not_count() {
    check(
        "defaults",
        json!({"spec": {"a": 1}}),
        json!({"spec": {"a": 1, "b": 2}}),
        json!({"f:spec": {"f:a": {}}}),
        Same,
    );
    check(
        "status",
        json!({"status": {"x": 1}}),
        json!({"status": {"x": 2}}),
        json!({}),
        Same,
    );
    check(
        "empty",
        json!({"a": {}, "b": [], "c": "", "d": false, "e": null}),
        json!({}),
        json!({}),
        Same,
    );
    check("numbers", json!({"a": 1}), json!({"a": 1.0}), json!({}), Same);
}

#[test]
fn named_fields_count() {
    check(
        "value",
        json!({"a": 1}),
        json!({"a": 2}),
        json!({"f:a": {}}),
        Different("/a"),
    );
    check(
        "missing",
        json!({"a": {"b": "x"}}),
        json!({"a": {}}),
        json!({}),
        Different("/a/b"),
    );
    check("type", json!({"a": "1"}), json!({"a": 1}), json!({}), Different("/a"));
    check(
        "zero is a value",
        json!({"spec": {"replicas": 0}}),
        json!({"spec": {"replicas": 1}}),
        json!({}),
        Different("/spec/replicas"),
    );
}

#[test]
fn what_we_applied_and_no_longer_name_counts() {
    let owned = json!({"f:spec": {"f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {"f:x": {}}}});
    check(
        "field",
        json!({"spec": {"a": 1}}),
        json!({"spec": {"a": 1, "b": 2}}),
        owned.clone(),
        Different("/spec/b"),
    );
    let live = json!({"spec": {"a": 1}, "metadata": {"labels": {"x": "1", "y": "2"}}});
    check(
        "label",
        json!({"spec": {"a": 1}, "metadata": {}}),
        live,
        owned,
        Different("/metadata/labels"),
    );
}

#[test]
fn keyed_lists_are_matched_by_key() {
    let owned = json!({"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}}}});
    let target = json!({"containers": [{"name": "web", "image": "a"}]});
    let sidecar = json!({"containers": [{"name": "proxy"}, {"name": "web", "image": "a", "pullPolicy": "Always"}]});
    check("injected sidecar", target.clone(), sidecar, owned.clone(), Same);
    check(
        "image",
        target.clone(),
        json!({"containers": [{"name": "web", "image": "b"}]}),
        owned.clone(),
        Different("/containers/0/image"),
    );
    let removed = json!({"containers": [{"name": "other", "image": "a"}]});
    check(
        "container replaced",
        removed,
        json!({"containers": [{"name": "web", "image": "a"}]}),
        owned,
        Different("/containers/0 /containers/{\"name\":\"web\"}"),
    );
    let ports = json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}});
    check(
        "default protocol",
        json!({"ports": [{"port": 80}]}),
        json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
        ports,
        Same,
    );
}

#[test]
fn lists_that_were_never_applied_are_matched_as_kubernetes_does() {
    let live = json!({"spec": {"containers": [{"name": "a"}, {"name": "web", "image": "x", "env": [{"name": "B"}, {"name": "A"}]}]}});
    check(
        "adopted",
        json!({"spec": {"containers": [{"name": "web", "image": "x"}]}}),
        live.clone(),
        json!({}),
        Same,
    );
    let reordered = json!({"spec": {"containers": [{"name": "web", "env": [{"name": "A"}, {"name": "B"}]}]}});
    check(
        "order of env",
        reordered,
        live,
        json!({}),
        Different("/spec/containers/0/env"),
    );
}

#[test]
fn lists_that_are_one_value_are_compared_whole() {
    let owned = json!({"f:spec": {"f:steps": {}}});
    let target = json!({"spec": {"steps": [{"setWeight": 20}, {"pause": {}}]}});
    check(
        "same",
        target.clone(),
        json!({"spec": {"steps": [{"setWeight": 20}, {"pause": {}}]}}),
        owned.clone(),
        Same,
    );
    let shorter = json!({"spec": {"steps": [{"setWeight": 20}]}});
    check(
        "length",
        target.clone(),
        shorter,
        owned.clone(),
        Different("/spec/steps"),
    );
    let leftover = json!({"spec": {"steps": [{"setWeight": 20}, {"pause": {"duration": "10s"}}]}});
    check(
        "a leftover or a default",
        target,
        leftover,
        owned,
        Unsure("/spec/steps/1/pause/duration"),
    );
}

#[test]
fn sets_are_compared_as_sets() {
    let owned = json!({"f:metadata": {"f:finalizers": {"v:\"ours\"": {}}}});
    let with = |list: Value| json!({"metadata": {"finalizers": list}});
    check(
        "foreign",
        with(json!(["ours"])),
        with(json!(["theirs", "ours"])),
        owned.clone(),
        Same,
    );
    check(
        "new",
        with(json!(["ours", "new"])),
        with(json!(["ours"])),
        owned.clone(),
        Different("/metadata/finalizers"),
    );
    check(
        "removed",
        with(json!(["new"])),
        with(json!(["new", "ours"])),
        owned,
        Different("/metadata/finalizers/\"ours\""),
    );
}

#[test]
fn equal_amounts_are_equal_where_amounts_stand() {
    let target = json!({"resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}}, "name": "1000m"});
    let live = json!({"resources": {"limits": {"cpu": "1", "memory": "1024Mi"}}, "name": "1"});
    check("amounts", target, live, json!({}), Different("/name"));
    check(
        "number",
        json!({"limits": {"cpu": 2}}),
        json!({"limits": {"cpu": "2"}}),
        json!({}),
        Same,
    );
}

#[test]
fn secrets_are_compared_by_their_data() {
    let target = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "x"}, "data": {"b": "eQ=="}});
    let live = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA==", "b": "eQ=="}});
    check(
        "stringData",
        target,
        live,
        json!({"f:data": {"f:a": {}, "f:b": {}}}),
        Same,
    );
}

#[test]
fn the_hash_in_a_service_selector_is_left_alone() {
    let service = |selector: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"selector": selector}});
    let target = service(json!({"app": "web"}));
    let live = service(json!({"app": "web", "rollouts-pod-template-hash": "abc"}));
    check(
        "hash",
        target.clone(),
        live.clone(),
        json!({"f:spec": {"f:selector": {}}}),
        Same,
    );
    let prepared = foreign::prepare(&target, Some(&live), false, None);
    assert!(prepared.has_live_values);
    assert_eq!(
        prepared.body.pointer("/spec/selector/rollouts-pod-template-hash"),
        Some(&json!("abc"))
    );
    let edited = service(json!({"app": "other", "rollouts-pod-template-hash": "abc"}));
    check(
        "edited",
        target,
        edited,
        json!({"f:spec": {"f:selector": {}}}),
        Different("/spec/selector/app"),
    );
}

#[test]
fn replicas_belong_to_the_autoscaler() {
    let target = json!({"kind": "Deployment", "metadata": {}, "spec": {"replicas": 3}});
    let scaled = |manager: &str| {
        json!({"kind": "Deployment", "spec": {"replicas": 7}, "metadata": {"managedFields": [
            {"manager": manager, "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]}})
    };
    check_plain("autoscaler", &target, &scaled("kube-controller-manager"), Same);
    check_plain("a person", &target, &scaled("kubectl"), Different("/spec/replicas"));
    let live = json!({"kind": "Deployment", "spec": {"replicas": 7}});
    assert_eq!(
        foreign::prepare(&target, Some(&live), true, None)
            .body
            .pointer("/spec/replicas"),
        Some(&json!(7))
    );
}

#[test]
fn what_client_side_apply_wrote_before_counts_until_we_apply() {
    let annotation = json!({"spec": {"a": 1, "b": 2}}).to_string();
    let live = json!({"spec": {"a": 1, "b": 2, "c": 3},
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": annotation}}});
    check_plain("removed", &json!({"spec": {"a": 1}}), &live, Different("/spec/b"));
    check_plain("still named", &json!({"spec": {"a": 1, "b": 2}}), &live, Same);
}

#[test]
fn aggregated_rules_belong_to_the_aggregation() {
    let role = |rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "aggregationRule": {"x": 1}, "rules": rules});
    check(
        "rules",
        role(json!([])),
        role(json!([{"verbs": ["get"]}])),
        json!({"f:aggregationRule": {"f:x": {}}}),
        Same,
    );
}

#[test]
fn ignored_fields_do_not_count() {
    let rule = ResourceIgnoreDifferences {
        group: "app*".into(),
        kind: "Deployment".into(),
        json_pointers: vec![
            "/spec/replicas".into(),
            "/metadata/annotations/a~1b".into(),
            "/not/there".into(),
        ],
        jq_path_expressions: vec![".spec.items[].value".into()],
        ..Default::default()
    };
    let key = |kind: &str| ResourceKey {
        group: "apps".into(),
        kind: kind.into(),
        ..Default::default()
    };
    let rules = IgnoreRules::for_object(std::slice::from_ref(&rule), &key("Deployment"));
    let target = json!({"spec": {"replicas": 1, "items": [{"name": "a", "value": 1}]}, "metadata": {"annotations": {"a/b": "x"}}});
    let live = json!({"spec": {"replicas": 9, "items": [{"name": "a", "value": 2}]}, "metadata": {"annotations": {"a/b": "y"}}});
    assert_eq!(super::compare(&target, &live, &rules), Verdict::Same);
    let others = IgnoreRules::for_object(&[rule], &key("StatefulSet"));
    assert_ne!(super::compare(&target, &live, &others), Verdict::Same);
}

#[test]
fn rules_that_are_not_understood_are_reported() {
    let rule = |pointer: &str, path: &str| ResourceIgnoreDifferences {
        kind: "X".into(),
        json_pointers: vec![pointer.into()],
        jq_path_expressions: vec![path.into()],
        ..Default::default()
    };
    assert!(ignore::problems(&[rule("/a", ".a[\"b/c\"][0]?.d")]).is_empty());
    assert_eq!(
        ignore::problems(&[rule("a", ".a | select(.b)"), ResourceIgnoreDifferences::default()]).len(),
        3
    );
}

#[test]
fn a_dry_run_has_the_last_word() {
    let live = json!({"spec": {"a": 1}, "metadata": {"resourceVersion": "1", "generation": 1}});
    let none = IgnoreRules::default();
    assert_eq!(
        confirm(
            &json!({"spec": {"a": 1}, "metadata": {"resourceVersion": "2", "managedFields": []}}),
            &live,
            &none
        ),
        Verdict::Same
    );
    assert_eq!(
        confirm(&json!({"spec": {}}), &live, &none),
        Verdict::Different(vec!["/spec/a".into()])
    );
}

#[test]
fn ownership_of_client_side_apply_moves_to_us() {
    let live = json!({"metadata": {"managedFields": [
        {"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:a": {}},
            "f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/last-applied-configuration": {}}}}},
        {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:status": {}}},
    ]}});
    let moved = managed::migrated(&live, None).unwrap();
    assert_eq!(moved.len(), 2);
    assert_eq!(moved[0]["manager"], "kube-controller-manager");
    assert_eq!(
        (&moved[1]["manager"], &moved[1]["operation"]),
        (&json!("argocd-controller"), &json!("Apply"))
    );
    assert_eq!(
        moved[1]["fieldsV1"],
        json!({"f:data": {"f:a": {}}, "f:metadata": {"f:annotations": {}}})
    );
    let after = json!({"metadata": {"managedFields": moved}});
    assert_eq!(managed::migrated(&after, None), None, "once is enough");
}
