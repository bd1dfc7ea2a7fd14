//! Random lives of a Rollout, or of an Application, under faults, and a judge over every write of the real controllers in them.
//!
//! A [`case`] is drawn from a seed; [`run`] plays it in a simulated world; [`oracle`] holds every write, every request
//! from outside and the end against the guarantees; [`shrink`] makes a failing case small and [`story`] tells it.

#![expect(clippy::indexing_slicing, reason = "reading JSON: what is missing is null")]

pub mod case;
pub mod facts;
pub mod faults;
pub mod features;
pub mod frame;
pub mod life;
pub mod oracle;
pub mod run;
pub mod shrink;
pub mod story;
pub mod sync;
