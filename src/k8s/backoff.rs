//! How long a watch that failed waits before it is opened again.
//!
//! The delays are the client library's, without its randomness: a replica has a handful of watches, so nothing is gained
//! by spreading them, and a run of the simulated cluster must be reproducible.

use kube::runtime::utils::Backoff;
use std::time::Duration;
use tokio::time::Instant;

const DELAY_MIN: Duration = Duration::from_millis(800);
const DELAY_MAX: Duration = Duration::from_secs(30);
/// After this long without a failure the delay is the shortest again. A success alone does not count: each new list
/// begins with one.
const QUIET_TIME: Duration = Duration::from_secs(120);

/// Doubles from 0.8 s to 30 s; starts anew two minutes after the last failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchBackoff {
    next: Option<Duration>,
    last_failure: Option<Instant>,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last_failure.is_some_and(|last| now >= last + QUIET_TIME) {
            self.next = None;
        }
        self.last_failure = Some(now);
        let delay = self.next.unwrap_or(DELAY_MIN);
        self.next = Some((delay * 2).min(DELAY_MAX));
        Some(delay)
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_double_up_to_a_bound_and_start_anew_when_it_was_quiet() {
        let mut backoff = WatchBackoff::default();
        let delays: Vec<u64> = backoff.by_ref().take(8).map(|delay| delay.as_millis() as u64).collect();
        assert_eq!(delays, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.next(), Some(DELAY_MAX), "a success alone does not count");
        tokio::time::advance(QUIET_TIME).await;
        assert_eq!(backoff.next(), Some(DELAY_MIN));
    }
}
