//! What a scalar means under YAML 1.1, given its tag and whether it was written plain.

use base64::Engine as _;
use serde_json::{Number, Value};

/// A scalar with its meaning.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    /// Within `i64::MIN..=u64::MAX`.
    Int(i128),
    Float(f64),
    Text(String),
    /// A plain `<<`, which merges when it is a key and is text when it is a value.
    Merge,
}

impl Scalar {
    /// The JSON value; `NaN` and the infinities have none.
    pub(super) fn into_value(self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => integer(value).map_or(Value::Null, Value::Number),
            Self::Float(value) => Value::Number(float(value)?),
            Self::Text(value) => Value::String(value),
            Self::Merge => Value::String("<<".to_owned()),
        })
    }

    /// The key it becomes in a JSON object.
    pub(super) fn into_key(self) -> Result<String, String> {
        match self {
            Self::Text(value) => Ok(value),
            Self::Bool(value) => Ok(value.to_string()),
            Self::Int(value) if value <= i128::from(i64::MAX) => Ok(value.to_string()),
            Self::Int(value) => Err(format!("map key {value} does not fit into 64 bits with sign")),
            Self::Float(value) => Ok(float_key(value)),
            Self::Merge => Ok("<<".to_owned()),
            Self::Null => Err("a map key must not be null".to_owned()),
        }
    }
}

fn integer(value: i128) -> Option<Number> {
    i64::try_from(value)
        .map(Number::from)
        .or_else(|_| u64::try_from(value).map(Number::from))
        .ok()
}

/// Whole numbers are written without a fraction below 1e21, as Go does, and are then integers; `-0` stays a float.
fn float(value: f64) -> Result<Number, String> {
    let not_finite = || format!("{value} has no JSON form");
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() < 1e21 && !negative_zero {
        // The shortest decimal digits, padded with zeros: not always the exact value, but what Go writes.
        if let Some(whole) = format!("{value}").parse().ok().and_then(integer) {
            return Ok(whole);
        }
    }
    Number::from_f64(value).ok_or_else(not_finite)
}

/// Keys that are floats are printed at 32 bits in the shortest form, with an exponent below 1e-4 and from 1e6 on.
fn float_key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "kubectl prints float keys at 32 bits")]
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Decides what `text` means. `tag` is the tag as written or resolved by its handle, if any.
pub(super) fn resolve(tag: Option<&str>, plain: bool, text: &str) -> Result<Scalar, String> {
    let tag = tag.map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag));
    let tag = if tag.is_none() && !plain { Some("str") } else { tag };
    match tag {
        None => Ok(plain_scalar(text)),
        Some("binary") => binary(text).map(Scalar::Text),
        Some("merge") => Ok(Scalar::Merge),
        Some("timestamp") if is_timestamp(text) => Ok(Scalar::Text(text.to_owned())),
        Some(kind @ ("null" | "bool" | "int" | "float" | "timestamp")) => match (kind, plain_scalar(text)) {
            #[expect(clippy::cast_precision_loss, reason = "the tag asks for a float")]
            ("float", Scalar::Int(value)) => Ok(Scalar::Float(value as f64)),
            ("float", scalar @ Scalar::Float(_))
            | ("int", scalar @ Scalar::Int(_))
            | ("bool", scalar @ Scalar::Bool(_))
            | ("null", scalar @ Scalar::Null) => Ok(scalar),
            _ => Err(format!("cannot read `{text}` as !!{kind}")),
        },
        Some(_) => Ok(Scalar::Text(text.to_owned())),
    }
}

fn plain_scalar(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        "<<" => return Scalar::Merge,
        _ => {}
    }
    number(text).unwrap_or_else(|| Scalar::Text(text.to_owned()))
}

fn number(text: &str) -> Option<Scalar> {
    let digits = match text.as_bytes().first()? {
        b'.' => return finite(text),
        b'0'..=b'9' | b'+' | b'-' => text.replace('_', ""),
        _ => return None,
    };
    whole(&digits).map(Scalar::Int).or_else(|| finite(&digits))
}

fn finite(text: &str) -> Option<Scalar> {
    let value = is_float(text).then(|| text.parse::<f64>().ok()).flatten()?;
    value.is_finite().then_some(Scalar::Float(value))
}

/// Decimal, `0x`, `0b`, `0o` or an octal with a leading zero, with a sign.
fn whole(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.contains(['+', '-']) {
        return None;
    }
    let digits = digits.to_ascii_lowercase();
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if let Some(binary) = digits.strip_prefix("0b") {
        i128::from_str_radix(binary, 2)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        i128::from_str_radix(octal, 8)
    } else if let Some(octal) = digits.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        i128::from_str_radix(octal, 8)
    } else {
        digits.parse()
    }
    .ok()?;
    let value = if negative { -value } else { value };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&value)
        .then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    fn digits(text: &str) -> (&str, bool) {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        (rest, rest.len() < text.len())
    }
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (rest, some) = match text.strip_prefix('.') {
        Some(fraction) => digits(fraction),
        None => match digits(text) {
            (rest, true) => (rest.strip_prefix('.').map_or(rest, |fraction| digits(fraction).0), true),
            none => none,
        },
    };
    let rest = match rest.strip_prefix(['e', 'E']) {
        Some(exponent) => match digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)) {
            (rest, true) => rest,
            (_, false) => return false,
        },
        None => rest,
    };
    some && rest.is_empty()
}

/// Bytes that are not UTF-8 become one replacement character each, as when Go writes them as JSON.
fn binary(text: &str) -> Result<String, String> {
    let compact: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(compact)
        .map_err(|error| format!("!!binary value is not base64: {error}"))?;
    let mut decoded = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Ok(decoded)
}

/// `2006-1-2`, or with `T`, `t` or a blank a time of day, and after `T` or `t` a zone.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at..)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    let (Some(year), Some(month), Some(day), None) = (year, month, day, parts.next()) else {
        return false;
    };
    let (Some(4), Some(year)) = (Some(year.len()), number_within(year, 0, 9999)) else {
        return false;
    };
    let (Some(month), Some(day)) = (number_within(month, 1, 12), number_within(day, 1, 31)) else {
        return false;
    };
    if jiff::civil::Date::new(year, narrow(month), narrow(day)).is_err() {
        return false;
    }
    match time {
        None => true,
        Some(time) => is_time_of_day(time),
    }
}

fn is_time_of_day(text: &str) -> bool {
    let zoned = !text.starts_with(' ');
    let text = text.get(1..).unwrap_or_default();
    let (clock, zone) = match text.find(['Z', '+', '-']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next(), parts.next(), parts.next());
    let (Some(hour), Some(minute), Some(second), None) = (hour, minute, second, parts.next()) else {
        return false;
    };
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let zone_known = match zone.strip_prefix(['+', '-']) {
        Some(offset) => offset.split_once(':').is_some_and(|(hours, minutes)| {
            hours.len() == 2
                && minutes.len() == 2
                && number_within(hours, 0, 24).is_some()
                && number_within(minutes, 0, 59).is_some()
        }),
        None => zone == "Z",
    };
    number_within(hour, 0, 23).is_some()
        && number_within(minute, 0, 59).is_some()
        && number_within(second, 0, 59).is_some()
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && if zoned { zone_known } else { zone.is_empty() }
}

fn number_within(text: &str, least: i16, most: i16) -> Option<i16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|value| (least..=most).contains(value))
}

fn narrow(value: i16) -> i8 {
    i8::try_from(value).unwrap_or(0)
}
