use super::*;
use crate::sync::{kinds::KindFacts, target::Destination};
use serde_json::json;

fn kinds() -> Kinds {
    let mut kinds = Kinds::default();
    kinds.insert(
        "",
        "ConfigMap",
        KindFacts {
            is_namespaced: true,
            versions: vec!["v1".into()],
        },
    );
    kinds
}

fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}, "data": {"a": value}})
}

fn live(name: &str, value: &str, owner: &str) -> (ResourceKey, Arc<Value>) {
    let mut object = config(name, value);
    object["metadata"]["annotations"] =
        json!({"argocd.argoproj.io/tracking-id": format!("{owner}:/ConfigMap:ns/{name}")});
    object["metadata"]["managedFields"] = json!([{"manager": "argocd-controller", "operation": "Apply",
        "fieldsV1": {"f:data": {"f:a": {}}, "f:metadata": {"f:annotations": {"f:argocd.argoproj.io/tracking-id": {}}}}}]);
    (ResourceKey::of(&object), Arc::new(object))
}

struct Case {
    targets: Vec<Value>,
    live: LiveObjects,
    dry_runs: DryRuns,
    was_applied: bool,
}

impl Case {
    fn new(targets: Vec<Value>, live: Vec<(ResourceKey, Arc<Value>)>) -> Self {
        Self {
            targets,
            live: live.into_iter().collect(),
            dry_runs: DryRuns::new(),
            was_applied: false,
        }
    }

    /// `name status[ flags]` for each object.
    #[track_caller]
    fn check(&self, expected: &[&str]) -> Vec<Comparison> {
        let kinds = kinds();
        let targets = target::targets(
            &self.targets,
            Destination {
                instance: "app",
                namespace: "ns",
                kinds: &kinds,
            },
        );
        let found = compare(Sides {
            targets: &targets,
            live: &self.live,
            instance: "app",
            ignore: &[],
            options: &AppOptions::default(),
            dry_runs: &self.dry_runs,
            was_applied: self.was_applied,
            kinds: &kinds,
            project: Project::Everything,
        });
        let lines: Vec<String> = found
            .iter()
            .map(|comparison| {
                let mut line = format!("{} {}", comparison.key.name, comparison.sync.name());
                for (flag, name) in [
                    (comparison.requires_pruning(), " prune"),
                    (comparison.needs_dry_run, " dry-run"),
                    (!comparison.counts, " ignored"),
                    (comparison.live.is_none(), " missing"),
                    (comparison.is_hook, " hook"),
                ] {
                    if flag {
                        line.push_str(name);
                    }
                }
                line
            })
            .collect();
        assert_eq!(lines, expected);
        found
    }
}

#[test]
fn synced_different_and_missing() {
    Case::new(
        vec![config("a", "1"), config("b", "1"), config("c", "1")],
        vec![live("a", "1", "app"), live("b", "2", "app")],
    )
    .check(&["a Synced", "b OutOfSync", "c OutOfSync missing"]);
}

#[test]
fn only_what_is_tracked_by_this_application_requires_pruning() {
    let untracked = (ResourceKey::of(&config("u", "1")), Arc::new(config("u", "1")));
    Case::new(vec![], vec![live("a", "1", "app"), live("b", "1", "other"), untracked]).check(&["a OutOfSync prune"]);
}

#[test]
fn extraneous_objects_may_be_ignored_and_hooks_are_never_pruned() {
    let annotated = |name: &str, key: &str, value: &str| {
        let (id, object) = live(name, "1", "app");
        let mut object = object.as_ref().clone();
        object["metadata"]["annotations"][key] = json!(value);
        (id, Arc::new(object))
    };
    let extraneous = annotated("a", "argocd.argoproj.io/compare-options", "IgnoreExtraneous");
    let hook = annotated("b", "argocd.argoproj.io/hook", "PreSync");
    Case::new(vec![], vec![extraneous, hook]).check(&["a OutOfSync prune ignored", "b Synced ignored hook"]);
}

#[test]
fn a_difference_in_what_was_applied_is_confirmed_by_the_server() {
    let mut case = Case::new(vec![config("a", "1")], vec![live("a", "2", "app")]);
    case.was_applied = true;
    let found = case.check(&["a OutOfSync dry-run"]);
    let key = found[0].key.clone();
    case.dry_runs.insert(key.clone(), Ok(Arc::clone(&case.live[&key])));
    case.check(&["a Synced"]);
    case.dry_runs
        .insert(key.clone(), Ok(Arc::new(found[0].prepared.clone().unwrap().body)));
    case.check(&["a OutOfSync"]);
    case.dry_runs.insert(key, Err("refused".into()));
    case.check(&["a OutOfSync"]);
}

#[test]
fn an_object_claimed_twice_is_reported() {
    let found = Case::new(vec![config("a", "1")], vec![live("a", "1", "other")]).check(&["a OutOfSync"]);
    assert_eq!(
        shared(&found, "app"),
        ["ConfigMap/a is part of applications app and other"]
    );
}
