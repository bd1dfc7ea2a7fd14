//! Leader election by a `coordination.k8s.io` Lease, and the fence that every write must hold (guarantee C5).
//!
//! The Lease has the name the original controller uses, so that the two exclude each other during a take-over. The rules
//! are client-go's: a candidate takes over only after the record has not changed for the duration the record itself
//! promises, measured on the candidate's own clock; wall clocks are never compared. Our own right to write ends
//! earlier, one renew deadline after the *start* of the last renewal that succeeded, so that a holder cut off from the
//! API server has stopped before anyone else may begin.

use crate::{clock::SharedClock, k8s::cell::WaitCell};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The name of the original controller's Lease.
pub const LEASE_NAME: &str = "argo-rollouts-controller-lock";

/// A request about the Lease that takes longer than this counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How to take part in the election.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Unique among replicas.
    pub identity: String,
    /// How long others wait after our last renewal.
    pub duration: Duration,
    /// How long we go on without a successful renewal; shorter than `duration`.
    pub renew_deadline: Duration,
    /// Time between attempts.
    pub retry_period: Duration,
}

/// The name of the Lease for an instance id.
pub fn lease_name(instance_id: &str) -> String {
    match instance_id {
        "" => LEASE_NAME.to_owned(),
        id => format!("{LEASE_NAME}-{id}"),
    }
}

/// Whether this replica may write, now.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    No,
    Until { term: u64, deadline: Instant },
    Forever,
}

/// Tells whether this replica leads, and hands out fences while it does.
#[derive(Clone, Debug)]
pub struct Leadership {
    held: WaitCell<Held>,
}

impl Leadership {
    /// Leadership without an election, for a single replica.
    pub fn permanent() -> Self {
        let held = WaitCell::new(Held::Forever);
        Self { held }
    }

    /// A fence, while the lease is certainly ours.
    pub fn fence(&self) -> Option<Fence> {
        let held = self.held.get();
        let term = match held {
            Held::No => return None,
            Held::Until { term, .. } => Some(term),
            Held::Forever => None,
        };
        Some(Fence {
            term,
            held: self.held.clone(),
        })
        .filter(Fence::is_valid)
    }

    /// Waits for the beginning of the next term of ours that is not `after`, and returns it.
    pub async fn elected(&self, after: Option<u64>) -> u64 {
        let found = self.held.wait_for(|held| match held {
            Held::No => false,
            Held::Until { term, .. } => after.is_none_or(|after| term > after),
            Held::Forever => after.is_none(),
        });
        match found.await {
            Held::Until { term, .. } => term,
            Held::No | Held::Forever => 0,
        }
    }
}

/// The right to write in one term. Obtained only from a held lease; becomes invalid by itself.
#[derive(Clone, Debug)]
pub struct Fence {
    /// Absent without an election.
    term: Option<u64>,
    held: WaitCell<Held>,
}

impl Fence {
    /// A fence that never falls, for tools and tests that write without an election.
    pub fn permanent() -> Self {
        let held = WaitCell::new(Held::Forever);
        Self { term: None, held }
    }

    /// Whether the lease is still certainly ours, in the same term.
    pub fn is_valid(&self) -> bool {
        self.deadline()
            .is_some_and(|deadline| deadline.is_none_or(|deadline| Instant::now() < deadline))
    }

