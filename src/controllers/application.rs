//! The Application controller: renders sources, reads live objects, asks `sync::plan`, and carries the answer out.
//!
//! Woken by Applications, by the objects they track, by repositories that moved, and by the time a decision asked for.

mod deletion;
mod desired;
mod pass;
mod secrets;

use crate::{
    api::{
        app_project::AppProject,
        application::Application,
        well_known::{REFRESH, SKIP_RECONCILE},
    },
    controllers::{
        Context, RunError,
        drive::{Controller, Next, drive},
        queue::WorkQueue,
        retry::ReconcileError,
    },
    k8s::{
        store::{ObjectKey, Store},
        stores::Scope,
    },
    live::{discovery::Discovery, index::LiveIndex, writer::SyncWriter},
    repo::{
        PollOptions, Sources, SourcesOptions, UsedRepository,
        url::{RedactedUrl, loose_key},
    },
    server::{
        self,
        webhook_route::{WebhookSecret, WebhookState},
    },
    sync::{project, resource::instance_parts},
    telemetry::{application_metrics::ApplicationMetrics, metrics::ControllerKind},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    task::JoinSet,
    time::Instant,
};

/// Applications worked on at once.
const WORKERS: usize = 16;
/// Every application is looked at again after this long even when nothing changed (`timeout.reconciliation`).
const RESYNC: Duration = Duration::from_secs(120);

/// Push events on their way to [`Shell::hand_on_pushes`]; one more is dropped, and the poll sees the push.
const PUSHES_MAX: usize = 64;

/// What the passes over Applications share.
pub(super) struct Shell {
    context: Arc<Context>,
    apps: Store<Application>,
    projects: Store<AppProject>,
    sources: Sources,
    discovery: Discovery,
    index: LiveIndex,
    writer: SyncWriter,
    metrics: ApplicationMetrics,
    /// Applications as our own writes left them; the store may be behind.
    recent: Mutex<HashMap<ObjectKey, Arc<Application>>>,
    probes: Mutex<pass::ProbeCache>,
}

/// Starts the controller in `controllers`, and the server of push webhooks, where one is wanted, in `background`.
pub(super) async fn start(
    context: &Arc<Context>,
    controllers: &mut JoinSet<()>,
    background: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let directory = tempfile::Builder::new()
        .prefix("tidegate-repositories-")
        .tempdir()
        .map_err(RunError::RepositoryCache)?;
    let options = SourcesOptions::new(directory.path()).inherit(std::env::vars_os());
    let sources = Sources::new(options).map_err(|error| RunError::RepositoryCache(error.source))?;
    let secret = WebhookSecret::default();
    let (pushes, pushed) = mpsc::channel(PUSHES_MAX);
    if let Some(address) = context.args.webhook_addr {
        let listener = server::bind(address)
            .await
            .map_err(|source| RunError::Listen { address, source })?;
        let webhooks = WebhookState::new(sources.clone(), secret.clone(), false).announce(pushes.clone());
        let stopping = Arc::clone(context);
        background.spawn(async move {
            if let Err(error) = server::serve(listener, webhooks, async move { stopping.stopping().await }).await {
                tracing::error!(%address, %error, "The webhook server ended.");
            }
        });
    }
    let context = Arc::clone(context);
    controllers.spawn(async move {
        run(context, sources, secret, pushed).await;
        // The clones live as long as the controller.
        drop(directory);
    });
    Ok(())
}

/// Runs over sources of the caller's, without webhooks, until the process is to stop.
pub async fn run_with(context: Arc<Context>, sources: Sources) {
    let (_, pushed) = mpsc::channel(PUSHES_MAX);
    run(context, sources, WebhookSecret::default(), pushed).await;
}

/// Runs until the process is to stop.
async fn run(context: Arc<Context>, sources: Sources, secret: WebhookSecret, pushed: mpsc::Receiver<Vec<String>>) {
    let queue = Arc::new(WorkQueue::default());
    let shell = Arc::new(Shell::new(&context, sources, Arc::clone(&queue)));
    let mut background = JoinSet::new();
    shell.start(&secret, &queue, &mut background);
    background.spawn(Arc::clone(&shell).hand_on_pushes(pushed));
    tokio::select! {
        biased;
        () = shell.ready() => {}
        () = context.stopping() => return,
    }
    let controller = Controller {
        kind: ControllerKind::Application,
        workers: WORKERS,
        resync: RESYNC,
    };
    let everything = || shell.keys();
    let shared = Arc::clone(&shell);
    drive(&context, controller, queue, everything, move |key| {
        reconcile(Arc::clone(&shared), key)
    })
    .await;
}

