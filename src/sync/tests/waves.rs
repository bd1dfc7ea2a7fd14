//! Order of waves and kinds, and how long a wave is waited for.

use super::world::*;

#[test]
fn a_new_commit_is_applied_and_prunes_backwards() {
    let mut world = World::automated(vec![
        in_wave(config("a", "1"), "0"),
        in_wave(config("b", "1"), "1"),
        config("c", "1"),
    ]);
    world.settle();
    world.did("+a +c | +b");
    world.desired = Ok(commit("c2", vec![config("c", "2")]));
    world.settle();
    // b has the higher wave, so it goes in the first step, with c; a follows.
    world.did("-b +c | -a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().history.last().unwrap().revision, "c2");
}

#[test]
fn kinds_are_pruned_in_the_opposite_order() {
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "z"}});
    let rollout = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"}});
    let mut world = World::automated(vec![config("c", "1"), rollout, template, config("kept", "1")]);
    world.settle();
    world.did("+c +kept +z +a");
    world.desired = Ok(commit("c2", vec![config("kept", "1")]));
    world.settle();
    world.did("-a -z -c");
}

#[test]
fn waves_wait_for_health_at_the_new_generation() {
    let objects = |image: &str| vec![in_wave(deployment("first", image), "-1"), config("second", image)];
    let mut world = World::automated(objects("v1"));
    world.settle();
    world.did("+first");
    world.check(
        "OutOfSync",
        "Progressing",
        "Running",
        "waiting for healthy state of apps/Deployment/first",
    );
    world.healthy("first");
    world.settle();
    world.did("+second");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    // The status of generation 1 says healthy, and counts for nothing at generation 2.
    world.desired = Ok(commit("c2", objects("v2")));
    world.settle();
    world.did("+first");
    world.check(
        "OutOfSync",
        "Progressing",
        "Running",
        "waiting for healthy state of apps/Deployment/first",
    );
    world.healthy("first");
    world.settle();
    world.did("+second");
}

#[test]
fn a_wave_that_never_gets_healthy_fails_when_its_time_is_up() {
    let mut world = World::new(
        json!({}),
        vec![in_wave(deployment("first", "v1"), "-1"), config("second", "1")],
    );
    world.ask(json!({"sync": {}}));
    let requeue = world.settle();
    assert_eq!(
        world.operation().message,
        "waiting for healthy state of apps/Deployment/first (since 1970-01-12T13:46:40Z, until 1970-01-12T14:46:40Z)"
    );
    assert_eq!(requeue, Requeue::At(Timestamp::from_second(1_003_600).unwrap()));
    let writes = world.writes;
    world.later(3599);
    world.settle();
    assert_eq!(world.writes, writes, "the wait is told once");
    world.later(1);
    world.settle();
    world.did("+first");
    assert_eq!(
        (world.operation().phase.as_str(), world.operation().message.as_str()),
        (
            "Failed",
            "one or more synchronization tasks completed unsuccessfully, reason: apps/Deployment/first did not become \
             healthy within 1h0m0s (it is Progressing: Waiting for rollout to finish: observed deployment generation \
             less than desired generation)"
        )
    );
    assert_eq!(world.operation().waiting, None);
}

#[test]
fn a_wave_that_waits_for_a_person_has_a_day() {
    let mut world = World::new(
        json!({}),
        vec![in_wave(deployment("first", "v1"), "-1"), config("second", "1")],
    );
    world.ask(json!({"sync": {}}));
    world.settle();
    world.later(3000);
    world.edit("first", |object| object["spec"]["paused"] = json!(true));
    let requeue = world.settle();
    assert_eq!(
        requeue,
        Requeue::At(Timestamp::from_second(1_000_000 + 3000 + 86_400).unwrap())
    );
    assert_eq!(world.operation().phase, "Running");
    // Going on starts a wait of its own.
    world.later(80_000);
    world.edit("first", |object| object["spec"]["paused"] = json!(false));
    world.settle();
    assert_eq!(world.operation().phase, "Running");
    world.healthy("first");
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
}

#[test]
fn an_object_that_a_finalizer_keeps_fails_the_sync_when_its_time_is_up() {
    let mut world = World::new(json!({}), vec![config("a", "1"), in_wave(config("b", "1"), "1")]);
    world.ask(json!({"sync": {}}));
    world.settle();
    world.desired = Ok(commit("c2", vec![in_wave(config("new", "1"), "5")]));
    world.sticky = vec!["b"];
    world.ask(json!({"sync": {"prune": true}}));
    world.settle();
    assert!(
        world
            .operation()
            .message
            .starts_with("waiting for deletion of /ConfigMap/b (since "),
        "{}",
        world.operation().message
    );
    world.later(3600);
    world.settle();
    assert!(
        world
            .operation()
            .message
            .ends_with("/ConfigMap/b is still being deleted after 1h0m0s, held by finalizers example.com/keep"),
        "{}",
        world.operation().message
    );
    assert_eq!(world.operation().phase, "Failed");
}

#[test]
fn without_limits_a_wait_has_no_end() {
    let mut world = World::new(
        json!({}),
        vec![in_wave(deployment("first", "v1"), "-1"), config("second", "1")],
    );
    world.limits.progress = SignedDuration::ZERO;
    world.ask(json!({"sync": {}}));
    assert_eq!(world.settle(), Requeue::AwaitChange);
    world.later(1_000_000);
    world.settle();
    assert_eq!(
        world.operation().message,
        "waiting for healthy state of apps/Deployment/first (since 1970-01-12T13:46:40Z)"
    );
}
