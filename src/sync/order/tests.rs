use super::*;
use crate::sync::compare::SyncCode;
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

/// `kind/namespace/name@wave`, with `-` in front for an object to be pruned, `?` behind for `PruneLast`.
fn comparison(text: &str) -> Comparison {
    let prune = text.starts_with('-');
    let last = text.ends_with('?');
    let text = text.trim_start_matches('-').trim_end_matches('?');
    let (path, wave) = text.split_once('@').unwrap_or((text, "0"));
    let mut parts = path.split('/');
    let (kind, namespace, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let key = ResourceKey {
        group: if kind == "Planet" {
            "example.com".into()
        } else {
            String::new()
        },
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    let object = json!({"kind": kind, "metadata": {"name": name},
        "spec": {"group": "example.com", "names": {"kind": "Planet"}}});
    Comparison {
        key,
        version: "v1".into(),
        target: (!prune).then(|| Arc::new(object.clone())),
        prepared: None,
        live: prune.then(|| Arc::new(object)),
        sync: SyncCode::OutOfSync,
        differences: vec![],
        needs_dry_run: false,
        counts: true,
        health: None,
        wave: wave.parse().unwrap(),
        options: Default::default(),
        prune_last: last,
        is_hook: false,
        shared_with: None,
    }
}

fn tasks(comparisons: &[Comparison]) -> Vec<Task<'_>> {
    comparisons
        .iter()
        .map(|comparison| Task {
            phase: Phase::Sync,
            wave: comparison.wave,
            effort: if comparison.target.is_some() {
                Effort::Apply
            } else {
                Effort::Prune
            },
            comparison,
            is_hook: false,
        })
        .collect()
}

#[track_caller]
fn check(given: &[&str], expected: &[&str]) {
    let comparisons: Vec<Comparison> = given.iter().map(|text| comparison(text)).collect();
    let mut sorted = tasks(&comparisons);
    sort(&mut sorted);
    let found: Vec<String> = sorted
        .iter()
        .map(|task| {
            let sign = if task.effort == Effort::Prune { "-" } else { "" };
            format!("{sign}{}/{}@{}", task.key().kind, task.key().name, task.wave)
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn waves_come_before_kinds_and_kinds_before_names() {
    check(
        &[
            "Deployment/n/b",
            "Planet/n/z",
            "Service/n/a",
            "ConfigMap/n/c@1",
            "Deployment/n/a",
            "Secret/n/s@-1",
            "Namespace//x",
        ],
        &[
            "Secret/s@-1",
            "Namespace/x@0",
            "Service/a@0",
            "Deployment/a@0",
            "Deployment/b@0",
            "Planet/z@0",
            "ConfigMap/c@1",
        ],
    );
}

#[test]
fn a_namespace_moves_in_front_of_what_lives_in_it() {
    check(
        &["ConfigMap/n/c@-3", "Namespace//n@5", "ConfigMap/m/d@-9"],
        &["ConfigMap/d@-9", "Namespace/n@-3", "ConfigMap/c@-3"],
    );
}

#[test]
fn a_definition_moves_in_front_of_its_objects() {
    check(
        &["Planet//mars@-1", "CustomResourceDefinition//planets@0"],
        &["CustomResourceDefinition/planets@-1", "Planet/mars@-1"],
    );
}

#[test]
fn removal_goes_backwards() {
    check(
        &["-ConfigMap/n/a@0", "-ConfigMap/n/b@1", "-ConfigMap/n/c@5"],
        &["-ConfigMap/c@0", "-ConfigMap/b@1", "-ConfigMap/a@5"],
    );
}

#[test]
fn prune_last_goes_behind_everything() {
    check(
        &["-ConfigMap/n/a@-2?", "ConfigMap/n/b@3"],
        &["ConfigMap/b@3", "-ConfigMap/a@4"],
    );
}

#[test]
fn every_listed_kind_has_its_place_and_others_come_last() {
    assert!(kind_rank("Namespace") < kind_rank("NetworkPolicy") && kind_rank("APIService") < kind_rank("Rollout"));
    assert_eq!(kind_rank("Rollout"), kind_rank("Whatever"));
}

#[test]
fn analysis_templates_come_before_what_names_them() {
    check(
        &[
            "Rollout/n/a",
            "Experiment/n/b",
            "AnalysisTemplate/n/z",
            "ClusterAnalysisTemplate//y",
            "Service/n/s",
            "Ingress/n/i",
            "ConfigMap/n/c",
        ],
        &[
            "ConfigMap/c@0",
            "Service/s@0",
            "Ingress/i@0",
            "AnalysisTemplate/z@0",
            "ClusterAnalysisTemplate/y@0",
            "Rollout/a@0",
            "Experiment/b@0",
        ],
    );
}

proptest! {
    /// The order does not depend on the order in which objects were rendered or read.
    #[test]
    fn the_order_is_stable(mut given in proptest::collection::vec(
        "(-)?(Namespace|Secret|Service|Deployment|Planet|CustomResourceDefinition)/[ab]/[a-d]@-?[0-2]", 1..12), seed in any::<u64>())
    {
        given.sort();
        given.dedup_by_key(|text| text.split('@').next().unwrap().trim_start_matches('-').to_owned());
        let forward: Vec<Comparison> = given.iter().map(|text| comparison(text)).collect();
        let mut shuffled = forward.clone();
        let length = shuffled.len();
        for index in 0..length {
            shuffled.swap(index, usize::try_from(seed).unwrap_or(7).wrapping_mul(index + 1) % length);
        }
        let order = |comparisons: &[Comparison]| {
            let mut sorted = tasks(comparisons);
            sort(&mut sorted);
            sorted.iter().map(|task| (task.key().clone(), task.effort, task.wave)).collect::<Vec<_>>()
        };
        prop_assert_eq!(order(&forward), order(&shuffled));
    }
}
