//! The value every controller's decision has: stages of actions, a status, events, a wake-up and the reasons.
//!
//! A plan knows no client. `k8s::apply` executes it; a simulator may replay it; `tidegate why` may print it.

use crate::json::At as _;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

/// What to do about a snapshot. Comparable and printable; repeating it is harmless.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// A stage starts when every action of the one before it was accepted by the API server.
    pub stages: Vec<Stage>,
    /// The status to write after all stages, guarded by the resource version it was decided on.
    pub status: StatusChange,
    /// What is to be done to single pods, once everything else was accepted. A refusal holds nothing up: the next plan
    /// sees what became of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodWrite>,
    /// Kubernetes events to record, in order, once the writes were accepted.
    pub events: Vec<EventRecord>,
    /// When to decide again if nothing changes before.
    pub requeue: Requeue,
    /// Why, in the order decided.
    pub reasons: Vec<Reason>,
}

impl Plan {
    /// Appends a stage, unless it is empty.
    pub fn stage(&mut self, actions: Vec<Action>) {
        if !actions.is_empty() {
            self.stages.push(Stage(actions));
        }
    }

    /// Records a reason.
    pub fn because(&mut self, code: &'static str, message: impl Into<String>) {
        self.reasons.push(Reason {
            code,
            message: message.into(),
        });
    }

    /// Asks to be woken at `at`, or earlier when an earlier wake-up was already asked for.
    pub fn wake(&mut self, at: Timestamp) {
        self.requeue = match self.requeue {
            Requeue::At(earlier) if earlier <= at => Requeue::At(earlier),
            Requeue::At(_) | Requeue::AwaitChange => Requeue::At(at),
        };
    }

    /// Whether carrying out this plan writes anything (guarantee C1: zero writes at rest).
    pub fn writes_nothing(&self) -> bool {
        self.stages.is_empty()
            && self.status == StatusChange::Unchanged
            && self.pods.is_empty()
            && self.events.is_empty()
    }
}

/// Actions that may run concurrently.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stage(pub Vec<Action>);

/// One idempotent effect on one object. Absolute ("replicas: 3"), never relative.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// POST the object. "Already exists" counts as accepted: the next pass sees the object and decides about it.
    Create {
        /// The whole object, `apiVersion` and `kind` included.
        object: Value,
    },
    /// Server-side apply, forced, of exactly the fields this purpose owns.
    Apply {
        /// The object to change; it is created when absent unless `precondition` is set.
        target: ObjectRef,
        /// The owned fields, without `apiVersion`, `kind`, `metadata.name` and `metadata.namespace`.
        fields: Value,
        /// Field manager, one per purpose (for instance `tidegate-scale`).
        manager: &'static str,
        /// The version the decision was made on.
        precondition: Option<Precondition>,
    },
    /// JSON merge patch of named fields; the way to remove a field that another manager also owns.
    Merge {
        /// The object to change.
        target: ObjectRef,
        /// The merge patch; `null` removes.
        patch: Value,
        /// Field manager, one per purpose.
        manager: &'static str,
        /// The version the decision was made on.
        precondition: Option<Precondition>,
    },
    /// DELETE, always with the version it was decided on (guarantee C3). "Not found" counts as accepted.
    Delete {
        /// The object to delete.
        target: ObjectRef,
        /// The version the decision was made on.
        precondition: Precondition,
        /// What happens to dependents.
        propagation: Propagation,
    },
}

impl Action {
    /// The object this action touches.
    pub fn target(&self) -> ObjectRef {
        match self {
            Self::Create { object } => ObjectRef::of(object),
            Self::Apply { target, .. } | Self::Merge { target, .. } | Self::Delete { target, .. } => target.clone(),
        }
    }
}

