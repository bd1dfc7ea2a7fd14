//! The Rollout controller: observe, plan, apply.

mod departure;

use self::departure::Deletions;
use crate::{
    class::Class,
    controllers::{
        Context,
        drive::{Controller, Next, drive},
        queue::WorkQueue,
        retry::ReconcileError,
    },
    k8s::{
        apply::{ApplyError, WriteError},
        lease::Fence,
        ledger::Subject,
        left,
        observe::{Observation, Observed, observe},
        pods::{self, PodList},
        store::ObjectKey,
        stores::{Stores, selects},
    },
    plan::{Action, EventKind, EventRecord, ObjectRef, Plan},
    rollout,
    telemetry::metrics::ControllerKind,
};
use std::{sync::Arc, time::Duration};

/// Time until the next look when the stores do not show our own writes yet; the watch event usually comes sooner.
const STALE_DELAY: Duration = Duration::from_millis(100);

/// Time until the next look when a kind of another project has not been listed yet; its first list usually comes sooner.
const UNREADY_DELAY: Duration = Duration::from_secs(1);

/// Runs until the process is to stop.
pub async fn run(context: Arc<Context>) {
    let queue = Arc::new(WorkQueue::default());
    let woken = Arc::clone(&queue);
    // Before the wake-ups, so that the pass that a deletion wakes finds it noted.
    let deletions = Deletions::of(&context.stores, &context.settings.instance_id);
    // Clients promote and abort by patching status, so every new version of a Rollout counts, not every generation.
    context.stores.wake_rollouts(move |key| woken.add(key));
    tokio::select! {
        biased;
        () = context.stores.ready() => {}
        () = context.stopping() => return,
    }
    let controller = Controller {
        kind: ControllerKind::Rollout,
        workers: context.args.rollout_threads,
        resync: Duration::from_secs(context.args.rollout_resync.max(1)),
    };
    // A Rollout that is gone may have left something to be released.
    let everything = || {
        let mut keys = left::named(&context.stores);
        keys.extend(context.stores.rollouts.keys());
        keys.into_iter().collect::<Vec<_>>()
    };
    let shared = Arc::clone(&context);
    drive(&context, controller, queue, everything, move |key| {
        let (context, deletions) = (Arc::clone(&shared), Arc::clone(&deletions));
        async move {
            let next = reconcile(&context, key.clone()).await;
            deletions.tell(&context, &key).await;
            next
        }
    })
    .await;
}

fn look(context: &Context, key: &ObjectKey) -> Observation {
    let now = context.clock.now();
    observe(&context.stores, &context.ledger, &context.settings, key, now)
}

async fn reconcile(context: &Context, key: ObjectKey) -> Result<Next, ReconcileError> {
    let observed = match look(context, &key) {
        Observation::Complete(observed) => observed,
        Observation::Stale { behind } => {
            tracing::debug!(rollout = %key, %behind, "The watch does not show our own write yet.");
            return Ok(Next::In(STALE_DELAY));
        }
        Observation::Overdue { targets } => {
            context.reread(&Subject::new("Rollout", key), &targets).await?;
            return Ok(Next::In(Duration::ZERO));
        }
        Observation::Unready => return Ok(Next::In(UNREADY_DELAY)),
        Observation::Foreign => return Ok(Next::AwaitChange),
        Observation::Gone => return Ok(Next::Forget),
        Observation::Left(_) => return departure::give_back(context, key).await,
    };
    if !departure::take_over(context, &observed).await? {
        return decide(context, key, observed).await;
    }
    let Observation::Complete(observed) = look(context, &key) else {
        return Ok(Next::In(STALE_DELAY));
    };
    decide(context, key, observed).await
}

