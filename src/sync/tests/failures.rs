//! What is refused, broken or out of reach: named, retried, and no longer in the way once it is mended.

use super::world::*;

#[test]
fn a_degraded_wave_fails_the_operation_and_is_retried() {
    let mut world = World::automated(vec![in_wave(deployment("first", "v1"), "-1"), config("second", "1")]);
    world.settle();
    world.status(
        "first",
        json!({"observedGeneration": 1, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
    );
    let requeue = world.settle();
    let message = "one or more synchronization tasks completed unsuccessfully, reason: Deployment \"first\" exceeded its progress deadline";
    world.check(
        "OutOfSync",
        "Degraded",
        "Running",
        &format!("{message}. Retrying attempt #1 at 1:46PM."),
    );
    assert_eq!(
        requeue,
        Requeue::At(world.now.saturating_add(SignedDuration::from_secs(5)).unwrap())
    );
    world.did("+first");
}

#[test]
fn refused_objects_fail_the_operation_and_retries_end() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.app.spec.sync_policy.as_mut().unwrap().retry = Some(crate::api::application::RetryStrategy {
        limit: 2,
        ..Default::default()
    });
    world.refused = vec![("a", "admission webhook says no")];
    let message = "one or more objects failed to apply, reason: admission webhook says no";
    world.settle();
    world.check(
        "OutOfSync",
        "Missing",
        "Running",
        &format!("{message}. Retrying attempt #1 at 1:46PM."),
    );
    assert_eq!(
        world.operation().sync_result.as_ref().unwrap().resources[0].status,
        "SyncFailed"
    );
    world.later(5);
    world.settle();
    assert_eq!(world.operation().retry_count, 2);
    world.later(10);
    world.settle();
    world.check(
        "OutOfSync",
        "Missing",
        "Failed",
        &format!("{message} (retried 2 times)."),
    );
    world.settle();
    assert_eq!(
        world.conditions(),
        [format!(
            "SyncError: Failed last sync attempt to c1: {message} (retried 2 times)."
        )]
    );
    // What was wrong in the cluster is mended: it heals by itself, without a new commit.
    world.refused.clear();
    world.later(300);
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert!(world.conditions().is_empty());
}

#[test]
fn a_new_commit_pre_empts_a_failing_retry() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.refused = vec![("a", "no")];
    world.settle();
    assert_eq!(world.operation().phase, "Running");
    world.desired = Ok(commit("c2", vec![config("b", "1")]));
    world.pinned = Some(Ok(commit("c1", vec![config("a", "1")])));
    world.settle();
    assert!(
        world
            .operation()
            .message
            .starts_with("superseded by commit c2: one or more objects failed"),
        "{}",
        world.operation().message
    );
    world.pinned = None;
    world.settle();
    world.did("| +b");
    world.check("Synced", "Healthy", "Succeeded", DONE);
}

#[test]
fn an_unreachable_source_keeps_the_last_status_for_a_while() {
    let mut world = World::automated(vec![deployment("web", "v1")]);
    world.settle();
    world.healthy("web");
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    world.desired = Err(Failure {
        message: "failed to reach `https://git/r`: refused".into(),
        is_transient: true,
    });
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(
        world.conditions(),
        ["ComparisonError: failed to reach `https://git/r`: refused"]
    );
    world.edit("web", |object| {
        object["status"] = json!({"observedGeneration": 1, "updatedReplicas": 0})
    });
    world.settle();
    world.check("Synced", "Progressing", "Succeeded", DONE);
    world.later(SOURCE_ERROR_GRACE.as_secs());
    world.settle();
    world.check("Unknown", "Progressing", "Succeeded", DONE);
    assert_eq!(world.state().sync.revision, "c1");
    world.desired = Ok(commit("c1", vec![deployment("web", "v1")]));
    world.healthy("web");
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert!(world.conditions().is_empty());
}

#[test]
fn a_source_that_cannot_be_read_prunes_and_applies_nothing() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.settle();
    world.did("+a");
    world.desired = Err(Failure {
        message: "apps/x.yaml:3: bad".into(),
        is_transient: false,
    });
    world.settle();
    world.did("");
    assert_eq!(world.state().sync.status, "Unknown");
    assert_eq!(world.conditions(), ["ComparisonError: apps/x.yaml:3: bad"]);
}

#[test]
fn invalid_specifications_name_what_is_wrong_and_heal() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.app.spec.destination.server = "https://elsewhere".into();
    world.settle();
    world.did("");
    assert_eq!(
        world.conditions(),
        [
            "InvalidSpecError: spec.destination.server: \"https://elsewhere\" is not supported yet, only \"https://kubernetes.default.svc\""
        ]
    );
    assert_eq!(
        (world.state().sync.status.as_str(), world.state().health.status.as_str()),
        ("Unknown", "Unknown")
    );
    world.app.spec.destination.server = "https://kubernetes.default.svc".into();
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert!(world.conditions().is_empty());
}

#[test]
fn an_unknown_kind_is_no_valid_task() {
    let planet = json!({"apiVersion": "example.com/v1", "kind": "Planet", "metadata": {"name": "mars"}});
    let mut world = World::new(json!({}), vec![planet, config("a", "1")]);
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("");
    let message = &world.operation().message;
    assert!(message.starts_with("one or more synchronization tasks are not valid: The Kubernetes API could not find version \"v1\" of example.com/Planet"), "{message}");
}

