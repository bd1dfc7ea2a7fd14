//! What automation must not do by itself: go back, wipe out, bring back what was rolled back.

use super::world::*;

#[test]
fn an_older_commit_is_not_synced_by_itself() {
    let mut world = World::automated(vec![config("a", "2")]);
    world.settle();
    world.desired = Ok(commit("c0", vec![config("a", "1")]));
    world.ancestry = Ancestry::Backward;
    world.did("+a");
    world.settle();
    world.did("");
    assert!(
        world.conditions()[0].contains("older than the commit deployed last"),
        "{:?}",
        world.conditions()
    );
}

#[test]
fn a_rollback_holds_while_the_source_cannot_be_read() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.settle();
    world.desired = Ok(commit("c2", vec![config("a", "2")]));
    world.settle();
    world.desired = Err(Failure {
        message: "the server is down".into(),
        is_transient: true,
    });
    world.pinned = Some(Ok(commit("c1", vec![config("a", "1")])));
    world.ask(json!({"initiatedBy": {"username": "ada"}, "sync": {"revision": "c1"}}));
    world.settle();
    assert_eq!(world.operation().phase, "Succeeded");
    let hold = world.state().hold.clone().unwrap_or_default();
    assert_eq!((hold.revision.as_str(), hold.by.as_str()), ("c2", "user ada"));
    world.desired = Ok(commit("c2", vec![config("a", "2")]));
    world.did("+a | +a | +a");
    world.settle();
    world.did("");
    world.desired = Ok(commit("c3", vec![config("a", "3")]));
    world.settle();
    world.did("+a");
}

#[test]
fn a_commit_that_comes_during_a_persons_sync_is_not_held() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.settle();
    world.ask(json!({"initiatedBy": {"username": "ada"}, "sync": {}}));
    world.look();
    world.app = {
        let mut app = world.app.clone();
        app.operation = None;
        app.status = Some(world.look().status);
        app
    };
    world.desired = Ok(commit("c2", vec![config("a", "2")]));
    world.pinned = Some(Ok(commit("c1", vec![config("a", "1")])));
    world.settle();
    assert_eq!(world.state().hold, None);
    world.pinned = None;
    world.settle();
    assert_eq!(world.operation().sync_result.as_ref().unwrap().revision, "c2");
}

/// What automation was permitted when it began may be too much when it tries again (guarantee S3).
#[test]
fn a_retry_prunes_no_more_than_the_allowed_share() {
    let many = || {
        (0..8)
            .map(|number| config(&format!("a{number}"), "1"))
            .collect::<Vec<_>>()
    };
    let mut world = World::automated(many());
    world.settle();
    world.done.clear();
    let mut state = world.operation().clone();
    state.phase = "Running".into();
    state.finished_at = None;
    state.sync_result.as_mut().unwrap().resources.clear();
    world.app.status.as_mut().unwrap().operation_state = Some(state);
    world.pinned = Some(Ok(commit("c1", vec![config("a0", "1")])));
    world.settle();
    assert!(!world.done.iter().any(|done| done.starts_with('-')), "{:?}", world.done);
    let skipped = world.operation().sync_result.as_ref().unwrap().resources.iter();
    assert_eq!(skipped.filter(|resource| resource.status == "PruneSkipped").count(), 7);
}

#[test]
fn an_empty_source_prunes_all_where_that_is_permitted() {
    let many = (0..8).map(|number| config(&format!("a{number}"), "1")).collect();
    let mut world = World::automated(many);
    let policy = world.app.spec.sync_policy.as_mut().unwrap();
    policy.automated.as_mut().unwrap().allow_empty = Some(true);
    world.settle();
    world.desired = Ok(commit("c2", vec![]));
    world.settle();
    assert_eq!(
        (world.state().sync.status.as_str(), world.operation().phase.as_str()),
        ("Synced", "Succeeded")
    );
    assert!(world.state().resources.is_empty(), "{:?}", world.state().resources);
}

