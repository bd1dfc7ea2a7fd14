//! The one integration binary.

mod cli;
mod e2e;
mod tidy;
mod wire;
