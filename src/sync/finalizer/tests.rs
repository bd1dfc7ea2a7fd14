use super::*;
use serde_json::json;

fn app(finalizers: &[&str], options: &[&str]) -> Application {
    serde_json::from_value(json!({
        "metadata": {"name": "app", "namespace": "argocd", "finalizers": finalizers, "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"destination": {"server": "https://kubernetes.default.svc"}, "syncPolicy": {"syncOptions": options}}
    }))
    .unwrap()
}

fn live(objects: &[(&str, &str, serde_json::Value)]) -> LiveObjects {
    objects
        .iter()
        .map(|(kind, name, annotations)| {
            let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "ns", "uid": name,
                "annotations": {"argocd.argoproj.io/tracking-id": format!("app:/{kind}:ns/{name}")}}});
            for (key, value) in annotations.as_object().unwrap() {
                match key.as_str() {
                    "deleting" => object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z"),
                    key => object["metadata"]["annotations"][key] = value.clone(),
                }
            }
            (ResourceKey::of(&object), Arc::new(object))
        })
        .collect()
}

fn wave(wave: &str) -> serde_json::Value {
    json!({"argocd.argoproj.io/sync-wave": wave})
}

#[track_caller]
fn deleted(app: &Application, objects: &[(&str, &str, serde_json::Value)]) -> Vec<String> {
    match plan(app, "app", &live(objects), Timestamp::UNIX_EPOCH) {
        Deletion::Delete(works) => works.into_iter().map(|work| work.key.name).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_our_finalizer_objects_stay() {
    assert_eq!(
        plan(
            &app(&["other"], &[]),
            "app",
            &live(&[("ConfigMap", "a", json!({}))]),
            Timestamp::UNIX_EPOCH
        ),
        Deletion::NotOurs
    );
}

#[test]
fn the_highest_wave_goes_first_and_is_waited_for() {
    let app = app(&[RESOURCES_FINALIZER, "other"], &[]);
    assert_eq!(
        deleted(
            &app,
            &[
                ("ConfigMap", "a", json!({})),
                ("ConfigMap", "b", wave("2")),
                ("ConfigMap", "c", wave("2"))
            ]
        ),
        ["b", "c"]
    );
    let mut going = wave("2");
    going["deleting"] = json!("");
    let waiting = plan(
        &app,
        "app",
        &live(&[("ConfigMap", "a", json!({})), ("ConfigMap", "b", going)]),
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(waiting, Deletion::Await("waiting for deletion of /ConfigMap/b".into()));
    assert_eq!(
        plan(&app, "app", &LiveObjects::new(), Timestamp::UNIX_EPOCH),
        Deletion::Release(vec!["other".into()])
    );
}

#[test]
fn some_objects_outlive_the_application() {
    let app = app(&[RESOURCES_FINALIZER_BACKGROUND], &[]);
    let spared = [
        ("CustomResourceDefinition", "crd", json!({})),
        (
            "ConfigMap",
            "kept",
            json!({"argocd.argoproj.io/sync-options": "Delete=false"}),
        ),
        ("ConfigMap", "helm", json!({"helm.sh/resource-policy": "keep"})),
    ];
    assert_eq!(
        plan(&app, "app", &live(&spared), Timestamp::UNIX_EPOCH),
        Deletion::Release(vec![])
    );
    assert_eq!(
        plan(
            &app,
            "other",
            &live(&[("ConfigMap", "a", json!({}))]),
            Timestamp::UNIX_EPOCH
        ),
        Deletion::Release(vec![])
    );
}

#[test]
fn deletion_may_need_approval() {
    let mut app = app(&[RESOURCES_FINALIZER], &["Delete=confirm"]);
    let objects = live(&[("ConfigMap", "a", json!({}))]);
    assert!(
        matches!(plan(&app, "app", &objects, Timestamp::UNIX_EPOCH), Deletion::Await(message) if message.contains("deletion-approved"))
    );
    app.metadata.annotations = Some([(DELETION_APPROVED.to_owned(), "2026-01-01T00:00:00Z".to_owned())].into());
    assert!(matches!(
        plan(&app, "app", &objects, Timestamp::UNIX_EPOCH),
        Deletion::Delete(_)
    ));
}
