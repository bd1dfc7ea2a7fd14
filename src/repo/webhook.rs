//! Push events (reference, applications 10.4): who moved which reference of which repository. Pure.
//!
//! An event is only a hint to look now: the commit is always learned from the repository itself, so a forged event can
//! cost one listing and nothing else.

use super::sha::{Sha, hex};
use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use thiserror::Error;

/// Longest body read. The original reads 50 MB before it checks anything; GitHub's largest push events are about 3 MB,
/// and a longer one only loses its head start: the poller sees the push within its interval. In bytes.
pub const WEBHOOK_BODY_BYTES_MAX: usize = 8 << 20;

/// GitHub sends at most this many commits with an event, GitLab at most 20 (and says how many there were).
const GITHUB_COMMITS_MAX: usize = 2048;

/// What a payload says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WebhookEvent {
    /// A branch or tag moved.
    Push(Push),
    /// The server tries whether it can reach us.
    Ping,
    /// Authentic, and about something else.
    Ignored {
        /// The event as the server calls it.
        event: String,
    },
}

/// A push.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Push {
    /// Every address of the repository that the payload names: web page, https, ssh.
    pub repository_urls: Vec<String>,
    /// Full name of the reference, `refs/heads/main`.
    pub reference: String,
    /// Where it was; absent for a new one.
    pub before: Option<Sha>,
    /// Where it is; absent for a deleted one.
    pub after: Option<Sha>,
    /// Files added, modified or removed by the commits listed.
    pub changed_files: BTreeSet<String>,
    /// Whether `changed_files` is all: servers cut long lists, and new or forced branches list nothing useful.
    pub changed_files_complete: bool,
    /// Short name of the default branch.
    pub default_branch: Option<String>,
}

/// Why a payload is refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum WebhookError {
    /// No header names an event that we know.
    #[error("Unknown webhook event")]
    UnknownEvent,
    /// A secret is configured and the request carries no signature or token.
    #[error("webhook is not signed: header {header} is missing")]
    Unsigned {
        /// The header that should be there.
        header: &'static str,
    },
    /// The signature or token is wrong.
    #[error("webhook signature verification failed")]
    BadSignature,
    /// The body is longer than [`WEBHOOK_BODY_BYTES_MAX`].
    #[error("webhook body is larger than {WEBHOOK_BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// The body is not what the event's name promises.
    #[error("webhook payload cannot be read: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

impl WebhookError {
    /// The HTTP status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownEvent | Self::Malformed { .. } => 400,
            Self::Unsigned { .. } | Self::BadSignature => 401,
            Self::TooLarge => 413,
        }
    }

    /// A stable word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownEvent => "unknown_event",
            Self::Unsigned { .. } => "unsigned",
            Self::BadSignature => "bad_signature",
            Self::TooLarge => "too_large",
            Self::Malformed { .. } => "malformed",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Server {
    GitHub,
    Gitea,
    Gogs,
    GitLab,
}

impl Server {
    /// In this order, because Gitea sends Gogs' and GitHub's headers too, and Gogs GitHub's.
    const ALL: [(Self, &'static str); 4] = [
        (Self::Gitea, "x-gitea-event"),
        (Self::Gogs, "x-gogs-event"),
        (Self::GitHub, "x-github-event"),
        (Self::GitLab, "x-gitlab-event"),
    ];

    fn signature_header(self) -> &'static str {
        match self {
            Self::GitHub => "X-Hub-Signature-256",
            Self::Gitea => "X-Gitea-Signature",
            Self::Gogs => "X-Gogs-Signature",
            Self::GitLab => "X-Gitlab-Token",
        }
    }
}

