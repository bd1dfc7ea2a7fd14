//! Whole updates in a world of plain objects: plans are carried out, pods follow, time jumps to the next wake-up.

mod chaos;
mod drain;
mod golden;
mod hazards;
mod held;
mod leaving;
mod lost_stable;
mod mended;
mod scenarios;
mod takeover;
mod world;
