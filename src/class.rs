//! What an adapter's error means for whoever retries. Every adapter error answers `class()` and `label()`.

use std::time::Duration;

/// The answer to "what now?" after an error; the delay for each class is decided in one place by the controllers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Somebody else was faster: decide again at once, without noise.
    Conflict,
    /// It may work later without anybody doing anything: retry with a growing delay.
    Transient,
    /// The other side asked for patience.
    Throttled(Duration),
    /// The other side refuses us: wait until credentials or rights change.
    Denied,
    /// The thing does not exist: wait until it, or the reference to it, changes.
    NotFound,
    /// The input is wrong: retrying without a change is useless.
    Permanent,
}
