//! The groups of a query `by {tag}`: a number each, and names for people.

use crate::{
    analysis::reading::{Answer, Answered, VALUE_BYTES_MAX},
    lang::expr::Measured,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Groups named in `metadata.groups`, as in the original: a status has an end.
const SHOWN_MAX: usize = 100;

/// The numbers of all groups that have one, with the highest of them by name in the metadata; `None` when none has.
/// `tags` are the columns with the groups' names, each with a list of values for each group.
pub(super) fn answered(tags: &[&Vec<Value>], numbers: &[Value]) -> Option<Answered> {
    let named = numbers.iter().enumerate();
    let groups: Vec<(String, f64)> = named
        .filter_map(|(row, value)| Some((name(tags, row), value.as_f64()?)))
        .collect();
    if groups.is_empty() {
        return None;
    }
    let samples: Vec<f64> = groups.iter().map(|(_, value)| *value).collect();
    let answer = Answer::Value {
        text: json!(samples).to_string(),
        measured: Measured::Vector(samples),
    };
    Some(Answered {
        metadata: metadata(groups),
        ..Answered::plain(answer)
    })
}

fn name(tags: &[&Vec<Value>], row: usize) -> String {
    let values = tags.iter().filter_map(|column| column.get(row));
    let texts = values.flat_map(|value| match value {
        Value::Array(items) => items.iter().collect::<Vec<_>>(),
        one => vec![one],
    });
    let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
    texts.join(",")
}

/// `groups`, and `groups_truncated` when not all are in it.
fn metadata(mut groups: Vec<(String, f64)>) -> BTreeMap<String, String> {
    let all = groups.len();
    groups.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    groups.truncate(SHOWN_MAX);
    let mut shown: Vec<String> = Vec::new();
    let mut bytes = "[]".len();
    for (name, value) in groups {
        let group = json!({"name": name, "value": value}).to_string();
        // Longer texts are cut when they are recorded, which would leave no JSON.
        bytes += group.len() + 1;
        if bytes > VALUE_BYTES_MAX {
            break;
        }
        shown.push(group);
    }
    let mut metadata = BTreeMap::from([("groups".to_owned(), format!("[{}]", shown.join(",")))]);
    if shown.len() < all {
        metadata.insert("groups_truncated".to_owned(), "true".to_owned());
    }
    metadata
}
