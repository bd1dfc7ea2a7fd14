//! The only caller of the wall clock, so that decisions can be replayed and tests can set the time.

use jiff::Timestamp;
use std::sync::Arc;

/// Tells the time. A trait object because the simulation replaces it.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;