    /// Ends when the fence has fallen; never, without an election.
    pub async fn fallen(&self) {
        loop {
            let mut changed = std::pin::pin!(self.held.changed());
            // Polled once before the look, so that a change right after it is not missed.
            if futures::poll!(changed.as_mut()).is_ready() {
                continue;
            }
            match self.deadline() {
                None => return,
                Some(None) => return std::future::pending().await,
                Some(Some(deadline)) if deadline <= Instant::now() => return,
                Some(Some(deadline)) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(deadline) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    /// `None` when lost, `Some(None)` when it has no end.
    fn deadline(&self) -> Option<Option<Instant>> {
        match (self.held.get(), self.term) {
            (Held::Forever, None) => Some(None),
            (Held::Until { term, deadline }, Some(ours)) if term == ours => Some(Some(deadline)),
            _ => None,
        }
    }
}

/// Why the Lease could not be taken or renewed.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("failed to read or write the Lease: {0}")]
    Api(#[from] Box<kube::Error>),
    #[error("no answer about the Lease within {REQUEST_TIMEOUT:?}")]
    TimedOut,
}

/// Takes part in an election until dropped or told to stop.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    options: LeaseOptions,
    clock: SharedClockDebug,
    held: WaitCell<Held>,
    /// The record as last seen, and when it was first seen like that.
    seen: Option<(String, Instant)>,
    term: u64,
}

/// `SharedClock` has no `Debug` of its own.
struct SharedClockDebug(SharedClock);

impl std::fmt::Debug for SharedClockDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// What one attempt came to.
#[derive(Debug, Eq, PartialEq)]
enum Attempt {
    Ours,
    Theirs,
}

impl Election {
    /// A candidate, and the handle by which others learn of its success.
    pub fn new(client: Client, options: LeaseOptions, clock: SharedClock) -> (Self, Leadership) {
        let held = WaitCell::new(Held::No);
        let leadership = Leadership { held: held.clone() };
        let api = Api::namespaced(client, &options.namespace);
        let election = Self {
            api,
            options,
            clock: SharedClockDebug(clock),
            held,
            seen: None,
            term: 0,
        };
        (election, leadership)
    }

    /// Takes and renews the lease until `stop` ends, then gives it back.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return self.release().await,
                () = self.attempt() => {}
            }
            tokio::select! {
                biased;
                () = &mut stop => return self.release().await,
                () = tokio::time::sleep(self.options.retry_period) => {}
            }
        }
    }

    async fn attempt(&mut self) {
        let started = Instant::now();
        let outcome = match tokio::time::timeout(REQUEST_TIMEOUT, self.take_or_renew(started)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LeaseError::TimedOut),
        };
        match outcome {
            Ok(Attempt::Ours) => self.hold(started + self.options.renew_deadline),
            Ok(Attempt::Theirs) => self.lose("another replica holds it"),
            // What was granted runs on to its deadline; the fence falls by itself.
            Err(error) => {
                tracing::warn!(lease = %self.options.name, %error, "The lease could not be renewed; trying again.");
                if matches!(self.held.get(), Held::Until { deadline, .. } if deadline <= started) {
                    self.lose("it could not be renewed in time");
                }
            }
        }
    }

    async fn take_or_renew(&mut self, now: Instant) -> Result<Attempt, LeaseError> {
        let Some(lease) = self.api.get_opt(&self.options.name).await.map_err(Box::new)? else {
            return self.create().await;
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let spec = lease.spec.unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.options.identity;
        if !ours && !holder.is_empty() {
            let since = match &self.seen {
                Some((seen, since)) if *seen == version => *since,
                _ => {
                    self.seen = Some((version, now));
                    return Ok(Attempt::Theirs);
                }
            };
            let promised = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            if now < since + promised.map_or(self.options.duration, Duration::from_secs) {
                return Ok(Attempt::Theirs);
            }
        }
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(!ours);
        let acquired = spec.acquire_time.filter(|_| ours);
        self.write(&version, transitions, acquired).await
    }

    async fn create(&self) -> Result<Attempt, LeaseError> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.options.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(0, None)),
        };
        accepted(self.api.create(&PostParams::default(), &lease).await)
    }

    async fn write(&self, version: &str, transitions: i32, acquired: Option<MicroTime>) -> Result<Attempt, LeaseError> {
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": self.spec(transitions, acquired)});
        accepted(
            self.api
                .patch(&self.options.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )
    }

    fn spec(&self, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(self.clock.0.now());
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: i32::try_from(self.options.duration.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn hold(&mut self, deadline: Instant) {
        self.seen = None;
        // A term that ran out does not come back: what was decided in it must not be written now.
        let current = match self.held.get() {
            Held::Until { term, deadline } if Instant::now() < deadline => Some(term),
            Held::Until { .. } | Held::No | Held::Forever => None,
        };
        if current.is_none() {
            self.term += 1;
            tracing::info!(lease = %self.options.name, identity = %self.options.identity, "Leading.");
        }
        self.held.set(Held::Until {
            term: current.unwrap_or(self.term),
            deadline,
        });
    }

    fn lose(&self, why: &str) {
        let before = self.held.set(Held::No);
        if before != Held::No {
            tracing::warn!(lease = %self.options.name, "No longer leading: {why}.");
        }
    }

    /// Stops writing, then lets the next replica take over at once.
    async fn release(&self) {
        let Held::Until { deadline, .. } = self.held.set(Held::No) else {
            return;
        };
        if deadline <= Instant::now() {
            return;
        }
        let released = async {
            let lease = self.api.get(&self.options.name).await?;
            let spec = lease.spec.unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(self.options.identity.as_str()) {
                return Ok(());
            }
            let patch = json!({
                "metadata": {"resourceVersion": lease.metadata.resource_version},
                "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": MicroTime(self.clock.0.now())},
            });
            self.api
                .patch(&self.options.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map(|_| ())
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, released).await {
            Ok(Ok(())) => tracing::info!(lease = %self.options.name, "Gave the lease back."),
            Ok(Err(error)) => tracing::warn!(lease = %self.options.name, %error, "The lease could not be given back."),
            Err(_) => tracing::warn!(lease = %self.options.name, "The lease could not be given back in time."),
        }
    }
}

/// Another replica was faster: that is an answer, not an error.
fn accepted(result: kube::Result<Lease>) -> Result<Attempt, LeaseError> {
    match result {
        Ok(_) => Ok(Attempt::Ours),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Attempt::Theirs),
        Err(error) => Err(Box::new(error).into()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
