//! The Experiment controller: observe, plan, apply.

use crate::{
    api::experiment::Experiment,
    class::Class,
    controllers::{
        Context,
        drive::{Controller, Next, drive},
        queue::WorkQueue,
        retry::ReconcileError,
    },
    experiment::{is_managed, plan, plan_after_refusal},
    k8s::{
        apply::{ApplyError, WriteError},
        lease::Fence,
        ledger::{Freshness, Subject},
        observe::experiment::{Observed, observe},
        store::ObjectKey,
    },
    plan::{Action, EventKind, EventRecord, ObjectRef, Plan},
    telemetry::metrics::ControllerKind,
};
use std::{sync::Arc, time::Duration};

/// Time until the next look when the stores do not show our own writes yet; the watch event usually comes sooner.
const STALE_DELAY: Duration = Duration::from_millis(100);

/// Runs until the process is to stop.
pub async fn run(context: Arc<Context>) {
    let queue = Arc::new(WorkQueue::default());
    let woken = Arc::clone(&queue);
    // Clients terminate and retry by patching the object, whose status is a part of it.
    context.stores.wake_experiments(move |key| woken.add(key));
    tokio::select! {
        biased;
        () = context.stores.ready() => {}
        () = context.stopping() => return,
    }
    let controller = Controller {
        kind: ControllerKind::Experiment,
        workers: context.args.experiment_threads,
        resync: Duration::from_secs(context.args.rollout_resync.max(1)),
    };
    let everything = || context.stores.experiments.keys();
    let shared = Arc::clone(&context);
    drive(&context, controller, queue, everything, move |key| {
        reconcile(Arc::clone(&shared), key)
    })
    .await;
}

async fn reconcile(context: Arc<Context>, key: ObjectKey) -> Result<Next, ReconcileError> {
    let subject = Subject::new("Experiment", key.clone());
    let Some(experiment) = context.stores.experiments.get(&key) else {
        context.ledger.forget(&subject);
        return Ok(Next::Forget);
    };
    if !is_managed(&experiment, &context.settings.instance_id) {
        return Ok(Next::AwaitChange);
    }
    match context.ledger.look(&subject, &context.stores) {
        Freshness::Current => {}
        Freshness::Behind(behind) => {
            tracing::debug!(experiment = %key, %behind, "The watch does not show our own write yet.");
            return Ok(Next::In(STALE_DELAY));
        }
        Freshness::Overdue(targets) => {
            context.reread(&subject, &targets).await?;
            return Ok(Next::In(Duration::ZERO));
        }
    }
    let observed = observe(&context.stores, experiment, context.clock.now());
    let plan = plan(&observed.snapshot());
    for reason in &plan.reasons {
        tracing::debug!(experiment = %key, reason = reason.code, "{}.", reason.message);
    }
    if plan.writes_nothing() {
        return Ok(plan.requeue.into());
    }
    let Some(fence) = context.leadership.fence() else {
        return Ok(Next::AwaitChange);
    };
    match context.apply(&fence, &subject, &plan).await {
        Ok(_) => Ok(plan.requeue.into()),
        Err(error) => {
            if matches!(error.class(), Class::Denied | Class::NotFound | Class::Permanent) {
                tell_the_user(&context, &fence, &subject, (&observed, &plan), &error).await;
            }
            Err(error.into())
        }
    }
}

/// Makes a refusal visible: as the end of the template or analysis whose object was refused, as an event in any case.
async fn tell_the_user(
    context: &Context,
    fence: &Fence,
    subject: &Subject,
    (observed, plan): (&Observed, &Plan),
    error: &ApplyError,
) {
    if let WriteError::Refused { target, source } = &error.source
        && creates(plan, target)
    {
        let told = plan_after_refusal(&observed.snapshot(), target, &source.to_string());
        if !told.writes_nothing()
            && let Err(error) = context.apply(fence, subject, &told).await
        {
            tracing::debug!(experiment = %subject.key, %error, "The refusal could not be written into the status.");
        }
    }
    context
        .record(&[reconciliation_error(observed.experiment(), error)])
        .await;
}

fn creates(plan: &Plan, target: &ObjectRef) -> bool {
    let mut actions = plan.stages.iter().flat_map(|stage| &stage.0);
    actions.any(|action| matches!(action, Action::Create { .. }) && action.target() == *target)
}

fn reconciliation_error(experiment: &Experiment, error: &dyn std::error::Error) -> EventRecord {
    let metadata = &experiment.metadata;
    EventRecord {
        about: ObjectRef {
            api_version: crate::api::API_VERSION.to_owned(),
            kind: "Experiment".to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
        },
        uid: metadata.uid.clone(),
        kind: EventKind::Warning,
        reason: "ReconciliationError".to_owned(),
        message: format!("Reconciliation failed with error: {error}"),
    }
}
