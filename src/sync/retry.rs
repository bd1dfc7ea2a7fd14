//! When to try again: after a failed operation, and after drift came back (reference, applications 1.3 and 2.9).

use crate::{
    api::application::{Backoff, RetryStrategy},
    lang::duration,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// First delay of a retry.
const DURATION_DEFAULT: SignedDuration = SignedDuration::from_secs(5);
/// Growth of the delay.
const FACTOR_DEFAULT: i64 = 2;
/// Longest delay.
const DURATION_MAX_DEFAULT: SignedDuration = SignedDuration::from_secs(180);
/// Retries of an automated operation that does not say.
pub const AUTOMATED_LIMIT: i64 = 5;

/// First delay of self-healing, its growth and its cap, in seconds.
const HEAL_SECONDS: i64 = 2;
const HEAL_FACTOR: i64 = 3;
const HEAL_SECONDS_MAX: i64 = 300;

/// Whether another attempt is allowed after `done` retries.
pub fn is_allowed(strategy: &RetryStrategy, done: i64) -> bool {
    strategy.limit < 0 || done < strategy.limit
}

/// Time between attempt `done` and the next one: min(maxDuration, duration × factor^done).
pub fn delay(strategy: &RetryStrategy, done: i64) -> SignedDuration {
    let empty = Backoff::default();
    let backoff = strategy.backoff.as_ref().unwrap_or(&empty);
    let first = read(&backoff.duration).unwrap_or(DURATION_DEFAULT);
    let longest = read(&backoff.max_duration).unwrap_or(DURATION_MAX_DEFAULT);
    grown(first, backoff.factor.unwrap_or(FACTOR_DEFAULT), done).min(longest)
}

/// What is wrong with a strategy, in words.
pub fn problems(strategy: &RetryStrategy, at: &str) -> Vec<String> {
    let Some(backoff) = &strategy.backoff else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (field, text) in [("duration", &backoff.duration), ("maxDuration", &backoff.max_duration)] {
        if !text.is_empty() && read(text).is_none() {
            found.push(format!("{at}.backoff.{field}: {text:?} is not a duration such as 5s"));
        }
    }
    if backoff.factor.is_some_and(|factor| factor < 1) {
        found.push(format!("{at}.backoff.factor must be at least 1"));
    }
    found
}

/// Delay before the next self-heal after `attempts` of them at the same commit: 0, 2, 6, 18, 54, 162, 300, 300 … s.
pub fn heal_delay(attempts: i64) -> SignedDuration {
    if attempts <= 0 {
        return SignedDuration::ZERO;
    }
    grown(SignedDuration::from_secs(HEAL_SECONDS), HEAL_FACTOR, attempts - 1)
        .min(SignedDuration::from_secs(HEAL_SECONDS_MAX))
}

/// Delay before automation tries a commit again whose retries are used up. It never gives up (guarantee C1).
pub fn exhausted_delay() -> SignedDuration {
    SignedDuration::from_secs(HEAL_SECONDS_MAX)
}

/// `3:04PM`, as operation messages have it.
pub fn clock_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%-I:%M%p").to_string()
}

fn grown(first: SignedDuration, factor: i64, times: i64) -> SignedDuration {
    let factor = i32::try_from(factor).unwrap_or(i32::MAX).max(1);
    let mut grown = first;
    for _ in 0..times.clamp(0, 64) {
        grown = grown.checked_mul(factor).unwrap_or(SignedDuration::MAX);
    }
    grown
}

/// A Go duration, or a bare number of seconds.
fn read(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(seconds) => Some(SignedDuration::from_secs(seconds)),
        Err(_) => duration::parse(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(limit: i64, duration: &str, factor: Option<i64>, max: &str) -> RetryStrategy {
        let backoff = Backoff {
            duration: duration.into(),
            factor,
            max_duration: max.into(),
        };
        RetryStrategy {
            limit,
            backoff: Some(backoff),
            refresh: false,
        }
    }

    #[test]
    fn delays_grow_to_the_cap() {
        let seconds = |strategy: &RetryStrategy| (0..8).map(|n| delay(strategy, n).as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(&RetryStrategy::default()), [5, 10, 20, 40, 80, 160, 180, 180]);
        assert_eq!(seconds(&strategy(1, "1m", Some(3), "5m"))[..4], [60, 180, 300, 300]);
        assert_eq!(seconds(&strategy(1, "7", Some(1), ""))[..2], [7, 7]);
        assert_eq!(
            delay(&strategy(-1, "1h", Some(9), "10000h"), 10_000).as_secs(),
            36_000_000
        );
    }

    #[test]
    fn limits() {
        assert!(!is_allowed(&RetryStrategy::default(), 0));
        assert!(is_allowed(&strategy(2, "", None, ""), 1) && !is_allowed(&strategy(2, "", None, ""), 2));
        assert!(is_allowed(&strategy(-1, "", None, ""), 1_000_000));
    }

    #[test]
    fn self_healing_waits_longer_each_time() {
        let seconds: Vec<i64> = (0..9).map(|n| heal_delay(n).as_secs()).collect();
        assert_eq!(seconds, [0, 2, 6, 18, 54, 162, 300, 300, 300]);
    }

    #[test]
    fn bad_durations_are_named() {
        assert_eq!(
            problems(&strategy(1, "5x", Some(0), "3m"), "spec.syncPolicy.retry").len(),
            2
        );
        assert_eq!(clock_time(Timestamp::from_second(54_240).unwrap()), "3:04PM");
    }
}
