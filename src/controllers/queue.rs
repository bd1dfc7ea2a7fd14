//! A work queue of object names: each at most once at a time, woken by changes or by a time.
//!
//! Bounded by the number of objects. A name that is added while it is being worked on is worked on again afterwards, so
//! that no change is lost (guarantee C2).

use crate::k8s::store::ObjectKey;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::Notify, time::Instant};

/// The queue. Shared by the listeners that add names and the loop that takes them.
#[derive(Debug, Default)]
pub struct WorkQueue {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<ObjectKey, Entry>,
    ready: VecDeque<ObjectKey>,
    wakes: BTreeSet<(Instant, ObjectKey)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    queued: bool,
    running: bool,
    again: bool,
    wake: Option<Instant>,
}

impl WorkQueue {
    /// Has `key` worked on as soon as possible.
    pub fn add(&self, key: ObjectKey) {
        self.lock().make_ready(key);
        self.added.notify_one();
    }

    /// Takes the next name, waiting for one. Every name taken must be given to `done`.
    pub async fn take(&self) -> ObjectKey {
        loop {
            let added = self.added.notified();
            let next_wake = {
                let mut state = self.lock();
                state.release_due(Instant::now());
                if let Some(key) = state.take() {
                    return key;
                }
                state.wakes.first().map(|(at, _)| *at)
            };
            match next_wake {
                Some(at) => tokio::select! {
                    biased;
                    () = added => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => added.await,
            }
        }
    }

    /// Ends the work on `key`; it is worked on again at `wake`, or as soon as a change came in meanwhile.
    pub fn done(&self, key: &ObjectKey, wake: Option<Instant>) {
        self.lock().finish(key, wake);
        self.added.notify_one();
    }

    /// How many names wait to be worked on now.
    pub fn depth(&self) -> usize {
        self.lock().ready.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_ready(&mut self, key: ObjectKey) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.running {
            entry.again = true;
        } else if !entry.queued {
            entry.queued = true;
            self.ready.push_back(key);
        }
    }

    fn release_due(&mut self, now: Instant) {
        while let Some((at, key)) = self.wakes.first().cloned() {
            if at > now {
                return;
            }
            self.wakes.remove(&(at, key.clone()));
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.wake = None;
            }
            self.make_ready(key);
        }
    }

    fn take(&mut self) -> Option<ObjectKey> {
        let key = self.ready.pop_front()?;
        let entry = self.entries.entry(key.clone()).or_default();
        // The decision about to be made replaces the wake-up the last one asked for.
        let wake = entry.wake.take();
        *entry = Entry {
            running: true,
            ..Entry::default()
        };
        if let Some(at) = wake {
            self.wakes.remove(&(at, key.clone()));
        }
        Some(key)
    }

    fn finish(&mut self, key: &ObjectKey, wake: Option<Instant>) {
        let Some(entry) = self.entries.remove(key) else { return };
        if entry.again {
            return self.make_ready(key.clone());
        }
        if let Some(at) = wake {
            self.entries.insert(
                key.clone(),
                Entry {
                    wake: Some(at),
                    ..Entry::default()
                },
            );
            self.wakes.insert((at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    async fn is_idle(queue: &WorkQueue, seconds: u64) -> bool {
        timeout(Duration::from_secs(seconds), queue.take()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_is_worked_on_once_at_a_time_and_no_change_is_lost() {
        let queue = WorkQueue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.take().await, key("a"));
        assert!(is_idle(&queue, 1).await);
        queue.add(key("a"));
        assert!(is_idle(&queue, 1).await, "not while it is being worked on");
        queue.done(&key("a"), None);
        assert!(!is_idle(&queue, 1).await);
        queue.done(&key("a"), None);
        assert!(is_idle(&queue, 1000).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_comes_at_its_time_and_is_replaced_by_the_next_decision() {
        let queue = WorkQueue::default();
        queue.add(key("a"));
        let start = Instant::now();
        let first = queue.take().await;
        queue.done(&first, Some(start + Duration::from_secs(10)));
        queue.add(key("a"));
        let second = queue.take().await;
        queue.done(&second, Some(start + Duration::from_secs(30)));
        assert_eq!(queue.take().await, key("a"));
        assert_eq!(
            start.elapsed().as_secs(),
            30,
            "the wake-up at 10 s belonged to an older decision"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_beats_the_wake_up() {
        let queue = WorkQueue::default();
        queue.add(key("a"));
        let taken = queue.take().await;
        queue.add(key("a"));
        queue.done(&taken, Some(Instant::now() + Duration::from_secs(60)));
        assert!(!is_idle(&queue, 1).await);
    }
}
