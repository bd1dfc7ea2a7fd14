//! Durations as Go writes them: `1h30m`, `300ms`, `1.5h`. The text form of intervals, delays and timeouts in the API.

use jiff::SignedDuration;
use std::fmt::Write as _;
use thiserror::Error;

/// A text that is not a Go duration.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("invalid duration {text:?}: {reason}")]
pub struct DurationError {
    /// The text that was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Parses a Go duration: an optional sign and numbers with a unit of `ns`, `us`, `ms`, `s`, `m`, `h` each, or `0`.
/// At most about 292 years, as in Go.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    let fail = |reason| DurationError {
        text: text.to_owned(),
        reason,
    };
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(fail("it is empty"));
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (nanos, behind) = component(rest).map_err(fail)?;
        total = total.saturating_add(nanos);
        rest = behind;
    }
    let limit = if negative {
        i128::from(i64::MAX) + 1
    } else {
        i128::from(i64::MAX)
    };
    if total > limit {
        return Err(fail("it is too long"));
    }
    let total = if negative { -total } else { total };
    i64::try_from(total)
        .map(SignedDuration::from_nanos)
        .map_err(|_| fail("it is too long"))
}

/// One number with its unit: its nanoseconds and what follows.
fn component(text: &str) -> Result<(i128, &str), &'static str> {
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err("a number is expected before each unit");
    }
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3600 * NANOS_PER_SECOND,
        "" => return Err("a unit is missing (ns, us, ms, s, m or h)"),
        _ => return Err("its unit is unknown (expected ns, us, ms, s, m or h)"),
    };
    let digits = |text: &str| {
        text.bytes().fold(0_i128, |value, digit| {
            value.saturating_mul(10).saturating_add((digit - b'0').into())
        })
    };
    // Beyond 18 digits a fraction of an hour is below one nanosecond.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let nanos = digits(whole)
        .saturating_mul(unit)
        .saturating_add(digits(fraction) * unit / scale);
    Ok((nanos, rest))
}

/// Prints a duration as Go's `String` method: `1h30m0s`, `1.5s`, `300ms`, `0s`.
pub fn print(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let mut out = String::new();
    if nanos < 0 {
        out.push('-');
    }
    let nanos = nanos.unsigned_abs();
    let second = NANOS_PER_SECOND.unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < second {
        let (unit, name) = if nanos < 1_000 {
            (1, "ns")
        } else if nanos < 1_000_000 {
            (1_000, "µs")
        } else {
            (1_000_000, "ms")
        };
        out.push_str(&decimal(nanos, unit));
        out.push_str(name);
        return out;
    }
    let minutes = nanos / (60 * second);
    let (hours, minutes_left) = (minutes / 60, minutes % 60);
    if hours > 0 {
        // Writing to a string cannot fail.
        let _ = write!(out, "{hours}h");
    }
    if minutes > 0 {
        let _ = write!(out, "{minutes_left}m");
    }
    out.push_str(&decimal(nanos % (60 * second), second));
    out.push('s');
    out
}

fn decimal(value: u128, unit: u128) -> String {
    let digits = unit.to_string().len() - 1;
    let fraction = format!("{:0digits$}", value % unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        (value / unit).to_string()
    } else {
        format!("{}.{fraction}", value / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads_and_prints_as_go_prints() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("1h30m", 5_400_000_000_000_i64, "1h30m0s"),
            ("300ms", 300_000_000, "300ms"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("-1m", -60_000_000_000, "-1m0s"),
            ("1h", 3_600_000_000_000, "1h0m0s"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("1.25us", 1_250, "1.25µs"),
            ("3ns", 3, "3ns"),
            ("90s", 90_000_000_000, "1m30s"),
            ("2562047h47m16.854775807s", i64::MAX, "2562047h47m16.854775807s"),
        ] {
            let duration = parse(text).unwrap();
            assert_eq!(duration, SignedDuration::from_nanos(nanos), "{text}");
            assert_eq!(print(duration), printed, "{text}");
            assert_eq!(parse(&print(duration)).unwrap(), duration, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "1",
            "1d",
            "h",
            "1h-1m",
            " 1h",
            "1.2.3s",
            ".s",
            "-",
            "2562048h",
            "99999999999999999999999999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
