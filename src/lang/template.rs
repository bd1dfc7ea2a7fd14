//! `{{args.name}}` inside analysis metrics and other JSON. Values are inserted as JSON text, so a quote in a value
//! cannot end the string around it. No logic, no nesting.

use serde_json::Value;
use thiserror::Error;

/// A result larger than this is a mistake or an attack. In bytes.
pub const RESULT_BYTES_MAX: usize = 4 << 20;

/// Why a template has no result.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TemplateError {
    /// A name without a value.
    #[error("failed to resolve {{{{{0}}}}}")]
    Unresolved(String),
    /// `{{` without `}}`.
    #[error("cannot find end tag=\"}}}}\" in the template {0:?}")]
    Unclosed(String),
    /// The result exceeds [`RESULT_BYTES_MAX`].
    #[error("the resolved text is longer than {RESULT_BYTES_MAX} bytes")]
    TooLong,
}

/// Replaces every `{{name}}` in `text` by `lookup(name)`; blanks around the name do not count.
pub fn resolve(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((name, after)) = behind.split_once("}}") else {
            return Err(TemplateError::Unclosed(text.chars().take(200).collect()));
        };
        let name = name.trim();
        out.push_str(before);
        out.push_str(&lookup(name).ok_or_else(|| TemplateError::Unresolved(name.to_owned()))?);
        if out.len() > RESULT_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Replaces every `{{name}}` in every string of a JSON tree, keys left alone.
///
/// The tree stays as it is, whatever the values contain: the same as inserting JSON-escaped values into its text.
pub fn resolve_json(value: &Value, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => Value::String(resolve(text, lookup)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| resolve_json(item, lookup))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, item)| Ok((key.clone(), resolve_json(item, lookup)?)))
                .collect::<Result<_, TemplateError>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// The names a text asks for, in order of appearance, with repetitions.
pub fn names(text: &str) -> Vec<String> {
    let asked = |part: &str| part.split_once("}}").map(|(name, _)| name.trim().to_owned());
    text.split("{{").skip(1).filter_map(asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "args.service" => Some("web \"v2\"\n".to_owned()),
            "args.n" => Some("5".to_owned()),
            "args.loop" => Some("{{args.loop}}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn names_are_replaced_with_blanks_around_them_or_not() {
        assert_eq!(
            resolve("a{{args.n}}b{{ args.n }}{{args.n\t}}", &lookup).unwrap(),
            "a5b55"
        );
        assert_eq!(resolve("{ {x} }", &lookup).unwrap(), "{ {x} }");
        assert_eq!(resolve("{{args.loop}}", &lookup).unwrap(), "{{args.loop}}");
    }

    #[test]
    fn a_value_cannot_break_the_json_around_it() {
        let metric = json!({"count": "{{args.n}}", "q": ["up{s='{{args.service}}'}", 1, null]});
        assert_eq!(
            resolve_json(&metric, &lookup).unwrap(),
            json!({"count": "5", "q": ["up{s='web \"v2\"\n'}", 1, null]})
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            resolve("{{ args.x }}", &lookup).unwrap_err().to_string(),
            "failed to resolve {{args.x}}"
        );
        assert!(
            resolve("{{args.n", &lookup)
                .unwrap_err()
                .to_string()
                .starts_with("cannot find end tag=\"}}\"")
        );
        assert_eq!(names("{{ a }} {{b}} {{c"), ["a", "b"]);
    }

    #[test]
    fn growth_is_bounded() {
        let long = |_: &str| Some("x".repeat(RESULT_BYTES_MAX / 2));
        assert_eq!(resolve("{{a}}{{a}}{{a}}", &long), Err(TemplateError::TooLong));
    }
}
