//! GitOps: what one Application needs now, as a pure function of what its source says and what the cluster has.
//!
//! [`plan`] is the whole order of business. An operation is a state machine whose memory is `status.operationState`;
//! the caller writes the status, does the work, [`operation::record::record`]s what came of it, and plans again.

pub mod auto_sync;
pub mod compare;
pub mod diff;
pub mod finalizer;
pub mod health;
pub mod hold;
pub mod hooks;
pub mod images;
pub mod kinds;
pub mod operation;
pub mod options;
pub mod order;
pub mod project;
pub mod prune;
pub mod resource;
pub mod retry;
pub mod revisions;
pub mod status;
pub mod target;
pub mod validate;
pub mod work;

use crate::{
    api::{
        application::{Application, Operation, SyncOperation},
        application_status::{ApplicationStatus, Hold, OperationState, SyncOperationResult},
        scalar::wire_time,
        well_known::REFRESH,
    },
    plan::{EventRecord, Reason, Requeue},
};
use auto_sync::{Ancestry, AutoSync};
use compare::{Comparison, DryRuns, LiveObjects, Sides, SyncCode};
use jiff::{SignedDuration, Timestamp};
use kinds::Kinds;
use operation::{OperationPhase, Step};
use options::AppOptions;
use project::Project;
use resource::{ResourceKey, instance_name};
use revisions::Revisions;
use serde_json::Value;
use status::Finding;
use std::{borrow::Cow, sync::Arc};
use target::{Destination, TargetSet};
use work::Batches;

/// A source that does not answer leaves the last comparison standing for this long.
pub const SOURCE_ERROR_GRACE: SignedDuration = SignedDuration::from_secs(180);
/// Steps of an operation decided in one pass without anything being written; more would be a defect.
const STEPS_MAX: usize = 16;
const DELETION_APPROVED: &str = "argocd.argoproj.io/deletion-approved";

/// What a source says, at certain commits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The commits.
    pub revisions: Revisions,
    /// The rendered objects of each source, in order.
    pub parts: Vec<Arc<Vec<Value>>>,
    /// `Directory` and so on, one for each source.
    pub source_types: Vec<String>,
    /// What the renderer passed over, for people (guarantee C6).
    pub notes: Vec<String>,
}

impl Desired {
    /// The rendered objects, in order.
    pub fn objects(&self) -> impl Iterator<Item = &Value> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

/// Why a source says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Repository and cause.
    pub message: String,
    /// Whether it may pass by itself, so that the last comparison is worth keeping for a while.
    pub is_transient: bool,
}

/// Everything one decision is based on.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The application.
    pub app: &'a Application,
    /// Namespace of the control plane.
    pub control_plane_namespace: &'a str,
    /// The source in effect at its newest commit.
    pub desired: Result<&'a Desired, &'a Failure>,
    /// What the running or requested operation is pinned to, when that is something else.
    pub pinned: Option<Result<&'a Desired, &'a Failure>>,
    /// Live objects: tracked ones, those targets name, and the destination namespace.
    pub live: &'a LiveObjects,
    /// What the cluster serves.
    pub kinds: &'a Kinds,
    /// The project.
    pub project: Project<'a>,
    /// Answers of dry runs asked for before.
    pub dry_runs: &'a DryRuns,
    /// How the newest commit relates to the deployed one.
    pub ancestry: Ancestry,
    /// Present moment.
    pub now: Timestamp,
}

/// What [`plan`] wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Try these bodies by server-side dry run, and plan again with the answers.
    DryRuns(Vec<(ResourceKey, Value)>),
    /// This.
    Decision(Box<Decision>),
}

/// What to do about an application.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The whole new status; equal to the old one when nothing changed. To be written before `work` is done.
    pub status: ApplicationStatus,
    /// Whether `operation` was taken over into the status and is to be removed.
    pub takes_operation: bool,
    /// Whether the refresh annotation was answered and is to be removed.
    pub answers_refresh: bool,
    /// What to do to objects.
    pub work: Batches,
    /// Events to record once the status was accepted.
    pub events: Vec<EventRecord>,
    /// When to decide again by itself.
    pub requeue: Requeue,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// A target set with its live objects.
struct Compared<'a> {
    desired: &'a Desired,
    targets: TargetSet,
    comparisons: Vec<Comparison>,
}

