//! What is put into the pod templates of ReplicaSets beside the user's: metadata of the role a ReplicaSet has, and an
//! anti-affinity to the version it replaces (reference, rollouts 1.7, 3.2 and 3.6).
//!
//! None of it makes a revision, and none of it is the user's template: a ReplicaSet is compared, and gone back to,
//! without it (guarantee D5, hazard 16).

use super::{made_from, template};
use crate::api::{replica_set::ReplicaSet, well_known};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// The two parts of metadata that can be injected, by their names in it.
pub(crate) const PARTS: [Part; 2] = [Part::Labels, Part::Annotations];

/// A part of metadata.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// `metadata.labels`.
    Labels,
    /// `metadata.annotations`.
    Annotations,
}

impl Part {
    /// Its name in `metadata`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Annotations => "annotations",
        }
    }
}

/// Something of each part.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, bound(deserialize = "T: Default + Deserialize<'de>"))]
pub(crate) struct Parts<T: Default + PartialEq> {
    #[serde(skip_serializing_if = "is_default")]
    labels: T,
    #[serde(skip_serializing_if = "is_default")]
    annotations: T,
}

impl<T: Default + PartialEq> Parts<T> {
    pub(crate) fn get(&self, part: Part) -> &T {
        match part {
            Part::Labels => &self.labels,
            Part::Annotations => &self.annotations,
        }
    }

