//! Takes measurements beside the controller: begun here, they land here, and stay until they are recorded.
//!
//! A slow or hanging provider holds up nobody: each measurement is a task of its own with a time limit. What is in
//! memory here is only a cache; after a crash the measurement is taken again.

use super::{Providers, Query, RunIdentity, secrets};
use crate::{
    analysis::{
        args::{self, ArgsError, Known},
        reading::{Answered, Attempt, Due, Reading},
    },
    api::analysis::{AnalysisRun, Argument, Metric, SecretKeyRef},
    clock::SharedClock,
};
use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use kube::Client;
use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::AbortHandle;

/// Where measurements come from, with everything they need. A seam for tests.
pub trait Measurer: Send + Sync + 'static {
    /// Takes one measurement and judges it. Must end by itself.
    fn take(&self, order: Order) -> BoxFuture<'static, Reading>;
}

/// A measurement to take.
#[derive(Clone, Debug)]
pub struct Order {
    /// For whom.
    pub run: RunIdentity,
    /// The metric as written, without arguments.
    pub metric: Metric,
    /// The run's arguments.
    pub args: Vec<Argument>,
    /// What is due.
    pub due: Due,
}

/// The desk. One for all runs.
pub struct Desk {
    measurer: Arc<dyn Measurer>,
    clock: SharedClock,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Slots by uid of the run and name of the metric.
type State = HashMap<String, BTreeMap<String, Slot>>;

enum Slot {
    Flying { due: Box<Due>, _flight: Flight },
    Landed(Box<Reading>),
}

/// Ends the task when it is not wanted any more.
struct Flight(AbortHandle);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Desk {
    /// An empty desk.
    pub fn new(measurer: Arc<dyn Measurer>, clock: SharedClock) -> Self {
        Self {
            measurer,
            clock,
            state: Arc::default(),
        }
    }

    /// Begins a measurement, unless the same one is under way or has landed already; `landed` is called once it is
    /// there. One that is under way gives way to an order to end it.
    pub fn begin(&self, run: &AnalysisRun, due: Due, landed: impl FnOnce() + Send + 'static) {
        let uid = run.metadata.uid.clone().unwrap_or_default();
        let Some(metric) = run.spec.metrics.get(due.index).cloned() else {
            return;
        };
        let order = Order {
            run: identity(run),
            metric,
            args: run.spec.args.clone(),
            due: due.clone(),
        };
        let mut state = self.lock();
        let slots = state.entry(uid.clone()).or_default();
        if slots.get(&due.metric).is_some_and(|slot| slot.keeps_out(&due)) {
            return;
        }
        let (measurer, clock, shared) = (
            Arc::clone(&self.measurer),
            Arc::clone(&self.clock),
            Arc::clone(&self.state),
        );
        let task = async move {
            let due = order.due.clone();
            let taken = AssertUnwindSafe(async { measurer.take(order).await })
                .catch_unwind()
                .await;
            let reading = taken.unwrap_or_else(|_| {
                Reading::failed(
                    due.clone(),
                    "the metric provider broke: a defect in Tidegate".to_owned(),
                    clock.now(),
                )
            });
            land(&shared, &uid, due, reading);
            landed();
        };
        // The lock is held until the slot is there, so that landing cannot come first.
        let flight = Flight(tokio::spawn(task).abort_handle());
        let flying = Slot::Flying {
            due: Box::new(due.clone()),
            _flight: flight,
        };
        slots.insert(due.metric, flying);
    }

    /// The readings of a run that are there and not recorded yet.
    pub fn landed(&self, uid: &str) -> Vec<Reading> {
        let state = self.lock();
        let slots = state.get(uid).into_iter().flat_map(BTreeMap::values);
        slots
            .filter_map(|slot| match slot {
                Slot::Landed(reading) => Some((**reading).clone()),
                Slot::Flying { .. } => None,
            })
            .collect()
    }