#[test]
fn unknown_options_are_reported_and_change_nothing() {
    let mut world = World::new(
        json!({"automated": {}, "syncOptions": ["CreateNamspace=true"]}),
        vec![annotated(config("a", "1"), "sync-options", "Prun=false")],
    );
    world.settle();
    world.did("+a");
    assert_eq!(
        world.conditions(),
        [
            "UnknownOptionWarning: spec.syncPolicy.syncOptions has the unknown option \"CreateNamspace=true\", did you mean \"CreateNamespace=true\"?",
            "UnknownOptionWarning: /ConfigMap/ns/a: annotation argocd.argoproj.io/sync-options has the unknown option \"Prun=false\", did you mean \"Prune=false\"?",
        ]
    );
}

#[test]
fn one_bad_manifest_fails_the_sync_before_anything_is_written() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad"}, "spec": {"ports": [{"port": 99_999}]}});
    let mut world = World::new(
        json!({}),
        vec![config("a", "1"), in_wave(service, "3"), job("sorry", "SyncFail")],
    );
    world.refused = vec![(
        "bad",
        "Service \"bad\" is invalid: spec.ports[0].port: Invalid value: 99999",
    )];
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("|");
    world.check(
        "OutOfSync",
        "Missing",
        "Failed",
        "one or more objects failed to apply (dry run), reason: Service \"bad\" is invalid: spec.ports[0].port: Invalid value: 99999",
    );
    // Mended, it goes through.
    world.refused.clear();
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("+a | +bad");
}

#[test]
fn what_the_sync_itself_brings_is_not_tried_too_early() {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "planets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Planet"}, "versions": [{"name": "v1", "served": true}]}});
    let planet = json!({"apiVersion": "example.com/v1", "kind": "Planet", "metadata": {"name": "mars"}});
    let mut elsewhere = config("elsewhere", "1");
    elsewhere["metadata"]["namespace"] = json!("new");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    let skipped = annotated(
        config("skipped", "1"),
        "sync-options",
        "SkipDryRunOnMissingResource=true",
    );
    let mut world = World::new(
        json!({}),
        vec![definition, planet, elsewhere, namespace, skipped, config("a", "1")],
    );
    world.kinds.insert(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        crate::sync::kinds::KindFacts {
            is_namespaced: false,
            versions: vec!["v1".into()],
        },
    );
    world.ask(json!({"sync": {}}));
    let decision = world.look();
    let tried: Vec<&str> = decision.work[0].iter().map(|work| work.key.name.as_str()).collect();
    assert_eq!(tried, ["new", "a", "planets.example.com"]);
}

#[test]
fn a_shared_object_fails_the_sync_where_that_is_asked_for() {
    let mut world = World::new(
        json!({"syncOptions": ["FailOnSharedResource=true"]}),
        vec![config("a", "1")],
    );
    world.put(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ns",
        "annotations": {"argocd.argoproj.io/tracking-id": "other:/ConfigMap:ns/a"}}}),
    );
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("");
    assert_eq!(
        world.operation().message,
        "Shared resource found: ConfigMap/a is part of applications app and other"
    );
    assert_eq!(
        world.conditions(),
        ["SharedResourceWarning: ConfigMap/a is part of applications app and other"]
    );
}

#[test]
fn a_retry_that_takes_the_newest_commit_never_goes_back() {
    let after_retry = |ancestry| {
        let mut world = World::automated(vec![config("a", "1")]);
        world.app.spec.sync_policy.as_mut().unwrap().retry = Some(crate::api::application::RetryStrategy {
            limit: 2,
            refresh: true,
            ..Default::default()
        });
        world.refused = vec![("a", "admission webhook says no")];
        world.settle();
        // A person's sync of what the branch is at does not give way to a commit; its retry may take it.
        world
            .app
            .status
            .as_mut()
            .unwrap()
            .operation_state
            .as_mut()
            .unwrap()
            .operation
            .initiated_by
            .automated = false;
        world.app.spec.sync_policy.as_mut().unwrap().automated = None;
        world.desired = Ok(commit("c0", vec![config("a", "0")]));
        world.pinned = Some(Ok(commit("c1", vec![config("a", "1")])));
        world.ancestry = ancestry;
        world.later(5);
        world.settle();
        world.operation().sync_result.as_ref().unwrap().revision.clone()
    };
    assert_eq!(after_retry(Ancestry::Backward), "c1");
    assert_eq!(after_retry(Ancestry::Forward), "c0");
}

#[test]
fn a_commit_that_is_held_meanwhile_is_not_retried() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.refused = vec![("a", "admission webhook says no")];
    world.settle();
    assert_eq!(world.operation().phase, "Running");
    world.app.status.as_mut().unwrap().hold = Some(crate::api::application_status::Hold {
        revision: "c1".into(),
        by: "rollout ns/web".into(),
        reason: "aborted".into(),
        since: None,
    });
    world.later(5);
    world.settle();
    assert_eq!(world.operation().phase, "Failed");
    let message = &world.operation().message;
    assert!(
        message.starts_with("superseded by the hold of this commit by rollout ns/web"),
        "{message}"
    );
    assert_eq!(world.operation().retry_count, 1);
}
