//! Which operations begin, and what the status says: S1, S2, S5 and S8.

use super::{Held, Rule, SyncJudge, facts, facts::Op, remember};
use crate::{
    facts::text,
    sync::{case::NAME, content},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};
use tidegate::sim::{
    api::{observe::Commit, state::State},
    models::git::MAIN,
};

/// Within this time a new commit is looked at: a poll that had been failing, and what it waits for. In seconds.
const NOTICED: i64 = 150;
/// A Rollout that was aborted this long ago has been seen as such. In seconds.
const SEEN: i64 = 5;

impl SyncJudge {
    pub(super) fn application_changed(&mut self, commit: &Commit, state: &State, is_ours: bool) {
        let Some(after) = &commit.after else { return };
        let before = commit.before.as_deref().unwrap_or(&Value::Null);
        if before["spec"] != after["spec"] {
            self.policy_since = Some(commit.at);
        }
        remember(&mut self.apps, commit.at, Arc::clone(after));
        let (was, is) = (Op::of(before), Op::of(after));
        if was != is {
            remember(&mut self.ops, commit.at, is.clone());
        }
        if let Some(is) = &is {
            let is_new = was.as_ref().is_none_or(|was| is.is_after(was));
            if is_new {
                let live = facts::tracked(state).len();
                self.pruned.insert(is.name(), (live, BTreeSet::new()));
            }
            if is_new && is_ours {
                self.begins(is, before, commit.at, state);
            } else if is_ours
                && let Some(was) = &was
                && !is_new
                && was.revision != is.revision
                && (!is.refreshes || self.git.is_ancestor(&is.revision, &was.revision))
            {
                self.blame(
                    Rule::S1,
                    commit.at,
                    format!("an operation went from commit {:?} to {:?}", was.revision, is.revision),
                    "one commit for one operation",
                );
            }
            if is_new && is.phase != "Error" && !is.automated && is.selected.is_empty() {
                self.rolled_back(is, after, commit.at);
            }
        }
        let shown = |app: &Value| {
            (
                text(app, "/status/sync/status").to_owned(),
                text(app, "/status/sync/revision").to_owned(),
            )
        };
        if is_ours && shown(after).0 == "Synced" && shown(before) != shown(after) {
            self.shown_synced(&shown(after).1, state, commit.at);
        }
    }

    /// S1 and S5: an operation begins.
    fn begins(&mut self, op: &Op, before: &Value, at: Timestamp, state: &State) {
        let tried = *self.tried.entry(op.revision.clone()).or_insert(at);
        let is_known = self.content(&op.revision).is_some();
        if op.is_running() && !is_known && !op.revision.is_empty() {
            self.blame(
                Rule::S1,
                at,
                format!("an operation begins that is pinned to {:?}", op.revision),
                "the name of a commit",
            );
        }
        if !op.automated {
            return;
        }
        let history = before["status"]["history"].as_array();
        let deployed = history.and_then(|history| history.last());
        let deployed = deployed.map_or("", |entry| text(entry, "/revision"));
        if deployed != op.revision && !deployed.is_empty() && self.git.is_ancestor(&op.revision, deployed) {
            self.blame(
                Rule::S1,
                at,
                format!("an automated sync to {}, which is older than {deployed}", op.revision),
                "no way back without being asked",
            );
        }
        self.released(at);
        if let Some(held) = self.held.clone().filter(|held| held.revision == op.revision) {
            self.blame(
                Rule::S5,
                at,
                format!(
                    "an automated sync to {}, which was rolled back at {}",
                    op.revision, held.since
                ),
                "a hold until a newer commit arrives",
            );
        }
        if let Some(since) = self.aborted_since
            && at.duration_since(since.max(tried)) > self.allowance.staleness + SignedDuration::from_secs(SEEN)
            && self.says_what_was_aborted(&op.revision, state)
        {
            self.blame(
                Rule::S5,
                at,
                format!(
                    "an automated sync to {}, whose Rollout was aborted at {since}",
                    op.revision
                ),
                "a hold until a newer commit arrives",
            );
        }
    }

    /// Whether the aborted Rollout is as this commit says.
    fn says_what_was_aborted(&self, revision: &str, state: &State) -> bool {
        let Some(content) = self.content(revision) else {
            return false;
        };
        let Some(expected) = content.find("Rollout", "web") else {
            return false;
        };
        let live = facts::key_of(expected).and_then(|key| state.get(&key).cloned());
        live.is_some_and(|live| facts::differs(expected, &live, false).is_none())
    }

