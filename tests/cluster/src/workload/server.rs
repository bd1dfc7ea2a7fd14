//! Serves one container over HTTP/1.1 the way its image says.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    image::Behaviour,
    metrics::{self, Counters},
};

/// Connections one container accepts at a time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 512;

/// How long a connection may be idle. Longer than nginx keeps one ([`crate::ingress`]), so that nginx is the one who closes.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Pause after a failed accept (usually: out of file descriptors), so that it does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What a container answers.
#[derive(Debug)]
pub(super) struct App {
    behaviour: Behaviour,
    version: HeaderValue,
    pod: HeaderValue,
    body: String,
    /// Running number of the next request; starts at another place in each pod so that the pods do not fail in step.
    requests: AtomicU64,
    counters: Arc<Counters>,
}

impl App {
    /// An app for a container of the named pod.
    pub(super) fn new(behaviour: Behaviour, pod: &str, counters: Arc<Counters>) -> Self {
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("invalid"));
        let start = pod
            .bytes()
            .fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
            % 100;
        Self {
            version: header(&behaviour.version),
            pod: header(pod),
            body: format!("{}\n", behaviour.version),
            requests: AtomicU64::new(start),
            behaviour,
            counters,
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            "/metrics" => {
                let labels = metrics::labels(&[("version", &self.behaviour.version)]);
                self.response(
                    StatusCode::OK,
                    metrics::render([(labels.as_str(), self.counters.as_ref())].into_iter()),
                )
            }
            "/healthz" => self.response(StatusCode::OK, "ok\n".to_owned()),
            _ => {
                let started = Instant::now();
                let failed = self.behaviour.fails(self.requests.fetch_add(1, Ordering::Relaxed));
                if !self.behaviour.slow.is_zero() {
                    tokio::time::sleep(self.behaviour.slow).await;
                }
                self.counters.record(failed, started.elapsed());
                let status = if failed {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::OK
                };
                self.response(status, self.body.clone())
            }
        }
    }

    fn response(&self, status: StatusCode, body: String) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert("x-version", self.version.clone());
        headers.insert("x-pod", self.pod.clone());
        response
    }
}

/// An app being served; ends at once when dropped.
#[derive(Debug)]
pub(super) struct Server {
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves the app on each listener.
    pub(super) fn start(listeners: Vec<(TcpListener, Arc<App>)>) -> Self {
        let (stopping, stop) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut accepting: JoinSet<()> = listeners
                .into_iter()
                .map(|(listener, app)| accept(listener, app, stop.clone()))
                .collect();
            while accepting.join_next().await.is_some() {}
        });
        Self { stopping, task }
    }

    /// Stops listening, lets requests in flight finish for at most `patience`, then closes what is left.
    pub(super) async fn stop(mut self, patience: Duration) {
        self.stopping.send_replace(true);
        if tokio::time::timeout(patience, &mut self.task).await.is_err() {
            tracing::debug!("Requests were still in flight when a pod's grace period ended.");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            Some(_) = connections.join_next() => continue,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, _peer)) => {
                connections.spawn(serve(stream, Arc::clone(&app), stop.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "A pod could not accept a connection.");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    // Answers are one small packet each; waiting to fill it would only add latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let app = &app;
        async move { Ok::<_, Infallible>(app.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopped(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "A connection to a pod ended early.");
    }
}

/// Waits until the server is told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which ends it too.
    let _ = stop.wait_for(|&stopping| stopping).await;
}
