use super::{
    review::{Verdict, decide},
    tls::Certificates,
    *,
};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use std::{net::SocketAddr, path::Path};

fn rollout(strategy: Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "demo:v1"}]}}}})
}

fn steps(steps: Value) -> Value {
    rollout(json!({"canary": {"steps": steps}}))
}

fn request(operation: &str, object: &Value, old: &Value) -> Value {
    json!({"uid": "1", "operation": operation, "kind": {"group": "argoproj.io", "version": "v1alpha1", "kind": object["kind"]},
        "object": object, "oldObject": old})
}

fn create(object: &Value) -> Verdict {
    decide(&request("CREATE", object, &Value::Null), "")
}

fn update(old: &Value, new: &Value) -> Verdict {
    decide(&request("UPDATE", new, old), "")
}

fn fields(verdict: &Verdict) -> Vec<&str> {
    verdict.errors.iter().map(|fault| fault.field.as_str()).collect()
}

#[test]
fn what_can_never_work_is_refused_with_every_error_at_its_field() {
    let verdict = create(&steps(
        json!([{"setWeight": 150}, {"pause": {"duration": "soon"}}, {"setWeight": 20, "pause": {}}]),
    ));
    assert_eq!(
        fields(&verdict),
        [
            "spec.strategy.canary.steps[0].setWeight",
            "spec.strategy.canary.steps[1].pause.duration",
            "spec.strategy.canary.steps[2]"
        ]
    );
    let response = verdict.response();
    assert_eq!(
        (&response["allowed"], &response["status"]["code"]),
        (&json!(false), &json!(422))
    );
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message
            .starts_with("Rollout \"web\" is invalid: spec.strategy.canary.steps[0].setWeight: Invalid value: 150: "),
        "{message}"
    );
    let details = &response["status"]["details"];
    assert_eq!((&details["kind"], &details["name"]), (&json!("Rollout"), &json!("web")));
    assert_eq!(details["causes"].as_array().unwrap().len(), 3);
    let metric = json!({"name": "errors", "successCondition": "result[0] <", "count": 2, "provider": {"web": {"url": "http://127.0.0.1"}}});
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "check"},
        "spec": {"metrics": [metric]}});
    let verdict = create(&template);
    assert_eq!(
        fields(&verdict),
        ["spec.metrics[0]", "spec.metrics[0].successCondition"],
        "{verdict:?}"
    );
    let experiment = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "try"},
        "spec": {"templates": [{"name": ""}]}});
    assert!(
        fields(&create(&experiment)).contains(&"spec.templates[0].name"),
        "{:?}",
        create(&experiment)
    );
}

/// Objects may be applied in any order.
#[test]
fn what_is_named_and_may_come_later_is_not_looked_for() {
    let routed = json!({"canary": {"canaryService": "c", "stableService": "s", "steps": [{"setWeight": 20}],
        "analysis": {"templates": [{"templateName": "later"}]},
        "trafficRouting": {"nginx": {"stableIngress": "later"}}}});
    assert_eq!(
        create(&rollout(routed)),
        Verdict {
            subject: ("Rollout".to_owned(), "web".to_owned()),
            ..Verdict::default()
        }
    );
    let mut referring = steps(json!([{"setWeight": 20}]));
    referring["spec"]["template"] = Value::Null;
    referring["spec"]["workloadRef"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "later"});
    assert!(create(&referring).errors.is_empty(), "{:?}", create(&referring));
    referring["spec"]["workloadRef"] = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": ""});
    assert_eq!(
        fields(&create(&referring)),
        ["spec.workloadRef.name", "spec.workloadRef"]
    );
}

#[test]
fn an_update_is_refused_for_what_it_breaks_only() {
    let good = steps(json!([{"setWeight": 20}]));
    let bad = steps(json!([{"setWeight": 20}, {"setWeight": 150}, {"setWeight": 150}]));
    assert_eq!(update(&good, &bad).errors.len(), 2);
    // Toward validity, in several edits; entries in front may go.
    let better = steps(json!([{"setWeight": 150}, {"setWeight": 40}]));
    let verdict = update(&bad, &better);
    assert!(verdict.errors.is_empty(), "{verdict:?}");
    assert_eq!(verdict.warnings.len(), 1);
    assert!(verdict.warnings[0].starts_with("still wrong: spec.strategy.canary.steps[0].setWeight: "));
    assert!(update(&better, &good).errors.is_empty());
    let worse = steps(json!([{"setWeight": 150}, {"setWeight": 40}, {"setWeight": 150}]));
    assert_eq!(
        fields(&update(&better, &worse)),
        ["spec.strategy.canary.steps[2].setWeight"]
    );
    // A wrong object may be scaled, and get a new image.
    let mut scaled = bad.clone();
    scaled["spec"]["replicas"] = json!(5);
    assert!(update(&bad, &scaled).errors.is_empty());
}

