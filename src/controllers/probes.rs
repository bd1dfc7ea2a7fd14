//! Serves metrics, liveness and readiness.

use crate::{
    controllers::{Context, RunError},
    telemetry::metrics,
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};

/// Listens on the ports of the command line, in `tasks`.
pub async fn listen(context: &Arc<Context>, tasks: &mut JoinSet<()>) -> Result<(), RunError> {
    let args = &context.args;
    let servers = [
        (args.metrics_port, metrics_routes(Arc::clone(context))),
        (args.healthz_port, health_routes(Arc::clone(context))),
    ];
    for (port, routes) in servers.into_iter().filter(|(port, _)| *port != 0) {
        let address = SocketAddr::new(args.bind_address, port);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| RunError::Listen { address, source })?;
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%address, %error, "A server ended.");
            }
        });
    }
    Ok(())
}

/// `/metrics`.
pub fn metrics_routes(context: Arc<Context>) -> Router {
    Router::new().route("/metrics", get(metrics_page)).with_state(context)
}

/// `/healthz` and `/readyz`.
pub fn health_routes(context: Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readiness))
        .with_state(context)
}

async fn metrics_page(State(context): State<Arc<Context>>) -> Response {
    context.metrics.leading(context.leadership.fence().is_some());
    match context.metrics.render() {
        Ok(page) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Ready means: the stores hold a complete view. A standby is ready too.
async fn readiness(State(context): State<Arc<Context>>) -> Response {
    match context.unready().as_slice() {
        [] => "ok".into_response(),
        kinds => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for {}", kinds.join(", ")),
        )
            .into_response(),
    }
}
