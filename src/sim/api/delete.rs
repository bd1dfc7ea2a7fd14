//! Deletion: preconditions, finalizers, propagation, grace.

use super::{
    Deletion, Propagation,
    commit::{By, Inner, bump_generation, finalizers, is_deleting, metadata_of},
    kinds::{Key, Kind},
    refusal::{Refused, conflict},
    state::{meta, uid_of},
    stored::Stored,
};
use crate::json::At as _;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::sync::Arc;

/// Holds an object until its blocking dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Holds an object until its dependents no longer name it.
pub(super) const ORPHAN: &str = "orphan";

/// What became of a deletion.
#[derive(Debug)]
pub(super) enum Deleted {
    /// The object is gone; this is how it was.
    Gone(Arc<Stored>),
    /// It is marked and stays for now.
    Marked(Arc<Stored>),
}

impl Inner {
    pub(super) fn delete(&mut self, by: &By, key: &Key, how: &Deletion) -> Result<Deleted, Refused> {
        let before = self.existing(key)?;
        let old = &*before.value;
        let preconditions = [
            ("UID", &how.uid, uid_of(old)),
            ("ResourceVersion", &how.resource_version, meta(old, "resourceVersion")),
        ];
        for (name, wanted, found) in preconditions {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why =
                    format!("Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}");
                return Err(conflict(key.kind, &key.name, &why));
            }
        }
        let mut held: Vec<String> = finalizers(old)
            .filter(|finalizer| !matches!(*finalizer, FOREGROUND | ORPHAN))
            .map(str::to_owned)
            .collect();
        match how.propagation {
            Propagation::Background => {}
            Propagation::Foreground => held.push(FOREGROUND.to_owned()),
            Propagation::Orphan => held.push(ORPHAN.to_owned()),
        }
        let grace = grace_seconds(key.kind, old, how);
        let has_contents = key.kind == Kind::Namespace && old.at("/spec/finalizers").is_some();
        if held.is_empty() && grace == 0 && !has_contents {
            self.commit(by, key, Some(Arc::clone(&before)), None);
            return Ok(Deleted::Gone(before));
        }
        let marked = self.marked(key, old, &held, grace);
        if marked == *old {
            return Ok(Deleted::Marked(before));
        }
        let managed = Arc::clone(&before.managed);
        Ok(Deleted::Marked(self.commit(
            by,
            key,
            Some(before),
            Some((marked, managed)),
        )))
    }

    /// The object with its deletion noted.
    fn marked(&self, key: &Key, old: &Value, held: &[String], grace: i64) -> Value {
        let mut marked = old.clone();
        let was_deleting = is_deleting(old);
        let end = self.clock.now().saturating_add(SignedDuration::from_secs(grace));
        let end = end.map(|end| end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        if let Some(metadata) = metadata_of(&mut marked) {
            match held {
                [] => metadata.remove("finalizers"),
                held => metadata.insert("finalizers".to_owned(), json!(held)),
            };
            let before = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
            if !was_deleting || before.is_some_and(|before| grace < before) {
                metadata.insert("deletionTimestamp".to_owned(), json!(end.unwrap_or_default()));
                metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
            }
        }
        if !was_deleting && key.kind.facts().has_generation {
            bump_generation(&mut marked);
        }
        if key.kind == Kind::Namespace
            && let Some(status) = marked.get_mut("status").and_then(Value::as_object_mut)
        {
            status.insert("phase".to_owned(), json!("Terminating"));
        }
        marked
    }
}

/// A Pod on a node is given time; everything else goes at once.
fn grace_seconds(kind: Kind, old: &Value, how: &Deletion) -> i64 {
    let text = |pointer: &str| old.at(pointer).and_then(Value::as_str).unwrap_or_default();
    let runs = kind == Kind::Pod
        && !text("/spec/nodeName").is_empty()
        && !matches!(text("/status/phase"), "Succeeded" | "Failed");
    if !runs {
        return 0;
    }
    let promised = old.at("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    how.grace_seconds.or(promised).unwrap_or(30).max(0)
}
