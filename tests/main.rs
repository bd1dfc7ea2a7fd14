//! The one integration binary.

mod charts;
mod cli;
mod e2e;
mod sim;
mod tidy;
mod wire;
