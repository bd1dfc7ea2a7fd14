//! One pass over one application: observe, plan, write the status, do the work, and look again until nothing is left
//! to do now.

use super::{Shell, desired};
use crate::{
    api::{application::Application, application_status::ApplicationStatus, well_known::REFRESH},
    class::Class,
    controllers::{
        drive::Next,
        retry::{ReconcileError, Step},
    },
    k8s::{error::ApiError, lease::Fence, store::ObjectKey},
    live::index::{LiveError, Wanted},
    plan::{Requeue, merge_patch},
    repo::Freshness,
    sync::{
        self, Decision, Desired, Failure, Outcome, Snapshot,
        auto_sync::Ancestry,
        compare::{DryRuns, LiveObjects},
        operation,
        options::AppOptions,
        project::{self, Project},
        resource::{ResourceKey, instance_name, text},
        status, target, validate,
        work::{Deed, Report},
    },
};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// Looks at one application in one pass; a wave each, usually. The next pass goes on.
const LOOKS_MAX: usize = 32;
/// Before a pass goes on that used them up, so that one that goes round in circles keeps nobody busy.
const LOOKS_PAUSE: Duration = Duration::from_secs(1);
/// Rounds of dry runs before one decision; the second judges what the first one left.
const PROBE_ROUNDS_MAX: usize = 2;
/// A running operation is looked at this often even when nothing was heard.
const OPERATION_RESYNC: Duration = Duration::from_secs(30);
/// Field manager of the status.
const STATUS_MANAGER: &str = "tidegate";

/// Answers of dry runs, good while neither the body nor the object's specification changes.
#[derive(Debug, Default)]
pub(super) struct ProbeCache(HashMap<(String, ResourceKey), Probe>);

/// Digest of what was asked, and the answer.
type Probe = (u64, Result<Arc<Value>, String>);

impl ProbeCache {
    pub(super) fn forget(&mut self, instance: &str) {
        self.0.retain(|(owner, _), _| owner != instance);
    }
}

/// What one look is based on.
struct Observed {
    desired: Result<Desired, Failure>,
    pinned: Option<Result<Desired, Failure>>,
    live: LiveObjects,
    ancestry: Ancestry,
    since_hold: Ancestry,
}

pub(super) async fn run(shell: &Shell, fence: &Fence, app: Arc<Application>) -> Result<Next, ReconcileError> {
    let mut app = (*app).clone();
    // The status as the API server has it; `app` may be ahead by results that are not written yet.
    let mut saved = app.status.clone();
    for _ in 0..LOOKS_MAX {
        let (observed, decision) = decide(shell, &app).await?;
        log(&app, &decision);
        let Decision {
            status,
            takes_operation,
            answers_refresh,
            finalizers,
            work,
            events,
            requeue,
            reasons: _,
        } = decision;
        let is_changed = takes_operation
            || answers_refresh
            || finalizers.is_some()
            || saved.as_ref().is_none_or(|saved| status::differs(saved, &status));
        if is_changed {
            let ended = status::ended(saved.as_ref(), &status);
            app = write(
                shell,
                fence,
                &app,
                Change {
                    saved: saved.as_ref(),
                    status: &status,
                    takes_operation,
                    finalizers,
                },
            )
            .await?;
            saved.clone_from(&app.status);
            if let Some((phase, dry_run)) = ended {
                shell.metrics.synced(&app, &phase, dry_run);
            }
            shell.context.record(&events).await;
        }
        if work.is_empty() {
            drop(observed);
            return Ok(next(requeue, &app));
        }
        let done = shell.writer.work(fence, work).await;
        if done.is_fenced_off {
            return Ok(Next::AwaitChange);
        }
        if let Some(error) = unrecorded(&done.reports) {
            return Err(error);
        }
        let Some(status) = &mut app.status else { continue };
        if let Some(state) = &status.operation_state {
            status.operation_state = Some(operation::record::record(state, &done.reports));
        }
    }
    Ok(Next::In(LOOKS_PAUSE))
}

