//! How long anything is waited for, and what is said meanwhile (guarantee D6).

use crate::{api::scalar::wire_time, lang::duration};
use jiff::{SignedDuration, Timestamp};

/// Longest waits of operations and deletions; zero means that such a wait has no end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitLimits {
    /// For what the cluster does by itself: health, hooks, finalizers (`--sync-wait-seconds`).
    pub progress: SignedDuration,
    /// For what a person does: going on after a pause, confirming a deletion (`--sync-approval-seconds`).
    pub approval: SignedDuration,
}

impl WaitLimits {
    /// An hour for the cluster: more than any healthy start takes.
    pub const PROGRESS_SECONDS_DEFAULT: i64 = 3600;
    /// A day for a person, so that nobody is hurried over night.
    pub const APPROVAL_SECONDS_DEFAULT: i64 = 86_400;
}

impl Default for WaitLimits {
    fn default() -> Self {
        Self {
            progress: SignedDuration::from_secs(Self::PROGRESS_SECONDS_DEFAULT),
            approval: SignedDuration::from_secs(Self::APPROVAL_SECONDS_DEFAULT),
        }
    }
}

/// Who is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Waiter {
    /// The cluster.
    Progress,
    /// A person.
    Approval,
}

/// One wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    /// When it began.
    pub since: Timestamp,
    /// How long it may take; absent when it has no end.
    pub limit: Option<SignedDuration>,
}

impl Wait {
    /// A wait that began then.
    pub fn new(waiter: Waiter, since: Timestamp, limits: WaitLimits) -> Self {
        let limit = match waiter {
            Waiter::Progress => limits.progress,
            Waiter::Approval => limits.approval,
        };
        Self {
            since,
            limit: (limit > SignedDuration::ZERO).then_some(limit),
        }
    }

    /// When it ends.
    pub fn until(self) -> Option<Timestamp> {
        self.since.checked_add(self.limit?).ok()
    }

    /// The limit, once it is reached.
    pub fn expired(self, now: Timestamp) -> Option<SignedDuration> {
        self.until().filter(|until| now >= *until).and(self.limit)
    }

    /// `<what> (since …, until …)`.
    pub fn told(self, what: &str) -> String {
        let since = wire_time(self.since).0;
        match self.until() {
            Some(until) => format!("{what} (since {since}, until {})", wire_time(until).0),
            None => format!("{what} (since {since})"),
        }
    }
}

/// A limit in words: `1h0m0s`.
pub fn span(limit: SignedDuration) -> String {
    duration::print(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_names_its_begin_and_its_end() {
        let since = Timestamp::from_second(1_000_000).unwrap();
        let wait = Wait::new(Waiter::Progress, since, WaitLimits::default());
        assert_eq!(
            wait.told("waiting for x"),
            "waiting for x (since 1970-01-12T13:46:40Z, until 1970-01-12T14:46:40Z)"
        );
        let end = wait.until().unwrap();
        assert_eq!(wait.expired(end).map(span).as_deref(), Some("1h0m0s"));
        assert_eq!(wait.expired(since), None);
        let endless = WaitLimits {
            progress: SignedDuration::ZERO,
            ..WaitLimits::default()
        };
        let wait = Wait::new(Waiter::Progress, since, endless);
        assert_eq!(wait.told("x"), "x (since 1970-01-12T13:46:40Z)");
        assert_eq!(wait.expired(Timestamp::MAX), None);
    }
}
