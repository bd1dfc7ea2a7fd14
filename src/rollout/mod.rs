//! Progressive delivery: decides everything about one Rollout from one snapshot.

pub mod snapshot;

use crate::plan::Plan;
use snapshot::Snapshot;

/// Decides what to do about a Rollout. Pure; cannot fail: a bad specification is a condition in the plan's status.
pub fn plan(_snapshot: &Snapshot<'_>) -> Plan {
    Plan::default()
}
