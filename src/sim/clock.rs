//! The simulated wall clock: follows tokio's clock, which a world pauses, and can be made to jump.

use crate::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Mutex, PoisonError};
use tokio::{runtime::Handle, time::Instant};

/// A wall clock that starts at a given time and goes as fast as `tokio::time` does.
#[derive(Debug)]
pub struct VirtualClock {
    runtime: Handle,
    origin: Instant,
    start: Timestamp,
    skew: Mutex<SignedDuration>,
}

impl VirtualClock {
    /// A clock that shows `start` now. Must be made inside the runtime whose time it is to follow.
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            runtime: Handle::current(),
            origin: Instant::now(),
            start,
            skew: Mutex::default(),
        }
    }

    /// Makes the clock jump, forward or back; timers do not notice.
    pub fn jump(&self, by: SignedDuration) {
        let mut skew = self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        *skew = skew.saturating_add(by);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        // Outside the runtime, tokio would tell the machine's time.
        let _inside = self.runtime.enter();
        let elapsed = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        let skew = *self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        self.start
            .saturating_add(elapsed.saturating_add(skew))
            .unwrap_or(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_follows_the_paused_clock_and_jumps() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = VirtualClock::starting_at(start);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T00:01:00Z");
        clock.jump(SignedDuration::from_secs(-30));
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:30Z");
    }
}
