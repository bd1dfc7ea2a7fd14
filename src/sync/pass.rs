//! One decision about one application, put together: compare, describe, operate, hold, automate.

mod operate;

use super::*;

/// A target set with its live objects.
pub(super) struct Compared<'a> {
    pub(super) desired: &'a Desired,
    pub(super) targets: TargetSet,
    pub(super) comparisons: Vec<Comparison>,
}

/// What is decided on the way to a [`Decision`].
pub(super) struct Pass<'a> {
    snapshot: &'a Snapshot<'a>,
    before: ApplicationStatus,
    options: AppOptions,
    findings: Vec<Finding>,
    state: Option<OperationState>,
    takes_operation: bool,
    finalizers: Option<Vec<String>>,
    work: Batches,
    wake: Option<Timestamp>,
    reasons: Vec<Reason>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(snapshot: &'a Snapshot<'a>) -> Self {
        let before = snapshot.app.status.clone().unwrap_or_default();
        Self {
            options: AppOptions::parse(validate::sync_options(&snapshot.app.spec)),
            findings: [validate::warnings(&snapshot.app.spec), snapshot.project.warnings()].concat(),
            state: before.operation_state.clone(),
            takes_operation: false,
            finalizers: None,
            work: Batches::new(),
            wake: None,
            reasons: Vec::new(),
            snapshot,
            before,
        }
    }

    fn instance(&self) -> String {
        let metadata = &self.snapshot.app.metadata;
        instance_name(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
            self.snapshot.control_plane_namespace,
        )
    }

    /// Whether exactly these commits were applied by the last operation.
    pub(super) fn was_applied(&self, desired: &Desired) -> bool {
        self.before.operation_state.as_ref().is_some_and(|state| {
            state.phase == OperationPhase::Succeeded.name()
                && state
                    .sync_result
                    .as_ref()
                    .is_some_and(|result| Revisions::of_result(result) == desired.revisions)
        })
    }

    pub(super) fn compare(&self, desired: &'a Desired, was_applied: bool) -> Result<Compared<'a>, Failure> {
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
            project: self.snapshot.project,
        });
        Ok(Compared {
            desired,
            targets,
            comparisons,
        })
    }

    pub(super) fn invalid(mut self, problems: Vec<String>) -> Decision {
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

    pub(super) fn decide(mut self, current: Result<Compared<'a>, Failure>) -> Decision {
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
        if let Ok(compared) = &current
            && !self.is_operating()
            && self.work.is_empty()
        {
            // A hook that nobody looks at any more must not be kept from going away.
            let releases = operation::hook_work::left_behind(&compared.comparisons);
            self.work.extend((!releases.is_empty()).then_some(releases));
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
        self.finalizers = finalizer::wanted_finalizers(snapshot.app, &compared.targets);
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
        // With nothing to compare with, no newer commit is known; but a person may still go back from the one seen last.
        let seen_last = Revisions::of_sync(&self.before.sync);
        let (revisions, since_hold, comparisons) = match current {
            Ok(current) => (
                &current.desired.revisions,
                self.snapshot.since_hold,
                current.comparisons.as_slice(),
            ),
            Err(_) => (&seen_last, Ancestry::Unknown, [].as_slice()),
        };
        hold::decide(&hold::Facts {
            previous: self.before.hold.as_ref(),
            is_automated: auto_sync::is_on(&self.snapshot.app.spec),
            revisions,
            since_hold,
            comparisons,
            sync,
            last: self.state.as_ref(),
            just_begun: self.takes_operation,
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
                if let Some(blocked) = self.blocked(false, false) {
                    self.because("SyncWindow", blocked.message.clone());
                    self.findings.push(("SyncWindowWarning", blocked.message));
                    blocked.until.into_iter().for_each(|until| self.wake_at(until));
                    return;
                }
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
            finalizers,
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
            finalizers,
            work,
            requeue: wake.map_or(Requeue::AwaitChange, Requeue::At),
            reasons,
        }
    }
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
