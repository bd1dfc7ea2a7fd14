//! Single writes: one file for each family.

pub mod events;
pub mod objects;
