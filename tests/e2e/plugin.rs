//! The plugin's verbs on a real API server, as a person would use them one after the other.

use super::harness::{World, same};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use tidegate::api::analysis::AnalysisRun;

const OBJECTS: &str = "
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: rate}
spec:
  args: [{name: service}]
  metrics:
  - name: rate
    interval: 1h
    initialDelay: 1h
    provider: {web: {url: 'http://127.0.0.1:1/{{args.service}}', jsonPath: '{$.rate}'}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'demo:v1'}]}
  strategy: {canary: {steps: [{setWeight: 50}, {pause: {}}]}}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_verbs_of_the_plugin_work_on_a_real_api_server() -> Result<()> {
    let world = World::new("plugin").await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, OBJECTS)?;
    let file = text(&file)?;
    same(world.tidegate(&["lint", "-f", file]).await?, String::new(), "lint")?;
    same(
        world.tidegate(&["create", "-f", file]).await?,
        "analysistemplate.argoproj.io/rate created\nrollout.argoproj.io/web created\n".to_owned(),
        "create",
    )?;
    world.healthy("web").await?;
    world.tidegate(&["set", "image", "web", "web=demo:v2"]).await?;
    world.paused_at("web", 1).await?;
    let shown: Value = serde_json::from_str(&world.tidegate(&["get", "rollout", "web", "-o", "json"]).await?)?;
    same(shown["step"].clone(), json!("1/2"), "step")?;
    same(
        shown["images"].clone(),
        json!([{"image": "demo:v2", "roles": ["canary"]}, {"image": "demo:v1", "roles": ["stable"]}]),
        "images",
    )?;
    world.tidegate(&["promote", "web", "-c"]).await?;
    world.healthy("web").await?;
    same(
        world.tidegate(&["undo", "web"]).await?,
        "rollout 'web' undo\n".to_owned(),
        "undo",
    )?;
    world.paused_at("web", 1).await?;
    let template = world.rollout("web").await?.spec.template.context("no template")?;
    same(
        template["metadata"]["labels"].clone(),
        json!({"app": "web"}),
        "labels brought back",
    )?;
    let skipped = world.tidegate(&["undo", "web", "--to-revision", "3"]).await?;
    ensure!(skipped.starts_with("skipped rollback"), "{skipped}");
    world
        .tidegate(&["create", "ar", "--from", "rate", "--name", "one", "-a", "service=web"])
        .await?;
    same(
        world.tidegate(&["terminate", "ar", "one"]).await?,
        "analysisRun 'one' terminated\n".to_owned(),
        "terminate",
    )?;
    let run = world.api::<AnalysisRun>().get("one").await?;
    ensure!(run.spec.terminate, "the run is asked to end");
    let listed = world.tidegate(&["list", "rollouts", "-o", "name"]).await?;
    same(listed, "rollout.argoproj.io/web\n".to_owned(), "list")?;
    let offered = world
        .tidegate_bare(&["__complete", "-n", &world.namespace, "promote", ""])
        .await?;
    same(offered, "web\n:4\n".to_owned(), "completion")?;
    world.end().await
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}
