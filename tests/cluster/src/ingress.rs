//! A real nginx as the cluster's ingress, driven by a small ingress controller.
//!
//! It serves Ingresses of the class `nginx` and follows the published meaning of the canary annotations of ingress-nginx (prefix
//! `nginx.ingress.kubernetes.io`): header before cookie before weight, drawn for each request; a canary attaches to the host and path of a main Ingress; one
//! canary per rule; a canary without ready endpoints gets nothing; a stable Service without ready endpoints answers 503. Session affinity, TLS and all other
//! annotations are not read. Answers carry `X-Upstream: stable` or `canary`.
//!
//! It is also the Gateway `nginx` of HTTPRoutes (Gateway API), and says in their status that it has taken up a generation as soon as it has read it, which is
//! one propagation delay before it is in effect: the hardest case for those who believe a status.
//!
//! Endpoints are the ready ones of the Service's EndpointSlices, at the loopback twin of each pod's IP.
//!
//! # Delay
//! What the API says at one moment is in effect one propagation delay later, never earlier: a real ingress controller polls, throttles and reloads.
//! While nginx reloads, for a tenth of a second or two, its old workers answer beside the new ones, as the replicas of a real ingress do.
//! Changes in quick succession become one reload, so that each is up to [`GATHER_MAX`] plus [`RELOAD_GAP`] later than that.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use futures::{StreamExt as _, stream, stream::BoxStream};
use k8s_openapi::api::networking::v1::Ingress as IngressObject;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use self::{
    nginx::Nginx,
    routing::{Objects, is_served, routing},
};

mod canary;
mod http_route;
mod nginx;
mod render;
mod routing;

/// Longest time for which changes are gathered before they count as one.
pub const GATHER_MAX: Duration = Duration::from_millis(50);

/// Shortest time between two reloads: each costs a process and the clients' idle connections.
pub const RELOAD_GAP: Duration = Duration::from_millis(200);

/// The address written to the status of every Ingress served.
const STATUS_IP: &str = "127.0.0.1";

/// How the ingress is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for nginx's files, made by the supervisor.
    pub dir: PathBuf,
    /// How long after a change in the API nginx follows it.
    pub propagation_delay: Duration,
    /// Where nginx listens; port 0 picks one.
    pub listen: SocketAddr,
}

/// The running ingress; dropping it ends it.
#[derive(Debug)]
pub struct Ingress {
    address: SocketAddr,
    pid: u32,
    delay: Delay,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Starts nginx and the controller that writes its configuration.
///
/// # Errors
/// When nginx cannot be started.
pub async fn start(client: Client, options: Options) -> Result<Ingress> {
    let Options {
        dir,
        propagation_delay,
        listen,
    } = options;
    let delay = Delay::default();
    delay.set(propagation_delay);
    let nginx = Nginx::start(&dir, listen).await?;
    let (address, pid) = (nginx.address(), nginx.pid());
    let (stop, stopping) = oneshot::channel();
    let controller = Controller {
        client,
        nginx,
        delay: delay.clone(),
        due: VecDeque::new(),
        reloaded: Instant::now(),
    };
    let task = tokio::spawn(controller.run(stopping));
    Ok(Ingress {
        address,
        pid,
        delay,
        stop: Some(stop),
        task,
    })
}

impl Ingress {
    /// Where plain HTTP is served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the propagation delay of every change from now on.
    pub fn set_propagation_delay(&self, delay: Duration) {
        self.delay.set(delay);
    }

    /// Process ids of what it started.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        vec![self.pid]
    }

