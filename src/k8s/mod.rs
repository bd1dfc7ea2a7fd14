//! The Kubernetes side of every controller: watch stores, snapshots, the executor of plans, the leader's lease.
//!
//! Nothing here decides: `stores` hold what the API server said, `observe` puts together what one decision needs,
//! `apply` carries out what was decided, and `lease` says whether this replica may write.

pub mod action;
pub mod apply;
pub mod backoff;
pub mod cell;
pub mod client;
pub mod error;
pub mod foreign;
pub mod kinds;
pub mod lease;
pub mod ledger;
pub mod left;
pub mod object_metrics;
pub mod observe;
pub mod overrides;
pub mod pods;
pub mod progress_metrics;
pub mod references;
pub mod store;
pub mod stores;
pub mod workloads;

#[cfg(test)]
pub(crate) mod testing;
