//! APIService.

use super::{Code, Health, conditions};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    match conditions(object).find(|(kind, ..)| *kind == "Available") {
        Some((_, "True", reason, message)) => Health::new(Code::Healthy, format!("{reason}: {message}")),
        Some((_, _, reason, message)) => Health::new(Code::Progressing, format!("{reason}: {message}")),
        None => Health::new(Code::Progressing, "Waiting to be processed"),
    }
}
