//! Tests.

mod charts;
mod wire;
