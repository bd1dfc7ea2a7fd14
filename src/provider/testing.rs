//! Test doubles: an HTTP server on the loopback interface, an API server without a port, a settable clock.

use super::{Query, RunIdentity, aws::Aws, environment::Environment, http::Transport, secrets::Keys};
use crate::{
    analysis::reading::{Answer, Answered, Attempt},
    api::analysis::Metric,
    clock::{Clock, SharedClock},
    lang::expr::Measured,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, OnceLock};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A parameter of a form or of the URL.
    pub(crate) fn parameter(&self, name: &str) -> String {
        let find = |text: &str| {
            let found = url::form_urlencoded::parse(text.as_bytes()).find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        find(&self.body).or_else(|| find(&self.query)).unwrap_or_default()
    }
}

type Respond = Arc<dyn Fn(&Seen) -> (u16, String) + Send + Sync>;

/// A server that remembers what it was asked. An answer with status 0 never comes; the text of a redirect is where it leads.
#[derive(Clone)]
pub(crate) struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    respond: Respond,
}

impl Server {
    pub(crate) fn new(respond: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self {
            seen: Arc::default(),
            respond: Arc::new(respond),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Listens on a free port; the task ends with the test's runtime.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    /// The same as an API server in memory.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.router(), "default")
    }

    fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }
}

async fn serve(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap(),
    };
    server.seen.lock().unwrap().push(seen.clone());
    let (status, text) = (server.respond)(&seen);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    if (300..400).contains(&status) {
        response = response.header("location", &text);
    }
    response.body(Body::from(text)).unwrap()
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct StillClock(Mutex<Timestamp>);

impl StillClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::from_second(1_000_000).unwrap())))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// An API server with Secrets, each named `namespace/name`. Nothing else is there.
pub(crate) fn secrets(secrets: Value) -> Server {
    Server::new(move |seen: &Seen| {
        let parts: Vec<&str> = seen.path.split('/').collect();
        let found = match parts.as_slice() {
            ["", "api", "v1", "namespaces", namespace, "secrets", name] => {
                secrets.get(format!("{namespace}/{name}")).map(|texts| (name, texts))
            }
            _ => None,
        };
        let Some((name, texts)) = found else {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": "not found"});
            return (404, status.to_string());
        };
        let texts = texts.as_object().unwrap().iter();
        let data: serde_json::Map<String, Value> = texts
            .map(|(key, text)| (key.clone(), STANDARD.encode(text.as_str().unwrap()).into()))
            .collect();
        (200, json!({"metadata": {"name": name}, "data": data}).to_string())
    })
}

/// Keys of providers, read from such an API server by a controller in namespace `tidegate`.
pub(crate) fn keys(api: &Server) -> Keys {
    Keys {
        client: api.client(),
        namespace: "tidegate".into(),
    }
}

/// AWS for tests: its own variables, and nothing of the machine.
pub(crate) fn aws<const N: usize>(clock: SharedClock, variables: [(&str, &str); N]) -> Aws {
    Aws::new(transport(Arc::clone(&clock)), Environment::from(variables), clock)
}

/// The message of an error.
#[track_caller]
pub(crate) fn error(answered: Answered) -> String {
    match answered.answer {
        Answer::Error(message) => message,
        other => panic!("expected an error, found {other:?}"),
    }
}

/// A value and how it is shown.
#[track_caller]
pub(crate) fn value(answered: Answered) -> (Measured, String) {
    match answered.answer {
        Answer::Value { measured, text } => (measured, text),
        other => panic!("expected a value, found {other:?}"),
    }
}

/// A server that always gives this answer.
pub(crate) fn always(status: u16, text: &str) -> Server {
    let text = text.to_owned();
    Server::new(move |_: &Seen| (status, text.clone()))
}

pub(crate) fn transport(clock: SharedClock) -> Transport {
    static CLIENTS: OnceLock<Transport> = OnceLock::new();
    let made = CLIENTS.get_or_init(|| Transport::new(true, Arc::clone(&clock)).unwrap());
    made.afresh(clock)
}

pub(crate) fn query(metric: Value, attempt: Attempt) -> Query {
    let metric: Metric = serde_json::from_value(metric).unwrap();
    let run = RunIdentity {
        namespace: "shop".into(),
        name: "web-1".into(),
        uid: "0a1b2c3d".into(),
        started_at: None,
    };
    Query {
        run,
        metric,
        sequence: 1,
        attempt,
        now: Timestamp::from_second(1_000_000).unwrap(),
    }
}
