//! The AnalysisRun controller: observe, record what was measured, plan, apply, and begin what is due.
//!
//! Measurements are taken beside the passes (`provider::desk`), so that a pass is short, a slow provider holds up no other
//! metric or run, and `spec.terminate` is heard at any time.

use crate::{
    analysis::{
        phase,
        plan::{Pass, RunSnapshot, is_managed, record},
    },
    api::analysis::AnalysisRun,
    controllers::{
        Context,
        drive::{Controller, Next, drive},
        queue::WorkQueue,
        retry::ReconcileError,
    },
    json::At as _,
    k8s::{
        ledger::{Freshness, Subject},
        store::{Change, ObjectKey},
    },
    plan::StatusChange,
    provider::{
        ProviderSettings, Providers,
        desk::{Desk, Instruments, Measurer},
    },
    telemetry::metrics::ControllerKind,
};
use std::{sync::Arc, time::Duration};

/// Time until the next look when the store does not show our own write yet; the watch event usually comes sooner.
const STALE_DELAY: Duration = Duration::from_millis(100);

/// Runs until the process is to stop, with the real providers.
pub async fn run(context: Arc<Context>) {
    let settings = ProviderSettings::from_env(&context.namespace);
    match Providers::new(context.client.clone(), Arc::clone(&context.clock), &settings) {
        Ok(providers) => {
            let clock = Arc::clone(&context.clock);
            let instruments = Instruments::new(context.client.clone(), clock, providers);
            run_with(context, Arc::new(instruments)).await;
        }
        Err(error) => {
            tracing::error!(%error, "Analysis runs cannot be measured by this process.");
            context.stopping().await;
        }
    }
}

/// Runs until the process is to stop, with this source of measurements.
pub async fn run_with(context: Arc<Context>, measurer: Arc<dyn Measurer>) {
    let queue = Arc::new(WorkQueue::default());
    let desk = Arc::new(Desk::new(measurer, Arc::clone(&context.clock)));
    let (woken, known) = (Arc::clone(&queue), Arc::clone(&desk));
    context.stores.analysis_runs.listen(move |change| {
        forget_the_gone(&known, change);
        woken.add(change.key.clone());
    });
    tokio::select! {
        biased;
        () = context.stores.ready() => {}
        () = context.stopping() => return,
    }
    let controller = Controller {
        kind: ControllerKind::AnalysisRun,
        workers: context.args.analysis_threads,
        resync: Duration::from_secs(context.args.rollout_resync.max(1)),
    };
    let shell = Arc::new(Shell {
        context: Arc::clone(&context),
        queue: Arc::clone(&queue),
        desk,
    });
    let everything = || context.stores.analysis_runs.keys();
    drive(&context, controller, queue, everything, move |key| {
        let shell = Arc::clone(&shell);
        async move { shell.reconcile(key).await }
    })
    .await;
}

/// Ends what is under way for a run that is gone, or whose name another one has taken.
fn forget_the_gone(desk: &Desk, change: &Change<AnalysisRun>) {
    let uid = |run: &Option<Arc<AnalysisRun>>| run.as_ref().and_then(|run| run.metadata.uid.clone());
    let (before, after) = (uid(&change.before), uid(&change.after));
    if let Some(gone) = before.filter(|before| after.as_ref() != Some(before)) {
        desk.forget(&gone);
    }
}

struct Shell {
    context: Arc<Context>,
    queue: Arc<WorkQueue>,
    desk: Arc<Desk>,
}

impl Shell {
    async fn reconcile(&self, key: ObjectKey) -> Result<Next, ReconcileError> {
        let context = &self.context;
        let subject = Subject::new("AnalysisRun", key.clone());
        let Some(run) = context.stores.analysis_runs.get(&key) else {
            context.ledger.forget(&subject);
            return Ok(Next::Forget);
        };
        if !is_managed(&run, &context.settings.instance_id) {
            return Ok(Next::AwaitChange);
        }
        match context.ledger.look(&subject, &context.stores) {
            Freshness::Current => {}
            Freshness::Behind(behind) => {
                tracing::debug!(analysis_run = %key, %behind, "The watch does not show our own write yet.");
                return Ok(Next::In(STALE_DELAY));
            }
            Freshness::Overdue(targets) => {
                context.reread(&subject, &targets).await?;
                return Ok(Next::In(Duration::ZERO));
            }
        }
        let uid = run.metadata.uid.clone().unwrap_or_default();
        let Some(fence) = context.leadership.fence() else {
            // Only the leader measures: what it records is what counts.
            self.desk.forget(&uid);
            return Ok(Next::AwaitChange);
        };
        let readings = self.desk.landed(&uid);
        let Pass { plan, due } = record(
            &RunSnapshot {
                run: &run,
                now: context.clock.now(),
            },
            &readings,
        );
        for reason in &plan.reasons {
            tracing::debug!(analysis_run = %key, reason = reason.code, "{}.", reason.message);
        }
        if !plan.writes_nothing() {
            // When this fails, the readings stay where they are and are recorded by the next pass.
            context.apply(&fence, &subject, &plan).await?;
        }
        self.desk.recorded(&uid, &readings);
        if due.is_empty() && has_ended(&run, &plan.status) {
            self.desk.forget(&uid);
        }
        for due in due {
            let (queue, key) = (Arc::clone(&self.queue), key.clone());
            self.desk.begin(&run, due, move || queue.add(key));
        }
        Ok(plan.requeue.into())
    }
}

/// Whether the run is over, before or after this change of its status.
fn has_ended(run: &AnalysisRun, change: &StatusChange) -> bool {
    let phase_now = match change {
        StatusChange::Unchanged => None,
        StatusChange::Merge { patch, .. } => patch.at("/status/phase").and_then(serde_json::Value::as_str),
    };
    let phase_before = run.status.as_ref().map(|status| status.phase.as_str());
    phase_now.or(phase_before).is_some_and(phase::completed)
}

#[cfg(test)]
mod tests;
