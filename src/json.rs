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
