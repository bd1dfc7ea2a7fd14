//! Whole updates in a world of plain objects: plans are carried out, pods follow, time jumps to the next wake-up.

mod aborts;
mod chaos;
mod drain;
mod experiments;
mod fixtures;
mod gateway;
mod golden;
mod hazards;
mod held;
mod leaving;
mod lost_stable;
mod mended;
mod meshes;
mod model;
mod ping_pong;
mod repairs;
mod roles;
mod simulated;
mod steps;
mod takeover;
mod workload;
mod world;