#[test]
fn an_empty_source_prunes_nothing() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.settle();
    world.did("+a");
    world.desired = Ok(commit("c2", vec![]));
    world.settle();
    world.did("");
    assert!(
        world.conditions()[0].contains("auto-sync will wipe out all resources"),
        "{:?}",
        world.conditions()
    );
    world.ask(json!({"sync": {"prune": true}}));
    world.settle();
    world.did("|");
    assert_eq!(world.operation().phase, "Succeeded");
    assert_eq!(
        world.operation().sync_result.as_ref().unwrap().resources[0].status,
        "PruneSkipped"
    );
}

#[test]
fn an_aborted_rollout_holds_its_commit_until_a_newer_one() {
    let rollout = |image: &str| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
               "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    let phase = |world: &mut World, phase: &str, aborted: bool| {
        world.edit("web", |object| {
            let conditions = if aborted {
                json!([{"type": "Progressing", "reason": "RolloutAborted", "message": "metric failed"}])
            } else {
                json!([])
            };
            let generation = object["metadata"]["generation"].to_string();
            object["status"] = json!({"observedGeneration": generation, "phase": phase, "conditions": conditions});
        });
    };
    let mut world = World::automated(vec![rollout("v1")]);
    world.settle();
    phase(&mut world, "Healthy", false);
    world.settle();
    world.desired = Ok(commit("c2", vec![rollout("v3-bad")]));
    world.settle();
    phase(&mut world, "Degraded", true);
    world.settle();
    world.check("Synced", "Degraded", "Succeeded", DONE);
    let hold = world.state().hold.clone().unwrap();
    assert_eq!(
        (hold.revision.as_str(), hold.by.as_str(), hold.reason.as_str()),
        ("c2", "rollout ns/web", "metric failed")
    );
    assert_eq!(
        world.conditions(),
        [format!("SyncHoldWarning: {}", hold::message(&hold))]
    );
    world.did("+web | +web");
    // A person undoes the rollout; self-healing must not bring the bad version back.
    world.edit("web", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v1")
    });
    phase(&mut world, "Healthy", false);
    world.later(3600);
    world.settle();
    world.did("");
    assert_eq!(world.state().sync.status, "OutOfSync");
    assert_eq!(world.state().hold.as_ref(), Some(&hold));
    // The revert is a newer commit.
    world.desired = Ok(commit("c3", vec![rollout("v1")]));
    world.settle();
    phase(&mut world, "Healthy", false);
    world.settle();
    assert_eq!(
        (world.state().hold.as_ref(), world.state().sync.status.as_str()),
        (None, "Synced")
    );
    assert!(
        world
            .events
            .iter()
            .any(|event| event == "Automation no longer holds back commit c2"),
        "{:?}",
        world.events
    );
}

#[test]
fn a_rollback_by_a_person_holds_the_newest_commit() {
    let mut world = World::automated(vec![config("a", "2")]);
    world.settle();
    world.did("+a");
    world.pinned = Some(Ok(commit("c0", vec![config("a", "1")])));
    world.ask(json!({"sync": {"revision": "c0"}, "initiatedBy": {"username": "ann"}}));
    world.settle();
    world.pinned = None;
    world.settle();
    world.did("+a");
    world.check("OutOfSync", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().hold.as_ref().unwrap().by, "user ann");
    assert_eq!(world.state().history.last().unwrap().revision, "c0");
}

fn project(rules: Value) -> Option<crate::api::app_project::AppProjectSpec> {
    let mut all = json!({"sourceRepos": ["https://git/*"], "destinations": [{"server": "*", "namespace": "*"}]});
    for (key, value) in rules.as_object().unwrap() {
        all[key] = value.clone();
    }
    Some(serde_json::from_value(all).unwrap())
}

#[test]
fn a_sync_window_holds_automation_back_and_opens_by_itself() {
    let mut world = World::automated(vec![config("a", "1")]);
    // It is 13:46:40 UTC.
    world.project = project(
        json!({"syncWindows": [{"kind": "deny", "schedule": "0 13 * * *", "duration": "1h", "applications": ["*"]}]}),
    );
    let requeue = world.settle();
    world.did("");
    let end = Timestamp::from_second(1_000_000 + 13 * 60 + 20).unwrap();
    assert_eq!(requeue, Requeue::At(end));
    assert_eq!(
        world.conditions(),
        [
            "SyncWindowWarning: Sync operation blocked by sync window: deny window \"0 13 * * *\" for 1h of project \"team\" is active, until 1970-01-12T14:00:00Z"
        ]
    );
    world.later(13 * 60 + 20);
    world.settle();
    world.did("+a");
    assert!(world.conditions().is_empty());
}

