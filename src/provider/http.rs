//! What providers that speak HTTP share: two clients (one that verifies certificates and one that does not), headers,
//! authentication, a bounded body.

use super::{gate::Gate, oauth2};
use crate::{
    api::analysis::{Authentication, WebMetricHeader},
    clock::SharedClock,
};
use reqwest::{
    Client, Response,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use std::time::Duration;

/// An answer larger than this is no measurement. In bytes.
pub const BODY_BYTES_MAX: usize = 10 << 20;
/// A server that does not accept a connection within this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No metric may ask for a longer time limit: a measurement that takes longer says nothing about now.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Sent with every request.
const USER_AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// Why an HTTP request gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The client cannot be made.
    #[error("failed to set up HTTP: {0}")]
    Setup(#[source] reqwest::Error),
    /// A header is not one.
    #[error("header '{0}' has an invalid name or value")]
    Header(String),
    /// A kind of authentication that is not built yet.
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    /// The request could not be sent or the answer not read.
    #[error("{}", chain(.0))]
    Request(#[source] reqwest::Error),
    /// The answer is too large.
    #[error("the answer is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// No token could be had.
    #[error("failed to get an OAuth2 token from {url}: {reason}")]
    Token {
        /// The token endpoint.
        url: String,
        /// Why.
        reason: String,
    },
}

/// An error with its causes: reqwest's own text leaves out the part that matters. The URL is left out, since it may
/// hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut text = "request failed".to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if text == "request failed" {
        let kind = match () {
            () if error.is_timeout() => "timed out",
            () if error.is_builder() => "the URL is not valid",
            () if error.is_redirect() => "too many redirects",
            () if error.is_decode() => "the answer cannot be decoded",
            () => "the connection broke",
        };
        text = format!("{text}: {kind}");
    }
    text
}

/// HTTP for all providers. Cloning shares connections, tokens and places.
#[derive(Clone, Debug)]
pub struct Transport {
    verifying: Client,
    insecure: Client,
    tokens: oauth2::Tokens,
    /// Places at each address.
    pub gate: Gate,
}

impl Transport {
    /// Clients with a time limit for connecting; requests bring their own.
    pub fn new(no_proxy: bool, clock: SharedClock) -> Result<Self, HttpError> {
        let builder = || {
            let builder = Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(USER_AGENT);
            if no_proxy { builder.no_proxy() } else { builder }
        };
        Ok(Self {
            verifying: builder().build().map_err(HttpError::Setup)?,
            insecure: builder()
                .tls_danger_accept_invalid_certs(true)
                .build()
                .map_err(HttpError::Setup)?,
            tokens: oauth2::Tokens::new(clock),
            gate: Gate::default(),
        })
    }

    /// The client that verifies certificates, or the other one (`insecure: true`).
    pub fn client(&self, insecure: bool) -> &Client {
        if insecure { &self.insecure } else { &self.verifying }
    }

    /// The headers of a request: those written, and those that authenticate.
    pub async fn headers(
        &self,
        written: &[WebMetricHeader],
        authentication: Option<&Authentication>,
        insecure: bool,
    ) -> Result<HeaderMap, HttpError> {
        let mut headers = HeaderMap::new();
        for header in written {
            let invalid = || HttpError::Header(header.key.clone());
            let name: HeaderName = header.key.parse().map_err(|_| invalid())?;
            headers.append(name, header.value.parse().map_err(|_| invalid())?);
        }
        if let Some(authentication) = authentication
            && let Some(value) = self.authorization(authentication, insecure).await?
        {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    async fn authorization(
        &self,
        authentication: &Authentication,
        insecure: bool,
    ) -> Result<Option<HeaderValue>, HttpError> {
        let Authentication {
            sigv4,
            oauth2,
            basic_auth,
        } = authentication;
        if sigv4.as_ref().is_some_and(|sigv4| *sigv4 != Default::default()) {
            return Err(HttpError::Unsupported("authentication.sigv4"));
        }
        if let Some(config) = oauth2.as_ref().filter(|config| !config.token_url.is_empty()) {
            let token = self.tokens.get(self.client(insecure), config).await?;
            return sensitive(format!("Bearer {token}")).map(Some);
        }
        match basic_auth {
            Some(basic) if !basic.username.is_empty() || !basic.password.is_empty() => {
                sensitive(basic_value(&basic.username, &basic.password)).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// The value of an `Authorization` header with user and password.
pub fn basic_value(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
    )
}

fn sensitive(text: String) -> Result<HeaderValue, HttpError> {
    let mut value: HeaderValue = text
        .parse()
        .map_err(|_| HttpError::Header("Authorization".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of an answer, up to [`BODY_BYTES_MAX`].
pub async fn body(mut response: Response) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(HttpError::Request)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The time limit a metric asks for in seconds, or the default; `Err` says what is wrong with it.
pub fn time_limit(seconds: Option<i64>, default: Duration) -> Result<Duration, String> {
    match seconds {
        None | Some(0) => Ok(default),
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) => Ok(Duration::from_secs(seconds).min(TIMEOUT_MAX)),
            Err(_) => Err(format!("timeout must be greater than 0, found {seconds}")),
        },
    }
}
