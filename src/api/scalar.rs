//! Kubernetes' own scalar unions and the schemas of trees we pass on untouched.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// Whether a field holds its zero value and is therefore not written (Go's `omitempty`).
pub trait Absent {
    /// True when the field is to be skipped.
    fn absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
}
impl<T> Absent for Vec<T> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}
impl<K, V> Absent for BTreeMap<K, V> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}
impl Absent for String {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}
impl Absent for bool {
    fn absent(&self) -> bool {
        !*self
    }
}
impl Absent for i32 {
    fn absent(&self) -> bool {
        *self == 0
    }
}
impl Absent for i64 {
    fn absent(&self) -> bool {
        *self == 0
    }
}
impl Absent for Value {
    fn absent(&self) -> bool {
        self.is_null()
    }
}
impl Absent for LabelSelector {
    fn absent(&self) -> bool {
        self.match_labels.is_none() && self.match_expressions.is_none()
    }
}

/// Reads null as the zero value, as the originals do: `labels:` with nothing behind it is no labels.
pub(crate) fn null_is_absent<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// An integer, or a string such as `25%`, `5m` or `{{args.n}}`; kept as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IntOrString {
    /// A whole number.
    Int(i64),
    /// Text whose meaning the field defines.
    String(String),
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::String(text) => f.write_str(text),
        }
    }
}

impl From<i64> for IntOrString {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl Serialize for IntOrString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::String(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = IntOrString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a string")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(number))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<IntOrString, E> {
                i64::try_from(number)
                    .map(IntOrString::Int)
                    .map_err(|_| E::custom("number is too large"))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for IntOrString {
    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] })
    }
}

/// Schema of a tree that is passed on as written: any object, unknown fields preserved.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Schema of a JSON value of any type, preserved.
pub(crate) fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// Schema of a list of trees that are passed on as written.
pub(crate) fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } })
}

/// Schema of a list of JSON values of any type, preserved.
pub(crate) fn any_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "x-kubernetes-preserve-unknown-fields": true } })
}

/// Schema of `metadata`, which the API server knows better.
pub(crate) fn object_metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Schema of a label selector.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
            "matchExpressions": { "type": "array", "items": {
                "type": "object",
                "properties": {
                    "key": { "type": "string" },
                    "operator": { "type": "string" },
                    "values": { "type": "array", "items": { "type": "string" } }
                },
                "required": ["key", "operator"]
            } }
        }
    })
}

/// Schema of an optional time.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}

/// The wire form of a moment: seconds, UTC.
pub fn wire_time(at: jiff::Timestamp) -> Time {
    let seconds = jiff::Timestamp::from_second(at.as_second());
    Time(seconds.unwrap_or(at))
}
