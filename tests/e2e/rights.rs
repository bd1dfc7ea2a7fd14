//! The rights of the plain manifests, asked of a real API server: enough, and no more.

use super::harness::{self, World, nginx_canary, same};
use anyhow::{Context, Result, ensure};
use kube::config::Kubeconfig;
use serde_json::json;
use std::{fs, path::Path, process::Stdio};
use tidegate_cluster::Cluster;
use tokio::{process::Command, sync::OnceCell};

/// Who the controller is.
const AS: [&str; 2] = [
    "--as=system:serviceaccount:tidegate:tidegate",
    "--as-group=system:serviceaccounts",
];

/// The shared cluster with the plain manifests' namespace and rights.
async fn installed() -> Result<&'static Cluster> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = harness::cluster().await?;
    INSTALLED
        .get_or_try_init(async || {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/manifests");
            for file in ["namespace.yaml", "rbac.yaml"] {
                let text = fs::read_to_string(folder.join(file))?;
                cluster.kubectl_with_input(&["apply", "--filename", "-"], &text).await?;
            }
            anyhow::Ok(())
        })
        .await?;
    Ok(cluster)
}

#[tokio::test]
async fn the_controller_may_do_its_work_and_nothing_else() -> Result<()> {
    let cluster = installed().await?;
    for (allowed, namespace, request) in [
        (true, "shop", "patch rollouts.argoproj.io"),
        (true, "shop", "patch rollouts.argoproj.io/status"),
        (true, "shop", "create analysisruns.argoproj.io"),
        (true, "shop", "create replicasets.apps"),
        (true, "shop", "patch services"),
        (true, "shop", "delete services"),
        (true, "shop", "create ingresses.networking.k8s.io"),
        (true, "shop", "create events"),
        (true, "shop", "patch pods"),
        (true, "shop", "create pods/eviction"),
        (true, "shop", "get secrets"),
        (true, "shop", "watch customresourcedefinitions.apiextensions.k8s.io"),
        (true, "tidegate", "list secrets"),
        (true, "tidegate", "patch applications.argoproj.io"),
        (true, "tidegate", "create leases.coordination.k8s.io"),
        (false, "shop", "list secrets"),
        (false, "shop", "watch secrets"),
        (false, "shop", "delete rollouts.argoproj.io"),
        (false, "shop", "create deployments.apps"),
        (false, "shop", "create pods"),
        (false, "shop", "delete pods"),
        (false, "shop", "create pods/exec"),
        (false, "shop", "list applications.argoproj.io"),
        (false, "shop", "create leases.coordination.k8s.io"),
        (false, "shop", "patch customresourcedefinitions.apiextensions.k8s.io"),
        (false, "tidegate", "patch secrets"),
        (false, "tidegate", "create rolebindings.rbac.authorization.k8s.io"),
        (false, "shop", "impersonate users"),
    ] {
        let (verb, resource) = request.split_once(' ').unwrap_or_default();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        let mut arguments = vec![
            "auth",
            "can-i",
            "--quiet",
            "--namespace",
            namespace,
            verb,
            resource,
            &subresource,
        ];
        arguments.extend(AS);
        let may = cluster.kubectl(&arguments).await.is_ok();
        ensure!(
            may == allowed,
            "{request} in {namespace}: {}",
            if may { "allowed" } else { "refused" }
        );
    }
    Ok(())
}

/// Every kind of object that a canary with analyses touches: both providers of the demo, an argument from a Secret.
const ANALYSES: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: limits}
stringData: {least: '1'}
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: check}
spec:
  args:
  - name: least
    valueFrom: {secretKeyRef: {name: limits, key: least}}
  metrics:
  - name: query
    successCondition: result[0] >= {{args.least}}
    provider: {prometheus: {address: PROMETHEUS, query: vector(1)}}
  - name: job
    provider:
      job:
        spec:
          backoffLimit: 0
          template: {spec: {restartPolicy: Never, containers: [{name: check, image: demo:v1, command: ['true']}]}}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_ships_with_just_those_rights() -> Result<()> {
    let cluster = installed().await?;
    let world = World::without_controller("rights").await?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let flags = "--instance-id rights --namespace tidegate --controllers rollout,analysis --metricsPort 0 --healthzPort 0 \
                 --drain-seconds 1 --loglevel info";
    let mut controller = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("controller")
        .args(flags.split_whitespace())
        .env_clear()
        .env("KUBECONFIG", kubeconfig(cluster, folder.path()).await?)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&log)?)
        .stderr(fs::File::options().append(true).create(true).open(&log)?)
        .kill_on_drop(true)
        .spawn()?;

    world
        .apply(&ANALYSES.replace("PROMETHEUS", cluster.prometheus()?))
        .await?;
    let steps = "[{setWeight: 50}, {analysis: {templates: [{templateName: check}]}}]";
    let labelled =
        "kind: Rollout\nmetadata: {name: web, labels: {argo-rollouts.argoproj.io/controller-instance-id: rights}}";
    let objects = nginx_canary(2, "demo:v1", steps).replace("kind: Rollout\nmetadata: {name: web}", labelled);
    world.apply(&objects).await?;
    let told = || fs::read_to_string(&log).unwrap_or_default();
    let first = world.healthy("web").await.with_context(told)?;
    world.set_image("web", "demo:v2").await?;
    let shipped = world.wait("web", "ships v2", |status| {
        status.phase == "Healthy" && status.stable_rs != first.status.as_ref().map_or("", |status| &status.stable_rs)
    });
    let second = shipped.await.with_context(told)?;
    let hash = second.status.context("no status")?.current_pod_hash;
    world
        .until("the stable Service leads to v2", async || {
            Ok(world.selected("web-stable").await? == hash)
        })
        .await?;
    let reasons = world.event_reasons("web").await?;
    ensure!(reasons.iter().any(|reason| reason == "RolloutCompleted"), "{reasons:?}");

    controller.kill().await?;
    let refused: Vec<String> = told()
        .lines()
        .filter(|line| line.to_lowercase().contains("forbidden"))
        .map(str::to_owned)
        .collect();
    same(refused, vec![], "requests that the rights do not cover")?;
    world.end().await
}

/// A kubeconfig of the controller's service account.
async fn kubeconfig(cluster: &Cluster, folder: &Path) -> Result<std::path::PathBuf> {
    let token = cluster
        .kubectl(&["create", "token", "tidegate", "--namespace", "tidegate"])
        .await?;
    let mut config = Kubeconfig::read_from(cluster.kubeconfig())?;
    for user in &mut config.auth_infos {
        user.auth_info = Some(serde_json::from_value(json!({"token": token.trim()}))?);
    }
    let path = folder.join("kubeconfig");
    fs::write(&path, serde_json::to_string(&config)?)?;
    Ok(path)
}
