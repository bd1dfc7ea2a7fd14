//! The definitions on a real API server: accepted, complete, and as strict as clients expect.

use super::harness::cluster;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tidegate::api::crd;
use tidegate_cluster::Cluster;

/// A Rollout that no controller would move: its namespace is nobody's, and it is paused.
const ROLLOUT: &str = r"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
spec:
  replicas: 3
  paused: true
  selector: {matchLabels: {app: web}}
  strategy: {canary: {}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'demo:v1', brandNewField: {kept: true}}]}
";

async fn get(cluster: &Cluster, namespace: &str, what: &[&str]) -> Result<Value> {
    let mut arguments = vec!["get", "--namespace", namespace, "--output", "json"];
    arguments.extend(what);
    Ok(serde_json::from_str(&cluster.kubectl(&arguments).await?)?)
}

/// The words of kubectl's refusal.
async fn refusal(cluster: &Cluster, arguments: &[&str], input: &str) -> Result<String> {
    match cluster.kubectl_with_input(arguments, input).await {
        Ok(said) => anyhow::bail!("not refused: {said}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[tokio::test]
async fn the_api_server_finds_nothing_wrong_with_the_definitions() -> Result<()> {
    let cluster = cluster().await?;
    for mut definition in crd::crds() {
        let name = definition.metadata.name.take().context("no name")?;
        let found = get(cluster, "default", &["crd", &name]).await?;
        for condition in found["status"]["conditions"].as_array().context("no conditions")? {
            let kind = condition["type"].as_str().unwrap_or_default();
            ensure!(kind != "NonStructuralSchema", "{name}: {condition}");
            ensure!(
                kind != "Established" || condition["status"] == "True",
                "{name}: {condition}"
            );
        }
        let names = &found["status"]["acceptedNames"];
        assert_eq!(names["shortNames"], json!(definition.spec.names.short_names));
    }
    Ok(())
}

/// Client-side apply keeps a copy in an annotation, whose size is limited.
#[tokio::test]
async fn definitions_may_be_applied_from_the_client_side() -> Result<()> {
    let arguments = ["apply", "--dry-run=server", "--server-side=false", "--filename", "-"];
    cluster()
        .await?
        .kubectl_with_input(&arguments, &crd::manifests())
        .await
        .map(drop)
}

#[tokio::test]
async fn manifests_people_have_are_accepted_unchanged() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("manifests").await?;
    // The Applications name this one. Nothing is stored in it.
    cluster
        .apply_yaml("default", "{apiVersion: v1, kind: Namespace, metadata: {name: argocd}}")
        .await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests");
    for folder in fs::read_dir(root)? {
        for file in fs::read_dir(folder?.path())? {
            let file = file?.path();
            let text = fs::read_to_string(&file)?;
            let mut arguments = vec!["apply", "--dry-run=server", "--validate=strict", "--filename", "-"];
            if !text.contains("\n  namespace: argocd") {
                arguments.extend(["--namespace", &namespace]);
            }
            cluster
                .kubectl_with_input(&arguments, &text)
                .await
                .with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn get_prints_the_columns_people_know() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("columns").await?;
    cluster.apply_yaml(&namespace, ROLLOUT).await?;
    let status =
        r#"{"status":{"replicas":4,"updatedReplicas":1,"availableReplicas":3,"HPAReplicas":4,"selector":"app=web"}}"#;
    cluster
        .kubectl(&[
            "patch",
            "ro",
            "web",
            "-n",
            &namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])
        .await?;
    let printed = cluster.kubectl(&["get", "ro", "web", "-n", &namespace]).await?;
    let lines: Vec<Vec<_>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["NAME", "DESIRED", "CURRENT", "UP-TO-DATE", "AVAILABLE", "AGE"]
    );
    assert_eq!(lines[1][..5], ["web", "3", "4", "1", "3"]);

    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": { "name": "shop" },
        "spec": { "project": "nobody", "destination": {} },
        "status": { "sync": { "status": "Synced", "revision": "abc" }, "health": { "status": "Healthy" } },
    });
    cluster.apply_yaml(&namespace, &application.to_string()).await?;
    let short = cluster.kubectl(&["get", "app", "shop", "-n", &namespace]).await?;
    assert_eq!(
        short
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect::<Vec<_>>(),
        [
            vec!["NAME", "SYNC", "STATUS", "HEALTH", "STATUS"],
            vec!["shop", "Synced", "Healthy"],
        ]
    );
    let wide = cluster
        .kubectl(&["get", "app", "shop", "-n", &namespace, "-o", "wide", "--no-headers"])
        .await?;
    assert_eq!(
        wide.split_whitespace().collect::<Vec<_>>(),
        ["shop", "Synced", "Healthy", "abc", "nobody"]
    );
    Ok(())
}

#[tokio::test]
async fn scale_and_status_are_subresources_of_a_rollout() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("scale").await?;
    cluster.apply_yaml(&namespace, ROLLOUT).await?;
    let status = r#"{"spec":{"replicas":9},"status":{"HPAReplicas":4,"selector":"app=web"}}"#;
    cluster
        .kubectl(&[
            "patch",
            "ro",
            "web",
            "-n",
            &namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])
        .await?;
    let scale = get(cluster, &namespace, &["ro", "web", "--subresource=scale"]).await?;
    assert_eq!(scale["spec"]["replicas"], 3, "a status patch must not change the spec");
    assert_eq!(scale["status"], json!({ "replicas": 4, "selector": "app=web" }));
    cluster
        .kubectl(&["scale", "ro", "web", "-n", &namespace, "--replicas=7"])
        .await?;
    let rollout = get(cluster, &namespace, &["ro", "web"]).await?;
    assert_eq!(rollout["spec"]["replicas"], 7);
    assert_eq!(
        rollout["spec"]["template"]["spec"]["containers"][0]["brandNewField"],
        json!({ "kept": true })
    );
    Ok(())
}

