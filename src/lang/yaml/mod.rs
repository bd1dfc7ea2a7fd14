//! YAML 1.1 as kubectl reads it: `on` is true, `0755` is octal, the last of equal keys wins, keys become strings.
//!
//! Events come from `libyaml-safer`; the meaning of scalars, merges and aliases is decided here. The answers are those
//! of kubectl's own reader (`tests/wire/yaml.jsonl`). Writing YAML is not done here.

mod event;
mod load;
pub mod places;
mod resolve;
mod stream;

use serde_json::Value;
use std::fmt;

/// Longer texts are refused: a manifest of this size is a mistake or an attack. In bytes.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// Deepest nesting of lists and maps. Reading is recursive, so this protects the stack; the deepest schema in a real
/// CustomResourceDefinition we saw is about 100 levels.
pub const DEPTH_MAX: usize = 300;

/// Most documents in one stream; protects against a file of separators.
pub const DOCUMENTS_MAX: usize = 50_000;

/// Up to this many visits of nodes through aliases are always allowed (the first of kubectl's three limits).
pub(crate) const ALIASED_VISITS_FREE: u64 = 100;

/// Up to this many visits of nodes in all, aliases are never counted (the second limit).
pub(crate) const VISITS_FREE: u64 = 1000;

/// From this many visits on, the allowed share of aliased visits falls from 99 % …
pub(crate) const VISITS_LOW: f64 = 400_000.0;

/// … to 10 % at this many and above, so that a small text cannot grow into a large value.
pub(crate) const VISITS_HIGH: f64 = 4_000_000.0;

/// Why a text could not be read, and where. Displayed as `line 7: did not find expected key`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct YamlError {
    /// 1-based line in the text that was given.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// What is wrong; a lower-case fragment.
    pub message: String,
}

impl YamlError {
    pub(crate) fn new(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            message: message.into(),
        }
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for YamlError {}

/// Reads the first document of `text`; an empty text is `null`. What follows the first document is not looked at.
pub fn to_json(text: &str) -> Result<Value, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_size(text)?;
    let tree = event::read(text)?;
    load::to_value(&tree)
}

/// One document of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// 1-based line where its content starts.
    pub line: usize,
    /// Never null: empty documents are dropped.
    pub value: Value,
}

/// Reads every document of `text`, a YAML stream or a JSON one; empty documents (also those of comments only) are
/// dropped. Error lines count from the start of `text`.
///
/// Unlike kubectl, a document that starts behind `--- ` on the same line is not lost.
pub fn documents(text: &str) -> Result<Vec<Document>, YamlError> {
    stream::read(text)
}

/// [`documents`], each with the places of its fields. A text that is JSON has none.
pub fn documents_with_places(text: &str) -> Result<Vec<(Document, places::Places)>, YamlError> {
    stream::read_with_places(text)
}

fn check_size(text: &str) -> Result<(), YamlError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(YamlError::new(
            1,
            1,
            format!("text is {} bytes, at most {TEXT_BYTES_MAX} are read", text.len()),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
