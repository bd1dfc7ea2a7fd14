//! Whole updates in a world of plain objects: plans are carried out, pods follow, time jumps to the next wake-up.

mod chaos;
mod golden;
mod hazards;
mod mended;
mod model;
mod scenarios;
mod takeover;
mod world;
