//! The HTTP servers for others than the controllers: push webhooks of Git servers, and the API server's admission requests.

pub mod admission;
pub mod webhook_route;

use axum::Router;
use std::{future::Future, net::SocketAddr};
use tokio::net::TcpListener;
use webhook_route::WebhookState;

/// Binds the address that Git servers reach. Port 0 takes a free one.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` ends and open requests are answered.
pub async fn serve(
    listener: TcpListener,
    webhooks: WebhookState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(webhooks))
        .with_graceful_shutdown(stop)
        .await
}

/// All routes.
pub fn router(webhooks: WebhookState) -> Router {
    webhook_route::routes(webhooks)
}
