//! Small languages: each parses and evaluates, has a limit, and does no IO.

pub mod duration;
pub mod quantity;
