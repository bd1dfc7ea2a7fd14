//! The life of one pod, from its node to its end: what a kubelet and the containers do.

use std::{collections::BTreeMap, io, net::SocketAddrV4, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use tokio::{net::TcpListener, sync::watch};

use super::{
    Shared,
    address::Lease,
    image::Behaviour,
    job,
    metrics::{Counters, Registration, labels},
    server::{App, Server},
    status::{self, ContainerState, PodState},
};

/// Port of a pod whose containers name none.
const PORT_DEFAULT: u16 = 8080;

/// How long requests in flight may go on after a pod stopped listening.
const IN_FLIGHT_PATIENCE: Duration = Duration::from_secs(10);

/// First and longest wait before a crashed container is started again (a kubelet takes 10 s and 300 s).
const BACK_OFF_SECONDS: (u64, u64) = (2, 60);

/// Wait before a failed call to the API is repeated, and how often: together about a minute, as long as an API server may be away.
const API_RETRY: Duration = Duration::from_millis(250);
const API_RETRIES_MAX: u32 = 240;

/// Wait before binding a pod's port is tried again.
const BIND_RETRY: Duration = Duration::from_secs(1);

/// What the API says about a pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It should run.
    Live,
    /// Its phase is terminal (set here, or by an eviction), but the object is there.
    Finished,
    /// It is being deleted and has this long.
    Terminating { grace: Duration },
    /// The object is gone.
    Gone,
}

impl Life {
    /// Reads it from the object.
    pub(super) fn of(pod: &Pod) -> Self {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let finished = matches!(phase, Some("Succeeded" | "Failed"));
        if pod.metadata.deletion_timestamp.is_some() {
            let grace = pod
                .metadata
                .deletion_grace_period_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            let grace = if finished { 0 } else { grace.unwrap_or(0) };
            return Self::Terminating {
                grace: Duration::from_secs(grace),
            };
        }
        if finished { Self::Finished } else { Self::Live }
    }
}

/// Plays one pod until its object is gone or needs nothing more.
pub(super) struct Actor {
    shared: Arc<Shared>,
    api: Api<Pod>,
    pod: watch::Receiver<Arc<Pod>>,
    life: watch::Receiver<Life>,
}

/// Why a wait ended.
enum Woken {
    /// What was waited for has happened.
    Done,
    /// The pod is no longer [`Life::Live`].
    Ended,
}

impl Actor {
    pub(super) fn new(
        shared: Arc<Shared>,
        client: Client,
        pod: watch::Receiver<Arc<Pod>>,
        life: watch::Receiver<Life>,
    ) -> Self {
        let api = Api::namespaced(client, &pod.borrow().namespace().unwrap_or_default());
        Self { shared, api, pod, life }
    }

    pub(super) async fn run(mut self) {
        if self.current_life() == Life::Live {
            self.live().await;
        }
        let _ = self
            .life
            .wait_for(|life| matches!(life, Life::Terminating { .. } | Life::Gone))
            .await;
        if matches!(self.current_life(), Life::Terminating { .. }) {
            self.delete().await;
        }
    }

    async fn live(&mut self) {
        let pod = self.current_pod();
        let status = pod.status.as_ref();
        let preferred = status.and_then(|status| status.pod_ip.as_deref()?.parse().ok());
        let Some(lease) = self.shared.addresses.lease(preferred) else {
            tracing::error!(pod = pod.name_any(), "No pod IP is free, so the pod stays Pending.");
            return;
        };
        match restart_policy(&pod) {
            "Always" => self.serve(&pod, &lease).await,
            policy => self.run_to_completion(&pod, &lease, policy).await,
        }
    }

