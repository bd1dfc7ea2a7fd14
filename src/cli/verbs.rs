//! What each verb does with the cluster: thin, the decisions are in `promote` and `image`.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::runtime::watcher;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::error::{CliError, Kind};
use super::info::Phase;
use super::list::{self, Columns};
use super::promote::{Place, Promotion, decide};
use super::terminal::Terminal;
use super::{image, tree, watch};
use crate::api::rollout::Rollout;
use crate::clock::{SharedClock, SystemClock};

/// Attempts at a write that others keep overtaking.
const ATTEMPTS_MAX: usize = 5;

/// The cluster, the terminal and the clock of one invocation.
pub struct Session {
    /// The cluster asked.
    pub cluster: Cluster,
    /// Where the answer goes.
    pub terminal: Terminal,
    /// For ages.
    pub clock: SharedClock,
}

impl Session {
    pub(crate) fn new(cluster: Cluster, terminal: Terminal) -> Self {
        Self {
            cluster,
            terminal,
            clock: Arc::new(SystemClock),
        }
    }

    /// `get rollout`.
    pub async fn get(&mut self, name: &str, follow: bool, timeout: Option<Duration>) -> Result<(), CliError> {
        if follow {
            return watch::tree(&self.cluster, name, &mut self.terminal, &self.clock, timeout).await;
        }
        let family = self.cluster.family(name).await?;
        let text = tree::render(&family, self.clock.now(), self.terminal.style);
        self.terminal.text(&text)
    }

    /// `list rollouts`.
    pub async fn list(&mut self, name: Option<&str>, follow: bool, shown: Columns) -> Result<(), CliError> {
        let api: Api<Rollout> = if shown.namespace {
            Api::all(self.cluster.client.clone())
        } else {
            self.cluster.rollouts()
        };
        let only = name.map(|name| format!("metadata.name={name}"));
        if follow {
            let config = watcher::Config {
                field_selector: only,
                ..watcher::Config::default()
            };
            return watch::list(api, config, &mut self.terminal, &self.clock, shown).await;
        }
        let params = ListParams {
            field_selector: only,
            ..ListParams::default()
        };
        let rollouts = api.list(&params).await.map_err(|error| CliError::kube(&error))?.items;
        if rollouts.is_empty() {
            self.terminal.note("No resources found.");
            return Ok(());
        }
        self.terminal.text(&list::render(&rollouts, self.clock.now(), shown))
    }

    /// `status`: an error when Degraded, or when watched and not Healthy in time.
    pub async fn status(&mut self, name: &str, follow: bool, timeout: Option<Duration>) -> Result<(), CliError> {
        let phase = if follow {
            watch::status(&self.cluster, name, &mut self.terminal, timeout).await?
        } else {
            let phase = Phase::of(&self.cluster.rollout(name).await?);
            self.terminal.line(&phase.line())?;
            phase
        };
        match phase.phase.as_str() {
            "Degraded" => {
                let message = format!("The rollout is in a degraded state with message: {}", phase.message);
                Err(CliError::new(Kind::Verdict, message))
            }
            "Healthy" => Ok(()),
            _ if follow => Err(CliError::new(Kind::Verdict, "Rollout status watch exceeded timeout")),
            _ => Ok(()),
        }
    }

    /// `promote`: compare-and-set on the version and the step it was decided on (guarantee D3).
    pub async fn promote(&mut self, name: &str, full: bool) -> Result<(), CliError> {
        let mut rollout = self.cluster.rollout(name).await?;
        let place = Place::of(&rollout);
        for _ in 0..ATTEMPTS_MAX {
            let overtaken = Place::of(&rollout) != place;
            let decision = if overtaken {
                Promotion::Underway
            } else {
                decide(&rollout, full, self.clock.now())
            };
            let (spec, status) = match decision {
                Promotion::Write { spec, status } => (spec, status),
                Promotion::Underway => {
                    self.terminal
                        .note("a promotion from this step is under way already, nothing was changed");
                    return self.promoted(name, full);
                }
                Promotion::Nothing => {
                    self.terminal.note("there is nothing to promote, nothing was changed");
                    return self.promoted(name, full);
                }
            };
            match self.write_promotion(name, &rollout, spec, status).await {
                Ok(()) => return self.promoted(name, full),
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    rollout = self.cluster.rollout(name).await?;
                }
                Err(error) => return Err(self.cluster.write_error(name, error).await),
            }
        }
        Err(CliError::new(
            Kind::Request,
            format!("rollout `{name}` changed during each of {ATTEMPTS_MAX} attempts"),
        )
        .hint("try again"))
    }

    async fn write_promotion(
        &self,
        name: &str,
        rollout: &Rollout,
        spec: Option<Value>,
        status: Option<Value>,
    ) -> Result<(), kube::Error> {
        let mut version = rollout.metadata.resource_version.clone();
        for (patch, of_status) in [(spec, false), (status, true)] {
            let Some(mut patch) = patch else { continue };
            if let Some(fields) = patch.as_object_mut() {
                fields.insert("metadata".to_owned(), json!({"resourceVersion": version}));
            }
            version = self
                .cluster
                .patch(name, &patch, of_status)
                .await?
                .metadata
                .resource_version;
        }
        Ok(())
    }

    fn promoted(&mut self, name: &str, full: bool) -> Result<(), CliError> {
        self.terminal.line(&format!(
            "rollout '{name}' {}",
            if full { "fully promoted" } else { "promoted" }
        ))
    }

    /// `abort`.
    pub async fn abort(&mut self, name: &str) -> Result<(), CliError> {
        self.simple(name, &json!({"status": {"abort": true}}), true, "aborted")
            .await
    }

    /// `retry rollout`.
    pub async fn retry(&mut self, name: &str) -> Result<(), CliError> {
        self.simple(name, &json!({"status": {"abort": false}}), true, "retried")
            .await
    }

    /// `pause`.
    pub async fn pause(&mut self, name: &str) -> Result<(), CliError> {
        self.simple(name, &json!({"spec": {"paused": true}}), false, "paused")
            .await
    }

    /// A patch that may be repeated, and is right on whatever version it meets.
    async fn simple(&mut self, name: &str, patch: &Value, status: bool, done: &str) -> Result<(), CliError> {
        match self.cluster.patch(name, patch, status).await {
            Ok(_) => self.terminal.line(&format!("rollout '{name}' {done}")),
            Err(error) => Err(self.cluster.write_error(name, error).await),
        }
    }

    /// `set image`.
    pub async fn set_image(&mut self, name: &str, images: &[image::Change]) -> Result<(), CliError> {
        for _ in 0..ATTEMPTS_MAX {
            let rollout = self.cluster.rollout(name).await?;
            let operations = image::operations(&rollout, images)?;
            if operations.is_empty() {
                return self.terminal.line(&format!("rollout \"{name}\" image updated"));
            }
            match self.cluster.json_patch(name, Value::Array(operations)).await {
                Ok(_) => return self.terminal.line(&format!("rollout \"{name}\" image updated")),
                // The containers changed under us (their names are tested), or the object did.
                Err(kube::Error::Api(status))
                    if status.code == 409 || status.code == 422 && is_test(&status.message) => {}
                Err(error) => return Err(self.cluster.write_error(name, error).await),
            }
        }
        Err(CliError::new(
            Kind::Request,
            format!("rollout `{name}` changed during each of {ATTEMPTS_MAX} attempts"),
        )
        .hint("try again"))
    }
}

/// Whether the API server refused a JSON patch because a `test` in it failed.
fn is_test(message: &str) -> bool {
    message.contains("test") || message.contains("does not exist") || message.contains("missing path")
}
