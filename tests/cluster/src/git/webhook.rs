//! Tells of pushes as GitHub does: one signed POST for each ref that changed.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Result;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Shared, Webhook, git};

/// The object id of "no object", before a ref is created and after it is deleted.
const NO_OBJECT: &str = "0000000000000000000000000000000000000000";

/// Commits listed in one payload, the newest; GitHub also leaves out what is too much.
const COMMITS_MAX: usize = 100;

/// GitHub waits as long for an answer, and does not try again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

type Refs = BTreeMap<String, String>;

/// Sends one payload for each ref that differs. Failures are logged: the push has long succeeded.
pub(super) async fn tell(shared: &Shared, name: &str, webhook: &Webhook, before: &Refs, after: &Refs) {
    let mut changed: Vec<&String> = before.keys().chain(after.keys()).collect();
    changed.sort();
    changed.dedup();
    for reference in changed {
        let (old, new) = (before.get(reference), after.get(reference));
        if old == new {
            continue;
        }
        let old = old.map_or(NO_OBJECT, String::as_str);
        let new = new.map_or(NO_OBJECT, String::as_str);
        let push = Push {
            reference,
            old,
            new,
            others: before,
        };
        let delivered = match payload(shared, name, &push).await {
            Ok(payload) => deliver(shared, webhook, &payload).await,
            Err(error) => Err(error),
        };
        match delivered {
            Ok(status) => tracing::info!(name, reference, %status, "Told the webhook of a push."),
            Err(error) => {
                tracing::warn!(
                    name,
                    reference,
                    error = format!("{error:#}"),
                    "Cannot tell the webhook of a push."
                );
            }
        }
    }
}

async fn deliver(shared: &Shared, webhook: &Webhook, payload: &Value) -> Result<reqwest::StatusCode> {
    static DELIVERIES: AtomicU64 = AtomicU64::new(1);
    let body = serde_json::to_vec(payload)?;
    let number = DELIVERIES.fetch_add(1, Ordering::Relaxed);
    let mut request = shared
        .http
        .post(&webhook.url)
        .timeout(DELIVERY_TIMEOUT)
        .header("Content-Type", "application/json")
        .header("User-Agent", "GitHub-Hookshot/tidegate")
        .header("X-GitHub-Event", "push")
        .header("X-GitHub-Delivery", format!("00000000-0000-4000-8000-{number:012x}"));
    if !webhook.secret.is_empty() {
        request = request.header("X-Hub-Signature-256", signature(&webhook.secret, &body));
    }
    Ok(request.body(body).send().await?.status())
}

/// `sha256=` and the HMAC of the body in hexadecimal.
pub(super) fn signature(secret: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length, so there is no error to have; without a key there would be no signature to trust either.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    let digits: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256={digits}")
}

/// One ref's change, and all refs before it.
struct Push<'a> {
    reference: &'a str,
    old: &'a str,
    new: &'a str,
    others: &'a Refs,
}

async fn payload(shared: &Shared, name: &str, push: &Push<'_>) -> Result<Value> {
    let dir = shared.path_of(name);
    let Push {
        reference,
        old,
        new,
        others: _,
    } = push;
    let (created, deleted) = (*old == NO_OBJECT, *new == NO_OBJECT);
    let forced = !created && !deleted && git(&dir, &["merge-base", "--is-ancestor", old, new]).await.is_err();
    let commits = if deleted {
        Vec::new()
    } else {
        commits(shared, name, &dir, push).await?
    };
    let html_url = format!("{}/{name}", shared.url);
    let default_branch = git(&dir, &["symbolic-ref", "--short", "HEAD"]).await?;
    let (owner, short_name) = name.rsplit_once('/').unwrap_or(("tidegate", name));
    let person = json!({ "name": "Test Author", "email": "author@example.com" });
    Ok(json!({
        "ref": reference,
        "before": old,
        "after": new,
        "created": created,
        "deleted": deleted,
        "forced": forced,
        "base_ref": null,
        "compare": format!("{html_url}/compare/{old}...{new}"),
        "head_commit": commits.last(),
        "commits": commits,
        "repository": {
            "name": short_name,
            "full_name": name,
            "private": false,
            "owner": { "name": owner, "login": owner },
            "html_url": html_url,
            "url": html_url,
            "clone_url": format!("{html_url}.git"),
            "default_branch": default_branch,
            "master_branch": default_branch,
        },
        "pusher": person,
        "sender": { "login": "test-author" },
    }))
}

/// The commits the push brought, oldest first.
async fn commits(shared: &Shared, name: &str, dir: &Path, push: &Push<'_>) -> Result<Vec<Value>> {
    let count = format!("--max-count={COMMITS_MAX}");
    let mut arguments = vec!["rev-list", count.as_str(), push.new];
    // A new branch brings only what no other ref had.
    if push.old == NO_OBJECT {
        arguments.push("--not");
        arguments.extend(push.others.values().map(String::as_str));
    } else {
        arguments.extend(["--not", push.old]);
    }
    let ids = git(dir, &arguments).await?;
    let mut commits = Vec::new();
    for id in ids.lines().rev() {
        commits.push(commit(shared, name, dir, id).await?);
    }
    Ok(commits)
}

async fn commit(shared: &Shared, name: &str, dir: &Path, id: &str) -> Result<Value> {
    let shown = git(dir, &["show", "--no-patch", "--format=%T%n%cI%n%an%n%ae%n%B", id]).await?;
    let mut lines = shown.lines();
    let mut line = || lines.next().unwrap_or_default().to_owned();
    let (tree, time, author) = (line(), line(), json!({ "name": line(), "email": line() }));
    let message: Vec<&str> = lines.collect();
    let arguments = [
        "diff-tree",
        "-r",
        "-z",
        "-m",
        "--first-parent",
        "--root",
        "--no-commit-id",
        "--no-renames",
        "--name-status",
        id,
    ];
    let changes = git(dir, &arguments).await?;
    let fields: Vec<&str> = changes.split('\0').collect();
    let paths = |kinds: &str| -> Vec<&str> {
        let pairs = fields
            .chunks_exact(2)
            .filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)));
        pairs
            .filter(|(kind, _)| kinds.contains(kind))
            .map(|(_, path)| path)
            .collect()
    };
    Ok(json!({
        "id": id,
        "tree_id": tree,
        "distinct": true,
        "message": message.join("\n").trim_end(),
        "timestamp": time,
        "url": format!("{}/{name}/commit/{id}", shared.url),
        "author": author,
        "committer": author,
        "added": paths("A"),
        "removed": paths("D"),
        // A changed type (file to link) is a modification to GitHub.
        "modified": paths("MT"),
    }))
}
