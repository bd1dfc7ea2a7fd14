//! Finds fields the API does not know (guarantee C6): an API server drops them without a word, a user meant something.

use super::crd::schema;
use crate::json::member_path;
use serde_json::Value;

/// A field that has no meaning.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnknownField {
    /// Where it is, for instance `spec.strategy.canary.steps[2].setWeigth`.
    pub path: String,
    /// The known field of the same object that was probably meant.
    pub suggestion: Option<String>,
}

/// At most so many are reported for one object; more would only hide each other.
pub const UNKNOWN_FIELDS_MAX: usize = 100;

/// Fields of an object of `argoproj.io/v1alpha1` that its schema does not know, in the order of the object.
///
/// `metadata` and `status` are not looked at: the API server keeps the first, controllers write the second. Nothing
/// is found inside trees that are passed on (pod templates, plugin configurations) or in objects of other kinds.
pub fn unknown_fields(kind: &str, raw: &Value) -> Vec<UnknownField> {
    let mut found = Vec::new();
    if let (Some(schema), Value::Object(object)) = (schema::of(kind), raw) {
        let wanted = object.iter().filter(|(name, _)| *name != "status");
        look_at_members(schema, wanted, "", &mut found);
    }
    found
}

fn look(schema: &Value, value: &Value, path: &str, found: &mut Vec<UnknownField>) {
    match value {
        Value::Object(object) => look_at_members(schema, object.iter(), path, found),
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (index, item) in items.iter().enumerate() {
                look(schema, item, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn look_at_members<'a>(
    schema: &Value,
    members: impl Iterator<Item = (&'a String, &'a Value)>,
    path: &str,
    found: &mut Vec<UnknownField>,
) {
    let known = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    let preserved = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    for (name, value) in members {
        let path = member_path(path, name);
        if let Some(schema) = known.and_then(|known| known.get(name)).or(others) {
            look(schema, value, &path, found);
        } else if let (Some(known), false, true) = (known, preserved, found.len() < UNKNOWN_FIELDS_MAX) {
            found.push(UnknownField {
                path,
                suggestion: closest(name, known.keys().map(String::as_str)).map(str::to_owned),
            });
        }
    }
}

/// The known name nearest to what was written, if it is near enough to be a slip.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = name.to_lowercase();
    // A third of the letters wrong is still a slip; more is another word.
    let near = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= near)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Longer names than this are not compared: no field's is, and the cost grows with the square.
const NAME_CHARS_MAX: usize = 64;

/// Edits between two words: a letter added, left out or replaced, or two neighbours swapped.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(NAME_CHARS_MAX).collect();
    let right: Vec<char> = right.chars().take(NAME_CHARS_MAX).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut edits = (at(&above, column) + usize::from(letter != other))
                .min(at(&above, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped =
                row > 0 && column > 0 && left.get(row - 1) == Some(other) && right.get(column - 1) == Some(letter);
            if swapped {
                edits = edits.min(at(&before, column - 1) + 1);
            }
            current.push(edits);
        }
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