/// Checks who sent a payload and reads it. Without a `secret` everybody may send; whether that is wanted is the
/// caller's decision. The body is parsed only once it is known to be authentic.
pub fn verify_and_parse(headers: &HeaderMap, body: &[u8], secret: Option<&str>) -> Result<WebhookEvent, WebhookError> {
    if body.len() > WEBHOOK_BODY_BYTES_MAX {
        return Err(WebhookError::TooLarge);
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let found = Server::ALL
        .into_iter()
        .find_map(|(server, header)| Some((server, text(header)?)));
    let (server, event) = found.ok_or(WebhookError::UnknownEvent)?;
    if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
        let header = server.signature_header();
        let given = text(header).ok_or(WebhookError::Unsigned { header })?;
        verify(server, given, body, secret)?;
    }
    match (server, event) {
        (_, "ping") => Ok(WebhookEvent::Ping),
        (Server::GitLab, "Push Hook" | "Tag Push Hook" | "System Hook") => {
            gitlab(&payload(text("content-type"), body)?)
        }
        (Server::GitHub | Server::Gitea | Server::Gogs, "push") => github(&payload(text("content-type"), body)?),
        (_, other) => Ok(WebhookEvent::Ignored {
            event: other.chars().take(64).collect(),
        }),
    }
}

fn verify(server: Server, given: &str, body: &[u8], secret: &str) -> Result<(), WebhookError> {
    if server == Server::GitLab {
        // GitLab sends the secret itself. Comparing digests takes the same time wherever the texts differ.
        let digest = |text: &str| Sha256::digest(text.as_bytes());
        let mut mac = signer(secret)?;
        mac.update(&digest(given));
        let mut expected = signer(secret)?;
        expected.update(&digest(secret));
        return mac
            .verify(&expected.finalize().into_bytes())
            .map_err(|_| WebhookError::BadSignature);
    }
    let given = if server == Server::GitHub {
        given.strip_prefix("sha256=")
    } else {
        Some(given)
    };
    let signature = given.and_then(from_hex).ok_or(WebhookError::BadSignature)?;
    let mut mac = signer(secret)?;
    mac.update(body);
    mac.verify_slice(&signature).map_err(|_| WebhookError::BadSignature)
}

fn signer(secret: &str) -> Result<Hmac<Sha256>, WebhookError> {
    // HMAC takes keys of any length; the error cannot happen and would be a refusal.
    Hmac::new_from_slice(secret.as_bytes()).map_err(|_| WebhookError::BadSignature)
}

/// What GitHub would send as `X-Hub-Signature-256`; for tests and demos that play the server.
pub fn sign(body: &[u8], secret: &str) -> String {
    let signature = signer(secret).map(|mut mac| {
        mac.update(body);
        hex(&mac.finalize().into_bytes())
    });
    format!("sha256={}", signature.unwrap_or_default())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

/// The JSON text; GitHub's older default is a form with one field.
fn payload(content_type: Option<&str>, body: &[u8]) -> Result<Vec<u8>, WebhookError> {
    if !content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        return Ok(body.to_vec());
    }
    let field = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload");
    let field = field.ok_or_else(|| malformed("the form has no field `payload`"))?;
    Ok(field.1.into_owned().into_bytes())
}

fn malformed(reason: impl ToString) -> WebhookError {
    WebhookError::Malformed {
        reason: reason.to_string(),
    }
}

#[derive(Deserialize)]
struct Commit {
    #[serde(default)]
    added: Option<Vec<String>>,
    #[serde(default)]
    modified: Option<Vec<String>>,
    #[serde(default)]
    removed: Option<Vec<String>>,
}

fn changed_files(commits: &[Commit]) -> BTreeSet<String> {
    let lists = commits
        .iter()
        .flat_map(|commit| [&commit.added, &commit.modified, &commit.removed]);
    lists.flatten().flatten().cloned().collect()
}

/// Also Gitea's and Gogs' form.
#[derive(Deserialize)]
struct GitHubPush {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default)]
    before: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    forced: bool,
    #[serde(default)]
    commits: Option<Vec<Commit>>,
    #[serde(default)]
    total_commits: Option<usize>,
    repository: GitHubRepository,
}

