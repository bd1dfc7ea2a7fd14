//! Git repositories as the source of manifests: references, commits and rendered objects, each asked for once however
//! many applications want it.
//!
//! Nothing is ever checked out: trees and files are read from the object database of one bare clone for each
//! repository, so any number of commits is read at once and no link, hook or attribute of a repository has an effect.
//! Who may use which repository is decided elsewhere (`project`), and so is what to do with the objects (`sync`).

mod access;
mod cache_directory;
pub mod credentials;
pub mod error;
pub mod git;
mod poller;
pub mod refs;
pub mod render;
mod repository;
pub mod sha;
mod tree;
pub mod url;
pub mod version_range;
pub mod webhook;

pub use self::{access::Trust, poller::PollOptions, repository::Freshness, tree::LinkError};

use self::{
    cache_directory::CacheDirectory,
    credentials::{CredentialSet, RepositoryCredentials},
    error::RepoError,
    git::{CommitInfo, GitProgram},
    render::{RenderCache, RenderError, RenderRequest, Rendered},
    repository::Repository,
    sha::Sha,
    url::{RedactedUrl, RepoUrl, loose_key},
};
use crate::process::{Machine, Runner};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use thiserror::Error;
use tokio::sync::{Semaphore, broadcast, watch};

/// Time for a fetch or a listing (`ARGOCD_EXEC_TIMEOUT` of the original).
const GIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(90);

/// Time for reading the clone; a tree bomb is stopped by it at the latest.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Servers asked at once. Protects descriptors, and servers that host many repositories.
const PARALLEL_NETWORK_DEFAULT: usize = 8;

/// Clones read at once; each read is one short process.
const PARALLEL_READS_DEFAULT: usize = 8;

/// Announcements that a slow subscriber may fall behind before it is told that it missed some.
const ANNOUNCEMENTS_KEPT: usize = 1024;

/// Variables of our own environment that git may see.
const INHERITED: [&str; 11] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// How to reach repositories, fixed at start-up.
#[derive(Clone, Debug)]
pub struct SourcesOptions {
    /// Directory for clones; made if missing, readable by nobody else.
    pub cache_dir: PathBuf,
    /// Who runs git.
    pub runner: Arc<dyn Runner>,
    /// Name or path of git.
    pub git_program: PathBuf,
    /// Time for one network operation.
    pub git_timeout: Duration,
    /// Whether `file://` repositories may be used; only for tests and demos.
    pub allow_file_protocol: bool,
    /// Servers asked at once.
    pub parallel_network: usize,
    /// Clones read at once.
    pub parallel_reads: usize,
    /// What a source may at most be.
    pub limits: SourceLimits,
    /// What git sees of our environment.
    pub environment: BTreeMap<OsString, OsString>,
}

/// What a source may at most be. Settable so that tests need no huge repositories.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SourceLimits {
    /// Bytes of the list of a commit's files.
    pub listing_bytes: usize,
    /// Manifest files of a source.
    pub manifest_files: usize,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            listing_bytes: git::LISTING_BYTES_MAX,
            manifest_files: render::MANIFEST_FILES_MAX,
        }
    }
}

impl SourcesOptions {
    /// The defaults, with an environment of `PATH` only.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            runner: Arc::new(Machine),
            git_program: "git".into(),
            git_timeout: GIT_TIMEOUT_DEFAULT,
            allow_file_protocol: false,
            parallel_network: PARALLEL_NETWORK_DEFAULT,
            parallel_reads: PARALLEL_READS_DEFAULT,
            limits: SourceLimits::default(),
            environment: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
        }
    }

    /// Lets git see those of `variables` that say where programs, proxies and certificates are.
    #[must_use]
    pub fn inherit(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let wanted = variables
            .into_iter()
            .filter(|(name, _)| INHERITED.iter().any(|inherited| name == inherited));
        self.environment.extend(wanted);
        self
    }
}

