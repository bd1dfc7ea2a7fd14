//! Who may read a repository, and who may say that it moved.

use super::{GitOps, PATIENCE, config};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tidegate_cluster::eventually;
use tidegate_cluster::git::{Credentials, Webhook};

fn secret(name: &str, kind: &str, url: &str, password: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {"argocd.argoproj.io/secret-type": kind}},
        "stringData": {"type": "git", "url": url, "username": "robot", "password": password}})
    .to_string()
}

impl GitOps {
    async fn require_password(&self, password: &str) -> Result<()> {
        let credentials = Credentials {
            username: "robot".into(),
            password: password.into(),
        };
        self.world.cluster.set_git_auth(&self.name, Some(credentials)).await
    }

    /// Asks for a look, and waits for a ComparisonError with these words.
    async fn refuses(&self, name: &str, words: &[&str]) -> Result<()> {
        let refresh = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}});
        self.patch(name, refresh).await?;
        self.wait(name, &format!("tells {words:?}"), |status| {
            status.conditions.iter().any(|condition| {
                condition.r#type == "ComparisonError" && words.iter().all(|word| condition.message.contains(word))
            })
        })
        .await
        .map(drop)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_repository_opens_with_its_secret_or_one_for_its_prefix() -> Result<()> {
    let gitops = GitOps::new("private").await?;
    let first = gitops.push(&[("app/a.yaml", &config("a", "1"))]).await?;
    gitops.require_password("right").await?;
    let url = gitops.repository.url().to_owned();
    gitops.create("app", "app").await?;
    gitops
        .refuses("app", &[&url, "no repository Secret matches it"])
        .await?;

    gitops.world.apply(&secret("own", "repository", &url, "wrong")).await?;
    let named = format!("Secret {}/own", gitops.world.namespace);
    gitops.refuses("app", &[&url, &named]).await?;
    // Mended, it heals by itself: nothing but the Secret is touched.
    gitops.world.apply(&secret("own", "repository", &url, "right")).await?;
    gitops.synced("app", &first).await?;
    ensure!(gitops.value("a").await? == "1");

    gitops
        .world
        .api::<Secret>()
        .delete("own", &DeleteParams::default())
        .await?;
    gitops.require_password("other").await?;
    gitops
        .refuses("app", &[&url, "no repository Secret matches it"])
        .await?;
    let (prefix, _) = url.rsplit_once('/').context("no path")?;
    gitops
        .world
        .apply(&secret("team", "repo-creds", &format!("{prefix}/"), "other"))
        .await?;
    gitops
        .wait("app", "has no error", |status| {
            status.conditions.is_empty() && status.sync.status == "Synced"
        })
        .await?;
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_push_is_followed_and_a_forged_one_is_not() -> Result<()> {
    let gitops = GitOps::new("signed").await?;
    gitops
        .world
        .apply(r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "argocd-secret"}, "stringData": {"webhook.github.secret": "s3cret"}}"#)
        .await?;
    let url = format!("http://127.0.0.1:{}/api/webhook", gitops.webhook_port);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let body = json!({"ref": "refs/heads/main", "repository": {"html_url": gitops.repository.url(), "default_branch": "main"}});
    let forged = async || -> Result<u16> {
        let request = client.post(&url).header("X-GitHub-Event", "push");
        let request = request.header("X-Hub-Signature-256", format!("sha256={}", "0".repeat(64)));
        let answer = request
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
            .await?;
        Ok(answer.status().as_u16())
    };
    // Until the Secret was seen, everything is accepted.
    eventually(PATIENCE, "a forged push is refused", async || match forged().await {
        Ok(401) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    let hook = |secret: &str| {
        Some(Webhook {
            url: url.clone(),
            secret: secret.into(),
        })
    };
    let set_hook = async |secret: &str| gitops.world.cluster.set_git_webhook(&gitops.name, hook(secret)).await;
    set_hook("s3cret").await?;
    let first = gitops.push(&[("app/a.yaml", &config("a", "1"))]).await?;
    gitops.create("app", "app").await?;
    gitops.synced("app", &first).await?;
    let second = gitops.push(&[("app/a.yaml", &config("a", "2"))]).await?;
    gitops.synced("app", &second).await?;

    set_hook("guessed").await?;
    gitops.push(&[("app/a.yaml", &config("a", "3"))]).await?;
    ensure!(forged().await? == 401);
    // The poll is an hour away, so what is not refreshed by now will not be; there is nothing else to wait for.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    ensure!(gitops.value("a").await? == "2", "a forged push was followed");
    set_hook("s3cret").await?;
    let fourth = gitops.push(&[("app/a.yaml", &config("a", "4"))]).await?;
    gitops.synced("app", &fourth).await?;
    gitops.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_reaches_a_standby_is_deployed_by_the_leader() -> Result<()> {
    let mut gitops = GitOps::new("standby").await?;
    gitops.stop().await?;
    let leader = gitops.serve("--leader-elect=true --repo-poll-seconds 3600").await?;
    let leases = gitops.world.api::<Lease>();
    eventually(PATIENCE, "the first replica leads", async || {
        let found = leases
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let holds = |lease: &Lease| lease.spec.as_ref().is_some_and(|spec| spec.holder_identity.is_some());
        if found.items.iter().any(holds) {
            Ok(())
        } else {
            Err(format!("{} leases", found.items.len()))
        }
    })
    .await?;
    let webhook = format!(
        "--leader-elect=true --repo-poll-seconds 3600 --webhook-addr 127.0.0.1:{}",
        gitops.webhook_port
    );
    gitops.controller = Some(gitops.serve(&webhook).await?);
    gitops.listens().await?;
    let first = gitops.push(&[("app/a.yaml", &config("a", "1"))]).await?;
    gitops.create("app", "app").await?;
    gitops.synced("app", &first).await?;
    let second = gitops.push(&[("app/a.yaml", &config("a", "2"))]).await?;
    gitops.synced("app", &second).await?;
    let (stop, task) = leader;
    ensure!(stop.send(()).is_ok(), "the leader ended by itself");
    task.await??;
    gitops.end().await
}
