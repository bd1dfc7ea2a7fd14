//! The one integration binary.

mod charts;
mod e2e;
mod tidy;
mod wire;
