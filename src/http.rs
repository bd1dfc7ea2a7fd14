//! HTTP clients with limits: every client in the program is built here, so that none waits for ever, follows redirects
//! without end, or skips the check of a certificate by accident.

use crate::class::Class;
use reqwest::{Certificate, Client, Response, StatusCode, redirect::Policy};
use std::{sync::Once, time::Duration};
use thiserror::Error;

/// Time to reach a server, name resolution and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a whole request unless a caller says otherwise.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Redirects followed; real services need one or two.
pub const REDIRECTS_MAX_DEFAULT: usize = 5;

/// Idle connections kept for each host; protects descriptors.
const IDLE_CONNECTIONS_PER_HOST_MAX: usize = 4;

/// How to talk to one service.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Time for a whole request, redirects and body included.
    pub timeout: Duration,
    /// Redirects followed; 0 means a redirect is an answer like any other. Credentials do not follow to another host.
    pub redirects_max: usize,
    /// Certificates (PEM, any number) that are trusted besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Accept any certificate. Only when the user wrote `insecure: true` for this very service.
    pub insecure: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: REQUEST_TIMEOUT_DEFAULT,
            redirects_max: REDIRECTS_MAX_DEFAULT,
            ca_pem: None,
            insecure: false,
        }
    }
}

/// Why a client could not be built or a body not be read. URLs are not part of the text: they may hold credentials.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The given certificates are not PEM.
    #[error("invalid CA certificates: {0}")]
    Certificates(#[source] reqwest::Error),
    /// The client could not be built.
    #[error("failed to set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
    /// The connection failed or took too long.
    #[error("{}", describe(.0))]
    Request(#[source] reqwest::Error),
    /// The body is longer than the caller accepts.
    #[error("response is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit of the call.
        bytes_max: usize,
    },
}

impl HttpError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Certificates(_) | Self::Client(_) | Self::TooLarge { .. } => Class::Permanent,
            Self::Request(error) => error.status().map_or(Class::Transient, class_of_status),
        }
    }

    /// A stable word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Certificates(_) => "http_certificates",
            Self::Client(_) => "http_client",
            Self::Request(error) if error.is_timeout() => "http_timeout",
            Self::Request(_) => "http_request",
            Self::TooLarge { .. } => "http_body",
        }
    }
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        Self::Request(error.without_url())
    }
}

/// The class of an answer that is not a success.
pub fn class_of_status(status: StatusCode) -> Class {
    match status.as_u16() {
        401 | 403 | 407 => Class::Denied,
        404 | 410 => Class::NotFound,
        409 | 412 => Class::Conflict,
        429 => Class::Throttled(Duration::from_secs(30)),
        408 | 425 | 500..=599 => Class::Transient,
        _ => Class::Permanent,
    }
}

/// The innermost cause says what happened ("connection refused"); the outer texts only that a request was made.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "request timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("request failed: {cause}")
}

/// Makes aws-lc-rs the process's TLS provider. Called by every constructor here and at start-up; repeating is harmless.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that another one was installed before, for instance by a test: then that one is used.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// A client for one service. Proxies come from the usual environment variables.
pub fn client(options: &HttpOptions) -> Result<Client, HttpError> {
    install_crypto_provider();
    let redirects = match options.redirects_max {
        0 => Policy::none(),
        most => Policy::limited(most),
    };
    let mut builder = Client::builder()
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
        .timeout(options.timeout)
        .redirect(redirects)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST_MAX);
    if let Some(pem) = &options.ca_pem {
        let certificates = Certificate::from_pem_bundle(pem).map_err(HttpError::Certificates)?;
        builder = builder.tls_certs_merge(certificates);
    }
    if options.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(HttpError::Client)
}

/// The body of a response, at most `bytes_max`; the rest of a longer one is not read.
pub async fn body(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, HttpError> {
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).unwrap_or(usize::MAX) > bytes_max {
        return Err(HttpError::TooLarge { bytes_max });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(HttpError::TooLarge { bytes_max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
