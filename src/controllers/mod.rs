//! Runs all controllers in one process: what they share, readiness, and a graceful stop.
//!
//! Every replica watches and plans; only the leader applies. So a standby's stores are warm, and it takes over as soon
//! as it holds the lease.

pub mod admission;
pub mod analysis_run;
pub mod application;
pub mod args;
pub mod drive;
pub mod experiment;
pub mod probes;
pub mod queue;
pub mod retry;
pub mod rollout;

use crate::{
    clock::{SharedClock, SystemClock},
    k8s::{
        apply::{self, Applied, ApplyError, Writer},
        client::{self, ClientError, ClientOptions},
        error::ApiError,
        foreign::ForeignStores,
        lease::{Election, Fence, Leadership, LeaseOptions, lease_name},
        ledger::{Ledger, Subject},
        object_metrics::ObjectMetrics,
        overrides::Overrides,
        progress_metrics::ProgressMetrics,
        stores::{Scope, Stores},
    },
    plan::{EventRecord, ObjectRef, Plan},
    rollout::snapshot::{Settings, Snapshot},
    sync,
    telemetry::{
        logging::{self, FilterError},
        metrics::{EventLabels, Metrics},
        process_metrics::ProcessMetrics,
    },
};
use args::{ControllerArgs, ControllerName};
use kube::Client;
use retry::ReconcileError;
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

/// After the signal to stop, passes under way get this long to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// What all controllers share.
pub struct Context {
    /// Client of the cluster's API server.
    pub client: Client,
    /// Which namespaces are watched.
    pub scope: Scope,
    /// The controller's own namespace.
    pub namespace: String,
    /// What the API server last said.
    pub stores: Stores,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// Carries out plans.
    pub writer: Writer,
    /// Our own writes that the stores may not show yet.
    pub ledger: Ledger,
    /// The time.
    pub clock: SharedClock,
    /// What decisions depend on.
    pub settings: Arc<Settings>,
    /// The command line.
    pub args: ControllerArgs,
    /// Metrics.
    pub metrics: Metrics,
    /// Numbers from 0 to 1 that spread retries.
    pub jitter: Box<dyn Fn() -> f64 + Send + Sync>,
    /// Decides about a Rollout.
    pub planner: Planner,
    /// Decides about an Application.
    pub sync_planner: SyncPlanner,
    stop: watch::Receiver<bool>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("namespace", &self.namespace)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Puts together what controllers share; nothing is watched yet.
    pub fn new(
        client: Client,
        args: ControllerArgs,
        leadership: Leadership,
        clock: SharedClock,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Self::of_replica(Replica::of_this_process(), client, args, leadership, clock, stop)
    }

    /// The same for a replica that is not named after this process: a simulation runs several in one.
    pub fn of_replica(
        replica: Replica,
        client: Client,
        args: ControllerArgs,
        leadership: Leadership,
        clock: SharedClock,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let namespace = own_namespace(&client, &args);
        let stores = Stores {
            foreign: ForeignStores::new(&args.kinds.choices()),
            ..Stores::default()
        };
        let metrics = Metrics::new();
        let requests = metrics.requests.clone();
        let client = client::observed(client, move |method, uri, status_code| {
            requests.count(
                method.as_str(),
                uri.path(),
                uri.query().unwrap_or_default(),
                status_code,
            );
        });
        metrics.collect(Box::new(ObjectMetrics(stores.clone())));
        metrics.collect(Box::new(ProgressMetrics {
            stores: stores.clone(),
            clock: Arc::clone(&clock),
        }));
        Arc::new(Self {
            scope: args.scope(&namespace),
            writer: Writer::new(client.clone(), Arc::clone(&clock), replica.name),
            settings: Arc::new(args.settings()),
            ledger: Ledger::default(),
            jitter: replica.jitter,
            planner: replica.planner,
            sync_planner: replica.sync_planner,
            client,
            namespace,
            stores,
            leadership,
            clock,
            args,
            metrics,
            stop,
        })
    }

