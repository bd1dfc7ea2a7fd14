//! One namespace of the shared cluster with a controller of its own, and the verbs a person would use.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use k8s_openapi::api::{
    core::v1::{Event, Service},
    networking::v1::Ingress,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{fmt::Debug, path::Path, process::Stdio, time::Duration};
use tidegate::{
    api::{crd, replica_set::ReplicaSet, rollout::Rollout, rollout_status::RolloutStatus, well_known},
    controllers::{self, args::ControllerArgs},
    telemetry::logging::{self, LogFormat},
};
use tidegate_cluster::{Cluster, eventually, shared};
use tokio::{
    process::{Child, Command},
    sync::{OnceCell, oneshot},
    task::JoinHandle,
};

/// Longer than anything here takes on a busy machine with two cores; a test that waits this long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// One test's world.
pub(super) struct World {
    pub(super) cluster: &'static Cluster,
    pub(super) client: Client,
    pub(super) namespace: String,
    controller: Option<Controller>,
}

enum Controller {
    /// A task of the test: quick, and its stop is graceful.
    Task(Running),
    /// A process of its own: it can be killed.
    Process(Child),
}

#[derive(Parser)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    controller: ControllerArgs,
}

/// A controller as a task of the test.
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), controllers::RunError>>,
}

/// Starts a controller with these flags as a task of the test.
pub(super) async fn serve(cluster: &Cluster, flags: Vec<String>) -> Result<Running> {
    logging::start(LogFormat::Text, &log_level())?;
    let arguments = Arguments::try_parse_from(std::iter::once("controller".to_owned()).chain(flags))?;
    let (stop, stopped) = oneshot::channel();
    let client = cluster.client().await?;
    let task = tokio::spawn(controllers::serve(client, arguments.controller, async move {
        drop(stopped.await)
    }));
    Ok(Running { stop, task })
}

impl Running {
    /// Stops it gracefully.
    pub(super) async fn stop(self) -> Result<()> {
        ensure!(
            self.stop.send(()).is_ok(),
            "the controller ended by itself: {:?}",
            self.task.await
        );
        self.task.await??;
        Ok(())
    }
}

impl World {
    /// A namespace and a controller in this process.
    pub(super) async fn new(name: &str) -> Result<Self> {
        let mut world = Self::without_controller(name).await?;
        world.start_task().await?;
        Ok(world)
    }

    /// A namespace.
    pub(super) async fn without_controller(name: &str) -> Result<Self> {
        let cluster = cluster().await?;
        let namespace = cluster.namespace(name).await?;
        let client = cluster.client().await?;
        Ok(Self {
            cluster,
            client,
            namespace,
            controller: None,
        })
    }

    /// Starts a controller as a task of this test.
    pub(super) async fn start_task(&mut self) -> Result<()> {
        self.start_task_with(&[]).await
    }

    /// Starts a controller as a task of this test, with flags (`--name=value`) that win over the usual ones.
    pub(super) async fn start_task_with(&mut self, flags: &[&str]) -> Result<()> {
        let flags = self
            .controller_flags()
            .into_iter()
            .chain(flags.iter().map(|flag| (*flag).to_owned()));
        self.controller = Some(Controller::Task(serve(self.cluster, flags.collect()).await?));
        Ok(())
    }

    /// Starts a controller as a process.
    pub(super) fn start_process(&mut self) -> Result<()> {
        self.controller = Some(Controller::Process(self.process(&[])?));
        Ok(())
    }

    /// A controller as a process, with flags that win over the usual ones.
    pub(super) fn process(&self, flags: &[&str]) -> Result<Child> {
        let overridden = |flag: &String| {
            flags
                .iter()
                .any(|given| flag.split('=').next() == given.split('=').next())
        };
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("controller")
            .args(self.controller_flags().into_iter().filter(|flag| !overridden(flag)))
            .args(flags)
            .env_clear()
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the controller")
    }

