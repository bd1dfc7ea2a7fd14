//! The files of a commit as listed by git, and where symbolic links lead. Pure: nothing is ever checked out, so a link
//! is only text, and a device, a hook or a folder named `.GIT` only a line in a list.

use super::sha::Sha;
use std::collections::BTreeMap;
use thiserror::Error;

/// Files and folders listed at once; one of the largest public repositories has 100,000.
pub(super) const ENTRIES_MAX: usize = 300_000;

/// Folders inside each other.
pub(super) const DEPTH_MAX: usize = 100;

/// Links followed for one path, as in Linux.
const LINKS_MAX: usize = 40;

/// What a file is, by its mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    File,
    Link,
    Folder,
    /// A commit of another repository; its files are not ours.
    Submodule,
    /// A mode that git itself never writes.
    Other,
}

/// One line of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) name: Sha,
    /// In bytes; 0 for folders.
    pub(crate) size: usize,
    /// Relative to the listed folder.
    pub(crate) path: String,
}

/// Reads `ls-tree -z -l`. Fails with the limit that is exceeded.
pub(crate) fn parse_listing(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for line in bytes.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let Some(entry) = parse_entry(line) else { continue };
        if entry.path.matches('/').count() >= DEPTH_MAX {
            return Err(format!("folders more than {DEPTH_MAX} deep"));
        }
        entries.push(entry);
        if entries.len() > ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} files"));
        }
    }
    Ok(entries)
}

/// `<mode> <type> <name> <size, padded>\t<path>`.
fn parse_entry(line: &[u8]) -> Option<Entry> {
    let line = String::from_utf8_lossy(line);
    let (facts, path) = line.split_once('\t')?;
    let mut words = facts.split_whitespace();
    let (mode, _type, name, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "100644" | "100755" | "100664" => Kind::File,
        "120000" => Kind::Link,
        "040000" => Kind::Folder,
        "160000" => Kind::Submodule,
        _ => Kind::Other,
    };
    Some(Entry {
        kind,
        name: Sha::parse(name)?,
        size: size.parse().unwrap_or(0),
        path: path.to_owned(),
    })
}

/// Why a link cannot be followed. Displayed behind the link's path.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LinkError {
    /// It points out of the repository.
    #[error("leads out of the repository")]
    Outside,
    /// It points to nothing.
    #[error("leads to nothing")]
    Dangling,
    /// It leads back to itself, or through more links than anybody needs.
    #[error("leads in a circle")]
    Circle,
}

/// All files of a commit and what its links say.
#[derive(Clone, Debug, Default)]
pub(crate) struct WholeTree {
    entries: BTreeMap<String, Entry>,
    targets: BTreeMap<String, String>,
}

impl WholeTree {
    pub(crate) fn new(entries: Vec<Entry>, targets: BTreeMap<String, String>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        Self { entries, targets }
    }

