//! Random lives of an Application under faults: pushes good and bad, drift, outages of Git, manual syncs and rollbacks.
//!
//! [`content`] is what commits say, [`case`] a life drawn from a seed, [`deeds`] what happens in it, [`run`] plays it and
//! [`shrink`] makes a failing one small. The judge is `oracle::sync`.

pub mod case;
pub mod content;
pub mod deeds;
pub mod run;
pub mod shrink;