    /// Carries out a plan made for `subject`, and notes our own writes so that the next look waits for them.
    pub async fn apply(&self, fence: &Fence, subject: &Subject, plan: &Plan) -> Result<Applied, ApplyError> {
        let result = apply::apply(&self.writer, fence, plan).await;
        let applied = match &result {
            Ok(applied) => applied,
            Err(error) => &error.applied,
        };
        self.ledger.record(subject, applied.writes.iter().cloned());
        match &result {
            Ok(_) => self.count_events(&plan.events),
            // Should its event be late or lost, every pass would run into the same conflict, its first writes done
            // over and over.
            Err(error) => {
                if let Some(target) = error.outdated()
                    && let Err(error) = self.stores.reread(&self.client, target).await
                {
                    tracing::debug!(%target, %error, "An object that changed under us could not be read again.");
                }
            }
        }
        result
    }

    /// Reads objects again that the watch does not show as we wrote them, and waits for it no longer.
    pub async fn reread(&self, subject: &Subject, targets: &[ObjectRef]) -> Result<(), ReconcileError> {
        for target in targets {
            let read = self.stores.reread(&self.client, target).await;
            read.map_err(|error| ReconcileError::from_reading(target, ApiError::from(error)))?;
        }
        self.ledger.forget(subject);
        Ok(())
    }

    /// Records events outside a plan, about a pass that failed.
    pub async fn record(&self, events: &[EventRecord]) {
        self.writer.events().record(events).await;
        self.count_events(events);
    }

    /// Kinds whose first list has not arrived, of every controller that runs.
    pub fn unready(&self) -> Vec<&'static str> {
        let mut kinds = self.stores.unready();
        if self.args.runs(ControllerName::Application) {
            kinds.extend(self.stores.unready_to_sync());
        }
        kinds
    }

    /// Ends when the process is to stop.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        // An error means that whoever could stop us is gone: stop as well.
        let _stopped = stop.wait_for(|stop| *stop).await;
    }

    fn count_events(&self, events: &[EventRecord]) {
        for event in events.iter().filter(|event| event.about.kind == "Rollout") {
            self.metrics.event(&EventLabels {
                namespace: event.about.namespace.clone().unwrap_or_default(),
                name: event.about.name.clone(),
                r#type: crate::k8s::action::events::kind_text(event.kind).to_owned(),
                reason: event.reason.clone(),
            });
        }
    }
}

