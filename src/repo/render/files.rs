//! Reads the files of a source out of the object database: which there are, where links lead, what is in them.

use super::{MANIFEST_BYTES_MAX, Place, RenderError};
use crate::repo::{
    error::RepoError,
    repository::Repository,
    sha::Sha,
    tree::{Entry, Kind, LinkError, WholeTree},
};
use std::collections::BTreeMap;

/// The text of a link is a path; longer ones are cut by every file system, too. In bytes.
const LINK_BYTES_MAX: usize = 4096;

/// Links in one repository; protects the list of their targets.
const LINKS_MAX: usize = 50_000;

/// A file of a source whose content is to be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SourceFile {
    /// Relative to the folder of the source.
    pub(super) path: String,
    pub(super) name: Sha,
    pub(super) size: usize,
}

/// What a folder holds once links are followed.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// By path.
    pub(super) files: Vec<SourceFile>,
    /// Links that lead to nothing, with the path of each.
    pub(super) dangling: Vec<String>,
    /// Whether there is any link: then files outside the folder may be a part of it.
    pub(super) has_links: bool,
}

/// All files of a commit by its root tree.
pub(super) async fn whole_tree(repository: &Repository, root: &Sha) -> Result<WholeTree, RepoError> {
    let entries = repository.read(async |clone| clone.list(root, true).await).await?;
    let links: Vec<&Entry> = entries.iter().filter(|entry| entry.kind == Kind::Link).collect();
    let too_large = |reason: String| RepoError::TooLarge {
        repository: repository.url.redacted(),
        reason,
    };
    if links.len() > LINKS_MAX {
        return Err(too_large(format!("more than {LINKS_MAX} symbolic links")));
    }
    if let Some(link) = links.iter().find(|link| link.size > LINK_BYTES_MAX) {
        return Err(too_large(format!(
            "the symbolic link {} is {} bytes long",
            link.path, link.size
        )));
    }
    let names: Vec<&Sha> = links.iter().map(|link| &link.name).collect();
    let bytes_max = links.iter().map(|link| link.size).sum();
    let texts = repository
        .read(async |clone| clone.blobs(&names, bytes_max).await)
        .await?;
    let targets: BTreeMap<String, String> = links
        .iter()
        .zip(texts)
        .map(|(link, text)| (link.path.clone(), String::from_utf8_lossy(&text).into_owned()))
        .collect();
    Ok(WholeTree::new(entries, targets))
}

/// Lists the folder of a source. Every link in it is followed, also one that would not be rendered: a link out of the
/// repository is an attempt or a mistake, and both should be heard of.
pub(super) async fn list(place: &Place<'_>, recurse: bool) -> Result<Folder, RenderError> {
    let repository = place.repository;
    let entries = repository
        .read(async |clone| clone.list(&place.tree, recurse).await)
        .await?;
    let mut folder = Folder {
        has_links: entries.iter().any(|entry| entry.kind == Kind::Link),
        ..Folder::default()
    };
    let whole = if folder.has_links {
        Some(whole_tree(repository, &place.root).await?)
    } else {
        None
    };
    for entry in entries {
        match (entry.kind, &whole) {
            (Kind::File, _) => {
                folder.files.push(SourceFile {
                    path: entry.path,
                    name: entry.name,
                    size: entry.size,
                });
            }
            (Kind::Link, Some(whole)) => follow(place, whole, entry, &mut folder)?,
            (Kind::Link | Kind::Folder | Kind::Submodule | Kind::Other, _) => {}
        }
    }
    folder.files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(folder)
}

fn follow(place: &Place<'_>, whole: &WholeTree, link: Entry, folder: &mut Folder) -> Result<(), RenderError> {
    let full = match place.path.as_str() {
        "" => link.path.clone(),
        path => format!("{path}/{}", link.path),
    };
    match whole.follow(&full) {
        Ok(real) => match whole.entry(&real) {
            Some(target) if target.kind == Kind::File => folder.files.push(SourceFile {
                path: link.path,
                name: target.name.clone(),
                size: target.size,
            }),
            // A folder behind a link is not walked into, as in the original: its files would be rendered twice.
            Some(_) | None => {}
        },
        Err(LinkError::Dangling) => folder.dangling.push(link.path),
        Err(error) => return Err(place.link_error(place.shown_file(&link.path), error)),
    }
    Ok(())
}

/// Reads files, after adding up their sizes: nothing that is too large is read at all.
pub(super) async fn read(place: &Place<'_>, files: &[SourceFile]) -> Result<Vec<Vec<u8>>, RenderError> {
    let path = || place.shown.clone();
    let files_max = place.repository.limits().manifest_files;
    if files.len() > files_max {
        let what = format!("{} manifest files", files.len());
        return Err(RenderError::TooLarge {
            path: path(),
            what,
            limit: files_max.to_string(),
        });
    }
    let bytes = files.iter().fold(0_usize, |sum, file| sum.saturating_add(file.size));
    if bytes > MANIFEST_BYTES_MAX {
        let largest = files
            .iter()
            .max_by_key(|file| file.size)
            .map(|file| file.path.as_str())
            .unwrap_or_default();
        let what = format!("{bytes} bytes of manifests (the largest is {largest})");
        return Err(RenderError::TooLarge {
            path: path(),
            what,
            limit: format!("{MANIFEST_BYTES_MAX} bytes"),
        });
    }
    let names: Vec<&Sha> = files.iter().map(|file| &file.name).collect();
    Ok(place
        .repository
        .read(async |clone| clone.blobs(&names, bytes).await)
        .await?)
}
