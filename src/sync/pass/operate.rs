//! The operation of an application: taken over, taken step by step, given up for something newer.

use super::*;
use windows::{Asked, Blocked};

impl<'a> Pass<'a> {
    /// Takes `operation` over into the status, pinned to commits (guarantee S1).
    pub(super) fn take_over(&mut self, mut asked: Operation, current: &Result<Compared<'a>, Failure>) {
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

    pub(super) fn begin(&mut self, asked: Operation, revisions: &Revisions) {
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
    pub(super) fn advance(&mut self, current: &Result<Compared<'a>, Failure>) {
        let own;
        let refused = self.refused_sources();
        let pinned: Result<&Compared<'a>, String> = match (self.snapshot.pinned, current) {
            _ if !refused.is_empty() => Err(refused.join("; ")),
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

    /// Sources that the operation brought itself and the project does not permit (guarantee S7).
    fn refused_sources(&self) -> Vec<String> {
        let result = self.state.as_ref().and_then(|state| state.sync_result.as_ref());
        let sources = result
            .into_iter()
            .flat_map(|result| result.source.iter().chain(&result.sources));
        sources
            .filter_map(|source| self.snapshot.project.refuses_source(&source.repo_url))
            .collect()
    }

    pub(super) fn run_steps(&mut self, pinned: Result<&Compared<'a>, String>, current: &Result<Compared<'a>, Failure>) {
        let snapshot = self.snapshot;
        let (newer, instance) = (self.newer(current), self.instance());
        for _ in 0..STEPS_MAX {
            let Some(state) = self.state.clone() else { return };
            let Some(sync) = state.operation.sync.clone() else {
                return;
            };
            let options = AppOptions::parse(&sync.sync_options);
            let is_running = !operation::record::is_untouched(&state) || state.retry_count > 0;
            let blocked = self.blocked(!state.operation.initiated_by.automated, is_running);
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
                instance: &instance,
                blocked: blocked.as_ref(),
                limits: snapshot.limits,
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
                state.waiting = None;
                if state.message.is_empty() || state.message.starts_with("waiting for") {
                    state.message = "one or more tasks are running".into();
                }
                self.state = Some(state);
                true
            }
            Step::Wait {
                message,
                until,
                waiting,
            } => {
                state.message = message;
                state.waiting = waiting;
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
                let with_latest = state.operation.retry.refresh && self.may_follow(current);
                state.finished_at = None;
                state.waiting = None;
                state.attempt_started_at = Some(wire_time(self.snapshot.now));
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

    /// Whether a retry may go on with what the source is at now: not back to an older commit by itself (guarantee S1), and
    /// not to one that is held (S5).
    fn may_follow(&self, current: &Result<Compared<'a>, Failure>) -> bool {
        let hold = self.before.hold.as_ref();
        let is_held = |newest: &Revisions| hold.is_some_and(|hold| hold.revision == newest.to_string());
        let current = current.as_ref().ok();
        self.snapshot.ancestry == Ancestry::Forward
            && current.is_some_and(|current| !is_held(&current.desired.revisions))
    }

    /// The sync window that keeps this application from syncing.
    pub(super) fn blocked(&self, is_manual: bool, is_running: bool) -> Option<Blocked> {
        let Project::Limited { name, spec } = self.snapshot.project else {
            return None;
        };
        let asked = Asked {
            app: self.snapshot.app.metadata.name.as_deref().unwrap_or_default(),
            spec: &self.snapshot.app.spec,
            is_manual,
            is_running,
            now: self.snapshot.now,
        };
        windows::blocked(&spec.sync_windows, name, asked)
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
        let pinned = state.sync_result.as_ref().map(Revisions::of_result);
        let own_hold = self.before.hold.as_ref().filter(|hold| {
            let is_own = pinned
                .as_ref()
                .is_some_and(|pinned| hold.revision == pinned.to_string());
            is_own && state.operation.initiated_by.automated
        });
        if let Some(hold) = own_hold {
            // A retry would sync once more what is held back (guarantee S5).
            return Some(format!("the hold of this commit by {}", hold.by));
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
        let deployed = self.before.history.last().and_then(|last| last.deployed_at.as_ref());
        let deployed = deployed.map_or(Timestamp::UNIX_EPOCH, |at| at.0);
        // An empty source that is permitted to be one means all of it.
        let exceeds_share = state.operation.initiated_by.automated
            && has_objects
            && !prune::is_approved(self.annotation(DELETION_APPROVED), deployed)
            && pinned.is_some_and(|compared| prune::exceeds_share(&compared.comparisons).is_some());
        prune::Request {
            prune: sync.prune,
            source_may_be_trusted: has_objects || allows_empty,
            is_approved: prune::is_approved(self.annotation(DELETION_APPROVED), since),
            exceeds_share,
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
    let hooks = operation::hook_work::comparisons(&compared.targets.hooks, revision.first(), started, live, options);
    let own: Vec<&ResourceKey> = hooks.iter().map(|hook| &hook.key).collect();
    let resources = compared
        .comparisons
        .iter()
        .filter(|comparison| !own.contains(&&comparison.key));
    let mut all: Vec<Comparison> = resources.cloned().collect();
    all.extend(hooks);
    Cow::Owned(all)
}
