//! What is synced, by whom it was asked, and that it rests afterwards.

use super::world::*;

#[test]
fn a_plain_application_is_synced_and_rests() {
    let mut world = World::automated(vec![config("b", "1"), config("a", "1")]);
    world.settle();
    world.did("+a +b");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().history.len(), 1);
    assert_eq!(world.state().sync.revision, "c1");
    assert!(world.conditions().is_empty());
    let writes = world.writes;
    world.later(1000);
    world.settle();
    assert_eq!(world.writes, writes, "at rest nothing is written");
    world.did("");
}

#[test]
fn drift_is_healed_and_undone_work_is_left_out() {
    let mut world = World::automated(vec![config("a", "1"), config("b", "1")]);
    world.settle();
    world.did("+a +b");
    world.edit("a", |object| object["data"]["a"] = json!("edited"));
    world.settle();
    world.did("+a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().history.len(), 1, "healing makes no history");
    world.edit("b", |object| object["data"]["foreign"] = json!("x"));
    world.settle();
    world.did("");
}

#[test]
fn a_requested_sync_takes_the_options_of_the_application_and_names_them() {
    let mut world = World::new(
        json!({"syncOptions": ["CreateNamespace=true"], "managedNamespaceMetadata": {"labels": {"team": "x"}}}),
        vec![config("a", "1")],
    );
    world.settle();
    world.check("OutOfSync", "Missing", "", "");
    world.ask(json!({"sync": {}, "initiatedBy": {"username": "ann"}}));
    world.settle();
    world.did("+ns | +a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(
        world.operation().operation.sync.as_ref().unwrap().sync_options,
        ["CreateNamespace=true"]
    );
    assert!(world.app.operation.is_none());
    assert!(
        world.events.contains(&"ann initiated sync to 'c1'".to_owned()),
        "{:?}",
        world.events
    );
    let namespace = world.live.iter().find(|(key, _)| key.kind == "Namespace").unwrap().1;
    assert_eq!(namespace.pointer("/metadata/labels/team"), Some(&json!("x")));
    assert_eq!(resource::annotation(namespace, "argocd.argoproj.io/tracking-id"), None);
    assert_eq!(
        world.state().resources.len(),
        1,
        "the namespace is not one of the application's objects"
    );
}

#[test]
fn a_requested_sync_without_prune_leaves_extras() {
    let mut world = World::new(json!({}), vec![config("a", "1"), config("b", "1")]);
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("+a +b");
    world.desired = Ok(commit("c2", vec![config("a", "1")]));
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("+a");
    world.check("OutOfSync", "Healthy", "Succeeded", DONE);
    let result = &world.operation().sync_result.as_ref().unwrap().resources;
    let skipped = result.iter().find(|entry| entry.name == "b").unwrap();
    assert_eq!(
        (skipped.status.as_str(), skipped.message.as_str()),
        ("PruneSkipped", "ignored (requires pruning)")
    );
    world.ask(json!({"sync": {"prune": true}}));
    world.settle();
    world.did("-b +a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
}

#[test]
fn a_selective_sync_touches_only_what_it_names() {
    let mut world = World::new(
        json!({}),
        vec![
            config("a", "1"),
            config("b", "1"),
            annotated(config("hook", "1"), "hook", "PreSync"),
        ],
    );
    world.ask(json!({"sync": {"resources": [{"kind": "ConfigMap", "name": "b"}]}}));
    world.settle();
    world.did("+b");
    assert!(world.state().history.is_empty());
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut world = World::new(json!({}), vec![config("a", "1")]);
    world.ask(json!({"sync": {"dryRun": true}}));
    world.settle();
    world.check("OutOfSync", "Missing", "Succeeded", DONE);
    assert!(world.live.is_empty() && world.state().history.is_empty());
}

#[test]
fn the_status_of_a_synced_application() {
    let mut world = World::automated(vec![config("a", "1"), deployment("web", "nginx:1")]);
    world.settle();
    world.healthy("web");
    world.later(5);
    world.settle();
    insta::assert_yaml_snapshot!(world.state());
}
