//! Why a repository did not answer. Every text names the redacted address and nothing secret.

use super::{sha::Sha, url::RedactedUrl};
use crate::{class::Class, process::ProcessError};
use std::time::Duration;
use thiserror::Error;

/// Longest part of what git said that is repeated. In bytes.
const REASON_BYTES_MAX: usize = 500;

/// A failed operation on a repository. Cheap to clone: everybody who waited for the operation gets it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RepoError {
    /// The address (`repoURL`) may not be used.
    #[error("invalid repository URL `{repository}`: {reason}")]
    InvalidUrl {
        /// The repository.
        repository: RedactedUrl,
        /// What is wrong with it.
        reason: String,
    },
    /// The revision (`targetRevision`) may not be used.
    #[error("invalid revision `{revision}` for `{repository}`: {reason}")]
    InvalidRevision {
        /// The repository.
        repository: RedactedUrl,
        /// The text given.
        revision: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server cannot be reached or is out of order.
    #[error("failed to reach `{repository}`: {reason}")]
    Unreachable {
        /// The repository.
        repository: RedactedUrl,
        /// What git said.
        reason: String,
    },
    /// The server asks for patience.
    #[error("`{repository}` limits the rate of requests: {reason}")]
    Throttled {
        /// The repository.
        repository: RedactedUrl,
        /// What git said.
        reason: String,
    },
    /// Credentials are missing, wrong or not sufficient.
    #[error("authentication for `{repository}` failed: {reason}")]
    AuthFailed {
        /// The repository.
        repository: RedactedUrl,
        /// What git said, or which credentials were tried.
        reason: String,
    },
    /// The certificate or host key of the server is not trusted.
    #[error("the identity of `{repository}` is not trusted: {reason}")]
    Untrusted {
        /// The repository.
        repository: RedactedUrl,
        /// What git said.
        reason: String,
    },
    /// The server knows no such repository, or hides it from these credentials.
    #[error("repository `{repository}` not found: {reason}")]
    NotFound {
        /// The repository.
        repository: RedactedUrl,
        /// What git said.
        reason: String,
    },
    /// No branch, tag or commit has this name.
    #[error("unable to resolve '{revision}' to a commit SHA in `{repository}`{}", detail(reason.as_deref()))]
    UnknownRevision {
        /// The repository.
        repository: RedactedUrl,
        /// The text given.
        revision: String,
        /// More about it, for instance that a version range matched no tag.
        reason: Option<String>,
    },
    /// A commit was asked for that the server does not have or does not hand out.
    #[error("commit {commit} not found in `{repository}`")]
    MissingCommit {
        /// The repository.
        repository: RedactedUrl,
        /// The commit.
        commit: Sha,
    },
    /// An operation took too long.
    #[error("`{repository}` did not answer within {deadline:?} ({operation})")]
    Timeout {
        /// The repository.
        repository: RedactedUrl,
        /// What was tried.
        operation: &'static str,
        /// The time it had.
        deadline: Duration,
    },
    /// The repository is larger than a limit.
    #[error("`{repository}` is too large: {reason}")]
    TooLarge {
        /// The repository.
        repository: RedactedUrl,
        /// Which limit, and what exceeded it.
        reason: String,
    },
    /// The Secret that matches the repository cannot be used.
    #[error("credentials for `{repository}` cannot be used: {reason}")]
    Credentials {
        /// The repository.
        repository: RedactedUrl,
        /// The Secret, its key, and what is wrong.
        reason: String,
    },
    /// The local clone failed: disk, permissions, a missing git.
    #[error("failed to use the clone of `{repository}`: {reason}")]
    Clone {
        /// The repository.
        repository: RedactedUrl,
        /// What went wrong.
        reason: String,
    },
}

