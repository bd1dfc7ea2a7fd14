//! GitOps on a real cluster with a real Git server: what is pushed is deployed, what drifts is healed, what is wrong is
//! named and heals when it is mended.

use super::harness::{PATIENCE, World};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::time::Instant;
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
            "controller --namespaced --leader-elect=false --metricsPort 0 --healthzPort 0 --drain-seconds 1 --loglevel warn \
             --namespace {} --controllers rollout,application --repo-poll-seconds {poll_seconds} --webhook-addr 127.0.0.1:{}",
            self.world.namespace, self.webhook_port
        );
        let arguments = Arguments::try_parse_from(flags.split_whitespace())?;
        let (stop, stopped) = oneshot::channel();
        let client = self.world.cluster.client().await?;
        let task = tokio::spawn(controllers::serve(client, arguments.controller, async move {
            drop(stopped.await)
        }));
        self.controller = Some((stop, task));
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
            status
                .operation_state
                .as_ref()
                .is_some_and(|state| state.message == "waiting for healthy state of apps/Deployment/first")
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
