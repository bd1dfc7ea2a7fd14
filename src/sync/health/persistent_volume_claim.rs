//! v1 PersistentVolumeClaim.

use super::{Code, Health};
use crate::sync::resource::text;
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Lost" => Code::Degraded,
        "Pending" => Code::Progressing,
        "Bound" => Code::Healthy,
        _ => Code::Unknown,
    }
    .into()
}