#[tokio::test]
async fn a_selector_cannot_change() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("selector").await?;
    cluster.apply_yaml(&namespace, ROLLOUT).await?;
    let patch = r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    let said = refusal(
        cluster,
        &["patch", "ro", "web", "-n", &namespace, "--type=merge", "-p", patch],
        "",
    )
    .await?;
    assert!(said.contains(".spec.selector is immutable"), "{said}");
    Ok(())
}

#[tokio::test]
async fn slips_are_refused_with_their_path() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("slips").await?;
    let rollout = |spec: Value| json!({ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "x" }, "spec": spec });
    let run = |metrics: Value| json!({ "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": { "name": "x" }, "spec": metrics });
    for (object, expected) in [
        (
            rollout(json!({ "strategy": { "canary": { "steps": [{ "setWeigth": 5 }] } } })),
            "steps[0].setWeigth",
        ),
        (
            rollout(json!({ "strategy": { "canary": { "steps": [null] } } })),
            "steps[0]",
        ),
        (
            rollout(json!({ "strategy": { "blueGreen": {} } })),
            "spec.strategy.blueGreen.activeService: Required",
        ),
        (rollout(json!({ "replicas": 99_999_999_999_i64 })), "spec.replicas"),
        (
            rollout(json!({ "strategy": { "canary": { "maxSurge": 1.5 } } })),
            "spec.strategy.canary.maxSurge",
        ),
        (run(json!({})), "spec.metrics: Required"),
        (
            run(json!({ "metrics": [{ "provider": { "datadog": { "apiVersion": "v3" } } }] })),
            "apiVersion: Unsupported",
        ),
    ] {
        let arguments = ["create", "--namespace", &namespace, "--filename", "-"];
        let said = refusal(cluster, &arguments, &object.to_string()).await?;
        assert!(said.contains(expected), "{object}\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn datadog_gets_its_defaults_and_free_json_is_kept() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = cluster.namespace("defaults").await?;
    let provider = json!({
        "datadog": { "query": "q" },
        "web": { "url": "u", "jsonBody": [1, { "a": [null] }] },
        "plugin": { "a/b": { "any": { "thing": 1.5 } } },
    });
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "x" },
        "spec": { "metrics": [{ "name": "m", "provider": provider }] },
    });
    cluster.apply_yaml(&namespace, &template.to_string()).await?;
    let stored = get(cluster, &namespace, &["at", "x"]).await?;
    let stored = &stored["spec"]["metrics"][0]["provider"];
    assert_eq!(stored["web"], provider["web"]);
    assert_eq!(stored["plugin"], provider["plugin"]);
    let expected = json!({ "query": "q", "interval": "5m", "apiVersion": "v1", "requestTimeout": "10s" });
    assert_eq!(stored["datadog"], expected);
    Ok(())
}
