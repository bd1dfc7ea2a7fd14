//! `POST /validate`: a validating admission webhook (`AdmissionReview` of `admission.k8s.io/v1`) that refuses what can
//! never work, by the controller's own validation, and warns of what has no effect (guarantee C6).
//!
//! Opt-in, and never in the way of others: what it does not know it allows, and the chart has the API server go on
//! without it (`failurePolicy: Ignore`). Every replica answers, whether it leads or not.

pub mod review;
pub mod tls;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use std::{future::Future, sync::Arc, time::Duration};
use tls::TlsListener;
use tokio::sync::Semaphore;

/// The API server takes objects up to 1.5 MiB (etcd's limit), and a review holds the old and the new one.
const BODY_BYTES_MAX: usize = 8 << 20;
/// A body must have arrived within this time; the API server waits 10 s at most in the chart.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Reviews being read at once; protects memory. One more gets 503, which the API server ignores.
const REVIEWS_MAX: usize = 16;

#[derive(Clone)]
struct AdmissionState {
    instance_id: Arc<str>,
    reviews: Arc<Semaphore>,
}

/// The route. Objects with another instance id than this are another controller's, and allowed.
pub fn routes(instance_id: &str) -> Router {
    let state = AdmissionState {
        instance_id: instance_id.into(),
        reviews: Arc::new(Semaphore::new(REVIEWS_MAX)),
    };
    Router::new().route("/validate", post(validate)).with_state(state)
}

/// Serves until `stop` ends and open requests are answered.
pub async fn serve(
    listener: TlsListener,
    instance_id: &str,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, routes(instance_id))
        .with_graceful_shutdown(stop)
        .await
}

async fn validate(State(state): State<AdmissionState>, request: Request) -> Response {
    let review = match read(&state, request.into_body()).await {
        Ok(review) => review,
        Err((status, text)) => return (status, text).into_response(),
    };
    let Some(uid) = review.pointer("/request/uid").and_then(Value::as_str) else {
        let text = "expected an AdmissionReview with request.uid";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let verdict = review::decide(review.get("request").unwrap_or(&Value::Null), &state.instance_id);
    let mut response = verdict.response();
    if let Some(response) = response.as_object_mut() {
        response.insert("uid".to_owned(), Value::from(uid));
    }
    let answer = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    Json(answer).into_response()
}

/// Reads the review within its limits.
async fn read(state: &AdmissionState, body: Body) -> Result<Value, (StatusCode, String)> {
    let Ok(_permit) = state.reviews.try_acquire() else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "too many reviews at once".to_owned()));
    };
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time".to_owned(),
        )),
        Ok(Err(_)) => {
            let text = format!("the review is larger than {BODY_BYTES_MAX} bytes");
            Err((StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        Ok(Ok(body)) => serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string())),
    }
}

#[cfg(test)]
mod tests;
