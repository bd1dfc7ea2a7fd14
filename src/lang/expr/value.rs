//! Values and the operations on them, with Go's rules: integers wrap, division is of floats, NaN compares as false.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use jiff::SignedDuration;
use serde_json::Value as Json;

use super::Measured;
use super::time::Moment;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<Vec<Self>>),
    Map(Rc<BTreeMap<Key, Self>>),
    Time(Moment),
    Duration(SignedDuration),
}

/// A map key. Floats by their order as numbers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Key {
    Nil,
    Bool(bool),
    Int(i64),
    Float(FloatKey),
    Text(Rc<str>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FloatKey(f64);

impl PartialEq for FloatKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for FloatKey {}
impl PartialOrd for FloatKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for FloatKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Key {
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Float(FloatKey(value)) => Value::Float(*value),
            Self::Text(text) => Value::Text(text.clone()),
        }
    }
}

impl Value {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Rc::from(text.as_ref()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub(super) fn measured(measured: &Measured) -> Self {
        let floats = |samples: &[f64]| Self::list(samples.iter().copied().map(Self::Float).collect());
        match measured {
            Measured::Scalar(value) => Self::Float(*value),
            Measured::Vector(samples) => floats(samples),
            Measured::Matrix(series) => Self::list(series.iter().map(|samples| floats(samples)).collect()),
            Measured::Json(json) => Self::json(json),
        }
    }

    /// Numbers of JSON are floats.
    pub(super) fn json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::list(items.iter().map(Self::json).collect()),
            Json::Object(map) => Self::Map(Rc::new(
                map.iter()
                    .map(|(key, value)| (Key::Text(Rc::from(key.as_str())), Self::json(value)))
                    .collect(),
            )),
        }
    }

    /// The name of its Go type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
        }
    }

    pub(super) fn into_key(self) -> Result<Key, String> {
        Ok(match self {
            Self::Nil => Key::Nil,
            Self::Bool(value) => Key::Bool(value),
            Self::Int(value) => Key::Int(value),
            Self::Float(value) => Key::Float(FloatKey(value)),
            Self::Text(text) => Key::Text(text),
            other => return Err(format!("{} cannot be a map key", other.type_name())),
        })
    }

    fn as_float(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "as in Go")]
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Time(left), Self::Time(right)) => left.instant() == right.instant(),
            (Self::Duration(left), Self::Duration(right)) => left == right,
            (Self::List(left), Self::List(right)) => {
                left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| left.equals(right))
            }
            (Self::Map(left), Self::Map(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .all(|(key, value)| right.get(key).is_some_and(|other| value.equals(other)))
            }
            #[expect(clippy::float_cmp, reason = "the language compares floats exactly")]
            _ => match (self.as_float(), other.as_float()) {
                (Some(left), Some(right)) => left == right,
                _ => false,
            },
        }
    }

    fn order(&self, other: &Self, symbol: &str) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Ok(Some(left.cmp(right))),
            (Self::Text(left), Self::Text(right)) => Ok(Some(left.cmp(right))),
            (Self::Time(left), Self::Time(right)) => Ok(Some(left.instant().cmp(&right.instant()))),
            (Self::Duration(left), Self::Duration(right)) => Ok(Some(left.cmp(right))),
            _ => match (self.as_float(), other.as_float()) {
                (Some(left), Some(right)) => Ok(left.partial_cmp(&right)),
                _ => Err(self.mismatch(symbol, other)),
            },
        }
    }

    fn mismatch(&self, symbol: &str, other: &Self) -> String {
        format!("invalid operation: {} {symbol} {}", self.type_name(), other.type_name())
    }

    pub(super) fn less(&self, other: &Self) -> Result<bool, String> {
        self.order(other, "<").map(|order| order == Some(Ordering::Less))
    }

    pub(super) fn less_or_equal(&self, other: &Self) -> Result<bool, String> {
        self.order(other, "<=")
            .map(|order| matches!(order, Some(Ordering::Less | Ordering::Equal)))
    }

    pub(super) fn greater(&self, other: &Self) -> Result<bool, String> {
        self.order(other, ">").map(|order| order == Some(Ordering::Greater))
    }

    pub(super) fn greater_or_equal(&self, other: &Self) -> Result<bool, String> {
        self.order(other, ">=")
            .map(|order| matches!(order, Some(Ordering::Greater | Ordering::Equal)))
    }

    pub(super) fn add(&self, other: &Self) -> Result<Self, String> {
        let overflow = || "the sum is out of range".to_owned();
        Ok(match (self, other) {
            (Self::Int(left), Self::Int(right)) => Self::Int(left.wrapping_add(*right)),
            (Self::Text(left), Self::Text(right)) => Self::text(format!("{left}{right}")),
            (Self::Duration(left), Self::Duration(right)) => {
                Self::Duration(left.checked_add(*right).ok_or_else(overflow)?)
            }
            (Self::Time(moment), Self::Duration(duration)) | (Self::Duration(duration), Self::Time(moment)) => {
                Self::Time(moment.plus(*duration).ok_or_else(overflow)?)
            }
            _ => self.floats("+", other, |left, right| left + right)?,
        })
    }

    pub(super) fn subtract(&self, other: &Self) -> Result<Self, String> {
        let overflow = || "the difference is out of range".to_owned();
        Ok(match (self, other) {
            (Self::Int(left), Self::Int(right)) => Self::Int(left.wrapping_sub(*right)),
            (Self::Duration(left), Self::Duration(right)) => {
                Self::Duration(left.checked_sub(*right).ok_or_else(overflow)?)
            }
            (Self::Time(left), Self::Time(right)) => Self::Duration(left.instant().duration_since(right.instant())),
            (Self::Time(moment), Self::Duration(duration)) => Self::Time(
                moment
                    .plus(duration.checked_neg().ok_or_else(overflow)?)
                    .ok_or_else(overflow)?,
            ),
            _ => self.floats("-", other, |left, right| left - right)?,
        })
    }

    pub(super) fn multiply(&self, other: &Self) -> Result<Self, String> {
        Ok(match (self, other) {
            (Self::Int(left), Self::Int(right)) => Self::Int(left.wrapping_mul(*right)),
            (Self::Duration(duration), factor) | (factor, Self::Duration(duration)) => {
                let factor = factor.as_float().ok_or_else(|| self.mismatch("*", other))?;
                let seconds = duration.as_secs_f64() * factor;
                Self::Duration(SignedDuration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?)
            }
            _ => self.floats("*", other, |left, right| left * right)?,
        })
    }

    pub(super) fn divide(&self, other: &Self) -> Result<Self, String> {
        self.floats("/", other, |left, right| left / right)
    }

    pub(super) fn power(&self, other: &Self) -> Result<Self, String> {
        self.floats("**", other, f64::powf)
    }

    pub(super) fn remainder(&self, other: &Self) -> Result<Self, String> {
        match (self, other) {
            (Self::Int(_), Self::Int(0)) => Err("integer divide by zero".to_owned()),
            (Self::Int(left), Self::Int(right)) => Ok(Self::Int(left.wrapping_rem(*right))),
            _ => Err(self.mismatch("%", other)),
        }
    }

    fn floats(&self, symbol: &str, other: &Self, operation: fn(f64, f64) -> f64) -> Result<Self, String> {
        match (self.as_float(), other.as_float()) {
            (Some(left), Some(right)) => Ok(Self::Float(operation(left, right))),
            _ => Err(self.mismatch(symbol, other)),
        }
    }

    pub(super) fn negate(&self) -> Result<Self, String> {
        match self {
            Self::Int(value) => Ok(Self::Int(value.wrapping_neg())),
            Self::Float(value) => Ok(Self::Float(-value)),
            Self::Duration(duration) => Ok(Self::Duration(-*duration)),
            other => Err(format!("invalid operation: - {}", other.type_name())),
        }
    }

    pub(super) fn is_in(&self, container: &Self) -> Result<bool, String> {
        match container {
            Self::Nil => Ok(false),
            Self::List(items) => Ok(items.iter().any(|item| item.equals(self))),
            Self::Map(map) => match (self, map.keys().next()) {
                (Self::Text(_) | Self::Nil, _) | (_, Some(Key::Bool(_) | Key::Int(_) | Key::Float(_) | Key::Nil)) => {
                    Ok(self.clone().into_key().is_ok_and(|key| map.contains_key(&key)))
                }
                _ => Err(format!("cannot use {} as type string in map key", self.type_name())),
            },
            other => Err(format!("operator \"in\" not defined on {}", other.type_name())),
        }
    }

    /// The element of a list (negative counts from the end), text or map at `key`; a missing map entry is nil.
    pub(super) fn fetch(&self, key: &Self) -> Result<Self, String> {
        let position = |length: usize| {
            let index = key
                .to_int()
                .ok_or_else(|| format!("invalid operation: int({})", key.type_name()))?;
            let from_start = if index < 0 {
                index.saturating_add(i64::try_from(length).unwrap_or(i64::MAX))
            } else {
                index
            };
            usize::try_from(from_start)
                .ok()
                .filter(|&found| found < length)
                .ok_or_else(|| format!("index out of range: {index} (array length is {length})"))
        };
        match self {
            Self::List(items) => Ok(items.get(position(items.len())?).cloned().unwrap_or(Self::Nil)),
            Self::Text(text) => {
                let byte = text.as_bytes().get(position(text.len())?).copied();
                Ok(byte.map_or(Self::Nil, |byte| Self::Int(byte.into())))
            }
            Self::Map(map) => {
                let string_keys = !matches!(
                    map.keys().next(),
                    Some(Key::Bool(_) | Key::Int(_) | Key::Float(_) | Key::Nil)
                );
                if string_keys && !matches!(key, Self::Text(_) | Self::Nil) && !map.is_empty() {
                    return Err(format!("cannot use {} to get an element from a map", key.type_name()));
                }
                Ok(key
                    .clone()
                    .into_key()
                    .ok()
                    .and_then(|key| map.get(&key).cloned())
                    .unwrap_or(Self::Nil))
            }
            other => Err(format!("cannot fetch {} from {}", key.print(), other.type_name())),
        }
    }

    /// For indices: a float is cut to a whole number.
    pub(super) fn to_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            #[expect(clippy::cast_possible_truncation, reason = "as Go converts")]
            Self::Float(value) => Some(*value as i64),
            _ => None,
        }
    }

    /// Go's `%v`.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Nil => "<nil>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => go_float(*value),
            Self::Text(text) => text.to_string(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::print).collect();
                format!("[{}]", items.join(" "))
            }
            Self::Map(map) => {
                let pairs: Vec<String> = map
                    .iter()
                    .map(|(key, value)| format!("{}:{}", key.to_value().print(), value.print()))
                    .collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Time(moment) => moment.to_string(),
            Self::Duration(duration) => crate::lang::duration::print(*duration),
        }
    }

    /// JSON as Go indents it, two blanks a level.
    pub(super) fn to_json(&self) -> Result<String, String> {
        let mut out = String::new();
        self.write_json(&mut out, 0)?;
        Ok(out)
    }

    fn write_json(&self, out: &mut String, level: usize) -> Result<(), String> {
        let line = |out: &mut String, level: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", level));
        };
        match self {
            Self::Nil => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "{value}");
            }
            Self::Float(value) if !value.is_finite() => {
                return Err(format!("json: unsupported value: {}", go_float(*value)));
            }
            Self::Float(value) => out.push_str(&json_float(*value)),
            Self::Text(text) => write_json_text(out, text),
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    line(out, level + 1);
                    item.write_json(out, level + 1)?;
                }
                line(out, level);
                out.push(']');
            }
            Self::Map(map) if map.is_empty() => out.push_str("{}"),
            Self::Map(map) => {
                out.push('{');
                for (index, (key, item)) in map.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    line(out, level + 1);
                    write_json_text(out, &key.to_value().print());
                    out.push_str(": ");
                    item.write_json(out, level + 1)?;
                }
                line(out, level);
                out.push('}');
            }
            Self::Time(moment) => write_json_text(out, &moment.to_string()),
            Self::Duration(duration) => out.push_str(&duration.as_nanos().to_string()),
        }
        Ok(())
    }
}

/// An order for sorting; values that cannot be ordered stay where they are.
pub(super) fn compare_for_sort(left: &Value, right: &Value) -> Ordering {
    match left.order(right, "<") {
        Ok(Some(order)) => order,
        // NaN sorts before numbers, so that the order is total.
        Ok(None) => {
            let is_nan = |value: &Value| value.as_float().is_some_and(f64::is_nan);
            is_nan(right).cmp(&is_nan(left))
        }
        Err(_) => Ordering::Equal,
    }
}

/// Go's shortest form: an exponent below 1e-4 and from 1e21 on.
pub(super) fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    exponential(value, value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e21), true)
}

/// The same in JSON: an exponent below 1e-6, and not padded.
fn json_float(value: f64) -> String {
    exponential(
        value,
        value != 0.0 && (value.abs() < 1e-6 || value.abs() >= 1e21),
        false,
    )
}

fn exponential(value: f64, exponent: bool, padded: bool) -> String {
    if !exponent {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    if padded || sign == '+' {
        format!("{digits}e{sign}{exponent:0>2}")
    } else {
        format!("{digits}e{sign}{exponent}")
    }
}

fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}
