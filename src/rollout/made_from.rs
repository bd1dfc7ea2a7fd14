//! Which pod template a ReplicaSet was made from, where its own does not tell: the server drops fields that it does not
//! know, and a webhook may change others, which no normal form undoes (guarantee D5).
//!
//! A ReplicaSet remembers a digest of the user's template when it is made, and of its own template as the server stored
//! it, once that was seen to have another meaning. It is of the user's template while the first digest is that of the
//! user's template, and its own template is what became of that: so a Rollout that was edited fails the first, and a
//! ReplicaSet that was edited the second. What controllers put into a ReplicaSet counts for neither (`injected`).
//!
//! A template is what became of the user's while it has the second digest; until that is written, while the generation
//! is 1, in which nobody can have changed it; and whenever it has the same meaning but for fields that this program does
//! not know, since a server that is upgraded may fill in new ones. By the last alone, and the Rollout's status instead of
//! a digest, goes a ReplicaSet that somebody else made: the original compares no other fields.

use super::{
    injected,
    retire::belongs,
    template::{digest, same_known_meaning, same_meaning},
    view::View,
};
use crate::{
    api::{replica_set::ReplicaSet, well_known},
    plan::{Action, ObjectRef, Precondition},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Field manager of the record; that of sizes and revisions as well.
const MANAGER: &str = "tidegate-scale";

/// The annotation `tidegate/made-from` of a ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct MadeFrom {
    /// Digest of the user's template.
    template: String,
    /// Digest of the template as stored, where its meaning is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<String>,
}

impl MadeFrom {
    /// Of a ReplicaSet; one that cannot be read is none.
    fn of(set: &ReplicaSet) -> Option<Self> {
        let text = set.annotation(well_known::MADE_FROM)?;
        serde_json::from_str(text).ok()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The annotation of a ReplicaSet that is to be made from this template of a user.
pub(crate) fn of_new_set(template: &Value) -> String {
    let template = digest(template);
    MadeFrom { template, stored: None }.text()
}

/// Whether a ReplicaSet was made from this template of a user, and is as it was then. Both templates are given without
/// what was injected. `is_recorded`: whether the Rollout's status says so, for its specification as it is.
pub(crate) fn is_of(wanted: &Value, stored: &Value, set: &ReplicaSet, is_recorded: bool) -> bool {
    let Some(made) = MadeFrom::of(set) else {
        return is_recorded && same_known_meaning(wanted, stored);
    };
    let is_untouched = || match &made.stored {
        Some(seen) => *seen == digest(stored),
        None => set.metadata.generation.unwrap_or(0) <= 1,
    };
    made.template == digest(wanted) && (is_untouched() || same_known_meaning(wanted, stored))
}

/// Records what became of the template of the new ReplicaSet, where that has another meaning than the user's. To go
/// before every other write to it: from the next generation on the record is what tells.
pub(crate) fn record(view: &View<'_>) -> Option<Action> {
    let set = view.revisions.new.filter(|set| belongs(view, set))?;
    let (wanted, stored) = injected::bare(view.spec.template.as_ref()?, set);
    if same_meaning(&wanted, &stored) {
        return None;
    }
    let made = MadeFrom {
        template: digest(&wanted),
        stored: Some(digest(&stored)),
    };
    if MadeFrom::of(set).as_ref() == Some(&made) {
        return None;
    }
    let annotations = json!({ well_known::MADE_FROM: made.text() });
    Some(Action::Merge {
        target: ObjectRef::namespaced("apps/v1", "ReplicaSet", view.namespace(), set.name()),
        patch: json!({ "metadata": { "annotations": annotations } }),
        manager: MANAGER,
        // An edit since then is none of what the server made of it (guarantee C3).
        precondition: Some(Precondition {
            uid: set.metadata.uid.clone(),
            resource_version: set.metadata.resource_version.clone(),
        }),
    })
}

#[cfg(test)]
mod tests;
