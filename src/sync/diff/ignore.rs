//! Rules of `spec.ignoreDifferences`: fields that do not count.

use crate::{api::application::ResourceIgnoreDifferences, lang::glob::Glob, sync::resource::ResourceKey};
use serde_json::Value;

/// The rules that concern one object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IgnoreRules {
    pointers: Vec<String>,
    paths: Vec<Vec<Step>>,
}

/// One step of the part of jq paths that is understood.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
    Each,
}

impl IgnoreRules {
    /// The rules of an application that concern an object.
    pub fn for_object(rules: &[ResourceIgnoreDifferences], key: &ResourceKey) -> Self {
        let mut found = Self::default();
        for rule in rules.iter().filter(|rule| concerns(rule, key)) {
            found.pointers.extend(rule.json_pointers.iter().cloned());
            found.paths.extend(
                rule.jq_path_expressions
                    .iter()
                    .filter_map(|expression| path(expression)),
            );
        }
        found
    }

    /// The JSON pointers.
    pub fn pointers(&self) -> &[String] {
        &self.pointers
    }

    /// Removes the ignored fields; a missing path is no error.
    pub fn remove_from(&self, object: &mut Value) {
        for pointer in &self.pointers {
            remove_pointer(object, pointer);
        }
        for path in &self.paths {
            remove_path(object, path);
        }
    }

    /// Removes them from a `fieldsV1` tree, so that having applied them once does not count either.
    pub fn remove_from_owned(&self, owned: &mut Value) {
        let fields = |segments: Vec<String>| {
            segments
                .iter()
                .map(|name| format!("/f:{}", escape(name)))
                .collect::<String>()
        };
        for pointer in &self.pointers {
            let segments = pointer
                .split('/')
                .skip(1)
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect();
            remove_pointer(owned, &fields(segments));
        }
        for path in &self.paths {
            let names: Option<Vec<String>> = path
                .iter()
                .map(|step| match step {
                    Step::Field(name) => Some(name.clone()),
                    Step::Index(_) | Step::Each => None,
                })
                .collect();
            if let Some(names) = names {
                remove_pointer(owned, &fields(names));
            }
        }
    }
}

/// What a rule says that is not understood, in words (guarantee C6).
pub fn problems(rules: &[ResourceIgnoreDifferences]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let at = format!("spec.ignoreDifferences[{index}]");
        if rule.kind.is_empty() {
            found.push(format!("{at}.kind is missing"));
        }
        for pointer in rule.json_pointers.iter().filter(|pointer| !pointer.starts_with('/')) {
            found.push(format!("{at}.jsonPointers: {pointer:?} does not begin with \"/\""));
        }
        for expression in rule
            .jq_path_expressions
            .iter()
            .filter(|expression| path(expression).is_none())
        {
            found.push(format!("{at}.jqPathExpressions: only plain paths such as .spec.items[].value are supported yet, found {expression:?}"));
        }
        if !rule.managed_fields_managers.is_empty() {
            found.push(format!(
                "{at}.managedFieldsManagers is not supported yet; fields that the source does not name never count"
            ));
        }
    }
    found
}

fn concerns(rule: &ResourceIgnoreDifferences, key: &ResourceKey) -> bool {
    let glob = |pattern: &str, text: &str| pattern == text || Glob::parse(pattern).is_ok_and(|glob| glob.matches(text));
    glob(&rule.group, &key.group)
        && glob(&rule.kind, &key.kind)
        && (rule.name.is_empty() || rule.name == key.name)
        && (rule.namespace.is_empty() || rule.namespace == key.namespace)
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn remove_pointer(object: &mut Value, pointer: &str) {
    let Some((parent, field)) = pointer.rsplit_once('/') else {
        return;
    };
    let field = field.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&field);
        }
        Some(Value::Array(items)) => {
            if let Ok(index) = field.parse::<usize>()
                && index < items.len()
            {
                items.remove(index);
            }
        }
        _ => {}
    }
}

fn remove_path(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove_path(child, rest);
            }
        }
        (Step::Index(index), Value::Array(items)) => {
            if *index < items.len() && rest.is_empty() {
                items.remove(*index);
            } else if let Some(child) = items.get_mut(*index) {
                remove_path(child, rest);
            }
        }
        (Step::Each, Value::Array(items)) => {
            if rest.is_empty() {
                items.clear();
            }
            items.iter_mut().for_each(|item| remove_path(item, rest));
        }
        (Step::Each, Value::Object(map)) => {
            if rest.is_empty() {
                map.clear();
            }
            map.values_mut().for_each(|item| remove_path(item, rest));
        }
        _ => {}
    }
}

/// Parses `.a.b[].c`, `.a["x/y"]`, `.a[0]`, each step optionally followed by `?`.
fn path(expression: &str) -> Option<Vec<Step>> {
    let mut rest = expression.trim();
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('?') {
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(".[").or_else(|| rest.strip_prefix('[')) {
            let (inside, tail) = if let Some(quoted) = tail.strip_prefix('"') {
                let (name, tail) = quoted.split_once('"')?;
                (Step::Field(name.to_owned()), tail.strip_prefix(']')?)
            } else {
                let (inside, tail) = tail.split_once(']')?;
                let step = if inside.trim().is_empty() {
                    Step::Each
                } else {
                    Step::Index(inside.trim().parse().ok()?)
                };
                (step, tail)
            };
            steps.push(inside);
            rest = tail;
        } else {
            let tail = rest.strip_prefix('.')?;
            if let Some(quoted) = tail.strip_prefix('"') {
                let (name, tail) = quoted.split_once('"')?;
                steps.push(Step::Field(name.to_owned()));
                rest = tail;
                continue;
            }
            let end = tail
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(tail.len());
            let (name, behind) = tail.split_at(end);
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Field(name.to_owned()));
            rest = behind;
        }
    }
    (!steps.is_empty()).then_some(steps)
}