    /// Ends nginx and waits for it.
    pub async fn stop(mut self) {
        // Dropping the sender is the signal.
        self.stop.take();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The propagation delay, in milliseconds.
#[derive(Clone, Debug, Default)]
struct Delay(Arc<AtomicU64>);

impl Delay {
    fn set(&self, delay: Duration) {
        self.0
            .store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Follows the API and drives nginx.
struct Controller {
    client: Client,
    nginx: Nginx,
    delay: Delay,
    /// Configurations and when each takes effect, the next one first.
    due: VecDeque<(Instant, String)>,
    reloaded: Instant,
}

/// The objects as seen now.
struct Stores {
    ingresses: Store<IngressObject>,
    services: Store<k8s_openapi::api::core::v1::Service>,
    slices: Store<k8s_openapi::api::discovery::v1::EndpointSlice>,
    routes: Store<DynamicObject>,
}

impl Controller {
    async fn run(mut self, mut stopping: oneshot::Receiver<()>) {
        let (ingresses, ingress_changes) = watch(self.client.clone());
        let (services, service_changes) = watch(self.client.clone());
        let (slices, slice_changes) = watch(self.client.clone());
        let (routes, route_changes) = watch_kind(self.client.clone(), http_routes());
        let stores = Stores {
            ingresses,
            services,
            slices,
            routes,
        };
        let changes = [ingress_changes, service_changes, slice_changes, route_changes];
        let mut changes = stream::select_all(changes);
        // When the oldest change not yet rendered came in.
        let mut changed: Option<Instant> = None;
        loop {
            let gathered = changed.map(|changed| changed + GATHER_MAX);
            let reload = self.due.front().map(|(due, _)| (*due).max(self.reloaded + RELOAD_GAP));
            tokio::select! {
                Some(()) = changes.next() => { changed.get_or_insert_with(Instant::now); }
                () = until(gathered) => {
                    let due = changed.take().unwrap_or_else(Instant::now) + self.delay.get();
                    self.render(&stores, due);
                    self.write_route_statuses(&stores).await;
                }
                () = until(reload) => {
                    self.reload();
                    self.write_statuses(&stores).await;
                }
                error = self.nginx.ended() => {
                    tracing::error!("The ingress is gone: {error:#}");
                    return;
                }
                _ = &mut stopping => break,
            }
        }
        self.nginx.stop().await;
    }

    /// Queues the configuration the objects ask for now, if it differs from the newest one.
    fn render(&mut self, stores: &Stores, due: Instant) {
        let objects = stores.objects();
        let text = render::render(&routing(&objects), self.nginx.settings());
        // A delay that was made shorter must not let a newer state overtake an older one.
        let due = self.due.back().map_or(due, |(before, _)| due.max(*before));
        self.due.push_back((due, text));
    }

    /// Takes the newest configuration that is due into effect.
    fn reload(&mut self) {
        let now = Instant::now();
        let mut newest = None;
        while let Some((_, text)) = self.due.pop_front_if(|(due, _)| *due <= now) {
            newest = Some(text);
        }
        let Some(text) = newest else { return };
        match self.nginx.apply(text) {
            Ok(true) => self.reloaded = Instant::now(),
            Ok(false) => {}
            Err(error) => tracing::error!("nginx was not reloaded: {error:#}"),
        }
    }

    /// Says in the status of each route served that its generation was taken up.
    async fn write_route_statuses(&self, stores: &Stores) {
        for route in stores
            .routes
            .state()
            .into_iter()
            .filter(|route| http_route::is_served(route))
        {
            let Some(patch) = http_route::status(&route) else {
                continue;
            };
            let (namespace, name) = (route.namespace().unwrap_or_default(), route.name_any());
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &http_routes());
            if let Err(error) = api
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                tracing::debug!(namespace, name, %error, "The status of an HTTPRoute was not written.");
            }
        }
    }

    /// Says in the status of each Ingress served where it is served: what Argo CD and people take for healthy.
    async fn write_statuses(&self, stores: &Stores) {
        let unwritten = stores
            .ingresses
            .state()
            .into_iter()
            .filter(|ingress| is_served(ingress) && !has_address(ingress));
        let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": STATUS_IP}]}}});
        for ingress in unwritten {
            let (namespace, name) = (ingress.namespace().unwrap_or_default(), ingress.name_any());
            let api = Api::<IngressObject>::namespaced(self.client.clone(), &namespace);
            if let Err(error) = api
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                tracing::debug!(namespace, name, %error, "The status of an Ingress was not written.");
            }
        }
    }
}

impl Stores {
    fn objects(&self) -> Objects {
        Objects {
            ingresses: self.ingresses.state(),
            services: self.services.state(),
            slices: self.slices.state(),
            routes: self.routes.state(),
        }
    }
}

fn has_address(ingress: &IngressObject) -> bool {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let addresses = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    addresses.iter().any(|address| address.ip.as_deref() == Some(STATUS_IP))
}

/// Waits for the instant; for ever without one.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn http_routes() -> ApiResource {
    ApiResource {
        group: "gateway.networking.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "gateway.networking.k8s.io/v1".to_owned(),
        kind: "HTTPRoute".to_owned(),
        plural: "httproutes".to_owned(),
    }
}

type Changes = BoxStream<'static, ()>;

/// A store of all objects of a kind, and a tick for each change of it.
fn watch<K>(client: Client) -> (Store<K>, Changes)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    store_of(Api::all(client), ())
}

fn watch_kind(client: Client, kind: ApiResource) -> (Store<DynamicObject>, Changes) {
    store_of(Api::all_with(client, &kind), kind)
}

fn store_of<K>(api: Api<K>, kind: K::DynamicType) -> (Store<K>, Changes)
where
    K: Resource<DynamicType: Clone + std::hash::Hash + Eq + Send + Sync>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let writer = reflector::store::Writer::new(kind);
    let store = writer.as_reader();
    let resource = api.resource_url().to_owned();
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let changes = reflector::reflector(writer, events).filter_map(move |event| {
        if let Err(error) = &event {
            tracing::debug!(%error, resource, "A watch was interrupted.");
        }
        std::future::ready(event.is_ok().then_some(()))
    });
    (store, changes.boxed())
}
