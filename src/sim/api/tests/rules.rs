//! What the scenarios shared with a real server do not ask.

use super::{super::observe::Commit, *};

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_must_be_listed_again() {
    let api = server(Options {
        retained_events: 2,
        ..Options::default()
    });
    let client = api.client("controller", "shop");
    for name in ["a", "b", "c"] {
        api.create("user", config_map(name)).unwrap();
    }
    assert_eq!(Reader::open(&client, "resourceVersion=1").await.next().await, "410");
    assert_eq!(Reader::open(&client, "resourceVersion=2").await.next().await, "added b");
    api.compact();
    assert_eq!(Reader::open(&client, "resourceVersion=3").await.next().await, "410");
    let now = format!("resourceVersion={}", api.state().version());
    let mut current = Reader::open(&client, &now).await;
    api.delete("user", &key("a"), &Deletion::default()).unwrap();
    assert_eq!(current.next().await, "deleted a");
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_gets_bookmarks_and_ends_in_time() {
    let api = server(Options::default());
    let client = api.client("controller", "shop");
    let query = "resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=150";
    let mut reader = Reader::open(&client, query).await;
    let mut elsewhere = config_map("x");
    elsewhere["metadata"]["namespace"] = json!("other");
    api.create("user", elsewhere).unwrap();
    assert_eq!(reader.next().await, "bookmark 2");
    assert_eq!(reader.next().await, "bookmark 2");
    assert_eq!(reader.next().await, "end");
}

#[tokio::test(start_paused = true)]
async fn observers_hear_of_every_change_once() {
    let api = server(Options::default());
    let heard: Arc<Mutex<Vec<Commit>>> = Arc::default();
    let hook = Arc::clone(&heard);
    api.observe(move |commit, state| {
        assert_eq!(state.get(&commit.key), commit.after.as_ref());
        hook.lock().unwrap().push(commit.clone());
    });
    api.create("user", config_map("a")).unwrap();
    api.patch("user", &key("a"), &set("color", "blue")).unwrap();
    api.patch("user", &key("a"), &set("color", "blue")).unwrap();
    api.create("user", config_map("a")).unwrap_err();
    api.delete("other", &key("a"), &Deletion::default()).unwrap();
    let told: Vec<(String, Verb, u64, bool, bool)> = heard
        .lock()
        .unwrap()
        .iter()
        .map(|commit| {
            let sides = (commit.before.is_some(), commit.after.is_some());
            (commit.actor.to_string(), commit.verb, commit.version, sides.0, sides.1)
        })
        .collect();
    let user = || "user".to_owned();
    assert_eq!(
        told,
        [
            (user(), Verb::Create, 2, false, true),
            (user(), Verb::Patch, 3, true, true),
            ("other".to_owned(), Verb::Delete, 4, true, false),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_world_may_refuse_what_the_server_takes() {
    let api = server(Options::default());
    api.admit(|key, before, after| {
        if after["data"]["color"] == "red" && before.is_some() {
            return Err(refusal::invalid(
                key,
                &[("data.color", "Forbidden: not red".to_owned())],
            ));
        }
        Ok(())
    });
    api.create("user", config_map("a")).unwrap();
    let refused = api.patch("user", &key("a"), &set("color", "red")).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    api.patch("user", &key("a"), &set("color", "blue")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_what_is_in_it() {
    let api = server(Options {
        require_namespaces: true,
        ..Options::default()
    });
    assert_eq!(api.create("user", config_map("a")).unwrap_err().code, 404);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    api.create("user", namespace).unwrap();
    api.create("user", config_map("a")).unwrap();
    let shop = Key::new(Kind::Namespace, "", "shop");
    let marked = api.delete("user", &shop, &Deletion::default()).unwrap();
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert_eq!(api.create("user", config_map("b")).unwrap_err().code, 403);
    while api.collect_garbage() > 0 {}
    assert!(api.state().get(&key("a")).is_none());
    assert!(api.state().get(&shop).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_is_given_time() {
    let api = server(Options::default());
    let pod = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name}, "spec": spec});
    let (waiting, running) = (
        Key::new(Kind::Pod, "shop", "waiting"),
        Key::new(Kind::Pod, "shop", "running"),
    );
    api.create("user", pod("waiting", json!({"containers": []}))).unwrap();
    api.create("user", pod("running", json!({"containers": [], "nodeName": "n1"})))
        .unwrap();
    for key in [&waiting, &running] {
        api.delete("user", key, &Deletion::default()).unwrap();
    }
    assert!(api.state().get(&waiting).is_none());
    let marked = api.state().get(&running).cloned().unwrap();
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:30Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let at_once = Deletion {
        grace_seconds: Some(0),
        ..Deletion::default()
    };
    api.delete("kubelet", &running, &at_once).unwrap();
    assert!(api.state().get(&running).is_none());
}

#[tokio::test(start_paused = true)]
async fn objects_are_found_by_label_owner_and_uid_as_they_change() {
    let api = server(Options::default());
    let mut object = config_map("a");
    object["metadata"]["labels"] = json!({"app": "web", "tier": "front"});
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u-1"}]);
    let made = api.create("user", object).unwrap();
    let names = |label: &str, value: &str| api.state().labelled(Kind::ConfigMap, "shop", label, value).len();
    assert_eq!((names("app", "web"), names("app", "api")), (1, 0));
    assert_eq!(
        api.state()
            .selected(Kind::ConfigMap, "shop", [("app", "web"), ("tier", "back")])
            .len(),
        0
    );
    assert_eq!(
        api.state()
            .selected(Kind::ConfigMap, "shop", [("app", "web"), ("tier", "front")])
            .len(),
        1
    );
    assert_eq!(api.state().owned_by("u-1").len(), 1);
    assert_eq!(
        api.state().by_uid(meta(&made, "uid")).map(|(key, _)| key.clone()),
        Some(key("a"))
    );
    let change = Change::Merge(json!({"metadata": {"labels": {"app": "api"}, "ownerReferences": null}}));
    api.patch("user", &key("a"), &change).unwrap();
    assert_eq!((names("app", "web"), names("app", "api")), (0, 1));
    assert!(api.state().owned_by("u-1").is_empty());
    api.delete("user", &key("a"), &Deletion::default()).unwrap();
    assert_eq!(names("app", "api"), 0);
    assert!(api.state().by_uid(meta(&made, "uid")).is_none());
    assert!(api.state().list(Kind::ConfigMap, None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_eviction_deletes_the_pod_that_is_meant_unless_a_budget_needs_it() {
    let api = server(Options::default());
    let client = api.client("controller", "shop");
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    for name in ["a", "b"] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": name,
            "labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
        api.create("user", pod).unwrap();
        let key = Key::new(Kind::Pod, "shop", name);
        api.patch_status("kubelet", &key, &Change::Merge(ready.clone()))
            .unwrap();
    }
    let budget = |least: u64| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}}})
    };
    api.create("user", budget(2)).unwrap();
    let evict = async |name: &str, uid: &str| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name},
            "deleteOptions": {"preconditions": {"uid": uid}}});
        let path = format!("/api/v1/namespaces/shop/pods/{name}/eviction");
        let request = Request::post(path).body(body.to_string().into_bytes()).unwrap();
        match client.request::<Value>(request).await {
            Ok(_) => 201,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    };
    let pod = Key::new(Kind::Pod, "shop", "a");
    let uid = api.state().get(&pod).unwrap()["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(evict("a", &uid).await, 429);
    let key = Key::new(Kind::PodDisruptionBudget, "shop", "web");
    api.patch("user", &key, &Change::Merge(json!({"spec": {"minAvailable": 1}})))
        .unwrap();
    assert_eq!(evict("a", "another").await, 409);
    assert_eq!(evict("a", &uid).await, 201);
    assert!(api.state().get(&pod).is_none());
    assert_eq!(evict("a", &uid).await, 404);
}