#[test]
fn a_window_that_closes_freezes_a_running_sync_unless_it_may_overrun() {
    for (overruns, expected) in [(false, ""), (true, "+second")] {
        let mut world = World::new(
            json!({}),
            vec![in_wave(deployment("first", "v1"), "-1"), config("second", "1")],
        );
        world.project = project(
            json!({"syncWindows": [{"kind": "allow", "schedule": "0 13 * * *", "duration": "1h",
            "applications": ["*"], "syncOverrun": overruns}]}),
        );
        world.ask(json!({"sync": {}}));
        world.settle();
        world.did("+first");
        world.later(3000);
        world.healthy("first");
        let requeue = world.settle();
        world.did(expected);
        if !overruns {
            let message = &world.operation().message;
            assert!(
                message.starts_with("Sync operation blocked by sync window: allow window"),
                "{message}"
            );
            assert_eq!(world.operation().phase, "Running");
            assert_eq!(requeue, Requeue::At("1970-01-13T13:00:00Z".parse().unwrap()));
        }
    }
}

#[test]
fn an_operation_must_not_bring_a_source_that_the_project_forbids() {
    let mut world = World::new(json!({}), vec![config("a", "1")]);
    world.project = project(json!({}));
    world.pinned = Some(Ok(commit("c9", vec![config("b", "1")])));
    world.ask(json!({"sync": {"source": {"repoURL": "https://elsewhere/r", "path": "a"}}}));
    world.settle();
    world.did("");
    assert_eq!(
        (world.operation().phase.as_str(), world.operation().message.as_str()),
        (
            "Error",
            "application repo https://elsewhere/r is not permitted in project 'team'"
        )
    );
}

#[test]
fn limits_of_the_project_hold_for_every_object_and_in_every_wave() {
    let mut other = in_wave(config("b", "1"), "1");
    other["metadata"]["namespace"] = json!("elsewhere");
    let mut world = World::new(json!({}), vec![config("a", "1"), other]);
    world.project = project(json!({"destinations": [{"server": "*", "namespace": "ns"}]}));
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("");
    assert_eq!(
        world.operation().message,
        "one or more synchronization tasks are not valid: namespace elsewhere is not permitted in project 'team'"
    );
    // What changes between two waves counts for the second.
    let mut world = World::new(
        json!({}),
        vec![in_wave(deployment("first", "v1"), "-1"), config("second", "1")],
    );
    world.project = project(json!({}));
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("+first");
    world.project = project(json!({"namespaceResourceBlacklist": [{"group": "", "kind": "ConfigMap"}]}));
    world.healthy("first");
    world.settle();
    world.did("");
    assert_eq!(
        world.operation().message,
        "one or more synchronization tasks are not valid: resource :ConfigMap is not permitted in project team"
    );
}

#[test]
fn the_destination_namespace_is_made_only_where_the_project_permits_it() {
    let mut world = World::new(json!({"syncOptions": ["CreateNamespace=true"]}), vec![config("a", "1")]);
    world.project = project(json!({}));
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("");
    assert!(
        world
            .operation()
            .message
            .ends_with("resource :Namespace is not permitted in project team"),
        "{}",
        world.operation().message
    );
    world.project = project(json!({"clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}]}));
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("+ns | +a");
}

#[test]
fn a_live_object_beyond_the_project_is_never_pruned() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.project = project(json!({"destinations": [{"server": "*", "namespace": "ns"}]}));
    world.put(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "forged", "namespace": "kube-system",
        "annotations": {"argocd.argoproj.io/tracking-id": "app:/ConfigMap:kube-system/forged"}}}),
    );
    world.settle();
    world.did("+a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
}
