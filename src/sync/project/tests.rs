use super::*;
use crate::{
    api::application::{ApplicationDestination, ApplicationSource},
    sync::kinds::KindFacts,
};

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
    kinds.insert(
        "",
        "Namespace",
        KindFacts {
            is_namespaced: false,
            versions: vec!["v1".into()],
        },
    );
    kinds
}

fn rules(json: serde_json::Value) -> AppProjectSpec {
    serde_json::from_value(json).unwrap()
}

fn spec(repo: &str, namespace: &str) -> ApplicationSpec {
    ApplicationSpec {
        source: Some(ApplicationSource {
            repo_url: repo.into(),
            ..Default::default()
        }),
        destination: ApplicationDestination {
            server: IN_CLUSTER_SERVER.into(),
            namespace: namespace.into(),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn key(kind: &str, namespace: &str) -> ResourceKey {
    ResourceKey {
        kind: kind.into(),
        namespace: namespace.into(),
        name: "x".into(),
        ..Default::default()
    }
}

#[test]
fn sources_and_destinations_are_globs_and_may_be_denied() {
    let project = rules(serde_json::json!({
        "sourceRepos": ["https://git.example/team/*", "!https://git.example/team/secret"],
        "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "team-*"}, {"name": "in-cluster", "namespace": "!team-x"}]
    }));
    let project = Project::Limited {
        name: "p",
        spec: &project,
    };
    let count = |repo: &str, namespace: &str| project.problems(&spec(repo, namespace), "argocd", "argocd").len();
    assert_eq!(count("https://git.example/team/a", "team-a"), 0);
    assert_eq!(
        count("https://git.example/team/a/b", "team-a"),
        1,
        "a star stops at a slash"
    );
    assert_eq!(count("https://git.example/team/secret", "team-a"), 1);
    assert_eq!(count("https://git.example/team/a", "default"), 1);
    assert_eq!(count("https://git.example/team/a", "team-x"), 1);
    assert_eq!(
        project
            .problems(&spec("https://git.example/team/a", "team-a"), "elsewhere", "argocd")
            .len(),
        1
    );
}

#[test]
fn kinds_follow_the_lists_and_their_defaults() {
    let everywhere = serde_json::json!([{"server": "*", "namespace": "*"}]);
    for (project, kind, is_permitted) in [
        (serde_json::json!({"destinations": everywhere}), "ConfigMap", true),
        (serde_json::json!({"destinations": everywhere}), "Namespace", false),
        (
            serde_json::json!({"destinations": everywhere, "clusterResourceWhitelist": [{"group": "*", "kind": "*"}]}),
            "Namespace",
            true,
        ),
        (
            serde_json::json!({"destinations": everywhere, "clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": "y*"}]}),
            "Namespace",
            false,
        ),
        (
            serde_json::json!({"destinations": everywhere, "namespaceResourceWhitelist": []}),
            "ConfigMap",
            false,
        ),
        (
            serde_json::json!({"destinations": everywhere, "namespaceResourceBlacklist": [{"group": "", "kind": "Config*"}]}),
            "ConfigMap",
            false,
        ),
        (
            serde_json::json!({"destinations": [{"server": "*", "namespace": "other"}]}),
            "ConfigMap",
            false,
        ),
    ] {
        let rules = rules(project.clone());
        let namespace = if kind == "Namespace" { "" } else { "ns" };
        let refusal = Project::Limited {
            name: "p",
            spec: &rules,
        }
        .refuses(&key(kind, namespace), &kinds());
        assert_eq!(refusal.is_none(), is_permitted, "{kind} {project}: {refusal:?}");
    }
}

#[test]
fn a_missing_project_permits_nothing_and_a_missing_default_everything() {
    assert_eq!(Project::Everything.refuses(&key("Namespace", ""), &kinds()), None);
    let missing = Project::Missing { name: "p" };
    assert!(missing.refuses(&key("ConfigMap", "ns"), &kinds()).is_some());
    assert_eq!(
        missing.problems(&spec("x", "y"), "argocd", "argocd"),
        ["Application referencing project p which does not exist"]
    );
}

#[test]
fn a_kind_that_nobody_knows_must_be_permitted_in_either_scope() {
    let planet = ResourceKey {
        group: "example.com".into(),
        ..key("Planet", "ns")
    };
    let everywhere = serde_json::json!([{"server": "*", "namespace": "*"}]);
    let refused = |project: serde_json::Value| {
        let rules = rules(project);
        let project = Project::Limited {
            name: "p",
            spec: &rules,
        };
        project.refuses(&planet, &kinds()).is_some()
    };
    assert!(refused(serde_json::json!({"destinations": everywhere})));
    assert!(!refused(
        serde_json::json!({"destinations": everywhere, "clusterResourceWhitelist": [{"group": "example.com", "kind": "*"}]})
    ));
}
