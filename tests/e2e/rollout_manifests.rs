//! Manifests written for the original, unchanged: with the objects they need they go to Healthy, and an image change
//! walks their steps.

#![expect(clippy::indexing_slicing, reason = "reading JSON: what is missing is null")]

use super::harness::{World, same};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{fs, path::Path};
use tidegate::lang::yaml;

/// What `canary-nginx.yaml` and `bluegreen.yaml` say they need.
pub(super) const NEEDED: &str = r"
apiVersion: v1
kind: Service
metadata: {name: myapp-stable}
spec: {selector: {app: myapp}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: myapp-canary}
spec: {selector: {app: myapp}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: myapp-stable}
spec:
  ingressClassName: nginx
  rules:
  - host: myapp.example
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: myapp-stable, port: {number: 80}}}}]
---
apiVersion: v1
kind: Service
metadata: {name: api-server-active}
spec: {selector: {app: api-server}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: api-server-preview}
spec: {selector: {app: api-server}, ports: [{port: 80, targetPort: 8080}]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_manifest_becomes_healthy_and_walks_its_steps() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests/rollouts");
    let mut files: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::path);
    ensure!(files.len() >= 3, "the manifests were not found");
    for file in files {
        let text = fs::read_to_string(file.path())?;
        walk(&text).await.with_context(|| file.path().display().to_string())?;
    }
    Ok(())
}

async fn walk(manifest: &str) -> Result<()> {
    let object = yaml::to_json(manifest)?;
    let name = object["metadata"]["name"].as_str().context("no name")?;
    let container = object["spec"]["template"]["spec"]["containers"][0].clone();
    let world = World::new("manifest").await?;
    world.apply(NEEDED).await?;
    world.apply(manifest).await?;
    let first = world.healthy(name).await?;
    let told = world.tidegate(&["simulate", "--quick", "--from-cluster", name]).await?;
    ensure!(told.contains("promoted"), "the update was simulated otherwise: {told}");
    let mut changed = container;
    changed["image"] = json!("demo:v2");
    world
        .patch(name, json!({"spec": {"template": {"spec": {"containers": [changed]}}}}))
        .await?;
    match object["spec"]["strategy"]["canary"]["steps"].as_array() {
        Some(steps) => {
            for (index, _) in steps.iter().enumerate().filter(|(_, step)| !step["pause"].is_null()) {
                world.paused_at(name, i32::try_from(index)?).await?;
                world.promote(name).await?;
            }
        }
        None => {
            world
                .wait(name, "waits for promotion", |status| status.phase == "Paused")
                .await?;
            world.promote(name).await?;
        }
    }
    let last = world.healthy(name).await?;
    let (first, last) = (first.status.context("no status")?, last.status.context("no status")?);
    same(
        last.stable_rs == last.current_pod_hash && last.stable_rs != first.stable_rs,
        true,
        "the new version is stable",
    )?;
    world.end().await
}