    /// Drops readings that were recorded, or that the run did not wait for.
    pub fn recorded(&self, uid: &str, readings: &[Reading]) {
        let mut state = self.lock();
        let Some(slots) = state.get_mut(uid) else {
            return;
        };
        for reading in readings {
            if matches!(slots.get(&reading.due.metric), Some(Slot::Landed(landed)) if landed.due == reading.due) {
                slots.remove(&reading.due.metric);
            }
        }
        if slots.is_empty() {
            state.remove(uid);
        }
    }

    /// Drops everything about a run, and ends what is under way for it.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn keeps_out(&self, wanted: &Due) -> bool {
        match self {
            Self::Flying { due, .. } => **due == *wanted || !matches!(wanted.attempt, Attempt::Terminate(_)),
            Self::Landed(reading) => reading.due == *wanted,
        }
    }
}

fn land(state: &Mutex<State>, uid: &str, due: Due, reading: Reading) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    // A forgotten run, or one that has something newer in this place, does not want it.
    let slot = state.get_mut(uid).and_then(|slots| slots.get_mut(&due.metric));
    if let Some(slot) = slot.filter(|slot| matches!(slot, Slot::Flying { due: flying, .. } if **flying == due)) {
        *slot = Slot::Landed(Box::new(reading));
    }
}

fn identity(run: &AnalysisRun) -> RunIdentity {
    let status = run.status.as_ref();
    RunIdentity {
        started_at: status.and_then(|status| status.started_at.as_ref()).map(|time| time.0),
        namespace: run.metadata.namespace.clone().unwrap_or_default(),
        name: run.metadata.name.clone().unwrap_or_default(),
        uid: run.metadata.uid.clone().unwrap_or_default(),
    }
}

/// The real measurer: reads Secrets, asks the provider, judges.
pub struct Instruments {
    client: Client,
    clock: SharedClock,
    providers: Arc<Providers>,
}

impl std::fmt::Debug for Instruments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instruments")
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

impl Instruments {
    /// Instruments that read Secrets with `client`.
    pub fn new(client: Client, clock: SharedClock, providers: Providers) -> Self {
        Self {
            client,
            clock,
            providers: Arc::new(providers),
        }
    }
}

impl Measurer for Instruments {
    fn take(&self, order: Order) -> BoxFuture<'static, Reading> {
        let (client, clock, providers) = (
            self.client.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.providers),
        );
        Box::pin(async move {
            let Order { run, metric, args, due } = order;
            let begun_at = clock.now();
            match resolve(&client, &run, &metric, &args).await {
                Err(problem) => Reading::failed(
                    due,
                    format!("Unable to resolve metric arguments: {problem}"),
                    clock.now(),
                ),
                Ok((metric, known)) => {
                    let answered = ask(&providers, run, metric.clone(), &due, clock.now()).await;
                    Reading::judge(due, &metric, &known, answered, (begun_at, clock.now()))
                }
            }
        })
    }
}

async fn ask(providers: &Providers, run: RunIdentity, metric: Metric, due: &Due, now: Timestamp) -> Answered {
    let query = Query {
        run,
        metric,
        sequence: due.sequence,
        attempt: due.attempt.clone(),
        now,
    };
    providers.measure(&query).await
}

/// The metric with all arguments in place, and what is to be masked.
async fn resolve(
    client: &Client,
    run: &RunIdentity,
    metric: &Metric,
    args: &[Argument],
) -> Result<(Metric, Known), String> {
    let needed = args::secrets_needed(args);
    let texts = match needed.as_slice() {
        [] => BTreeMap::new(),
        needed => secrets::read(client, &run.namespace, needed).await?,
    };
    let secret = |reference: &SecretKeyRef| {
        let text = texts.get(&(reference.name.clone(), reference.key.clone())).cloned();
        text.ok_or_else(|| ArgsError::NotSupplied(reference.key.clone()))
    };
    let known = Known::with_secrets(args, secret).map_err(|error| error.to_string())?;
    let metric = args::resolve_metric(metric, &known).map_err(|error| known.mask(&error.to_string()))?;
    Ok((metric, known))
}

#[cfg(test)]
mod tests;