    /// A person went to another commit than the branch is at: that one is held from now on.
    fn rolled_back(&mut self, op: &Op, app: &Value, at: Timestamp) {
        let compared = text(app, "/status/sync/revision");
        let is_automated = !app["spec"]["syncPolicy"]["automated"].is_null();
        if op.revision == compared {
            self.held = None;
        } else if is_automated && !op.revision.is_empty() && !compared.is_empty() {
            self.held = Some(Held {
                revision: compared.to_owned(),
                since: at,
            });
        }
    }

    /// A hold ends when the branch has moved on, or when there is no automation to be held back.
    fn released(&mut self, at: Timestamp) {
        let Some(held) = &self.held else { return };
        let moved = self
            .git
            .moves(MAIN)
            .iter()
            .any(|(moved, commit)| *moved > held.since && *commit != held.revision);
        let unautomated =
            super::within(&self.apps, held.since).any(|app| app["spec"]["syncPolicy"]["automated"].is_null());
        let tip_differs = self.git.tip(MAIN).is_some_and(|tip| tip != held.revision);
        if moved || unautomated || tip_differs || at < held.since {
            self.held = None;
        }
    }

    /// S8: what is shown as Synced is what there is.
    fn shown_synced(&mut self, revision: &str, state: &State, at: Timestamp) {
        if let Some((object, wrong)) = self.unlike(revision, state, Some(at)) {
            self.blame_for(
                Rule::S8,
                at,
                &object,
                format!("Application {NAME} is shown as Synced to {revision}, and {wrong}"),
                "what the commit says",
            );
        }
    }

    /// An object that is not as a commit says; with `at`, one that nobody else wrote in the last moments before.
    pub(super) fn unlike(&self, revision: &str, state: &State, at: Option<Timestamp>) -> Option<(String, String)> {
        let content = self.content(revision)?;
        let excused = |key: &_| {
            let horizon = at.map(|at| self.horizon(at));
            let meddled = self.meddled.get(key);
            horizon.is_some_and(|horizon| meddled.is_some_and(|meddled| *meddled >= horizon))
        };
        for expected in content.resources() {
            let Some(key) = facts::key_of(expected) else { continue };
            if excused(&key) {
                continue;
            }
            let scaled = self.is_scaled(&content, &key);
            let wrong = match state.get(&key) {
                None => Some("it is missing".to_owned()),
                Some(live) => facts::differs(expected, live, scaled),
            };
            if let Some(wrong) = wrong {
                return Some((key.to_string(), wrong));
            }
        }
        let project = self.projects.back().map(|(_, project)| Arc::clone(project));
        let project_is_new = at.is_some_and(|at| {
            let horizon = self.horizon(at);
            self.projects.back().is_some_and(|(since, _)| *since >= horizon)
        });
        for (key, live) in facts::tracked(state) {
            let is_named =
                content.form == content::Form::Good && content.find(key.kind.facts().kind, &key.name).is_some();
            let is_refused = project_is_new || project.as_ref().is_some_and(|project| facts::is_refused(project, &key));
            if !is_named && !is_refused && !excused(&key) {
                let wrong = format!(
                    "it is tracked though no file names it ({})",
                    text(&live, "/metadata/name")
                );
                return Some((key.to_string(), wrong));
            }
        }
        None
    }

    /// S2: some time after a good commit was pushed nothing older is still being tried.
    pub(super) fn newest_first(&mut self, at: Timestamp, state: &State) {
        if self.allowance.reaction.is_none() {
            return;
        }
        let Some(app) = facts::application(state).cloned() else {
            return;
        };
        let moves = self.git.moves(MAIN);
        let Some((moved, tip)) = moves.last() else { return };
        let since = [Some(*moved), self.git_trouble, self.policy_since]
            .into_iter()
            .flatten()
            .max();
        let since = since.unwrap_or(*moved);
        if at.duration_since(since) < SignedDuration::from_secs(NOTICED) {
            return;
        }
        let is_good = self.content(tip).is_some_and(|content| content.is_good());
        let is_automated = !app["spec"]["syncPolicy"]["automated"].is_null();
        if !is_good || !is_automated {
            return;
        }
        let compared = text(&app, "/status/sync/revision");
        if compared != tip {
            self.blame(
                Rule::S2,
                at,
                format!("commit {tip} of {moved} is not looked at: compared with {compared:?}"),
                "the newest commit",
            );
            return;
        }
        let op = Op::of(&app).filter(|op| op.is_running() && op.automated);
        if let Some(op) = op.filter(|op| op.revision != *tip && !self.git.is_ancestor(tip, &op.revision)) {
            let held = text(&app, "/status/hold/revision");
            if held != tip {
                let message = text(&app, "/status/operationState/message").to_owned();
                self.blame(
                    Rule::S2,
                    at,
                    format!(
                        "commit {tip} of {moved} waits for an operation to {}: {message}",
                        op.revision
                    ),
                    "the newer commit to go first",
                );
            }
        }
    }
}
