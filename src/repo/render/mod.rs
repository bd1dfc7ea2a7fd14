//! From a commit and a source to Kubernetes objects (reference, applications 4.2, 4.3, 4.11).
//!
//! A render is a function of the files read and the options, so its cache is keyed by the hash of the folder: a commit
//! that does not touch the folder reuses the render. What comes out names its commit and a digest of all inputs.

mod cache;
mod detect;
mod directory;
mod files;
mod manifest;

pub use self::manifest::ManifestProblem;
pub(crate) use cache::RenderCache;

use super::{
    error::RepoError,
    git::Located,
    repository::Repository,
    sha::{Sha, hex},
    tree::LinkError,
    url::RedactedUrl,
};
use crate::{api::application::ApplicationSource, class::Class, lang::glob::GlobError};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{fmt::Write, sync::Arc};
use thiserror::Error;

/// Manifests of one source, together. In bytes; the original's `reposerver.max.combined.directory.manifests.size`.
pub const MANIFEST_BYTES_MAX: usize = 10 << 20;

/// Manifest files of one source.
pub const MANIFEST_FILES_MAX: usize = 20_000;

/// Objects of one source; a few hundred is usual.
pub const OBJECTS_MAX: usize = 50_000;

/// Changes whenever the same files could give other objects, so that no digest survives such a change.
const RENDERER_VERSION: &str = "directory/1";

/// What to render.
#[derive(Clone, Debug, Default)]
pub struct RenderRequest {
    /// Address of the repository.
    pub repo_url: String,
    /// The commit; `None` is an error of the caller that reads as "unknown revision".
    pub commit: Option<Sha>,
    /// Path and options; repository and target revision in it are not looked at.
    pub source: ApplicationSource,
    /// Name of the application, for its override file `.argocd-source-<name>.yaml`.
    pub app_name: String,
}

/// The objects of one source at one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The commit they were read from.
    pub commit: Sha,
    /// In the order of file names, then of documents.
    pub objects: Arc<Vec<Value>>,
    /// SHA-256 over the commit, the source and the renderer's version (guarantee S1).
    pub digest: String,
    /// SHA-256 over the objects alone: equal for commits that change nothing here.
    pub content_digest: String,
    /// What the status calls the tool: `Directory`.
    pub source_type: &'static str,
    /// What was passed over, for the user to see (guarantee C6).
    pub problems: Arc<Vec<ManifestProblem>>,
    /// Whether the objects came from an earlier render.
    pub from_cache: bool,
}

/// Why there are no objects. Nothing is ever rendered in part.
#[derive(Clone, Debug, Error)]
pub enum RenderError {
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// `spec.source.path` may not be used.
    #[error("invalid source path `{path}`: {reason}")]
    InvalidPath {
        /// As written.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing, or no folder, is at `spec.source.path`.
    #[error("{path}: app path {} (`{repository}` at commit {})", if *is_file { "is not a directory" } else { "does not exist" }, commit.short())]
    PathMissing {
        /// As written.
        path: String,
        /// Whether there is a file of that name.
        is_file: bool,
        /// The repository.
        repository: RedactedUrl,
        /// The commit.
        commit: Sha,
    },
    /// Two tools are asked for at once.
    #[error("multiple application sources defined: {0}")]
    SeveralTypes(String),
    /// The tool is not built in yet.
    #[error("{tool} is not supported yet (a directory of plain YAML or JSON is): {reason}")]
    UnsupportedTool {
        /// The tool.
        tool: &'static str,
        /// Why this source needs it.
        reason: String,
    },
    /// A file of a language that is not built in yet.
    #[error("jsonnet is not supported yet, file {file}")]
    Jsonnet {
        /// The file.
        file: String,
    },
    /// An include or exclude pattern cannot be read.
    #[error("source.directory.{field}: {error}")]
    Pattern {
        /// `include` or `exclude`.
        field: &'static str,
        /// What is wrong.
        error: GlobError,
    },
    /// A symbolic link is not followed.
    #[error("{file}: the symbolic link {error} (`{repository}` at commit {})", commit.short())]
    Link {
        /// The link.
        file: String,
        /// Where it leads.
        error: LinkError,
        /// The repository.
        repository: RedactedUrl,
        /// The commit.
        commit: Sha,
    },
    /// A limit of this file is exceeded.
    #[error("{path}: {what}, at most {limit} are allowed")]
    TooLarge {
        /// The folder.
        path: String,
        /// What there is too much of, with its number.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Files that are no manifests; all of them, so that they can be mended in one go.
    #[error("{}", manifest_text(.0))]
    Manifests(Vec<ManifestProblem>),
}

fn manifest_text(problems: &[ManifestProblem]) -> String {
    const SHOWN_MAX: usize = 3;
    let mut text: Vec<String> = problems.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if let Some(more) = problems.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        text.push(format!("and {more} more"));
    }
    text.join("; ")
}

impl RenderError {
    /// What to do about it: wrong content stays wrong until there is another commit or another source.
    pub fn class(&self) -> Class {
        match self {
            Self::Repo(error) => error.class(),
            Self::PathMissing { .. } => Class::NotFound,
            _ => Class::Permanent,
        }
    }

