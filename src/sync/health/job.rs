//! batch/v1 Job. A resumed Job keeps a `Suspended=False` condition; it still runs, so it does not count as healthy.

use super::{Code, Health, conditions};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    let mut verdict = Health::from(Code::Progressing);
    for (kind, status, _, message) in conditions(object) {
        match (kind, status) {
            ("Failed", _) => return Health::new(Code::Degraded, message),
            ("Suspended", "True") => verdict = Health::new(Code::Suspended, message),
            ("Complete", _) => verdict = Health::new(Code::Healthy, message),
            _ => {}
        }
    }
    verdict
}
