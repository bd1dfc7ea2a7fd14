//! The objects, as anybody in the world may look at them: by name, kind, label, owner and uid.

use super::kinds::{Key, Kind};
use serde_json::Value;
use std::sync::Arc;

/// All objects and what finds them quickly.
#[derive(Default)]
pub struct State {
    version: u64,
}

impl State {
    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        let _ = key;
        None
    }

    /// The objects of a kind in a namespace, or with `None` in all of them, by namespace and name.
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<&Arc<Value>> {
        let _ = (kind, namespace);
        Vec::new()
    }

    /// The objects of a kind in a namespace with this label, by name.
    pub fn labelled(&self, kind: Kind, namespace: &str, label: &str, value: &str) -> Vec<&Arc<Value>> {
        let _ = (kind, namespace, label, value);
        Vec::new()
    }

    /// The objects of a kind in a namespace that carry all these labels, by name; none when `labels` is empty.
    pub fn selected<'a>(
        &self,
        kind: Kind,
        namespace: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<&Arc<Value>> {
        let _ = (kind, namespace, labels.into_iter().count());
        Vec::new()
    }

    /// The objects that name this uid as an owner.
    pub fn owned_by(&self, uid: &str) -> Vec<(&Key, &Arc<Value>)> {
        let _ = uid;
        Vec::new()
    }

    /// The object with this uid.
    pub fn by_uid(&self, uid: &str) -> Option<(&Key, &Arc<Value>)> {
        let _ = uid;
        None
    }
}
