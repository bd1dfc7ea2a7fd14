//! CustomResourceDefinition: objects of its kind can be created once it is established.

use super::{Code, Health, conditions};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    let refused = conditions(object).find(|(kind, status, ..)| *kind == "NamesAccepted" && *status == "False");
    if let Some((_, _, _, message)) = refused {
        return Health::new(Code::Degraded, format!("CRD names have not been accepted: {message}"));
    }
    if conditions(object).any(|(kind, status, ..)| kind == "Established" && status == "True") {
        Health::new(Code::Healthy, "CRD is healthy")
    } else {
        Health::new(Code::Progressing, "CRD is not established")
    }
}
