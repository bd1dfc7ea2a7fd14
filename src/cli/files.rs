//! Manifests from files and standard input.

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::error::{CliError, Kind};
use crate::lang::yaml;

/// The text of a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<String, CliError> {
    let failed =
        |error: std::io::Error| CliError::new(Kind::Request, format!("cannot read `{}`: {error}", path.display()));
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// The objects of a file; those of a `List` one by one.
pub(crate) fn objects(path: &Path) -> Result<Vec<Value>, CliError> {
    let documents = yaml::documents(&read(path)?)
        .map_err(|error| CliError::new(Kind::Request, format!("`{}`: {error}", path.display())))?;
    Ok(documents
        .into_iter()
        .flat_map(|document| unlisted(document.value))
        .collect())
}

/// The items of a `List`, or the object itself.
fn unlisted(value: Value) -> Vec<Value> {
    match value {
        Value::Object(mut fields) if fields.get("kind").is_some_and(|kind| kind == "List") => {
            match fields.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        value => vec![value],
    }
}
