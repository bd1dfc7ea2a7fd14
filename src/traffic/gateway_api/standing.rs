//! What the controllers of the Gateways say about a route: whether they follow what it says now.

use crate::{json::At as _, traffic::foreign::Foreign};
use serde_json::Value;

/// Why the data plane is known not to follow a route's present generation; `None` when it does, or when nobody reports.
///
/// A parent that does not accept the route sends it no requests, so it holds up nothing while another parent does.
pub(super) fn lag(live: &Foreign<'_>) -> Option<String> {
    let parents = live.object.data.at("/status/parents").and_then(Value::as_array)?;
    let generation = live.object.metadata.generation?;
    let mut refused = None;
    let mut accepted = false;
    for parent in parents {
        let who = parent
            .get("controllerName")
            .and_then(Value::as_str)
            .unwrap_or("a controller");
        let about = |what: &str| format!("{} \"{}\": {who} {what}", live.kind, live.name());
        let Some(acceptance) = condition(parent, "Accepted") else {
            continue;
        };
        if observed(acceptance).is_some_and(|observed| observed < generation) {
            return Some(about(&format!("has not taken up generation {generation} yet")));
        }
        if !is_true(acceptance) {
            refused = refused.or_else(|| Some(about(&format!("does not accept it: {}", message(acceptance)))));
            continue;
        }
        accepted = true;
        let unresolved = condition(parent, "ResolvedRefs").filter(|resolved| !is_true(resolved));
        if let Some(unresolved) = unresolved {
            return Some(about(&format!("cannot follow its references: {}", message(unresolved))));
        }
    }
    refused.filter(|_| !accepted)
}

fn condition<'a>(parent: &'a Value, wanted: &str) -> Option<&'a Value> {
    let conditions = parent.get("conditions").and_then(Value::as_array)?;
    let mut conditions = conditions.iter();
    conditions.find(|condition| condition.get("type").and_then(Value::as_str) == Some(wanted))
}

fn observed(condition: &Value) -> Option<i64> {
    condition.get("observedGeneration").and_then(Value::as_i64)
}

fn is_true(condition: &Value) -> bool {
    condition.get("status").and_then(Value::as_str) == Some("True")
}

fn message(condition: &Value) -> String {
    let text = |field: &str| {
        condition
            .get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    text("message")
        .or_else(|| text("reason"))
        .unwrap_or("no reason given")
        .to_owned()
}
