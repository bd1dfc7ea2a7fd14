//! Hooks: when they run, how often, and when they go.

use super::world::*;

#[test]
fn hooks_run_in_their_phases_and_are_waited_for() {
    let objects = vec![
        job("before", "PreSync"),
        config("a", "1"),
        job("after", "PostSync"),
        job("sorry", "SyncFail"),
    ];
    let mut world = World::automated(objects);
    world.settle();
    world.did("+before");
    world.check(
        "OutOfSync",
        "Missing",
        "Running",
        "waiting for completion of hook batch/Job/before",
    );
    world.status(
        "before",
        json!({"conditions": [{"type": "Complete", "status": "True"}]}),
    );
    world.settle();
    world.did("+a | +after");
    world.status("after", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.settle();
    world.did("");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    // At the next commit the old hooks make way for new ones.
    world.desired = Ok(commit("c2", vec![job("before", "PreSync"), config("a", "2")]));
    world.later(60);
    world.settle();
    world.did("-before | +before");
}

#[test]
fn a_failed_hook_fails_the_operation_and_runs_the_apology() {
    let mut world = World::new(
        json!({}),
        vec![job("before", "PreSync"), config("a", "1"), job("sorry", "SyncFail")],
    );
    world.ask(json!({"sync": {}}));
    world.settle();
    world.status(
        "before",
        json!({"conditions": [{"type": "Failed", "status": "True", "message": "boom"}]}),
    );
    world.settle();
    world.did("+before | +sorry");
    world.status("sorry", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.settle();
    world.check(
        "OutOfSync",
        "Missing",
        "Failed",
        "one or more synchronization tasks completed unsuccessfully, reason: boom",
    );
}

#[test]
fn a_crash_after_creating_a_hook_does_not_run_it_twice() {
    let mut world = World::automated(vec![job("before", "PreSync"), config("a", "1")]);
    let decision = world.look();
    world.app.status = Some(decision.status);
    // The process dies between creating the hook and recording it.
    drop(world.perform(decision.work));
    world.done.clear();
    world.later(3);
    world.settle();
    world.did("+before");
    assert!(!world.done.iter().any(|done| done == "-before"));
}

#[test]
fn a_crash_at_any_point_ends_in_the_same_state_and_repeats_no_hook() {
    let run = |crash: Option<(usize, Crash)>| {
        let objects = vec![
            job("before", "PreSync"),
            in_wave(deployment("web", "v1"), "0"),
            in_wave(config("last", "1"), "1"),
            job("after", "PostSync"),
        ];
        let mut world = World::automated(objects);
        world.crash = crash;
        for round in 0..6 {
            world.later(1);
            world.settle();
            for (name, done) in [("before", round >= 1), ("after", round >= 4)] {
                if done && world.live.keys().any(|key| key.name == name) {
                    world.status(name, json!({"conditions": [{"type": "Complete", "status": "True"}]}));
                }
            }
            if round >= 2 && world.live.keys().any(|key| key.name == "web") {
                world.healthy("web");
            }
        }
        world
    };
    let calm = run(None);
    calm.check("Synced", "Healthy", "Succeeded", DONE);
    for at in 0..5 {
        for crash in [Crash::BeforeWork, Crash::AfterWork] {
            let world = run(Some((at, crash)));
            world.check("Synced", "Healthy", "Succeeded", DONE);
            assert_eq!(world.state().history.len(), 1, "{at} {crash:?}");
            assert!(
                !world.done.iter().any(|done| done.starts_with('-')),
                "{at} {crash:?}: {:?}",
                world.done
            );
        }
    }
}

#[test]
fn terminating_ends_running_hooks() {
    let mut world = World::automated(vec![job("before", "PreSync"), config("a", "1")]);
    world.settle();
    world
        .app
        .status
        .as_mut()
        .unwrap()
        .operation_state
        .as_mut()
        .unwrap()
        .phase = "Terminating".into();
    world.settle();
    world.did("+before | -before");
    assert_eq!(
        (world.operation().phase.as_str(), world.operation().message.as_str()),
        ("Failed", "Operation terminated")
    );
}

#[test]
fn a_hook_is_held_until_its_end_was_seen_and_then_let_go() {
    let mut world = World::automated(vec![job("before", "PreSync"), config("a", "1")]);
    world.settle();
    world.did("+before");
    let live = world.live.iter().find(|(key, _)| key.name == "before").unwrap().1;
    assert!(hooks::is_held(live));
    world.status(
        "before",
        json!({"conditions": [{"type": "Complete", "status": "True"}]}),
    );
    world.settle();
    world.did("+a");
    assert_eq!(world.released, ["before"]);
    world.check("Synced", "Healthy", "Succeeded", DONE);
}

#[test]
fn hooks_go_at_the_end_by_their_own_outcome() {
    let hook = |name: &str, phase: &str, policy: &str| annotated(job(name, phase), "hook-delete-policy", policy);
    let mut world = World::new(
        json!({}),
        vec![
            hook("goes", "PreSync", "HookSucceeded"),
            hook("stays", "PreSync", "HookFailed"),
            config("a", "1"),
            hook("fails", "PostSync", "HookFailed"),
            hook("remains", "PostSync", "HookSucceeded"),
        ],
    );
    let complete = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    world.ask(json!({"sync": {}}));
    world.settle();
    world.status("goes", complete.clone());
    world.status("stays", complete);
    world.settle();
    world.did("+goes +stays | +a | +fails +remains");
    for name in ["fails", "remains"] {
        world.status(
            name,
            json!({"conditions": [{"type": "Failed", "status": "True", "message": "boom"}]}),
        );
    }
    world.settle();
    world.did("-goes -fails");
    assert_eq!(world.operation().phase, "Failed");
    let left: Vec<&str> = world.live.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(left, ["a", "remains", "stays"]);
}

#[test]
fn a_retry_runs_a_failed_hook_again() {
    let mut world = World::automated(vec![job("before", "PreSync"), config("a", "1")]);
    world.settle();
    world.status(
        "before",
        json!({"conditions": [{"type": "Failed", "status": "True", "message": "boom"}]}),
    );
    world.later(1);
    world.settle();
    world.did("+before");
    world.later(5);
    world.settle();
    world.did("-before | +before");
    world.status(
        "before",
        json!({"conditions": [{"type": "Complete", "status": "True"}]}),
    );
    world.settle();
    world.did("+a");
}

#[test]
fn a_crash_between_deleting_an_old_hook_and_letting_go_of_it_does_not_keep_it() {
    let mut world = World::automated(vec![job("before", "PreSync"), config("a", "1")]);
    world.settle();
    world.status(
        "before",
        json!({"conditions": [{"type": "Failed", "status": "True", "message": "boom"}]}),
    );
    world.later(1);
    world.settle();
    world.did("+before");
    // The deletion that makes way for the second attempt came through, and then the process died: our finalizer still
    // holds the hook.
    world.edit("before", |object| {
        object["metadata"]["deletionTimestamp"] = json!("1970-01-12T13:46:45Z");
        object["metadata"]["finalizers"] = json!(["argocd.argoproj.io/hook-finalizer"]);
    });
    world.released.clear();
    world.later(5);
    world.settle();
    assert_eq!(world.released, ["before"]);
    world.did("+before");
}

#[test]
fn a_hook_that_never_ends_fails_when_its_time_is_up() {
    let mut world = World::new(json!({}), vec![job("before", "PreSync"), config("a", "1")]);
    world.ask(json!({"sync": {}}));
    world.settle();
    assert!(
        world
            .operation()
            .message
            .starts_with("waiting for completion of hook batch/Job/before (since ")
    );
    world.later(3600);
    world.settle();
    world.did("+before");
    assert!(
        world
            .operation()
            .message
            .contains("batch/Job/before did not complete within 1h0m0s"),
        "{}",
        world.operation().message
    );
}

#[test]
fn a_hook_that_somebody_deletes_has_failed() {
    let mut world = World::new(json!({}), vec![job("before", "PreSync"), config("a", "1")]);
    world.ask(json!({"sync": {}}));
    world.settle();
    world.edit("before", |object| {
        object["metadata"]["deletionTimestamp"] = json!("1970-01-12T13:46:41Z")
    });
    world.settle();
    assert!(
        world
            .operation()
            .message
            .ends_with("Hook batch/Job/before was deleted before it ended"),
        "{}",
        world.operation().message
    );
    assert_eq!(world.released, ["before"]);
}
