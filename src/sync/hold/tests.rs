use super::*;
use crate::{
    api::application_status::SyncOperationResult,
    sync::{health::of_object, operation::OperationPhase, resource::ResourceKey},
};
use serde_json::json;
use std::sync::Arc;

fn rollout(phase: &str, aborted: bool, sync: SyncCode) -> Comparison {
    let conditions = if aborted {
        json!([{"type": "Progressing", "reason": "RolloutAborted", "message": "Rollout aborted update to revision 3: metric failed"}])
    } else {
        json!([])
    };
    let object = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "ns", "generation": 1},
        "status": {"observedGeneration": "1", "phase": phase, "conditions": conditions}});
    Comparison {
        key: ResourceKey::of(&object),
        version: "v1alpha1".into(),
        target: Some(Arc::new(object.clone())),
        prepared: None,
        health: of_object(&object),
        live: Some(Arc::new(object)),
        sync,
        differences: vec![],
        needs_dry_run: false,
        counts: true,
        wave: 0,
        options: Default::default(),
        prune_last: false,
        is_hook: false,
        shared_with: None,
    }
}

fn operation(revision: &str, automated: bool) -> OperationState {
    let mut state = OperationState {
        phase: OperationPhase::Succeeded.name().into(),
        sync_result: Some(SyncOperationResult {
            revision: revision.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    state.operation.sync = Some(Default::default());
    state.operation.initiated_by.automated = automated;
    state.operation.initiated_by.username = if automated { String::new() } else { "ann".into() };
    state
}

fn held(revision: &str, by: &str) -> Hold {
    Hold {
        revision: revision.into(),
        reason: "r".into(),
        by: by.into(),
        since: None,
    }
}

const ROLLOUT: &str = "rollout ns/web";

#[track_caller]
fn check(
    what: &str,
    previous: Option<Hold>,
    comparison: Comparison,
    change: impl FnOnce(&mut Facts<'_>),
    expected: Option<&str>,
) {
    check_after(what, previous, comparison, &operation("b", true), change, expected);
}

#[track_caller]
fn check_after(
    what: &str,
    previous: Option<Hold>,
    comparison: Comparison,
    last: &OperationState,
    change: impl FnOnce(&mut Facts<'_>),
    expected: Option<&str>,
) {
    let revisions = Revisions {
        single: "b".into(),
        several: vec![],
    };
    let comparisons = [comparison];
    let mut facts = Facts {
        previous: previous.as_ref(),
        is_automated: true,
        revisions: &revisions,
        since_hold: Ancestry::Forward,
        comparisons: &comparisons,
        sync: comparisons[0].sync,
        last: Some(last),
        just_begun: false,
        just_ended: false,
        now: Timestamp::UNIX_EPOCH,
    };
    change(&mut facts);
    let found = decide(&facts).map(|hold| format!("{} by {}", hold.revision, hold.by));
    assert_eq!(found.as_deref(), expected, "{what}");
}

#[test]
fn an_abort_of_the_deployed_commit_holds_it() {
    let aborted = || rollout("Degraded", true, SyncCode::Synced);
    check("abort", None, aborted(), |_| {}, Some("b by rollout ns/web"));
    check(
        "manual application",
        None,
        aborted(),
        |facts| facts.is_automated = false,
        None,
    );
    check(
        "merely degraded",
        None,
        rollout("Degraded", false, SyncCode::Synced),
        |_| {},
        None,
    );
    check(
        "not this commit's template",
        None,
        rollout("Degraded", true, SyncCode::OutOfSync),
        |_| {},
        None,
    );
    let other = operation("a", true);
    check_after(
        "commit not tried yet",
        None,
        aborted(),
        &other,
        |facts| facts.sync = SyncCode::OutOfSync,
        None,
    );
}

#[test]
fn the_hold_outlives_an_undo_and_a_restart() {
    let undone = rollout("Healthy", false, SyncCode::OutOfSync);
    check(
        "undone by hand",
        Some(held("b", ROLLOUT)),
        undone,
        |_| {},
        Some("b by rollout ns/web"),
    );
}

#[test]
fn a_newer_commit_releases_it_and_an_older_one_does_not() {
    let progressing = || rollout("Progressing", false, SyncCode::OutOfSync);
    check("newer", Some(held("a", ROLLOUT)), progressing(), |_| {}, None);
    check(
        "older",
        Some(held("a", ROLLOUT)),
        progressing(),
        |facts| facts.since_hold = Ancestry::Backward,
        Some("a by rollout ns/web"),
    );
    check(
        "perhaps older",
        Some(held("a", ROLLOUT)),
        progressing(),
        |facts| facts.since_hold = Ancestry::Unknown,
        Some("a by rollout ns/web"),
    );
    let aborted = rollout("Degraded", true, SyncCode::OutOfSync);
    check(
        "newer, the old abort still visible",
        Some(held("a", ROLLOUT)),
        aborted,
        |_| {},
        None,
    );
}

#[test]
fn success_after_a_retry_releases_it() {
    let healthy = rollout("Healthy", false, SyncCode::Synced);
    check("healthy", Some(held("b", ROLLOUT)), healthy.clone(), |_| {}, None);
    check(
        "another rollout",
        Some(held("b", "rollout ns/other")),
        healthy,
        |_| {},
        Some("b by rollout ns/other"),
    );
}

#[test]
fn a_persons_rollback_holds_the_newest_commit() {
    let synced = || rollout("Healthy", false, SyncCode::OutOfSync);
    let back = operation("a", false);
    let begun = |facts: &mut Facts<'_>| facts.just_begun = true;
    let ended = |facts: &mut Facts<'_>| facts.just_ended = true;
    check_after("rollback", None, synced(), &back, begun, Some("b by user ann"));
    check_after("another commit came meanwhile", None, synced(), &back, ended, None);
    check_after("long ago", None, synced(), &back, |_| {}, None);
    check("automated", None, synced(), begun, None);
    let mut impossible = operation("a", false);
    impossible.phase = OperationPhase::Error.name().into();
    check_after("it could not begin", None, synced(), &impossible, begun, None);
    let forward = operation("b", false);
    check_after(
        "synced again",
        Some(held("b", "user ann")),
        synced(),
        &forward,
        ended,
        None,
    );
}

#[test]
fn a_hold_says_who_and_why() {
    let hold = Hold {
        reason: "Rollout aborted update to revision 3: metric failed".into(),
        ..held("b", ROLLOUT)
    };
    assert_eq!(
        message(&hold),
        "Automation holds back commit b, by rollout ns/web: Rollout aborted update to revision 3: metric failed; a newer commit releases it"
    );
}