/// What is decided on the way to a [`Decision`].
struct Pass<'a> {
    snapshot: &'a Snapshot<'a>,
    before: ApplicationStatus,
    options: AppOptions,
    findings: Vec<Finding>,
    state: Option<OperationState>,
    takes_operation: bool,
    work: Batches,
    wake: Option<Timestamp>,
    reasons: Vec<Reason>,
}

/// Decides what an application needs now. The caller handles deletion (see [`finalizer`]) first.
pub fn plan(snapshot: &Snapshot<'_>) -> Outcome {
    let problems = validate::problems(snapshot.app, snapshot.project, snapshot.control_plane_namespace);
    let before = snapshot.app.status.clone().unwrap_or_default();
    let pass = Pass {
        options: AppOptions::parse(validate::sync_options(&snapshot.app.spec)),
        findings: validate::warnings(&snapshot.app.spec),
        state: before.operation_state.clone(),
        takes_operation: false,
        work: Batches::new(),
        wake: None,
        reasons: Vec::new(),
        snapshot,
        before,
    };
    if !problems.is_empty() {
        return Outcome::Decision(Box::new(pass.invalid(problems)));
    }
    let current = match snapshot.desired {
        Ok(desired) => pass.compare(desired, pass.was_applied(desired)),
        Err(failure) => Err(failure.clone()),
    };
    if let Ok(current) = &current {
        let probes = probes(&current.comparisons, snapshot.dry_runs);
        if !probes.is_empty() {
            return Outcome::DryRuns(probes);
        }
    }
    Outcome::Decision(Box::new(pass.decide(current)))
}

/// Bodies that only a dry run can judge.
fn probes(comparisons: &[Comparison], answers: &DryRuns) -> Vec<(ResourceKey, Value)> {
    comparisons
        .iter()
        .filter(|comparison| comparison.needs_dry_run && !answers.contains_key(&comparison.key))
        .filter_map(|comparison| Some((comparison.key.clone(), comparison.prepared.as_ref()?.body.clone())))
        .collect()
}

impl<'a> Pass<'a> {
    fn instance(&self) -> String {
        let metadata = &self.snapshot.app.metadata;
        instance_name(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
            self.snapshot.control_plane_namespace,
        )
    }

    /// Whether exactly these commits were applied by the last operation.
    fn was_applied(&self, desired: &Desired) -> bool {
        self.before.operation_state.as_ref().is_some_and(|state| {
            state.phase == OperationPhase::Succeeded.name()
                && state
                    .sync_result
                    .as_ref()
                    .is_some_and(|result| Revisions::of_result(result) == desired.revisions)
        })
    }

