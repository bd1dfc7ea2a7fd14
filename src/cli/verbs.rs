//! What each verb does with the cluster: thin, the decisions are in `promote`, `skip` and `image`. `create`,
//! `analysis_run` and `undo` have files of their own.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::api::{Api, ListParams};
use kube::runtime::watcher;
use serde_json::{Value, json};

use super::cluster::{Cluster, Named};
use super::error::{CliError, Kind};
use super::info::Phase;
use super::list::{self, Columns};
use super::output::Format;
use super::promote::{Ask, Place, Promotion, decide};
use super::terminal::Terminal;
use super::watch::{self, Root};
use super::{experiment, image, skip, tree};
use crate::api::{analysis::AnalysisRun, experiment::Experiment, rollout::Rollout, scalar};
use crate::clock::{SharedClock, SystemClock};
use crate::lang::duration;

/// Attempts at a write that others keep overtaking.
pub(super) const ATTEMPTS_MAX: usize = 5;

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
    pub async fn get(
        &mut self,
        name: &str,
        follow: bool,
        timeout: Option<Duration>,
        format: Format,
    ) -> Result<(), CliError> {
        self.get_root::<Rollout>(name, follow, timeout, format).await
    }

    /// `get experiment`.
    pub async fn get_experiment(
        &mut self,
        name: &str,
        follow: bool,
        timeout: Option<Duration>,
        format: Format,
    ) -> Result<(), CliError> {
        self.get_root::<Experiment>(name, follow, timeout, format).await
    }

    async fn get_root<K: Root>(
        &mut self,
        name: &str,
        follow: bool,
        timeout: Option<Duration>,
        format: Format,
    ) -> Result<(), CliError> {
        if follow && format != Format::Name {
            return watch::tree::<K>(&self.cluster, name, &mut self.terminal, &self.clock, (timeout, format)).await;
        }
        let root: K = self.cluster.object(name).await?;
        if format == Format::Name {
            let kind = K::kind(&()).to_lowercase();
            return self.terminal.line(&format!("{kind}.{}/{name}", crate::api::GROUP));
        }
        let relatives = self.cluster.relatives(&root.pod_selector()).await?;
        let picture = root.picture(&relatives, self.clock.now(), format.is_wide());
        if format.is_text() {
            let text = picture.text(self.clock.now(), self.terminal.style);
            return self.terminal.text(&text);
        }
        format.write(&picture.json(), false, &mut self.terminal)
    }

    /// `list rollouts`.
    pub async fn list(
        &mut self,
        name: Option<&str>,
        follow: bool,
        shown: Columns,
        format: Format,
    ) -> Result<(), CliError> {
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
            return watch::list(api, config, &mut self.terminal, &self.clock, (shown, format)).await;
        }
        let params = ListParams {
            field_selector: only,
            ..ListParams::default()
        };
        let rollouts = api.list(&params).await.map_err(|error| CliError::kube(&error))?.items;
        let sorted = list::sorted(&rollouts);
        match format {
            Format::Json | Format::Yaml => {
                let items: Vec<Value> = sorted.into_iter().map(list::facts).collect();
                format.write(&json!({"items": items}), false, &mut self.terminal)
            }
            Format::Name => sorted
                .into_iter()
                .try_for_each(|rollout| self.terminal.line(&list::resource_name(rollout))),
            Format::Text | Format::Wide if rollouts.is_empty() => {
                self.terminal.note("No resources found.");
                Ok(())
            }
            Format::Text | Format::Wide => self.terminal.text(&list::render(&rollouts, self.clock.now(), shown)),
        }
    }

    /// `list experiments`.
    pub async fn list_experiments(&mut self, everywhere: bool, format: Format) -> Result<(), CliError> {
        let api: Api<Experiment> = if everywhere {
            Api::all(self.cluster.client.clone())
        } else {
            self.cluster.api()
        };
        let list = api.list(&ListParams::default()).await;
        let experiments = list.map_err(|error| CliError::kube(&error))?.items;
        let now = self.clock.now();
        match format {
            Format::Json | Format::Yaml => {
                format.write(&experiment::facts(&experiments, now), false, &mut self.terminal)
            }
            Format::Name => experiment::sorted(&experiments).into_iter().try_for_each(|found| {
                let name = tree::name(&found.metadata);
                self.terminal.line(&format!("experiment.{}/{name}", crate::api::GROUP))
            }),
            Format::Text | Format::Wide if experiments.is_empty() => {
                self.terminal.note("No resources found.");
                Ok(())
            }
            Format::Text | Format::Wide => self.terminal.text(&experiment::table(&experiments, now, everywhere)),
        }
    }

    /// `status`: an error when Degraded, or when watched and not Healthy in time.
    pub async fn status(
        &mut self,
        name: &str,
        follow: bool,
        timeout: Option<Duration>,
        format: Format,
    ) -> Result<(), CliError> {
        let phase = if follow {
            watch::status(&self.cluster, name, &mut self.terminal, (timeout, format)).await?
        } else {
            let rollout = self.cluster.rollout(name).await?;
            let phase = Phase::of(&rollout);
            watch::tell(&phase, &rollout, format, false, &mut self.terminal)?;
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
    pub async fn promote(&mut self, name: &str, ask: Ask) -> Result<(), CliError> {
        let mut rollout = self.cluster.rollout(name).await?;
        let place = Place::of(&rollout);
        for _ in 0..ATTEMPTS_MAX {
            let now = self.clock.now();
            let decision = match ask {
                _ if Place::of(&rollout) != place => Promotion::Underway,
                Ask::Next | Ask::Full => decide(&rollout, ask == Ask::Full, now),
                Ask::SkipStep | Ask::SkipSteps => skip::decide(&rollout, ask == Ask::SkipSteps, now)?,
            };
            let (spec, status) = match decision {
                Promotion::Write { spec, status } => (spec, status),
                Promotion::Underway => {
                    self.terminal
                        .note("a promotion from this step is under way already, nothing was changed");
                    return self.promoted(name, ask);
                }
                Promotion::Nothing => {
                    self.terminal.note("there is nothing to promote, nothing was changed");
                    return self.promoted(name, ask);
                }
            };
            match self.write_promotion(name, &rollout, spec, status).await {
                Ok(()) => return self.promoted(name, ask),
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    rollout = self.cluster.rollout(name).await?;
                }
                Err(error) => return Err(self.cluster.write_error::<Rollout>(name, error).await),
            }
        }
        Err(overtaken("rollout", name))
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

    fn promoted(&mut self, name: &str, ask: Ask) -> Result<(), CliError> {
        let how = if ask == Ask::Full { "fully promoted" } else { "promoted" };
        self.terminal.line(&format!("rollout '{name}' {how}"))
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

    /// `restart`: the pods that are older than `delay` from now are recreated then.
    pub async fn restart(&mut self, name: &str, delay: Duration) -> Result<(), CliError> {
        let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        let at = self.clock.now().checked_add(delay).map_err(|_| {
            CliError::new(
                Kind::Usage,
                format!("`--in {}` is beyond the calendar", duration::print(delay)),
            )
        })?;
        let at = scalar::wire_time(at);
        let done = format!("restarts in {}", duration::print(delay));
        self.simple(name, &json!({"spec": {"restartAt": at}}), false, &done)
            .await
    }

    /// `terminate analysisrun`.
    pub async fn terminate_analysis_run(&mut self, name: &str) -> Result<(), CliError> {
        self.terminate::<AnalysisRun>(name, "analysisRun").await
    }

    /// `terminate experiment`.
    pub async fn terminate_experiment(&mut self, name: &str) -> Result<(), CliError> {
        self.terminate::<Experiment>(name, "experiment").await
    }

    async fn terminate<K: Named>(&mut self, name: &str, kind: &str) -> Result<(), CliError> {
        let patch = json!({"spec": {"terminate": true}});
        match self.cluster.patch_object::<K>(name, &patch).await {
            Ok(_) => self.terminal.line(&format!("{kind} '{name}' terminated")),
            Err(error) => Err(self.cluster.write_error::<K>(name, error).await),
        }
    }

    /// `retry experiment`: forgets what came of it. One that is under way is not begun again.
    pub async fn retry_experiment(&mut self, name: &str) -> Result<(), CliError> {
        for _ in 0..ATTEMPTS_MAX {
            let found: Experiment = self.cluster.object(name).await?;
            let status = found.status.unwrap_or_default();
            if !experiment::is_over(&status.phase) {
                self.terminal
                    .note("the experiment has not ended yet, nothing was changed");
                return self.terminal.line(&format!("experiment '{name}' retried"));
            }
            let mut patch = json!({"metadata": {"resourceVersion": found.metadata.resource_version}, "status": null});
            if let Some(fields) = patch.as_object_mut().filter(|_| found.spec.terminate) {
                // It would end again at once.
                fields.insert("spec".to_owned(), json!({"terminate": null}));
            }
            match self.cluster.patch_object::<Experiment>(name, &patch).await {
                Ok(_) => return self.terminal.line(&format!("experiment '{name}' retried")),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.cluster.write_error::<Experiment>(name, error).await),
            }
        }
        Err(overtaken("experiment", name))
    }

    /// A patch that may be repeated, and is right on whatever version it meets.
    async fn simple(&mut self, name: &str, patch: &Value, status: bool, done: &str) -> Result<(), CliError> {
        match self.cluster.patch(name, patch, status).await {
            Ok(_) => self.terminal.line(&format!("rollout '{name}' {done}")),
            Err(error) => Err(self.cluster.write_error::<Rollout>(name, error).await),
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
                Err(error) => return Err(self.cluster.write_error::<Rollout>(name, error).await),
            }
        }
        Err(overtaken("rollout", name))
    }
}

/// Others wrote in between, again and again.
pub(super) fn overtaken(kind: &str, name: &str) -> CliError {
    let message = format!("{kind} `{name}` changed during each of {ATTEMPTS_MAX} attempts");
    CliError::new(Kind::Request, message).hint("try again")
}

/// Whether the API server refused a JSON patch because a `test` in it failed.
pub(super) fn is_test(message: &str) -> bool {
    message.contains("test") || message.contains("does not exist") || message.contains("missing path")
}

#[cfg(test)]
mod tests;
