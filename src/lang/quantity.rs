//! Kubernetes quantities (`100m`, `1Gi`, `1e3`) in one form, so that equal amounts compare as equal.

use std::fmt;
use thiserror::Error;

/// A text that is not a quantity.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("invalid quantity {0:?}")]
pub struct QuantityError(pub String);

/// An exact amount: `digits × 10^exponent`, without trailing zeros in `digits`. Two quantities are equal when their
/// amounts are: `1000m` is `1`, `1Gi` is `1024Mi`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Quantity {
    digits: i128,
    exponent: i32,
}

/// More digits than this do not occur and would overflow.
const DIGITS_MAX: usize = 19;

impl Quantity {
    /// Parses a number with an optional suffix: `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`, or a decimal exponent.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        Self::read(text).ok_or_else(|| QuantityError(text.to_owned()))
    }

    fn read(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let written = format!("{whole}{fraction}");
        if written.is_empty() || written.contains('.') {
            return None;
        }
        let significant = written.trim_start_matches('0');
        let digits: i128 = if significant.is_empty() {
            0
        } else {
            significant.parse().ok()?
        };
        if significant.len() > DIGITS_MAX {
            return None;
        }
        let (power_of_two, power_of_ten) = scale(suffix)?;
        let digits = digits.checked_shl(power_of_two)?;
        let exponent = power_of_ten - i32::try_from(fraction.len()).ok()?;
        Some(Self::reduced(if negative { -digits } else { digits }, exponent))
    }

    fn reduced(mut digits: i128, mut exponent: i32) -> Self {
        if digits == 0 {
            return Self { digits: 0, exponent: 0 };
        }
        while digits % 10 == 0 {
            digits /= 10;
            exponent += 1;
        }
        Self { digits, exponent }
    }
}

/// Powers of two and of ten of a suffix.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let plausible =
                !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
            (0, plausible.then(|| exponent.parse().ok()).flatten()?)
        }
    })
}

impl fmt::Display for Quantity {
    /// The canonical text: digits and, where needed, a decimal exponent (`1e3`, `1e-1`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exponent {
            0 => write!(f, "{}", self.digits),
            exponent => write!(f, "{}e{exponent}", self.digits),
        }
    }
}

/// Whether two texts are the same amount; texts that are not quantities are the same only when identical.
pub fn equal(left: &str, right: &str) -> bool {
    match (Quantity::parse(left), Quantity::parse(right)) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_amounts_are_equal() {
        for (left, right) in [
            ("1000m", "1"),
            ("1Gi", "1024Mi"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1.5Gi", "1536Mi"),
            ("0", "0m"),
            ("-1", "-1000m"),
            ("+2", "2"),
            ("1E", "1000P"),
            ("100.0", "1e2"),
            ("16Ei", "16384Pi"),
        ] {
            assert!(equal(left, right), "{left} {right}");
        }
        for (left, right) in [("1G", "1Gi"), ("1", "1m"), ("-1", "1"), ("0.1", "0.11")] {
            assert!(!equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "m",
            "1.2.3",
            "1x",
            "1KI",
            "1e",
            "1 Gi",
            "--1",
            "1ee3",
            ".",
            "99999999999999999999",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert!(equal("abc", "abc"));
    }
}
