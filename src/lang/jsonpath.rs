//! JSONPath as kubectl writes it, in one pair of braces: `{$.data.ok}`, `{.items[0].name}`, `{.items[*].n}`,
//! `{.a['b c']}`, `{.items[-1:]}`, `{..name}`, `{.items[?(@.ready==true)].n}`. Text around the braces, `range` and
//! nested expressions are left out.

use serde_json::{Number, Value};
use thiserror::Error;

/// A longer path is a mistake. In bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// Most values one step may find: protects against `..` on a large answer.
pub const FOUND_MAX: usize = 100_000;

/// Why a path cannot be read or finds nothing.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum JsonPathError {
    /// The text is not a path.
    #[error("{message} at character {offset}")]
    Invalid {
        /// Where, from 0.
        offset: usize,
        /// What is wrong.
        message: &'static str,
    },
    /// The text exceeds [`TEXT_BYTES_MAX`].
    #[error("the path is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// A field that is not there.
    #[error("{0} is not found")]
    NotFound(String),
    /// An index beyond the list.
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds {
        /// As written.
        index: i64,
        /// Of the list.
        length: usize,
    },
    /// More than [`FOUND_MAX`] values.
    #[error("the path finds more than {FOUND_MAX} values")]
    TooMany,
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice { from: Option<i64>, to: Option<i64> },
    Every,
    Deep,
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
enum Filter {
    Exists(Vec<Step>),
    Compare {
        left: Operand,
        operator: Operator,
        right: Operand,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Value(Value),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path; the braces may be left out.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(JsonPathError::TooLong);
        }
        let text = text.trim();
        let inner = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .unwrap_or(text);
        let mut parser = Parser {
            text: inner.chars().collect(),
            at: 0,
        };
        parser.blanks();
        if matches!(parser.peek(), Some('$' | '@')) {
            parser.at += 1;
        }
        let steps = parser.steps()?;
        parser.blanks();
        match parser.peek() {
            None => Ok(Self { steps }),
            Some(_) => Err(parser.invalid("expected a field, an index or the end")),
        }
    }

    /// Every value the path leads to, in document order. A field or an index that is not there is an error; a wildcard
    /// or a filter may find nothing.
    pub fn find<'a>(&self, value: &'a Value) -> Result<Vec<&'a Value>, JsonPathError> {
        walk(&self.steps, value)
    }
}

fn walk<'a>(steps: &[Step], value: &'a Value) -> Result<Vec<&'a Value>, JsonPathError> {
    let mut found = vec![value];
    let mut deep = false;
    for step in steps {
        let mut next = Vec::new();
        if *step == Step::Deep {
            for value in found {
                below(value, &mut next)?;
            }
            deep = true;
        } else {
            for value in found {
                match one(step, value) {
                    Ok(values) => next.extend(values),
                    // After `..` most values do not have the field; that is the point of it.
                    Err(JsonPathError::NotFound(_) | JsonPathError::OutOfBounds { .. }) if deep => {}
                    Err(error) => return Err(error),
                }
            }
            deep = false;
        }
        if next.len() > FOUND_MAX {
            return Err(JsonPathError::TooMany);
        }
        found = next;
    }
    Ok(found)
}

/// The value and everything in it, parents first. Bounded in number; `serde_json` bounds the depth.
fn below<'a>(value: &'a Value, found: &mut Vec<&'a Value>) -> Result<(), JsonPathError> {
    if found.len() >= FOUND_MAX {
        return Err(JsonPathError::TooMany);
    }
    found.push(value);
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| below(item, found)),
        Value::Object(map) => map.values().try_for_each(|item| below(item, found)),
        _ => Ok(()),
    }
}

fn one<'a>(step: &Step, value: &'a Value) -> Result<Vec<&'a Value>, JsonPathError> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(match step {
        Step::Field(name) => match value.get(name) {
            Some(value) => vec![value],
            None => return Err(JsonPathError::NotFound(name.clone())),
        },
        Step::Index(index) => {
            let found = place(*index, items.len()).and_then(|place| items.get(place));
            match found {
                Some(value) => vec![value],
                None => {
                    return Err(JsonPathError::OutOfBounds {
                        index: *index,
                        length: items.len(),
                    });
                }
            }
        }
        Step::Slice { from, to } => {
            let bound = |written: Option<i64>, default: usize| match written {
                None => default,
                Some(index) if index < 0 => place(index, items.len()).unwrap_or(0),
                Some(index) => usize::try_from(index).unwrap_or(usize::MAX).min(items.len()),
            };
            let (from, to) = (bound(*from, 0), bound(*to, items.len()));
            items.get(from..to).unwrap_or_default().iter().collect()
        }
        Step::Every => match value {
            Value::Object(map) => map.values().collect(),
            _ => items.iter().collect(),
        },
        Step::Deep => vec![value],
        Step::Filter(filter) => items.iter().filter(|item| filter.admits(item)).collect(),
    })
}

