//! Resolves and renders the sources of an application, at the newest commits or at those an operation is pinned to.

use super::Shell;
use crate::{
    api::application::{Application, ApplicationSource, SyncOperation},
    class::Class,
    repo::{
        Freshness,
        render::{ManifestProblem, RenderRequest},
        sha::Sha,
    },
    sync::{Desired, Failure, auto_sync::Ancestry, project, revisions::Revisions},
};
use serde_json::Value;
use std::sync::Arc;

/// The sources in effect at their newest commits.
pub(super) async fn newest(shell: &Shell, app: &Application, freshness: Freshness) -> Result<Desired, Failure> {
    let sources = app.spec.effective_sources();
    render(shell, app, &sources, &[], freshness).await
}

/// What an operation asks for, when that is not what the application's sources are at: explicit commits, other
/// sources, or manifests that came with the request.
pub(super) async fn pinned(
    shell: &Shell,
    app: &Application,
    newest: Result<&Desired, &Failure>,
) -> Option<Result<Desired, Failure>> {
    let running = app
        .status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref())
        .filter(|state| matches!(state.phase.as_str(), "Running" | "Terminating"));
    let (sync, commits) = match (running, &app.operation) {
        (Some(state), _) => (
            state.operation.sync.as_ref()?,
            state.sync_result.as_ref().map(Revisions::of_result).unwrap_or_default(),
        ),
        (None, Some(operation)) => (operation.sync.as_ref()?, Revisions::default()),
        (None, None) => return None,
    };
    if !sync.manifests.is_empty() {
        return Some(local(&sync.manifests, &commits, newest));
    }
    let asked: Vec<String> = if !commits.is_empty() {
        commits.each().into_iter().map(ToOwned::to_owned).collect()
    } else if !sync.revisions.is_empty() {
        sync.revisions.clone()
    } else if sync.revision.is_empty() {
        Vec::new()
    } else {
        vec![sync.revision.clone()]
    };
    let sources = asked_sources(app, sync);
    let is_own = sources == app.spec.effective_sources();
    if is_own && (asked.is_empty() || newest.is_ok_and(|newest| newest.revisions.each() == asked)) {
        return None;
    }
    Some(render(shell, app, &sources, &asked, Freshness::Cached).await)
}

fn asked_sources<'a>(app: &'a Application, sync: &'a SyncOperation) -> Vec<&'a ApplicationSource> {
    if !sync.sources.is_empty() {
        sync.sources.iter().collect()
    } else if let Some(source) = &sync.source {
        vec![source]
    } else {
        app.spec.effective_sources()
    }
}

async fn render(
    shell: &Shell,
    app: &Application,
    sources: &[&ApplicationSource],
    revisions: &[String],
    freshness: Freshness,
) -> Result<Desired, Failure> {
    let mut desired = Desired::default();
    let mut commits = Vec::new();
    let repositories = shell.sources.of_project(project::name_of(&app.spec));
    for (index, source) in sources.iter().enumerate() {
        let wanted = revisions
            .get(index)
            .filter(|revision| !revision.is_empty())
            .unwrap_or(&source.target_revision);
        let resolved = repositories
            .resolve_tagged(&source.repo_url, wanted, &source.tag_prefix, freshness)
            .await;
        let commit = resolved.map_err(|error| Failure {
            message: error.to_string(),
            is_transient: is_transient(error.class()),
        })?;
        commits.push(commit.to_string());
        if source.path.is_empty() && source.chart.is_empty() && !source.r#ref.is_empty() {
            continue;
        }
        let request = RenderRequest {
            repo_url: source.repo_url.clone(),
            commit: Some(commit),
            source: (*source).clone(),
            app_name: app.metadata.name.clone().unwrap_or_default(),
        };
        let rendered = repositories.render(&request).await;
        let rendered = rendered.map_err(|error| Failure {
            message: error.to_string(),
            is_transient: is_transient(error.class()),
        })?;
        desired.parts.push(Arc::clone(&rendered.objects));
        desired.source_types.push(rendered.source_type.to_owned());
        desired.notes.extend(rendered.problems.iter().map(note));
    }
    let has_several = !app.spec.sources.is_empty() || sources.len() > 1;
    desired.revisions = Revisions::new(commits, has_several);
    Ok(desired)
}