    pub(crate) fn get_mut(&mut self, part: Part) -> &mut T {
        match part {
            Part::Labels => &mut self.labels,
            Part::Annotations => &mut self.annotations,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The annotation `rollout.argoproj.io/ephemeral-metadata` of a ReplicaSet. The original knows `labels` and
/// `annotations`, and passes over the rest.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Labels injected into the pod template.
    #[serde(skip_serializing_if = "is_default")]
    labels: BTreeMap<String, String>,
    /// Annotations injected into the pod template.
    #[serde(skip_serializing_if = "is_default")]
    annotations: BTreeMap<String, String>,
    /// What the user's template has under the same keys.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) covered: Parts<BTreeMap<String, String>>,
    /// Keys that pods may still have as they were before.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) pending: Parts<BTreeSet<String>>,
}

impl Record {
    /// Of a ReplicaSet; one that cannot be read is an empty one.
    pub(crate) fn of(set: &ReplicaSet) -> Self {
        let text = set.annotation(well_known::EPHEMERAL_METADATA);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// As an annotation; absent when there is nothing to remember.
    pub(crate) fn text(&self) -> Option<String> {
        (*self != Self::default()).then(|| serde_json::to_string(self).unwrap_or_default())
    }

    /// What is injected into a part.
    pub(crate) fn injected(&self, part: Part) -> &BTreeMap<String, String> {
        match part {
            Part::Labels => &self.labels,
            Part::Annotations => &self.annotations,
        }
    }

    /// The same, to change.
    pub(crate) fn injected_mut(&mut self, part: Part) -> &mut BTreeMap<String, String> {
        match part {
            Part::Labels => &mut self.labels,
            Part::Annotations => &mut self.annotations,
        }
    }

    /// Whether pods may still have other metadata than the template.
    pub(crate) fn is_pending(&self) -> bool {
        !is_default(&self.pending)
    }

    /// Whether anything is injected.
    fn injects(&self) -> bool {
        !self.labels.is_empty() || !self.annotations.is_empty()
    }
}

/// A field of `metadata` of a pod template.
pub(crate) fn field<'t>(template: &'t Value, part: Part, key: &str) -> Option<&'t str> {
    template.get("metadata")?.get(part.name())?.get(key)?.as_str()
}

/// Sets or removes a field of `metadata` of a pod template. Parts that are empty then go as well.
pub(crate) fn set_field(template: &mut Value, part: Part, key: &str, value: Option<&str>) {
    let Some(whole) = template.as_object_mut() else { return };
    let fresh = || Value::Object(Map::new());
    if value.is_none()
        && whole
            .get("metadata")
            .and_then(|metadata| metadata.get(part.name()))
            .is_none()
    {
        return;
    }
    let Some(metadata) = whole.entry("metadata").or_insert_with(fresh).as_object_mut() else {
        return;
    };
    let Some(fields) = metadata.entry(part.name()).or_insert_with(fresh).as_object_mut() else {
        return;
    };
    match value {
        Some(value) => fields.insert(key.to_owned(), Value::from(value)),
        None => fields.remove(key),
    };
    if fields.is_empty() {
        metadata.remove(part.name());
    }
}

/// The pod template of a ReplicaSet as the user wrote it: without the hash label, metadata of its role and the
/// anti-affinity. `present`, the template of the Rollout, tells what injected metadata covers where nobody recorded it,
/// as the original does not.
pub(crate) fn restored(set: &ReplicaSet, present: &Value) -> Value {
    let mut template = set.spec.template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("creationTimestamp").is_some_and(Value::is_null)
    {
        metadata.remove("creationTimestamp");
    }
    set_field(&mut template, Part::Labels, well_known::POD_TEMPLATE_HASH, None);
    let record = Record::of(set);
    for part in PARTS {
        for key in record.injected(part).keys() {
            let covered = record.covered.get(part).get(key).map(String::as_str);
            set_field(&mut template, part, key, covered.or_else(|| field(present, part, key)));
        }
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        super::anti_affinity::strip(spec);
    }
    template
}

/// Whether a ReplicaSet is that of this pod template. `is_recorded`: whether the Rollout's status says so, for its
/// specification as it is.
pub(crate) fn is_of(wanted: &Value, set: &ReplicaSet, is_recorded: bool) -> bool {
    let (wanted, stored) = bare(wanted, set);
    template::same_meaning(&wanted, &stored) || made_from::is_of(&wanted, &stored, set, is_recorded)
}

/// A pod template of a user, and that of a ReplicaSet, without injected metadata. A key that was injected, and of which
/// nobody recorded what it covers, tells nothing, and is in neither.
pub(crate) fn bare<'t>(wanted: &'t Value, set: &'t ReplicaSet) -> (Cow<'t, Value>, Cow<'t, Value>) {
    let record = Record::of(set);
    if !record.injects() {
        return (Cow::Borrowed(wanted), Cow::Borrowed(&set.spec.template));
    }
    let (mut wanted, mut template) = (wanted.clone(), set.spec.template.clone());
    for part in PARTS {
        for key in record.injected(part).keys() {
            match record.covered.get(part).get(key) {
                Some(covered) => set_field(&mut template, part, key, Some(covered)),
                None => {
                    set_field(&mut template, part, key, None);
                    set_field(&mut wanted, part, key, None);
                }
            }
        }
    }
    (Cow::Owned(wanted), Cow::Owned(template))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(labels: &Value, record: &Value) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": "web-1", "annotations": {
                "rollout.argoproj.io/ephemeral-metadata": record.to_string()}},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": {"containers": []}}}}))
        .unwrap()
    }

    fn template(labels: &Value) -> Value {
        json!({"metadata": {"labels": labels}, "spec": {"containers": []}})
    }

    #[test]
    fn injected_metadata_makes_no_revision() {
        let user = template(&json!({"app": "web"}));
        let stored = set(
            &json!({"app": "web", "role": "canary", "rollouts-pod-template-hash": "1"}),
            &json!({"labels": {"role": "canary"}}),
        );
        assert!(is_of(&user, &stored, false));
        assert_eq!(restored(&stored, &user), user);
        assert!(!is_of(&template(&json!({"app": "other"})), &stored, false));
        // Without the record the label would be the user's.
        let unrecorded = set(&json!({"app": "web", "role": "canary"}), &json!({}));
        assert!(!is_of(&user, &unrecorded, false));
    }

    #[test]
    fn what_is_covered_counts_and_comes_back() {
        let user = template(&json!({"app": "web", "role": "any"}));
        let stored = set(
            &json!({"app": "web", "role": "canary"}),
            &json!({"labels": {"role": "canary"}, "covered": {"labels": {"role": "any"}}}),
        );
        assert!(is_of(&user, &stored, false));
        assert!(!is_of(
            &template(&json!({"app": "web", "role": "else"})),
            &stored,
            false
        ));
        assert_eq!(restored(&stored, &template(&json!({"app": "web"}))), user);
        // The original does not record what it covers.
        let taken_over = set(
            &json!({"app": "web", "role": "canary"}),
            &json!({"labels": {"role": "canary"}}),
        );
        assert!(is_of(&user, &taken_over, false));
        assert_eq!(restored(&taken_over, &user), user);
    }

    #[test]
    fn a_record_is_the_originals() {
        let stored = set(
            &json!({}),
            &json!({"labels": {"role": "canary"}, "annotations": {"a/b": "c"}}),
        );
        let record = Record::of(&stored);
        assert_eq!(
            record.text().as_deref(),
            Some(r#"{"labels":{"role":"canary"},"annotations":{"a/b":"c"}}"#)
        );
        assert_eq!(Record::default().text(), None);
        assert_eq!(Record::of(&set(&json!({}), &json!("no record"))), Record::default());
    }
}