fn detail(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

impl RepoError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::InvalidUrl { .. } | Self::InvalidRevision { .. } | Self::TooLarge { .. } => Class::Permanent,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Clone { .. } => Class::Transient,
            Self::Throttled { .. } => Class::Throttled(Duration::from_secs(60)),
            Self::AuthFailed { .. } | Self::Untrusted { .. } | Self::Credentials { .. } => Class::Denied,
            Self::NotFound { .. } | Self::UnknownRevision { .. } | Self::MissingCommit { .. } => Class::NotFound,
        }
    }

    /// A stable word for metrics and event reasons.
    pub fn label(&self) -> &'static str {
        match self {
            Self::InvalidUrl { .. } => "invalid_url",
            Self::InvalidRevision { .. } => "invalid_revision",
            Self::Unreachable { .. } => "unreachable",
            Self::Throttled { .. } => "throttled",
            Self::AuthFailed { .. } => "auth_failed",
            Self::Untrusted { .. } => "untrusted",
            Self::NotFound { .. } => "not_found",
            Self::UnknownRevision { .. } => "unknown_revision",
            Self::MissingCommit { .. } => "missing_commit",
            Self::Timeout { .. } => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::Credentials { .. } => "credentials",
            Self::Clone { .. } => "clone",
        }
    }

    /// Adds which credentials were tried, where that is what a person wants to know.
    pub(crate) fn after_trying(self, secret: Option<&str>) -> Self {
        let tried = |reason: String| match secret {
            Some(secret) => format!("{reason} (tried the credentials of Secret {secret})"),
            None => format!("{reason} (no repository Secret matches it)"),
        };
        match self {
            Self::AuthFailed { repository, reason } => Self::AuthFailed {
                repository,
                reason: tried(reason),
            },
            other => other,
        }
    }

    /// Understands what git said. `secrets` are removed from its text.
    pub(crate) fn of_git(
        repository: RedactedUrl,
        operation: &'static str,
        error: &ProcessError,
        secrets: &[String],
    ) -> Self {
        match error {
            ProcessError::Timeout { deadline, .. } => Self::Timeout {
                repository,
                operation,
                deadline: *deadline,
            },
            ProcessError::OutputTooLarge { bytes_max, .. } => Self::TooLarge {
                repository,
                reason: format!("more than {} MiB of output ({operation})", bytes_max >> 20),
            },
            ProcessError::Failed { stderr, .. } => Self::of_stderr(repository, clean(stderr, secrets)),
            ProcessError::Start { .. } | ProcessError::Pipe { .. } => Self::Clone {
                repository,
                reason: error.to_string(),
            },
        }
    }

    fn of_stderr(repository: RedactedUrl, reason: String) -> Self {
        let text = reason.to_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        if says(&["not our ref", "unadvertised object"]) {
            // The server hung up because it has no such object, not because it is out of order.
            Self::Clone { repository, reason }
        } else if says(&["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"]) {
            let reason = format!("{reason} (a redirect is not followed when a token is sent without being asked)");
            Self::NotFound { repository, reason }
        } else if says(&[
            "certificate",
            "ssl",
            "host key verification failed",
            "gnutls",
            "tls handshake",
        ]) {
            Self::Untrusted { repository, reason }
        } else if says(&["error: 429", "too many requests"]) {
            Self::Throttled { repository, reason }
        } else if says(&[
            "authentication failed",
            "could not read username",
            "could not read password",
            "error: 401",
            "error: 403",
            "permission denied (",
            "access denied",
            "authentication required",
        ]) {
            Self::AuthFailed { repository, reason }
        } else if says(&[
            "not found",
            "error: 404",
            "does not appear to be a git repository",
            "does not exist",
        ]) {
            Self::NotFound { repository, reason }
        } else if says(&[
            "could not resolve host",
            "unable to access",
            "timed out",
            "connection",
            "error: 5",
        ]) || says(&[
            "early eof",
            "remote end hung up",
            "rpc failed",
            "unexpected disconnect",
            "network is unreachable",
        ]) {
            Self::Unreachable { repository, reason }
        } else {
            Self::Clone { repository, reason }
        }
    }
}

/// What git said, in one line, without secrets, addresses with a user, and terminal escapes.
pub(crate) fn clean(stderr: &str, secrets: &[String]) -> String {
    let mut text = stderr.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "<hidden>");
    }
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_start_matches("fatal: ").trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .collect();
    let words: Vec<String> = lines.join("; ").split(' ').map(without_userinfo).collect();
    let mut text: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    if let Some((end, _)) = text.char_indices().find(|(index, _)| *index >= REASON_BYTES_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Removes `user:password@` behind every `://` of a word.
fn without_userinfo(word: &str) -> String {
    let Some((before, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((userinfo, _)) => format!("{before}://{}", rest.get(userinfo.len() + 1..).unwrap_or_default()),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stderr: &str, label: &str) {
        let error = RepoError::of_stderr(RedactedUrl::of("https://u:p@host/r"), clean(stderr, &[]));
        assert_eq!(error.label(), label, "{stderr}");
        assert!(error.to_string().contains("`https://host/r`"), "{error}");
    }

    #[test]
    fn what_git_says_has_a_type() {
        check("fatal: Authentication failed for 'https://host/r/'", "auth_failed");
        check(
            "fatal: could not read Username for 'https://host': terminal prompts disabled",
            "auth_failed",
        );
        check(
            "fatal: unable to access 'https://host/r/': The requested URL returned error: 403",
            "auth_failed",
        );
        check(
            "git@host: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            "auth_failed",
        );
        check(
            "fatal: unable to access 'https://host/r/': The requested URL returned error: 503",
            "unreachable",
        );
        check(
            "fatal: unable to access 'https://host/r/': The requested URL returned error: 429",
            "throttled",
        );
        check(
            "fatal: unable to access 'https://host/r/': Could not resolve host: host",
            "unreachable",
        );
        check(
            "fatal: unable to access 'http://host/r/': Failed to connect to host port 1: Connection refused",
            "unreachable",
        );
        check(
            "fatal: unable to access 'https://host/': server certificate verification failed.",
            "untrusted",
        );
        check(
            "Host key verification failed.\nfatal: Could not read from remote repository.",
            "untrusted",
        );
        check(
            "remote: Repository not found.\nfatal: repository 'https://host/r/' not found",
            "not_found",
        );
        check("fatal: '/x' does not appear to be a git repository", "not_found");
        check(
            "fatal: remote error: upload-pack: not our ref 12ab\nfatal: the remote end hung up unexpectedly",
            "clone",
        );
        check(
            "fatal: unable to access 'https://host/r/': The requested URL returned error: 301",
            "not_found",
        );
        check("fatal: pack has bad object at offset 12", "clone");
    }

    #[test]
    fn secrets_masked_in_errors() {
        let text = clean(
            "fatal: bad \u{1b}[31mthing at https://me:hunter2@host/x with tok3n\nhint: x",
            &["tok3n".to_owned()],
        );
        assert_eq!(text, "bad [31mthing at https://host/x with <hidden>");
        assert!(clean(&"é".repeat(2000), &[]).len() < 600);
    }
}
