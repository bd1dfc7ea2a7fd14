//! The functions without a closure: their argument types, checked first, and what they do.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::check::Type;
use super::eval::Evaluation;
use super::predicate::{check_sortable, descending};
use super::text;
use super::time::Moment;
use super::value::{Key, Value, compare_for_sort, go_float};

/// A function's name, how many arguments it takes and which, and what it gives.
pub(super) struct Function {
    name: &'static str,
    least: usize,
    most: usize,
    /// The last one stands for all that follow.
    takes: &'static [Takes],
    gives: Gives,
}

#[derive(Clone, Copy)]
enum Takes {
    Any,
    Text,
    Int,
    Float,
    Number,
    /// A number, a text or anything unknown, to convert.
    Convertible,
    List,
    Map,
    /// List, map or text.
    Measurable,
    /// A number or a list.
    Summable,
    /// A list, map or anything unknown.
    Container,
    TextOrTime,
}

#[derive(Clone, Copy)]
enum Gives {
    Unknown,
    Bool,
    Int,
    Float,
    Text,
    Texts,
    List,
    Map,
    Time,
    Duration,
    /// The type of the first argument.
    Same,
}

/// No upper limit on arguments.
const ANY: usize = usize::MAX;

macro_rules! functions {
    ($($name:literal $least:literal..=$most:tt ($($takes:ident)*) -> $gives:ident;)*) => {
        &[$(Function { name: $name, least: $least, most: $most, takes: &[$(Takes::$takes),*], gives: Gives::$gives }),*]
    };
}

static FUNCTIONS: &[Function] = functions! {
    "asInt" 1..=1 (Any) -> Int;
    "asFloat" 1..=1 (Any) -> Float;
    "isNaN" 1..=1 (Float) -> Bool;
    "isInf" 1..=1 (Float) -> Bool;
    "isNil" 1..=1 (Any) -> Bool;
    "default" 2..=2 (Any) -> Unknown;
    "len" 1..=1 (Measurable) -> Int;
    "type" 1..=1 (Any) -> Text;
    "abs" 1..=1 (Number) -> Same;
    "ceil" 1..=1 (Number) -> Float;
    "floor" 1..=1 (Number) -> Float;
    "round" 1..=1 (Number) -> Float;
    "int" 1..=1 (Convertible) -> Int;
    "float" 1..=1 (Convertible) -> Float;
    "string" 1..=1 (Any) -> Text;
    "max" 1..=ANY (Summable) -> Unknown;
    "min" 1..=ANY (Summable) -> Unknown;
    "mean" 1..=ANY (Summable) -> Float;
    "median" 1..=ANY (Summable) -> Float;
    "trim" 1..=2 (Text) -> Text;
    "trimPrefix" 1..=2 (Text) -> Text;
    "trimSuffix" 1..=2 (Text) -> Text;
    "upper" 1..=1 (Text) -> Text;
    "lower" 1..=1 (Text) -> Text;
    "split" 2..=3 (Text Text Int) -> Texts;
    "splitAfter" 2..=3 (Text Text Int) -> Texts;
    "replace" 3..=4 (Text Text Text Int) -> Text;
    "repeat" 2..=2 (Text Int) -> Text;
    "join" 1..=2 (List Text) -> Text;
    "indexOf" 2..=2 (Text) -> Int;
    "lastIndexOf" 2..=2 (Text) -> Int;
    "hasPrefix" 2..=2 (Text) -> Bool;
    "hasSuffix" 2..=2 (Text) -> Bool;
    "toJSON" 1..=1 (Any) -> Text;
    "fromJSON" 1..=1 (Text) -> Unknown;
    "toBase64" 1..=1 (Text) -> Text;
    "fromBase64" 1..=1 (Text) -> Text;
    "now" 0..=0 () -> Time;
    "duration" 1..=1 (Text) -> Duration;
    "date" 1..=1 (TextOrTime) -> Time;
    "first" 1..=1 (List) -> Unknown;
    "last" 1..=1 (List) -> Unknown;
    "get" 2..=2 (Container Any) -> Unknown;
    "take" 2..=2 (List Int) -> Same;
    "keys" 1..=1 (Map) -> List;
    "values" 1..=1 (Map) -> List;
    "toPairs" 1..=1 (Map) -> List;
    "fromPairs" 1..=1 (List) -> Map;
    "reverse" 1..=1 (List) -> List;
    "uniq" 1..=1 (List) -> List;
    "concat" 1..=ANY (List) -> List;
    "flatten" 1..=1 (List) -> List;
    "sort" 1..=2 (List Text) -> List;
    "bitand" 2..=2 (Int) -> Int;
    "bitor" 2..=2 (Int) -> Int;
    "bitxor" 2..=2 (Int) -> Int;
    "bitnand" 2..=2 (Int) -> Int;
    "bitnot" 1..=1 (Int) -> Int;
    "bitshl" 2..=2 (Int) -> Int;
    "bitshr" 2..=2 (Int) -> Int;
    "bitushr" 2..=2 (Int) -> Int;
};

