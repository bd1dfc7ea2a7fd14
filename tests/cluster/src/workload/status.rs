//! Builds the pod status a kubelet would write: strategic merge patches of the `status` subresource. Pure.

use std::{collections::BTreeMap, net::Ipv4Addr};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The IP every node has; all of the cluster is this machine.
const HOST_IP: &str = "127.0.0.1";

/// Longest `message` the API allows for a terminated container, in bytes (a kubelet keeps as much).
pub(super) const TERMINATION_MESSAGE_MAX: usize = 4_096;

/// What one container does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContainerState {
    /// Started; `ready` once it serves.
    Running { ready: bool },
    /// Ended with an error and waits to be started again.
    CrashLoop { exit_code: i32, back_off_seconds: u64 },
    /// Ended for good.
    Terminated {
        exit_code: i32,
        reason: &'static str,
        message: String,
    },
}

/// What a pod does now. Times are those a status shows, at second precision.
#[derive(Clone, Debug)]
pub(super) struct PodState {
    pub(super) ip: Ipv4Addr,
    pub(super) started_at: Timestamp,
    pub(super) restarts: u32,
    /// State of the containers by name; the others run and are ready.
    pub(super) containers: BTreeMap<String, ContainerState>,
    /// `Running`, `Succeeded` or `Failed`.
    pub(super) phase: &'static str,
    /// Why the pod failed, when not by its containers (`DeadlineExceeded`).
    pub(super) reason: Option<&'static str>,
}

/// The patch that makes a pod's status say so. It names the UID, so it never lands on a successor of the same name.
pub(super) fn patch(pod: &Pod, state: &PodState, now: Timestamp) -> Value {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| container_status(pod, container, state, now))
        .collect();
    let all_ready = statuses
        .iter()
        .all(|status| status.pointer("/ready") == Some(&Value::Bool(true)));
    let ended = state.phase != "Running";
    let not_ready = if ended { "PodCompleted" } else { "ContainersNotReady" };
    let gates_open = readiness_gates_open(pod);
    let inits = spec
        .and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default();
    let init_statuses: Vec<_> = inits
        .iter()
        .map(|container| init_status(pod, container, state))
        .collect();
    let initialized_reason = (state.phase == "Succeeded").then_some("PodCompleted");
    // A null leaves out what is not there: this is a patch.
    json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {
            "phase": state.phase,
            "reason": state.reason,
            "hostIP": HOST_IP,
            "hostIPs": [{"ip": HOST_IP}],
            "podIP": state.ip.to_string(),
            "podIPs": [{"ip": state.ip.to_string()}],
            "startTime": second(state.started_at),
            "conditions": [
                condition(pod, "PodScheduled", true, None, now),
                condition(pod, "PodReadyToStartContainers", !ended, None, now),
                condition(pod, "Initialized", true, initialized_reason, now),
                condition(pod, "ContainersReady", all_ready, (!all_ready).then_some(not_ready), now),
                condition(pod, "Ready", all_ready && gates_open, ready_reason(all_ready, gates_open, not_ready), now),
            ],
            "containerStatuses": statuses,
            "initContainerStatuses": (!init_statuses.is_empty()).then_some(init_statuses),
        },
    })
}

fn ready_reason(all_ready: bool, gates_open: bool, not_ready: &'static str) -> Option<&'static str> {
    match (all_ready, gates_open) {
        (false, _) => Some(not_ready),
        (true, false) => Some("ReadinessGatesNotReady"),
        (true, true) => None,
    }
}

/// Whether every condition named by `spec.readinessGates` is true.
pub(super) fn readiness_gates_open(pod: &Pod) -> bool {
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.readiness_gates.as_deref())
        .unwrap_or_default();
    gates
        .iter()
        .all(|gate| condition_status(pod, &gate.condition_type).is_some_and(|(status, _)| status == "True"))
}

/// Whether the status as last read says ready.
pub(super) fn shows_ready(pod: &Pod) -> bool {
    condition_status(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

/// Status and transition time of a condition in the status as last read.
fn condition_status<'a>(pod: &'a Pod, name: &str) -> Option<(&'a str, Option<Timestamp>)> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == name)?;
    Some((
        &condition.status,
        condition.last_transition_time.as_ref().map(|time| time.0),
    ))
}

fn condition(pod: &Pod, name: &str, holds: bool, reason: Option<&str>, now: Timestamp) -> Value {
    let status = if holds { "True" } else { "False" };
    let unchanged_since = condition_status(pod, name)
        .filter(|(before, _)| *before == status)
        .and_then(|(_, since)| since);
    json!({
        "type": name,
        "status": status,
        "lastProbeTime": null,
        "lastTransitionTime": second(unchanged_since.unwrap_or(now)),
        "reason": reason,
    })
}

fn container_status(pod: &Pod, container: &Container, state: &PodState, now: Timestamp) -> Value {
    let running = ContainerState::Running { ready: true };
    let container_state = state.containers.get(&container.name).unwrap_or(&running);
    let started_at = second(state.started_at);
    let id = container_id(pod, container, state.restarts);
    let terminated = |exit_code: i32, reason: &str, message: &str| {
        json!({"terminated": {
            "exitCode": exit_code, "reason": reason, "message": (!message.is_empty()).then_some(message),
            "startedAt": started_at, "finishedAt": second(now), "containerID": id,
        }})
    };
    let (current, last) = match container_state {
        ContainerState::Running { .. } => {
            let last = if state.restarts > 0 {
                terminated(1, "Error", "")
            } else {
                json!({})
            };
            (json!({"running": {"startedAt": started_at}}), last)
        }
        ContainerState::CrashLoop {
            exit_code,
            back_off_seconds,
        } => {
            let message = format!(
                "back-off {back_off_seconds}s restarting failed container={}",
                container.name
            );
            let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
            (waiting, terminated(*exit_code, "Error", ""))
        }
        ContainerState::Terminated {
            exit_code,
            reason,
            message,
        } => (terminated(*exit_code, reason, message), json!({})),
    };
    // The list is replaced as a whole, so a state that no longer holds needs no null.
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": image_id(container),
        "containerID": id,
        "ready": *container_state == ContainerState::Running { ready: true },
        "started": matches!(container_state, ContainerState::Running { .. }),
        "restartCount": state.restarts,
        "state": current,
        "lastState": last,
    })
}

/// Init containers do nothing here: ordinary ones have ended, sidecars (`restartPolicy: Always`) run.
fn init_status(pod: &Pod, container: &Container, state: &PodState) -> Value {
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    let started_at = second(state.started_at);
    let id = container_id(pod, container, 0);
    let current = if sidecar && state.phase == "Running" {
        json!({"running": {"startedAt": started_at}})
    } else {
        json!({"terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": started_at, "finishedAt": started_at, "containerID": id,
        }})
    };
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": image_id(container),
        "containerID": id,
        "ready": true,
        "started": sidecar,
        "restartCount": 0,
        "state": current,
        "lastState": {},
    })
}

fn image_id(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    format!("{image}@sha256:{}", hex(&Sha256::digest(image.as_bytes())))
}

fn container_id(pod: &Pod, container: &Container, restarts: u32) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    format!(
        "loopback://{}",
        hex(&Sha256::digest(format!("{uid}/{}/{restarts}", container.name)))
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