    fn compare(&self, desired: &'a Desired, was_applied: bool) -> Result<Compared<'a>, Failure> {
        let instance = self.instance();
        let spec = &self.snapshot.app.spec;
        let destination = Destination {
            instance: &instance,
            namespace: &spec.destination.namespace,
            kinds: self.snapshot.kinds,
        };
        let targets = target::targets(desired.objects(), destination);
        if !targets.problems.is_empty() {
            return Err(Failure {
                message: targets.problems.join("; "),
                is_transient: false,
            });
        }
        let comparisons = compare::compare(Sides {
            targets: &targets,
            live: self.snapshot.live,
            instance: &instance,
            ignore: &spec.ignore_differences,
            options: &self.options,
            dry_runs: self.snapshot.dry_runs,
            was_applied,
            kinds: self.snapshot.kinds,
        });
        Ok(Compared {
            desired,
            targets,
            comparisons,
        })
    }

    fn invalid(mut self, problems: Vec<String>) -> Decision {
        self.findings
            .extend(problems.iter().map(|problem| ("InvalidSpecError", problem.clone())));
        let message = problems.join("; ");
        let is_asked = self.snapshot.app.operation.is_some();
        if is_asked && !self.is_operating() {
            self.begin(
                self.snapshot.app.operation.clone().unwrap_or_default(),
                &Revisions::default(),
            );
            self.takes_operation = true;
        }
        if self.is_operating() || self.takes_operation {
            self.state = self.state.map(|state| {
                operation::finish::finish(&state, OperationPhase::Error, &message, self.snapshot.now, false)
            });
        }
        let mut after = self.before.clone();
        after.sync = status::sync(
            self.snapshot.app,
            SyncCode::Unknown,
            &Revisions::of_sync(&self.before.sync),
        );
        let (resources, _) = status::retained(self.snapshot.app, &self.before.resources, self.snapshot.live);
        after.resources = resources;
        let unknown = health::Health::new(health::Code::Unknown, "");
        after.health = status::application_health(&unknown, &self.before.health, self.snapshot.now);
        self.conclude(after)
    }

    fn decide(mut self, current: Result<Compared<'a>, Failure>) -> Decision {
        let snapshot = self.snapshot;
        let mut after = self.before.clone();
        let sync = match &current {
            Ok(compared) => self.describe(compared, &mut after),
            Err(failure) => self.describe_failure(failure, &mut after),
        };
        let was_operating = self.is_operating();
        if !was_operating && let Some(asked) = snapshot.app.operation.clone() {
            self.take_over(asked, &current);
        }
        if self.is_operating() {
            self.advance(&current);
        }
        let just_ended = (was_operating || self.takes_operation) && !self.is_operating();
        after.hold = self.hold(&current, sync, just_ended);
        if !self.is_operating()
            && !just_ended
            && !self.takes_operation
            && let Ok(compared) = &current
        {
            self.automate(compared, sync, after.hold.as_ref(), &current);
        }
        if let Some(hold) = &after.hold {
            self.findings.push(("SyncHoldWarning", hold::message(hold)));
        }
        if let Some(state) = self
            .state
            .as_ref()
            .filter(|state| just_ended_well(state, self.before.operation_state.as_ref()))
        {
            after.history = status::history(snapshot.app, &self.before.history, state);
        }
        self.conclude(after)
    }

    /// Sync, health and resources by a good comparison.
    fn describe(&mut self, compared: &Compared<'_>, after: &mut ApplicationStatus) -> SyncCode {
        let snapshot = self.snapshot;
        let (comparisons, revisions) = (&compared.comparisons, &compared.desired.revisions);
        self.findings.extend(compared.targets.warnings.iter().cloned());
        self.findings.extend(
            compared
                .desired
                .notes
                .iter()
                .map(|note| ("SkippedManifestWarning", note.clone())),
        );
        let shared = compare::shared(comparisons, &self.instance());
        self.findings
            .extend(shared.into_iter().map(|message| ("SharedResourceWarning", message)));
        let code = status::sync_code(comparisons);
        after.sync = status::sync(snapshot.app, code, revisions);
        after.resources = status::resources(comparisons);
        let health = status::health(snapshot.app, comparisons);
        after.health = status::application_health(&health, &self.before.health, snapshot.now);
        after.summary = status::summary(comparisons);
        let types = &compared.desired.source_types;
        if snapshot.app.spec.sources.is_empty() {
            after.source_type = types.first().cloned().unwrap_or_default();
            after.source_types = Vec::new();
        } else {
            after.source_type = String::new();
            after.source_types.clone_from(types);
        }
        code
    }

    /// The last good comparison stands for a while; health goes on being watched.
    fn describe_failure(&mut self, failure: &Failure, after: &mut ApplicationStatus) -> SyncCode {
        let snapshot = self.snapshot;
        self.findings.push(("ComparisonError", failure.message.clone()));
        let since = self
            .before
            .conditions
            .iter()
            .find(|condition| condition.r#type == "ComparisonError");
        let since = since
            .and_then(|condition| condition.last_transition_time.as_ref())
            .map_or(snapshot.now, |at| at.0);
        let until = since.saturating_add(SOURCE_ERROR_GRACE).unwrap_or(snapshot.now);
        let had_any = !self.before.sync.revision.is_empty() || !self.before.sync.revisions.is_empty();
        let (resources, health) = status::retained(snapshot.app, &self.before.resources, snapshot.live);
        after.resources = resources;
        after.health = status::application_health(&health, &self.before.health, snapshot.now);
        if failure.is_transient && had_any && snapshot.now < until {
            self.wake_at(until);
        } else {
            after.sync.status = SyncCode::Unknown.name().to_owned();
        }
        SyncCode::Unknown
    }

    fn is_operating(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|state| matches!(state.phase.as_str(), "Running" | "Terminating"))
    }

    /// Takes `operation` over into the status, pinned to commits (guarantee S1).
    fn take_over(&mut self, mut asked: Operation, current: &Result<Compared<'a>, Failure>) {
        self.takes_operation = true;
        let revisions = match (self.snapshot.pinned, current) {
            (Some(Ok(pinned)), _) => pinned.revisions.clone(),
            (None, Ok(current)) => current.desired.revisions.clone(),
            (Some(Err(_)), _) | (None, Err(_)) => Revisions::default(),
        };
        let Some(sync) = &mut asked.sync else {
            self.begin(asked, &revisions);
            let message = "Invalid operation request: no operation specified";
            self.state = self.state.take().map(|state| {
                operation::finish::finish(&state, OperationPhase::Error, message, self.snapshot.now, false)
            });
            return;
        };
        if sync.sync_options.is_empty() {
            sync.sync_options = validate::sync_options(&self.snapshot.app.spec).to_vec();
        }
        self.begin(asked, &revisions);
    }

    fn begin(&mut self, asked: Operation, revisions: &Revisions) {
        let spec = &self.snapshot.app.spec;
        let sync = asked.sync.clone().unwrap_or_default();
        let (source, sources) = if !sync.sources.is_empty() {
            (None, sync.sources)
        } else if sync.source.is_some() {
            (sync.source, Vec::new())
        } else if spec.sources.is_empty() {
            (spec.source.clone(), Vec::new())
        } else {
            (None, spec.sources.clone())
        };
        let result = SyncOperationResult {
            revision: revisions.single.clone(),
            source,
            sources,
            revisions: revisions.several.clone(),
            managed_namespace_metadata: spec
                .sync_policy
                .as_ref()
                .and_then(|policy| policy.managed_namespace_metadata.clone()),
            ..SyncOperationResult::default()
        };
        self.state = Some(operation::record::begin(asked, result, self.snapshot.now));
    }

    /// Takes the operation as far as it goes without writing to objects.
    fn advance(&mut self, current: &Result<Compared<'a>, Failure>) {
        let own;
        let pinned: Result<&Compared<'a>, String> = match (self.snapshot.pinned, current) {
            (None, Ok(current)) => Ok(current),
            (None, Err(failure)) => Err(failure.message.clone()),
            (Some(Err(failure)), _) => Err(failure.message.clone()),
            (Some(Ok(desired)), _) => {
                own = self.compare(desired, false);
                own.as_ref().map_err(|failure| failure.message.clone())
            }
        };
        self.run_steps(pinned, current);
    }

