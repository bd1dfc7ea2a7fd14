//! Small readings of objects.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::time::Duration;
use tidegate::json::At as _;

/// The value at a path such as `/spec/replicas`; keys that hold a `/` cannot be asked for.
pub fn at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    object.at(path)
}

/// A text; empty when absent.
pub fn text<'v>(object: &'v Value, path: &str) -> &'v str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// A time.
pub fn time(object: &Value, path: &str) -> Option<Timestamp> {
    at(object, path)?.as_str()?.parse().ok()
}

/// A moment that long after another.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
