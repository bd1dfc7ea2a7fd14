//! What is pushed is deployed, what drifts is healed, what leaves goes, and then it rests.

use super::{GitOps, config, deployment};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::api::DeleteParams;
use serde_json::json;
use std::time::Instant;
use tidegate::api::application::Application;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_deployed_and_drift_is_healed() -> Result<()> {
    let gitops = GitOps::new("push").await?;
    let first = gitops
        .push(&[("app/config.yaml", &config("settings", "1")), ("app/web.yaml", &deployment("web", "demo:v1", "{}")),
            ("app/service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n")])
        .await?;
    gitops.create("app", "app").await?;
    let status = gitops.synced("app", &first).await?;
    ensure!(status.operation_state.context("no operation")?.message == "successfully synced (all tasks run)");
    ensure!(status.summary.images == ["demo:v1"] && status.resources.len() == 3 && status.conditions.is_empty());

    // A push reaches the cluster through the webhook: the poll is an hour away.
    let pushed = Instant::now();
    let second = gitops.push(&[("app/config.yaml", &config("settings", "2"))]).await?;
    gitops.has_value("settings", "2").await?;
    println!("push to change: {:?}", pushed.elapsed());
    gitops.synced("app", &second).await?;

    // What somebody else adds stays; what somebody else changes is put back.
    gitops
        .edit::<ConfigMap>(
            "settings",
            json!({"data": {"a": "edited", "b": "foreign"}, "metadata": {"labels": {"theirs": "x"}}}),
        )
        .await?;
    gitops.has_value("settings", "2").await?;
    let kept = gitops.world.api::<ConfigMap>().get("settings").await?;
    ensure!(
        kept.data
            .context("no data")?
            .get("b")
            .is_some_and(|value| value == "foreign")
    );
    gitops
        .edit::<Deployment>("web", json!({"spec": {"replicas": 3}}))
        .await?;
    gitops
        .world
        .until("replicas are healed", async || {
            Ok(gitops
                .world
                .api::<Deployment>()
                .get("web")
                .await?
                .spec
                .context("no spec")?
                .replicas
                == Some(1))
        })
        .await?;
    gitops
        .world
        .api::<ConfigMap>()
        .delete("settings", &DeleteParams::default())
        .await?;
    gitops.has_value("settings", "2").await?;
    gitops.synced("app", &second).await?;
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_git_is_pruned_and_nothing_else() -> Result<()> {
    let gitops = GitOps::new("prune").await?;
    gitops
        .push(&[
            ("app/a.yaml", &config("kept", "1")),
            ("app/b.yaml", &config("gone", "1")),
        ])
        .await?;
    gitops.world.apply(&config("foreign", "1")).await?;
    gitops.create("app", "app").await?;
    gitops.has_value("gone", "1").await?;
    gitops.repository.remove("app/b.yaml")?;
    let second = gitops.push(&[]).await?;
    gitops.has_value("gone", "").await?;
    gitops.synced("app", &second).await?;
    ensure!(gitops.value("foreign").await? == "1" && gitops.value("kept").await? == "1");

    // An empty folder is a mistake far more often than a wish.
    gitops.repository.remove("app/a.yaml")?;
    gitops.push(&[("app/README.md", "Nothing here.")]).await?;
    let message = gitops.condition("app", "SyncError").await?;
    ensure!(message.contains("auto-sync will wipe out all resources"), "{message}");
    ensure!(gitops.value("kept").await? == "1");
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_of_apps_brings_its_children_and_takes_them_away() -> Result<()> {
    let gitops = GitOps::new("apps").await?;
    let child = |name: &str| gitops.application(name, &format!("apps/{name}")).to_string();
    let root = gitops
        .push(&[
            ("root/a.yaml", &child("a")),
            ("root/b.yaml", &child("b")),
            ("apps/a/x.yaml", &config("first", "1")),
            ("apps/b/y.yaml", &config("second", "1")),
        ])
        .await?;
    gitops.create("root", "root").await?;
    let status = gitops.synced("root", &root).await?;
    ensure!(status.summary.is_app_of_apps);
    gitops.has_value("first", "1").await?;
    gitops.has_value("second", "1").await?;
    gitops.repository.remove("root/b.yaml")?;
    let second = gitops.push(&[]).await?;
    gitops.has_value("second", "").await?;
    gitops.synced("root", &second).await?;
    ensure!(gitops.value("first").await? == "1");
    // Deleting the root takes everything with it.
    gitops
        .world
        .api::<Application>()
        .delete("root", &DeleteParams::default())
        .await?;
    gitops.has_value("first", "").await?;
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_kubectl_are_taken_over_with_what_they_no_longer_need() -> Result<()> {
    let gitops = GitOps::new("adopt").await?;
    gitops
        .world
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '0', old: x}\n")
        .await?;
    let first = gitops.push(&[("app/a.yaml", &config("a", "1"))]).await?;
    gitops.create("app", "app").await?;
    gitops.synced("app", &first).await?;
    let data = gitops
        .world
        .api::<ConfigMap>()
        .get("a")
        .await?
        .data
        .context("no data")?;
    ensure!(data.len() == 1 && data["a"] == "1", "{data:?}");
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_syncs_by_hand_and_rolls_back() -> Result<()> {
    let gitops = GitOps::new("manual").await?;
    let first = gitops.push(&[("app/a.yaml", &config("a", "1"))]).await?;
    let mut application = gitops.application("app", "app");
    application["spec"]["syncPolicy"] = json!({"syncOptions": ["CreateNamspace=true"]});
    gitops.create_with(application).await?;
    gitops
        .wait("app", "is OutOfSync", |status| {
            status.sync.status == "OutOfSync" && status.health.status == "Missing"
        })
        .await?;
    let message = gitops.condition("app", "UnknownOptionWarning").await?;
    ensure!(message.contains("CreateNamespace=true"), "{message}");
    ensure!(gitops.value("a").await?.is_empty());
    gitops
        .patch(
            "app",
            json!({"operation": {"sync": {}, "initiatedBy": {"username": "ann"}}}),
        )
        .await?;
    gitops.synced("app", &first).await?;
    gitops.push(&[("app/a.yaml", &config("a", "2"))]).await?;
    gitops
        .wait("app", "is OutOfSync", |status| status.sync.status == "OutOfSync")
        .await?;
    gitops.patch("app", json!({"operation": {"sync": {}}})).await?;
    gitops.has_value("a", "2").await?;
    gitops
        .patch(
            "app",
            json!({"operation": {"sync": {"revision": first}, "initiatedBy": {"username": "ann"}}}),
        )
        .await?;
    gitops.has_value("a", "1").await?;
    let status = gitops
        .wait("app", "has a history", |status| status.history.len() == 3)
        .await?;
    ensure!(status.history.last().is_some_and(|entry| entry.revision == first) && status.sync.status == "OutOfSync");
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_nothing_is_written() -> Result<()> {
    let gitops = GitOps::new("rest").await?;
    let first = gitops
        .push(&[
            ("app/a.yaml", &config("a", "1")),
            ("app/web.yaml", &deployment("web", "demo:v1", "{}")),
        ])
        .await?;
    gitops.create("app", "app").await?;
    gitops.synced("app", &first).await?;
    let version = async || -> Result<_> {
        let app = gitops.world.api::<Application>().get("app").await?;
        let web = gitops.world.api::<Deployment>().get("web").await?;
        Ok((app.metadata.resource_version, web.metadata.managed_fields))
    };
    let before = version().await?;
    // A look is forced, and writes nothing but its answer: the annotation goes, the time of the comparison changes.
    gitops
        .patch(
            "app",
            json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}),
        )
        .await?;
    gitops
        .world
        .until("the refresh is answered", async || {
            let app = gitops.world.api::<Application>().get("app").await?;
            Ok(app
                .metadata
                .annotations
                .is_none_or(|all| !all.contains_key("argocd.argoproj.io/refresh")))
        })
        .await?;
    let after = version().await?;
    ensure!(before.0 != after.0 && before.1 == after.1);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    ensure!(version().await? == after, "something is still written");
    gitops.end().await
}
