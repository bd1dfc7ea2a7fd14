//! The one integration binary.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has failed, and says its seed"
)]

mod charts;
mod cli;
mod e2e;
mod tidy;
mod wire;
