//! Kept-alive HTTP/1.1 connections to one address.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    body::Body,
    http::{Request, Response},
};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest answer read; a pod says a few bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Idle connections kept.
const IDLE_MAX: usize = 64;

/// What came of one request.
#[derive(Debug)]
pub(super) struct Answer {
    /// Status, or what went wrong on the way.
    pub(super) status: Result<u16, String>,
    /// Who says it answered (`X-Version`).
    pub(super) version: Option<String>,
    /// Whether it was sent a second time because an idle connection was gone.
    pub(super) retried: bool,
}

impl Answer {
    pub(super) fn failed(error: String) -> Self {
        Self {
            status: Err(error),
            version: None,
            retried: false,
        }
    }
}

/// The idle connections. The last one used is used next, so that few are kept busy.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Vec<SendRequest<Body>>>);

impl Connections {
    /// Sends a request, over an idle connection if there is one.
    pub(super) async fn send(&self, address: SocketAddr, request: impl Fn() -> Request<Body>) -> Answer {
        let mut retried = false;
        if let Some(connection) = self.take_idle() {
            match self.send_over(connection, request()).await {
                Ok(answer) => return answer,
                // Nothing of an answer had arrived: the server closed the idle connection as the request set out.
                Err(_closed) => retried = true,
            }
        }
        let sent = async {
            let connection = connect(address).await?;
            self.send_over(connection, request()).await
        };
        let answer = sent.await.unwrap_or_else(|error| Answer::failed(format!("{error:#}")));
        Answer { retried, ..answer }
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|connection| connection.is_ready() && !connection.is_closed())
    }

    fn keep(&self, connection: SendRequest<Body>) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !connection.is_closed() {
            idle.push(connection);
        }
    }

    /// An error only if no answer began; an answer that breaks off is a failed answer.
    async fn send_over(&self, mut connection: SendRequest<Body>, request: Request<Body>) -> Result<Answer> {
        let response = connection
            .send_request(request)
            .await
            .context("the connection ended without an answer")?;
        let answer = read(response).await;
        if answer.status.is_ok() && connection.ready().await.is_ok() {
            self.keep(connection);
        }
        Ok(answer)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Body>> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("failed to connect to {address}"))?;
    stream.set_nodelay(true).context("failed to set up a connection")?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .context("failed to set up a connection")?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "A connection of the traffic ended.");
        }
    });
    Ok(sender)
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let version = head
        .headers
        .get("x-version")
        .and_then(|version| version.to_str().ok())
        .map(ToOwned::to_owned);
    let status = match axum::body::to_bytes(Body::new(body), ANSWER_BYTES_MAX).await {
        Ok(_) => Ok(head.status.as_u16()),
        Err(error) => Err(format!("the answer broke off: {error}")),
    };
    Answer {
        status,
        version,
        retried: false,
    }
}
