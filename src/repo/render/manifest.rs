//! From the text of one file to Kubernetes objects. Pure.

use crate::lang::yaml;
use serde_json::{Map, Value};
use std::fmt;

/// Something wrong with a file, or passed over in it.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct ManifestProblem {
    /// Path in the repository.
    pub file: String,
    /// 1-based line, where one can be named.
    pub line: Option<usize>,
    /// What is wrong; a lower-case fragment.
    pub message: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}: line {line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct FileObjects {
    pub(super) objects: Vec<Value>,
    /// Documents that are not meant as objects.
    pub(super) skipped: Vec<ManifestProblem>,
    pub(super) errors: Vec<ManifestProblem>,
}

/// Lists inside lists; real ones have one level.
const LIST_DEPTH_MAX: usize = 4;

/// Reads a file. A document with neither `apiVersion` nor `kind` is something else (values, a pipeline) and is passed
/// over with a note; one with only a part of what makes an object is an error.
pub(super) fn read(file: &str, text: &str) -> FileObjects {
    let mut found = FileObjects::default();
    let problem = |line, message: String| ManifestProblem {
        file: file.to_owned(),
        line: Some(line),
        message,
    };
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(error) => {
            found.errors.push(problem(error.line, error.message));
            return found;
        }
    };
    for document in documents {
        let line = document.line;
        match &document.value {
            Value::Object(map) if !map.contains_key("apiVersion") && !map.contains_key("kind") => {
                let message = "passed over: the document has neither apiVersion nor kind";
                found.skipped.push(problem(line, message.to_owned()));
            }
            Value::Object(_) => {
                if let Err(message) = expand(document.value, 0, &mut found.objects) {
                    found.errors.push(problem(line, message));
                }
            }
            other => found
                .errors
                .push(problem(line, format!("must be an object, found {}", kind_of(other)))),
        }
    }
    found
}

/// Checks an object and adds it, or the items of a list.
fn expand(object: Value, depth: usize, objects: &mut Vec<Value>) -> Result<(), String> {
    let Value::Object(mut map) = object else {
        return Err(format!("must be an object, found {}", kind_of(&object)));
    };
    let kind = required_text(&map, "kind", "kind")?.to_owned();
    required_text(&map, "apiVersion", "apiVersion")?;
    if kind.ends_with("List") && matches!(map.get("items"), Some(Value::Array(_) | Value::Null)) {
        if depth >= LIST_DEPTH_MAX {
            return Err(format!("lists more than {LIST_DEPTH_MAX} deep"));
        }
        let Some(Value::Array(items)) = map.remove("items") else {
            return Ok(());
        };
        for (index, item) in items.into_iter().enumerate() {
            expand(item, depth + 1, objects).map_err(|message| format!("{kind} items[{index}]: {message}"))?;
        }
        return Ok(());
    }
    let metadata = match map.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => return Err(format!("{kind}: metadata.name is missing")),
        Some(other) => return Err(format!("{kind}: metadata must be an object, found {}", kind_of(other))),
    };
    let name = required_text(metadata, "name", "metadata.name");
    if name.is_err() && required_text(metadata, "generateName", "").is_err() {
        return name.map(drop).map_err(|message| format!("{kind}: {message}"));
    }
    objects.push(Value::Object(map));
    Ok(())
}

fn required_text<'m>(map: &'m Map<String, Value>, key: &str, path: &str) -> Result<&'m str, String> {
    match map.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None | Some(Value::Null) => Err(format!("{path} is missing")),
        Some(Value::String(_)) => Err(format!("{path} is empty")),
        Some(other) => Err(format!("{path} must be a string, found {} `{other}`", kind_of(other))),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Names of the objects, then notes, then errors, one line each.
    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let found = read("app/x.yaml", text);
        let names = found.objects.iter().map(|object| {
            let name = |pointer| object.pointer(pointer).and_then(Value::as_str);
            name("/metadata/name")
                .or(name("/metadata/generateName"))
                .unwrap_or_default()
                .to_owned()
        });
        let lines: Vec<String> = names
            .chain(found.skipped.iter().chain(&found.errors).map(ToString::to_string))
            .collect();
        assert_eq!(lines, expect, "{text}");
    }

    #[test]
    fn documents_become_objects() {
        check("", &[]);
        check("# nothing\n---\n---\n", &[]);
        check(
            "apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\napiVersion: v1\nkind: B\nmetadata: {generateName: b-}\n",
            &["a", "b-"],
        );
        check(
            r#"{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}"#,
            &["a"],
        );
        check(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: a}}\n- {apiVersion: v1, kind: B, metadata: {name: b}}\n",
            &["a", "b"],
        );
        check("apiVersion: v1\nkind: ConfigMapList\nmetadata: {}\nitems: []\n", &[]);
        check(
            "apiVersion: v1\nkind: AccessList\nmetadata: {name: no-list}\n",
            &["no-list"],
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        check(
            "a: 1\n",
            &["app/x.yaml: line 1: passed over: the document has neither apiVersion nor kind"],
        );
        check(
            "\n\nkind: A\nmetadata: {name: a}\n",
            &["app/x.yaml: line 3: apiVersion is missing"],
        );
        check(
            "apiVersion: v1\nmetadata: {name: a}\n",
            &["app/x.yaml: line 1: kind is missing"],
        );
        check(
            "apiVersion: v1\nkind: A\n",
            &["app/x.yaml: line 1: A: metadata.name is missing"],
        );
        check(
            "apiVersion: v1\nkind: A\nmetadata: {name: ''}\n",
            &["app/x.yaml: line 1: A: metadata.name is empty"],
        );
        check(
            "apiVersion: v1\nkind: A\nmetadata: {name: 12}\n",
            &["app/x.yaml: line 1: A: metadata.name must be a string, found a number `12`"],
        );
        check(
            "apiVersion: v1\nkind: A\nmetadata: x\n",
            &["app/x.yaml: line 1: A: metadata must be an object, found a string"],
        );
        check("- a\n", &["app/x.yaml: line 1: must be an object, found a list"]);
        check(
            "apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems: [{kind: B}]\n",
            &["a", "app/x.yaml: line 5: List items[0]: apiVersion is missing"],
        );
    }

    #[test]
    fn bad_yaml_names_its_line() {
        let found = read("app/x.yaml", "apiVersion: v1\nkind: A\nmetadata:\n  name: a\n bad: [\n");
        assert!(found.objects.is_empty());
        let error = found.errors.first().unwrap();
        assert!(error.line.is_some_and(|line| line >= 5), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(\\PC|\n){0,80}") {
            let _ = read("f", &text);
        }
    }
}
