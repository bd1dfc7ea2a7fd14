//! String operators and functions.

use regex::{Regex, RegexBuilder};

use super::ast::Binary;
use super::builtin::{general, parse_float};
use super::eval::Evaluation;
use super::time::Moment;
use super::value::Value;
use crate::lang::duration;

/// A compiled pattern may take this much memory. In bytes.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// A text made by an expression may be this long. In bytes.
const TEXT_MAX: usize = 1 << 20;

/// Compiles the right side of `matches`.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(PATTERN_SIZE_MAX)
        .build()
        .map_err(|error| format!("error parsing regexp: {error}"))
}

/// `matches`, `contains`, `startsWith`, `endsWith`.
pub(super) fn compare(binary: Binary, left: &Value, right: &Value) -> Result<bool, String> {
    let (left, right) = match (left, right) {
        (Value::Text(left), Value::Text(right)) => (left, right),
        // The original answers so, before it looks at the type of the other side.
        (Value::Nil, _) | (_, Value::Nil) if binary == Binary::Matches => return Ok(false),
        (Value::Text(_), other) | (other, _) => {
            return Err(format!(
                "interface conversion: interface {{}} is {}, not string",
                other.type_name()
            ));
        }
    };
    Ok(match binary {
        Binary::Matches => pattern(right)?.is_match(left),
        Binary::Contains => left.contains(&**right),
        Binary::StartsWith => left.starts_with(&**right),
        _ => left.ends_with(&**right),
    })
}

/// Functions whose first argument is a string.
pub(super) fn call(evaluation: &mut Evaluation<'_>, name: &str, first: &str, rest: &[Value]) -> Result<Value, String> {
    let position = |found: Option<usize>| Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1));
    Ok(match (name, rest) {
        ("len", []) => position(Some(first.chars().count())),
        ("asInt", []) => Value::Int(parse_int(first, "strconv.ParseInt")?),
        ("int", []) => Value::Int(parse_int(first, "invalid operation: int")?),
        ("asFloat" | "float", []) => Value::Float(parse_float(first)?),
        ("upper", []) => Value::text(first.to_uppercase()),
        ("lower", []) => Value::text(first.to_lowercase()),
        ("trim", []) => Value::text(first.trim()),
        ("trim", [Value::Text(set)]) => Value::text(first.trim_matches(|c| set.contains(c))),
        ("trimPrefix", [Value::Text(prefix)]) => Value::text(first.strip_prefix(&**prefix).unwrap_or(first)),
        ("trimSuffix", [Value::Text(suffix)]) => Value::text(first.strip_suffix(&**suffix).unwrap_or(first)),
        ("trimPrefix" | "trimSuffix", []) => Value::text(first),
        ("hasPrefix", [Value::Text(prefix)]) => Value::Bool(first.starts_with(&**prefix)),
        ("hasSuffix", [Value::Text(suffix)]) => Value::Bool(first.ends_with(&**suffix)),
        ("indexOf", [Value::Text(part)]) => position(first.find(&**part)),
        ("lastIndexOf", [Value::Text(part)]) => position(first.rfind(&**part)),
        ("split" | "splitAfter", [Value::Text(separator), count @ ..]) => {
            let parts = split(first, separator, limit(count.first())?, name == "splitAfter");
            evaluation.allocate(parts.len())?;
            Value::list(parts.into_iter().map(Value::text).collect())
        }
        ("replace", [Value::Text(old), Value::Text(new), count @ ..]) => {
            let replaced = match limit(count.first())? {
                Some(count) => first.replacen(&**old, new, count),
                None => first.replace(&**old, new),
            };
            bounded(evaluation, &replaced)?
        }
        ("repeat", [Value::Int(count)]) => {
            let count = usize::try_from(*count).map_err(|_| "cannot repeat a negative number of times".to_owned())?;
            if first.len().saturating_mul(count) > TEXT_MAX {
                return Err("memory budget exceeded".to_owned());
            }
            bounded(evaluation, &first.repeat(count))?
        }
        ("fromJSON", []) => {
            let json: serde_json::Value = serde_json::from_str(first).map_err(|error| error.to_string())?;
            evaluation.allocate(first.len() / 2)?;
            Value::json(&json)
        }
        ("toBase64" | "fromBase64", []) => base64(name, first)?,
        ("duration", []) => Value::Duration(duration::parse(first).map_err(|error| error.to_string())?),
        ("date", []) => Value::Time(Moment::parse(first).ok_or_else(|| format!("invalid date {first}"))?),
        (_, []) => return general(name, &Value::text(first)),
        _ => return Err(format!("invalid arguments for {name}")),
    })
}

fn bounded(evaluation: &mut Evaluation<'_>, text: &str) -> Result<Value, String> {
    evaluation.allocate(text.len() / 16)?;
    if text.len() > TEXT_MAX {
        return Err("memory budget exceeded".to_owned());
    }
    Ok(Value::text(text))
}

/// Whole decimal numbers with a sign, nothing else.
fn parse_int(text: &str, function: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|error: std::num::ParseIntError| format!("{function}: parsing {text:?}: {error}"))
}

/// `None` without a limit (absent or negative).
fn limit(count: Option<&Value>) -> Result<Option<usize>, String> {
    match count {
        None => Ok(None),
        Some(Value::Int(count)) => Ok(usize::try_from(*count).ok()),
        Some(other) => Err(format!("expected int, but got {}", other.type_name())),
    }
}

fn split<'t>(text: &'t str, separator: &str, limit: Option<usize>, keep: bool) -> Vec<&'t str> {
    if limit == Some(0) {
        return Vec::new();
    }
    let most = limit.unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = text;
    while parts.len() + 1 < most {
        let cut = if separator.is_empty() {
            // Into characters.
            rest.chars()
                .next()
                .map(char::len_utf8)
                .filter(|&width| width < rest.len())
                .map(|width| (width, width))
        } else {
            rest.find(separator).map(|at| (at, at + separator.len()))
        };
        let Some((end, next)) = cut else { break };
        parts.push(rest.get(..if keep { next } else { end }).unwrap_or_default());
        rest = rest.get(next..).unwrap_or_default();
    }
    if !(separator.is_empty() && text.is_empty()) {
        parts.push(rest);
    }
    parts
}

/// `join(list, glue)`.
pub(super) fn join(items: &[Value], glue: Option<&Value>) -> Result<Value, String> {
    let glue = match glue {
        None => "",
        Some(Value::Text(glue)) => glue,
        Some(other) => return Err(format!("invalid argument for join (type {})", other.type_name())),
    };
    let texts = items.iter().map(|item| match item {
        Value::Text(text) => Ok(&**text),
        other => Err(format!("invalid element for join (type {})", other.type_name())),
    });
    let texts = texts.collect::<Result<Vec<&str>, String>>()?;
    let length: usize = texts.iter().map(|text| text.len() + glue.len()).sum();
    if length > TEXT_MAX {
        return Err("memory budget exceeded".to_owned());
    }
    Ok(Value::text(texts.join(glue)))
}

fn base64(name: &str, text: &str) -> Result<Value, String> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    if name == "toBase64" {
        return Ok(Value::text(engine.encode(text)));
    }
    let bytes = engine.decode(text).map_err(|error| error.to_string())?;
    Ok(Value::text(String::from_utf8_lossy(&bytes)))
}