/// The function of that name, if there is one.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

impl Function {
    /// Checks the types of a call. `whole` says which arguments are integer constants, which become floats on demand.
    pub(super) fn check(&self, args: &[Type], whole: &[bool]) -> Result<Type, String> {
        if args.len() < self.least {
            return Err(format!(
                "not enough arguments to call {} (expected {}, got {})",
                self.name,
                self.least,
                args.len()
            ));
        }
        if args.len() > self.most {
            return Err(format!(
                "too many arguments to call {} (expected {}, got {})",
                self.name,
                self.most,
                args.len()
            ));
        }
        for (index, argument) in args.iter().enumerate() {
            let Some(takes) = self.takes.get(index).or(self.takes.last()) else {
                continue;
            };
            let constant = whole.get(index).copied().unwrap_or(false);
            if !takes.accepts(argument, constant) {
                return Err(format!("invalid argument for {} (type {})", self.name, argument.name()));
            }
        }
        Ok(match self.gives {
            Gives::Unknown => Type::Unknown,
            Gives::Bool => Type::Bool,
            Gives::Int => Type::Int,
            Gives::Float => Type::Float,
            Gives::Text => Type::Text,
            Gives::Texts => Type::List(Box::new(Type::Text)),
            Gives::List => Type::List(Box::new(Type::Unknown)),
            Gives::Map => Type::Map { any_key: false },
            Gives::Time => Type::Time,
            Gives::Duration => Type::Duration,
            Gives::Same => args.first().cloned().unwrap_or(Type::Unknown),
        })
    }
}

impl Takes {
    fn accepts(self, of: &Type, whole_constant: bool) -> bool {
        if *of == Type::Unknown {
            return true;
        }
        match self {
            Self::Any => true,
            Self::Text => *of == Type::Text,
            Self::Int => *of == Type::Int,
            Self::Float => *of == Type::Float || whole_constant,
            Self::Number => of.is_number(),
            Self::Convertible => of.is_number() || *of == Type::Text,
            Self::List => matches!(of, Type::List(_)),
            Self::Map => matches!(of, Type::Map { .. }),
            Self::Measurable => matches!(of, Type::List(_) | Type::Map { .. } | Type::Text),
            Self::Summable => of.is_number() || matches!(of, Type::List(_)),
            Self::Container => matches!(of, Type::List(_) | Type::Map { .. }),
            Self::TextOrTime => matches!(of, Type::Text | Type::Time),
        }
    }
}

