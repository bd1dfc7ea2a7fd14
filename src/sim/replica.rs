//! One replica of the real controllers, wired as `controllers::serve` does, without ports and signals.

use super::{
    api::SimApi,
    clock::VirtualClock,
    dice::Dice,
    models::{git::GitServer, metrics::Metrics},
};
use crate::{
    clock::SharedClock,
    controllers::{
        self, Context, Planner, SyncPlanner, analysis_run, application, args::ControllerArgs, experiment, rollout,
    },
    k8s::{
        lease::{Election, Leadership, LeaseOptions, lease_name},
        stores::Stores,
    },
    provider::{Provider, Providers, desk::Instruments, job::Jobs},
    repo::Sources,
};
use axum::http::Request;
use clap::{Args as _, FromArgMatches as _};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, client::Body};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

/// Passes under way get this long to end when a replica stops in good order; as the real process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Namespace of the controllers.
pub const NAMESPACE: &str = "tidegate";

/// Alters the body of a write before it is sent; it is given the path.
pub type Tamper = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;

/// Where a defect can be put into the controllers from outside, to prove that it is noticed.
#[derive(Clone)]
pub struct Seams {
    /// Decides about a Rollout.
    pub planner: Planner,
    /// Decides about an Application.
    pub sync_planner: SyncPlanner,
    /// Stands between the controllers and the server.
    pub tamper: Option<Tamper>,
}

impl Default for Seams {
    fn default() -> Self {
        Self {
            planner: crate::rollout::plan,
            sync_planner: crate::sync::plan,
            tamper: None,
        }
    }
}

impl std::fmt::Debug for Seams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seams").finish_non_exhaustive()
    }
}

impl Seams {
    fn client(&self, client: Client) -> Client {
        let Some(tamper) = self.tamper.clone() else {
            return client;
        };
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, tamper) = (client.clone(), Arc::clone(&tamper));
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await?;
                let body = match serde_json::from_slice(&bytes) {
                    Ok(mut value) => {
                        tamper(parts.uri.path(), &mut value);
                        Body::from(serde_json::to_vec(&value).unwrap_or_default())
                    }
                    Err(_) => Body::from(bytes),
                };
                client.send(Request::from_parts(parts, body)).await
            }
        });
        Client::new(service, NAMESPACE)
    }
}

/// A replica, running or not.
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) clock: Arc<VirtualClock>,
    dice: Dice,
    running: Option<Running>,
    starts: u64,
}

struct Running {
    ears: Ears,
    stop: watch::Sender<bool>,
    release: oneshot::Sender<()>,
    controllers: JoinSet<()>,
    background: JoinSet<()>,
}

/// Lets the stores of a replica go with it: what listens to them holds them too, which in a process of its own does no
/// harm.
struct Ears(Stores);

impl Drop for Ears {
    fn drop(&mut self) {
        self.0.forget_listeners();
    }
}

