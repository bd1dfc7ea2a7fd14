use super::*;
use crate::{
    controllers::drive::tests::context,
    k8s::{
        lease::Leadership,
        store::tests::eventually,
        testing::{FakeApi, Recorded},
    },
};
use serde_json::{Value, json};

fn web(image: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"namespace": "shop", "name": "web", "generation": 1},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"canary": {}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image, "unknownField": 1}]}}}})
}

fn rollout(api: &FakeApi) -> Value {
    api.get("argoproj.io/v1alpha1", "rollouts", "shop", "web").unwrap()
}

/// Plays the ReplicaSet controller and its pods: every pod asked for is ready at once.
fn play_pods(api: &FakeApi) {
    for mut replica_set in api.all("replicasets") {
        let replicas = replica_set["spec"]["replicas"].clone();
        let generation = replica_set["metadata"]["generation"].clone();
        replica_set["status"] = json!({"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
            "observedGeneration": generation});
        replica_set["apiVersion"] = json!("apps/v1");
        replica_set["kind"] = json!("ReplicaSet");
        api.put(replica_set);
    }
}

/// Starts the stores and the controller.
fn start(context: &Arc<Context>) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    context.stores.start(&context.client, &context.scope, &mut tasks);
    tasks.spawn(run(Arc::clone(context)));
    tasks
}

