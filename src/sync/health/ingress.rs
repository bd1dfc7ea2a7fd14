//! Ingress of `extensions` and `networking.k8s.io`.

use super::{Code, Health};
use crate::json::At as _;
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    let published = object
        .at("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if published {
        Code::Healthy.into()
    } else {
        Code::Progressing.into()
    }
}