    /// A stable word for metrics and event reasons.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Repo(error) => error.label(),
            Self::InvalidPath { .. } => "invalid_path",
            Self::PathMissing { .. } => "path_missing",
            Self::SeveralTypes(_) => "several_types",
            Self::UnsupportedTool { .. } | Self::Jsonnet { .. } => "unsupported_tool",
            Self::Pattern { .. } => "pattern",
            Self::Link { .. } => "link",
            Self::TooLarge { .. } => "too_large",
            Self::Manifests(_) => "manifests",
        }
    }
}

/// What a render leaves behind, independent of the commit.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    objects: Arc<Vec<Value>>,
    problems: Arc<Vec<ManifestProblem>>,
    content_digest: String,
    /// Bytes of all files read.
    bytes: usize,
    /// Whether links made files outside the folder part of the input.
    beyond_folder: bool,
}

/// Where the source is in the repository.
pub(crate) struct Place<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) commit: &'a Sha,
    /// Path as written, for messages; `.` for the root.
    pub(crate) shown: String,
    /// Real path, without links; empty for the root.
    pub(crate) path: String,
    pub(crate) root: Sha,
    pub(crate) tree: Sha,
    /// Whether a link led here.
    pub(crate) by_link: bool,
}

impl Place<'_> {
    /// A file of this place as a path of the repository.
    pub(crate) fn shown_file(&self, file: &str) -> String {
        match self.shown.as_str() {
            "." => file.to_owned(),
            folder => format!("{folder}/{file}"),
        }
    }

    pub(crate) fn link_error(&self, file: String, error: LinkError) -> RenderError {
        RenderError::Link {
            file,
            error,
            repository: self.repository.url.redacted(),
            commit: self.commit.clone(),
        }
    }
}

pub(super) async fn render(
    repository: &Repository,
    request: &RenderRequest,
    cache: &RenderCache,
) -> Result<Arc<Rendered>, RenderError> {
    let path = checked_path(&request.source.path)?;
    detect::explicit(&request.source)?;
    let Some(commit) = &request.commit else {
        return Err(RenderError::Repo(RepoError::UnknownRevision {
            repository: repository.url.redacted(),
            revision: request.source.target_revision.clone(),
            reason: None,
        }));
    };
    let place = locate(repository, commit, path).await?;
    let keys = Keys::of(&place, request);
    let found = keys.lookup(&place).into_iter().find_map(|key| cache.find(key));
    let from_cache = found.is_some();
    let content = match found {
        Some(content) => content,
        None => {
            let content = Arc::new(directory::render(&place, request).await?);
            let key = if place.by_link || content.beyond_folder {
                &keys.root
            } else {
                &keys.tree
            };
            cache.keep(key, Arc::clone(&content), content.bytes);
            content
        }
    };
    Ok(Arc::new(Rendered {
        commit: commit.clone(),
        objects: Arc::clone(&content.objects),
        digest: digest(&[
            commit.as_str(),
            &request.repo_url,
            &source_text(request),
            RENDERER_VERSION,
        ]),
        content_digest: content.content_digest.clone(),
        source_type: "Directory",
        problems: Arc::clone(&content.problems),
        from_cache,
    }))
}

