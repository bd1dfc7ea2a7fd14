//! The one integration binary.

mod e2e;
mod tidy;
mod wire;
