//! Deletion of an application that carries the resources finalizer.

use super::{Shell, pass};
use crate::{
    api::application::Application,
    controllers::{drive::Next, retry::ReconcileError},
    k8s::{lease::Fence, store::ObjectKey},
    live::index::{LiveError, Wanted},
    plan::merge_patch,
    sync::{
        compare::LiveObjects,
        finalizer::{self, Deletion},
        resource::instance_name,
        status, validate,
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
    let mut wanted = Wanted::default();
    let status = app.status.as_ref();
    wanted.kinds.extend(
        status
            .iter()
            .flat_map(|status| &status.resources)
            .map(|entry| (entry.group.clone(), entry.kind.clone())),
    );
    for _ in 0..STEPS_MAX {
        let live = match read(shell, app, &instance, &wanted).await {
            Ok(live) => live,
            Err(error) => {
                report(
                    shell,
                    fence,
                    app,
                    vec![format!("failed to read the live state: {error}")],
                )
                .await?;
                return Ok(Next::In(RESYNC));
            }
        };
        match finalizer::plan(app, &instance, &live, shell.context.clock.now()) {
            Deletion::NotOurs => return Ok(Next::AwaitChange),
            Deletion::Await(message) => {
                tracing::debug!(application = %key, "{message}.");
                return Ok(Next::In(RESYNC));
            }
            Deletion::Release(rest) => {
                let patch = json!({"metadata": {"resourceVersion": app.metadata.resource_version, "finalizers": rest}});
                pass::send(shell, fence, app, &patch).await?;
                return Ok(Next::AwaitChange);
            }
            Deletion::Delete(works) => {
                let done = shell.writer.work(fence, vec![works]).await;
                if done.is_fenced_off {
                    return Ok(Next::AwaitChange);
                }
                let problems: Vec<String> = done
                    .reports
                    .iter()
                    .filter_map(|report| report.outcome.clone().err())
                    .collect();
                if !problems.is_empty() {
                    report(shell, fence, app, problems).await?;
                    return Ok(Next::In(RESYNC));
                }
            }
        }
    }
    Ok(Next::In(Duration::ZERO))
}

/// What the application tracks. Nothing was ever written to a cluster we do not serve.
async fn read(shell: &Shell, app: &Application, instance: &str, wanted: &Wanted) -> Result<LiveObjects, LiveError> {
    if !validate::is_in_cluster(&app.spec.destination) {
        return Ok(LiveObjects::new());
    }
    shell.index.read(instance, wanted).await
}

/// Condition `DeletionError`.
async fn report(shell: &Shell, fence: &Fence, app: &Application, problems: Vec<String>) -> Result<(), ReconcileError> {
    let before = app.status.clone().unwrap_or_default();
    let findings: Vec<status::Finding> = problems.into_iter().map(|problem| ("DeletionError", problem)).collect();
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
