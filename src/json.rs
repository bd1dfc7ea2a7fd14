//! Looking into JSON.

use serde_json::Value;

/// A value at a path.
pub trait At {
    /// The value at a JSON pointer whose keys hold no `/` or `~`. `Value::pointer`, which allows for them, copies every key
    /// twice.
    fn at(&self, pointer: &str) -> Option<&Value>;
}

impl At for Value {
    fn at(&self, pointer: &str) -> Option<&Value> {
        pointer.split('/').skip(1).try_fold(self, |value, key| match value {
            Self::Object(fields) => fields.get(key),
            Self::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

/// `path.name`, or `path["na.me"]` where a dot would mislead.
pub fn member_path(path: &str, name: &str) -> String {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '$'));
    match (plain, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => format!("{path}[{name:?}]"),
    }
}
