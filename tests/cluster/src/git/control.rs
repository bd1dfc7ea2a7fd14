//! Settings from another process: tests run beside the supervisor, not in it.

use std::sync::{Arc, atomic::Ordering};

use anyhow::{Context, Result, bail};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};

use super::{Credentials, Shared, Webhook};

/// A change to the Git server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "change")]
pub enum Change {
    /// Make a repository unless it is there.
    Create {
        /// Name of the repository.
        name: String,
    },
    /// Ask for a password, or stop asking.
    Auth {
        /// Name of the repository.
        name: String,
        /// Who is let in; everybody if absent.
        credentials: Option<Credentials>,
    },
    /// Tell somebody of pushes, or nobody.
    Webhook {
        /// Name of the repository.
        name: String,
        /// Who is told; nobody if absent.
        webhook: Option<Webhook>,
    },
    /// Be up, or answer 503.
    Available {
        /// Whether repositories answer.
        available: bool,
    },
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/", post(apply)).with_state(shared)
}

async fn apply(State(shared): State<Arc<Shared>>, Json(change): Json<Change>) -> (StatusCode, String) {
    match change {
        Change::Create { name } => match shared.create(&name).await {
            Ok(url) => return (StatusCode::OK, url),
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error:#}")),
        },
        Change::Auth { name, credentials } => {
            shared.change_settings(&name, |settings| settings.credentials = credentials)
        }
        Change::Webhook { name, webhook } => shared.change_settings(&name, |settings| settings.webhook = webhook),
        Change::Available { available } => shared.available.store(available, Ordering::SeqCst),
    }
    (StatusCode::OK, String::new())
}

/// The other end: changes a Git server's settings from any process.
#[derive(Clone, Debug)]
pub struct Control {
    url: String,
}

impl Control {
    /// For the server whose [`super::GitServer::control_url`] is `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// Makes a change and returns the answer: a repository's address for [`Change::Create`], else nothing.
    ///
    /// # Errors
    /// When the server is gone or refuses the change.
    pub async fn apply(&self, change: &Change) -> Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let response = client
            .post(&self.url)
            .json(change)
            .send()
            .await
            .context("the Git server's settings do not answer")?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("the Git server refused the change: {text}");
        }
        Ok(text)
    }
}
