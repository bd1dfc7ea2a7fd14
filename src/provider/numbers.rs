//! Numbers of several series, some of which may have none.

use crate::lang::expr::Measured;
use serde_json::{Value, json};

/// What a condition sees: a list of floats, with nil where a number is missing (then of any type, as JSON is). `None` when
/// there is no number at all, which is no measurement.
pub(super) fn measured(samples: &[Option<f64>]) -> Option<Measured> {
    let whole: Option<Vec<f64>> = samples.iter().copied().collect();
    match whole {
        Some(samples) if samples.is_empty() => None,
        Some(samples) => Some(Measured::Vector(samples)),
        None if samples.iter().all(Option::is_none) => None,
        None => Some(Measured::Json(
            samples.iter().map(|sample| json!(sample)).collect::<Value>(),
        )),
    }
}

/// The list as it is shown.
pub(super) fn shown(samples: &[Option<f64>], number: impl Fn(f64) -> String) -> String {
    let texts: Vec<String> = samples
        .iter()
        .map(|sample| sample.map_or_else(|| "nil".to_owned(), &number))
        .collect();
    format!("[{}]", texts.join(","))
}
