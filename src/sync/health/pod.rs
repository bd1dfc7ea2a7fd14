//! v1 Pod.

use super::{Code, Health, conditions, count, is_hook};
use crate::json::At as _;
use crate::sync::resource::{annotation, text};
use serde_json::Value;

const IGNORE_RESTART_POLICY: &str = "argocd.argoproj.io/ignore-restart-policy";

pub(super) fn health(object: &Value) -> Health {
    let always = matches!(text(object, "/spec/restartPolicy"), "" | "Always");
    let judged_as_always = always || (annotation(object, IGNORE_RESTART_POLICY) == Some("true") && !is_hook(object));
    if judged_as_always {
        let broken: Vec<&str> = statuses(object, "/status/containerStatuses")
            .map(|status| {
                (
                    text(status, "/state/waiting/reason"),
                    text(status, "/state/waiting/message"),
                )
            })
            .filter(|(reason, _)| reason.starts_with("Err") || reason.ends_with("Error") || reason.ends_with("BackOff"))
            .map(|(_, message)| message)
            .collect();
        if !broken.is_empty() {
            return Health::new(Code::Degraded, broken.join(", "));
        }
    }
    let message = text(object, "/status/message");
    match text(object, "/status/phase") {
        "Pending" => Health::new(Code::Progressing, message),
        "Succeeded" => Health::new(Code::Healthy, message),
        "Failed" => failed(object),
        "Running" if always => {
            let ready = conditions(object).any(|(kind, status, _, _)| kind == "Ready" && status == "True");
            let ended = statuses(object, "/status/containerStatuses")
                .any(|status| status.at("/lastState/terminated").is_some());
            match (ready, ended) {
                (true, _) => Health::new(Code::Healthy, message),
                (false, true) => Health::new(Code::Degraded, message),
                (false, false) => Health::new(Code::Progressing, message),
            }
        }
        "Running" => Health::new(Code::Progressing, message),
        _ => Health::new(Code::Unknown, message),
    }
}

fn failed(object: &Value) -> Health {
    let message = text(object, "/status/message");
    if !message.is_empty() {
        return Health::new(Code::Degraded, message);
    }
    let cause = statuses(object, "/status/initContainerStatuses")
        .chain(statuses(object, "/status/containerStatuses"))
        .filter_map(|status| Some((status, status.at("/state/terminated")?)))
        .find_map(|(status, ended)| {
            let exit_code = count(ended, "/exitCode");
            let (said, reason) = (text(ended, "/message"), text(ended, "/reason"));
            if !said.is_empty() {
                Some(said.to_owned())
            } else if reason == "OOMKilled" {
                Some(reason.to_owned())
            } else if exit_code != 0 {
                Some(format!(
                    "container {:?} failed with exit code {exit_code}",
                    text(status, "/name")
                ))
            } else {
                None
            }
        });
    Health::new(Code::Degraded, cause.unwrap_or_default())
}

fn statuses<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.at(pointer).and_then(Value::as_array).into_iter().flatten()
}