    /// A pod that serves until it is told to end.
    async fn serve(&mut self, pod: &Pod, lease: &Lease) {
        let containers = pod
            .spec
            .as_ref()
            .map(|spec| spec.containers.as_slice())
            .unwrap_or_default();
        let apps: Vec<_> = containers
            .iter()
            .map(|container| ContainerApp::of(pod, container))
            .collect();
        let mut state = initial_state(pod, lease);
        if apps.iter().any(|app| app.behaviour.crash) {
            self.crash_for_ever(state, &apps).await;
            return;
        }
        let ready_after = apps
            .iter()
            .map(|app| app.behaviour.ready_after)
            .max()
            .unwrap_or_default();
        if !ready_after.is_zero() {
            state.containers = all_containers(&apps, &ContainerState::Running { ready: false });
            self.write_status(&state).await;
            if matches!(self.until_ended(tokio::time::sleep(ready_after)).await, Woken::Ended) {
                return;
            }
        }
        let Some(server) = self.start_server(pod, &apps, lease).await else {
            return;
        };
        let registrations = self.register(pod, &apps, lease);
        state.containers = all_containers(&apps, &ContainerState::Running { ready: true });
        self.write_status(&state).await;
        self.keep_status(&state).await;
        self.drain().await;
        server.stop(IN_FLIGHT_PATIENCE).await;
        drop(registrations);
    }

    /// Waits for the end of a serving pod; writes the status again when a readiness gate changes.
    async fn keep_status(&mut self, state: &PodState) {
        let gated = self
            .current_pod()
            .spec
            .as_ref()
            .is_some_and(|spec| spec.readiness_gates.is_some());
        loop {
            let changed = tokio::select! {
                () = ended(&mut self.life) => false,
                changed = self.pod.changed(), if gated => changed.is_ok(),
            };
            if !changed {
                return;
            }
            let pod = self.current_pod();
            if status::shows_ready(&pod) != status::readiness_gates_open(&pod) {
                self.write_status(state).await;
            }
        }
    }

    /// Goes on serving while the endpoints and the data plane learn that the pod ends, as a preStop sleep does:
    /// the shorter of the pod's grace period and its own sleep, else the cluster's drain.
    async fn drain(&mut self) {
        let Life::Terminating { grace } = self.current_life() else {
            return;
        };
        let drain = pre_stop_sleep(&self.current_pod()).unwrap_or_else(|| self.shared.drain());
        let drain = grace.min(drain);
        let _ = tokio::time::timeout(drain, self.life.wait_for(|life| *life == Life::Gone)).await;
    }