/// A failure that leaves no trace in the operation: the next look would only try the same again, at once and for ever.
fn unrecorded(reports: &[Report]) -> Option<ReconcileError> {
    let failed = reports.iter().find(|report| report.work.deed == Deed::Release);
    let problem = failed.and_then(|report| report.outcome.as_ref().err().map(|problem| (report, problem)));
    problem.map(|(report, problem)| ReconcileError {
        step: Step::Apply,
        class: Class::Transient,
        label: "HookRelease",
        source: format!("failed to release hook {}: {problem}", report.work.key).into(),
    })
}

fn next(requeue: Requeue, app: &Application) -> Next {
    let is_running = app
        .status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref())
        .is_some_and(|state| state.phase == "Running");
    match requeue {
        Requeue::AwaitChange if is_running => Next::In(OPERATION_RESYNC),
        requeue => requeue.into(),
    }
}

async fn decide(shell: &Shell, app: &Application) -> Result<(Observed, Decision), ReconcileError> {
    let control_plane = &shell.context.namespace;
    let instance = instance_of(shell, app);
    let name = project::name_of(&app.spec);
    let found = shell.projects.get(&ObjectKey::new(control_plane.as_str(), name));
    let project = Project::found(name, found.as_deref().map(|found| &found.spec));
    let observed = observe(shell, app, project, &instance).await?;
    let known = shell.discovery.known();
    let mut dry_runs = DryRuns::new();
    for round in 0..=PROBE_ROUNDS_MAX {
        let snapshot = Snapshot {
            app,
            control_plane_namespace: control_plane,
            desired: observed.desired.as_ref(),
            pinned: observed.pinned.as_ref().map(Result::as_ref),
            live: &observed.live,
            kinds: &known.kinds,
            project,
            dry_runs: &dry_runs,
            ancestry: observed.ancestry,
            since_hold: observed.since_hold,
            limits: shell.context.args.wait_limits(),
            now: shell.context.clock.now(),
        };
        match (shell.context.sync_planner)(&snapshot) {
            Outcome::Decision(decision) => return Ok((observed, *decision)),
            Outcome::DryRuns(probes) if round < PROBE_ROUNDS_MAX => {
                probe(shell, &instance, probes, &observed.live, &mut dry_runs).await;
            }
            Outcome::DryRuns(_) => break,
        }
    }
    let message = "dry runs do not settle the comparison";
    Err(ReconcileError {
        step: Step::Observe,
        class: Class::Transient,
        label: "DryRun",
        source: message.into(),
    })
}

async fn observe(
    shell: &Shell,
    app: &Application,
    project: Project<'_>,
    instance: &str,
) -> Result<Observed, ReconcileError> {
    let nothing = || Failure {
        message: String::new(),
        is_transient: false,
    };
    if !validate::problems(app, project, &shell.context.namespace).is_empty() {
        let live = live(shell, app, instance, &[]).await.unwrap_or_default();
        return Ok(Observed {
            desired: Err(nothing()),
            pinned: None,
            live,
            ancestry: Ancestry::Unknown,
            since_hold: Ancestry::Unknown,
        });
    }
    let asks_refresh = app
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(REFRESH));
    let freshness = if asks_refresh {
        Freshness::Latest
    } else {
        Freshness::Cached
    };
    let mut newest = desired::newest(shell, app, freshness).await;
    let mut pinned = desired::pinned(shell, app, newest.as_ref()).await;
    let mut ancestry = Ancestry::Unknown;
    let mut since_hold = Ancestry::Unknown;
    if let Ok(found) = &newest {
        let relations = match desired::ancestry(shell, app, found).await {
            Ok(ancestry) => desired::since_hold(shell, app, found)
                .await
                .map(|since| (ancestry, since)),
            Err(failure) => Err(failure),
        };
        match relations {
            Ok(relations) => (ancestry, since_hold) = relations,
            Err(failure) => newest = Err(failure),
        }
    }
    let wanted: Vec<&Desired> = newest.iter().chain(pinned.iter().flatten()).collect();
    let live = match live(shell, app, instance, &wanted).await {
        Ok(live) => live,
        Err(LiveError::Read { key, source }) if desired::may_pass(source.class()) => {
            return Err(ReconcileError {
                class: Class::Transient,
                ..ReconcileError::from_reading(&key, source)
            });
        }
        // What is not seen would be taken for missing: nothing is applied, a running operation included.
        Err(error) => {
            let failure = || Failure {
                message: format!("failed to read the live state: {error}"),
                is_transient: true,
            };
            newest = Err(failure());
            pinned = pinned.map(|_| Err(failure()));
            LiveObjects::new()
        }
    };
    Ok(Observed {
        desired: newest,
        pinned,
        live,
        ancestry,
        since_hold,
    })
}