    fn run_steps(&mut self, pinned: Result<&Compared<'a>, String>, current: &Result<Compared<'a>, Failure>) {
        let snapshot = self.snapshot;
        let newer = self.newer(current);
        for _ in 0..STEPS_MAX {
            let Some(state) = self.state.clone() else { return };
            let Some(sync) = state.operation.sync.clone() else {
                return;
            };
            let options = AppOptions::parse(&sync.sync_options);
            let comparisons = pinned
                .as_ref()
                .map(|compared| with_hooks(compared, &state, snapshot.live, &options));
            let view = operation::View {
                state: &state,
                sync: &sync,
                desired: match (&pinned, &comparisons) {
                    (Ok(compared), Ok(comparisons)) => Ok(operation::Desired {
                        comparisons,
                        targets: &compared.targets,
                    }),
                    (Err(message), _) => Err(message),
                    (Ok(_), Err(_)) => Err("the source could not be rendered"),
                },
                live: snapshot.live,
                kinds: snapshot.kinds,
                project: snapshot.project,
                options: &options,
                prune: self.prune_request(&sync, &state, pinned.as_ref().ok().copied()),
                namespace: &snapshot.app.spec.destination.namespace,
                namespace_metadata: snapshot
                    .app
                    .spec
                    .sync_policy
                    .as_ref()
                    .and_then(|policy| policy.managed_namespace_metadata.as_ref()),
                newer: newer.as_deref(),
                now: snapshot.now,
            };
            let step = operation::step(&view);
            if self.take_step(state, step, current) {
                return;
            }
        }
    }