/// Calls a function whose argument count was checked.
pub(super) fn call(evaluation: &mut Evaluation<'_>, name: &str, args: &[Value]) -> Result<Value, String> {
    match args {
        [] if name == "now" => {
            let now = evaluation.now.ok_or("now() has no time here")?;
            Ok(Value::Time(Moment::utc(now)))
        }
        [_] if name == "isNil" => Ok(Value::Bool(matches!(evaluation.result, Value::Nil))),
        // The originals look at the metric's result, whatever the first argument is.
        [_, fallback] if name == "default" => Ok(match evaluation.result {
            Value::Nil => fallback.clone(),
            result => result.clone(),
        }),
        [Value::Int(left), rest @ ..] if name.starts_with("bit") => bits(name, *left, rest),
        _ if matches!(name, "max" | "min" | "mean" | "median") => summary(name, args),
        [Value::Text(first), rest @ ..] => text::call(evaluation, name, first, rest),
        [Value::List(items), rest @ ..] => list(evaluation, name, items, rest),
        [Value::Map(map), rest @ ..] => map_function(evaluation, name, map, rest),
        [only] => scalar(name, only),
        _ => Err(invalid(name, args.first())),
    }
}

fn invalid(name: &str, argument: Option<&Value>) -> String {
    format!(
        "invalid argument for {name} (type {})",
        argument.map_or("none", Value::type_name)
    )
}

/// Functions of one number, boolean, nil or time; [`general`] knows those that take anything.
fn scalar(name: &str, argument: &Value) -> Result<Value, String> {
    let rounded = |round: fn(f64) -> f64| match argument {
        #[expect(clippy::cast_precision_loss, reason = "as in Go")]
        Value::Int(value) => Ok(Value::Float(*value as f64)),
        Value::Float(value) => Ok(Value::Float(round(*value))),
        other => Err(invalid(name, Some(other))),
    };
    match (name, argument) {
        ("abs", Value::Int(value)) => Ok(Value::Int(value.wrapping_abs())),
        ("abs", Value::Float(value)) => Ok(Value::Float(value.abs())),
        ("ceil", _) => rounded(f64::ceil),
        ("floor", _) => rounded(f64::floor),
        ("round", _) => rounded(f64::round),
        ("isNaN", Value::Float(value)) => Ok(Value::Bool(value.is_nan())),
        ("isInf", Value::Float(value)) => Ok(Value::Bool(value.is_infinite())),
        ("isNaN" | "isInf", Value::Int(_)) => Ok(Value::Bool(false)),
        ("asInt" | "int", Value::Int(_)) | ("asFloat" | "float", Value::Float(_)) | ("date", Value::Time(_)) => {
            Ok(argument.clone())
        }
        ("asInt" | "int", Value::Float(_)) => Ok(argument.to_int().map_or(Value::Nil, Value::Int)),
        #[expect(clippy::cast_precision_loss, reason = "as in Go")]
        ("asFloat" | "float", Value::Int(value)) => Ok(Value::Float(*value as f64)),
        _ => general(name, argument),
    }
}

/// Functions that take a value of any type.
pub(super) fn general(name: &str, argument: &Value) -> Result<Value, String> {
    match name {
        "string" => Ok(Value::text(argument.print())),
        "toJSON" => argument.to_json().map(Value::text),
        "type" => Ok(Value::text(match argument {
            Value::Nil => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "string",
            Value::List(_) => "array",
            Value::Map(_) => "map",
            Value::Time(_) => "time.Time",
            Value::Duration(_) => "time.Duration",
        })),
        "asInt" | "asFloat" => Err(format!(
            "{name}() not supported on {} {}",
            argument.type_name(),
            argument.print()
        )),
        _ => Err(invalid(name, Some(argument))),
    }
}