/// The cache directory cannot be used.
#[derive(Debug, Error)]
#[error("failed to open the repository cache `{}`: {source}", directory.display())]
pub struct CacheError {
    /// The directory.
    pub directory: PathBuf,
    /// What the operating system said.
    pub source: std::io::Error,
}

/// Tells that answers about a repository changed: a branch or tag moved, or the repository broke down or recovered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceChange {
    key: String,
    /// The repository, as it may be shown.
    pub repository: RedactedUrl,
}

impl SourceChange {
    /// Whether an application that names `repo_url` is concerned. Spelling, transport and credentials do not matter.
    pub fn concerns(&self, repo_url: &str) -> bool {
        loose_key(repo_url).is_some_and(|key| key == self.key)
    }
}

/// Credentials and trust in effect.
#[derive(Clone, Debug, Default, PartialEq)]
struct Credentials {
    set: CredentialSet,
    trust: Trust,
}

/// What all repositories have in common.
struct Shared {
    git: GitProgram,
    cache: CacheDirectory,
    credentials: RwLock<Arc<Credentials>>,
    network_permits: Semaphore,
    read_permits: Semaphore,
    changes: broadcast::Sender<SourceChange>,
}

impl Shared {
    fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn announce(&self, url: &RepoUrl) {
        let change = SourceChange {
            key: url.loose_key(),
            repository: url.redacted(),
        };
        // Without subscribers there is nobody to tell.
        let _ = self.changes.send(change);
    }
}

/// All Git sources. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Sources {
    shared: Arc<Shared>,
    repositories: Arc<Mutex<BTreeMap<String, Arc<Repository>>>>,
    renders: Arc<RenderCache>,
    wanted: Arc<watch::Sender<BTreeSet<UsedRepository>>>,
    /// The project whose Secrets may be used besides those of all.
    project: Arc<str>,
}

/// A repository that applications use: its address, as they write it, and their project.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UsedRepository {
    /// `repoURL`.
    pub url: String,
    /// `spec.project`.
    pub project: String,
}

impl Sources {
    /// Opens the cache directory. No network is used.
    pub fn new(options: SourcesOptions) -> Result<Self, CacheError> {
        let cache = CacheDirectory::open(&options.cache_dir).map_err(|source| CacheError {
            directory: options.cache_dir.clone(),
            source,
        })?;
        Ok(Self::over(cache, options))
    }

    /// Sources without a disk: `runner` answers in git's place. For simulations.
    pub fn simulated(runner: Arc<dyn Runner>) -> Self {
        let mut options = SourcesOptions::new("/nowhere");
        options.runner = runner;
        Self::over(CacheDirectory::nowhere(), options)
    }

    fn over(cache: CacheDirectory, options: SourcesOptions) -> Self {
        let git = GitProgram {
            runner: options.runner,
            program: options.git_program,
            inherited: options.environment,
            network_timeout: options.git_timeout,
            read_timeout: READ_TIMEOUT,
            limits: options.limits,
            home: cache.home(),
            allow_file: options.allow_file_protocol,
        };
        let shared = Shared {
            git,
            cache,
            credentials: RwLock::default(),
            network_permits: Semaphore::new(options.parallel_network.max(1)),
            read_permits: Semaphore::new(options.parallel_reads.max(1)),
            changes: broadcast::channel(ANNOUNCEMENTS_KEPT).0,
        };
        Self {
            shared: Arc::new(shared),
            repositories: Arc::default(),
            renders: Arc::default(),
            wanted: Arc::new(watch::channel(BTreeSet::new()).0),
            project: Arc::from(""),
        }
    }

    /// The same sources as Applications of a project see them: with the Secrets of that project, and with clones of
    /// their own for what those open, so that nothing of them reaches another project.
    #[must_use]
    pub fn of_project(&self, project: &str) -> Self {
        Self {
            project: Arc::from(project),
            ..self.clone()
        }
    }

