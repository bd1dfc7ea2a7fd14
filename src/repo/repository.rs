//! One repository: at most one network operation at a time, whose result everybody who waited for it shares.
//!
//! Reading the clone needs no such order: commits never change, so any number of them is read at once.

use super::{
    Shared, SourceLimits,
    access::Access,
    error::RepoError,
    git::{BareClone, CommitInfo, Located},
    refs::{Named, RefMap, revision_problem},
    sha::Sha,
    url::RepoUrl,
};
use crate::class::Class;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// References older than this are asked for again even if nobody polls the repository.
const REFS_AGE_MAX: Duration = Duration::from_secs(180);

/// A failure is answered from memory for this long, so that many applications do not ask a broken server in turn.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(10);

/// Temporary failures in a row that known references survive: a short outage of a server is no news.
const FAILURES_TOLERATED: u32 = 2;

/// Commits remembered as present; protects memory, not correctness.
const KNOWN_COMMITS_MAX: usize = 10_000;

/// Fetches between two compactions of the clone.
const FETCHES_PER_COMPACTION: u32 = 64;

/// How new an answer must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// What the poller saw last.
    Cached,
    /// What the server says at or after the moment of the question.
    Latest,
}

/// Tells repositories and their clones apart: by address, and by the project whose Secret opens them.
pub(super) fn identity(url: &RepoUrl, owner: &str) -> String {
    if owner.is_empty() {
        url.identity()
    } else {
        // No address has a line break.
        format!("{}\n{owner}", url.identity())
    }
}

pub(crate) struct Repository {
    pub(crate) url: RepoUrl,
    /// The project whose Secret opens it; empty when that is for all.
    owner: String,
    clone: BareClone,
    shared: Arc<Shared>,
    network: tokio::sync::Mutex<CloneState>,
    state: Mutex<State>,
    /// Wakes the poller before its time.
    pub(crate) kick: Notify,
}

/// What only the holder of the network turn touches.
#[derive(Default)]
struct CloneState {
    fetches: u32,
    wiped_at: Option<Instant>,
}

#[derive(Default)]
struct State {
    refs: Option<Arc<RefMap>>,
    listed_at: Option<Instant>,
    listing: Option<Attempt>,
    fetching: Option<Attempt>,
    failures: u32,
    known_commits: BTreeSet<Sha>,
    /// The commit that the server did not have when it was asked last, and when that was.
    missing: Option<(Sha, Instant)>,
    /// The clone was made, or found complete, by this process; before that nobody reads it.
    ready: bool,
    /// Counts clones made anew, so that a read of the old one says nothing about the new one.
    generation: u64,
    /// An object could not be read: the clone is made anew before it is used again.
    suspect: bool,
}

/// The last operation of a kind.
#[derive(Clone)]
struct Attempt {
    started: Instant,
    finished: Instant,
    error: Option<RepoError>,
}

type Refs = Result<Arc<RefMap>, RepoError>;

impl State {
    /// The failure that callers are told about, if the repository is out of order.
    fn outage(&self) -> Option<&RepoError> {
        let error = self.listing.as_ref()?.error.as_ref()?;
        let is_passing = matches!(error.class(), Class::Transient | Class::Throttled(_));
        let is_tolerated = is_passing && self.refs.is_some() && self.failures <= FAILURES_TOLERATED;
        (!is_tolerated).then_some(error)
    }

    /// What a question of `asked` can be answered without the network.
    fn answer(&self, freshness: Freshness, asked: Instant, now: Instant) -> Option<Refs> {
        let listing = self.listing.as_ref()?;
        let known = || self.refs.clone().map(Ok);
        match freshness {
            Freshness::Latest => {
                let is_new = listing.started >= asked;
                is_new
                    .then(|| listing.error.clone().map_or_else(known, |error| Some(Err(error))))
                    .flatten()
            }
            Freshness::Cached => match self.outage() {
                Some(error) => {
                    let is_recent = listing.finished >= asked || now - listing.finished < FAILURE_AGE_MAX;
                    is_recent.then(|| Err(error.clone()))
                }
                None => known().filter(|_| self.listed_at.is_some_and(|at| now - at < REFS_AGE_MAX)),
            },
        }
    }
}

