//! Deletion of an application that carries finalizers of ours.

use super::{Shell, desired, pass};
use crate::{
    api::application::Application,
    controllers::{drive::Next, retry::ReconcileError},
    k8s::{lease::Fence, store::ObjectKey},
    live::index::{LiveError, Wanted},
    plan::merge_patch,
    repo::Freshness,
    sync::{
        compare::LiveObjects,
        finalizer::{self, Deleting, Deletion},
        project::{self, Project},
        resource::{ResourceKey, instance_name, text},
        status::{self, Finding},
        target::{self, TargetSet},
        validate,
        work::Work,
    },
};
use serde_json::json;
use std::time::Duration;

/// Steps of a deletion in one pass.
const STEPS_MAX: usize = 8;
/// Deletions are looked at this often even when nothing was heard.
const RESYNC: Duration = Duration::from_secs(10);

pub(super) async fn proceed(shell: &Shell, fence: &Fence, app: &Application) -> Result<Next, ReconcileError> {
    let key = ObjectKey::of(app);
    let instance = instance_name(&key.namespace, &key.name, &shell.context.namespace);
    let name = project::name_of(&app.spec);
    let found = shell
        .projects
        .get(&ObjectKey::new(shell.context.namespace.as_str(), name));
    let targets = targets(shell, app, &instance).await;
    for _ in 0..STEPS_MAX {
        let live = match read(shell, app, &instance, targets.as_ref().ok()).await {
            Ok(live) => live,
            Err(error) => {
                let finding = ("DeletionError", format!("failed to read the live state: {error}"));
                report(shell, fence, app, vec![finding]).await?;
                return Ok(Next::In(RESYNC));
            }
        };
        let known = shell.discovery.known();
        let deletion = finalizer::plan(&Deleting {
            app,
            instance: &instance,
            is_served: validate::is_in_cluster(&app.spec.destination),
            live: &live,
            targets: targets.as_ref().map(|(targets, _)| targets).map_err(String::as_str),
            revision: targets.as_ref().map_or("", |(_, revision)| revision.as_str()),
            project: Project::found(name, found.as_deref().map(|found| &found.spec)),
            kinds: &known.kinds,
            limits: shell.context.args.wait_limits(),
            now: shell.context.clock.now(),
        });
        match deletion {
            Deletion::NotOurs => return Ok(Next::AwaitChange),
            Deletion::Await(waiting) => {
                tracing::debug!(application = %key, "{}.", waiting.message);
                if waiting.is_told {
                    let kind = if waiting.is_overdue {
                        "DeletionError"
                    } else {
                        "DeletionWaitWarning"
                    };
                    report(shell, fence, app, vec![(kind, waiting.message)]).await?;
                }
                return Ok(Next::In(RESYNC));
            }
            Deletion::Release(rest) => {
                let patch = json!({"metadata": {"resourceVersion": app.metadata.resource_version, "finalizers": rest}});
                pass::send(shell, fence, app, &patch).await?;
                return Ok(Next::AwaitChange);
            }
            Deletion::Again(works, message) => {
                let mut findings = vec![("DeletionError", message)];
                match work(shell, fence, works).await {
                    Some(problems) => findings.extend(problems),
                    None => return Ok(Next::AwaitChange),
                }
                report(shell, fence, app, findings).await?;
                return Ok(Next::In(RESYNC));
            }
            Deletion::Work(works) => match work(shell, fence, works).await {
                None => return Ok(Next::AwaitChange),
                Some(problems) if problems.is_empty() => {}
                Some(problems) => {
                    report(shell, fence, app, problems).await?;
                    return Ok(Next::In(RESYNC));
                }
            },
        }
    }
    Ok(Next::In(Duration::ZERO))
}

/// Does the work and tells what went wrong; `None` when the lease was lost.
async fn work(shell: &Shell, fence: &Fence, works: Vec<Work>) -> Option<Vec<Finding>> {
    let done = shell.writer.work(fence, vec![works]).await;
    let problems = done.reports.into_iter().filter_map(|report| report.outcome.err());
    (!done.is_fenced_off).then(|| problems.map(|problem| ("DeletionError", problem)).collect())
}

/// What the source says, with its commit, where hooks of the deletion are to run.
async fn targets(shell: &Shell, app: &Application, instance: &str) -> Result<(TargetSet, String), String> {
    if !finalizer::needs_hooks(app) {
        return Ok((TargetSet::default(), String::new()));
    }
    let desired = desired::newest(shell, app, Freshness::Cached)
        .await
        .map_err(|failure| failure.message)?;
    let known = shell.discovery.known();
    let destination = target::Destination {
        instance,
        namespace: &app.spec.destination.namespace,
        kinds: &known.kinds,
    };
    let targets = target::targets(desired.objects(), destination);
    Ok((targets, desired.revisions.first().to_owned()))
}

/// What the application tracks, and its hooks. Nothing was ever written to a cluster we do not serve.
async fn read(
    shell: &Shell,
    app: &Application,
    instance: &str,
    targets: Option<&(TargetSet, String)>,
) -> Result<LiveObjects, LiveError> {
    if !validate::is_in_cluster(&app.spec.destination) {
        return Ok(LiveObjects::new());
    }
    let mut wanted = Wanted::default();
    let tracked = app.status.iter().flat_map(|status| &status.resources);
    wanted
        .kinds
        .extend(tracked.map(|entry| (entry.group.clone(), entry.kind.clone())));
    for hook in targets.iter().flat_map(|(targets, _)| &targets.hooks) {
        let key = ResourceKey::of(hook);
        wanted.kinds.insert((key.group.clone(), key.kind.clone()));
        if !key.name.is_empty() {
            wanted.keys.insert(key, text(hook, "/apiVersion").to_owned());
        }
    }
    shell.index.read(instance, &wanted).await
}

/// Conditions about the deletion.
async fn report(shell: &Shell, fence: &Fence, app: &Application, findings: Vec<Finding>) -> Result<(), ReconcileError> {
    let before = app.status.clone().unwrap_or_default();
    let conditions = status::conditions(&findings, &before.conditions, shell.context.clock.now());
    let patch = merge_patch(
        &json!({"conditions": before.conditions}),
        &json!({"conditions": conditions}),
    );
    if let Some(patch) = patch {
        let patch = json!({"metadata": {"resourceVersion": app.metadata.resource_version}, "status": patch});
        pass::send(shell, fence, app, &patch).await?;
    }
    Ok(())
}
