//! What a server says its branches and tags are (`git ls-remote`), and which commit a name means. Pure.

use super::{sha::Sha, version_range::VersionRange};
use std::collections::BTreeMap;

/// More references than this in one repository are refused; the largest public ones have some 500,000.
pub const REFS_MAX: usize = 1_000_000;

/// The references of a repository at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RefMap {
    /// Commit of `HEAD`; absent in an empty repository.
    pub head: Option<Sha>,
    /// Full name of the branch that `HEAD` stands for.
    pub default_branch: Option<String>,
    /// Commits by full name; annotated tags name the commit they point to.
    pub refs: BTreeMap<String, Sha>,
}

/// What a text given as revision means, as far as references can tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Named {
    /// A commit.
    Commit(Sha),
    /// It may be the beginning of a commit's name; only the clone can tell.
    Abbreviated(String),
    /// A version range that no tag satisfies.
    NoTagInRange,
    /// Nothing.
    Unknown,
}

impl RefMap {
    /// Reads the output of `git ls-remote --symref`. Lines that are not understood are skipped; `None` when there are
    /// too many.
    pub fn parse(output: &str) -> Option<Self> {
        let mut map = Self::default();
        let mut peeled = Vec::new();
        for line in output.lines() {
            let Some((value, name)) = line.split_once('\t') else {
                continue;
            };
            if let Some(target) = value.strip_prefix("ref: ") {
                if name == "HEAD" {
                    map.default_branch = Some(target.to_owned());
                }
                continue;
            }
            let Some(sha) = Sha::parse(value) else { continue };
            if name == "HEAD" {
                map.head = Some(sha);
            } else if let Some(tag) = name.strip_suffix("^{}") {
                peeled.push((tag.to_owned(), sha));
            } else {
                map.refs.insert(name.to_owned(), sha);
            }
            if map.refs.len() > REFS_MAX {
                return None;
            }
        }
        // After all others: the order of lines is the server's business.
        map.refs.extend(peeled);
        Some(map)
    }

    /// The commit that `revision` means: empty or `HEAD`; a full name; a branch; a tag; a full commit; a version range
    /// over tags that start with `tag_prefix`; the beginning of a commit. A branch wins over a tag of the same name.
    pub fn resolve(&self, revision: &str, tag_prefix: &str) -> Named {
        let revision = revision.trim();
        if revision.is_empty() || revision == "HEAD" {
            return self.head.clone().map_or(Named::Unknown, Named::Commit);
        }
        // A full commit wins over a branch of that name, so that a pinned commit stays pinned.
        if let Some(sha) = Sha::parse(revision) {
            return Named::Commit(sha);
        }
        let names = match revision.starts_with("refs/") {
            true => vec![revision.to_owned()],
            false => ["heads/", "tags/", "", "remotes/"]
                .map(|folder| format!("refs/{folder}{revision}"))
                .into(),
        };
        if let Some(sha) = names.iter().find_map(|name| self.refs.get(name)) {
            return Named::Commit(sha.clone());
        }
        if let Some(range) = VersionRange::parse(revision) {
            return self
                .newest_in(&range, tag_prefix)
                .map_or(Named::NoTagInRange, Named::Commit);
        }
        let is_abbreviation = (4..40).contains(&revision.len()) && revision.bytes().all(|b| b.is_ascii_hexdigit());
        match is_abbreviation {
            true => Named::Abbreviated(revision.to_ascii_lowercase()),
            false => Named::Unknown,
        }
    }

    fn newest_in(&self, range: &VersionRange, tag_prefix: &str) -> Option<Sha> {
        let tags = self.refs.iter().filter_map(|(name, sha)| {
            let version = name.strip_prefix("refs/tags/")?.strip_prefix(tag_prefix)?;
            Some((super::version_range::parse_version(version)?, sha))
        });
        tags.filter(|(version, _)| range.contains(version))
            .max_by(|(left, _), (right, _)| left.cmp(right))
            .map(|(_, sha)| sha.clone())
    }
}

/// What is wrong with a text given as revision, before anybody looks it up. Git would read some of these as options or
/// as expressions that walk through history.
pub fn revision_problem(revision: &str) -> Option<&'static str> {
    const REVISION_BYTES_MAX: usize = 255;
    if revision.starts_with('-') {
        return Some("it starts with `-`");
    }
    if revision.len() > REVISION_BYTES_MAX {
        return Some("it is longer than 255 bytes");
    }
    if revision.chars().any(char::is_control) {
        return Some("it contains control characters");
    }
    if revision.contains("..") || revision.contains("@{") || revision.contains(':') {
        return Some("it must be a branch, a tag, a commit or a version range");
    }
    None
}

#[cfg(test)]
mod tests;
