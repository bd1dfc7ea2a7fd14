//! The simulated cluster: what surrounds the real controllers when they run on a paused clock, without a network.
//!
//! Everything here is deterministic: no wall clock, no random number, no hash order reaches anything visible, so that
//! the same inputs give the same bytes in every process. `api` is the API server.

pub mod api;
pub mod clock;
