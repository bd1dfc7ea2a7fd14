//! v1 Service.

use super::{Code, Health};
use crate::{json::At as _, sync::resource::text};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    let published = object
        .at("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if text(object, "/spec/type") == "LoadBalancer" && !published {
        return Code::Progressing.into();
    }
    Code::Healthy.into()
}
