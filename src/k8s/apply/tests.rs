use super::*;
use crate::{
    clock::SystemClock,
    k8s::testing::{FakeApi, Recorded},
    plan::{EventKind, EventRecord, Precondition, Propagation},
};
use serde_json::{Value, json};
use std::sync::Arc;

fn writer(api: &FakeApi) -> Writer {
    Writer::new(api.client(), Arc::new(SystemClock), "test")
}

fn rollout(api: &FakeApi) -> Value {
    api.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"replicas": 1}, "status": {"phase": "Healthy"}}))
}

fn rollout_ref() -> ObjectRef {
    ObjectRef::namespaced("argoproj.io/v1alpha1", "Rollout", "shop", "web")
}

fn service_ref(name: &str) -> ObjectRef {
    ObjectRef::namespaced("v1", "Service", "shop", name)
}

fn version(object: &Value) -> Precondition {
    let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
    Precondition {
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    }
}

fn status(object: &Value) -> StatusChange {
    StatusChange::Merge {
        target: rollout_ref(),
        patch: json!({"status": {"phase": "Progressing"}}),
        subresource: true,
        precondition: version(object),
    }
}

fn merge(target: ObjectRef, patch: Value, precondition: Option<Precondition>) -> Action {
    Action::Merge {
        target,
        patch,
        manager: "tidegate-test",
        precondition,
    }
}

fn create(name: &str) -> Action {
    Action::Create {
        object: json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": name}}),
    }
}

fn paths(writes: &[Recorded]) -> Vec<String> {
    writes
        .iter()
        .map(|write| format!("{} {}", write.method, write.path.rsplit('/').next().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn stages_go_in_order_then_the_status_then_events() {
    let api = FakeApi::new();
    let found = rollout(&api);
    let mut plan = Plan {
        status: status(&found),
        ..Plan::default()
    };
    plan.stage(vec![create("first")]);
    plan.stage(vec![merge(
        service_ref("first"),
        json!({"spec": {"selector": {"a": "b"}}}),
        None,
    )]);
    plan.events.push(EventRecord {
        about: rollout_ref(),
        uid: None,
        kind: EventKind::Normal,
        reason: "RolloutUpdated".to_owned(),
        message: "Rollout updated to revision 2".to_owned(),
    });
    let applied = apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap();
    let writes = api.take_writes();
    assert_eq!(
        paths(&writes),
        ["POST services", "PATCH first", "PATCH status", "POST events"]
    );
    assert_eq!(writes[1].query, "&fieldManager=tidegate-test");
    assert!(applied.status_written);
    assert_eq!(applied.writes.len(), 3);
    assert_eq!(applied.events, 1);
    assert_eq!(
        api.get("argoproj.io/v1alpha1", "rollouts", "shop", "web").unwrap()["status"]["phase"],
        "Progressing"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_sends_nothing() {
    let api = FakeApi::new();
    api.inject(|request| panic!("sent {request:?}"));
    let applied = apply(&writer(&api), &Fence::permanent(), &Plan::default())
        .await
        .unwrap();
    assert!(applied.writes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_refused_stops_the_next_but_not_its_own_actions() {
    let api = FakeApi::new();
    let found = rollout(&api);
    api.inject(|request| (request.body["metadata"]["name"] == "bad").then_some((422, "Invalid")));
    let mut plan = Plan {
        status: status(&found),
        ..Plan::default()
    };
    plan.stage(vec![create("bad"), create("good")]);
    plan.stage(vec![create("later")]);
    let error = apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap_err();
    assert_eq!((error.class(), error.label()), (Class::Permanent, "Rejected"));
    assert!(
        error.to_string().starts_with("failed to write Service shop/bad: "),
        "{error}"
    );
    assert_eq!(api.all("services").len(), 1);
    assert_eq!(error.applied.writes.len(), 1, "what was written feeds the ledger");
    assert!(api.take_writes().iter().all(|write| !write.path.ends_with("status")));
}

#[tokio::test(start_paused = true)]
async fn a_stale_decision_writes_nothing_and_is_a_conflict() {
    let api = FakeApi::new();
    let old = rollout(&api);
    let mut changed = old.clone();
    changed["status"]["abort"] = json!(true);
    api.put(changed);
    let plan = Plan {
        status: status(&old),
        ..Plan::default()
    };
    let error = apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    let kept = api.get("argoproj.io/v1alpha1", "rollouts", "shop", "web").unwrap();
    assert_eq!(kept["status"], json!({"phase": "Healthy", "abort": true}));
}

#[tokio::test(start_paused = true)]
async fn our_own_write_of_the_object_does_not_stand_in_the_way_of_its_status_but_a_foreign_one_does() {
    let api = FakeApi::new();
    let found = rollout(&api);
    let annotate = || {
        merge(
            rollout_ref(),
            json!({"metadata": {"annotations": {"rollout.argoproj.io/revision": "2"}}}),
            None,
        )
    };
    let mut plan = Plan {
        status: status(&found),
        ..Plan::default()
    };
    plan.stage(vec![annotate()]);
    apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap();
    assert_eq!(
        api.get("argoproj.io/v1alpha1", "rollouts", "shop", "web").unwrap()["status"]["phase"],
        "Progressing"
    );

    // The same plan once more: it was decided on a version that is no longer there.
    let error = apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
}

#[tokio::test(start_paused = true)]
async fn two_actions_on_one_object_run_one_after_the_other() {
    let api = FakeApi::new();
    let service =
        api.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "s"}}));
    let mut plan = Plan::default();
    plan.stage(vec![
        merge(service_ref("s"), json!({"spec": {"a": 1}}), Some(version(&service))),
        merge(service_ref("s"), json!({"spec": {"b": 2}}), Some(version(&service))),
    ]);
    apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap();
    assert_eq!(
        api.get("v1", "services", "shop", "s").unwrap()["spec"],
        json!({"a": 1, "b": 2})
    );
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_carries_identity_manager_and_precondition() {
    let api = FakeApi::new();
    let service =
        api.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "s"}}));
    let mut plan = Plan::default();
    plan.stage(vec![Action::Apply {
        target: service_ref("s"),
        fields: json!({"spec": {"selector": {"hash": "1"}}}),
        manager: "tidegate-services",
        precondition: Some(version(&service)),
    }]);
    apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap();
    let write = api.take_writes().remove(0);
    assert_eq!(write.query, "&force=true&fieldManager=tidegate-services");
    assert_eq!(
        write.body,
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"hash": "1"}}, "metadata": {
            "name": "s", "namespace": "shop", "uid": service["metadata"]["uid"], "resourceVersion": service["metadata"]["resourceVersion"]}})
    );
}

