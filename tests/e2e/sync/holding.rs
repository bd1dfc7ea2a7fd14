//! A rollout that aborts holds its commit.

use super::GitOps;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_rollout_holds_its_commit_until_it_is_reverted() -> Result<()> {
    let gitops = GitOps::new("hold").await?;
    let services = "apiVersion: v1\nkind: Service\nmetadata: {name: web-stable}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n---
apiVersion: v1\nkind: Service\nmetadata: {name: web-canary}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n";
    let rollout = |image: &str| {
        format!(
            "apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: '{image}'}}]}}
  strategy: {{canary: {{stableService: web-stable, canaryService: web-canary, steps: [{{setWeight: 50}}, {{pause: {{}}}}]}}}}
"
        )
    };
    let first = gitops
        .push(&[
            ("app/services.yaml", services),
            ("app/rollout.yaml", &rollout("demo:v1")),
        ])
        .await?;
    gitops.create("app", "app").await?;
    gitops.synced("app", &first).await?;
    ensure!(
        !gitops.world.selected("web-stable").await?.is_empty(),
        "the selector belongs to the Rollout"
    );

    let bad = gitops.push(&[("app/rollout.yaml", &rollout("demo:v2"))]).await?;
    gitops
        .wait("app", "is Suspended", |status| {
            status.health.status == "Suspended" && status.sync.status == "Synced"
        })
        .await?;
    gitops.world.abort("web").await?;
    let status = gitops
        .wait("app", "holds the commit", |status| status.hold.is_some())
        .await?;
    let hold = status.hold.context("no hold")?;
    ensure!(
        hold.revision == bad && hold.by == format!("rollout {}/web", gitops.world.namespace),
        "{hold:?}"
    );
    ensure!(status.health.status == "Degraded");
    gitops.condition("app", "SyncHoldWarning").await?;

    // A person puts the image back by hand; self-healing leaves it.
    gitops.world.set_image("web", "demo:v1").await?;
    gitops.world.healthy("web").await?;
    gitops
        .wait("app", "is OutOfSync and held", |status| {
            status.sync.status == "OutOfSync" && status.hold.is_some()
        })
        .await?;
    gitops
        .edit::<Service>("web-stable", json!({"metadata": {"labels": {"x": "y"}}}))
        .await?;
    let image = gitops
        .world
        .rollout("web")
        .await?
        .spec
        .template
        .context("no template")?;
    ensure!(
        image.pointer("/spec/containers/0/image") == Some(&json!("demo:v1")),
        "{image}"
    );

    let revert = gitops.repository.revert(&bad).await?;
    let status = gitops.synced("app", &revert).await?;
    ensure!(status.hold.is_none(), "{:?}", status.hold);
    gitops.end().await
}
