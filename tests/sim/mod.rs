//! The real controllers in the simulated cluster.

mod rollout;