impl Repository {
    pub(super) fn new(url: RepoUrl, owner: String, shared: Arc<Shared>) -> Self {
        let clone = BareClone {
            git: shared.git.clone(),
            directory: shared.cache.clone_of(&identity(&url, &owner)),
            repository: url.redacted(),
        };
        Self {
            url,
            owner,
            clone,
            shared,
            network: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            kick: Notify::new(),
        }
    }

    pub(super) fn identity(&self) -> String {
        identity(&self.url, &self.owner)
    }

    pub(crate) fn limits(&self) -> SourceLimits {
        self.clone.git.limits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a whole assignment, so a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn access(&self) -> Result<Access, RepoError> {
        let credentials = self.shared.credentials();
        let found = credentials.set.find(&self.url, &self.owner);
        let refuse = |reason: String| RepoError::Credentials {
            repository: self.url.redacted(),
            reason,
        };
        if let Some(reason) = found.and_then(|entry| entry.unusable.clone()) {
            return Err(refuse(reason));
        }
        Access::prepare(&self.url, found, &credentials.trust, &self.shared.cache.private())
            .map_err(|error| refuse(format!("a private file cannot be written: {error}")))
    }

    /// The references, from memory or from the server.
    pub(crate) async fn refs(&self, freshness: Freshness) -> Refs {
        let asked = Instant::now();
        if let Some(answer) = self.state().answer(freshness, asked, Instant::now()) {
            return answer;
        }
        let _turn = self.network.lock().await;
        // Somebody may have asked the server while we waited for our turn.
        if let Some(answer) = self.state().answer(freshness, asked, Instant::now()) {
            return answer;
        }
        let started = Instant::now();
        let result = self.list().await.map(Arc::new);
        self.record(started, &result);
        result
    }

    async fn list(&self) -> Result<RefMap, RepoError> {
        let access = self.access()?;
        let _permit = self.shared.network_permits.acquire().await;
        let listed = self.shared.git.ls_remote(&self.url, &access).await;
        listed.map_err(|error| error.after_trying(access.secret.as_deref()))
    }

    /// Remembers a listing and tells subscribers when it changes what they would be answered.
    fn record(&self, started: Instant, result: &Refs) {
        let finished = Instant::now();
        let mut state = self.state();
        let outage_before = state.outage().cloned();
        let mut moved = false;
        match result {
            Ok(refs) => {
                moved = state.refs.as_ref().is_some_and(|before| before != refs);
                state.refs = Some(Arc::clone(refs));
                state.listed_at = Some(finished);
                state.failures = 0;
            }
            Err(_) => state.failures = state.failures.saturating_add(1),
        }
        state.listing = Some(Attempt {
            started,
            finished,
            error: result.as_ref().err().cloned(),
        });
        let outage = state.outage().cloned();
        drop(state);
        if moved || outage.is_some() != outage_before.is_some() {
            self.shared.announce(&self.url);
        }
    }

    /// Forgets failures, so that the next question goes to the server: the credentials were changed.
    pub(crate) fn forgive(&self) {
        let mut state = self.state();
        if let Some(listing) = state.listing.take_if(|listing| listing.error.is_some()) {
            tracing::debug!(repository = %self.url.redacted(), error = listing.error.map(|error| error.to_string()), "Credentials changed, trying again.");
            drop(state);
            self.shared.announce(&self.url);
        }
    }

    /// The commit that a revision means.
    pub(crate) async fn resolve(
        &self,
        revision: &str,
        tag_prefix: &str,
        freshness: Freshness,
    ) -> Result<Sha, RepoError> {
        let repository = || self.url.redacted();
        if let Some(reason) = revision_problem(revision) {
            return Err(RepoError::InvalidRevision {
                repository: repository(),
                revision: revision.to_owned(),
                reason,
            });
        }
        if let Some(sha) = Sha::parse(revision.trim()) {
            return Ok(sha);
        }
        let unknown = |reason: Option<String>| RepoError::UnknownRevision {
            repository: repository(),
            revision: if revision.is_empty() {
                "HEAD".to_owned()
            } else {
                revision.to_owned()
            },
            reason,
        };
        match self.refs(freshness).await?.resolve(revision, tag_prefix) {
            Named::Commit(sha) => Ok(sha),
            Named::NoTagInRange => Err(unknown(Some("no tag satisfies the version range".to_owned()))),
            Named::Unknown => Err(unknown(None)),
            Named::Abbreviated(digits) => self.expand(&digits).await?.ok_or_else(|| unknown(None)),
        }
    }

    async fn expand(&self, digits: &str) -> Result<Option<Sha>, RepoError> {
        if self.is_ready()
            && let Some(sha) = self.clone.expand(digits).await?
        {
            return Ok(Some(sha));
        }
        self.fetch(Instant::now(), None).await?;
        self.clone.expand(digits).await
    }

    fn is_ready(&self) -> bool {
        let state = self.state();
        state.ready && !state.suspect
    }

    async fn has_commit(&self, commit: &Sha) -> Result<bool, RepoError> {
        if self.state().known_commits.contains(commit) {
            return Ok(true);
        }
        let found = self.is_ready() && self.clone.has_commit(commit).await?;
        if found {
            let mut state = self.state();
            if state.known_commits.len() >= KNOWN_COMMITS_MAX {
                state.known_commits.clear();
            }
            state.known_commits.insert(commit.clone());
        }
        Ok(found)
    }

    /// Makes sure that the clone has a commit; asks the server only if it does not.
    pub(crate) async fn ensure(&self, commit: &Sha) -> Result<(), RepoError> {
        if self.has_commit(commit).await? {
            return Ok(());
        }
        self.fetch(Instant::now(), Some(commit)).await
    }

    /// Brings what the server has, and `wanted` even if no branch or tag leads to it.
    async fn fetch(&self, asked: Instant, wanted: Option<&Sha>) -> Result<(), RepoError> {
        let mut turn = self.network.lock().await;
        // A clone from before a restart may have the commit, so look there before the server is asked.
        if !self.state().suspect {
            self.prepare().await?;
        }
        if let Some(commit) = wanted
            && self.has_commit(commit).await?
        {
            return Ok(());
        }
        let access = self.access()?;
        let _permit = self.shared.network_permits.acquire().await;
        // A failure also answers those who came while it was under way: nobody queues up for a server that is down.
        let answers =
            |attempt: &Attempt| attempt.started >= asked || (attempt.error.is_some() && attempt.finished >= asked);
        let shared_attempt = self.state().fetching.clone().filter(answers);
        match shared_attempt {
            Some(Attempt { error: Some(error), .. }) => return Err(error),
            Some(_) => {}
            None => {
                let started = Instant::now();
                let result = self.fetch_refs(&mut turn, &access).await;
                let result = result.map_err(|error| error.after_trying(access.secret.as_deref()));
                let attempt = Attempt {
                    started,
                    finished: Instant::now(),
                    error: result.as_ref().err().cloned(),
                };
                self.state().fetching = Some(attempt);
                result?;
            }
        }
        let Some(commit) = wanted else { return Ok(()) };
        if self.has_commit(commit).await? {
            return Ok(());
        }
        match self.clone.fetch_commit(&access, commit).await {
            Ok(()) if self.has_commit(commit).await? => Ok(()),
            // The server's words for "no such commit" differ; anything that is not about the network means that.
            Ok(()) | Err(RepoError::Clone { .. } | RepoError::NotFound { .. }) => Err(self.missing(commit)),
            Err(error) => Err(error),
        }
    }

    fn missing(&self, commit: &Sha) -> RepoError {
        RepoError::MissingCommit {
            repository: self.url.redacted(),
            commit: commit.clone(),
        }
    }

    async fn fetch_refs(&self, turn: &mut CloneState, access: &Access) -> Result<(), RepoError> {
        if self.state().suspect {
            self.wipe(turn)?;
        }
        self.prepare().await?;
        let result = match self.clone.fetch_refs(access).await {
            // Neither the network nor the server: the clone itself may be damaged, and it can be had anew.
            Err(error @ RepoError::Clone { .. }) => {
                tracing::warn!(repository = %self.url.redacted(), %error, "The clone is damaged, making it anew.");
                self.wipe(turn)?;
                self.prepare().await?;
                self.clone.fetch_refs(access).await
            }
            other => other,
        };
        turn.fetches += 1;
        let is_due = result.is_ok() && turn.fetches.is_multiple_of(FETCHES_PER_COMPACTION);
        if is_due && let Err(error) = self.clone.compact(self.shared.git.network_timeout).await {
            tracing::debug!(repository = %self.url.redacted(), %error, "The clone was not compacted.");
        }
        result
    }

    /// Makes the clone usable. Only the holder of the network turn calls this.
    async fn prepare(&self) -> Result<(), RepoError> {
        remove_leftovers(&self.clone.directory);
        if !self.is_ready() {
            self.clone.init().await?;
            self.state().ready = true;
        }
        Ok(())
    }

    fn wipe(&self, turn: &mut CloneState) -> Result<(), RepoError> {
        const WIPE_INTERVAL: Duration = Duration::from_secs(60);
        let too_soon = turn.wiped_at.is_some_and(|at| at.elapsed() < WIPE_INTERVAL);
        if !too_soon && self.clone.directory.exists() {
            std::fs::remove_dir_all(&self.clone.directory).map_err(|error| RepoError::Clone {
                repository: self.url.redacted(),
                reason: format!("the damaged clone cannot be removed: {error}"),
            })?;
        }
        turn.wiped_at = Some(Instant::now());
        let mut state = self.state();
        state.ready = false;
        state.suspect = false;
        state.generation += 1;
        state.known_commits.clear();
        Ok(())
    }

    /// Reads from the clone; a failure that is the clone's own makes it suspect.
    pub(crate) async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&BareClone) -> Result<T, RepoError>,
    ) -> Result<T, RepoError> {
        let _permit = self.shared.read_permits.acquire().await;
        let generation = self.state().generation;
        let result = work(&self.clone).await;
        if let Err(RepoError::Clone { .. }) = &result {
            let mut state = self.state();
            if state.generation == generation {
                state.suspect = true;
                state.known_commits.clear();
            }
        }
        result
    }

    pub(crate) async fn locate(&self, commit: &Sha, path: &str) -> Result<Located, RepoError> {
        self.ensure(commit).await?;
        self.read(async |clone| clone.locate(commit, path).await).await
    }

    pub(crate) async fn commit_info(&self, commit: &Sha) -> Result<CommitInfo, RepoError> {
        self.ensure(commit).await?;
        self.read(async |clone| clone.commit_info(commit).await).await
    }

    pub(crate) async fn is_ancestor(&self, ancestor: &Sha, descendant: &Sha) -> Result<bool, RepoError> {
        for commit in [descendant, ancestor] {
            // Asked in every pass of an application, and a commit that is gone from the server stays gone.
            let is_missing = |(missing, at): &(Sha, Instant)| missing == commit && at.elapsed() < FAILURE_AGE_MAX;
            if self.state().missing.as_ref().is_some_and(is_missing) {
                return Err(self.missing(commit));
            }
            let found = self.ensure(commit).await;
            if let Err(RepoError::MissingCommit { .. }) = &found {
                self.state().missing = Some((commit.clone(), Instant::now()));
            }
            found?;
        }
        self.read(async |clone| clone.is_ancestor(ancestor, descendant).await)
            .await
    }

    pub(crate) async fn changed_files(&self, from: &Sha, to: &Sha) -> Result<Vec<String>, RepoError> {
        self.ensure(to).await?;
        self.ensure(from).await?;
        self.read(async |clone| clone.changed_files(from, to).await).await
    }
}

/// Removes locks and half-written packs that a killed git left behind; only the holder of the network turn writes here.
fn remove_leftovers(directory: &Path) {
    fn remove(folder: &Path, depth: usize, is_leftover: &dyn Fn(&str) -> bool) {
        const REF_FOLDERS_MAX: usize = 10;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < REF_FOLDERS_MAX {
                remove(&path, depth + 1, is_leftover);
            } else if !is_folder && is_leftover(&entry.file_name().to_string_lossy()) {
                // A file that cannot be removed makes git say so.
                let _ = std::fs::remove_file(path);
            }
        }
    }
    const NO_DESCENT: usize = usize::MAX;
    let is_lock = |name: &str| name.ends_with(".lock");
    remove(directory, NO_DESCENT, &is_lock);
    remove(&directory.join("refs"), 0, &is_lock);
    remove(&directory.join("objects/pack"), NO_DESCENT, &|name| {
        name.starts_with("tmp_") || name.ends_with(".lock")
    });
}
