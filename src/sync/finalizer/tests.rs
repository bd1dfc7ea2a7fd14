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

fn decide(app: &Application, instance: &str, live: &LiveObjects, targets: &TargetSet, now: Timestamp) -> Deletion {
    plan(&Deleting {
        app,
        instance,
        is_served: true,
        live,
        targets: Ok(targets),
        revision: "0123456789",
        project: Project::Everything,
        kinds: &Kinds::default(),
        limits: WaitLimits::default(),
        now,
    })
}

fn step(app: &Application, instance: &str, live: &LiveObjects) -> Deletion {
    decide(app, instance, live, &TargetSet::default(), at("2026-01-01T00:00:01Z"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[track_caller]
fn deleted(app: &Application, objects: &[(&str, &str, serde_json::Value)]) -> Vec<String> {
    match step(app, "app", &live(objects)) {
        Deletion::Work(works) => works.into_iter().map(|work| work.key.name).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_our_finalizer_objects_stay() {
    assert_eq!(
        step(&app(&["other"], &[]), "app", &live(&[("ConfigMap", "a", json!({}))])),
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
    let waiting = step(
        &app,
        "app",
        &live(&[("ConfigMap", "a", json!({})), ("ConfigMap", "b", going)]),
    );
    let message = "waiting for deletion of /ConfigMap/b (since 2026-01-01T00:00:01Z, until 2026-01-01T01:00:01Z)";
    assert_eq!(
        waiting,
        Deletion::Await(Waiting {
            message: message.into(),
            is_told: false,
            is_overdue: false,
        })
    );
    assert_eq!(
        step(&app, "app", &LiveObjects::new()),
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
    assert_eq!(step(&app, "app", &live(&spared)), Deletion::Release(vec![]));
    assert_eq!(
        step(&app, "other", &live(&[("ConfigMap", "a", json!({}))])),
        Deletion::Release(vec![])
    );
}

#[test]
fn deletion_may_need_approval() {
    let mut app = app(&[RESOURCES_FINALIZER], &["Delete=confirm"]);
    let objects = live(&[("ConfigMap", "a", json!({}))]);
    assert!(
        matches!(step(&app, "app", &objects), Deletion::Await(waiting) if waiting.message.contains("deletion-approved"))
    );
    app.metadata.annotations = Some([(DELETION_APPROVED.to_owned(), "2026-01-01T00:00:00Z".to_owned())].into());
    assert!(matches!(step(&app, "app", &objects), Deletion::Work(_)));
}

#[test]
fn a_finalizer_that_keeps_an_object_is_named_and_told_as_an_error_in_the_end() {
    let app = app(&[RESOURCES_FINALIZER], &[]);
    let mut objects = live(&[("ConfigMap", "a", json!({"deleting": ""}))]);
    for object in objects.values_mut() {
        let mut held = object.as_ref().clone();
        held["metadata"]["finalizers"] = json!(["example.com/keep"]);
        *object = Arc::new(held);
    }
    let look = |now: &str| match decide(&app, "app", &objects, &TargetSet::default(), at(now)) {
        Deletion::Await(waiting) => waiting,
        other => panic!("{other:?}"),
    };
    let told = look("2026-01-01T00:00:30Z");
    assert!(told.is_told && !told.is_overdue);
    let late = look("2026-01-01T01:00:01Z");
    assert!(late.is_overdue);
    assert_eq!(
        late.message,
        "waiting for deletion of /ConfigMap/a, held by finalizers example.com/keep, for longer than 1h0m0s"
    );
}

fn job(name: &str, phase: &str) -> serde_json::Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "ns", "annotations": {
        "argocd.argoproj.io/tracking-id": format!("app:batch/Job:ns/{name}"), "argocd.argoproj.io/hook": phase}}})
}

fn hooks(hooks: &[(&str, &str)]) -> TargetSet {
    TargetSet {
        hooks: hooks.iter().map(|(name, phase)| Arc::new(job(name, phase))).collect(),
        ..TargetSet::default()
    }
}

#[test]
fn hooks_of_deletion_put_finalizers_on_the_application_and_take_them_off() {
    let plain = app(&["other"], &[]);
    let with = wanted_finalizers(&plain, &hooks(&[("a", "PostDelete"), ("b", "PreSync")])).unwrap();
    assert_eq!(with, ["other", POST_DELETE_FINALIZER, POST_DELETE_FINALIZER_CLEANUP]);
    let names: Vec<&str> = with.iter().map(String::as_str).collect();
    let with = app(&names, &[]);
    assert_eq!(wanted_finalizers(&with, &hooks(&[("a", "PostDelete")])), None);
    assert_eq!(wanted_finalizers(&with, &hooks(&[])), Some(vec!["other".to_owned()]));
}

#[test]
fn hooks_of_deletion_run_before_and_after_the_objects_go() {
    let all = [
        PRE_DELETE_FINALIZER,
        PRE_DELETE_FINALIZER_CLEANUP,
        RESOURCES_FINALIZER,
        POST_DELETE_FINALIZER,
        POST_DELETE_FINALIZER_CLEANUP,
    ];
    let targets = hooks(&[("before", "PreDelete"), ("after", "PostDelete")]);
    let now = at("2026-01-01T00:00:02Z");
    let mut cluster = live(&[("ConfigMap", "a", json!({}))]);
    let mut finalizers: Vec<String> = all.iter().map(|finalizer| (*finalizer).to_owned()).collect();
    let mut done = Vec::new();
    for _ in 0..30 {
        let names: Vec<&str> = finalizers.iter().map(String::as_str).collect();
        match decide(&app(&names, &[]), "app", &cluster, &targets, now) {
            Deletion::Work(works) => {
                for work in works {
                    match &work.deed {
                        Deed::Apply(apply) => {
                            done.push(format!("+{}", work.key.name));
                            let mut object = apply.body.clone();
                            object["metadata"]["creationTimestamp"] = json!(now.to_string());
                            cluster.insert(work.key.clone(), Arc::new(object));
                        }
                        Deed::Delete { .. } => {
                            done.push(format!("-{}", work.key.name));
                            cluster.remove(&work.key);
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            Deletion::Await(waiting) => {
                done.push(waiting.message.split(" (since").next().unwrap().to_owned());
                for (_, object) in cluster.iter_mut().filter(|(key, _)| key.kind == "Job") {
                    let mut ended = object.as_ref().clone();
                    ended["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
                    *object = Arc::new(ended);
                }
            }
            Deletion::Release(rest) => finalizers = rest,
            Deletion::NotOurs => break,
            Deletion::Again(_, message) => panic!("{message}"),
        }
    }
    assert_eq!(
        done,
        [
            "+before",
            "waiting for completion of PreDelete hook batch/Job/before",
            "-a",
            "-before",
            "+after",
            "waiting for completion of PostDelete hook batch/Job/after",
            "-after",
        ]
    );
    assert!(finalizers.is_empty(), "{finalizers:?}");
}

#[test]
fn a_failed_hook_of_deletion_is_named_and_run_again() {
    let app = app(&[PRE_DELETE_FINALIZER], &[]);
    let targets = hooks(&[("before", "PreDelete")]);
    let now = at("2026-01-01T00:00:02Z");
    let mut failed = job("before", "PreDelete");
    failed["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:01Z");
    failed["status"] = json!({"conditions": [{"type": "Failed", "status": "True", "message": "boom"}]});
    let cluster: LiveObjects = [(ResourceKey::of(&failed), Arc::new(failed))].into();
    let Deletion::Again(works, message) = decide(&app, "app", &cluster, &targets, now) else {
        panic!("it does not fail")
    };
    assert_eq!(message, "PreDelete hook batch/Job/before failed: boom");
    assert!(matches!(works[0].deed, Deed::Delete { .. }));
    assert!(matches!(
        decide(&app, "app", &LiveObjects::new(), &targets, now),
        Deletion::Work(_)
    ));
}

#[test]
fn a_destination_we_do_not_serve_holds_nothing_back() {
    let app = app(&[RESOURCES_FINALIZER, PRE_DELETE_FINALIZER, "other"], &[]);
    let deletion = plan(&Deleting {
        app: &app,
        instance: "app",
        is_served: false,
        live: &LiveObjects::new(),
        targets: Err("unknown"),
        revision: "",
        project: Project::Everything,
        kinds: &Kinds::default(),
        limits: WaitLimits::default(),
        now: at("2026-01-01T00:00:02Z"),
    });
    assert_eq!(deletion, Deletion::Release(vec!["other".into()]));
}

#[test]
fn a_hook_of_an_earlier_time_that_only_our_finalizer_keeps_is_let_go() {
    let app = app(&[PRE_DELETE_FINALIZER], &[]);
    let targets = hooks(&[("before", "PreDelete")]);
    let now = at("2026-01-01T00:00:02Z");
    let mut old = job("before", "PreDelete");
    old["metadata"]["creationTimestamp"] = json!("2025-12-31T23:59:00Z");
    old["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
    let decide_with = |finalizer: &str| {
        let mut held = old.clone();
        held["metadata"]["finalizers"] = json!([finalizer]);
        let cluster: LiveObjects = [(ResourceKey::of(&held), Arc::new(held))].into();
        decide(&app, "app", &cluster, &targets, now)
    };
    let Deletion::Work(works) = decide_with("argocd.argoproj.io/hook-finalizer") else {
        panic!("it waits")
    };
    assert!(matches!(works[0].deed, Deed::Delete { .. }));
    assert!(matches!(decide_with("example.com/keep"), Deletion::Await(_)));
}
