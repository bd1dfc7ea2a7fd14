//! GitOps on a real cluster with a real Git server: what is pushed is deployed, what drifts is healed, what is wrong is
//! named and heals when it is mended.

mod access;
mod bad_input;
mod deploying;
mod holding;
mod ordering;

use super::harness::{PATIENCE, World};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tidegate::{
    api::{application::Application, application_status::ApplicationStatus},
    controllers::{self, args::ControllerArgs},
};
use tidegate_cluster::{
    eventually,
    git::{Repository, Webhook},
};
use tokio::{sync::oneshot, task::JoinHandle};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    controller: ControllerArgs,
}

/// How to stop the controller, and how it ended.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), controllers::RunError>>);

/// A namespace that is control plane and destination at once, a repository, and a controller for both.
struct GitOps {
    world: World,
    repository: Repository,
    name: String,
    webhook_port: u16,
    controller: Option<Running>,
}

impl GitOps {
    async fn new(name: &str) -> Result<Self> {
        let world = World::without_controller(name).await?;
        let repository = world.cluster.repository(&world.namespace).await?;
        let webhook_port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut gitops = Self {
            name: world.namespace.clone(),
            world,
            repository,
            webhook_port,
            controller: None,
        };
        // A poll would prove nothing about the webhook, so there is none in the time of a test.
        gitops.start(3600).await?;
        gitops.announce_pushes().await?;
        Ok(gitops)
    }

    async fn announce_pushes(&self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/api/webhook", self.webhook_port);
        self.world
            .cluster
            .set_git_webhook(
                &self.name,
                Some(Webhook {
                    url,
                    secret: String::new(),
                }),
            )
            .await
    }

    async fn start(&mut self, poll_seconds: u32) -> Result<()> {
        let flags = format!(
            "--leader-elect=false --repo-poll-seconds {poll_seconds} --webhook-addr 127.0.0.1:{}",
            self.webhook_port
        );
        self.controller = Some(self.serve(&flags).await?);
        self.listens().await
    }

    /// Starts a replica.
    async fn serve(&self, flags: &str) -> Result<Running> {
        let flags = format!(
            "controller --namespaced --metricsPort 0 --healthzPort 0 --drain-seconds 1 --loglevel warn --namespace {} \
             --controllers rollout,application {flags}",
            self.world.namespace
        );
        let arguments = Arguments::try_parse_from(flags.split_whitespace())?;
        let (stop, stopped) = oneshot::channel();
        let client = self.world.cluster.client().await?;
        let task = tokio::spawn(controllers::serve(client, arguments.controller, async move {
            drop(stopped.await)
        }));
        Ok((stop, task))
    }

    /// Waits until the webhook can be reached.
    async fn listens(&self) -> Result<()> {
        let port = self.webhook_port;
        eventually(PATIENCE, "the controller listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some((stop, task)) = self.controller.take() {
            ensure!(
                stop.send(()).is_ok(),
                "the controller ended by itself: {:?}",
                task.await
            );
            task.await??;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        // Applications with the finalizer need the controller to go.
        let apps: Api<Application> = self.world.api();
        apps.delete_collection(&DeleteParams::background(), &ListParams::default())
            .await?;
        eventually(PATIENCE, "applications are gone", async || {
            let left = apps
                .list(&Default::default())
                .await
                .map_err(|error| error.to_string())?
                .items
                .len();
            if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
        })
        .await?;
        self.stop().await?;
        self.world.end().await
    }

    async fn push(&self, files: &[(&str, &str)]) -> Result<String> {
        for (path, text) in files {
            self.repository.write(path, text)?;
        }
        self.repository.commit_and_push("Change").await
    }

    /// An Application over folder `path` with automated sync, prune and self-healing.
    async fn create(&self, name: &str, path: &str) -> Result<()> {
        self.create_with(self.application(name, path)).await
    }

    fn application(&self, name: &str, path: &str) -> Value {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": self.world.namespace, "finalizers": ["resources-finalizer.argocd.argoproj.io"]},
            "spec": {
                "project": "default",
                "source": {"repoURL": self.repository.url(), "path": path, "targetRevision": "main"},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": self.world.namespace},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}}}})
    }

    async fn create_with(&self, application: Value) -> Result<()> {
        self.world.apply(&application.to_string()).await
    }

    async fn patch(&self, name: &str, patch: Value) -> Result<()> {
        let apps: Api<Application> = self.world.api();
        apps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn wait(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&ApplicationStatus) -> bool,
    ) -> Result<ApplicationStatus> {
        let apps: Api<Application> = self.world.api();
        eventually(PATIENCE, format!("application {name} {what}"), async || {
            let app = apps.get(name).await.map_err(|error| error.to_string())?;
            match app.status {
                Some(status) if wanted(&status) => Ok(status),
                Some(status) => Err(serde_json::to_string(&status).unwrap_or_default()),
                None => Err("it has no status".to_owned()),
            }
        })
        .await
    }

    async fn synced(&self, name: &str, revision: &str) -> Result<ApplicationStatus> {
        self.wait(name, "is Synced and Healthy", |status| {
            status.sync.status == "Synced" && status.health.status == "Healthy" && status.sync.revision == revision
        })
        .await
    }

    async fn condition(&self, name: &str, kind: &str) -> Result<String> {
        let status = self
            .wait(name, kind, |status| {
                status.conditions.iter().any(|condition| condition.r#type == kind)
            })
            .await?;
        let found = status.conditions.into_iter().find(|condition| condition.r#type == kind);
        Ok(found.context("no condition")?.message)
    }

    /// `data.a` of a ConfigMap; empty when there is no such object.
    async fn value(&self, name: &str) -> Result<String> {
        let found = self.world.api::<ConfigMap>().get_opt(name).await?;
        Ok(found
            .and_then(|object| object.data?.get("a").cloned())
            .unwrap_or_default())
    }

    async fn has_value(&self, name: &str, value: &str) -> Result<()> {
        let found = eventually(
            PATIENCE,
            format!("ConfigMap {name} is {value:?}"),
            async || match self.value(name).await {
                Ok(found) if found == value => Ok(()),
                Ok(found) => Err(format!("{found:?}")),
                Err(error) => Err(format!("{error:#}")),
            },
        )
        .await;
        let Err(error) = found else { return Ok(()) };
        let apps = self
            .world
            .api::<Application>()
            .list(&ListParams::default())
            .await?
            .items;
        let told: Vec<String> = apps
            .iter()
            .map(|app| serde_json::to_string(app).unwrap_or_default())
            .collect();
        Err(error.context(told.join("\n")))
    }

    async fn edit<K>(&self, name: &str, patch: Value) -> Result<()>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        self.world
            .api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '{value}'}}\n")
}

fn deployment(name: &str, image: &str, annotations: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, annotations: {annotations}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: web
        image: {image}
        ports: [{{containerPort: 8080}}]
        resources: {{requests: {{cpu: 1m, memory: '1048576'}}}}
"
    )
}
