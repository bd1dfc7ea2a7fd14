//! What a Rollout does beside its steps, on a real cluster: restarts, metadata of roles, experiments, workload references,
//! and the admission webhook.

use super::harness::{World, same, serve};
use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, apps::v1::Deployment, core::v1::Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, net::TcpListener};
use tidegate::api::experiment::Experiment;

/// A Rollout `web` without a router.
fn rollout(replicas: u32, strategy: &str) -> String {
    format!(
        r"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: 'demo:v1', ports: [{{containerPort: 8080}}]}}]}}
  strategy: {{canary: {strategy}}}
"
    )
}

/// Uid and labels of the pods that are to stay, by name.
async fn pods(world: &World) -> Result<BTreeMap<String, (String, BTreeMap<String, String>)>> {
    let pods = world.api::<Pod>().list(&ListParams::default()).await?.items;
    let staying = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying
        .map(|pod| {
            let uid = pod.metadata.uid.context("no uid")?;
            let labels = pod.metadata.labels.unwrap_or_default();
            Ok((pod.metadata.name.context("no name")?, (uid, labels)))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_makes_every_pod_anew_and_keeps_the_others_meanwhile() -> Result<()> {
    let world = World::new("restart").await?;
    world.apply(&rollout(3, "{maxUnavailable: 1}")).await?;
    world.healthy("web").await?;
    let before = pods(&world).await?;
    same(before.len(), 3, "pods")?;
    // Times on the wire have whole seconds: pods of this very second are no older than it.
    let at = Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let at = at.strftime("%FT%TZ").to_string();
    world.patch("web", json!({"spec": {"restartAt": at}})).await?;
    world
        .until("every pod is a new one", async || {
            let available = world.available("demo:v1").await?;
            ensure!(available >= 2, "only {available} of 3 pods are available");
            let now = pods(&world).await?;
            Ok(now.len() == 3 && available == 3 && before.keys().all(|name| !now.contains_key(name)))
        })
        .await?;
    let rollout = world.healthy("web").await?;
    let status = serde_json::to_value(&rollout.status)?;
    same(status["restartedAt"].as_str(), Some(at.as_str()), "restartedAt")?;
    same(world.replica_sets().await?.len(), 1, "a restart is no revision")?;
    world.at_rest().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_labelled_by_their_role_and_stay() -> Result<()> {
    let world = World::new("roles").await?;
    let strategy = "{canaryMetadata: {labels: {role: canary}}, stableMetadata: {labels: {role: stable}}, steps: [{setWeight: 50}, {pause: {}}]}";
    world.apply(&rollout(2, strategy)).await?;
    world.healthy("web").await?;
    let roles = async |world: &World| -> Result<Vec<String>> {
        let pods = pods(world).await?.into_values();
        let mut roles: Vec<String> = pods
            .map(|(_, labels)| labels.get("role").cloned().unwrap_or_default())
            .collect();
        roles.sort_unstable();
        Ok(roles)
    };
    same(roles(&world).await?, vec!["stable".to_owned(); 2], "roles")?;
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 1).await?;
    let during = pods(&world).await?;
    let canary = |pods: &BTreeMap<String, (String, BTreeMap<String, String>)>| {
        let mut uids = pods.values();
        let found = uids.find(|(_, labels)| labels.get("role").is_some_and(|role| role == "canary"));
        found.map(|(uid, _)| uid.clone())
    };
    let uid = canary(&during).context("no pod has the canary's label")?;
    world.promote("web").await?;
    world.healthy("web").await?;
    world
        .until("the canary's pods are the stable ones", async || {
            Ok(roles(&world).await? == ["stable", "stable"])
        })
        .await?;
    let stays = pods(&world).await?.values().any(|(now, _)| *now == uid);
    ensure!(stays, "the canary's pod was replaced when its role changed");
    same(world.replica_sets().await?.len(), 2, "metadata is no revision")?;
    world.at_rest().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_runs_beside_both_versions_and_opens_its_step() -> Result<()> {
    let world = World::new("experiment").await?;
    let templates = "[{name: baseline, specRef: stable}, {name: trial, specRef: canary, service: {}}]";
    let steps =
        format!("{{steps: [{{experiment: {{duration: 5s, scaleDownDelaySeconds: 1, templates: {templates}}}}}]}}");
    world.apply(&rollout(1, &steps)).await?;
    world.healthy("web").await?;
    world.set_image("web", "demo:v2").await?;
    let experiments = world.api::<Experiment>();
    let only = async || -> Result<Option<Value>> {
        let mut all = experiments.list(&ListParams::default()).await?.items;
        ensure!(all.len() <= 1, "more than one experiment: {all:?}");
        Ok(all.pop().map(serde_json::to_value).transpose()?)
    };
    world
        .until("both templates run", async || {
            let Some(found) = only().await? else { return Ok(false) };
            let templates = found["status"]["templateStatuses"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            Ok(templates.len() == 2 && templates.iter().all(|template| template["status"] == "Running"))
        })
        .await?;
    let status = world.rollout("web").await?.status.context("no status")?;
    same(status.current_step_index, Some(0), "step while the experiment runs")?;
    world.healthy("web").await?;
    let status = world.rollout("web").await?.status.context("no status")?;
    same(status.stable_rs, status.current_pod_hash, "the version is promoted")?;
    let found = only().await?.context("the experiment is gone")?;
    same(found["status"]["phase"].as_str(), Some("Successful"), "phase")?;
    world
        .until("only the Rollout's own pod is left", async || {
            Ok(pods(&world).await?.len() == 1 && world.available("demo:v2").await? == 1)
        })
        .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_hands_its_pods_over_and_gets_them_back() -> Result<()> {
    let world = World::new("workload").await?;
    let deployment = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'demo:v1', ports: [{containerPort: 8080}]}]}
";
    world.apply(deployment).await?;
    let deployments = world.api::<Deployment>();
    let size = async || -> Result<(i32, i32)> {
        let found = deployments.get("shop").await?;
        let available = found.status.and_then(|status| status.available_replicas).unwrap_or(0);
        Ok((found.spec.and_then(|spec| spec.replicas).unwrap_or(1), available))
    };
    world
        .until("the Deployment has its pods", async || Ok(size().await? == (3, 3)))
        .await?;
    let rollout = "
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 3
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: shop, scaleDown: progressively}
  strategy: {canary: {maxUnavailable: 1, steps: [{setWeight: 40}, {pause: {}}]}}
";
    world.apply(rollout).await?;
    world
        .until("the pods are the Rollout's", async || {
            let (wanted, available) = size().await?;
            let ours: i32 = world
                .replica_sets()
                .await?
                .iter()
                .map(|set| set.status.available_replicas)
                .sum();
            // The Deployment's own ReplicaSet is among them.
            ensure!(ours >= 2, "only {ours} pods are available");
            Ok(wanted == 0 && available == 0 && ours == 3)
        })
        .await?;
    world.healthy("web").await?;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "demo:v2"}]}}}});
    deployments
        .patch("shop", &PatchParams::default(), &Patch::Strategic(image))
        .await?;
    world.paused_at("web", 1).await?;
    same(size().await?.0, 0, "the Deployment's size in an update")?;
    world.promote("web").await?;
    world.healthy("web").await?;
    world
        .patch("web", json!({"spec": {"workloadRef": {"scaleDown": "never"}}}))
        .await?;
    world
        .until("the Deployment has its pods back", async || Ok(size().await? == (3, 3)))
        .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_refuses_what_the_webhook_refuses() -> Result<()> {
    let mut world = World::without_controller("admission").await?;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("tls.crt"), cert.pem())?;
    fs::write(folder.path().join("tls.key"), signing_key.serialize_pem())?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut flags = world.controller_flags();
    flags.push(format!("--admission-webhook={address}"));
    flags.push(format!("--admission-webhook-cert-dir={}", folder.path().display()));
    let running = serve(world.cluster, flags).await?;
    let configuration: ValidatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": world.namespace},
        "webhooks": [{
            "name": "validate.rollouts.tidegate", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 10,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
            "clientConfig": {"url": format!("https://{address}/validate"), "caBundle": ByteString(cert.pem().into_bytes())},
            "rules": [{"apiGroups": ["argoproj.io"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["rollouts", "experiments", "analysistemplates"]}],
        }],
    }))?;
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    configurations.create(&PostParams::default(), &configuration).await?;
    let wrong = rollout(1, "{steps: [{setWeight: 150}, {pause: {duration: soon}}]}");
    let mut refusal = String::new();
    world
        .until("the webhook is asked", async || {
            let Err(error) = world.apply(&wrong).await else {
                world.delete::<tidegate::api::rollout::Rollout>("web").await?;
                bail!("it was accepted");
            };
            refusal = format!("{error:#}");
            // The API server itself would say so in other words: its definition knows no such limits.
            let is_asked = refusal.contains("The Rollout \"web\" is invalid") && !refusal.contains("failed calling");
            ensure!(is_asked, "{refusal}");
            Ok(true)
        })
        .await?;
    for field in ["steps[0].setWeight", "steps[1].pause.duration"] {
        ensure!(refusal.contains(field), "{field} is not named: {refusal}");
    }
    world.apply(&rollout(1, "{steps: [{setWeight: 50}]}")).await?;
    world.healthy("web").await?;
    configurations
        .delete(&world.namespace, &DeleteParams::default())
        .await?;
    running.stop().await?;
    world.stop().await?;
    world.end().await
}