#[derive(Deserialize)]
struct GitHubRepository {
    #[serde(default)]
    html_url: Option<String>,
    #[serde(default)]
    clone_url: Option<String>,
    #[serde(default)]
    ssh_url: Option<String>,
    #[serde(default)]
    default_branch: Option<String>,
}

fn github(body: &[u8]) -> Result<WebhookEvent, WebhookError> {
    let push: GitHubPush = serde_json::from_slice(body).map_err(malformed)?;
    let commits = push.commits.unwrap_or_default();
    let GitHubRepository {
        html_url,
        clone_url,
        ssh_url,
        default_branch,
    } = push.repository;
    let is_cut = commits.len() >= GITHUB_COMMITS_MAX || push.total_commits.is_some_and(|total| total > commits.len());
    conclude(Facts {
        urls: [html_url, clone_url, ssh_url].into_iter().flatten().collect(),
        reference: push.reference,
        before: &push.before,
        after: &push.after,
        commits: &commits,
        is_cut: is_cut || push.forced,
        default_branch,
    })
}

#[derive(Deserialize)]
struct GitLabPush {
    #[serde(rename = "ref", default)]
    reference: String,
    #[serde(default)]
    object_kind: String,
    #[serde(default)]
    event_name: String,
    #[serde(default)]
    before: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    commits: Option<Vec<Commit>>,
    #[serde(default)]
    total_commits_count: Option<usize>,
    #[serde(default)]
    project: Option<GitLabProject>,
}

#[derive(Default, Deserialize)]
struct GitLabProject {
    #[serde(default)]
    web_url: Option<String>,
    #[serde(default)]
    git_http_url: Option<String>,
    #[serde(default)]
    git_ssh_url: Option<String>,
    #[serde(default)]
    default_branch: Option<String>,
}

fn gitlab(body: &[u8]) -> Result<WebhookEvent, WebhookError> {
    let push: GitLabPush = serde_json::from_slice(body).map_err(malformed)?;
    let kind = if push.object_kind.is_empty() {
        push.event_name
    } else {
        push.object_kind
    };
    // System hooks tell of everything that happens on a server.
    if !matches!(kind.as_str(), "push" | "tag_push") {
        return Ok(WebhookEvent::Ignored {
            event: kind.chars().take(64).collect(),
        });
    }
    let commits = push.commits.unwrap_or_default();
    let GitLabProject {
        web_url,
        git_http_url,
        git_ssh_url,
        default_branch,
    } = push.project.unwrap_or_default();
    conclude(Facts {
        urls: [web_url, git_http_url, git_ssh_url].into_iter().flatten().collect(),
        reference: push.reference,
        before: &push.before,
        after: &push.after,
        is_cut: push.total_commits_count.is_none_or(|total| total > commits.len()),
        commits: &commits,
        default_branch,
    })
}

struct Facts<'a> {
    urls: Vec<String>,
    reference: String,
    before: &'a str,
    after: &'a str,
    commits: &'a [Commit],
    is_cut: bool,
    default_branch: Option<String>,
}

fn conclude(facts: Facts<'_>) -> Result<WebhookEvent, WebhookError> {
    let Facts {
        mut urls,
        reference,
        before,
        after,
        commits,
        is_cut,
        default_branch,
    } = facts;
    urls.retain(|url| !url.is_empty());
    urls.dedup();
    if urls.is_empty() {
        return Err(malformed("no address of the repository"));
    }
    if !reference.starts_with("refs/") {
        return Err(malformed(format_args!(
            "`ref` must start with refs/, found `{}`",
            reference.chars().take(80).collect::<String>()
        )));
    }
    let commit = |text: &str| Sha::parse(text).filter(|sha| !sha.is_zero());
    let (before, after) = (commit(before), commit(after));
    Ok(WebhookEvent::Push(Push {
        repository_urls: urls,
        reference,
        changed_files: changed_files(commits),
        changed_files_complete: !is_cut && before.is_some() && after.is_some(),
        before,
        after,
        default_branch: default_branch.filter(|branch| !branch.is_empty()),
    }))
}

#[cfg(test)]
mod tests;
