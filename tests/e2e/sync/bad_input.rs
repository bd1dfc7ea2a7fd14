//! What is wrong is named, blocks nothing else, and heals when it is mended.

use super::{GitOps, config};
use anyhow::{Context, Result, ensure};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_repository_is_named_and_heals() -> Result<()> {
    let gitops = GitOps::new("unreachable").await?;
    let first = gitops.push(&[("app/a.yaml", &config("a", "1"))]).await?;
    gitops.create("app", "app").await?;
    gitops.synced("app", &first).await?;
    let dead = "http://127.0.0.1:9/nothing.git";
    gitops
        .patch("app", json!({"spec": {"source": {"repoURL": dead}}}))
        .await?;
    let message = gitops.condition("app", "ComparisonError").await?;
    ensure!(message.contains(dead), "{message}");
    ensure!(gitops.value("a").await? == "1");
    gitops
        .patch("app", json!({"spec": {"source": {"repoURL": gitops.repository.url()}}}))
        .await?;
    gitops
        .wait("app", "has no error", |status| {
            status.conditions.is_empty() && status.sync.status == "Synced"
        })
        .await?;
    // A project that is not there, and a cluster we do not serve.
    gitops
        .patch(
            "app",
            json!({"spec": {"project": "nobody", "destination": {"server": "https://elsewhere"}}}),
        )
        .await?;
    let message = gitops.condition("app", "InvalidSpecError").await?;
    ensure!(message.contains("https://elsewhere"), "{message}");
    let mended = json!({"spec": {"project": "default", "destination": {"server": "https://kubernetes.default.svc"}}});
    gitops.patch("app", mended).await?;
    gitops.synced("app", &first).await?;
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_yaml_is_named_by_file_and_line_and_blocks_no_later_commit() -> Result<()> {
    let gitops = GitOps::new("yaml").await?;
    gitops
        .push(&[("app/a.yaml", &config("a", "1")), ("app/b.yaml", &config("b", "1"))])
        .await?;
    gitops.create("app", "app").await?;
    gitops.has_value("a", "1").await?;
    gitops
        .push(&[
            (
                "app/a.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a\ndata: {}\n",
            ),
            ("app/b.yaml", &config("b", "2")),
        ])
        .await?;
    let message = gitops.condition("app", "ComparisonError").await?;
    ensure!(
        message.contains("app/a.yaml") || message.contains("a.yaml:"),
        "{message}"
    );
    ensure!(message.contains(['3', '4']), "no line in {message}");
    ensure!(
        gitops.value("b").await? == "1",
        "a source that cannot be read applies nothing"
    );
    // A value the API server refuses: named, retried, and pre-empted by the commit that mends it.
    let refused = "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n";
    gitops
        .push(&[("app/a.yaml", &config("a", "3")), ("app/c.yaml", refused)])
        .await?;
    gitops
        .wait("app", "fails", |status| {
            status
                .operation_state
                .as_ref()
                .is_some_and(|state| state.message.contains("99999") && state.retry_count > 0)
        })
        .await?;
    gitops.repository.remove("app/c.yaml")?;
    let mended = gitops.push(&[("app/b.yaml", &config("b", "4"))]).await?;
    gitops.has_value("b", "4").await?;
    gitops.synced("app", &mended).await?;
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_manifest_fails_the_sync_before_anything_is_written() -> Result<()> {
    let gitops = GitOps::new("trial").await?;
    let refused = "apiVersion: v1\nkind: Service\nmetadata: {name: bad, annotations: {argocd.argoproj.io/sync-wave: '5'}}\nspec: {ports: [{port: 99999}]}\n";
    gitops
        .push(&[("app/a.yaml", &config("a", "1")), ("app/bad.yaml", refused)])
        .await?;
    gitops.create("app", "app").await?;
    let status = gitops
        .wait("app", "fails", |status| {
            status.operation_state.as_ref().is_some_and(|state| {
                state
                    .message
                    .starts_with("one or more objects failed to apply (dry run)")
            })
        })
        .await?;
    let message = status.operation_state.context("no operation")?.message;
    ensure!(
        message.contains("\"bad\"") && message.contains("spec.ports[0].port"),
        "{message}"
    );
    ensure!(gitops.value("a").await?.is_empty(), "the first wave was written");
    let mended = refused.replace("99999", "80");
    let mended = gitops.push(&[("app/bad.yaml", &mended)]).await?;
    gitops.synced("app", &mended).await?;
    gitops.end().await
}
