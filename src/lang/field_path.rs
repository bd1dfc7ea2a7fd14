//! Paths into an object, for arguments with `valueFrom.fieldRef` (reference, rollouts 1.6).

use serde_json::Value;

/// The value at a path such as `metadata.labels['team']`, `spec.replicas` or `status.albs[0].canaryTargetGroup.name`.
/// `owner` is what messages call the object.
///
/// # Errors
/// One sentence naming the path, when it leads nowhere or to something that is not a text, number or boolean.
pub fn text(object: &Value, owner: &str, path: &str) -> Result<String, String> {
    let mut at = object;
    for segment in segments(path).ok_or_else(|| format!("invalid path {path} in {owner}"))? {
        at = match (at, &segment) {
            (Value::Object(members), Segment::Key(key)) => members
                .get(key)
                .ok_or_else(|| format!("invalid path {path} in {owner}"))?,
            (Value::Array(items), Segment::Index(index)) => {
                items.get(*index).ok_or_else(|| format!("index {index} out of range"))?
            }
            _ => return Err(format!("invalid path {path} in {owner}")),
        };
    }
    match at {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("path {path} in {owner} must terminate in a primitive value"))
        }
    }
}

enum Segment {
    Key(String),
    Index(usize),
}

fn segments(path: &str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("['") {
            let (key, after) = quoted.split_once("']")?;
            segments.push(Segment::Key(key.to_owned()));
            rest = after;
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']')?;
            segments.push(Segment::Index(index.parse().ok()?));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            if key.is_empty() {
                return None;
            }
            segments.push(Segment::Key(key.to_owned()));
            rest = after;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    (!segments.is_empty()).then_some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_primitives() {
        let object = json!({
            "metadata": {"name": "web", "labels": {"app.kubernetes.io/team": "a"}},
            "spec": {"replicas": 3, "template": {"list": [{"x": "y"}]}},
        });
        for (path, want) in [
            ("metadata.labels['app.kubernetes.io/team']", Ok("a")),
            ("spec.replicas", Ok("3")),
            ("spec.template.list[0].x", Ok("y")),
            ("spec.template.list[1].x", Err("index 1 out of range")),
            ("spec.nothing", Err("invalid path spec.nothing in rollout")),
            (
                "spec.template",
                Err("path spec.template in rollout must terminate in a primitive value"),
            ),
            ("..", Err("invalid path .. in rollout")),
        ] {
            assert_eq!(
                text(&object, "rollout", path).as_deref().map_err(String::as_str),
                want,
                "{path}"
            );
        }
    }
}
