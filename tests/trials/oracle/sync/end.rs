//! What an Application must look like once faults are over.

use super::{Rule, SyncJudge, facts, facts::Op};
use crate::{facts::text, sync::content};
use jiff::Timestamp;
use serde_json::Value;
use tidegate::sim::{api::state::State, models::git::MAIN};

/// Where an Application is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// As the newest commit says, and well.
    There,
    /// On the way, or waiting for something that is told.
    Told(String),
    /// Neither.
    Silent(String),
}

impl SyncJudge {
    /// Where the Application is. Whatever it is, somebody who looks at it must be told.
    pub fn standing(&self, state: &State) -> Standing {
        let Some(app) = facts::application(state) else {
            return Standing::Silent("there is no Application".to_owned());
        };
        let tip = self.git.tip(MAIN).unwrap_or_default();
        let (status, compared) = (text(app, "/status/sync/status"), text(app, "/status/sync/revision"));
        let health = text(app, "/status/health/status");
        let op = Op::of(app);
        let is_running = op.as_ref().is_some_and(Op::is_running);
        if status == "Synced" && compared == tip && health == "Healthy" && !is_running {
            return Standing::There;
        }
        let shown = format!("{status} to {compared} (the branch is at {tip}), {health}, operation {op:?}");
        if is_running {
            return Standing::Told(format!("operating: {shown}"));
        }
        let conditions = app["status"]["conditions"].as_array().into_iter().flatten();
        let conditions: Vec<&str> = conditions.map(|condition| text(condition, "/message")).collect();
        if !conditions.is_empty() {
            return Standing::Told(format!("{}: {shown}", conditions.join("; ")));
        }
        let automated = &app["spec"]["syncPolicy"]["automated"];
        if status == "OutOfSync" && compared == tip {
            let heals = automated["selfHeal"] == true;
            if automated.is_null() || !heals || self.only_pruning(app) && automated["prune"] != true {
                return Standing::Told(format!("a person's turn: {shown}"));
            }
        }
        let leaving = facts::tracked(state)
            .into_iter()
            .find(|(_, object)| !text(object, "/metadata/deletionTimestamp").is_empty());
        if let Some((key, _)) = leaving {
            // Its health says "Pending deletion".
            return Standing::Told(format!("{key} is being deleted: {shown}"));
        }
        if status == "Synced"
            && compared == tip
            && matches!(health, "Degraded" | "Progressing" | "Suspended" | "Missing")
        {
            return Standing::Told(format!("unwell: {shown}"));
        }
        Standing::Silent(shown)
    }

    fn only_pruning(&self, app: &Value) -> bool {
        let resources = app["status"]["resources"].as_array().into_iter().flatten();
        resources
            .filter(|entry| entry["status"] == "OutOfSync")
            .all(|entry| entry["requiresPruning"] == true)
    }

    /// Whether the Application is as the newest commit says, apart from what only pruning would bring and nobody asked
    /// for, or what says itself that it must stay.
    pub fn has_arrived(&self, state: &State) -> bool {
        if self.standing(state) == Standing::There {
            return true;
        }
        let Some(app) = facts::application(state) else {
            return false;
        };
        let tip = self.git.tip(MAIN).unwrap_or_default();
        let is_running = Op::of(app).is_some_and(|op| op.is_running());
        let is_there = text(app, "/status/sync/revision") == tip && text(app, "/status/health/status") == "Healthy";
        is_there && !is_running && text(app, "/status/sync/status") == "OutOfSync" && self.only_kept(state, app)
    }

    fn only_kept(&self, state: &State, app: &Value) -> bool {
        let resources = app["status"]["resources"].as_array().into_iter().flatten();
        let open: Vec<&Value> = resources.filter(|entry| entry["status"] == "OutOfSync").collect();
        let kept = |entry: &&Value| {
            let live = facts::key_of(&serde_json::json!({
                "apiVersion": if text(entry, "/group").is_empty() { text(entry, "/version").to_owned() } else { format!("{}/{}", text(entry, "/group"), text(entry, "/version")) },
                "kind": entry["kind"], "metadata": {"name": entry["name"]},
            }))
            .and_then(|key| state.get(&key).cloned());
            let options = live
                .as_ref()
                .map(|live| live["metadata"]["annotations"][content::OPTIONS].clone());
            entry["requiresPruning"] == true && options.is_some_and(|options| options == "Prune=false")
        };
        self.only_pruning(app) && (app["spec"]["syncPolicy"]["automated"]["prune"] != true || open.iter().all(kept))
    }

    /// Judges what came to rest: S8 without excuses, and nothing of an operation left behind.
    pub(super) fn arrived_well(&mut self, at: Timestamp, state: &State) {
        let Some(app) = facts::application(state).cloned() else {
            return;
        };
        let (status, revision) = (text(&app, "/status/sync/status"), text(&app, "/status/sync/revision"));
        if status == "Synced"
            && let Some((object, wrong)) = self.unlike(revision, state, None)
        {
            self.blame_for(
                Rule::S8,
                at,
                &object,
                format!("rests as Synced to {revision}, and {wrong}"),
                "what the commit says",
            );
        }
        if let Standing::Silent(shown) = self.standing(state)
            && !self.has_arrived(state)
        {
            self.blame(
                Rule::D6,
                at,
                format!("rests as {shown}"),
                "Synced and Healthy, or a word about why not",
            );
        }
    }
}