    /// Replaces the credentials (all repository Secrets). Repositories that failed are tried again.
    pub fn set_credentials(&self, credentials: Vec<RepositoryCredentials>) {
        let trust = self.shared.credentials().trust.clone();
        self.replace(Credentials {
            set: CredentialSet::new(credentials),
            trust,
        });
    }

    /// Replaces the trusted certificates and host keys. Repositories that failed are tried again.
    pub fn set_trust(&self, trust: Trust) {
        let set = self.shared.credentials().set.clone();
        self.replace(Credentials { set, trust });
    }

    fn replace(&self, credentials: Credentials) {
        {
            let mut current = self.shared.credentials.write().unwrap_or_else(PoisonError::into_inner);
            if **current == credentials {
                return;
            }
            *current = Arc::new(credentials);
        }
        // A Secret that is a project's own changes which clones are in use.
        self.wanted.send_modify(|_| {});
        for repository in self.known() {
            repository.forgive();
            repository.kick.notify_one();
        }
    }

    fn known(&self) -> Vec<Arc<Repository>> {
        self.repositories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Arc::clone)
            .collect()
    }

    fn repository(&self, repo_url: &str) -> Result<Arc<Repository>, RepoError> {
        let url = RepoUrl::parse(repo_url, self.shared.git.allow_file).map_err(|error| RepoError::InvalidUrl {
            repository: error.url,
            reason: error.reason.to_owned(),
        })?;
        let owner = self.shared.credentials().set.owner(&url, &self.project).to_owned();
        let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = repositories
            .entry(repository::identity(&url, &owner))
            .or_insert_with(|| Arc::new(Repository::new(url, owner, Arc::clone(&self.shared))));
        Ok(Arc::clone(repository))
    }

    /// The commit that `targetRevision` means: empty, `HEAD`, a branch, a tag, a full reference, a commit or its
    /// beginning, or a version range over tags.
    pub async fn resolve(&self, repo_url: &str, target_revision: &str, freshness: Freshness) -> Result<Sha, RepoError> {
        self.resolve_tagged(repo_url, target_revision, "", freshness).await
    }

    /// As [`Self::resolve`], with a version range over the tags that start with `tagPrefix` only.
    pub async fn resolve_tagged(
        &self,
        repo_url: &str,
        target_revision: &str,
        tag_prefix: &str,
        freshness: Freshness,
    ) -> Result<Sha, RepoError> {
        self.repository(repo_url)?
            .resolve(target_revision, tag_prefix, freshness)
            .await
    }

    /// The objects of a source at a commit (guarantee S1: the result names the commit and a digest of all inputs).
    pub async fn render(&self, request: &RenderRequest) -> Result<Arc<Rendered>, RenderError> {
        let repository = self.repository(&request.repo_url)?;
        render::render(&repository, request, &self.renders).await
    }

    /// Whether `ancestor` is `descendant` or leads to it (guarantee S1: no sync to an older commit).
    pub async fn is_ancestor(&self, repo_url: &str, ancestor: &Sha, descendant: &Sha) -> Result<bool, RepoError> {
        self.repository(repo_url)?.is_ancestor(ancestor, descendant).await
    }

    /// Author, date and subject of a commit.
    pub async fn commit_info(&self, repo_url: &str, commit: &Sha) -> Result<CommitInfo, RepoError> {
        self.repository(repo_url)?.commit_info(commit).await
    }

    /// Paths that differ between two commits.
    pub async fn changed_files(&self, repo_url: &str, from: &Sha, to: &Sha) -> Result<Vec<String>, RepoError> {
        self.repository(repo_url)?.changed_files(from, to).await
    }

    /// Changes from now on. A receiver that lags behind is told so and must look at all its applications.
    pub fn subscribe(&self) -> broadcast::Receiver<SourceChange> {
        self.shared.changes.subscribe()
    }
}

#[cfg(test)]
mod tests;