/// `max`, `min`, `mean` and `median` over numbers and lists of numbers, however nested.
fn summary(name: &str, args: &[Value]) -> Result<Value, String> {
    let mut numbers = Vec::new();
    let mut pending: Vec<&Value> = args.iter().rev().collect();
    while let Some(next) = pending.pop() {
        match next {
            Value::Int(_) | Value::Float(_) => numbers.push(next.clone()),
            Value::List(items) => pending.extend(items.iter().rev()),
            other => return Err(invalid(name, Some(other))),
        }
    }
    match name {
        "max" | "min" => {
            let mut numbers = numbers.into_iter();
            let mut chosen = numbers.next().unwrap_or(Value::Nil);
            for next in numbers {
                let better = if name == "max" {
                    chosen.less(&next)?
                } else {
                    next.less(&chosen)?
                };
                if better {
                    chosen = next;
                }
            }
            Ok(chosen)
        }
        _ => {
            let mut floats: Vec<f64> = numbers
                .iter()
                .map(|number| match number {
                    #[expect(clippy::cast_precision_loss, reason = "as in Go")]
                    Value::Int(value) => *value as f64,
                    Value::Float(value) => *value,
                    _ => f64::NAN,
                })
                .collect();
            Ok(Value::Float(if name == "mean" {
                mean(&floats)
            } else {
                median(&mut floats)
            }))
        }
    }
}

fn mean(numbers: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "lists are far shorter")]
    let count = numbers.len() as f64;
    if numbers.is_empty() {
        0.0
    } else {
        numbers.iter().sum::<f64>() / count
    }
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match (
        numbers.get(middle),
        middle.checked_sub(1).and_then(|below| numbers.get(below)),
    ) {
        (Some(upper), Some(lower)) if numbers.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (Some(upper), _) => *upper,
        (None, _) => 0.0,
    }
}

fn list(evaluation: &mut Evaluation<'_>, name: &str, items: &Rc<Vec<Value>>, rest: &[Value]) -> Result<Value, String> {
    let length = |count: usize| i64::try_from(count).map_or(Value::Nil, Value::Int);
    evaluation.allocate(items.len())?;
    Ok(match (name, rest) {
        ("len", []) => length(items.len()),
        ("first", []) => items.first().cloned().unwrap_or(Value::Nil),
        ("last", []) => items.last().cloned().unwrap_or(Value::Nil),
        ("get", [key]) => Value::List(items.clone()).fetch(key).unwrap_or(Value::Nil),
        ("take", [count]) => {
            let count = count.to_int().and_then(|count| usize::try_from(count).ok());
            let count = count.ok_or("cannot take a negative number of elements")?;
            Value::list(items.iter().take(count).cloned().collect())
        }
        ("reverse", []) => Value::list(items.iter().rev().cloned().collect()),
        ("uniq", []) => Value::list(unique(items)),
        ("concat", more) => {
            let mut all = items.to_vec();
            for next in more {
                let Value::List(next) = next else {
                    return Err(invalid(name, Some(next)));
                };
                evaluation.allocate(next.len())?;
                all.extend(next.iter().cloned());
            }
            Value::list(all)
        }
        ("flatten", []) => {
            let mut flat = Vec::new();
            let mut pending: Vec<&Value> = items.iter().rev().collect();
            while let Some(next) = pending.pop() {
                match next {
                    Value::List(inner) => pending.extend(inner.iter().rev()),
                    other => flat.push(other.clone()),
                }
                evaluation.allocate(1)?;
            }
            Value::list(flat)
        }
        ("sort", order) => {
            let descending = descending(order.first())?;
            check_sortable(items.iter())?;
            let mut sorted = items.to_vec();
            sorted.sort_by(|left, right| {
                if descending {
                    compare_for_sort(right, left)
                } else {
                    compare_for_sort(left, right)
                }
            });
            Value::list(sorted)
        }
        ("join", glue) => text::join(items, glue.first())?,
        ("fromPairs", []) => from_pairs(items)?,
        (_, []) => return general(name, &Value::List(items.clone())),
        _ => return Err(invalid(name, rest.first())),
    })
}

/// Quadratic, and therefore only for lists of a moderate length.
fn unique(items: &[Value]) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for item in items.iter().take(UNIQUE_MAX) {
        if !kept.iter().any(|other| other.equals(item)) {
            kept.push(item.clone());
        }
    }
    kept
}

