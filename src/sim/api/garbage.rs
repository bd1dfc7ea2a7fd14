//! The garbage collector and the namespace controller, one pass at a time, when the world says so.

use super::{
    Deletion, Propagation,
    commit::{By, Inner, Ownership, finalizers, is_deleting},
    delete::{FOREGROUND, ORPHAN},
    faults::Verb,
    kinds::{Key, Kind},
    state::uid_of,
};
use crate::json::At as _;
use serde_json::Value;

/// In whose name garbage is collected.
const ACTOR: &str = "system:garbage-collector";

/// What a pass found to do.
enum Chore {
    Delete(Key, Propagation),
    Disown(Key, Vec<String>),
    Release(Key, &'static str),
    /// A Namespace that is empty.
    Finish(Key),
}

impl Inner {
    /// One pass; returns the writes made.
    pub(super) fn collect_garbage(&mut self) -> usize {
        let before = self.state.version;
        for chore in self.chores() {
            self.do_chore(chore);
        }
        usize::try_from(self.state.version - before).unwrap_or(usize::MAX)
    }

    /// Whether an object is deleted in the foreground, and still there.
    pub(super) fn awaits_dependents(&self) -> bool {
        let mut everything = self.state.everything();
        everything.any(|(_, stored)| {
            is_deleting(&stored.value) && finalizers(&stored.value).any(|finalizer| finalizer == FOREGROUND)
        })
    }

    fn chores(&self) -> Vec<Chore> {
        let mut chores = Vec::new();
        for (key, stored) in self.state.everything() {
            let object = &*stored.value;
            if is_deleting(object) {
                self.hold_up(&key, object, &mut chores);
            }
            let in_foreground = finalizers(object).any(|finalizer| finalizer == FOREGROUND);
            if !is_deleting(object) || !in_foreground {
                self.judge(&key, object, &mut chores);
            }
        }
        chores
    }

    /// What a deletion still waits for.
    fn hold_up(&self, key: &Key, object: &Value, chores: &mut Vec<Chore>) {
        let uid = uid_of(object);
        if key.kind == Kind::Namespace {
            let kinds = Kind::ALL.iter().filter(|kind| kind.facts().namespaced);
            let contents: Vec<Key> = kinds
                .flat_map(|kind| {
                    self.state
                        .all(*kind, Some(&key.name))
                        .map(|(namespace, name, _)| Key::new(*kind, namespace, name))
                })
                .collect();
            if contents.is_empty() {
                chores.push(Chore::Finish(key.clone()));
            }
            chores.extend(
                contents
                    .into_iter()
                    .map(|key| Chore::Delete(key, Propagation::Background)),
            );
        }
        for finalizer in finalizers(object) {
            let dependents = self.state.owned_by(uid);
            match finalizer {
                FOREGROUND if !dependents.iter().any(|(_, dependent)| blocks(dependent, uid)) => {
                    chores.push(Chore::Release(key.clone(), FOREGROUND));
                }
                ORPHAN => {
                    let disowned = dependents
                        .iter()
                        .map(|(key, _)| Chore::Disown((*key).clone(), vec![uid.to_owned()]));
                    chores.extend(disowned);
                    chores.push(Chore::Release(key.clone(), ORPHAN));
                }
                _ => {}
            }
        }
    }

    /// Whether an object still has an owner.
    fn judge(&self, key: &Key, object: &Value, chores: &mut Vec<Chore>) {
        let (mut solid, mut waiting, mut dangling) = (0, Vec::new(), Vec::new());
        for uid in super::state::owner_uids(object) {
            match self.state.by_uid(uid) {
                None => dangling.push(uid.to_owned()),
                Some((_, owner)) if is_deleting(owner) && finalizers(owner).any(|held| held == FOREGROUND) => {
                    waiting.push(uid.to_owned());
                }
                Some(_) => solid += 1,
            }
        }
        if solid > 0 {
            waiting.append(&mut dangling);
            if !waiting.is_empty() {
                chores.push(Chore::Disown(key.clone(), waiting));
            }
        } else if !waiting.is_empty() {
            let dependents = self.state.owned_by(uid_of(object));
            let has_blocking = dependents
                .iter()
                .any(|(_, dependent)| blocks(dependent, uid_of(object)));
            let propagation = if has_blocking {
                Propagation::Foreground
            } else {
                Propagation::Background
            };
            if !is_deleting(object) {
                chores.push(Chore::Delete(key.clone(), propagation));
            }
        } else if !dangling.is_empty() && !is_deleting(object) {
            chores.push(Chore::Delete(key.clone(), Propagation::Background));
        }
    }

    fn do_chore(&mut self, chore: Chore) {
        // An object that went in an earlier chore of the pass needs nothing more.
        match chore {
            Chore::Delete(key, propagation) => {
                let how = Deletion {
                    propagation,
                    ..Deletion::default()
                };
                let _gone = self.delete(&By::new(ACTOR, Verb::Delete), &key, &how);
            }
            Chore::Disown(key, uids) => self.edit(&key, |object| {
                let owners = object
                    .pointer_mut("/metadata/ownerReferences")
                    .and_then(Value::as_array_mut);
                let is_named = |owner: &Value| {
                    let uid = owner.get("uid").and_then(Value::as_str);
                    uid.is_some_and(|uid| uids.iter().any(|named| named == uid))
                };
                if let Some(owners) = owners {
                    owners.retain(|owner| !is_named(owner));
                }
            }),
            Chore::Release(key, finalizer) => self.edit(&key, |object| {
                let held = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut);
                if let Some(held) = held {
                    held.retain(|found| found.as_str() != Some(finalizer));
                }
            }),
            Chore::Finish(key) => self.edit(&key, |namespace| {
                if let Some(spec) = namespace.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.remove("finalizers");
                }
            }),
        }
    }

    fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let Ok(before) = self.existing(key) else { return };
        let mut object = Value::clone(&before.value);
        change(&mut object);
        let _stored = self.finish(&By::new(ACTOR, Verb::Patch), key, &before, object, Ownership::Changed);
    }
}

/// Whether a dependent holds up the foreground deletion of this owner.
fn blocks(dependent: &Value, uid: &str) -> bool {
    let owners = dependent.at("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| {
        owner.get("uid").and_then(Value::as_str) == Some(uid)
            && owner.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
    })
}