fn note(problem: &ManifestProblem) -> String {
    match problem.line {
        Some(line) => format!("{}:{line}: {}", problem.file, problem.message),
        None => format!("{}: {}", problem.file, problem.message),
    }
}

fn is_transient(class: Class) -> bool {
    match class {
        // Credentials are often being rotated just now; the last comparison is still worth something.
        Class::Denied => true,
        other => may_pass(other),
    }
}

/// Whether a failure may be over without anybody doing anything.
pub(super) fn may_pass(class: Class) -> bool {
    match class {
        Class::Conflict | Class::Transient | Class::Throttled(_) => true,
        Class::Denied | Class::NotFound | Class::Permanent => false,
    }
}

fn local(manifests: &[String], commits: &Revisions, newest: Result<&Desired, &Failure>) -> Result<Desired, Failure> {
    let mut objects = Vec::new();
    for (index, manifest) in manifests.iter().enumerate() {
        let object: Value = serde_json::from_str(manifest).map_err(|error| Failure {
            message: format!("operation.sync.manifests[{index}] is not a JSON object: {error}"),
            is_transient: false,
        })?;
        objects.push(object);
    }
    let revisions = match newest {
        _ if !commits.is_empty() => commits.clone(),
        Ok(newest) => newest.revisions.clone(),
        Err(_) => Revisions::default(),
    };
    Ok(Desired {
        revisions,
        parts: vec![Arc::new(objects)],
        ..Desired::default()
    })
}

/// How the newest commits relate to those deployed last. Only commits of the same reference of the same repository can
/// be older or newer; a person who names another reference means it.
pub(super) async fn ancestry(shell: &Shell, app: &Application, newest: &Desired) -> Result<Ancestry, Failure> {
    let Some(last) = app.status.as_ref().and_then(|status| status.history.last()) else {
        return Ok(Ancestry::Forward);
    };
    let before: Vec<&ApplicationSource> = if last.sources.is_empty() {
        last.source.iter().collect()
    } else {
        last.sources.iter().collect()
    };
    relation(shell, app, newest, &Revisions::of_history(last), &before).await
}

/// How the newest commits relate to those that are held back.
pub(super) async fn since_hold(shell: &Shell, app: &Application, newest: &Desired) -> Result<Ancestry, Failure> {
    let Some(hold) = app.status.as_ref().and_then(|status| status.hold.as_ref()) else {
        return Ok(Ancestry::Forward);
    };
    let sources = app.spec.effective_sources();
    relation(shell, app, newest, &Revisions::parse(&hold.revision), &sources).await
}

async fn relation(
    shell: &Shell,
    app: &Application,
    newest: &Desired,
    earlier: &Revisions,
    before: &[&ApplicationSource],
) -> Result<Ancestry, Failure> {
    if *earlier == newest.revisions {
        return Ok(Ancestry::Forward);
    }
    let now = app.spec.effective_sources();
    let repositories = shell.sources.of_project(project::name_of(&app.spec));
    let commits = newest.revisions.each().into_iter().zip(earlier.each());
    let mut found = Ancestry::Forward;
    for ((source, old), (commit, earlier)) in now.iter().zip(before).zip(commits) {
        if source.repo_url != old.repo_url || source.target_revision != old.target_revision || commit == earlier {
            continue;
        }
        let (Some(commit), Some(earlier)) = (Sha::parse(commit), Sha::parse(earlier)) else {
            continue;
        };
        match repositories.is_ancestor(&source.repo_url, &commit, &earlier).await {
            Ok(true) => return Ok(Ancestry::Backward),
            Ok(false) => {}
            // A rewritten history may have lost the earlier commit, and a mirror may not have it yet.
            Err(error) if error.class() == Class::NotFound => found = Ancestry::Unknown,
            Err(error) => {
                return Err(Failure {
                    message: error.to_string(),
                    is_transient: is_transient(error.class()),
                });
            }
        }
    }
    Ok(found)
}