    /// Follows links in every part of `path` and returns the real path; empty is the root. As the kernel does it:
    /// `..` applies to where a link led, not to how it was written.
    pub(crate) fn follow(&self, path: &str) -> Result<String, LinkError> {
        let mut pending: Vec<String> = parts(path).rev().map(str::to_owned).collect();
        let mut real: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == ".." {
                real.pop().ok_or(LinkError::Outside)?;
                continue;
            }
            real.push(part);
            let here = real.join("/");
            if let Some(target) = self.targets.get(&here) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(LinkError::Circle);
                }
                if target.starts_with('/') {
                    return Err(LinkError::Outside);
                }
                real.pop();
                pending.extend(parts(target).rev().map(str::to_owned));
            } else if !self.entries.contains_key(&here) {
                // What follows can still lead out: `missing/../../..` is no harmless broken link.
                return Err(self.dangling(&real, &pending));
            }
        }
        Ok(real.join("/"))
    }

    fn dangling(&self, real: &[String], pending: &[String]) -> LinkError {
        let mut depth = real.len();
        for part in pending.iter().rev() {
            match part.as_str() {
                ".." if depth == 0 => return LinkError::Outside,
                ".." => depth -= 1,
                _ => depth += 1,
            }
        }
        LinkError::Dangling
    }

    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(files: &[&str], links: &[(&str, &str)]) -> WholeTree {
        let name = || Sha::parse(&"a".repeat(40)).unwrap();
        let entry = |kind, path: &str| Entry {
            kind,
            name: name(),
            size: 1,
            path: path.to_owned(),
        };
        let mut entries: Vec<Entry> = links.iter().map(|(path, _)| entry(Kind::Link, path)).collect();
        for path in files {
            entries.push(entry(Kind::File, path));
            let folders = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
            entries.extend(folders.map(|folder| entry(Kind::Folder, folder)));
        }
        let targets = links
            .iter()
            .map(|(path, target)| ((*path).to_owned(), (*target).to_owned()))
            .collect();
        WholeTree::new(entries, targets)
    }

    #[test]
    fn symlink_dir_chain() {
        let tree = tree(
            &["real/dir/file.yaml", "other/x.yaml", "app/own.yaml"],
            &[
                ("app/a", "../b"),
                ("b", "real/link"),
                ("real/link", "./dir"),
                ("app/file.yaml", "a/file.yaml"),
                ("app/up.yaml", "a/../../other/x.yaml"),
                ("app/out", "a/../../../etc/passwd"),
                ("app/absolute", "/etc/passwd"),
                ("app/missing", "../nothing/here"),
                ("app/sneaky", "nothing/../../../etc/passwd"),
                ("app/circle", "circle2"),
                ("app/circle2", "circle"),
            ],
        );
        for (path, expect) in [
            ("app/a", Ok("real/dir")),
            ("app/file.yaml", Ok("real/dir/file.yaml")),
            ("app/up.yaml", Ok("other/x.yaml")),
            ("./app//a/.", Ok("real/dir")),
            ("app/..", Ok("")),
            ("app/out", Err(LinkError::Outside)),
            ("app/absolute", Err(LinkError::Outside)),
            ("app/missing", Err(LinkError::Dangling)),
            ("app/sneaky", Err(LinkError::Outside)),
            ("app/circle", Err(LinkError::Circle)),
            ("../x", Err(LinkError::Outside)),
        ] {
            let found = tree.follow(path);
            assert_eq!(found.as_deref(), expect.as_deref(), "{path}");
        }
    }

    #[test]
    fn fifo_or_device_in_repo() {
        let name = "a".repeat(40);
        let listing = format!(
            "010644 blob {name}       5\tfifo.yaml\0020000 blob {name} 5\tdevice\0160000 commit {name}       -\tsub\0100755 blob {name}      12\ta b\tc.yaml\0"
        );
        let entries = parse_listing(listing.as_bytes()).unwrap();
        let kinds: Vec<_> = entries
            .iter()
            .map(|entry| (entry.kind, entry.path.as_str(), entry.size))
            .collect();
        assert_eq!(
            kinds,
            [
                (Kind::Other, "fifo.yaml", 5),
                (Kind::Other, "device", 5),
                (Kind::Submodule, "sub", 0),
                (Kind::File, "a b\tc.yaml", 12),
            ]
        );
    }

    #[test]
    fn a_deep_path_is_refused() {
        let line = format!("100644 blob {} 1\t{}x\0", "a".repeat(40), "d/".repeat(DEPTH_MAX));
        assert_eq!(
            parse_listing(line.as_bytes()),
            Err(format!("folders more than {DEPTH_MAX} deep"))
        );
    }

    proptest! {
        #[test]
        fn following_never_leaves_the_repository(
            targets in proptest::collection::vec("((\\.\\./|a/|b/|/){0,4})(a|b|\\.\\.)", 3), path in "((\\.\\./|a/|b/){0,4})(a|b)",
        ) {
            let links: Vec<(&str, &str)> = ["a/b", "b", "a/a"].into_iter().zip(targets.iter().map(String::as_str)).collect();
            if let Ok(real) = tree(&["a/x", "c"], &links).follow(&path) {
                prop_assert!(!real.split('/').any(|part| part == ".."), "{}", real);
                prop_assert!(!real.starts_with('/'));
            }
        }
    }
}
