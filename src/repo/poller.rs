//! One poller for each repository, however many applications use it: one listing of references in each interval, and at
//! once when a push event says so.

use super::{
    Sources, UsedRepository,
    error::RepoError,
    repository::{Freshness, Repository},
    url::loose_key,
};
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::AbortHandle;

/// Time between two listings of a repository. One listing is one small request, and no application asks on its own.
pub(crate) const POLL_INTERVAL_DEFAULT: Duration = Duration::from_secs(15);

/// A repository that fails is asked less often, up to this many intervals apart.
const FAILURE_INTERVALS_MAX: u32 = 4;

/// How often to ask.
#[derive(Clone)]
pub struct PollOptions {
    /// Time between two listings of one repository.
    pub interval: Duration,
    /// A number from 0 to 1 for each wait; it spreads repositories over time. Injected, so that tests are repeatable.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Default for PollOptions {
    fn default() -> Self {
        Self {
            interval: POLL_INTERVAL_DEFAULT,
            jitter: Arc::new(|| 0.5),
        }
    }
}

impl PollOptions {
    /// Between 0.9 and 1.1 intervals, longer after failures.
    fn wait(&self, failures: u32) -> Duration {
        let jitter = (self.jitter)().clamp(0.0, 1.0);
        let intervals = 2_u32
            .saturating_pow(failures.saturating_sub(1).min(8))
            .min(FAILURE_INTERVALS_MAX);
        self.interval.mul_f64(f64::from(intervals) * (0.9 + 0.2 * jitter))
    }
}

/// Ends the task when dropped.
struct Polling(AbortHandle);

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sources {
    /// Says which repositories applications use now; [`Self::run_poller`] follows. Addresses that cannot be used are
    /// skipped: resolving them says why.
    pub fn watch(&self, used: BTreeSet<UsedRepository>) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != used;
            *wanted = used;
            is_new
        });
    }

    /// Polls the watched repositories until dropped. What changes is announced to [`Self::subscribe`].
    pub async fn run_poller(&self, options: PollOptions) {
        let mut wanted = self.wanted.subscribe();
        let mut running: BTreeMap<String, Polling> = BTreeMap::new();
        loop {
            let used = wanted.borrow_and_update().clone();
            let repositories: BTreeMap<String, Arc<Repository>> = used
                .iter()
                .filter_map(|used| self.of_project(&used.project).repository(&used.url).ok())
                .map(|repository| (repository.identity(), repository))
                .collect();
            running.retain(|identity, _| repositories.contains_key(identity));
            for (identity, repository) in repositories {
                running
                    .entry(identity)
                    .or_insert_with(|| Polling(tokio::spawn(poll(repository, options.clone())).abort_handle()));
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    /// A push event named these addresses of one repository: asks every clone of it at once and announces what moved.
    /// Returns how many repositories in use it was about; an event about others costs nothing.
    pub async fn notify(&self, repository_urls: &[String]) -> usize {
        let keys: BTreeSet<String> = repository_urls.iter().filter_map(|url| loose_key(url)).collect();
        let concerned: Vec<_> = self
            .known()
            .into_iter()
            .filter(|repository| keys.contains(&repository.url.loose_key()))
            .collect();
        let results = join_all(concerned.iter().map(|repository| repository.refs(Freshness::Latest))).await;
        for (repository, result) in concerned.iter().zip(&results) {
            if let Err(error) = result {
                tracing::warn!(repository = %repository.url.redacted(), %error, "A push event could not be followed up.");
            }
        }
        concerned.len()
    }
}

async fn poll(repository: Arc<Repository>, options: PollOptions) {
    let mut failures = 0_u32;
    loop {
        match repository.refs(Freshness::Latest).await {
            Ok(_) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                log(&repository, &error, failures);
            }
        }
        // A kick (new credentials) ends the wait; ending it by mistake costs one listing.
        let _ = tokio::time::timeout(options.wait(failures), repository.kick.notified()).await;
    }
}

fn log(repository: &Repository, error: &RepoError, failures: u32) {
    let repository = repository.url.redacted();
    if failures == 1 {
        tracing::warn!(%repository, %error, "The repository cannot be polled.");
    } else {
        tracing::debug!(%repository, %error, failures, "The repository still cannot be polled.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_and_grow_after_failures() {
        let wait = |jitter: f64, failures| {
            let options = PollOptions {
                interval: Duration::from_secs(10),
                jitter: Arc::new(move || jitter),
            };
            options.wait(failures).as_millis()
        };
        assert_eq!((wait(0.0, 0), wait(0.5, 0), wait(1.0, 0)), (9_000, 10_000, 11_000));
        assert_eq!(
            (wait(0.5, 1), wait(0.5, 2), wait(0.5, 3), wait(0.5, 99)),
            (10_000, 20_000, 40_000, 40_000)
        );
    }
}
