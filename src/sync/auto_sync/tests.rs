use super::*;
use crate::{
    api::{
        application::{ApplicationSource, SyncPolicy},
        application_status::SyncOperationResult,
        scalar::wire_time,
    },
    sync::resource::ResourceKey,
};
use serde_json::json;
use std::sync::Arc;

const NOW: i64 = 1_000_000;

struct Case {
    spec: ApplicationSpec,
    comparisons: Vec<Comparison>,
    last: Option<OperationState>,
    hold: Option<Hold>,
    ancestry: Ancestry,
    sync: SyncCode,
}

fn comparison(name: &str, sync: SyncCode, is_wanted: bool) -> Comparison {
    let object = Arc::new(json!({}));
    Comparison {
        key: ResourceKey {
            kind: "ConfigMap".into(),
            name: name.into(),
            ..Default::default()
        },
        version: "v1".into(),
        target: is_wanted.then(|| Arc::clone(&object)),
        prepared: None,
        live: Some(object),
        sync,
        differences: vec![],
        needs_dry_run: false,
        counts: true,
        health: None,
        wave: 0,
        options: Default::default(),
        prune_last: false,
        is_hook: false,
        shared_with: None,
    }
}

impl Default for Case {
    fn default() -> Self {
        Self {
            spec: ApplicationSpec {
                source: Some(ApplicationSource {
                    path: "a".into(),
                    ..Default::default()
                }),
                sync_policy: Some(SyncPolicy {
                    automated: Some(SyncPolicyAutomated {
                        prune: Some(true),
                        self_heal: Some(true),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            },
            comparisons: vec![
                comparison("a", SyncCode::OutOfSync, true),
                comparison("b", SyncCode::Synced, true),
            ],
            last: None,
            hold: None,
            ancestry: Ancestry::Forward,
            sync: SyncCode::OutOfSync,
        }
    }
}

impl Case {
    fn automated(mut self, change: impl FnOnce(&mut SyncPolicyAutomated)) -> Self {
        change(self.spec.sync_policy.as_mut().unwrap().automated.as_mut().unwrap());
        self
    }

    fn last(
        mut self,
        phase: OperationPhase,
        revision: &str,
        finished: i64,
        change: impl FnOnce(&mut OperationState),
    ) -> Self {
        let mut state = OperationState {
            phase: phase.name().into(),
            message: "why".into(),
            finished_at: Some(wire_time(Timestamp::from_second(finished).unwrap())),
            sync_result: Some(SyncOperationResult {
                revision: revision.into(),
                source: self.spec.source.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        state.operation.sync = Some(SyncOperation::default());
        state.operation.initiated_by.automated = true;
        change(&mut state);
        self.last = Some(state);
        self
    }

    fn decide(&self) -> AutoSync {
        decide(&Facts {
            spec: &self.spec,
            sync: self.sync,
            revisions: &Revisions {
                single: "new".into(),
                several: vec![],
            },
            comparisons: &self.comparisons,
            last: self.last.as_ref(),
            hold: self.hold.as_ref(),
            ancestry: self.ancestry,
            deletion_approved: None,
            now: Timestamp::from_second(NOW).unwrap(),
        })
    }

    #[track_caller]
    fn idles(&self, code: &str) {
        match self.decide() {
            AutoSync::Idle(found, _) => assert_eq!(found, code),
            other => panic!("expected {code}, found {other:?}"),
        }
    }

    #[track_caller]
    fn starts(&self) -> Operation {
        match self.decide() {
            AutoSync::Start(operation) => *operation,
            other => panic!("expected a sync, found {other:?}"),
        }
    }

    #[track_caller]
    fn waits(&self, seconds: i64) -> Option<String> {
        match self.decide() {
            AutoSync::Wait { until, error } => {
                assert_eq!(until.as_second() - NOW, seconds);
                error
            }
            other => panic!("expected a wait, found {other:?}"),
        }
    }

    #[track_caller]
    fn is_blocked(&self, message: &str) {
        match self.decide() {
            AutoSync::Blocked(found) => assert!(found.contains(message), "{found}"),
            other => panic!("expected to be blocked, found {other:?}"),
        }
    }
}

#[test]
fn automation_must_be_on_and_something_to_do() {
    Case::default()
        .automated(|automated| automated.enabled = Some(false))
        .idles("AutomationOff");
    let mut off = Case::default();
    off.spec.sync_policy = None;
    off.idles("AutomationOff");
    for sync in [SyncCode::Synced, SyncCode::Unknown] {
        Case {
            sync,
            ..Case::default()
        }
        .idles("NothingToDo");
    }
}

#[test]
fn an_operation_is_pinned_to_the_commit_compared_with() {
    let operation = Case::default().starts();
    let sync = operation.sync.unwrap();
    assert_eq!(
        (sync.revision.as_str(), sync.prune, sync.resources.len()),
        ("new", true, 0)
    );
    assert!(operation.initiated_by.automated);
    assert_eq!(operation.retry.limit, 5);
}

#[test]
fn extras_alone_need_prune() {
    let extras = || {
        vec![
            comparison("a", SyncCode::OutOfSync, false),
            comparison("b", SyncCode::Synced, true),
        ]
    };
    let case = Case {
        comparisons: extras(),
        ..Case::default()
    };
    case.automated(|automated| automated.prune = Some(false))
        .idles("OnlyPruning");
    Case {
        comparisons: extras(),
        ..Case::default()
    }
    .starts();
}

#[test]
fn a_held_commit_waits_and_an_older_one_is_refused() {
    let hold = Hold {
        revision: "new".into(),
        by: "rollout ns/web".into(),
        ..Default::default()
    };
    Case {
        hold: Some(hold.clone()),
        ..Case::default()
    }
    .idles("Held");
    Case {
        hold: Some(Hold {
            revision: "old".into(),
            ..hold
        }),
        ..Case::default()
    }
    .starts();
    Case {
        ancestry: Ancestry::Backward,
        ..Case::default()
    }
    .is_blocked("older than the commit deployed last");
    Case {
        ancestry: Ancestry::Unknown,
        ..Case::default()
    }
    .is_blocked("does not have the commit deployed last");
}

#[test]
fn a_failed_commit_is_reported_and_tried_again_later_and_blocks_no_other() {
    let failed =
        |revision: &str, finished: i64| Case::default().last(OperationPhase::Failed, revision, finished, |_| {});
    assert_eq!(
        failed("new", NOW - 100).waits(200).as_deref(),
        Some("Failed last sync attempt to new: why")
    );
    assert_eq!(failed("new", NOW - 300).starts().sync.unwrap().resources.len(), 0);
    failed("old", NOW).starts();
}

#[test]
fn drift_is_healed_with_growing_delays_and_only_where_it_is() {
    let healed = |attempts: i64, finished: i64| {
        Case::default().last(OperationPhase::Succeeded, "new", finished, |state| {
            state.operation.sync.as_mut().unwrap().auto_heal_attempts_count = attempts;
        })
    };
    let sync = healed(0, NOW).starts().sync.unwrap();
    assert_eq!(sync.auto_heal_attempts_count, 1);
    assert_eq!(
        sync.resources
            .iter()
            .map(|resource| resource.name.as_str())
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(healed(1, NOW).waits(2), None);
    assert_eq!(healed(3, NOW - 4).waits(14), None);
    healed(3, NOW - 18).starts();
    healed(0, NOW)
        .automated(|automated| automated.self_heal = None)
        .idles("SelfHealOff");
}

#[test]
fn dry_runs_and_partial_syncs_of_people_are_no_attempts() {
    let off = |automated: &mut SyncPolicyAutomated| automated.self_heal = None;
    let last = |change: fn(&mut OperationState)| {
        Case::default()
            .automated(off)
            .last(OperationPhase::Succeeded, "new", NOW, change)
    };
    last(|state| state.operation.sync.as_mut().unwrap().dry_run = true).starts();
    last(|state| {
        state.operation.initiated_by.automated = false;
        state.operation.sync.as_mut().unwrap().resources = vec![SyncOperationResource::default()];
    })
    .starts();
    last(|state| state.sync_result.as_mut().unwrap().source = None).starts();
    last(|_| {}).idles("SelfHealOff");
}

#[test]
fn automation_never_wipes_out_an_application() {
    let gone = || Case {
        comparisons: vec![comparison("a", SyncCode::OutOfSync, false)],
        ..Case::default()
    };
    gone().is_blocked("Skipping sync attempt to new: auto-sync will wipe out all resources");
    gone()
        .automated(|automated| automated.allow_empty = Some(true))
        .starts();
    let mut many: Vec<Comparison> = (0..8)
        .map(|index| comparison(&index.to_string(), SyncCode::OutOfSync, false))
        .collect();
    many.push(comparison("kept", SyncCode::Synced, true));
    Case {
        comparisons: many,
        ..Case::default()
    }
    .is_blocked("auto-sync would prune 8 of 9 resources");
}

#[test]
fn healing_leaves_alone_what_is_leaving_or_says_that_it_stays() {
    let healed = |odd: Comparison| {
        let case = Case {
            comparisons: vec![odd],
            ..Case::default()
        };
        case.last(OperationPhase::Succeeded, "new", NOW - 10_000, |_| {})
    };
    let mut leaving = comparison("a", SyncCode::OutOfSync, false);
    leaving.live = Some(Arc::new(
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    ));
    healed(leaving).idles("NothingToHeal");
    let mut kept = comparison("a", SyncCode::OutOfSync, false);
    kept.options.prune_never = true;
    healed(kept).idles("NothingToHeal");
    let mut case = healed(comparison("a", SyncCode::OutOfSync, false));
    case.comparisons.push(comparison("b", SyncCode::Synced, true));
    case.starts();
}