/// The live objects that matter for these targets; what seems to be missing from a running operation is asked for
/// directly, because the watch may be behind.
async fn live(
    shell: &Shell,
    app: &Application,
    instance: &str,
    desired: &[&Desired],
) -> Result<LiveObjects, LiveError> {
    let mut wanted = Wanted::default();
    let mut known = shell.discovery.known();
    let namespace = &app.spec.destination.namespace;
    for attempt in 0..2 {
        wanted = Wanted::default();
        let mut has_unknown = false;
        for desired in desired {
            let destination = target::Destination {
                instance,
                namespace,
                kinds: &known.kinds,
            };
            let set = target::targets(desired.objects(), destination);
            let hooks = set.hooks.iter().map(|hook| (ResourceKey::of(hook), hook));
            for (key, object) in set
                .resources
                .iter()
                .map(|(key, object)| (key.clone(), object))
                .chain(hooks)
            {
                let version = text(object, "/apiVersion");
                has_unknown |= !known.kinds.serves(version, &key.kind);
                wanted.kinds.insert((key.group.clone(), key.kind.clone()));
                if !key.name.is_empty() {
                    wanted.keys.insert(key, version.to_owned());
                }
            }
        }
        if !has_unknown || attempt > 0 || shell.discovery.refresh_if_old().await.is_err() {
            break;
        }
        known = shell.discovery.known();
    }
    if creates_namespace(app) {
        let key = ResourceKey {
            kind: "Namespace".into(),
            name: namespace.clone(),
            ..ResourceKey::default()
        };
        wanted.keys.insert(key, "v1".to_owned());
    }
    let status = app.status.as_ref();
    for entry in status.iter().flat_map(|status| &status.resources) {
        wanted.kinds.insert((entry.group.clone(), entry.kind.clone()));
    }
    let mut found = shell.index.read(instance, &wanted).await?;
    let running = status
        .and_then(|status| status.operation_state.as_ref())
        .filter(|state| state.phase == "Running");
    for entry in running
        .and_then(|state| state.sync_result.as_ref())
        .iter()
        .flat_map(|result| &result.resources)
    {
        let key = ResourceKey {
            group: entry.group.clone(),
            kind: entry.kind.clone(),
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
        };
        if entry.hook_phase == "Running"
            && !found.contains_key(&key)
            && let Some(object) = shell.index.refresh(&key).await?
        {
            found.insert(key, object);
        }
    }
    Ok(found)
}

/// Whether the destination namespace matters: only then is the right to list namespaces needed.
fn creates_namespace(app: &Application) -> bool {
    let running = app
        .status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref())
        .map(|state| &state.operation);
    let asked = app
        .operation
        .as_ref()
        .into_iter()
        .chain(running)
        .filter_map(|operation| operation.sync.as_ref());
    let mut options = asked
        .map(|sync| sync.sync_options.as_slice())
        .chain([validate::sync_options(&app.spec)]);
    !app.spec.destination.namespace.is_empty() && options.any(|options| AppOptions::parse(options).create_namespace)
}

