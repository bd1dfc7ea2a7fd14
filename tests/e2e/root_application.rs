//! `applications/root.yaml` as users have it, unchanged: its repository is at github.com, its children are Applications
//! with the Rollouts of `rollouts/`, and all of them go to Healthy and walk their steps when an image changes in Git.

use super::{
    forge::Forge,
    harness::{PATIENCE, Running, cluster, serve},
    rollout_manifests::NEEDED,
};
use anyhow::{Result, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::{fs, path::Path};
use tidegate::api::{application::Application, rollout::Rollout};
use tidegate_cluster::{Cluster, eventually, git::Repository};

const NAMESPACE: &str = "argocd";
const REPOSITORY: &str = "https://github.com/org/platform-config";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_application_deploys_its_children_and_their_rollouts() -> Result<()> {
    let cluster = cluster().await?;
    // Shared with the test that dry-runs manifests in it, so it stays.
    cluster
        .apply_yaml("default", "{apiVersion: v1, kind: Namespace, metadata: {name: argocd}}")
        .await?;
    let root = Root {
        client: cluster.client().await?,
        repository: cluster.repository("org/platform-config").await?,
        cluster,
    };
    let forge = Forge::start("github.com", &cluster.git()?.url).await?;
    root.trust(&forge).await?;
    root.write("myapp:stable")?;
    let first = root.repository.commit_and_push("Deploy").await?;

    let controller = root.start().await?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests/applications/root.yaml");
    cluster.apply_yaml(NAMESPACE, &fs::read_to_string(manifest)?).await?;
    for name in ["root", "myapp", "api"] {
        root.wait(name, "Synced", "Healthy", &first).await?;
    }

    root.write("demo:v2")?;
    let second = root.repository.commit_and_push("A new image").await?;
    // The poll is the only one who tells here: github.com cannot reach a webhook on loopback.
    root.wait("myapp", "Synced", "Suspended", &second).await?;
    for step in [1, 3, 5, 7] {
        root.paused_at(step).await?;
        root.patch_status("myapp-rollout", json!({"pauseConditions": null}))
            .await?;
    }
    root.patch_status("api-server", json!({"pauseConditions": null}))
        .await?;
    for name in ["root", "myapp", "api"] {
        root.wait(name, "Synced", "Healthy", &second).await?;
    }
    root.end(controller).await
}

struct Root {
    cluster: &'static Cluster,
    client: Client,
    repository: Repository,
}

impl Root {
    /// What a user has to say about a private way to a forge: the proxy, and the certificate it shows.
    async fn trust(&self, forge: &Forge) -> Result<()> {
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "platform-config", "labels": {"argocd.argoproj.io/secret-type": "repository"}},
            "stringData": {"type": "git", "url": REPOSITORY, "proxy": forge.proxy}});
        let certificates = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "argocd-tls-certs-cm", "labels": {"app.kubernetes.io/part-of": "argocd"}},
            "data": {"github.com": forge.certificate}});
        for object in [secret, certificates] {
            self.cluster.apply_yaml(NAMESPACE, &object.to_string()).await?;
        }
        Ok(())
    }

    /// Two children; the one has the canary, the other the blue-green Rollout.
    fn write(&self, image: &str) -> Result<()> {
        let rollouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests/rollouts");
        for (name, file) in [("myapp", "canary-nginx.yaml"), ("api", "bluegreen.yaml")] {
            let manifest = fs::read_to_string(rollouts.join(file))?;
            let changed: String = manifest
                .lines()
                .map(|line| match line.split_once("image: ") {
                    Some((before, _)) if image != "myapp:stable" => format!("{before}image: {image}\n"),
                    _ => format!("{line}\n"),
                })
                .collect();
            self.repository.write(format!("{name}/rollout.yaml"), &changed)?;
            let needed: Vec<&str> = NEEDED
                .split("---\n")
                .filter(|document| document.contains("api-server") == (name == "api"))
                .collect();
            self.repository
                .write(format!("{name}/needed.yaml"), &needed.join("---\n"))?;
            let child = format!(
                "apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  project: default
  source: {{repoURL: '{REPOSITORY}', path: {name}, targetRevision: HEAD}}
  destination: {{server: 'https://kubernetes.default.svc', namespace: {NAMESPACE}}}
  syncPolicy: {{automated: {{prune: true, selfHeal: true}}}}
"
            );
            self.repository.write(format!("apps/{name}.yaml"), &child)?;
        }
        Ok(())
    }

    async fn start(&self) -> Result<Running> {
        let flags = format!(
            "--namespaced --leader-elect=false --metricsPort 0 --healthzPort 0 --drain-seconds 1 --loglevel warn \
             --namespace {NAMESPACE} --controllers rollout,application --repo-poll-seconds 2"
        );
        serve(self.cluster, flags.split_whitespace().map(str::to_owned).collect()).await
    }

    async fn wait(&self, name: &str, sync: &str, health: &str, revision: &str) -> Result<()> {
        let apps: Api<Application> = Api::namespaced(self.client.clone(), NAMESPACE);
        let what = format!("application {name} is {sync} and {health} at {revision}");
        eventually(PATIENCE, what, async || {
            let status = apps.get(name).await.map_err(|error| error.to_string())?.status;
            match status {
                Some(status)
                    if status.sync.status == sync
                        && status.health.status == health
                        && status.sync.revision == revision =>
                {
                    Ok(())
                }
                status => Err(serde_json::to_string(&status).unwrap_or_default()),
            }
        })
        .await
    }

    async fn paused_at(&self, step: i32) -> Result<()> {
        let rollouts: Api<Rollout> = Api::namespaced(self.client.clone(), NAMESPACE);
        eventually(PATIENCE, format!("the canary pauses at step {step}"), async || {
            let found = rollouts.get("myapp-rollout").await.map_err(|error| error.to_string())?;
            match found.status {
                Some(status) if status.current_step_index == Some(step) && !status.pause_conditions.is_empty() => {
                    Ok(())
                }
                status => Err(serde_json::to_string(&status).unwrap_or_default()),
            }
        })
        .await
    }

    async fn patch_status(&self, name: &str, status: serde_json::Value) -> Result<()> {
        let rollouts: Api<Rollout> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"status": status}));
        rollouts.patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn end(self, controller: Running) -> Result<()> {
        // The root would heal its children, so nobody must be there to do it.
        controller.stop().await?;
        let apps: Api<Application> = Api::namespaced(self.client.clone(), NAMESPACE);
        apps.delete_collection(&DeleteParams::background(), &ListParams::default())
            .await?;
        for what in [
            &["rollouts,services,ingresses", "--all"][..],
            &["secret", "platform-config"],
            &["configmap", "argocd-tls-certs-cm"],
        ] {
            let delete = [&["delete", "--namespace", NAMESPACE][..], what].concat();
            self.cluster.kubectl(&delete).await?;
        }
        ensure!(
            apps.list(&ListParams::default()).await?.items.is_empty(),
            "Applications are left"
        );
        Ok(())
    }
}