#[tokio::test(start_paused = true)]
async fn deletion_is_bound_to_the_version_and_a_missing_object_is_done() {
    let api = FakeApi::new();
    let old = api.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "s"}}));
    let delete = |precondition| Action::Delete {
        target: service_ref("s"),
        precondition,
        propagation: Propagation::Background,
    };
    let mut newer = old.clone();
    newer["spec"] = json!({"changed": true});
    let newer = api.put(newer);
    let run = async |precondition| {
        let mut plan = Plan::default();
        plan.stage(vec![delete(precondition)]);
        apply(&writer(&api), &Fence::permanent(), &plan).await
    };
    assert_eq!(run(version(&old)).await.unwrap_err().class(), Class::Conflict);
    assert_eq!(api.all("services").len(), 1);
    let applied = run(version(&newer)).await.unwrap();
    assert_eq!(
        applied.writes[0].1,
        Written::Deleted {
            uid: newer["metadata"]["uid"].as_str().map(str::to_owned)
        }
    );
    assert!(api.all("services").is_empty());
    run(version(&newer)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn creating_what_is_there_counts_as_accepted_and_patching_what_is_not_as_a_conflict() {
    let api = FakeApi::new();
    let mut plan = Plan::default();
    plan.stage(vec![create("s")]);
    apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap();
    let again = apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap();
    assert!(again.writes.is_empty());
    let mut plan = Plan::default();
    plan.stage(vec![merge(service_ref("missing"), json!({"spec": {}}), None)]);
    assert_eq!(
        apply(&writer(&api), &Fence::permanent(), &plan)
            .await
            .unwrap_err()
            .class(),
        Class::Conflict
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeated_event_raises_the_count_of_the_first() {
    let api = FakeApi::new();
    let writer = writer(&api);
    let event = |message: &str| EventRecord {
        about: rollout_ref(),
        uid: Some("u".to_owned()),
        kind: EventKind::Warning,
        reason: "ReconciliationError".to_owned(),
        message: message.to_owned(),
    };
    writer
        .events()
        .record(&[event("a"), event("a"), event("b"), event("a")])
        .await;
    let mut counts: Vec<_> = api
        .all("events")
        .iter()
        .map(|event| (event["message"].clone(), event["count"].clone()))
        .collect();
    counts.sort_by_key(|(message, _)| message.to_string());
    assert_eq!(counts, [(json!("a"), json!(3)), (json!("b"), json!(1))]);
    let one = &api.all("events")[0];
    assert_eq!(one["source"]["component"], "rollouts-controller");
    assert_eq!(one["involvedObject"]["uid"], "u");
    // The server forgets events after an hour; the next one begins anew.
    api.all("events")
        .iter()
        .for_each(|event| api.delete("v1", "events", "shop", event["metadata"]["name"].as_str().unwrap()));
    writer.events().record(&[event("a")]).await;
    assert_eq!(api.all("events").len(), 1);
    // Events are news: failing to write one fails nothing.
    api.inject(|_| Some((500, "InternalError")));
    assert_eq!(writer.events().record(&[event("c")]).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_about_a_pod_holds_nothing_up() {
    let api = FakeApi::new();
    let found = rollout(&api);
    let pod = |name: &str| ObjectRef::namespaced("v1", "Pod", "shop", name);
    let evict = |name: &str| PodWrite::Evict {
        target: pod(name),
        uid: "1".to_owned(),
    };
    let plan = Plan {
        status: status(&found),
        pods: vec![
            evict("held"),
            evict("forbidden"),
            PodWrite::Patch {
                target: pod("gone"),
                uid: "1".to_owned(),
                patch: json!({"metadata": {"labels": {"role": "canary"}}}),
            },
        ],
        ..Plan::default()
    };
    api.inject(|request| {
        let uid = &request.body["deleteOptions"]["preconditions"]["uid"];
        let asks = |name: &str| request.path.ends_with(&format!("{name}/eviction")) && uid == "1";
        (asks("held").then_some((429, "TooManyRequests"))).or_else(|| asks("forbidden").then_some((403, "Forbidden")))
    });
    let applied = apply(&writer(&api), &Fence::permanent(), &plan).await.unwrap();
    let writes = api.take_writes();
    assert_eq!(paths(&writes)[0], "PATCH status", "pods come last");
    assert_eq!(applied.pods, 0);
    let refused: Vec<String> = applied
        .refused_pods
        .iter()
        .map(|(target, _)| target.to_string())
        .collect();
    assert_eq!(
        refused,
        ["Pod shop/forbidden"],
        "a budget or a pod that is gone is nobody's fault"
    );
}
