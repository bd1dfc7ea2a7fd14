//! A stream of documents, split as kubectl does: at lines that start with `---`. JSON streams are read as JSON.

use super::places::Places;
use super::{DOCUMENTS_MAX, Document, YamlError, check_size, to_json};
use serde_json::Value;

/// Every document of `text` that is not empty.
pub(super) fn read(text: &str) -> Result<Vec<Document>, YamlError> {
    let placed = read_as(text, |_| ())?;
    Ok(placed.into_iter().map(|(document, ())| document).collect())
}

/// The same with the places of fields.
pub(super) fn read_with_places(text: &str) -> Result<Vec<(Document, Places)>, YamlError> {
    read_as(text, |part| {
        part.map(|part| Places::of(part.text, part.line)).unwrap_or_default()
    })
}

/// `also` is made of the text of each document; of documents of a JSON text there is no text of their own.
fn read_as<T>(text: &str, also: impl Fn(Option<&Part<'_>>) -> T) -> Result<Vec<(Document, T)>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_size(text)?;
    if let Some(documents) = json_documents(text) {
        return Ok(documents.into_iter().map(|document| (document, also(None))).collect());
    }
    let mut documents = Vec::new();
    for part in split(text)? {
        let value = to_json(part.text).map_err(|error| YamlError {
            line: error.line + part.line - 1,
            ..error
        })?;
        if !value.is_null() {
            let document = Document {
                line: part.content_line(),
                value,
            };
            documents.push((document, also(Some(&part))));
        }
    }
    Ok(documents)
}

/// The documents of a text that is JSON throughout: escapes that YAML 1.1 does not know (`\/`) are fine there.
fn json_documents(text: &str) -> Option<Vec<Document>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let before = text.get(stream.byte_offset()..)?;
        let start = text.len() - before.trim_start().len();
        match stream.next() {
            None => return Some(documents),
            Some(Err(_)) => return None,
            Some(Ok(value)) => {
                let line = text.get(..start)?.matches('\n').count() + 1;
                documents.push(Document { line, value });
            }
        }
        if documents.len() > DOCUMENTS_MAX {
            return None;
        }
    }
}

struct Part<'t> {
    /// 1-based line of its first line.
    line: usize,
    text: &'t str,
}

impl Part<'_> {
    fn content_line(&self) -> usize {
        let is_content = |line: &str| {
            let line = line.trim();
            let behind_marker = line.strip_prefix("---").unwrap_or(line).trim_start();
            !behind_marker.is_empty() && !behind_marker.starts_with(['#', '%'])
        };
        self.line + self.text.lines().position(is_content).unwrap_or(0)
    }
}

fn split(text: &str) -> Result<Vec<Part<'_>>, YamlError> {
    let mut parts = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut offset = 0;
    let mut directives = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        // The marker behind directives (`%YAML 1.1`) belongs to the document that they open.
        if is_marker && !directives && offset > start {
            parts.push(Part {
                line: start_line,
                text: text.get(start..offset).unwrap_or_default(),
            });
            (start, start_line) = (offset, index + 1);
            if parts.len() > DOCUMENTS_MAX {
                return Err(YamlError::new(
                    index + 1,
                    1,
                    format!("more than {DOCUMENTS_MAX} documents"),
                ));
            }
        }
        if is_marker {
            directives = false;
        } else if line.starts_with('%') {
            directives = only_preamble(text.get(start..offset).unwrap_or_default());
        }
        offset += line.len();
    }
    parts.push(Part {
        line: start_line,
        text: text.get(start..).unwrap_or_default(),
    });
    Ok(parts)
}

/// Whether nothing but blank lines, comments and directives was seen, so that a `%` starts a directive.
fn only_preamble(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['#', '%'])
    })
}