async fn becomes_healthy(api: &FakeApi) {
    eventually(|| {
        play_pods(api);
        rollout(api)["status"]["phase"] == "Healthy"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_becomes_healthy_and_then_nothing_more_is_written() {
    let api = FakeApi::new();
    api.put(web("demo:v1"));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    becomes_healthy(&api).await;
    let replica_set = &api.all("replicasets")[0];
    assert_eq!(replica_set["spec"]["replicas"], 2);
    assert_eq!(
        replica_set["spec"]["template"]["spec"]["containers"][0]["unknownField"],
        1
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    api.take_writes();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let writes = api.take_writes();
    assert!(writes.is_empty(), "zero writes at rest, found {writes:#?}");
    let page = context.metrics.render().unwrap();
    for line in [
        r#"controller_clientset_k8s_request_total{kind="replicasets",namespace="shop",name="",verb="Create",status_code="200"} 1"#,
        r#"rollout_duration_seconds_count{status="Promoted"} 1"#,
        r#"rollout_events_total{namespace="shop",name="web",type="Normal",reason="RolloutCompleted"} 1"#,
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(
        page.contains(r#"rollout_info_replicas_available{namespace="shop",name="web"} 2"#),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_replica_set_comes_back() {
    let api = FakeApi::new();
    api.put(web("demo:v1"));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    becomes_healthy(&api).await;
    let name = api.all("replicasets")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    api.delete("apps/v1", "replicasets", "shop", &name);
    eventually(|| !api.all("replicasets").is_empty()).await;
    becomes_healthy(&api).await;
    assert_eq!(
        api.all("replicasets")[0]["metadata"]["name"],
        name.as_str(),
        "names are deterministic"
    );
}

#[tokio::test(start_paused = true)]
async fn a_standby_watches_and_does_not_write() {
    let api = FakeApi::new();
    api.put(web("demo:v1"));
    let (held, leadership) = crate::k8s::lease::tests::never_elected();
    let (context, _stop) = context(&api, leadership);
    let _tasks = start(&context);
    context.stores.ready().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(api.take_writes().is_empty());
    assert_eq!(context.stores.rollouts.len(), 1);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_is_behind_our_own_writes_nothing_is_decided_anew() {
    let api = FakeApi::new();
    api.put(web("demo:v1"));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    becomes_healthy(&api).await;
    api.take_writes();
    api.hold_watches(Some("replicasets"));
    api.put({
        let mut changed = rollout(&api);
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("demo:v2");
        changed["metadata"]["generation"] = json!(2);
        changed
    });
    eventually(|| api.all("replicasets").len() == 2).await;
    // Changes of other objects wake the controller all the same.
    api.put({
        let mut changed = rollout(&api);
        changed["metadata"]["annotations"]["touched"] = json!("by somebody");
        changed
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let creations = |writes: Vec<Recorded>| {
        writes
            .iter()
            .filter(|write| write.path.ends_with("/replicasets"))
            .count()
    };
    assert_eq!(
        creations(api.take_writes()),
        1,
        "one ReplicaSet for one template, and no attempt at a second"
    );
    api.hold_watches(None);
    becomes_healthy(&api).await;
    assert_eq!(creations(api.take_writes()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_replica_set_is_told_in_status_and_as_an_event_and_heals_with_the_input() {
    let api = FakeApi::new();
    api.inject(|request| {
        let image = &request.body["spec"]["template"]["spec"]["containers"][0]["image"];
        (request.path.ends_with("/replicasets") && image == "bad image").then_some((422, "Invalid"))
    });
    api.put(web("bad image"));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    eventually(|| rollout(&api)["status"]["phase"] == "Degraded").await;
    let status = rollout(&api)["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let progressing = conditions
        .iter()
        .find(|condition| condition["type"] == "Progressing")
        .unwrap();
    assert_eq!(progressing["reason"], "ReplicaSetCreateError", "{status:#}");
    eventually(|| {
        api.all("events")
            .iter()
            .any(|event| event["reason"] == "ReconciliationError")
    })
    .await;
    let mut mended = rollout(&api);
    mended["spec"]["template"]["spec"]["containers"][0]["image"] = json!("demo:v1");
    mended["metadata"]["generation"] = json!(2);
    api.put(mended);
    becomes_healthy(&api).await;
}

/// A ReplicaSet of a Deployment under the name that the first ReplicaSet of `web("demo:v1")` gets.
async fn foreign() -> Value {
    let api = FakeApi::new();
    api.put(web("demo:v1"));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    becomes_healthy(&api).await;
    let name = api.all("replicasets")[0]["metadata"]["name"].clone();
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"namespace": "shop", "name": name, "labels": {"app": "web"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "other", "uid": "other", "controller": true}]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {}}})
}

async fn gets_another_name(api: &FakeApi, foreign: &Value) {
    becomes_healthy(api).await;
    let status = rollout(api)["status"].clone();
    assert_eq!(status["collisionCount"], 1, "{status:#}");
    let ours = format!("web-{}", status["stableRS"].as_str().unwrap());
    assert_ne!(ours, foreign["metadata"]["name"]);
    let condition = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == "Progressing");
    assert!(
        condition.unwrap()["message"].as_str().unwrap().contains(&ours),
        "{status:#}"
    );
    let theirs = api
        .all("replicasets")
        .into_iter()
        .find(|set| set["metadata"]["name"] == foreign["metadata"]["name"]);
    assert_eq!(
        theirs.unwrap()["metadata"]["ownerReferences"],
        foreign["metadata"]["ownerReferences"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_held_by_a_foreign_replica_set_is_left_to_it() {
    let foreign = foreign().await;
    let api = FakeApi::new();
    api.put(foreign.clone());
    api.put(web("demo:v1"));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    gets_another_name(&api, &foreign).await;
}

/// The API server refuses the name before the watch shows who holds it.
#[tokio::test(start_paused = true)]
async fn a_name_that_was_just_taken_is_left_to_its_holder() {
    let foreign = foreign().await;
    let api = FakeApi::new();
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    context.stores.ready().await;
    api.hold_watches(Some("replicasets"));
    api.put(foreign.clone());
    api.put(web("demo:v1"));
    eventually(|| {
        api.take_writes()
            .iter()
            .any(|write| write.path.ends_with("/replicasets"))
    })
    .await;
    api.hold_watches(None);
    gets_another_name(&api, &foreign).await;
}

#[tokio::test(start_paused = true)]
async fn series_of_a_deleted_rollout_are_dropped() {
    let api = FakeApi::new();
    api.put(web("demo:v1"));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    becomes_healthy(&api).await;
    api.delete("argoproj.io/v1alpha1", "rollouts", "shop", "web");
    eventually(|| !context.metrics.render().unwrap().contains("rollout_events_total{")).await;
}

/// What the Rollout names is marked as that of one which is gone, and nobody has released it yet.
#[tokio::test(start_paused = true)]
async fn a_manager_that_is_gone_makes_no_rollout_invalid() {
    const MARK: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
    let api = FakeApi::new();
    let mut web = web("demo:v1");
    web["spec"]["strategy"]["canary"] = json!({"stableService": "front"});
    api.put(web);
    api.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "front",
        "annotations": {MARK: "before", "mine": "1"}}, "spec": {"selector": {"app": "web", "rollouts-pod-template-hash": "old"}}}));
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    becomes_healthy(&api).await;
    let front = || api.get("v1", "services", "shop", "front").unwrap();
    eventually(|| front()["metadata"]["annotations"] == json!({MARK: "web", "mine": "1"})).await;
    let hash = rollout(&api)["status"]["stableRS"].clone();
    assert_eq!(
        front()["spec"]["selector"],
        json!({"app": "web", "rollouts-pod-template-hash": hash})
    );
    let writes = api.take_writes();
    let refused = writes
        .iter()
        .find(|write| write.body.to_string().contains("InvalidSpec"));
    assert!(refused.is_none(), "{refused:#?}");
}

/// The sync engine is on: its kinds are waited for too.
#[tokio::test(start_paused = true)]
async fn readiness_covers_the_kinds_of_every_controller_that_runs() {
    let api = FakeApi::new();
    let (context, _stop) = context(&api, Leadership::permanent());
    let _tasks = start(&context);
    context.stores.ready().await;
    assert_eq!(context.unready(), ["Application", "AppProject"]);
    tokio::spawn(
        context
            .stores
            .applications
            .clone()
            .watch(kube::Api::all(context.client.clone()), true),
    );
    tokio::spawn(
        context
            .stores
            .projects
            .clone()
            .watch(kube::Api::all(context.client.clone()), true),
    );
    eventually(|| context.unready().is_empty()).await;
}
