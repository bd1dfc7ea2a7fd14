//! argoproj.io Workflow.

use super::{Code, Health};
use crate::sync::resource::text;
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    let message = text(object, "/status/message");
    let code = match text(object, "/status/phase") {
        "" | "Pending" | "Running" => Code::Progressing,
        "Succeeded" => Code::Healthy,
        "Failed" | "Error" => Code::Degraded,
        _ => Code::Unknown,
    };
    Health::new(code, message)
}
