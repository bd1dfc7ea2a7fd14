//! The cluster's nodes: objects that KWOK keeps Ready. Pods on them are [`crate::workload`]'s business; KWOK is told to leave them alone.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    binaries::Binaries,
    poll::eventually,
    process::{Program, Running},
};

/// Enough for anti-affinity and topology spread to have something to choose from.
pub(super) const NODES: u8 = 4;

/// The label by which KWOK knows its nodes.
const LABEL: &str = "kwok.x-k8s.io/node";

/// Starts KWOK with stages for nodes only.
///
/// # Errors
/// When its configuration cannot be written or it cannot be started.
pub(super) fn start_kwok(binaries: &Binaries, dir: &Path, kubeconfig: &Path) -> Result<Running> {
    let config = dir.join("kwok.yaml");
    let documents: Vec<String> = stages().iter().map(Value::to_string).collect();
    std::fs::write(&config, documents.join("\n---\n")).with_context(|| format!("cannot write {}", config.display()))?;
    Program::new("kwok", &binaries.kwok, dir)
        .arguments([
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--manage-nodes-with-label-selector={LABEL}"),
            "--node-lease-duration-seconds=40".to_owned(),
            "--node-ip=127.0.0.1".to_owned(),
        ])
        .start()
}

/// How a node becomes Ready, and a stage for pods that matches none: without any stage for pods KWOK would bring its own and run them.
fn stages() -> [Value; 3] {
    let condition = |kind: &str, status: &str, reason: &str| {
        format!(
            "- {{type: {kind}, status: \"{status}\", reason: {reason}, message: \"\", lastHeartbeatTime: {{{{ $now | Quote }}}}, lastTransitionTime: {{{{ $now | Quote }}}}}}"
        )
    };
    let conditions = [
        condition("Ready", "True", "KubeletReady"),
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID"),
    ]
    .join("\n");
    let stage = |name: &str, kind: &str, selector: Value, template: &str| {
        json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "Stage",
            "metadata": { "name": name },
            "spec": {
                "resourceRef": { "apiGroup": "v1", "kind": kind },
                "selector": selector,
                "next": { "statusTemplate": template },
            },
        })
    };
    let not_ready = json!({ "matchExpressions": [
        { "key": ".status.conditions.[] | select( .type == \"Ready\" ) | .status", "operator": "NotIn", "values": ["True"] },
    ] });
    let never = json!({ "matchLabels": { "tidegate.dev/run-by-kwok": "never" } });
    let ready = format!("{{{{ $now := Now }}}}\nphase: Running\nconditions:\n{conditions}\n");
    let mut heartbeat = stage(
        "node-heartbeat",
        "Node",
        json!({ "matchExpressions": [
        { "key": ".status.conditions.[] | select( .type == \"Ready\" ) | .status", "operator": "In", "values": ["True"] },
    ] }),
        &ready,
    );
    // The Lease is the heartbeat; this only keeps the conditions' times from looking dead.
    if let Some(spec) = heartbeat.get_mut("spec") {
        spec["delay"] = json!({ "durationMilliseconds": 600_000 });
    }
    [
        stage("node-initialize", "Node", not_ready, &ready),
        heartbeat,
        stage("pod-never", "Pod", never, "phase: Running\n"),
    ]
}

/// Creates the nodes; KWOK makes them Ready.
///
/// # Errors
/// When the API server refuses one.
pub(super) async fn create(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 0..NODES {
        let node = serde_json::from_value(node(number))?;
        nodes
            .create(&PostParams::default(), &node)
            .await
            .with_context(|| format!("cannot create node {number}"))?;
    }
    Ok(())
}

fn node(number: u8) -> Value {
    let name = format!("node-{number}");
    let zone = format!("zone-{}", number % 2);
    let labels = BTreeMap::from([
        (LABEL, "fake"),
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("topology.kubernetes.io/region", "local"),
        ("topology.kubernetes.io/zone", zone.as_str()),
    ]);
    let resources = json!({ "cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "1000" });
    json!({
        "metadata": { "name": name, "labels": labels },
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }, { "type": "Hostname", "address": name }],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
                "bootID": "", "machineID": "", "systemUUID": "", "kernelVersion": "", "osImage": "tidegate-cluster",
                "containerRuntimeVersion": "tidegate-cluster://1",
            },
        },
    })
}

/// Waits until every node takes pods: Ready, and the taint that says otherwise removed.
///
/// # Errors
/// When that takes longer than `deadline`.
pub(super) async fn ready(client: &Client, deadline: Duration) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    eventually(deadline, "every node takes pods", async || {
        let list = nodes
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let waiting: Vec<String> = list
            .items
            .iter()
            .filter(|node| !takes_pods(node))
            .map(describe)
            .collect();
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(waiting.join("; "))
        }
    })
    .await
}

fn takes_pods(node: &Node) -> bool {
    let ready = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    ready
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.as_ref())
            .is_none_or(Vec::is_empty)
}

fn describe(node: &Node) -> String {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let taints: Vec<&str> = taints.map(|taint| taint.key.as_str()).collect();
    format!("{name} is not Ready or has taints {taints:?}")
}

/// Shows that the scheduler works: a pod gets a node. The pod is gone afterwards.
///
/// # Errors
/// When that takes longer than `deadline`.
pub(super) async fn pods_get_scheduled(client: &Client, deadline: Duration) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let probe: Pod = serde_json::from_value(json!({
        "metadata": { "name": "scheduling-probe" },
        "spec": { "automountServiceAccountToken": false, "containers": [{ "name": "probe", "image": "demo:probe" }] },
    }))?;
    // Admission refuses pods until the controller manager has made the namespace's ServiceAccount.
    eventually(deadline, "a pod can be created", async || {
        pods.create(&PostParams::default(), &probe)
            .await
            .map_err(|error| error.to_string())
    })
    .await?;
    let node = eventually(deadline, "a pod gets a node", async || {
        let pod = pods.get("scheduling-probe").await.map_err(|error| error.to_string())?;
        pod.spec
            .and_then(|spec| spec.node_name)
            .ok_or_else(|| "the pod has no node".to_owned())
    })
    .await;
    pods.delete("scheduling-probe", &DeleteParams::default().grace_period(0))
        .await?;
    node.map(drop)
}
