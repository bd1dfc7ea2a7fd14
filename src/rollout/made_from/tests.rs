use super::*;

/// A template with a field that is known to nobody.
fn user(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
        {"name": "web", "image": image, "redinessProbe": {"httpGet": {"port": 8080}}}]}})
}

/// What the server makes of it; `changed` is what a webhook does besides.
fn stored(image: &str, changed: &Value) -> Value {
    let mut template = json!({"metadata": {"labels": {"app": "web", "rollouts-pod-template-hash": "1"}}, "spec": {
        "containers": [{"name": "web", "image": image, "imagePullPolicy": "IfNotPresent", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {}, "terminationGracePeriodSeconds": 30}});
    json_patch::merge(&mut template, changed);
    template
}

fn set(generation: i64, template: Value, made: Option<&MadeFrom>) -> ReplicaSet {
    let mut set = ReplicaSet::default();
    set.metadata.generation = Some(generation);
    set.metadata.annotations = made.map(|made| [(well_known::MADE_FROM.to_owned(), made.text())].into());
    set.spec.template = template;
    set
}

fn made(template: &Value, stored: Option<&Value>) -> MadeFrom {
    MadeFrom {
        template: digest(template),
        stored: stored.map(digest),
    }
}

#[track_caller]
fn check(wanted: &Value, set: &ReplicaSet, is_recorded: bool, expected: bool) {
    assert!(!same_meaning(wanted, &set.spec.template));
    assert_eq!(injected::is_of(wanted, set, is_recorded), expected, "{set:#?}");
}

#[test]
fn a_set_is_of_the_template_it_was_made_from() {
    let (v1, v2) = (user("web:v1"), user("web:v2"));
    let nothing = json!({});
    let moved = json!({"spec": {"nodeSelector": {"pool": "webhook"}}});
    let edited = json!({"spec": {"nodeSelector": {"pool": "person"}}});
    let [plain, moved, edited] = [&nothing, &moved, &edited].map(|changed| stored("web:v1", changed));
    let fresh = made(&v1, None);
    // Made a moment ago: whatever the server made of it.
    check(&v1, &set(1, plain.clone(), Some(&fresh)), false, true);
    check(&v1, &set(1, moved.clone(), Some(&fresh)), false, true);
    check(&v2, &set(1, plain.clone(), Some(&fresh)), false, false);
    // Scaled before anybody looked: an unknown field tells nothing, a known one does.
    check(&v1, &set(2, plain.clone(), Some(&fresh)), false, true);
    check(&v1, &set(2, edited.clone(), Some(&fresh)), false, false);
    // Seen: what the server made of it, and nothing else.
    let seen = made(&v1, Some(&moved));
    check(&v1, &set(7, moved.clone(), Some(&seen)), false, true);
    check(&v1, &set(7, edited, Some(&seen)), false, false);
    check(&v2, &set(7, moved, Some(&seen)), false, false);
    check(&v1, &set(7, stored("web:v2", &nothing), Some(&seen)), false, false);
    // The status does not count where the set itself tells.
    check(&v2, &set(7, plain, Some(&seen)), true, false);
}

#[test]
fn a_set_of_somebody_else_is_of_the_recorded_template_but_for_unknown_fields() {
    let v1 = user("web:v1");
    let plain = set(7, stored("web:v1", &json!({})), None);
    check(&v1, &plain, true, true);
    check(&v1, &plain, false, false);
    // The original takes one that was edited for the present one.
    check(&v1, &set(7, stored("web:v2", &json!({})), None), true, false);
    let odd = json!({"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": 1}}, "imag": "x"}]}});
    let known = json!({"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "1000m"}}}]}});
    check(&odd, &set(7, known, None), true, true);
}

/// D5: what is stored in a cluster must be found again by every later version.
#[test]
fn the_record_stays_as_it_is() {
    assert_eq!(
        of_new_set(&user("web:v1")),
        r#"{"template":"aad510be0cc8452a32690bab0a03361a"}"#
    );
    // Another order, null members, and what controllers put in, are no other template.
    let mut same = user("web:v1");
    same["spec"]["hostNetwork"] = Value::Null;
    same["metadata"]["labels"][well_known::POD_TEMPLATE_HASH] = json!("1");
    same["metadata"]["creationTimestamp"] = Value::Null;
    same["metadata"]["annotations"] = json!({});
    let ours = json!({"matchExpressions": [{"key": well_known::POD_TEMPLATE_HASH, "operator": "In", "values": ["2"]}]});
    same["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": ours, "topologyKey": well_known::HOSTNAME}]}});
    assert_eq!(digest(&same), digest(&user("web:v1")));
    // A selector of everything is not none.
    let spread = |selector: Value| {
        let mut template = user("web:v1");
        template["spec"]["topologySpreadConstraints"] = json!([{"topologyKey": "zone", "labelSelector": selector}]);
        digest(&template)
    };
    assert_ne!(spread(json!({})), spread(Value::Null));
    let unreadable = |text: &str| {
        let mut set = set(1, stored("web:v1", &json!({})), None);
        set.metadata.annotations = Some([(well_known::MADE_FROM.to_owned(), text.to_owned())].into());
        set
    };
    for text in ["", "[]", "x", r#"{"template":7}"#] {
        check(&user("web:v1"), &unreadable(text), false, false);
    }
}

#[test]
fn what_is_injected_changes_neither_digest() {
    let v1 = user("web:v1");
    let moved = json!({"spec": {"nodeSelector": {"pool": "webhook"}}});
    let seen = made(&v1, Some(&stored("web:v1", &moved)));
    let mut canary = set(9, stored("web:v1", &moved), Some(&seen));
    canary.spec.template["metadata"]["labels"]["role"] = json!("canary");
    let record = json!({"labels": {"role": "canary"}}).to_string();
    let annotations = canary.metadata.annotations.get_or_insert_default();
    annotations.insert(well_known::EPHEMERAL_METADATA.to_owned(), record);
    check(&v1, &canary, false, true);
    canary.spec.template["metadata"]["labels"]["team"] = json!("shop");
    check(&v1, &canary, false, false);
}