    /// Whether the pass over the operation is finished with this step.
    fn take_step(&mut self, mut state: OperationState, step: Step, current: &Result<Compared<'a>, Failure>) -> bool {
        match step {
            Step::Work(batches) => {
                self.work = batches;
                if state.message.is_empty() || state.message.starts_with("waiting for") {
                    state.message = "one or more tasks are running".into();
                }
                self.state = Some(state);
                true
            }
            Step::Wait { message, until } => {
                state.message = message;
                self.state = Some(state);
                if let Some(until) = until {
                    self.wake_at(until);
                }
                true
            }
            Step::Note(entries) => {
                let result = state.sync_result.get_or_insert_with(SyncOperationResult::default);
                for entry in entries {
                    operation::record::put(&mut result.resources, entry);
                }
                self.state = Some(state);
                false
            }
            Step::Again => {
                let with_latest = state.operation.retry.refresh;
                state.finished_at = None;
                let latest = if with_latest { " with latest revisions" } else { "" };
                state.message = format!("Retrying operation{latest}. Attempt #{}", state.retry_count);
                if let Some(result) = &mut state.sync_result {
                    result.resources.clear();
                    if let (true, Ok(current)) = (with_latest, current) {
                        result.revision.clone_from(&current.desired.revisions.single);
                        result.revisions.clone_from(&current.desired.revisions.several);
                    }
                }
                self.state = Some(state);
                // What it is pinned to may have changed; the caller renders that before anything is written.
                if with_latest {
                    self.wake_at(self.snapshot.now);
                }
                with_latest
            }
            Step::Done {
                phase,
                message,
                may_retry,
            } => {
                let is_dry = state.operation.sync.as_ref().is_some_and(|sync| sync.dry_run);
                let state = operation::finish::finish(&state, phase, &message, self.snapshot.now, may_retry && !is_dry);
                let is_over = OperationPhase::is_over(&state.phase);
                if !is_over {
                    let due = retry::delay(&state.operation.retry, state.retry_count - 1);
                    self.wake_at(self.snapshot.now.saturating_add(due).unwrap_or(self.snapshot.now));
                }
                self.because("OperationEnded", format!("{}: {}", state.phase, state.message));
                self.state = Some(state);
                true
            }
        }
    }

    /// What the running operation may give way to (guarantee S2).
    fn newer(&self, current: &Result<Compared<'a>, Failure>) -> Option<String> {
        let state = self
            .before
            .operation_state
            .as_ref()
            .filter(|_| self.is_operating() && !self.takes_operation)?;
        if self.snapshot.app.operation.is_some() {
            return Some("a new operation".to_owned());
        }
        let current = current.as_ref().ok()?;
        let newest = &current.desired.revisions;
        let sync = state.operation.sync.as_ref()?;
        let was_explicit =
            !state.operation.initiated_by.automated && (!sync.revision.is_empty() || !sync.revisions.is_empty());
        let is_other = state
            .sync_result
            .as_ref()
            .is_some_and(|result| Revisions::of_result(result) != *newest);
        let is_held = self
            .before
            .hold
            .as_ref()
            .is_some_and(|hold| hold.revision == newest.to_string());
        let gives_way = auto_sync::is_on(&self.snapshot.app.spec)
            && is_other
            && !was_explicit
            && !is_held
            && self.snapshot.ancestry == Ancestry::Forward;
        gives_way.then(|| format!("commit {newest}"))
    }