async fn decide(context: &Context, key: ObjectKey, mut observed: Box<Observed>) -> Result<Next, ReconcileError> {
    // A replica that does not lead writes nothing, and needs no pods.
    if context.leadership.fence().is_some()
        && let Some(selector) = rollout::pods_wanted(&observed.snapshot())
    {
        let pods = list_pods(context, &key, &selector).await;
        observed.with_pods(pods);
    }
    let mut plan = (context.planner)(&observed.snapshot());
    if let Some(taken) = name_taken(&context.stores, &observed, &plan) {
        tracing::info!(rollout = %key, name = %taken, "Another owner's ReplicaSet holds the name of the new one; using another name.");
        plan = rollout::plan_after_collision(&observed.snapshot());
    }
    log_reasons(&key, &plan);
    if plan.writes_nothing() {
        return Ok(plan.requeue.into());
    }
    let Some(fence) = context.leadership.fence() else {
        tracing::debug!(rollout = %key, "Another replica leads and writes.");
        return Ok(Next::AwaitChange);
    };
    let subject = Subject::new("Rollout", key);
    match context.apply(&fence, &subject, &plan).await {
        Ok(applied) => {
            if let Some((target, why)) = applied.refused_pods.first() {
                let error = format!("failed to write {target}: {why}");
                context.record(&[reconciliation_error(&observed, &error)]).await;
            }
            if let Some(end) = rollout::finished(&observed.snapshot(), &plan) {
                // Both are far below 2^52 seconds.
                let [seconds, paused] = [end.seconds, end.paused_seconds].map(|seconds| seconds as f64);
                context.metrics.finished(&end.status, seconds, paused);
            }
            Ok(plan.requeue.into())
        }
        Err(error) => {
            if matches!(error.class(), Class::Denied | Class::NotFound | Class::Permanent) {
                tell_the_user(context, &fence, &subject, &observed, &error).await;
            }
            Err(error.into())
        }
    }
}

/// Pods for a decision. That they cannot be listed holds nothing else up: the decision says so where it matters.
async fn list_pods(context: &Context, key: &ObjectKey, selector: &str) -> PodList {
    match pods::list(&context.client, &key.namespace, selector).await {
        Ok(pods) => PodList::Listed(pods),
        Err(error) => {
            tracing::warn!(rollout = %key, %error, "The pods could not be listed.");
            PodList::Unlistable(error.label())
        }
    }
}

/// The name of the ReplicaSet that the plan is to create, when one that the Rollout can neither own nor adopt holds it.
/// One that the stores do not show yet is seen by the look that the plan asks for after a creation that did not show up.
fn name_taken(stores: &Stores, observed: &Observed, plan: &Plan) -> Option<ObjectKey> {
    let rollout = observed.rollout();
    let created = plan
        .stages
        .iter()
        .flat_map(|stage| &stage.0)
        .find_map(|action| match action {
            Action::Create { .. } => Some(action.target()).filter(|target| target.kind == "ReplicaSet"),
            Action::Apply { .. } | Action::Merge { .. } | Action::Delete { .. } => None,
        })?;
    let key = ObjectKey::new(created.namespace.unwrap_or_default(), created.name);
    let holder = stores.replica_sets.get(&key)?;
    let adoptable = || selects(rollout.spec.selector.as_ref(), holder.as_ref());
    let ours = match holder.controller_uid() {
        Some(uid) => Some(uid) == rollout.metadata.uid.as_deref(),
        None => adoptable(),
    };
    // One that is going frees the name by itself.
    (!ours && holder.metadata.deletion_timestamp.is_none()).then_some(key)
}

fn log_reasons(key: &ObjectKey, plan: &Plan) {
    for reason in &plan.reasons {
        tracing::debug!(rollout = %key, reason = reason.code, "{}.", reason.message);
    }
}

/// Makes a refusal visible: as a condition when it was the new ReplicaSet that was refused, as an event in any case.
async fn tell_the_user(context: &Context, fence: &Fence, subject: &Subject, observed: &Observed, error: &ApplyError) {
    if let WriteError::Refused { target, source } = &error.source
        && target.kind == "ReplicaSet"
        && error.applied.writes.is_empty()
    {
        let told = rollout::plan_after_refusal(&observed.snapshot(), &source.to_string());
        if !told.writes_nothing()
            && let Err(error) = context.apply(fence, subject, &told).await
        {
            tracing::debug!(rollout = %subject.key, %error, "The refusal could not be written into the status.");
        }
    }
    context.record(&[reconciliation_error(observed, &error)]).await;
}

fn reconciliation_error(observed: &Observed, error: &dyn std::fmt::Display) -> EventRecord {
    let metadata = &observed.rollout().metadata;
    EventRecord {
        about: ObjectRef {
            api_version: crate::api::API_VERSION.to_owned(),
            kind: "Rollout".to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
        },
        uid: metadata.uid.clone(),
        kind: EventKind::Warning,
        reason: "ReconciliationError".to_owned(),
        message: format!("Reconciliation failed with error: {error}"),
    }
}

#[cfg(test)]
mod tests;
