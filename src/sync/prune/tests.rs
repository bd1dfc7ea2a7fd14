use super::*;
use crate::sync::{compare::SyncCode, options::ObjectOptions, resource::ResourceKey};
use serde_json::json;
use std::sync::Arc;

fn comparison(index: usize, is_wanted: bool, options: ObjectOptions) -> Comparison {
    let object = Arc::new(json!({}));
    Comparison {
        key: ResourceKey {
            name: index.to_string(),
            ..Default::default()
        },
        version: String::new(),
        target: is_wanted.then(|| Arc::clone(&object)),
        prepared: None,
        live: Some(object),
        sync: SyncCode::OutOfSync,
        differences: vec![],
        needs_dry_run: false,
        counts: true,
        health: None,
        wave: 0,
        options,
        prune_last: false,
        is_hook: false,
        shared_with: None,
    }
}

#[test]
fn every_guard_holds() {
    let yes = Request {
        prune: true,
        source_may_be_trusted: true,
        is_approved: false,
        exceeds_share: false,
    };
    let never = ObjectOptions {
        prune_never: true,
        ..Default::default()
    };
    let confirm = ObjectOptions {
        prune_confirm: true,
        ..Default::default()
    };
    for (options, request, expected) in [
        (ObjectOptions::default(), yes, Permission::Allowed),
        (
            ObjectOptions::default(),
            Request { prune: false, ..yes },
            Permission::NotAsked,
        ),
        (
            ObjectOptions::default(),
            Request {
                source_may_be_trusted: false,
                ..yes
            },
            Permission::EmptySource,
        ),
        (
            ObjectOptions::default(),
            Request {
                exceeds_share: true,
                ..yes
            },
            Permission::ExceedsShare,
        ),
        (never, yes, Permission::Never),
        (confirm, yes, Permission::AwaitsApproval),
        (
            confirm,
            Request {
                is_approved: true,
                ..yes
            },
            Permission::Allowed,
        ),
    ] {
        assert_eq!(
            permission(&comparison(0, false, options), request),
            expected,
            "{options:?} {request:?}"
        );
    }
}

#[test]
fn an_automated_sync_prunes_a_few_objects_or_a_smaller_part() {
    let case = |wanted: usize, doomed: usize| {
        let comparisons: Vec<Comparison> = (0..wanted + doomed)
            .map(|index| comparison(index, index < wanted, ObjectOptions::default()))
            .collect();
        exceeds_share(&comparisons).is_some()
    };
    assert!(!case(0, PRUNE_FREE_MAX), "few objects");
    assert!(!case(6, 6), "half of them");
    assert!(case(5, 6), "more than half");
    assert!(!case(100, 0));
}

#[test]
fn an_approval_counts_from_its_time_on() {
    let since: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    assert!(is_approved(Some("2026-01-01T12:00:00Z"), since));
    assert!(!is_approved(Some("2026-01-01T11:59:59Z"), since));
    assert!(!is_approved(Some("yes"), since) && !is_approved(None, since));
}
