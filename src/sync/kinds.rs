//! What the destination cluster knows about kinds, as far as decisions need it.

use super::resource::{ResourceKey, group_of, text};
use crate::json::At as _;
use serde_json::Value;
use std::collections::BTreeMap;

/// Served kinds by group and kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kinds(BTreeMap<(String, String), KindFacts>);

/// One kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KindFacts {
    /// Whether its objects live in namespaces.
    pub is_namespaced: bool,
    /// Served versions; the preferred one first.
    pub versions: Vec<String>,
}

impl Kinds {
    /// Adds or replaces a kind.
    pub fn insert(&mut self, group: &str, kind: &str, facts: KindFacts) {
        self.0.insert((group.to_owned(), kind.to_owned()), facts);
    }

    /// A kind, if the cluster serves it.
    pub fn get(&self, group: &str, kind: &str) -> Option<&KindFacts> {
        self.0.get(&(group.to_owned(), kind.to_owned()))
    }

    /// Whether the cluster serves exactly this version of a kind.
    pub fn serves(&self, api_version: &str, kind: &str) -> bool {
        let version = super::resource::version_of(api_version);
        self.get(group_of(api_version), kind)
            .is_some_and(|facts| facts.versions.iter().any(|served| served == version))
    }

    /// Whether objects of a kind live in namespaces. A kind that nobody knows is taken to: that is what almost all do,
    /// and the API server has the last word.
    pub fn is_namespaced(&self, group: &str, kind: &str) -> bool {
        self.get(group, kind).is_none_or(|facts| facts.is_namespaced)
    }

    /// These kinds and those which CustomResourceDefinitions among `targets` are going to define.
    pub fn with_definitions<'a>(&self, targets: impl Iterator<Item = &'a Value>) -> Self {
        let mut kinds = self.clone();
        for definition in targets.filter(|object| text(object, "/kind") == "CustomResourceDefinition") {
            let versions: Vec<String> = definition
                .at("/spec/versions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter(|version| version.get("served") == Some(&Value::Bool(true)))
                .map(|version| text(version, "/name").to_owned())
                .collect();
            let facts = KindFacts {
                is_namespaced: text(definition, "/spec/scope") == "Namespaced",
                versions,
            };
            kinds.insert(
                text(definition, "/spec/group"),
                text(definition, "/spec/names/kind"),
                facts,
            );
        }
        kinds
    }

    /// Whether an object of this key lives outside namespaces.
    pub fn is_cluster_scoped(&self, key: &ResourceKey) -> bool {
        !self.is_namespaced(&key.group, &key.kind)
    }
}