/// A write to one pod, bound to the pod that was seen by its uid.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PodWrite {
    /// Eviction, which a PodDisruptionBudget may refuse.
    Evict {
        /// The pod.
        target: ObjectRef,
        /// `metadata.uid`.
        uid: String,
    },
    /// JSON merge patch of named labels and annotations.
    Patch {
        /// The pod.
        target: ObjectRef,
        /// `metadata.uid`.
        uid: String,
        /// The merge patch; `null` removes.
        patch: Value,
    },
}

impl PodWrite {
    /// The pod.
    pub fn target(&self) -> &ObjectRef {
        match self {
            Self::Evict { target, .. } | Self::Patch { target, .. } => target,
        }
    }
}

/// Deletion propagation, as in `DeleteOptions.propagationPolicy`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub enum Propagation {
    /// Dependents are deleted by the garbage collector afterwards.
    #[default]
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// Names one object on the API server.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `group/version`, or `v1` for the core group.
    pub api_version: String,
    /// Kind, in the singular and capitalised.
    pub kind: String,
    /// Absent for cluster-scoped objects.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectRef {
    /// A reference to a namespaced object.
    pub fn namespaced(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    /// The reference of an object given as JSON; absent parts are empty.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.at(pointer).and_then(Value::as_str).map(str::to_owned);
        Self {
            api_version: text("/apiVersion").unwrap_or_default(),
            kind: text("/kind").unwrap_or_default(),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name").unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// The identity and version of an object a decision was based on; the server refuses the write when either differs.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Precondition {
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
}

/// The status part of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusChange {
    /// Nothing to write.
    #[default]
    Unchanged,
    /// A JSON merge patch of the whole object (usually only `/status`).
    Merge {
        /// The object whose status it is.
        target: ObjectRef,
        /// The merge patch, rooted at the object (`{"status": {…}}`).
        patch: Value,
        /// Whether the kind has a `/status` subresource (Rollout) or not (`AnalysisRun`, Experiment, Application).
        subresource: bool,
        /// The version the decision was made on. The executor replaces its resource version by the newest one that
        /// this same plan's own writes returned for the object.
        precondition: Precondition,
    },
}

/// A Kubernetes event to record.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// The object it is about.
    pub about: ObjectRef,
    /// `metadata.uid` of that object.
    pub uid: Option<String>,
    /// Severity.
    pub kind: EventKind,
    /// One `CamelCase` word; clients and notification triggers depend on it.
    pub reason: String,
    /// One sentence without a final full stop.
    pub message: String,
}

/// Event severity, as in `Event.type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum EventKind {
    /// Information.
    Normal,
    /// Something a person should look at.
    Warning,
}

/// When to decide again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Requeue {
    /// Only a change of an observed object can change the decision.
    #[default]
    AwaitChange,
    /// At the latest at this time.
    At(Timestamp),
}

/// One step of the argument that led to a plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reason {
    /// A stable `CamelCase` word.
    pub code: &'static str,
    /// One sentence without a final full stop.
    pub message: String,
}

/// The smallest JSON merge patch (RFC 7386) that turns `old` into `new`; `None` when they are equal.
///
/// A field that is absent or null in `new` and present in `old` becomes `null`; lists are replaced whole.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None if value.is_null() => {}
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(change) = merge_patch(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    for (key, before) in old {
        if !new.contains_key(key) && !before.is_null() {
            patch.insert(key.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_patch_holds_only_what_changed() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "gone": true, "list": [1]});
        let new = json!({"a": 1, "b": {"c": 1, "d": 3}, "list": [1, 2]});
        assert_eq!(
            merge_patch(&old, &new),
            Some(json!({"b": {"d": 3}, "gone": null, "list": [1, 2]}))
        );
        assert_eq!(merge_patch(&new, &new), None);
    }

    #[test]
    fn the_earliest_wake_up_wins() {
        let mut plan = Plan::default();
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap());
        plan.wake(late);
        plan.wake(early);
        plan.wake(late);
        assert_eq!(plan.requeue, Requeue::At(early));
    }
}
