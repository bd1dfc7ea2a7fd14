//! The simulated cluster: the real controllers on a paused clock, without a network.
//!
//! Everything here is deterministic: no wall clock, no random number, no hash order reaches anything visible, so that
//! the same seed gives the same bytes in every process. `api` is the API server, `models` what surrounds the
//! controllers, `world` puts them together and lets time pass; `scenario` is what users write, `timeline` and `report`
//! what they get.

pub mod api;
pub mod cast;
pub mod clock;
pub mod dice;
pub mod models;
pub mod play;
pub mod replica;
pub mod report;
pub mod scenario;
pub mod study;
pub mod timeline;
pub mod world;