impl Shell {
    fn new(context: &Arc<Context>, sources: Sources, queue: Arc<WorkQueue>) -> Self {
        let discovery = Discovery::new(context.client.clone());
        let control_plane = context.namespace.clone();
        let touched = Box::new(move |instance: &str| {
            let (namespace, name) = instance_parts(instance, &control_plane);
            queue.add(ObjectKey::new(namespace, name));
        });
        let index = LiveIndex::new(
            context.client.clone(),
            discovery.clone(),
            context.scope.clone(),
            touched,
        );
        let apps = context.stores.applications.clone();
        let listed = apps.clone();
        let metrics = ApplicationMetrics::new(Arc::new(move |visit| listed.for_each(|app| visit(app))), |url| {
            RedactedUrl::of(url).to_string()
        });
        context.metrics.collect(Box::new(metrics.clone()));
        Self {
            metrics,
            writer: SyncWriter::new(
                context.client.clone(),
                discovery.clone(),
                index.clone(),
                Arc::clone(&context.clock),
            ),
            context: Arc::clone(context),
            apps,
            projects: context.stores.projects.clone(),
            sources,
            discovery,
            index,
            recent: Mutex::default(),
            probes: Mutex::default(),
        }
    }

    /// Starts the watches and listens to them.
    fn start(self: &Arc<Self>, secret: &WebhookSecret, queue: &Arc<WorkQueue>, background: &mut JoinSet<()>) {
        let client = self.context.client.clone();
        let namespace = self.context.namespace.clone();
        let own = || Api::namespaced(client.clone(), &namespace);
        let applications = match (&self.context.scope, self.context.args.sync_namespaces.is_empty()) {
            (Scope::Cluster, false) => Api::all(client.clone()),
            (Scope::Cluster | Scope::Namespace(_), _) => own(),
        };
        let (shell, woken) = (Arc::downgrade(self), Arc::clone(queue));
        self.apps.listen(move |change| {
            woken.add(change.key.clone());
            if let Some(shell) = shell.upgrade() {
                shell.follow_repositories();
            }
        });
        let metrics = self.metrics.clone();
        self.apps.listen(move |change| {
            if let (Some(gone), None) = (&change.before, &change.after) {
                metrics.forget(gone);
            }
        });
        let (shell, woken) = (Arc::downgrade(self), Arc::clone(queue));
        self.projects.listen(move |change| {
            let Some(shell) = shell.upgrade() else { return };
            shell.apps.for_each(|app| {
                if project::name_of(&app.spec) == change.key.name {
                    woken.add(ObjectKey::of(app));
                }
            });
        });
        background.spawn(self.apps.clone().watch(applications, true));
        background.spawn(
            self.projects
                .clone()
                .watch(Api::namespaced(client.clone(), &namespace), true),
        );
        background.spawn(self.discovery.clone().follow());
        background.spawn(Arc::clone(self).follow_sources(Arc::clone(queue)));
        background.spawn(Arc::clone(self).follow_kinds(Arc::clone(queue)));
        let interval = Duration::from_secs(self.context.args.repo_poll_seconds.max(1));
        let shell = Arc::clone(self);
        background.spawn(async move {
            let jitter = Arc::clone(&shell);
            let options = PollOptions {
                interval,
                jitter: Arc::new(move || (jitter.context.jitter)()),
            };
            shell.sources.run_poller(options).await;
        });
        let (shell, own_namespace) = (Arc::clone(self), namespace.clone());
        background.spawn(async move {
            let client = shell.context.client.clone();
            secrets::follow_credentials(client, &own_namespace, false, |found| {
                shell.sources.set_credentials(found)
            })
            .await;
        });
        let (shell, own_namespace) = (Arc::clone(self), namespace.clone());
        background.spawn(async move {
            let client = shell.context.client.clone();
            secrets::follow_trust(client, &own_namespace, |trust| shell.sources.set_trust(trust)).await;
        });
        let secret = secret.clone();
        background.spawn(async move { secrets::follow_webhook_secret(client, &namespace, secret).await });
    }