/// The place of an index that may count from the end.
fn place(index: i64, length: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(index) => Some(index),
        Err(_) => length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

impl Filter {
    fn admits(&self, item: &Value) -> bool {
        match self {
            Self::Exists(path) => walk(path, item).is_ok_and(|found| !found.is_empty()),
            Self::Compare { left, operator, right } => match (left.value(item), right.value(item)) {
                (Some(left), Some(right)) => operator.holds(&left, &right),
                _ => false,
            },
        }
    }
}

impl Operand {
    fn value(&self, item: &Value) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Path(path) => walk(path, item).ok()?.first().map(|value| (*value).clone()),
        }
    }
}

impl Operator {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering;
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => float(left).partial_cmp(&float(right)),
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (left, right) if left == right => Some(Ordering::Equal),
            _ => None,
        };
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

struct Parser {
    text: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn invalid(&self, message: &'static str) -> JsonPathError {
        JsonPathError::Invalid {
            offset: self.at,
            message,
        }
    }

    fn expect(&mut self, wanted: char, message: &'static str) -> Result<(), JsonPathError> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(self.invalid(message))
        }
    }

    fn steps(&mut self) -> Result<Vec<Step>, JsonPathError> {
        let mut steps = Vec::new();
        loop {
            if self.take('.') {
                if self.take('.') {
                    steps.push(Step::Deep);
                }
                match self.peek() {
                    Some('*') => {
                        self.at += 1;
                        steps.push(Step::Every);
                    }
                    Some('[') => {}
                    Some(c) if is_name(c) => steps.push(Step::Field(self.name()?)),
                    // `{.}` is the whole value.
                    None if steps.is_empty() => {}
                    _ => return Err(self.invalid("expected a field name")),
                }
            } else if self.take('[') {
                steps.push(self.bracket()?);
            } else {
                return Ok(steps);
            }
        }
    }

    /// A bare field name; a backslash takes the next character as it is (`app\.kubernetes\.io/name`).
    fn name(&mut self) -> Result<String, JsonPathError> {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| is_name(*c)) {
            self.at += 1;
            if c != '\\' {
                name.push(c);
                continue;
            }
            name.push(
                self.peek()
                    .ok_or_else(|| self.invalid("a backslash stands at the end"))?,
            );
            self.at += 1;
        }
        Ok(name)
    }

    fn bracket(&mut self) -> Result<Step, JsonPathError> {
        self.blanks();
        let step = match self.peek() {
            Some('*') => {
                self.at += 1;
                Step::Every
            }
            Some('\'' | '"') => Step::Field(self.quoted()?),
            Some('?') => {
                self.at += 1;
                Step::Filter(self.filter()?)
            }
            _ => self.index_or_slice()?,
        };
        self.blanks();
        self.expect(']', "expected `]`")?;
        Ok(step)
    }

    fn index_or_slice(&mut self) -> Result<Step, JsonPathError> {
        let from = self.integer();
        self.blanks();
        if self.take(':') {
            self.blanks();
            return Ok(Step::Slice {
                from,
                to: self.integer(),
            });
        }
        from.map(Step::Index)
            .ok_or_else(|| self.invalid("expected an index, a name in quotes, `*` or a filter"))
    }

    fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        self.take('-');
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let text: String = self.text.get(start..self.at)?.iter().collect();
        text.parse().ok()
    }

    fn quoted(&mut self) -> Result<String, JsonPathError> {
        let Some(quote) = self.peek() else {
            return Err(self.invalid("expected a text in quotes"));
        };
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                c if c == quote => return Ok(text),
                '\\' => {
                    text.push(
                        self.peek()
                            .ok_or_else(|| self.invalid("a backslash stands at the end"))?,
                    );
                    self.at += 1;
                }
                c => text.push(c),
            }
        }
        Err(self.invalid("the text in quotes does not end"))
    }

    fn filter(&mut self) -> Result<Filter, JsonPathError> {
        self.expect('(', "expected `(` after `?`")?;
        let left = self.operand()?;
        self.blanks();
        let filter = match (self.operator(), left) {
            (Some(operator), left) => Filter::Compare {
                left,
                operator,
                right: self.operand()?,
            },
            (None, Operand::Path(path)) => Filter::Exists(path),
            (None, Operand::Value(_)) => return Err(self.invalid("expected a comparison")),
        };
        self.blanks();
        self.expect(')', "expected `)`")?;
        Ok(filter)
    }

    fn operator(&mut self) -> Option<Operator> {
        let rest: String = self.text.iter().skip(self.at).take(2).collect();
        let (operator, length) = match rest.as_str() {
            "==" => (Operator::Equal, 2),
            "!=" => (Operator::Unequal, 2),
            "<=" => (Operator::LessOrEqual, 2),
            ">=" => (Operator::GreaterOrEqual, 2),
            rest if rest.starts_with('<') => (Operator::Less, 1),
            rest if rest.starts_with('>') => (Operator::Greater, 1),
            _ => return None,
        };
        self.at += length;
        Some(operator)
    }

    fn operand(&mut self) -> Result<Operand, JsonPathError> {
        self.blanks();
        match self.peek() {
            Some('@') => {
                self.at += 1;
                Ok(Operand::Path(self.steps()?))
            }
            Some('\'' | '"') => Ok(Operand::Value(Value::String(self.quoted()?))),
            _ => {
                let mut text = String::new();
                while let Some(c) = self
                    .peek()
                    .filter(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '+'))
                {
                    text.push(c);
                    self.at += 1;
                }
                serde_json::from_str(&text)
                    .map(Operand::Value)
                    .map_err(|_| self.invalid("expected `@`, a number or a text in quotes"))
            }
        }
    }
}

