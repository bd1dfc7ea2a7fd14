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