/// Decides about a Rollout. A plain function, so that a test of the simulator's judgement can put a defect in its place.
pub type Planner = fn(&Snapshot<'_>) -> Plan;

/// Decides about an Application; for the same reason.
pub type SyncPlanner = fn(&sync::Snapshot<'_>) -> sync::Outcome;

/// What tells one replica from another.
pub struct Replica {
    /// Its name, in events.
    pub name: String,
    /// Numbers from 0 to 1 that spread retries.
    pub jitter: Box<dyn Fn() -> f64 + Send + Sync>,
    /// `rollout::plan`.
    pub planner: Planner,
    /// `sync::plan`.
    pub sync_planner: SyncPlanner,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Replica {
    /// Named by the environment, with the machine's randomness.
    pub fn of_this_process() -> Self {
        Self {
            name: instance_name(),
            jitter: Box::new(random_fraction),
            planner: crate::rollout::plan,
            sync_planner: sync::plan,
        }
    }
}

/// The process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `--loglevel` is not one.
    #[error(transparent)]
    LogFilter(#[from] FilterError),
    /// A port is taken.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There is no place for clones of Git repositories.
    #[error("failed to make a directory for clones of Git repositories: {0}")]
    RepositoryCache(#[source] std::io::Error),
    /// Signals cannot be received.
    #[error("failed to wait for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The lease would end before we notice that we cannot renew it.
    #[error(
        "the lease duration ({duration}s) must be longer than the renew deadline ({deadline}s), and that longer than the retry period ({retry}s)"
    )]
    LeaseTimes {
        /// `--leader-election-lease-duration`.
        duration: u64,
        /// `--leader-election-renew-deadline`.
        deadline: u64,
        /// `--leader-election-retry-period`.
        retry: u64,
    },
}

/// Runs all controllers until a signal to stop, in the cluster that `args` and `overrides` name.
pub async fn run(args: ControllerArgs, overrides: &Overrides) -> Result<(), RunError> {
    logging::start(args.logformat, &args.loglevel)?;
    for flag in args.ignored.given() {
        tracing::warn!(flag, "The flag has no meaning here and is ignored.");
    }
    let options = ClientOptions {
        kubeconfig: args.kubeconfig.as_deref(),
        context: args.context.as_deref(),
        overrides: Some(overrides),
    };
    let client = client::connect(&options).await?;
    let mut terminated = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let stop = async move {
        tokio::select! {
            _ = terminated.recv() => tracing::info!("Stopping on SIGTERM."),
            _ = interrupted.recv() => tracing::info!("Stopping on SIGINT."),
        }
    };
    serve(client, args, stop).await
}

/// Runs all controllers with this client until `stop` ends; then finishes the passes under way and gives the lease back.
pub async fn serve(client: Client, args: ControllerArgs, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let clock: SharedClock = Arc::new(SystemClock);
    let (stop_sender, stop_receiver) = watch::channel(false);
    let (release_sender, release) = tokio::sync::oneshot::channel::<()>();
    let (leadership, election) = if args.leader_elect {
        let options = lease_options(&own_namespace(&client, &args), &args)?;
        let (election, leadership) = Election::new(client.clone(), options, Arc::clone(&clock));
        // A dropped sender means that `serve` itself was dropped: release all the same.
        let released = async move { drop(release.await) };
        (leadership, Some(tokio::spawn(election.run(released))))
    } else {
        (Leadership::permanent(), None)
    };
    let context = Context::new(client, args, leadership, clock, stop_receiver);
    // Not for a replica of a simulation: several run in one process.
    context.metrics.collect(Box::new(ProcessMetrics));
    let mut background = JoinSet::new();
    probes::listen(&context, &mut background).await?;
    admission::listen(&context, &mut background).await?;
    context.stores.start(&context.client, &context.scope, &mut background);
    let mut controllers = start_controllers(&context);
    if context.args.runs(ControllerName::Application) {
        application::start(&context, &mut controllers, &mut background).await?;
    }
    tracing::info!(namespace = %context.namespace, scope = ?context.scope, "Started.");
    stop.await;
    stop_sender.send_replace(true);
    let drained = async { while controllers.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("Passes under way did not end in time; they are cut off.");
    }
    drop(controllers);
    if release_sender.send(()).is_ok()
        && let Some(election) = election
        && let Err(error) = election.await
    {
        tracing::warn!(%error, "The election ended badly.");
    }
    tracing::info!("Stopped.");
    Ok(())
}

fn start_controllers(context: &Arc<Context>) -> JoinSet<()> {
    let mut controllers = JoinSet::new();
    if context.args.runs(ControllerName::Rollout) {
        controllers.spawn(rollout::run(Arc::clone(context)));
    }
    if context.args.runs(ControllerName::Analysis) {
        controllers.spawn(analysis_run::run(Arc::clone(context)));
    }
    if context.args.runs(ControllerName::Experiment) {
        controllers.spawn(experiment::run(Arc::clone(context)));
    }
    controllers
}

fn own_namespace(client: &Client, args: &ControllerArgs) -> String {
    args.namespace
        .clone()
        .unwrap_or_else(|| client.default_namespace().to_owned())
}

fn lease_options(own_namespace: &str, args: &ControllerArgs) -> Result<LeaseOptions, RunError> {
    let (duration, deadline, retry) = (
        args.leader_election_lease_duration,
        args.leader_election_renew_deadline,
        args.leader_election_retry_period,
    );
    if duration <= deadline || deadline <= retry || retry == 0 {
        return Err(RunError::LeaseTimes {
            duration,
            deadline,
            retry,
        });
    }
    Ok(LeaseOptions {
        namespace: args
            .leader_election_namespace
            .clone()
            .unwrap_or_else(|| own_namespace.to_owned()),
        name: lease_name(&args.instance_id),
        identity: format!("{}_{:016x}", instance_name(), random_bits()),
        duration: Duration::from_secs(duration),
        renew_deadline: Duration::from_secs(deadline),
        retry_period: Duration::from_secs(retry),
    })
}

/// The pod's name where there is one.
fn instance_name() -> String {
    let names = ["POD_NAME", "HOSTNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok());
    names
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "tidegate".to_owned())
}

/// Randomly keyed hashing is the one source of randomness in the standard library; good enough to tell replicas apart.
fn random_bits() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

fn random_fraction() -> f64 {
    f64::from(u32::try_from(random_bits() >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