/// Most elements that `uniq` looks at.
const UNIQUE_MAX: usize = 10_000;

fn from_pairs(items: &[Value]) -> Result<Value, String> {
    let mut map = BTreeMap::new();
    for item in items {
        let Value::List(pair) = item else {
            return Err(format!("invalid pair {}", item.print()));
        };
        let [key, value] = pair.as_slice() else {
            return Err(format!("invalid pair length {}", item.print()));
        };
        map.insert(key.clone().into_key()?, value.clone());
    }
    Ok(Value::Map(Rc::new(map)))
}

fn map_function(
    evaluation: &mut Evaluation<'_>,
    name: &str,
    map: &Rc<BTreeMap<Key, Value>>,
    rest: &[Value],
) -> Result<Value, String> {
    evaluation.allocate(map.len())?;
    Ok(match (name, rest) {
        ("len", []) => i64::try_from(map.len()).map_or(Value::Nil, Value::Int),
        ("get", [key]) => Value::Map(map.clone()).fetch(key).unwrap_or(Value::Nil),
        ("keys", []) => Value::list(map.keys().map(Key::to_value).collect()),
        ("values", []) => Value::list(map.values().cloned().collect()),
        ("toPairs", []) => {
            let pair = |(key, value): (&Key, &Value)| Value::list(vec![key.to_value(), value.clone()]);
            Value::list(map.iter().map(pair).collect())
        }
        (_, []) => return general(name, &Value::Map(map.clone())),
        _ => return Err(invalid(name, rest.first())),
    })
}

fn bits(name: &str, left: i64, rest: &[Value]) -> Result<Value, String> {
    let right = match rest {
        [] => 0,
        [Value::Int(right)] => *right,
        _ => return Err(invalid(name, rest.first())),
    };
    let shift = || u32::try_from(right).map_err(|_| format!("invalid operation: negative shift count {right}"));
    Ok(Value::Int(match name {
        "bitand" => left & right,
        "bitor" => left | right,
        "bitxor" => left ^ right,
        "bitnand" => left & !right,
        "bitnot" => !left,
        "bitshl" => left.checked_shl(shift()?).unwrap_or(0),
        "bitshr" => left >> shift()?.min(63),
        "bitushr" => {
            let shifted = left.cast_unsigned().checked_shr(shift()?).unwrap_or(0);
            shifted.cast_signed()
        }
        _ => return Err(invalid(name, None)),
    }))
}

/// Reads a float as Go's `ParseFloat`: decimal or hexadecimal, `inf`, `infinity`, `nan`; no blanks.
pub(super) fn parse_float(text: &str) -> Result<f64, String> {
    let invalid = || format!("strconv.ParseFloat: parsing {text:?}: invalid syntax");
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        return hex_float(hex).map(|value| sign * value).ok_or_else(invalid);
    }
    let signed_nan = unsigned.len() < text.len() && unsigned.eq_ignore_ascii_case("nan");
    if signed_nan || unsigned.starts_with(['+', '-']) {
        return Err(invalid());
    }
    let value: f64 = unsigned.parse().map_err(|_| invalid())?;
    if value.is_infinite() && unsigned.contains(|c: char| c.is_ascii_digit()) {
        return Err(format!(
            "strconv.ParseFloat: parsing {text:?}: value out of range ({})",
            go_float(sign * value)
        ));
    }
    Ok(sign * value)
}

/// `7.8p-2`: hexadecimal digits and a power of two. Exact up to 16 digits.
fn hex_float(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let joined = format!("{whole}{fraction}");
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() < 2000)?;
    if joined.is_empty() || joined.len() > 16 || joined.contains(['+', '-']) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "rounds as any literal does")]
    let mantissa = u64::from_str_radix(&joined, 16).ok()? as f64;
    let fraction_bits = 4 * i32::try_from(fraction.len()).ok()?;
    Some(mantissa * 2.0_f64.powi(exponent - fraction_bits))
}
