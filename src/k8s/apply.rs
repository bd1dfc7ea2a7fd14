//! Carries out a plan: stages in order, the status last, then events. Decides nothing.
//!
//! Every stage needs a standing fence, and a fence that falls ends the requests under way. Two actions on one object in
//! one stage run one after the other. A conflict means that the decision was made on an older version: the pass ends,
//! and the change that caused it brings the next one.

use crate::{
    class::Class,
    clock::SharedClock,
    k8s::{
        action::{
            events::EventRecorder,
            objects::{self, Outcome},
        },
        error::ApiError,
        kinds::Kinds,
        lease::Fence,
        ledger::Written,
    },
    plan::{Action, ObjectRef, Plan, PodWrite, Precondition, Stage, StatusChange},
};
use futures::{StreamExt, stream};
use kube::Client;
use std::collections::{BTreeMap, HashMap};

/// Requests of one stage that are under way at once; protects the API server from a plan with many objects.
const CONCURRENT_MAX: usize = 8;

/// What a plan's writes came to.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// What each accepted write made of its object; feeds the ledger.
    pub writes: Vec<(ObjectRef, Written)>,
    /// Whether a status was written.
    pub status_written: bool,
    /// Writes to pods that were accepted.
    pub pods: usize,
    /// Writes to pods that were refused for a reason that will not pass by itself, with the reason.
    pub refused_pods: Vec<(ObjectRef, String)>,
    /// Events accepted.
    pub events: usize,
}

/// A plan was not carried out to its end.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct ApplyError {
    /// What was written before.
    pub applied: Box<Applied>,
    /// What went wrong.
    pub source: WriteError,
}

/// One write did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// This replica no longer leads; another one carries on.
    #[error("the lease was lost")]
    FenceFallen,
    /// The API server refused a write, or did not answer.
    #[error("failed to write {target}: {source}")]
    Refused {
        /// The object that was to be written.
        target: ObjectRef,
        /// The server's answer.
        source: ApiError,
    },
}

impl ApplyError {
    /// What this means for trying again.
    pub fn class(&self) -> Class {
        match &self.source {
            WriteError::FenceFallen => Class::Conflict,
            WriteError::Refused { source, .. } => source.class(),
        }
    }

    /// The object that is no longer as the plan took it to be.
    pub fn outdated(&self) -> Option<&ObjectRef> {
        match &self.source {
            WriteError::Refused { target, .. } if is_conflict(&self.source) => Some(target),
            WriteError::Refused { .. } | WriteError::FenceFallen => None,
        }
    }

    /// One word for metrics and event reasons.
    pub fn label(&self) -> &'static str {
        match &self.source {
            WriteError::FenceFallen => "LeaseLost",
            WriteError::Refused { source, .. } => source.label(),
        }
    }
}

/// What it takes to write: a client, the places of kinds, and a recorder of events.
pub struct Writer {
    client: Client,
    kinds: Kinds,
    events: EventRecorder,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("kinds", &self.kinds)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer. `instance` names this replica in events.
    pub fn new(client: Client, clock: SharedClock, instance: impl Into<String>) -> Self {
        let events = EventRecorder::new(client.clone(), clock, instance);
        Self {
            client,
            kinds: Kinds::default(),
            events,
        }
    }

    /// The recorder of events.
    pub fn events(&self) -> &EventRecorder {
        &self.events
    }
}

/// Carries out `plan`. A plan that writes nothing sends nothing.
pub async fn apply(writer: &Writer, fence: &Fence, plan: &Plan) -> Result<Applied, ApplyError> {
    let Plan {
        stages,
        status,
        pods,
        events,
        requeue: _,
        reasons: _,
    } = plan;
    let mut pass = Pass {
        writer,
        fence,
        status,
        applied: Applied::default(),
        versions: HashMap::new(),
    };
    match pass.write(stages).await {
        Ok(()) => {
            pass.write_pods(pods).await;
            if !events.is_empty() && fence.is_valid() {
                pass.applied.events = writer.events.record(events).await;
            }
            Ok(pass.applied)
        }
        Err(source) => Err(ApplyError {
            applied: Box::new(pass.applied),
            source,
        }),
    }
}

struct Pass<'a> {
    writer: &'a Writer,
    fence: &'a Fence,
    status: &'a StatusChange,
    applied: Applied,
    /// Versions that this plan's own writes gave to objects.
    versions: HashMap<ObjectRef, String>,
}

