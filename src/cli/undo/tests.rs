use super::*;
use crate::api::well_known;

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn set(revision: i64, template: &Value, annotations: &Value) -> ReplicaSet {
    let mut template = template.clone();
    template["metadata"]["labels"][well_known::POD_TEMPLATE_HASH] = json!(format!("h{revision}"));
    let mut all = annotations.clone();
    all[well_known::REVISION] = json!(revision.to_string());
    serde_json::from_value(json!({
        "metadata": {"name": format!("web-h{revision}"), "annotations": all, "ownerReferences": [
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "u", "controller": true}]},
        "spec": {"replicas": 1, "selector": {}, "template": template},
    }))
    .unwrap()
}

fn rollout(template: &Value) -> Rollout {
    serde_json::from_value(json!({"metadata": {"name": "web", "uid": "u"}, "spec": {"template": template}})).unwrap()
}

fn images(present: &str, revisions: &[(i64, &str)], to: i64) -> Result<String, String> {
    let sets: Vec<ReplicaSet> = revisions
        .iter()
        .map(|(revision, image)| set(*revision, &template(image), &json!({})))
        .collect();
    match decide(&rollout(&template(present)), &sets, to) {
        Ok(Undo::Write(template)) => Ok(template["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()),
        Ok(Undo::Matches(revision)) => Ok(format!("matches {revision}")),
        Err(error) => Err(error.message),
    }
}

#[test]
fn the_revision_is_chosen_by_number_or_is_the_one_before() {
    let history = [(1, "v1"), (3, "v3"), (2, "v2")];
    assert_eq!(images("v3", &history, 0).unwrap(), "v2");
    assert_eq!(images("v3", &history, 1).unwrap(), "v1");
    assert_eq!(images("v3", &history, 3).unwrap(), "matches 3");
    assert_eq!(
        images("v3", &history, 7).unwrap_err(),
        "unable to find revision 7 of rollout \"web\""
    );
    assert_eq!(
        images("v1", &[(1, "v1")], 0).unwrap_err(),
        "no earlier revision of rollout \"web\" found"
    );
}

#[test]
fn undo_asked_twice_before_the_controller_acts_is_one_undo() {
    let history = [(1, "v1"), (2, "v2"), (3, "v3")];
    assert_eq!(images("v2", &history, 0).unwrap(), "matches 2");
    // A template nobody has seen yet is undone to the newest revision.
    assert_eq!(images("v4", &history, 0).unwrap(), "v3");
}

#[test]
fn nothing_that_was_injected_comes_back() {
    let mut written = template("v1");
    written["metadata"]["annotations"] = json!({"team": "shop"});
    written["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}}]}});
    let by_hash =
        json!({"matchExpressions": [{"key": well_known::POD_TEMPLATE_HASH, "operator": "In", "values": ["x"]}]});
    let mut run = written.clone();
    run["metadata"]["labels"]["role"] = json!("canary");
    run["metadata"]["annotations"]["seen"] = json!("by canary");
    let terms = &mut run["spec"]["affinity"]["podAntiAffinity"];
    terms["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!([{"labelSelector": by_hash, "topologyKey": "kubernetes.io/hostname", "namespaces": ["shop"]}]);
    terms["preferredDuringSchedulingIgnoredDuringExecution"].as_array_mut().unwrap().push(
        json!({"weight": 7, "podAffinityTerm": {"labelSelector": by_hash, "topologyKey": "kubernetes.io/hostname"}}),
    );
    let injected =
        json!({well_known::EPHEMERAL_METADATA: r#"{"labels":{"role":"canary"},"annotations":{"seen":"by canary"}}"#});
    let sets = [set(1, &run, &injected), set(2, &template("v2"), &json!({}))];
    let found = decide(&rollout(&template("v2")), &sets, 0).unwrap();
    assert_eq!(found, Undo::Write(written));
}

#[test]
fn an_affinity_of_injected_terms_only_goes_as_a_whole() {
    let mut run = template("v1");
    let by_hash =
        json!({"matchExpressions": [{"key": well_known::POD_TEMPLATE_HASH, "operator": "In", "values": ["x"]}]});
    run["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": by_hash, "topologyKey": "kubernetes.io/hostname"}]}});
    let sets = [set(1, &run, &json!({})), set(2, &template("v2"), &json!({}))];
    assert_eq!(
        decide(&rollout(&template("v2")), &sets, 1).unwrap(),
        Undo::Write(template("v1"))
    );
    // The present template is the plain one, so nothing is to be done.
    assert_eq!(decide(&rollout(&template("v1")), &sets, 1).unwrap(), Undo::Matches(1));
}

#[test]
fn a_label_that_injection_covered_gets_the_users_value() {
    let mut present = template("v2");
    present["metadata"]["labels"]["role"] = json!("front");
    let mut run = template("v1");
    run["metadata"]["labels"]["role"] = json!("canary");
    let injected = json!({well_known::EPHEMERAL_METADATA: r#"{"labels":{"role":"canary"}}"#});
    let sets = [set(1, &run, &injected), set(2, &present, &json!({}))];
    let Undo::Write(found) = decide(&rollout(&present), &sets, 0).unwrap() else {
        panic!("nothing to write")
    };
    assert_eq!(found["metadata"]["labels"]["role"], "front");
}

#[test]
fn a_workload_reference_is_undone_at_the_workload() {
    let mut referring = rollout(&template("v2"));
    let sets = [set(1, &template("v1"), &json!({})), set(2, &template("v2"), &json!({}))];
    for (version, kind) in [("apps/v1", "Deployment"), ("v1", "PodTemplate")] {
        let named = WorkloadRef {
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            name: "web".to_owned(),
            ..WorkloadRef::default()
        };
        assert_eq!(can_be_undone(&named).unwrap().kind(), kind);
        referring.spec.workload_ref = Some(named);
        let workload = json!({"metadata": {"name": "web"}, "spec": {"template": template("v2")}});
        let resolved = resolve(&referring, Some(&serde_json::from_value(workload).unwrap()), []);
        assert_eq!(decide(&resolved, &sets, 0).unwrap(), Undo::Write(template("v1")));
    }
    let never = WorkloadRef {
        api_version: "apps/v1".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: "web".to_owned(),
        ..WorkloadRef::default()
    };
    let error = can_be_undone(&never).unwrap_err().to_string();
    assert!(error.contains("ReplicaSet web, which never changes"), "{error}");
}

#[test]
fn a_template_with_a_misspelt_field_is_undone_to_the_one_before() {
    let mut present = template("v2");
    present["spec"]["containers"][0]["imagePulPolicy"] = json!("Never");
    // The server dropped the field, and the ReplicaSet remembers what it was made from.
    let annotations = json!({well_known::MADE_FROM: crate::rollout::check::made_from(&present)});
    let sets = [
        set(1, &template("v1"), &json!({})),
        set(2, &template("v2"), &annotations),
    ];
    assert_eq!(
        decide(&rollout(&present), &sets, 0).unwrap(),
        Undo::Write(template("v1"))
    );
    assert_eq!(decide(&rollout(&present), &sets, 2).unwrap(), Undo::Matches(2));
}