fn is_name(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(
            c,
            '.' | '[' | ']' | '(' | ')' | '*' | '=' | '!' | '<' | '>' | '{' | '}' | '\'' | '"' | '?' | ','
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn find(path: &str, value: &Value) -> Result<Value, String> {
        let path = JsonPath::parse(path).map_err(|error| format!("parse: {error}"))?;
        path.find(value)
            .map(|found| json!(found))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn paths_find_what_kubectl_finds() {
        let value = json!({
            "ok": true, "a": {"b c": 1, "d": {"e": [1, 2, 3]}, "app.io/x": "y"},
            "items": [{"n": "x", "v": 1, "ready": true}, {"n": "y", "v": 2.5}, {"n": "z", "v": 3, "ready": false}]
        });
        for (path, want) in [
            ("{$}", json!([value])),
            ("{.}", json!([value])),
            ("{$.ok}", json!([true])),
            ("$.ok", json!([true])),
            ("{.a.d.e}", json!([[1, 2, 3]])),
            ("{.a.d.e[0]}", json!([1])),
            ("{.a.d.e[-1]}", json!([3])),
            ("{.a.d.e[1:]}", json!([2, 3])),
            ("{.a.d.e[:2]}", json!([1, 2])),
            ("{.a.d.e[-2:]}", json!([2, 3])),
            ("{.a.d.e[5:]}", json!([])),
            ("{.a.d.e[*]}", json!([1, 2, 3])),
            ("{.a['b c']}", json!([1])),
            ("{$['a'][\"d\"].e[2]}", json!([3])),
            ("{.a.app\\.io/x}", json!(["y"])),
            ("{.items[*].n}", json!(["x", "y", "z"])),
            ("{..n}", json!(["x", "y", "z"])),
            ("{.a..e[0]}", json!([1])),
            ("{.a.d.*}", json!([[1, 2, 3]])),
            ("{.items[?(@.n=='y')].v}", json!([2.5])),
            ("{.items[?(@.n != \"y\")].v}", json!([1, 3])),
            ("{.items[?(@.v>2)].n}", json!(["y", "z"])),
            ("{.items[?(@.v<=1)].n}", json!(["x"])),
            ("{.items[?( @.ready == true )].n}", json!(["x"])),
            ("{.items[?(@.ready)].n}", json!(["x", "z"])),
            ("{.items[?(@.v==9)].n}", json!([])),
        ] {
            assert_eq!(find(path, &value), Ok(want), "{path}");
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_an_error() {
        let value = json!({"a": [1], "n": null});
        for (path, want) in [
            ("{.b}", "b is not found"),
            ("{.a.b}", "b is not found"),
            ("{.n.x}", "x is not found"),
            ("{.a[3]}", "array index out of bounds: index 3, length 1"),
            ("{.a[-2]}", "array index out of bounds: index -2, length 1"),
            (
                "{.a[}",
                "parse: expected an index, a name in quotes, `*` or a filter at character 3",
            ),
            ("{.a[0}", "parse: expected `]` at character 4"),
            ("{.a.}", "parse: expected a field name at character 3"),
            ("{.a['x]}", "parse: the text in quotes does not end at character 6"),
            ("{.a[?(@.x,1)]}", "parse: expected `)` at character 8"),
            (
                "{.a} {.b}",
                "parse: expected a field, an index or the end at character 2",
            ),
            ("hello", "parse: expected a field, an index or the end at character 0"),
        ] {
            assert_eq!(find(path, &value), Err(want.to_owned()), "{path}");
        }
        assert_eq!(
            JsonPath::parse(&".a".repeat(TEXT_BYTES_MAX)),
            Err(JsonPathError::TooLong)
        );
        let many = json!(vec![0; FOUND_MAX + 1]);
        assert_eq!(
            JsonPath::parse("{..}").unwrap_err().to_string(),
            "expected a field name at character 2"
        );
        assert_eq!(find("{[*]}", &many), Err(JsonPathError::TooMany.to_string()));
    }
}