    async fn start_server(&mut self, pod: &Pod, apps: &[ContainerApp<'_>], lease: &Lease) -> Option<Server> {
        loop {
            match bind(pod, apps, lease).await {
                Ok(listeners) => return Some(Server::start(listeners)),
                Err(error) => {
                    tracing::warn!(pod = pod.name_any(), %error, "A pod could not bind its port.");
                    if matches!(self.until_ended(tokio::time::sleep(BIND_RETRY)).await, Woken::Ended) {
                        return None;
                    }
                }
            }
        }
    }

    fn register(&self, pod: &Pod, apps: &[ContainerApp<'_>], lease: &Lease) -> Vec<Registration> {
        let label = |name: &str| pod.labels().get(name).map(String::as_str).unwrap_or_default();
        let app_name = ["app", "app.kubernetes.io/name"]
            .map(label)
            .into_iter()
            .find(|name| !name.is_empty());
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let registered = apps.iter().filter(|app| !app.ports.is_empty()).map(|app| {
            let instance = format!(
                "{}:{}",
                lease.pod_ip(),
                app.ports.first().copied().unwrap_or(PORT_DEFAULT)
            );
            let labels = labels(&[
                ("namespace", &namespace),
                ("pod", &name),
                ("app", app_name.unwrap_or_default()),
                ("rollouts_pod_template_hash", label("rollouts-pod-template-hash")),
                ("instance", &instance),
                ("version", &app.behaviour.version),
            ]);
            self.shared.registry.register(labels, Arc::clone(&app.counters))
        });
        registered.collect()
    }

    async fn crash_for_ever(&mut self, mut state: PodState, apps: &[ContainerApp<'_>]) {
        let mut back_off_seconds = BACK_OFF_SECONDS.0;
        loop {
            let crashing = apps.iter().filter(|app| app.behaviour.crash);
            let crash = ContainerState::CrashLoop {
                exit_code: 1,
                back_off_seconds,
            };
            state.containers = crashing.map(|app| (app.name.to_owned(), crash.clone())).collect();
            self.write_status(&state).await;
            let wait = tokio::time::sleep(Duration::from_secs(back_off_seconds));
            if matches!(self.until_ended(wait).await, Woken::Ended) {
                return;
            }
            state.restarts += 1;
            back_off_seconds = (back_off_seconds * 2).min(BACK_OFF_SECONDS.1);
        }
    }

    /// A Job pod: runs the command of its first container to the end; `OnFailure` repeats it after failures.
    async fn run_to_completion(&mut self, pod: &Pod, lease: &Lease, policy: &str) {
        let Some(container) = pod.spec.as_ref().and_then(|spec| spec.containers.first()) else {
            return;
        };
        let mut state = initial_state(pod, lease);
        self.write_status(&state).await;
        let mut back_off_seconds = BACK_OFF_SECONDS.0;
        loop {
            let mut life = self.life.clone();
            let ended = tokio::select! {
                ended = run_container(pod, container, lease) => ended,
                () = ended(&mut life) => killed(),
            };
            let restart =
                policy == "OnFailure" && ended.exit_code != 0 && !ended.timed_out && self.current_life() == Life::Live;
            if !restart {
                finish(&mut state, pod, &ended);
                if matches!(self.current_life(), Life::Live | Life::Terminating { .. }) {
                    self.write_status(&state).await;
                }
                return;
            }
            let crash = ContainerState::CrashLoop {
                exit_code: ended.exit_code,
                back_off_seconds,
            };
            state.containers = BTreeMap::from([(container.name.clone(), crash)]);
            self.write_status(&state).await;
            let wait = tokio::time::sleep(Duration::from_secs(back_off_seconds));
            if matches!(self.until_ended(wait).await, Woken::Ended) {
                continue;
            }
            state.restarts += 1;
            back_off_seconds = (back_off_seconds * 2).min(BACK_OFF_SECONDS.1);
            state.containers = BTreeMap::from([(container.name.clone(), ContainerState::Running { ready: true })]);
            self.write_status(&state).await;
        }
    }

    async fn until_ended(&mut self, wait: impl Future<Output = ()>) -> Woken {
        tokio::select! {
            () = wait => Woken::Done,
            () = ended(&mut self.life) => Woken::Ended,
        }
    }

    fn current_life(&self) -> Life {
        *self.life.borrow()
    }

    fn current_pod(&self) -> Arc<Pod> {
        Arc::clone(&self.pod.borrow())
    }

    /// Writes the status; repeats while the API is away, and leaves it when the pod is gone or another one has its name.
    async fn write_status(&mut self, state: &PodState) {
        for _ in 0..API_RETRIES_MAX {
            let pod = self.current_pod();
            let patch = status::patch(&pod, state, Timestamp::now());
            let params = PatchParams {
                field_manager: Some("kubelet".to_owned()),
                ..PatchParams::default()
            };
            match self
                .api
                .patch_status(&pod.name_any(), &params, &Patch::Strategic(patch))
                .await
            {
                Ok(_) => return,
                Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => return,
                Err(error) => tracing::debug!(pod = pod.name_any(), %error, "A pod's status was not written."),
            }
            if self.current_life() == Life::Gone {
                return;
            }
            tokio::time::sleep(API_RETRY).await;
        }
        tracing::warn!(
            pod = self.current_pod().name_any(),
            "A pod's status could not be written."
        );
    }

    /// Removes the object, as a kubelet does once all containers have stopped.
    async fn delete(&self) {
        let pod = self.current_pod();
        let preconditions = Preconditions {
            uid: pod.metadata.uid.clone(),
            ..Preconditions::default()
        };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        for _ in 0..API_RETRIES_MAX {
            match self.api.delete(&pod.name_any(), &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => return,
                Err(error) => tracing::debug!(pod = pod.name_any(), %error, "A pod was not deleted."),
            }
            if self.current_life() == Life::Gone {
                return;
            }
            tokio::time::sleep(API_RETRY).await;
        }
    }
}

/// Waits until a pod is no longer [`Life::Live`].
async fn ended(life: &mut watch::Receiver<Life>) {
    // An error means that nobody watches any more, which ends the pod too.
    let _ = life.wait_for(|life| *life != Life::Live).await;
}

fn killed() -> job::Ended {
    job::Ended {
        exit_code: job::EXIT_CODE_KILLED,
        output: String::new(),
        timed_out: false,
    }
}

/// One container of a serving pod.
struct ContainerApp<'a> {
    name: &'a str,
    behaviour: Behaviour,
    /// Where it listens; empty for a sidecar without ports.
    ports: Vec<u16>,
    counters: Arc<Counters>,
}

impl<'a> ContainerApp<'a> {
    fn of(pod: &Pod, container: &'a Container) -> Self {
        let containers = pod
            .spec
            .as_ref()
            .map(|spec| spec.containers.as_slice())
            .unwrap_or_default();
        let mut ports = tcp_ports(container);
        let is_first = containers.first().is_some_and(|first| first.name == container.name);
        if is_first && containers.iter().all(|container| tcp_ports(container).is_empty()) {
            ports.push(PORT_DEFAULT);
        }
        Self {
            name: &container.name,
            behaviour: Behaviour::of_image(container.image.as_deref().unwrap_or_default()),
            ports,
            counters: Arc::default(),
        }
    }
}

fn tcp_ports(container: &Container) -> Vec<u16> {
    let ports = container.ports.iter().flatten();
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    tcp.filter_map(|port| u16::try_from(port.container_port).ok()).collect()
}

async fn bind(pod: &Pod, apps: &[ContainerApp<'_>], lease: &Lease) -> io::Result<Vec<(TcpListener, Arc<App>)>> {
    let mut listeners = Vec::new();
    for app in apps {
        let served = Arc::new(App::new(
            app.behaviour.clone(),
            &pod.name_any(),
            Arc::clone(&app.counters),
        ));
        for &port in &app.ports {
            let address = SocketAddrV4::new(lease.listen_ip(), port);
            listeners.push((TcpListener::bind(address).await?, Arc::clone(&served)));
        }
    }
    Ok(listeners)
}

/// The longest sleep that a container asks for before it ends.
fn pre_stop_sleep(pod: &Pod) -> Option<Duration> {
    let containers = pod.spec.as_ref()?.containers.iter();
    let sleeps = containers.filter_map(|container| container.lifecycle.as_ref()?.pre_stop.as_ref()?.sleep.as_ref());
    let seconds = sleeps.map(|sleep| u64::try_from(sleep.seconds).unwrap_or(0)).max()?;
    Some(Duration::from_secs(seconds))
}

fn restart_policy(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always")
}

fn initial_state(pod: &Pod, lease: &Lease) -> PodState {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    PodState {
        ip: lease.pod_ip(),
        started_at: started.map_or_else(Timestamp::now, |time| time.0),
        restarts: 0,
        containers: BTreeMap::new(),
        phase: "Running",
        reason: None,
    }
}

fn all_containers(apps: &[ContainerApp<'_>], state: &ContainerState) -> BTreeMap<String, ContainerState> {
    apps.iter().map(|app| (app.name.to_owned(), state.clone())).collect()
}

/// Runs the container's command; without one, the image tag says how long (`-slowN`) and with which code (`-exitN`).
async fn run_container(pod: &Pod, container: &Container, lease: &Lease) -> job::Ended {
    let environment = job::environment(pod, container, &lease.pod_ip().to_string());
    let command_line = job::command_line(container, &environment);
    let deadline = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let limit = deadline
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(job::RUN_MAX, Duration::from_secs);
    if !command_line.is_empty() {
        return job::run(&command_line, &environment, limit).await;
    }
    let behaviour = Behaviour::of_image(container.image.as_deref().unwrap_or_default());
    tokio::time::sleep(behaviour.slow).await;
    job::Ended {
        exit_code: behaviour.exit_code,
        output: format!("{}\n", behaviour.version),
        timed_out: false,
    }
}

/// Puts the pod in its terminal phase; the other containers, if any, end well with the first.
fn finish(state: &mut PodState, pod: &Pod, ended: &job::Ended) {
    let succeeded = ended.exit_code == 0 && !ended.timed_out;
    state.phase = if succeeded { "Succeeded" } else { "Failed" };
    state.reason = ended.timed_out.then_some("DeadlineExceeded");
    let containers = pod
        .spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let terminated = containers.iter().enumerate().map(|(index, container)| {
        let (exit_code, message) = if index == 0 {
            (ended.exit_code, ended.output.clone())
        } else {
            (0, String::new())
        };
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        (
            container.name.clone(),
            ContainerState::Terminated {
                exit_code,
                reason,
                message,
            },
        )
    });
    state.containers = terminated.collect();
}