/// Names of one render in the cache: by folder, and by the whole tree when links make other folders count.
struct Keys {
    tree: String,
    root: String,
}

impl Keys {
    fn of(place: &Place<'_>, request: &RenderRequest) -> Self {
        let identity = place.repository.url.identity();
        let source = source_text(request);
        let key = |kind: &str, object: &Sha| {
            digest(&[
                RENDERER_VERSION,
                kind,
                &identity,
                object.as_str(),
                &place.shown,
                &source,
                &request.app_name,
            ])
        };
        Self {
            tree: key("tree", &place.tree),
            root: key("root", &place.root),
        }
    }

    fn lookup(&self, place: &Place<'_>) -> Vec<&String> {
        if place.by_link {
            vec![&self.root]
        } else {
            vec![&self.tree, &self.root]
        }
    }
}

/// The parts of a source that decide what is rendered, in one form.
fn source_text(request: &RenderRequest) -> String {
    let source = ApplicationSource {
        repo_url: String::new(),
        target_revision: String::new(),
        ..request.source.clone()
    };
    // Serialising a plain struct into memory cannot fail; were it to, an empty text only shares a key with itself.
    serde_json::to_string(&source).unwrap_or_default()
}

/// SHA-256 over texts, each with its length, so that no two lists of texts have one digest.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// The digest of objects; maps are sorted by key, so equal objects have equal text.
pub(crate) fn content_digest(objects: &[Value]) -> String {
    let mut text = String::new();
    for object in objects {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{object}");
    }
    digest(&[&text])
}

/// The path as git knows it: relative, without `.`, `..` and empty parts; the root is empty.
pub(crate) fn checked_path(path: &str) -> Result<String, RenderError> {
    let refuse = |reason| {
        Err(RenderError::InvalidPath {
            path: path.to_owned(),
            reason,
        })
    };
    if path.starts_with('/') {
        return refuse("it must be relative to the root of the repository");
    }
    if path.chars().any(char::is_control) {
        return refuse("it contains control characters");
    }
    if path.contains('\\') {
        return refuse("it contains a backslash");
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return refuse("it must not contain `..`");
    }
    Ok(parts.join("/"))
}

async fn locate<'a>(repository: &'a Repository, commit: &'a Sha, path: String) -> Result<Place<'a>, RenderError> {
    let shown = if path.is_empty() { ".".to_owned() } else { path.clone() };
    let missing = |is_file| RenderError::PathMissing {
        path: shown.clone(),
        is_file,
        repository: repository.url.redacted(),
        commit: commit.clone(),
    };
    let root = match repository.locate(commit, &path).await? {
        Located::NoCommit => {
            let repository = repository.url.redacted();
            return Err(RepoError::MissingCommit {
                repository,
                commit: commit.clone(),
            }
            .into());
        }
        Located::Folder { root, tree } => {
            return Ok(Place {
                repository,
                commit,
                shown,
                path,
                root,
                tree,
                by_link: false,
            });
        }
        Located::Nothing { root } | Located::NotAFolder { root } => root,
    };
    // Git does not look through links; a part of the path may be one.
    let whole = files::whole_tree(repository, &root).await?;
    let real = match whole.follow(&path) {
        Ok(real) => real,
        Err(LinkError::Dangling) => return Err(missing(false)),
        Err(error) => {
            let repository = repository.url.redacted();
            return Err(RenderError::Link {
                file: shown,
                error,
                repository,
                commit: commit.clone(),
            });
        }
    };
    match repository.locate(commit, &real).await? {
        Located::Folder { root, tree } => Ok(Place {
            repository,
            commit,
            shown,
            path: real,
            root,
            tree,
            by_link: true,
        }),
        Located::NoCommit | Located::Nothing { .. } => Err(missing(false)),
        Located::NotAFolder { .. } => Err(missing(true)),
    }
}

#[cfg(test)]
mod tests;