impl Pass<'_> {
    async fn write(&mut self, stages: &[Stage]) -> Result<(), WriteError> {
        for stage in stages {
            self.write_stage(stage).await?;
        }
        if let StatusChange::Merge { target, .. } = self.status {
            let newer = self.versions.get(target).cloned();
            let request = objects::write_status(&self.writer.client, &self.writer.kinds, self.status, newer.as_deref());
            let outcome = fenced(self.fence, target, request).await?;
            self.note(target.clone(), None, outcome);
            self.applied.status_written = true;
        }
        Ok(())
    }

    /// Sends the writes to pods. That one is refused says nothing about the rest of the plan.
    async fn write_pods(&mut self, writes: &[PodWrite]) {
        let (writer, fence) = (self.writer, self.fence);
        let mut requests = Vec::with_capacity(writes.len());
        for write in writes {
            requests.push(fenced(
                fence,
                write.target(),
                objects::write_pod(&writer.client, &writer.kinds, write),
            ));
        }
        let answers: Vec<_> = stream::iter(requests).buffer_unordered(CONCURRENT_MAX).collect().await;
        for answer in answers {
            match answer {
                Ok(()) => self.applied.pods += 1,
                Err(WriteError::FenceFallen) => {}
                Err(WriteError::Refused { target, source }) => {
                    tracing::debug!(%target, %source, "A write to a pod was refused.");
                    // A disruption budget, a pod that is gone or another one by now, and a server in trouble are looked
                    // at again in a while.
                    if matches!(source.class(), Class::Denied | Class::Permanent) {
                        self.applied.refused_pods.push((target, source.to_string()));
                    }
                }
            }
        }
    }

    /// Sends the actions of a stage; all of them get their chance even when one fails.
    async fn write_stage(&mut self, Stage(actions): &Stage) -> Result<(), WriteError> {
        let mut by_target: BTreeMap<ObjectRef, Vec<&Action>> = BTreeMap::new();
        for action in actions {
            by_target.entry(action.target()).or_default().push(action);
        }
        let (writer, fence) = (self.writer, self.fence);
        let mut groups = Vec::with_capacity(by_target.len());
        for (target, actions) in by_target {
            let newer = self.versions.get(&target).cloned();
            let guard = self.status_guard(&target);
            groups.push(write_group(writer, fence, target, actions, newer, guard));
        }
        let results: Vec<GroupResult> = stream::iter(groups).buffer_unordered(CONCURRENT_MAX).collect().await;
        let mut failure = None;
        for GroupResult {
            target,
            outcomes,
            failure: failed,
        } in results
        {
            for (uid, outcome) in outcomes {
                self.note(target.clone(), uid, Some(outcome));
            }
            // A failure that says more than "look again" is worth more to whoever reads it.
            failure = match (failure, failed) {
                (Some(first), Some(second)) if is_conflict(&first) && !is_conflict(&second) => Some(second),
                (first, second) => first.or(second),
            };
        }
        failure.map_or(Ok(()), Err)
    }

    /// An action on the very object whose status is written last is bound to the version that status was decided on;
    /// otherwise the status would go through on the strength of our own, unconditional, write.
    fn status_guard(&self, target: &ObjectRef) -> Option<Precondition> {
        match self.status {
            StatusChange::Merge {
                target: of,
                precondition,
                ..
            } if of == target => Some(precondition.clone()),
            StatusChange::Merge { .. } | StatusChange::Unchanged => None,
        }
    }

    fn note(&mut self, target: ObjectRef, uid: Option<String>, outcome: Option<Outcome>) {
        let written = match outcome {
            Some(Outcome::Stored { resource_version, .. }) => {
                self.versions.insert(target.clone(), resource_version.clone());
                Written::Version(resource_version)
            }
            Some(Outcome::Deleted) => Written::Deleted { uid },
            Some(Outcome::AlreadyThere) | None => return,
        };
        self.applied.writes.push((target, written));
    }
}

/// What became of the actions on one object.
struct GroupResult {
    target: ObjectRef,
    outcomes: Vec<(Option<String>, Outcome)>,
    failure: Option<WriteError>,
}

async fn write_group(
    writer: &Writer,
    fence: &Fence,
    target: ObjectRef,
    actions: Vec<&Action>,
    mut newer: Option<String>,
    guard: Option<Precondition>,
) -> GroupResult {
    let mut result = GroupResult {
        target,
        outcomes: Vec::new(),
        failure: None,
    };
    for action in actions {
        let bound = guard.as_ref().map(|guard| bound_to(action, guard));
        let action = bound.as_ref().unwrap_or(action);
        let request = objects::perform(&writer.client, &writer.kinds, action, newer.as_deref());
        match fenced(fence, &result.target, request).await {
            Ok(outcome) => {
                if let Outcome::Stored { resource_version, .. } = &outcome {
                    newer = Some(resource_version.clone());
                }
                result.outcomes.push((deleted_uid(action), outcome));
            }
            Err(error) => {
                result.failure = Some(error);
                break;
            }
        }
    }
    result
}

fn deleted_uid(action: &Action) -> Option<String> {
    match action {
        Action::Delete { precondition, .. } => precondition.uid.clone(),
        Action::Create { .. } | Action::Apply { .. } | Action::Merge { .. } => None,
    }
}

/// The action with `guard` as its precondition, if it has none of its own.
fn bound_to(action: &Action, guard: &Precondition) -> Action {
    let mut action = action.clone();
    match &mut action {
        Action::Apply { precondition, .. } | Action::Merge { precondition, .. } => {
            precondition.get_or_insert_with(|| guard.clone());
        }
        Action::Create { .. } | Action::Delete { .. } => {}
    }
    action
}

/// Sends a request while the fence stands. A request cut off by a falling fence may still arrive: the lease runs on for
/// the difference between its duration and the renew deadline, and the next holder starts only after that.
async fn fenced<T>(
    fence: &Fence,
    target: &ObjectRef,
    request: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, WriteError> {
    if !fence.is_valid() {
        return Err(WriteError::FenceFallen);
    }
    let answer = tokio::select! {
        biased;
        answer = request => answer,
        () = fence.fallen() => return Err(WriteError::FenceFallen),
    };
    answer.map_err(|source| WriteError::Refused {
        target: target.clone(),
        source: stale_if_missing(source),
    })
}

/// A patch of an object that is not there was decided on a stale view: look again, without noise. Deletions never get
/// here, and a missing *kind* (or namespace) keeps its own answer.
fn stale_if_missing(error: ApiError) -> ApiError {
    match error {
        ApiError::Refused {
            code: 404,
            reason,
            message,
            retry_after_seconds,
        } if message.contains(" not found") => ApiError::Refused {
            code: 409,
            reason: format!("Conflict: {reason}"),
            message,
            retry_after_seconds,
        },
        other => other,
    }
}

fn is_conflict(error: &WriteError) -> bool {
    match error {
        WriteError::FenceFallen => false,
        WriteError::Refused { source, .. } => source.class() == Class::Conflict,
    }
}

#[cfg(test)]
mod tests;
