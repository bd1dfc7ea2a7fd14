//! Steady traffic for tests and the demo, and what came of it.
//!
//! The load is open: requests go out at their rate whether or not earlier ones were answered, as users do. Connections are kept alive and used again.
//! A connection that a server closed while it was idle is replaced and the request sent once more, as HTTP clients do (RFC 9110, 9.2.2) and as a graceful
//! reload of nginx makes necessary; [`Snapshot::retried`] counts it.
//!
//! A request fails unless it is answered with 2xx. A failure with a version was answered so by the version itself; one without came from the data plane.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header::HOST},
};
use jiff::Timestamp;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

pub use self::record::{Counts, Failure, Snapshot};
use self::{
    connections::{Answer, Connections},
    record::Record,
};

mod connections;
mod record;

/// Longest run unless said otherwise: a forgotten generator must end.
const DURATION_MAX_DEFAULT: Duration = Duration::from_secs(20 * 60);

/// Requests under way at a time. A version that takes 1 s at 200 requests/s needs 200.
const CONCURRENCY_MAX: usize = 400;

/// Highest rate; more would measure the generator.
const RATE_MAX: u32 = 5_000;

/// Time for one request, retry included.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// Shortest sleep between two looks at the clock.
const TICK: Duration = Duration::from_millis(2);

/// What to send.
#[derive(Clone, Debug)]
pub struct TrafficOptions {
    /// Where to: `http://127.0.0.1:PORT`.
    pub url: String,
    /// The `Host` header, which chooses the site.
    pub host_header: String,
    /// Requests per second, at most 5,000.
    pub rate_per_second: u32,
    /// The path.
    pub path: String,
    /// Further headers of each request.
    pub headers: Vec<(String, String)>,
    /// When it ends by itself.
    pub duration_max: Duration,
}

impl TrafficOptions {
    /// 200 requests per second to `/` of a site, for at most 20 minutes.
    #[must_use]
    pub fn new(url: &str, host_header: &str) -> Self {
        Self {
            url: url.to_owned(),
            host_header: host_header.to_owned(),
            rate_per_second: 200,
            path: "/".to_owned(),
            headers: Vec::new(),
            duration_max: DURATION_MAX_DEFAULT,
        }
    }
}

/// Running traffic; dropping it ends it.
#[derive(Debug)]
pub struct Traffic {
    record: Arc<Record>,
    stopping: Arc<Semaphore>,
    task: JoinHandle<()>,
}

/// What all of a run's traffic came to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// From start to stop.
    pub duration: Duration,
    /// The counts.
    pub snapshot: Snapshot,
    /// The failures, at most 10,000.
    pub failures: Vec<Failure>,
}

impl Traffic {
    ///
    /// # Errors
    /// When the URL is not `http://` and an IP and port, or a header cannot be sent.
    pub fn start(options: TrafficOptions) -> Result<Self> {
        let target = Target::new(&options)?;
        let record = Arc::new(Record::new());
        let stopping = Arc::new(Semaphore::new(0));
        let generator = Generator {
            target: Arc::new(target),
            connections: Arc::default(),
            record: Arc::clone(&record),
        };
        let rate = options.rate_per_second.clamp(1, RATE_MAX);
        let run = generator.run(rate, options.duration_max, Arc::clone(&stopping));
        Ok(Self {
            record,
            stopping,
            task: tokio::spawn(run),
        })
    }

    /// The counts since the start.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.record.snapshot()
    }

    /// The counts of the last while (at most two minutes back).
    #[must_use]
    pub fn recent(&self, window: Duration) -> Snapshot {
        self.record.recent(window)
    }

    /// Share of a version among the requests that versions answered in the last while, from 0 to 1; NaN when there were none.
    #[must_use]
    pub fn share(&self, version: &str, window: Duration) -> f64 {
        self.recent(window).share(version)
    }

    /// The failures since the start, at most 10,000 of them.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.record.failures()
    }

    /// The failures that no version is to blame for.
    #[must_use]
    pub fn data_plane_failures(&self) -> Vec<Failure> {
        self.failures()
            .into_iter()
            .filter(|failure| failure.version.is_none())
            .collect()
    }

    /// Sends nothing more, waits for what is under way, and reports.
    pub async fn stop(mut self) -> Report {
        self.stopping.close();
        let _ = (&mut self.task).await;
        Report {
            duration: self.record.age(),
            snapshot: self.snapshot(),
            failures: self.failures(),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where requests go and what they say.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    uri: Uri,
    headers: HeaderMap,
}

impl Target {
    fn new(options: &TrafficOptions) -> Result<Self> {
        let url = &options.url;
        let Some(authority) = url.strip_prefix("http://") else {
            bail!("`{url}` does not begin with http://")
        };
        let authority = authority.trim_end_matches('/');
        let address = authority
            .parse()
            .with_context(|| format!("`{url}` is not http://IP:PORT"))?;
        let uri = options
            .path
            .parse()
            .with_context(|| format!("`{}` is not a path", options.path))?;
        let mut headers = HeaderMap::new();
        headers.insert(
            HOST,
            HeaderValue::from_str(&options.host_header).context("the host header cannot be sent")?,
        );
        for (name, value) in &options.headers {
            let name: HeaderName = name.parse().with_context(|| format!("`{name}` is not a header"))?;
            headers.append(
                name,
                value
                    .parse()
                    .with_context(|| format!("`{value}` is not a header value"))?,
            );
        }
        Ok(Self { address, uri, headers })
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Sends requests at their rate.
#[derive(Clone, Debug)]
struct Generator {
    target: Arc<Target>,
    connections: Arc<Connections>,
    record: Arc<Record>,
}

impl Generator {
    async fn run(self, rate: u32, duration_max: Duration, stopping: Arc<Semaphore>) {
        let started = Instant::now();
        let mut requests = JoinSet::new();
        let mut sent = 0_u64;
        while started.elapsed() < duration_max && !stopping.is_closed() {
            let due = requests_due(started.elapsed(), rate);
            for _ in sent..due {
                if requests.len() < CONCURRENCY_MAX {
                    requests.spawn(self.clone().send());
                } else {
                    self.record.skip();
                }
            }
            sent = due;
            while requests.try_join_next().is_some() {}
            tokio::time::sleep(TICK).await;
        }
        while requests.join_next().await.is_some() {}
    }

    async fn send(self) {
        let at = Timestamp::now();
        let sent = tokio::time::timeout(
            REQUEST_MAX,
            self.connections.send(self.target.address, || self.target.request()),
        );
        let answer = match sent.await {
            Ok(answer) => answer,
            Err(_elapsed) => Answer::failed(format!("no answer within {REQUEST_MAX:?}")),
        };
        self.record.add(at, answer);
    }
}

/// How many requests should have gone out by now.
fn requests_due(elapsed: Duration, rate: u32) -> u64 {
    let due = elapsed.as_micros() * u128::from(rate) / 1_000_000;
    u64::try_from(due).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
