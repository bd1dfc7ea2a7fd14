//! The few checks of the server itself. The rest is for the world to add, by `SimApi::admit`.

use super::{
    kinds::{Key, Kind},
    refusal::{Refused, invalid},
    state::meta,
};
use crate::json::At as _;
use serde_json::Value;

/// Longest `metadata.name`, as a DNS subdomain.
const NAME_BYTES_MAX: usize = 253;

pub(super) fn validate(key: &Key, old: Option<&Value>, new: &Value) -> Result<(), Refused> {
    let mut causes: Vec<(&str, String)> = Vec::new();
    if old.is_none() {
        let name = meta(new, "name");
        if !is_subdomain(name) {
            let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
            causes.push(("metadata.name", format!("Invalid value: \"{name}\": {rule}")));
        }
    }
    if matches!(key.kind, Kind::ReplicaSet | Kind::Deployment) {
        workload(old, new, &mut causes);
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(invalid(key, &causes))
}

fn workload(old: Option<&Value>, new: &Value, causes: &mut Vec<(&str, String)>) {
    let selector = new.at("/spec/selector");
    match old {
        Some(old) if old.at("/spec/selector") != selector => {
            let shown = selector.map(Value::to_string).unwrap_or_default();
            causes.push(("spec.selector", format!("Invalid value: {shown}: field is immutable")));
        }
        _ => {}
    }
    let wanted = selector
        .and_then(|selector| selector.get("matchLabels"))
        .and_then(Value::as_object);
    let labels = new.at("/spec/template/metadata/labels");
    let is_selected = wanted
        .into_iter()
        .flatten()
        .all(|(label, value)| labels.and_then(|labels| labels.get(label)) == Some(value));
    if selector.is_none() {
        causes.push(("spec.selector", "Required value".to_owned()));
    } else if !is_selected {
        let shown = labels.map(Value::to_string).unwrap_or_default();
        let message = format!("Invalid value: {shown}: `selector` does not match template `labels`");
        causes.push(("spec.template.metadata.labels", message));
    }
    if new
        .at("/spec/replicas")
        .and_then(Value::as_i64)
        .is_some_and(|replicas| replicas < 0)
    {
        let message = "Invalid value: must be greater than or equal to 0";
        causes.push(("spec.replicas", message.to_owned()));
    }
}

fn is_subdomain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().last()];
    name.len() <= NAME_BYTES_MAX
        && ends.into_iter().all(|end| end.is_some_and(plain))
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'.'))
}
