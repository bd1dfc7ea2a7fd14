//! The rollback window (`docs/rollouts.md`): an update to a version that was stable, with fewer revisions between it and
//! the stable one than the window has, skips steps, pauses and analyses. Says when that may be, and when it must be.

use super::{
    Look,
    scene::{Scene, Set},
};
use crate::facts::text;
use std::collections::BTreeMap;

/// The versions that were stable.
#[derive(Debug, Default)]
pub struct Memory {
    /// The Rollout they are of; one that is made anew has none.
    owner: String,
    /// By hash, the uid of the ReplicaSet.
    stable: BTreeMap<String, String>,
}

impl Memory {
    /// Notes who is stable after a write. To be called when the write is judged: what it promotes was not stable before.
    pub fn note(&mut self, look: &Look<'_>) {
        let Some(rollout) = look.after.rollout.as_deref() else {
            return;
        };
        let owner = text(rollout, "/metadata/uid");
        if self.owner != owner {
            owner.clone_into(&mut self.owner);
            self.stable.clear();
        }
        let hash = look.after.recorded("stableRS");
        if let Some(set) = look.after.of(hash).next() {
            self.stable.insert(hash.to_owned(), set.uid.clone());
        }
    }

    /// Whether an update to this version may skip its gates, by what could be seen lately.
    pub fn permits(&self, look: &Look<'_>, hash: &str) -> bool {
        let mut lately = look.scenes.lately(look.commit.at);
        self.stable.contains_key(hash) && lately.any(|scene| is_within(scene, hash, former_of_any_update))
    }

    /// Whether an update to this version must skip them, whatever could be seen lately.
    pub fn demands(&self, look: &Look<'_>, hash: &str) -> bool {
        let Some(uid) = self.stable.get(hash) else {
            return false;
        };
        let same = |scene: &Scene| scene.of(hash).all(|set| set.uid == *uid);
        let mut lately = look.scenes.lately(look.commit.at);
        lately.all(|scene| same(scene) && is_within(scene, hash, former_of_this_update))
    }
}

/// Whether fewer revisions than the window has are between this version and the stable one.
fn is_within(scene: &Scene, hash: &str, former: fn(&Set, i64) -> Option<i64>) -> bool {
    let window = scene.window();
    let number = |hash: &str| scene.of(hash).map(|set| set.revision).max();
    let (Some(stable), Some(target)) = (number(scene.recorded("stableRS")), scene.of(hash).next()) else {
        return false;
    };
    let Some(former) = former(target, stable) else {
        return false;
    };
    let between = scene.sets.iter().filter(|set| {
        let is_one = set.hash != hash && set.hash != scene.recorded("stableRS");
        is_one && (former + 1..stable).contains(&set.revision)
    });
    i64::try_from(between.count()).is_ok_and(|between| between < window)
}

/// The last number a version had before the stable one got its own.
fn former_of_any_update(target: &Set, stable: i64) -> Option<i64> {
    let numbers = target.history.iter().chain([&target.revision]);
    numbers.copied().filter(|number| *number < stable).max()
}

/// The number a version had when it was last used, whether or not it has a new one already, if it is from before the
/// stable one.
fn former_of_this_update(target: &Set, stable: i64) -> Option<i64> {
    let last = if target.revision < stable {
        Some(target.revision)
    } else {
        target.history.last().copied()
    };
    last.filter(|number| (1..stable).contains(number))
}
