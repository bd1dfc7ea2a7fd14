//! Waves and hooks.

use super::{GitOps, PATIENCE, config, deployment};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{batch::v1::Job, core::v1::ConfigMap};
use kube::api::DeleteParams;
use tidegate::api::application::Application;
use tidegate_cluster::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_wait_for_health_and_a_restart_forgets_nothing() -> Result<()> {
    let mut gitops = GitOps::new("waves").await?;
    let wave = |wave: &str| format!("{{argocd.argoproj.io/sync-wave: '{wave}'}}");
    let second = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: second, annotations: {}}}\ndata: {{a: '1'}}\n",
        wave("1")
    );
    gitops
        .push(&[
            ("app/first.yaml", &deployment("first", "demo:v1-crash", &wave("0"))),
            ("app/second.yaml", &second),
        ])
        .await?;
    gitops.create("app", "app").await?;
    gitops
        .wait("app", "waits for the first wave", |status| {
            status.operation_state.as_ref().is_some_and(|state| {
                state
                    .message
                    .starts_with("waiting for healthy state of apps/Deployment/first (since ")
            })
        })
        .await?;
    gitops.stop().await?;
    ensure!(
        gitops.value("second").await?.is_empty(),
        "the second wave went before the first was healthy"
    );
    gitops.start(3600).await?;
    // The commit that mends the first wave is not blocked by the operation that waits for it.
    let mended = gitops
        .push(&[("app/first.yaml", &deployment("first", "demo:v2", &wave("0")))])
        .await?;
    gitops.has_value("second", "1").await?;
    gitops.synced("app", &mended).await?;
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_once_for_each_sync() -> Result<()> {
    let gitops = GitOps::new("hooks").await?;
    let job = "apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {argocd.argoproj.io/hook: PreSync}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: 'demo:v1', command: ['/bin/sh', '-c', 'exit 0']}]
";
    let first = gitops
        .push(&[("app/job.yaml", job), ("app/a.yaml", &config("a", "1"))])
        .await?;
    gitops.create("app", "app").await?;
    let status = gitops.synced("app", &first).await?;
    let results = status
        .operation_state
        .and_then(|state| state.sync_result)
        .context("no result")?
        .resources;
    let hook = results
        .iter()
        .find(|entry| entry.name == "migrate")
        .context("no hook")?;
    ensure!(
        (hook.hook_type.as_str(), hook.hook_phase.as_str()) == ("PreSync", "Succeeded"),
        "{hook:?}"
    );
    let second = gitops.push(&[("app/a.yaml", &config("a", "2"))]).await?;
    gitops.synced("app", &second).await?;
    ensure!(gitops.value("a").await? == "2");
    gitops.end().await
}

fn hook(name: &str, annotations: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, annotations: {annotations}}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: run, image: 'demo:v1', command: ['/bin/sh', '-c', 'exit 0']}}]
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_go_by_their_policy_and_run_when_the_application_goes() -> Result<()> {
    let gitops = GitOps::new("farewell").await?;
    let first = gitops
        .push(&[
            (
                "app/goes.yaml",
                &hook(
                    "goes",
                    "{argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded}",
                ),
            ),
            ("app/stays.yaml", &hook("stays", "{argocd.argoproj.io/hook: PreSync}")),
            ("app/last.yaml", &hook("last", "{argocd.argoproj.io/hook: PostDelete}")),
            ("app/a.yaml", &config("a", "1")),
        ])
        .await?;
    gitops.create("app", "app").await?;
    gitops.synced("app", &first).await?;
    let jobs = gitops.world.api::<Job>();
    eventually(PATIENCE, "one hook goes and the other is let go", async || {
        let (goes, stays) = (jobs.get_opt("goes").await, jobs.get_opt("stays").await);
        match (goes, stays) {
            (Ok(None), Ok(Some(stays)))
                if stays.metadata.finalizers.as_ref().is_none_or(|all| {
                    !all.iter()
                        .any(|finalizer| finalizer == "argocd.argoproj.io/hook-finalizer")
                }) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let app = gitops.world.api::<Application>().get("app").await?;
    let finalizers = app.metadata.finalizers.unwrap_or_default();
    ensure!(
        finalizers.contains(&"post-delete-finalizer.argocd.argoproj.io".to_owned()),
        "{finalizers:?}"
    );
    gitops
        .world
        .api::<Application>()
        .delete("app", &DeleteParams::default())
        .await?;
    eventually(
        PATIENCE,
        "the last hook has run once the objects are gone",
        async || {
            let last = jobs.get_opt("last").await.map_err(|error| error.to_string())?;
            let is_left = gitops
                .world
                .api::<ConfigMap>()
                .get_opt("a")
                .await
                .map_err(|error| error.to_string())?
                .is_some();
            match last {
                Some(_) if is_left => Err("it runs before the objects are gone".to_owned()),
                Some(_) => Ok(()),
                None => Err("it is not there".to_owned()),
            }
        },
    )
    .await?;
    eventually(PATIENCE, "the application is gone with its hooks", async || {
        let apps = gitops
            .world
            .api::<Application>()
            .get_opt("app")
            .await
            .map_err(|error| error.to_string())?;
        let last = jobs.get_opt("last").await.map_err(|error| error.to_string())?;
        match (apps, last) {
            (None, None) => Ok(()),
            (app, last) => Err(format!("{app:?} {last:?}")),
        }
    })
    .await?;
    gitops.end().await
}
