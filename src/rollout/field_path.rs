//! Paths into a Rollout, for arguments with `valueFrom.fieldRef` (reference, rollouts 1.6).

use crate::{api::rollout::Rollout, lang::field_path};

/// The value at a path such as `metadata.labels['team']`, `spec.replicas` or `status.albs[0].canaryTargetGroup.name`.
///
/// # Errors
/// One sentence naming the path, when it leads nowhere or to something that is not a text, number or boolean.
pub(crate) fn text(rollout: &Rollout, path: &str) -> Result<String, String> {
    field_path::text(&serde_json::to_value(rollout).unwrap_or_default(), "rollout", path)
}
