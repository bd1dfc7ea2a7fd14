//! argoproj.io Application as a member of another one: its own health, once its status describes its present source
//! and no operation is about to change it.

use super::{Code, Health};
use crate::{json::At as _, sync::resource::text};
use serde_json::Value;

pub(super) fn health(object: &Value) -> Health {
    let code = match text(object, "/status/health/status") {
        "" => return Health::new(Code::Progressing, "waiting for the application to be compared"),
        name => Code::parse(name).unwrap_or_default(),
    };
    let same = |wanted: &str, compared: &str| {
        let (a, b) = (object.at(wanted), object.at(compared));
        a.is_none() || b.is_none() || a == b
    };
    if !same("/spec/source", "/status/sync/comparedTo/source")
        || !same("/spec/sources", "/status/sync/comparedTo/sources")
    {
        return Health::new(
            Code::Progressing,
            "waiting for the application's new source to be compared",
        );
    }
    let operating = object.get("operation").is_some_and(|operation| !operation.is_null())
        || matches!(text(object, "/status/operationState/phase"), "Running" | "Terminating");
    if operating && code < Code::Progressing {
        return Health::new(Code::Progressing, text(object, "/status/operationState/message"));
    }
    Health::new(code, text(object, "/status/health/message"))
}
