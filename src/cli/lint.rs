//! `lint`: manifests checked as the controller would, all problems at once, each with file, line and path. Needs no
//! cluster: what a Rollout names is looked at when it is in the same files.

mod kinds;
mod report;

use std::sync::Arc;

use clap::ValueEnum;
use serde_json::Value;

use super::error::{CliError, Kind};
use super::files;
use super::terminal::Terminal;
use super::words::LintArgs;
use crate::api::unknown_fields::unknown_fields;
use crate::api::{API_VERSION, GROUP};
use crate::lang::yaml::{self, places::Places};

/// How problems are shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Report {
    /// One line each.
    #[default]
    Text,
    /// A list, for programs.
    Json,
    /// For code scanners: the Static Analysis Results Interchange Format.
    Sarif,
}

/// An object of a file.
pub(crate) struct Object {
    /// Where it comes from, as messages say it.
    file: String,
    /// 1-based line where it starts.
    line: usize,
    places: Arc<Places>,
    /// Stands before paths inside of it: that of an item of a `List`.
    prefix: String,
    value: Value,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    file: String,
    line: usize,
    /// `Rollout shop/web`; empty when the file cannot be read.
    object: String,
    /// Path of the field; empty when it is the object as a whole.
    field: String,
    message: String,
    /// One word for the kind of problem.
    rule: &'static str,
}

/// Carries out `lint`: silent when all is well.
pub(super) fn lint(args: &LintArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    for path in &args.files {
        let file = path.display().to_string();
        match yaml::documents_with_places(&files::read(path)?) {
            Ok(documents) => objects.extend(
                documents
                    .into_iter()
                    .flat_map(|(document, places)| unlisted(&file, document, Arc::new(places))),
            ),
            Err(error) => problems.push(Problem {
                file,
                line: error.line,
                object: String::new(),
                field: String::new(),
                message: error.message,
                rule: "yaml",
            }),
        }
    }
    problems.extend(check(&objects));
    problems.sort_by(|left, right| (&left.file, left.line).cmp(&(&right.file, right.line)));
    report::write(&problems, args.output, terminal)?;
    match problems.len() {
        0 => Ok(()),
        1 => Err(CliError::new(Kind::Verdict, "1 problem")),
        count => Err(CliError::new(Kind::Verdict, format!("{count} problems"))),
    }
}

/// The items of a `List`, or the object itself.
fn unlisted(file: &str, document: yaml::Document, places: Arc<Places>) -> Vec<Object> {
    let object = |value: Value, prefix: String| Object {
        file: file.to_owned(),
        line: places.line(prefix.trim_end_matches('.')).unwrap_or(document.line),
        places: Arc::clone(&places),
        prefix,
        value,
    };
    match document.value {
        Value::Object(mut fields) if fields.get("kind").is_some_and(|kind| kind == "List") => {
            let items = match fields.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            let items = items.into_iter().enumerate();
            items
                .map(|(index, item)| object(item, format!("items[{index}].")))
                .collect()
        }
        value => vec![object(value, String::new())],
    }
}

/// Everything that is wrong with these objects.
pub(crate) fn check(objects: &[Object]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for object in objects {
        let twice = object.places.duplicates.iter();
        let twice = twice.filter_map(|(path, line)| Some((path.strip_prefix(&object.prefix)?, *line)));
        problems.extend(twice.map(|(path, line)| Problem {
            line,
            ..object.problem(path, "occurs twice in its map, and the last one counts", "duplicate")
        }));
        if object.text("/kind").is_empty() || object.text("/apiVersion").is_empty() {
            problems.push(object.problem("", "apiVersion and kind are missing", "kind"));
            continue;
        }
        if !object.text("/apiVersion").starts_with(&format!("{GROUP}/")) {
            continue;
        }
        if object.text("/apiVersion") != API_VERSION {
            let message = format!(
                "unknown version {:?}, expected {API_VERSION:?}",
                object.text("/apiVersion")
            );
            problems.push(object.problem("apiVersion", message, "kind"));
            continue;
        }
        let unknown = unknown_fields(object.text("/kind"), &object.value);
        problems.extend(unknown.into_iter().map(|unknown| {
            let message = match unknown.suggestion {
                Some(suggestion) => format!("unknown field, did you mean `{suggestion}`?"),
                None => "unknown field".to_owned(),
            };
            object.problem(&unknown.path, message, "unknown-field")
        }));
        problems.extend(kinds::check(object, objects));
    }
    problems
}

impl Object {
    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn is(&self, api_version: &str, kind: &str) -> bool {
        self.text("/apiVersion") == api_version && self.text("/kind") == kind
    }

    fn problem(&self, field: &str, message: impl Into<String>, rule: &'static str) -> Problem {
        let meta = |name: &str| self.text(&format!("/metadata/{name}"));
        let name = if meta("name").is_empty() {
            meta("generateName")
        } else {
            meta("name")
        };
        let namespace = match meta("namespace") {
            "" => String::new(),
            namespace => format!("{namespace}/"),
        };
        Problem {
            file: self.file.clone(),
            line: self
                .places
                .line(&format!("{}{field}", self.prefix))
                .filter(|_| !field.is_empty())
                .unwrap_or(self.line),
            object: format!("{} {namespace}{name}", self.text("/kind")),
            field: field.to_owned(),
            message: message.into(),
            rule,
        }
    }
}

/// The objects of a text, for tests.
#[cfg(test)]
fn objects_of(text: &str) -> Vec<Object> {
    let documents = yaml::documents_with_places(text).unwrap();
    documents
        .into_iter()
        .flat_map(|(document, places)| unlisted("web.yaml", document, Arc::new(places)))
        .collect()
}

#[cfg(test)]
mod tests;
