//! `POST /api/webhook`: a push starts a look at the repository at once, instead of at the next poll
//! (reference, applications 10.4).
//!
//! With a secret in `argocd-secret` (key `webhook.github.secret`) every event must be signed. Without one, events are
//! accepted unsigned, as the original does, unless `WebhookState::requires_signature` is set. That is safe here:
//! an event is only a hint to look now. The commit is always learned from the repository, only repositories in use are
//! asked, looks at one repository are merged, and body, queue and concurrency are bounded.

use crate::repo::{
    Sources,
    webhook::{WEBHOOK_BODY_BYTES_MAX, WebhookError, WebhookEvent, verify_and_parse},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Events being followed up at once; one more gets 503, and the sender tries again or the poller sees the push.
const EVENTS_MAX: usize = 64;
/// Bodies being received at once; protects memory.
const BODIES_MAX: usize = 16;
/// A body must have arrived within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The secret that push webhooks must be signed with. Cheap to clone; every clone is the same.
#[derive(Clone, Default)]
pub struct WebhookSecret(Arc<RwLock<Option<String>>>);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WebhookSecret")
            .field(&self.get().map(|_| "set"))
            .finish()
    }
}

impl WebhookSecret {
    /// The secret, if one is set.
    pub fn get(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets it.
    pub fn set(&self, secret: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secret.filter(|secret| !secret.is_empty());
    }
}

/// What the route needs.
#[derive(Clone)]
pub struct WebhookState {
    sources: Sources,
    secret: WebhookSecret,
    requires_signature: bool,
    announce: Option<mpsc::Sender<Vec<String>>>,
    events: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl WebhookState {
    /// Events of pushes go to `sources`. With `requires_signature`, nothing is accepted while no secret is set.
    pub fn new(sources: Sources, secret: WebhookSecret, requires_signature: bool) -> Self {
        Self {
            sources,
            secret,
            requires_signature,
            announce: None,
            events: Arc::new(Semaphore::new(EVENTS_MAX)),
            bodies: Arc::new(Semaphore::new(BODIES_MAX)),
        }
    }
}

impl WebhookState {
    /// Also tells `listener` the addresses of the repository of each push, once the repository was asked.
    #[must_use]
    pub fn announce(self, listener: mpsc::Sender<Vec<String>>) -> Self {
        Self {
            announce: Some(listener),
            ..self
        }
    }
}

/// The route.
pub fn routes(state: WebhookState) -> Router {
    Router::new().route("/api/webhook", post(receive)).with_state(state)
}

async fn receive(State(state): State<WebhookState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match read(&state, body).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let secret = state.secret.get();
    if secret.is_none() && state.requires_signature {
        return answer(
            StatusCode::UNAUTHORIZED,
            "no webhook secret is set (Secret argocd-secret, key webhook.github.secret)",
        );
    }
    match verify_and_parse(&parts.headers, &body, secret.as_deref()) {
        Ok(WebhookEvent::Push(push)) => {
            let Ok(permit) = Arc::clone(&state.events).try_acquire_owned() else {
                return answer(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Queue is full, discarding webhook payload",
                );
            };
            tokio::spawn(async move {
                let concerned = state.sources.notify(&push.repository_urls).await;
                if let Some(announce) = &state.announce
                    && announce.try_send(push.repository_urls).is_err()
                {
                    tracing::warn!("Too many push events at once; the poll will see what this one was about.");
                }
                tracing::info!(reference = %push.reference, concerned, "A push event was followed up.");
                drop(permit);
            });
            answer(StatusCode::OK, "ok")
        }
        Ok(WebhookEvent::Ping | WebhookEvent::Ignored { .. }) => answer(StatusCode::OK, "ok"),
        Err(error) => refused(&error),
    }
}

/// Reads the body within its limits.
async fn read(state: &WebhookState, body: Body) -> Result<axum::body::Bytes, Response> {
    let Ok(_permit) = state.bodies.try_acquire() else {
        return Err(answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "Queue is full, discarding webhook payload",
        ));
    };
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, WEBHOOK_BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(refused(&WebhookError::TooLarge)),
        Err(_) => Err(answer(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn refused(error: &WebhookError) -> Response {
    tracing::warn!(reason = error.label(), %error, "A webhook was refused.");
    answer(
        StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
        &error.to_string(),
    )
}

fn answer(status: StatusCode, text: &str) -> Response {
    (status, text.to_owned()).into_response()
}

#[cfg(test)]
mod tests;