    async fn ready(&self) {
        while let Err(error) = self.discovery.refresh().await {
            tracing::warn!(%error, "Kinds could not be discovered; trying again.");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.apps.ready().await;
        self.projects.ready().await;
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.apps.keys().into_iter().filter(|key| self.is_ours(key)).collect()
    }

    /// Whether Applications of this namespace are managed here.
    fn is_ours(&self, key: &ObjectKey) -> bool {
        let listed = &self.context.args.sync_namespaces;
        key.namespace == self.context.namespace
            || listed
                .iter()
                .any(|namespace| namespace == "*" || *namespace == key.namespace)
    }

    /// Says which repositories are in use.
    fn follow_repositories(&self) {
        let mut urls = BTreeSet::new();
        self.apps.for_each(|app| {
            if self.is_ours(&ObjectKey::of(app)) {
                let sources = app.spec.effective_sources().into_iter();
                urls.extend(sources.map(|source| UsedRepository {
                    url: source.repo_url.clone(),
                    project: project::name_of(&app.spec).to_owned(),
                }));
            }
        });
        self.sources.watch(urls);
    }

    /// A repository that moved wakes the applications that use it.
    async fn follow_sources(self: Arc<Self>, queue: Arc<WorkQueue>) {
        let mut changes = self.sources.subscribe();
        loop {
            match changes.recv().await {
                Ok(change) => self.apps.for_each(|app| {
                    if app
                        .spec
                        .effective_sources()
                        .iter()
                        .any(|source| change.concerns(&source.repo_url))
                    {
                        queue.add(ObjectKey::of(app));
                    }
                }),
                Err(RecvError::Lagged(_)) => self.keys().into_iter().for_each(|key| queue.add(key)),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// A push event that reaches a replica which does not lead is handed on as a user would: by asking for a refresh of
    /// the Applications concerned, one write each. It is no act of the controller, so it needs no lease; the leader
    /// does what is to be done.
    async fn hand_on_pushes(self: Arc<Self>, mut pushed: mpsc::Receiver<Vec<String>>) {
        while let Some(urls) = pushed.recv().await {
            if self.context.leadership.fence().is_some() {
                // The leader has asked the repository itself, and wakes its Applications when something moved.
                continue;
            }
            let keys: BTreeSet<String> = urls.iter().filter_map(|url| loose_key(url)).collect();
            for key in self.keys() {
                let Some(app) = self.apps.get(&key) else { continue };
                let sources = app.spec.effective_sources();
                let is_concerned = sources
                    .iter()
                    .any(|source| loose_key(&source.repo_url).is_some_and(|key| keys.contains(&key)));
                let is_asked = app
                    .metadata
                    .annotations
                    .as_ref()
                    .is_some_and(|all| all.contains_key(REFRESH));
                if !is_concerned || is_asked {
                    continue;
                }
                let api: Api<Application> = Api::namespaced(self.context.client.clone(), &key.namespace);
                let patch = Patch::Merge(json!({"metadata": {"annotations": {REFRESH: "normal"}}}));
                if let Err(error) = api.patch(&key.name, &PatchParams::default(), &patch).await {
                    tracing::warn!(application = %key, %error, "A push event could not be handed on to the leader.");
                }
            }
        }
    }

    /// A new kind may be what an application waits for.
    async fn follow_kinds(self: Arc<Self>, queue: Arc<WorkQueue>) {
        let mut changes = self.discovery.subscribe();
        while changes.changed().await.is_ok() {
            self.keys().into_iter().for_each(|key| queue.add(key));
        }
    }

    /// The newest known state of an application: the store's, or that of our own last write.
    fn newest(&self, key: &ObjectKey) -> Option<Arc<Application>> {
        let stored = self.apps.get(key);
        let mut recent = self.recent();
        let Some(stored) = stored else {
            recent.remove(key);
            return None;
        };
        match recent.get(key) {
            Some(own) if own.metadata.uid == stored.metadata.uid && version(own) > version(&stored) => {
                Some(Arc::clone(own))
            }
            _ => {
                recent.remove(key);
                Some(stored)
            }
        }
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<ObjectKey, Arc<Application>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn probes(&self) -> MutexGuard<'_, pass::ProbeCache> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(app: &Application) -> Option<u64> {
    app.metadata.resource_version.as_deref()?.parse().ok()
}

async fn reconcile(shell: Arc<Shell>, key: ObjectKey) -> Result<Next, ReconcileError> {
    if !shell.is_ours(&key) {
        return Ok(Next::Forget);
    }
    let Some(app) = shell.newest(&key) else {
        let instance = crate::sync::resource::instance_name(&key.namespace, &key.name, &shell.context.namespace);
        shell.index.release(&instance);
        shell.probes().forget(&instance);
        return Ok(Next::Forget);
    };
    let is_skipped = app
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(SKIP_RECONCILE))
        .is_some_and(|skip| skip == "true");
    if is_skipped {
        return Ok(Next::AwaitChange);
    }
    // A standby keeps its watches warm and writes nothing.
    let Some(fence) = shell.context.leadership.fence() else {
        return Ok(Next::AwaitChange);
    };
    if app.metadata.deletion_timestamp.is_some() {
        return deletion::proceed(&shell, &fence, &app).await;
    }
    let started = Instant::now();
    let result = pass::run(&shell, &fence, Arc::clone(&app)).await;
    shell.metrics.reconciled(&app, started.elapsed().as_secs_f64());
    result
}
