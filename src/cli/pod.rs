//! The one word kubectl shows for a pod. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::style::{Icon, clean};

/// The status of a pod and its icon: the reason of the container that matters most, else the phase.
pub(crate) fn status(pod: &Pod) -> (Icon, String) {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    let reason = status.and_then(|status| status.reason.as_deref());
    let word = if pod.metadata.deletion_timestamp.is_some() {
        if reason == Some("NodeLost") {
            "Unknown".to_owned()
        } else {
            "Terminating".to_owned()
        }
    } else {
        initial(pod)
            .or_else(|| main(pod))
            .unwrap_or_else(|| reason.unwrap_or(phase).to_owned())
    };
    let word = clean(&word);
    (icon(&word), word)
}

/// `Init:…` while an initial container has not finished.
fn initial(pod: &Pod) -> Option<String> {
    let statuses = pod
        .status
        .as_ref()?
        .init_container_statuses
        .as_deref()
        .unwrap_or_default();
    for (index, container) in statuses.iter().enumerate() {
        let state = container.state.clone().unwrap_or_default();
        if let Some(terminated) = state.terminated {
            if terminated.exit_code == 0 {
                continue;
            }
            let reason = terminated.reason.filter(|reason| !reason.is_empty());
            return Some(format!(
                "Init:{}",
                reason.unwrap_or_else(|| format!("ExitCode:{}", terminated.exit_code))
            ));
        }
        if container.started == Some(true) && container.ready {
            // A sidecar.
            continue;
        }
        return Some(match state.waiting.and_then(|waiting| waiting.reason) {
            Some(reason) if reason != "PodInitializing" => format!("Init:{reason}"),
            _ => format!("Init:{index}/{}", statuses.len()),
        });
    }
    None
}

/// The first container with a reason decides, as in kubectl.
fn main(pod: &Pod) -> Option<String> {
    let statuses = containers(pod);
    let reason = |container: &ContainerStatus| {
        let state = container.state.clone().unwrap_or_default();
        if let Some(reason) = state.waiting.and_then(|waiting| waiting.reason) {
            return Some(reason);
        }
        let terminated = state.terminated?;
        let reason = terminated.reason.filter(|reason| !reason.is_empty());
        Some(reason.unwrap_or_else(|| format!("ExitCode:{}", terminated.exit_code)))
    };
    let found = statuses.iter().find_map(reason)?;
    let running = statuses.iter().any(|container| container.ready);
    // A finished container beside a running one does not make the pod finished.
    if found == "Completed" && running {
        Some("Running".to_owned())
    } else {
        Some(found)
    }
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default()
}

/// `ready:1/2,restarts:3`.
pub(crate) fn readiness(pod: &Pod) -> String {
    let statuses = containers(pod);
    let total = pod.spec.as_ref().map_or(statuses.len(), |spec| spec.containers.len());
    let ready = statuses.iter().filter(|container| container.ready).count();
    let restarts: i32 = statuses.iter().map(|container| container.restart_count).sum();
    if restarts > 0 {
        format!("ready:{ready}/{total},restarts:{restarts}")
    } else {
        format!("ready:{ready}/{total}")
    }
}

fn icon(word: &str) -> Icon {
    match word {
        "Running" | "Completed" | "Succeeded" => Icon::Ok,
        "Pending" | "Terminating" | "ContainerCreating" | "PodInitializing" | "SchedulingGated" => Icon::Progressing,
        "Failed" | "OOMKilled" | "Evicted" | "ContainerCannotRun" => Icon::Bad,
        _ if word.contains("BackOff") || word.contains("Err") || word.contains("Invalid") => Icon::Warning,
        _ if word.contains("ExitCode") || word.contains("CannotRun") => Icon::Bad,
        _ if word.starts_with("Init:") => Icon::Progressing,
        _ => Icon::Unknown,
    }
}