/// Asks the API server about bodies that only it can judge.
async fn probe(
    shell: &Shell,
    instance: &str,
    probes: Vec<(ResourceKey, Value)>,
    live: &LiveObjects,
    answers: &mut DryRuns,
) {
    use futures::{StreamExt, stream};
    /// Dry runs under way at once.
    const CONCURRENT_MAX: usize = 8;
    let asked = probes.into_iter().map(|(key, body)| async move {
        let print = fingerprint(&body, live.get(&key).map(Arc::as_ref));
        let id = (instance.to_owned(), key);
        let known = shell
            .probes()
            .0
            .get(&id)
            .filter(|(of, _)| *of == print)
            .map(|(_, answer)| answer.clone());
        let answer = match known {
            Some(answer) => answer,
            None => shell.writer.dry_run(&body).await,
        };
        (id, print, answer)
    });
    let results: Vec<_> = stream::iter(asked).buffer_unordered(CONCURRENT_MAX).collect().await;
    let mut cache = shell.probes();
    for (id, print, answer) in results {
        answers.insert(id.1.clone(), answer.clone());
        cache.0.insert(id, (print, answer));
    }
}

/// Changes with the body, and with whatever in the live object a dry run depends on.
fn fingerprint(body: &Value, live: Option<&Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    if let Some(live) = live {
        text(live, "/metadata/uid").hash(&mut hasher);
        sync::diff::normalize::live(live).to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// What is written of an application.
struct Change<'a> {
    saved: Option<&'a ApplicationStatus>,
    status: &'a ApplicationStatus,
    takes_operation: bool,
    finalizers: Option<Vec<String>>,
}

/// Writes what changed of the status, guarded by the version it was decided on. `operation` goes in the same write that
/// takes it over, so that it is neither lost nor done twice (guarantee C4).
async fn write(
    shell: &Shell,
    fence: &Fence,
    app: &Application,
    change: Change<'_>,
) -> Result<Application, ReconcileError> {
    let Change {
        saved,
        status,
        takes_operation,
        finalizers,
    } = change;
    let encode = |status: &ApplicationStatus| serde_json::to_value(status).unwrap_or_default();
    let before = saved.map_or_else(|| Value::Object(Map::new()), encode);
    let mut patch = json!({"metadata": {"resourceVersion": app.metadata.resource_version}});
    if let Some(map) = patch.as_object_mut() {
        if let Some(change) = merge_patch(&before, &encode(status)) {
            map.insert("status".into(), change);
        }
        if takes_operation {
            map.insert("operation".into(), Value::Null);
        }
    }
    let has_refresh = app
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|all| all.contains_key(REFRESH));
    if has_refresh && let Some(metadata) = patch.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".into(), json!({REFRESH: null}));
    }
    if let (Some(finalizers), Some(metadata)) = (
        finalizers,
        patch.pointer_mut("/metadata").and_then(Value::as_object_mut),
    ) {
        metadata.insert("finalizers".into(), json!(finalizers));
    }
    send(shell, fence, app, &patch).await
}

/// Sends a merge patch of an application and keeps the answer.
pub(super) async fn send(
    shell: &Shell,
    fence: &Fence,
    app: &Application,
    patch: &Value,
) -> Result<Application, ReconcileError> {
    let failed = |error: ApiError| ReconcileError {
        step: Step::Apply,
        class: error.class(),
        label: error.label(),
        source: Box::new(error),
    };
    if !fence.is_valid() {
        let message = "the lease was lost";
        return Err(ReconcileError {
            step: Step::Apply,
            class: Class::Conflict,
            label: "LeaseLost",
            source: message.into(),
        });
    }
    let key = ObjectKey::of(app);
    let api: Api<Application> = Api::namespaced(shell.context.client.clone(), &key.namespace);
    let params = PatchParams {
        field_manager: Some(STATUS_MANAGER.into()),
        ..PatchParams::default()
    };
    let written = api
        .patch(&key.name, &params, &Patch::Merge(patch))
        .await
        .map_err(|error| failed(error.into()))?;
    shell.recent().insert(key, Arc::new(written.clone()));
    Ok(written)
}

fn instance_of(shell: &Shell, app: &Application) -> String {
    let key = ObjectKey::of(app);
    instance_name(&key.namespace, &key.name, &shell.context.namespace)
}

fn log(app: &Application, decision: &Decision) {
    let name = app.metadata.name.as_deref().unwrap_or_default();
    for reason in &decision.reasons {
        tracing::debug!(application = %name, reason = reason.code, "{}.", reason.message);
    }
}
