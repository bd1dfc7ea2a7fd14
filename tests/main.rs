//! The one integration binary.

mod charts;
mod cli;
mod e2e;
mod tidy;
mod wire;