    /// What a command of the plugin prints in this namespace.
    pub(super) async fn tidegate(&self, arguments: &[&str]) -> Result<String> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--namespace", &self.namespace]);
        self.tidegate_bare(&arguments).await
    }

    /// What a command of the plugin prints that says itself which namespace it is about.
    pub(super) async fn tidegate_bare(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run the plugin")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (status, out, error) = (output.status, text(output.stdout), text(output.stderr));
        ensure!(status.success(), "{arguments:?} ended with {status}: {error}\n{out}");
        Ok(out)
    }

    pub(super) fn controller_flags(&self) -> Vec<String> {
        let namespace = &self.namespace;
        let flags = "--namespaced --leader-elect=false --metricsPort 0 --healthzPort 0 --drain-seconds 2";
        let level = log_level();
        format!("{flags} --namespace {namespace} --controllers rollout,analysis,experiment --loglevel {level}")
            .split(' ')
            .map(str::to_owned)
            .collect()
    }

    /// Ends the controller: a task gracefully, a process with SIGKILL.
    pub(super) async fn stop(&mut self) -> Result<()> {
        match self.controller.take() {
            Some(Controller::Task(running)) => running.stop().await?,
            Some(Controller::Process(mut child)) => {
                ensure!(child.try_wait()?.is_none(), "the controller ended by itself");
                child.kill().await?;
            }
            None => {}
        }
        Ok(())
    }

    /// Ends the test: the controller stops in order and the namespace goes away, so that its pods leave the nodes.
    pub(super) async fn end(mut self) -> Result<()> {
        self.stop().await?;
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await?;
        Ok(())
    }

    /// An API of this namespace.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn apply(&self, yaml: &str) -> Result<()> {
        self.cluster.apply_yaml(&self.namespace, yaml).await.map(drop)
    }

    pub(super) async fn rollout(&self, name: &str) -> Result<Rollout> {
        Ok(self.api::<Rollout>().get(name).await?)
    }

    /// Waits until the Rollout's status is as wanted and describes its newest generation.
    pub(super) async fn wait(
        &self,
        name: &str,
        what: &str,
        mut wanted: impl FnMut(&RolloutStatus) -> bool,
    ) -> Result<Rollout> {
        let found = eventually(PATIENCE, format!("rollout {name} {what}"), async || {
            let rollout = self.rollout(name).await.map_err(|error| error.to_string())?;
            let Some(status) = &rollout.status else {
                return Err("it has no status".to_owned());
            };
            let observed = status.observed_generation == rollout.metadata.generation.unwrap_or_default().to_string();
            if observed && wanted(status) {
                return Ok(rollout);
            }
            Err(serde_json::to_string(status).unwrap_or_default())
        });
        self.or_show(found.await).await
    }

    pub(super) async fn healthy(&self, name: &str) -> Result<Rollout> {
        self.wait(name, "is Healthy", |status| status.phase == "Healthy").await
    }

    /// Waits until the Rollout pauses at the step with this index.
    pub(super) async fn paused_at(&self, name: &str, step: i32) -> Result<Rollout> {
        let at_step = |status: &RolloutStatus| {
            status.phase == "Paused" && status.current_step_index == Some(step) && !status.pause_conditions.is_empty()
        };
        self.wait(name, &format!("pauses at step {step}"), at_step).await
    }

    pub(super) async fn patch(&self, name: &str, patch: Value) -> Result<()> {
        self.api::<Rollout>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    pub(super) async fn patch_status(&self, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<Rollout>()
            .patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Changes the image of the first container and nothing else.
    pub(super) async fn set_image(&self, name: &str, image: &str) -> Result<()> {
        let patch: json_patch::Patch = serde_json::from_value(json!([
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image},
        ]))?;
        let patch = Patch::Json::<()>(patch);
        self.api::<Rollout>()
            .patch(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Goes on after a pause, as `kubectl argo rollouts promote` does.
    pub(super) async fn promote(&self, name: &str) -> Result<()> {
        self.patch_status(name, json!({"pauseConditions": null})).await
    }

    pub(super) async fn promote_full(&self, name: &str) -> Result<()> {
        self.patch_status(name, json!({"promoteFull": true})).await
    }

    pub(super) async fn abort(&self, name: &str) -> Result<()> {
        self.patch_status(name, json!({"abort": true})).await
    }

    pub(super) async fn retry(&self, name: &str) -> Result<()> {
        self.patch_status(name, json!({"abort": false})).await
    }

    /// ReplicaSets of a Rollout.
    pub(super) async fn replica_sets(&self) -> Result<Vec<ReplicaSet>> {
        Ok(self.api::<ReplicaSet>().list(&ListParams::default()).await?.items)
    }

    /// Available pods of the version with this image.
    pub(super) async fn available(&self, image: &str) -> Result<i32> {
        let sets = self.replica_sets().await?;
        Ok(sets
            .iter()
            .filter(|set| image_of(set) == image)
            .map(|set| set.status.available_replicas)
            .sum())
    }

    /// Weight the canary Ingress gives to the canary; 0 without one.
    pub(super) async fn weight(&self, ingress: &str) -> Result<i32> {
        let Some(ingress) = self.api::<Ingress>().get_opt(ingress).await? else {
            return Ok(0);
        };
        let annotations = ingress.metadata.annotations.unwrap_or_default();
        if annotations
            .get("nginx.ingress.kubernetes.io/canary")
            .is_none_or(|canary| canary != "true")
        {
            return Ok(0);
        }
        let weight = annotations
            .get("nginx.ingress.kubernetes.io/canary-weight")
            .context("the canary Ingress has no weight")?;
        Ok(weight.parse()?)
    }

    /// Hash a Service selects.
    pub(super) async fn selected(&self, service: &str) -> Result<String> {
        let service = self.api::<Service>().get(service).await?;
        let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        Ok(selector.get(well_known::POD_TEMPLATE_HASH).cloned().unwrap_or_default())
    }

    /// Reasons of a Rollout's events, oldest first.
    pub(super) async fn event_reasons(&self, name: &str) -> Result<Vec<String>> {
        let about = ListParams::default().fields(&format!("involvedObject.kind=Rollout,involvedObject.name={name}"));
        let mut events = self.api::<Event>().list(&about).await?.items;
        // The name ends in a number made from the time, which is finer than the timestamps.
        events.sort_by_key(|event| event.metadata.name.clone());
        Ok(events.into_iter().filter_map(|event| event.reason).collect())
    }

    /// Waits until `probe` answers true.
    pub(super) async fn until(&self, what: &str, mut probe: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let found = eventually(PATIENCE, what, async || match probe().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("not so".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        });
        self.or_show(found.await).await
    }

    /// Adds what is in the namespace to an error.
    async fn or_show<T>(&self, found: Result<T>) -> Result<T> {
        let Err(error) = found else { return found };
        let namespace = self.namespace.as_str();
        let objects = [
            "get",
            "-n",
            namespace,
            "-o",
            "wide",
            "--show-labels",
            "rollouts,replicasets,pods,services,ingresses",
        ];
        let events = [
            "get",
            "-n",
            namespace,
            "--sort-by=.metadata.creationTimestamp",
            "events",
        ];
        let status = [
            "get",
            "-n",
            namespace,
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.status}{'\\n'}{end}",
            "rollouts",
        ];
        let mut shown = String::new();
        for command in [&objects[..], &events[..], &status[..]] {
            shown += &self
                .cluster
                .kubectl(command)
                .await
                .unwrap_or_else(|error| format!("{error:#}"));
            shown.push('\n');
        }
        Err(error.context(format!("\n{shown}")))
    }

    /// Checks that writing comes to an end: for three seconds no object has a new version. (The ingress controller
    /// writes status, too, a little later than everybody else.)
    pub(super) async fn at_rest(&self) -> Result<()> {
        let mut before = self.versions().await?;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let after = self.versions().await?;
            if before == after {
                return Ok(());
            }
            before = after;
        }
        bail!(
            "something is written again and again: {before:?}, then {:?}",
            self.versions().await?
        )
    }

    async fn versions(&self) -> Result<Vec<(String, String)>> {
        let mut versions = versions_of(&self.api::<Rollout>()).await?;
        versions.extend(versions_of(&self.api::<ReplicaSet>()).await?);
        versions.extend(versions_of(&self.api::<Service>()).await?);
        versions.extend(versions_of(&self.api::<Ingress>()).await?);
        Ok(versions)
    }

    /// Deletes an object.
    pub(super) async fn delete<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        self.api::<K>().delete(name, &DeleteParams::background()).await?;
        Ok(())
    }
}

