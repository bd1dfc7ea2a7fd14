//! Renders kept in memory, the least recently used given up first.

use super::Content;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Renders kept.
const ENTRIES_MAX: usize = 2_000;

/// Bytes of the files behind all renders kept; the objects take some ten times that in memory.
const BYTES_MAX: usize = 48 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RenderCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    content: Arc<Content>,
    bytes: usize,
    used: u64,
}

impl RenderCache {
    pub(crate) fn find(&self, key: &str) -> Option<Arc<Content>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let used = kept.uses;
        let entry = kept.entries.get_mut(key)?;
        entry.used = used;
        Some(Arc::clone(&entry.content))
    }

    pub(crate) fn keep(&self, key: &str, content: Arc<Content>, bytes: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let entry = Entry {
            content,
            bytes,
            used: kept.uses,
        };
        kept.bytes += bytes;
        if let Some(before) = kept.entries.insert(key.to_owned(), entry) {
            kept.bytes -= before.bytes;
        }
        while kept.entries.len() > ENTRIES_MAX || (kept.bytes > BYTES_MAX && kept.entries.len() > 1) {
            let Some(oldest) = kept
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(key, _)| key.clone())
            else {
                return;
            };
            if let Some(gone) = kept.entries.remove(&oldest) {
                kept.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Arc<Content> {
        Arc::new(Content {
            objects: Arc::default(),
            problems: Arc::default(),
            content_digest: String::new(),
            bytes: 0,
            beyond_folder: false,
        })
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = RenderCache::default();
        let third = BYTES_MAX / 3;
        for key in ["a", "b", "c"] {
            cache.keep(key, content(), third);
        }
        assert!(cache.find("a").is_some());
        cache.keep("d", content(), third);
        let present = ["a", "b", "c", "d"].map(|key| cache.find(key).is_some());
        assert_eq!(present, [true, false, true, true]);
        cache.keep("d", content(), third);
        assert!(cache.find("a").is_some(), "replacing adds nothing");
        cache.keep("huge", content(), BYTES_MAX * 2);
        assert!(cache.find("huge").is_some() && cache.find("a").is_none());
    }
}