    fn prune_request(
        &self,
        sync: &SyncOperation,
        state: &OperationState,
        pinned: Option<&Compared<'_>>,
    ) -> prune::Request {
        let app = self.snapshot.app;
        let allows_empty = app
            .spec
            .sync_policy
            .as_ref()
            .and_then(|policy| policy.automated.as_ref())
            .is_some_and(|automated| automated.allow_empty.unwrap_or(false));
        let has_objects = pinned.is_some_and(|compared| !compared.targets.resources.is_empty());
        let since = state.started_at.as_ref().map_or(self.snapshot.now, |at| at.0);
        prune::Request {
            prune: sync.prune,
            source_may_be_trusted: has_objects || allows_empty,
            is_approved: prune::is_approved(self.annotation(DELETION_APPROVED), since),
        }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.snapshot
            .app
            .metadata
            .annotations
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    fn hold(&self, current: &Result<Compared<'a>, Failure>, sync: SyncCode, just_ended: bool) -> Option<Hold> {
        let previous = self.before.hold.as_ref();
        // With nothing to compare with, nothing is learned and nothing is let go.
        let Ok(current) = current else { return previous.cloned() };
        hold::decide(&hold::Facts {
            previous,
            is_automated: auto_sync::is_on(&self.snapshot.app.spec),
            revisions: &current.desired.revisions,
            ancestry: self.snapshot.ancestry,
            comparisons: &current.comparisons,
            sync,
            last: self.state.as_ref(),
            just_ended,
            now: self.snapshot.now,
        })
    }

    fn automate(
        &mut self,
        compared: &Compared<'a>,
        sync: SyncCode,
        hold: Option<&Hold>,
        current: &Result<Compared<'a>, Failure>,
    ) {
        let snapshot = self.snapshot;
        let decision = auto_sync::decide(&auto_sync::Facts {
            spec: &snapshot.app.spec,
            sync,
            revisions: &compared.desired.revisions,
            comparisons: &compared.comparisons,
            last: self.state.as_ref(),
            hold,
            ancestry: snapshot.ancestry,
            deletion_approved: self.annotation(DELETION_APPROVED),
            now: snapshot.now,
        });
        match decision {
            AutoSync::Idle(code, message) => self.because(code, message),
            AutoSync::Wait { until, error } => {
                self.because("SelfHealLater", format!("automation tries again at {until}"));
                self.findings.extend(error.map(|error| ("SyncError", error)));
                self.wake_at(until);
            }
            AutoSync::Blocked(error) => self.findings.push(("SyncError", error)),
            AutoSync::Start(operation) => {
                self.because(
                    "SyncStarted",
                    format!("{} is not what the cluster has", compared.desired.revisions),
                );
                self.begin(*operation, &compared.desired.revisions);
                self.run_steps(Ok(compared), current);
            }
        }
    }

    fn because(&mut self, code: &'static str, message: String) {
        self.reasons.push(Reason { code, message });
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    fn conclude(self, mut after: ApplicationStatus) -> Decision {
        let Self {
            snapshot,
            before,
            findings,
            state,
            takes_operation,
            work,
            wake,
            reasons,
            options: _,
        } = self;
        after.operation_state = state;
        after.conditions = status::conditions(&findings, &before.conditions, snapshot.now);
        snapshot
            .control_plane_namespace
            .clone_into(&mut after.controller_namespace);
        let answers_refresh = snapshot
            .app
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key(REFRESH));
        if answers_refresh || status::differs(&before, &after) {
            after.reconciled_at = Some(wire_time(snapshot.now));
        }
        Decision {
            events: status::events(snapshot.app, &before, &after),
            status: after,
            takes_operation,
            answers_refresh,
            work,
            requeue: wake.map_or(Requeue::AwaitChange, Requeue::At),
            reasons,
        }
    }
}

/// The comparisons of an operation: resources, and its hooks under their names in this operation.
fn with_hooks<'a>(
    compared: &'a Compared<'_>,
    state: &OperationState,
    live: &LiveObjects,
    options: &AppOptions,
) -> Cow<'a, [Comparison]> {
    if compared.targets.hooks.is_empty() {
        return Cow::Borrowed(&compared.comparisons);
    }
    let started = state.started_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0);
    let revision = state.sync_result.as_ref().map(Revisions::of_result).unwrap_or_default();
    let hooks = operation::tasks::hook_comparisons(&compared.targets.hooks, revision.first(), started, live, options);
    let own: Vec<&ResourceKey> = hooks.iter().map(|hook| &hook.key).collect();
    let resources = compared
        .comparisons
        .iter()
        .filter(|comparison| !own.contains(&&comparison.key));
    let mut all: Vec<Comparison> = resources.cloned().collect();
    all.extend(hooks);
    Cow::Owned(all)
}

/// Whether an operation that deploys a commit as a whole has just succeeded.
fn just_ended_well(state: &OperationState, before: Option<&OperationState>) -> bool {
    let is_whole = state
        .operation
        .sync
        .as_ref()
        .is_some_and(|sync| !sync.dry_run && sync.resources.is_empty());
    let was_over =
        before.is_some_and(|before| before.started_at == state.started_at && OperationPhase::is_over(&before.phase));
    state.phase == OperationPhase::Succeeded.name() && is_whole && !was_over
}

#[cfg(test)]
mod tests;
