//! OAuth 2 client credentials: a token for each client and scope, kept until shortly before it expires.

use super::http::{self, HttpError};
use crate::{api::analysis::OAuth2Config, clock::SharedClock};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, header::AUTHORIZATION};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A token is not used in its last seconds, as in Go's client.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(10);
/// A token without an expiry is asked for again after this long.
const LIFETIME_DEFAULT: SignedDuration = SignedDuration::from_secs(300);
/// Time for one request to the token endpoint.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Tokens kept; beyond that expired ones go, and then all.
const TOKENS_MAX: usize = 256;

/// The tokens of this process. Cloning shares them.
#[derive(Clone)]
pub struct Tokens {
    clock: SharedClock,
    kept: Arc<Mutex<HashMap<Key, Token>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

type Key = (String, String, String, Vec<String>);

struct Token {
    text: String,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Tokens {
    /// No tokens yet.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            kept: Arc::default(),
        }
    }

    /// A token for this client, from memory or from the token endpoint.
    pub async fn get(&self, client: &Client, config: &OAuth2Config) -> Result<String, HttpError> {
        let key: Key = (
            config.token_url.clone(),
            config.client_id.clone(),
            config.client_secret.clone(),
            config.scopes.clone(),
        );
        let now = self.clock.now();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = kept.get(&key).filter(|token| token.expires_at > now) {
                return Ok(token.text.clone());
            }
        }
        let granted = fetch(client, config).await.map_err(|reason| HttpError::Token {
            url: config.token_url.clone(),
            reason,
        })?;
        let lifetime = granted.expires_in.filter(|seconds| *seconds > 0.0);
        let lifetime = lifetime
            .and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok())
            .unwrap_or(LIFETIME_DEFAULT);
        let expires_at = now.checked_add(lifetime - EXPIRY_MARGIN).unwrap_or(now);
        let token = Token {
            text: granted.access_token.clone(),
            expires_at,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TOKENS_MAX {
            kept.retain(|_, token| token.expires_at > now);
            if kept.len() >= TOKENS_MAX {
                kept.clear();
            }
        }
        kept.insert(key, token);
        Ok(granted.access_token)
    }
}

/// Asks with the client's name and secret in a header, and again in the body when the server refuses that, as Go does.
async fn fetch(client: &Client, config: &OAuth2Config) -> Result<Granted, String> {
    let mut form = vec![("grant_type", "client_credentials".to_owned())];
    if !config.scopes.is_empty() {
        form.push(("scope", config.scopes.join(" ")));
    }
    let basic = http::basic_value(&encoded(&config.client_id), &encoded(&config.client_secret));
    let request = client
        .post(&config.token_url)
        .timeout(REQUEST_TIMEOUT)
        .header(AUTHORIZATION, basic)
        .form(&form);
    let mut response = request
        .send()
        .await
        .map_err(|error| HttpError::Request(error).to_string())?;
    if matches!(response.status().as_u16(), 400 | 401) {
        form.push(("client_id", config.client_id.clone()));
        form.push(("client_secret", config.client_secret.clone()));
        let request = client.post(&config.token_url).timeout(REQUEST_TIMEOUT).form(&form);
        response = request
            .send()
            .await
            .map_err(|error| HttpError::Request(error).to_string())?;
    }
    let status = response.status();
    let body = http::body(response).await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    serde_json::from_slice(&body).map_err(|error| format!("the answer is no token: {error}"))
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
