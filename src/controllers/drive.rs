//! Drives one controller: takes names from its queue, has each looked at, and decides when to look again.

use crate::{
    class::Class,
    controllers::{
        Context,
        queue::WorkQueue,
        retry::{ReconcileError, Step, error_policy},
    },
    k8s::store::ObjectKey,
    telemetry::metrics::{ControllerKind, ObjectLabels},
};
use futures::FutureExt;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// Added to a wake-up, so that the wall clock has passed the time asked for when the monotonic one rings.
const WAKE_MARGIN: Duration = Duration::from_millis(2);

/// When to look at an object again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// When something changes, or at the next resync.
    AwaitChange,
    /// At the latest at this time.
    At(Timestamp),
    /// At the latest after this long.
    In(Duration),
    /// The object is gone.
    Forget,
}

impl From<crate::plan::Requeue> for Next {
    fn from(requeue: crate::plan::Requeue) -> Self {
        match requeue {
            crate::plan::Requeue::AwaitChange => Self::AwaitChange,
            crate::plan::Requeue::At(at) => Self::At(at),
        }
    }
}

/// How a controller is driven.
#[derive(Clone, Copy, Debug)]
pub struct Controller {
    /// Which.
    pub kind: ControllerKind,
    /// Objects worked on at once.
    pub workers: usize,
    /// Every object is looked at again after this long.
    pub resync: Duration,
}

/// Works until the process is to stop, then ends the passes under way.
///
/// `all` names every object; they are looked at at the start and whenever this replica becomes leader, since a standby
/// plans but does not write.
pub async fn drive<F, P>(
    context: &Arc<Context>,
    controller: Controller,
    queue: Arc<WorkQueue>,
    all: impl Fn() -> Vec<ObjectKey> + Send,
    reconcile: F,
) where
    F: Fn(ObjectKey) -> P + Clone + Send + Sync + 'static,
    P: Future<Output = Result<Next, ReconcileError>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(controller.workers.max(1)));
    let driver = Arc::new(Driver {
        context: Arc::clone(context),
        controller,
        queue,
        failures: Mutex::default(),
    });
    let mut passes = JoinSet::new();
    let mut term = None;
    let mut stopping = std::pin::pin!(context.stopping());
    all().into_iter().for_each(|key| driver.queue.add(key));
    loop {
        let permitted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, driver.queue.take().await)
        };
        tokio::select! {
            biased;
            () = &mut stopping => break,
            elected = context.leadership.elected(term) => {
                term = Some(elected);
                all().into_iter().for_each(|key| driver.queue.add(key));
            }
            (permit, key) = permitted => {
                let driver = Arc::clone(&driver);
                let reconcile = reconcile.clone();
                passes.spawn(async move {
                    let pass = AssertUnwindSafe(async { reconcile(key.clone()).await }).catch_unwind();
                    driver.pass(&key, pass).await;
                    drop(permit);
                });
            }
        }
        while passes.try_join_next().is_some() {}
    }
    while passes.join_next().await.is_some() {}
}

type Caught = Result<Result<Next, ReconcileError>, Box<dyn std::any::Any + Send>>;

struct Driver {
    context: Arc<Context>,
    controller: Controller,
    queue: Arc<WorkQueue>,
    /// Passes in a row that failed.
    failures: Mutex<HashMap<ObjectKey, u32>>,
}

impl Driver {
    async fn pass(&self, key: &ObjectKey, pass: impl Future<Output = Caught>) {
        let started = Instant::now();
        let result = pass.await.unwrap_or_else(|panic| Err(panicked(&*panic)));
        let kind = self.controller.kind;
        let labels = || ObjectLabels {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        };
        self.context
            .metrics
            .reconciled(kind, labels(), started.elapsed().as_secs_f64());
        self.context.metrics.queued(kind, self.queue.depth());
        let wake = match result {
            Ok(next) => {
                self.failures().remove(key);
                if next == Next::Forget {
                    self.context.metrics.forget(kind, &labels());
                }
                self.wake_after(next)
            }
            Err(error) => {
                let delay = self.after_failure(key, &error);
                if error.class != Class::Conflict {
                    self.context.metrics.failed(kind, labels(), error.label);
                }
                Some(Instant::now() + delay)
            }
        };
        self.queue.done(key, wake);
    }

    fn wake_after(&self, next: Next) -> Option<Instant> {
        let delay = match next {
            Next::Forget => return None,
            Next::AwaitChange => self.controller.resync,
            Next::In(delay) => delay,
            Next::At(at) => {
                let left = at.duration_since(self.context.clock.now());
                Duration::try_from(left).unwrap_or_default() + WAKE_MARGIN
            }
        };
        Some(Instant::now() + delay.min(self.controller.resync))
    }

    fn after_failure(&self, key: &ObjectKey, error: &ReconcileError) -> Duration {
        let failures = {
            let mut all = self.failures();
            let failures = all.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        let delay = error_policy(error.class, failures, (self.context.jitter)());
        let controller = self.controller.kind.prefix();
        match error.class {
            Class::Conflict => {
                tracing::debug!(controller, object = %key, %error, "Decided on an older version; looking again.")
            }
            _ => {
                tracing::warn!(controller, object = %key, step = ?error.step, reason = error.label, %error, ?delay, "A pass failed.")
            }
        }
        delay
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> ReconcileError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let message = format!("a defect in Tidegate: {}", text.unwrap_or("panic"));
    ReconcileError {
        step: Step::Panic,
        class: Class::Transient,
        label: "Panic",
        source: message.into(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