#[test]
fn what_does_not_change_the_specification_passes() {
    let bad = steps(json!([{"setWeight": 150}]));
    let mut marked = bad.clone();
    marked["metadata"]["annotations"] = json!({"team": "shop"});
    marked["status"] = json!({"abort": true});
    assert_eq!(update(&bad, &marked), Verdict::default());
    let mut worse = bad.clone();
    worse["spec"]["replicas"] = json!(-1);
    for (change, changed) in [
        ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        (
            "/metadata/labels",
            json!({"argo-rollouts.argoproj.io/controller-instance-id": "other"}),
        ),
        ("/apiVersion", json!("argoproj.io/v2")),
    ] {
        let mut new = worse.clone();
        new["metadata"]["deletionTimestamp"] = Value::Null;
        *new.pointer_mut(change.rsplit_once('/').unwrap().0)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .entry(change.rsplit_once('/').unwrap().1)
            .or_insert(Value::Null) = changed;
        assert_eq!(update(&bad, &new), Verdict::default(), "{change}");
    }
    let mut status = request("UPDATE", &worse, &bad);
    status["subResource"] = json!("status");
    assert_eq!(decide(&status, ""), Verdict::default());
    assert_eq!(decide(&request("DELETE", &Value::Null, &bad), ""), Verdict::default());
    assert_eq!(decide(&Value::Null, ""), Verdict::default());
    assert_eq!(update(&bad, &worse).errors.len(), 1, "the opposite");
}

#[test]
fn unknown_and_inert_fields_are_warned_of_with_what_was_meant() {
    let mut slip = rollout(
        json!({"blueGreen": {"activeService": "a", "autoPromotionEnabled": false, "autoPromotionSeconds": 30}}),
    );
    // The API server drops what it does not know before it asks; the text that was applied still has it.
    let mut applied = slip.clone();
    applied["spec"]["strategy"]["blueGreen"]["previewServce"] = json!("p");
    slip["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()});
    let verdict = create(&slip);
    assert!(verdict.errors.is_empty());
    assert_eq!(
        verdict.warnings,
        [
            "unknown field \"spec.strategy.blueGreen.previewServce\": did you mean \"previewService\"?",
            "spec.strategy.blueGreen.autoPromotionSeconds does not count with autoPromotionEnabled: false; remove one of the two",
        ]
    );
    // Also when the slip is all that changed; and once, not with every write after it.
    let mut before = slip.clone();
    before["metadata"]["annotations"] = Value::Null;
    assert_eq!(update(&before, &slip).warnings.len(), 2);
    assert_eq!(update(&slip, &slip), Verdict::default());
    assert_eq!(verdict.response()["warnings"].as_array().unwrap().len(), 2);
    let many = Verdict {
        warnings: vec!["w".repeat(1000); 30],
        ..Verdict::default()
    };
    let told = many.response()["warnings"].as_array().unwrap().clone();
    assert_eq!((told.len(), told[0].as_str().unwrap().len()), (21, 256));
}

fn write(directory: &Path, key: &CertifiedKey<KeyPair>) {
    std::fs::write(directory.join("tls.crt"), key.cert.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), key.signing_key.serialize_pem()).unwrap();
}

async fn ask(
    address: SocketAddr,
    trusted: &CertifiedKey<KeyPair>,
    body: String,
) -> Result<reqwest::Response, reqwest::Error> {
    let authority = reqwest::Certificate::from_pem(trusted.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/validate", address.port());
    client.post(url).body(body).send().await
}

#[tokio::test]
async fn reviews_are_answered_over_tls_and_a_renewed_certificate_is_taken_up() {
    crate::http::install_crypto_provider();
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(directory.path());
    assert!(
        certificates.refresh().unwrap_err().to_string().contains("tls.crt"),
        "nothing mounted yet"
    );
    let key = || generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (first, second) = (key(), key());
    write(directory.path(), &first);
    let listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), certificates.clone())
        .await
        .unwrap();
    let address = axum::serve::Listener::local_addr(&listener).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, "", async move { drop(stopped.await) }));
    let review = |object: &Value| {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": request("CREATE", object, &Value::Null)})
        .to_string()
    };
    let good = steps(json!([{"setWeight": 20}]));
    assert!(
        ask(address, &first, review(&good)).await.is_err(),
        "no certificate is read yet"
    );
    assert!(certificates.refresh().unwrap());
    assert!(!certificates.refresh().unwrap(), "nothing changed");

    let answer: Value = ask(address, &first, review(&good)).await.unwrap().json().await.unwrap();
    assert_eq!(
        answer,
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "1", "allowed": true}})
    );
    let bad = steps(json!([{"setWeight": 150}]));
    let answer: Value = ask(address, &first, review(&bad)).await.unwrap().json().await.unwrap();
    assert_eq!(answer["response"]["allowed"], false);
    for (body, status) in [
        ("{".to_owned(), 400),
        ("{}".to_owned(), 400),
        (" ".repeat(BODY_BYTES_MAX + 1), 413),
    ] {
        assert_eq!(ask(address, &first, body).await.unwrap().status().as_u16(), status);
    }

    write(directory.path(), &second);
    assert!(certificates.refresh().unwrap());
    assert!(
        ask(address, &second, review(&good))
            .await
            .unwrap()
            .status()
            .is_success()
    );
    assert!(
        ask(address, &first, review(&good)).await.is_err(),
        "the old one is not used any more"
    );
    // Half a renewal: the key of one, the certificate of another.
    std::fs::write(directory.path().join("tls.key"), first.signing_key.serialize_pem()).unwrap();
    assert!(certificates.refresh().is_err());
    assert!(
        ask(address, &second, review(&good))
            .await
            .unwrap()
            .status()
            .is_success()
    );
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