impl Replica {
    /// A replica that is not running. Must be made inside the runtime.
    pub(super) fn new(index: usize, start: Timestamp, dice: &Dice) -> Self {
        let name = format!("tidegate-{index}");
        Self {
            clock: Arc::new(VirtualClock::starting_at(start)),
            dice: dice.fork(&name),
            name,
            running: None,
            starts: 0,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn jump(&self, by: SignedDuration) {
        self.clock.jump(by);
    }

    /// Starts it, unless it runs; with Applications from `git`, if there is one. Must be called inside the runtime.
    pub(super) fn start(
        &mut self,
        api: &SimApi,
        args: &ControllerArgs,
        metrics: &Metrics,
        seams: &Seams,
        git: Option<&GitServer>,
    ) {
        if self.is_running() {
            return;
        }
        self.starts += 1;
        let client = seams.client(api.client(&self.name, NAMESPACE));
        let clock: SharedClock = Arc::clone(&self.clock) as SharedClock;
        let (stop, stopped) = watch::channel(false);
        let (release, released) = oneshot::channel::<()>();
        let mut background = JoinSet::new();
        let leadership = if args.leader_elect {
            let options = lease_options(args, format!("{}_{}", self.name, self.starts));
            let (election, leadership) = Election::new(client.clone(), options, Arc::clone(&clock));
            background.spawn(election.run(async move { drop(released.await) }));
            leadership
        } else {
            Leadership::permanent()
        };
        let jitter = Mutex::new(self.dice.fork(&format!("jitter-{}", self.starts)));
        let replica = controllers::Replica {
            name: self.name.clone(),
            jitter: Box::new(move || jitter.lock().unwrap_or_else(PoisonError::into_inner).fraction()),
            planner: seams.planner,
            sync_planner: seams.sync_planner,
        };
        let context = Context::of_replica(
            replica,
            client.clone(),
            args.clone(),
            leadership,
            Arc::clone(&clock),
            stopped,
        );
        context.stores.start(&context.client, &context.scope, &mut background);
        let simulated: [(_, Box<dyn Provider>); 3] = [
            ("prometheus", Box::new(metrics.clone())),
            ("web", Box::new(metrics.clone())),
            ("job", Box::new(Jobs::new(client.clone(), None))),
        ];
        let providers = Providers::from(simulated);
        let instruments = Arc::new(Instruments::new(client, clock, providers));
        let ears = Ears(context.stores.clone());
        let mut controllers = JoinSet::new();
        controllers.spawn(rollout::run(Arc::clone(&context)));
        controllers.spawn(experiment::run(Arc::clone(&context)));
        controllers.spawn(analysis_run::run_with(Arc::clone(&context), instruments));
        if let Some(git) = git {
            // Its clones are gone with the process before.
            controllers.spawn(application::run_with(context, Sources::simulated(git.machine())));
        }
        self.running = Some(Running {
            ears,
            stop,
            release,
            controllers,
            background,
        });
    }

    /// Kills it: no answer reaches it any more and nothing it does reaches the server, from this moment on.
    pub(super) fn kill(&mut self, api: &SimApi) {
        if let Some(running) = self.running.take() {
            api.cut(&self.name);
            drop(running);
        }
    }

    /// Stops it in good order; that takes its time. Must be called inside the runtime.
    pub(super) fn stop(&mut self) {
        let Some(Running {
            ears,
            stop,
            release,
            mut controllers,
            mut background,
        }) = self.running.take()
        else {
            return;
        };
        tokio::spawn(async move {
            stop.send_replace(true);
            let drained = async { while controllers.join_next().await.is_some() {} };
            let _in_time = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
            drop(controllers);
            drop(ears);
            if release.send(()).is_ok() {
                // The election ends once it has given the lease back; watches do not end.
                let _released = background.join_next().await;
            }
        });
    }
}

fn lease_options(args: &ControllerArgs, identity: String) -> LeaseOptions {
    LeaseOptions {
        namespace: NAMESPACE.to_owned(),
        name: lease_name(&args.instance_id),
        identity,
        duration: Duration::from_secs(args.leader_election_lease_duration),
        renew_deadline: Duration::from_secs(args.leader_election_renew_deadline),
        retry_period: Duration::from_secs(args.leader_election_retry_period),
    }
}

/// What a controller without any argument is given; the environment is not looked at.
pub(super) fn default_args() -> ControllerArgs {
    static ARGS: OnceLock<ControllerArgs> = OnceLock::new();
    ARGS.get_or_init(read_defaults).clone()
}

#[expect(clippy::expect_used, reason = "every argument has a default")]
fn read_defaults() -> ControllerArgs {
    let command = ControllerArgs::augment_args(clap::Command::new("controller"));
    let command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let matches = command.try_get_matches_from(["controller"]);
    let args = matches.and_then(|matches| ControllerArgs::from_arg_matches(&matches));
    let mut args = args.expect("invariant: every argument has a default");
    args.namespace = Some(NAMESPACE.to_owned());
    args
}
