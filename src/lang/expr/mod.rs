//! Success and failure conditions of analysis metrics, in the language of Argo Rollouts (expr-lang 1.17).
//!
//! A condition is parsed once; with a measured value it is first checked against the type of that value, as the
//! original compiles it, and then evaluated within limits. Answers are those of the original
//! (`tests/wire/conditions.jsonl`); what is left out is listed in `docs/limits.md`.

mod ast;
mod builtin;
mod check;
mod eval;
mod lex;
mod parse;
mod predicate;
mod text;
mod time;
mod value;

use jiff::Timestamp;
use serde_json::Value as Json;
use thiserror::Error;

use self::value::Value;

/// A longer condition is a mistake or an attack. In bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Most syntax nodes in one condition, as in the original.
pub const NODES_MAX: usize = 10_000;

/// Deepest nesting of a condition; a chain `a || b || c` nests once for each operator. Protects the stack.
pub const DEPTH_MAX: usize = 120;

/// Most list and map entries made during one evaluation, as in the original.
pub const MEMORY_MAX: usize = 1_000_000;

/// Most evaluation steps, so that nested closures over long lists end. The original has no such limit; a vector of
/// 10,000 samples compared pairwise would reach it.
pub const STEPS_MAX: usize = 10_000_000;

/// What a provider measured; the variant is the static type the condition is checked against.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// One float, as from a Prometheus scalar.
    Scalar(f64),
    /// Floats, as from a Prometheus vector.
    Vector(Vec<f64>),
    /// Lists of floats, as from a Prometheus matrix (range query).
    Matrix(Vec<Vec<f64>>),
    /// Any JSON; its numbers are floats and its inner types are only known at evaluation.
    Json(Json),
}

impl Measured {
    /// Whether nothing was measured: `null`, or a list or text without content. Unknown is never success.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::Vector(samples) => samples.is_empty(),
            Self::Matrix(series) => series.is_empty(),
            Self::Json(Json::Null) => true,
            Self::Json(Json::Array(items)) => items.is_empty(),
            Self::Json(Json::String(text)) => text.is_empty(),
            Self::Json(_) => false,
        }
    }
}

/// Why a condition has no answer. Displayed as a fragment to put behind `could not evaluate successCondition "…": `.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ConditionError {
    /// The text, or its types, are wrong at a place.
    #[error("{message} (at column {column})")]
    Invalid {
        /// 1-based column, in characters.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Evaluation failed and there was no data to evaluate on.
    #[error("metric result is nil or empty: no data returned from the metric provider")]
    NoData,
    /// Evaluation failed.
    #[error("{0}")]
    Failed(String),
}

impl ConditionError {
    fn at(offset: usize, message: impl Into<String>) -> Self {
        Self::Invalid {
            column: offset + 1,
            message: message.into(),
        }
    }
}

/// A parsed success or failure condition (`successCondition`, `failureCondition` of a metric).
#[derive(Clone, Debug)]
pub struct Condition {
    root: ast::Node,
    now: Option<Timestamp>,
}

impl Condition {
    /// Parses the text of a condition; types are checked when it meets a measured value.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        Ok(Self {
            root: parse::parse(text)?,
            now: None,
        })
    }

    /// The same condition with a time for `now()`, which has no value otherwise.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { now: Some(now), ..self }
    }

    /// Whether the condition holds for `result`. Anything but a boolean is an error, so is a value of a wrong type and
    /// an index out of range.
    pub fn evaluate(&self, result: &Measured) -> Result<bool, ConditionError> {
        let value = Value::measured(result);
        let mut root = self.root.clone();
        check::check(&mut root, &check::Type::of(result))?;
        match eval::evaluate(&root, &value, self.now) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(ConditionError::Failed(format!(
                "expected bool, but got {}",
                other.type_name()
            ))),
            Err(_) if result.is_empty() => Err(ConditionError::NoData),
            Err(message) => Err(ConditionError::Failed(message)),
        }
    }
}

/// Evaluates the start or end of a Prometheus range query (`rangeQuery.start`, `rangeQuery.end`), for instance
/// `now() - duration("1h")`.
pub fn range_time(text: &str, now: Timestamp) -> Result<Timestamp, ConditionError> {
    let mut root = parse::parse(text)?;
    check::check(&mut root, &check::Type::Nil)?;
    match eval::evaluate(&root, &Value::Nil, Some(now)) {
        Ok(Value::Time(moment)) => Ok(moment.instant()),
        Ok(other) => Err(ConditionError::Failed(format!(
            "expected time.Time, but got {}",
            other.type_name()
        ))),
        Err(message) => Err(ConditionError::Failed(message)),
    }
}

#[cfg(test)]
mod tests;