async fn versions_of<K>(api: &Api<K>) -> Result<Vec<(String, String)>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let items = api.list(&ListParams::default()).await?.items;
    Ok(items
        .into_iter()
        .map(|item| {
            let meta = item.meta();
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            (
                format!("{} {}", K::kind(&()), text(&meta.name)),
                text(&meta.resource_version),
            )
        })
        .collect())
}

/// Image of a ReplicaSet's first container.
pub(super) fn image_of(set: &ReplicaSet) -> &str {
    set.spec
        .template
        .pointer("/spec/containers/0/image")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The shared cluster with our CustomResourceDefinitions.
pub(super) async fn cluster() -> Result<&'static Cluster> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = shared().await?;
    INSTALLED
        .get_or_try_init(async || {
            cluster
                .kubectl(&[
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    "-f",
                    crds().to_str().context("a path")?,
                ])
                .await?;
            let names: Vec<String> = crd::crds()
                .into_iter()
                .filter_map(|crd| crd.metadata.name)
                .map(|name| format!("crd/{name}"))
                .collect();
            let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
            wait.extend(names.iter().map(String::as_str));
            cluster.kubectl(&wait).await.map(drop)
        })
        .await?;
    Ok(cluster)
}

/// `TIDEGATE_E2E_LOG=tidegate=debug` shows why a controller does what it does.
fn log_level() -> String {
    std::env::var("TIDEGATE_E2E_LOG").unwrap_or_else(|_| "warn".to_owned())
}

fn crds() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

/// A Rollout `web` of `replicas` pods with these steps, in front of it two Services and an Ingress for nginx.
pub(super) fn nginx_canary(replicas: u32, image: &str, steps: &str) -> String {
    format!(
        r"
apiVersion: v1
kind: Service
metadata: {{name: web-stable}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web-canary}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  ingressClassName: nginx
  rules:
  - host: web.example
    http:
      paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web-stable, port: {{number: 80}}}}}}}}]
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: {replicas}
  revisionHistoryLimit: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: '{image}', ports: [{{containerPort: 8080}}]}}]}}
  strategy:
    canary:
      canaryService: web-canary
      stableService: web-stable
      abortScaleDownDelaySeconds: 2
      scaleDownDelaySeconds: 2
      trafficRouting: {{nginx: {{stableIngress: web}}}}
      steps: {steps}
"
    )
}

/// Name of the canary Ingress of `nginx_canary`.
pub(super) const CANARY_INGRESS: &str = "web-web-canary";

/// Fails with what was found, for a comparison inside an async block.
pub(super) fn same<T: Debug + PartialEq>(found: T, wanted: T, what: &str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    bail!("{what}: found {found:?}, expected {wanted:?}")
}
