//! What providers that speak HTTP share: two clients (one that verifies certificates and one that does not), headers,
//! authentication, a bounded body.

use super::{gate::Gate, oauth2};
use crate::{
    api::analysis::{Authentication, WebMetricHeader},
    clock::SharedClock,
};
use reqwest::{
    Client, Request, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use std::time::Duration;

/// An answer larger than this is no measurement. In bytes.
pub const BODY_BYTES_MAX: usize = 10 << 20;
/// A server that does not accept a connection within this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may wait for its turn at a busy server, beyond its own time limit.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// Characters of a refusal that are shown.
const REFUSAL_CHARACTERS_MAX: usize = 200;
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
    unredirected: Client,
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
            unredirected: builder().redirect(Policy::none()).build().map_err(HttpError::Setup)?,
            tokens: oauth2::Tokens::new(clock),
            gate: Gate::default(),
        })
    }

    /// The same clients with nothing remembered: to make them takes long, for the many tests that each want their own.
    #[cfg(test)]
    pub(crate) fn afresh(&self, clock: SharedClock) -> Self {
        Self {
            tokens: oauth2::Tokens::new(clock),
            gate: Gate::default(),
            ..self.clone()
        }
    }

    /// The client that verifies certificates, or the other one (`insecure: true`).
    pub fn client(&self, insecure: bool) -> &Client {
        if insecure { &self.insecure } else { &self.verifying }
    }

    /// The client for requests with keys in headers of their own: those would follow a redirect to any host, so a redirect
    /// is an answer like any other.
    pub fn unredirected(&self) -> &Client {
        &self.unredirected
    }

    /// Sends a request once there is a place at its server, and reads the whole answer within `limit`. The error names the
    /// server and nothing else of the URL, which may hold a secret.
    pub async fn ask(&self, client: &Client, request: Request, limit: Duration) -> Result<Reply, String> {
        let server = request.url().origin().ascii_serialization();
        let Ok(place) = tokio::time::timeout(WAIT_MAX, self.gate.enter(&server)).await else {
            return Err(format!("no turn at {server} within {WAIT_MAX:?}"));
        };
        let exchange = async {
            let response = client.execute(request).await.map_err(HttpError::Request)?;
            let status = response.status().as_u16();
            Ok::<_, HttpError>(Reply {
                status,
                body: body(response).await?,
            })
        };
        let reply = tokio::time::timeout(limit, exchange).await;
        drop(place);
        match reply {
            Err(_) => Err(format!("no answer from {server} within {limit:?}")),
            Ok(reply) => reply.map_err(|error| format!("{server}: {error}")),
        }
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
            // A signature is over the whole request, so it comes last: see `aws`.
            sigv4: _,
            oauth2,
            basic_auth,
        } = authentication;
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

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The JSON of a success. Anything else is an error that shows the beginning of what was said instead.
    pub fn json(&self) -> Result<serde_json::Value, String> {
        serde_json::from_slice(self.success()?).map_err(|error| {
            let status = self.status;
            format!("HTTP {status}: the answer is no JSON ({error}): {}", self.beginning())
        })
    }

    /// The body of a success.
    pub fn success(&self) -> Result<&[u8], String> {
        match self.status {
            200..300 => Ok(&self.body),
            status => Err(format!("HTTP {status}: {}", self.beginning())
                .trim_end_matches([':', ' '])
                .to_owned()),
        }
    }

    fn beginning(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").chars().take(REFUSAL_CHARACTERS_MAX).collect()
    }
}

/// `path` below the address a user wrote, which may end with a slash and have a path of its own.
pub fn below(address: &str, path: &str) -> Result<Url, String> {
    let text = format!("{}/{path}", address.trim().trim_end_matches('/'));
    let url = Url::parse(&text).map_err(|error| format!("address {:?} is not valid: {error}", plain(address)))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("address must begin with http:// or https://, found {other}:")),
    }
}

/// An address without user and password, as far as one can tell.
fn plain(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, host)| host)
}

/// A value for a header that is not to be shown.
pub fn sensitive(text: String) -> Result<HeaderValue, HttpError> {
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

/// What a GraphQL server says went wrong; absent when it tells of no error.
pub fn graphql_errors(answer: &serde_json::Value) -> Option<String> {
    let problems = answer.get("errors")?.as_array()?;
    let message = |problem: &serde_json::Value| {
        let message = problem.get("message").and_then(serde_json::Value::as_str);
        message.unwrap_or("an error without a message").to_owned()
    };
    let problems: Vec<String> = problems.iter().map(message).collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::{Seen, Server, StillClock, always, transport};

    async fn ask(server: &Server, limit: u64) -> Result<Reply, String> {
        let transport = transport(StillClock::new());
        let request = transport.unredirected().get(server.listen().await).build().unwrap();
        let client = transport.unredirected();
        transport.ask(client, request, Duration::from_secs(limit)).await
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read() {
        let much = always(200, &"x".repeat(BODY_BYTES_MAX + 1));
        let problem = ask(&much, 60).await.unwrap_err();
        assert!(
            problem.ends_with(": the answer is larger than 10485760 bytes"),
            "{problem}"
        );
        let enough = always(200, &"x".repeat(BODY_BYTES_MAX));
        assert_eq!(ask(&enough, 60).await.unwrap().body.len(), BODY_BYTES_MAX);
    }

    // The clock is paused: it jumps as soon as nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn a_turn_is_not_waited_for_without_end() {
        let silent = always(0, "");
        let (transport, address) = (transport(StillClock::new()), silent.listen().await);
        let client = transport.unredirected();
        let ask = || {
            let request = client.get(&address).build().unwrap();
            transport.ask(client, request, Duration::from_secs(90))
        };
        let answers = futures::future::join_all((0..21).map(|_| ask())).await;
        let problems: Vec<String> = answers.into_iter().map(Result::unwrap_err).collect();
        assert_eq!(problems[20], format!("no turn at {address} within 60s"));
        assert_eq!(problems[0], format!("no answer from {address} within 90s"));
        assert_eq!(silent.seen().len(), 20);
    }

    #[test]
    fn addresses_keep_their_path_and_hide_their_password() {
        for (address, want) in [
            ("http://a:80", "http://a/x/y"),
            (" https://a/base/ ", "https://a/base/x/y"),
        ] {
            assert_eq!(below(address, "x/y").unwrap().as_str(), want);
        }
        assert_eq!(
            below("user:hush-hush@", "x").unwrap_err(),
            "address must begin with http:// or https://, found user:"
        );
        let problem = below("http://user:hush-hush@[", "x").unwrap_err();
        assert!(!problem.contains("hush-hush"), "{problem}");
    }

    #[tokio::test]
    async fn a_redirect_with_keys_is_not_followed() {
        let server = Server::new(|_: &Seen| (307, "elsewhere".to_owned()));
        assert_eq!(
            ask(&server, 5).await.unwrap().success(),
            Err("HTTP 307: elsewhere".to_owned())
        );
    }
}
