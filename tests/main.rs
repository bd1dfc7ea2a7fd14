//! Tests.

mod cli;
mod wire;
