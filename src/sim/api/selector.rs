//! Label and field selectors, as they stand in the query of a list or a watch.

use super::{
    kinds::Kind,
    refusal::{Refused, bad_request},
};
use crate::json::At as _;
use serde_json::Value;

/// A label selector; the default selects everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Labels(Vec<Requirement>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Labels {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let requirements = split_outside_parentheses(text)
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(requirement);
        requirements.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
        let value = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, wanted) => value(key).is_some_and(|found| wanted.iter().any(|one| one == found)),
            Requirement::NotIn(key, unwanted) => value(key).is_none_or(|found| unwanted.iter().all(|one| one != found)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

fn requirement(part: &str) -> Result<Requirement, Refused> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(label_key(key, part)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(label_key(key, part)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(label_key(key, part)?, vec![value.trim().to_owned()]));
    }
    let set = |values: &str| -> Result<Vec<String>, Refused> {
        let inside = values.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let inside = inside.ok_or_else(|| unreadable(part))?;
        Ok(inside.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((key, values)) = part.split_once(" notin ") {
        return Ok(Requirement::NotIn(label_key(key, part)?, set(values)?));
    }
    if let Some((key, values)) = part.split_once(" in ") {
        return Ok(Requirement::In(label_key(key, part)?, set(values)?));
    }
    Ok(Requirement::Exists(label_key(part, part)?))
}

fn label_key(key: &str, part: &str) -> Result<String, Refused> {
    let key = key.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if key.is_empty() || !key.chars().all(is_plain) {
        return Err(unreadable(part));
    }
    Ok(key.to_owned())
}

fn unreadable(part: &str) -> Refused {
    bad_request(format!("unable to parse requirement: found '{part}'"))
}

/// A field selector; the default selects everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Fields(Vec<(String, bool, String)>);

impl Fields {
    /// Reads `metadata.name=a,status.phase!=b`; a field the kind cannot be selected by is refused.
    pub(super) fn parse(kind: Kind, text: &str) -> Result<Self, Refused> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (path, equals, value) = match part.split_once("!=") {
                Some((path, value)) => (path, false, value),
                None => {
                    let term = part.split_once("==").or_else(|| part.split_once('='));
                    let (path, value) =
                        term.ok_or_else(|| bad_request(format!("invalid selector: '{part}'; can't understand it")))?;
                    (path, true, value)
                }
            };
            if !is_selectable(kind, path) {
                return Err(bad_request(format!("field label not supported: {path}")));
            }
            terms.push((format!("/{}", path.replace('.', "/")), equals, value.to_owned()));
        }
        Ok(Self(terms))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, equals, wanted)| {
            let found = match object.at(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            (found == *wanted) == *equals
        })
    }
}

/// What the real server lets objects be selected by.
fn is_selectable(kind: Kind, path: &str) -> bool {
    let more: &[&str] = match kind {
        Kind::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        Kind::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Kind::Secret => &["type"],
        Kind::Namespace => &["status.phase"],
        Kind::ReplicaSet => &["status.replicas"],
        Kind::Job => &["status.successful"],
        Kind::Service => &["spec.clusterIP", "spec.type"],
        _ => &[],
    };
    matches!(path, "metadata.name" | "metadata.namespace") || more.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (text, matches) in [
            ("", true),
            ("app=web", true),
            ("app==web, tier = front", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (api, web)", true),
            ("app in (api),tier", false),
            ("app notin (api,db),!missing", true),
            ("missing notin (api)", true),
            ("!app", false),
            ("missing", false),
        ] {
            assert_eq!(Labels::parse(text).unwrap().matches(&object), matches, "{text}");
        }
        for text in ["app in web", "a b", "=x", "app in (x"] {
            assert_eq!(Labels::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn field_selectors() {
        let pod = json!({"metadata": {"name": "a", "namespace": "shop"}, "status": {"phase": "Running"}});
        for (text, matches) in [
            ("metadata.name=a", true),
            ("metadata.name=a,status.phase!=Failed", true),
            ("status.phase==Pending", false),
            ("spec.nodeName=", true),
        ] {
            assert_eq!(Fields::parse(Kind::Pod, text).unwrap().matches(&pod), matches, "{text}");
        }
        assert_eq!(Fields::parse(Kind::Rollout, "status.phase=x").unwrap_err().code, 400);
    }
}
