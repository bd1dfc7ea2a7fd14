//! What is written to objects: S1, S3, S4, S6 and S7.

use super::{Rule, SyncJudge, facts, facts::Op, within};
use crate::{
    facts::text,
    sync::content::{self, Content, HOOK, OPTIONS},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};
use tidegate::sim::api::{
    faults::Verb,
    kinds::{Key, Kind},
    observe::Commit,
};

/// An automated operation may always delete this many objects.
const FREE: usize = 5;

impl SyncJudge {
    /// Judges a request to apply an object.
    pub(super) fn applies(&mut self, key: &Key, body: &Value, at: Timestamp) {
        let running = self.running(at);
        if running.is_empty() {
            self.blame_for(
                Rule::S1,
                at,
                &key.to_string(),
                "written without an operation under way",
                "an operation pinned to a commit",
            );
            return;
        }
        let problems: Vec<(Rule, String, String)> = running
            .iter()
            .filter_map(|op| self.apply_problem(op, key, body, at))
            .collect();
        // One operation that asks for it is enough.
        if problems.len() == running.len()
            && let Some((rule, found, expected)) = problems.into_iter().next_back()
        {
            self.blame_for(rule, at, &key.to_string(), found, expected);
        }
        self.within_limits(key, at);
    }

    fn apply_problem(&self, op: &Op, key: &Key, body: &Value, at: Timestamp) -> Option<(Rule, String, String)> {
        let content = self.content(&op.revision);
        let expected = content
            .as_ref()
            .and_then(|content| content.find(key.kind.facts().kind, &key.name));
        let (Some(content), Some(expected)) = (&content, expected) else {
            let found = format!("an object that commit {} does not name", op.revision);
            return Some((Rule::S1, found, "what one commit says".to_owned()));
        };
        let owned_by_others = self.is_scaled(content, key);
        let wrong = facts::differs(expected, body, owned_by_others)
            .or_else(|| facts::invents(body, expected, "").map(|path| format!("{path} is invented")));
        if let Some(wrong) = wrong {
            return Some((Rule::S1, wrong, format!("what commit {} says", op.revision)));
        }
        if op.phase == "Terminating" {
            return Some((
                Rule::S1,
                "written for an operation that is to end".to_owned(),
                "nothing".to_owned(),
            ));
        }
        self.order_problem(op, content, expected, at)
            .map(|found| (Rule::S4, found, "earlier hooks and waves to be well first".to_owned()))
    }

    pub(super) fn is_scaled(&self, content: &Content, key: &Key) -> bool {
        facts::is_autoscaled(content, key) || self.scaled.contains_key(key)
    }

    /// S4: what must be well before this object is written.
    fn order_problem(&self, op: &Op, content: &Content, object: &Value, at: Timestamp) -> Option<String> {
        let started: Timestamp = op.started.parse().unwrap_or(at);
        let phase = |object: &Value| match object["metadata"]["annotations"].get(HOOK).and_then(Value::as_str) {
            None => 1,
            Some("PreSync") => 0,
            Some("PostSync") => 2,
            Some(_) => 3,
        };
        if phase(object) == 3 {
            // A SyncFail hook follows a failure.
            return None;
        }
        let place = (phase(object), content::wave(object));
        let earlier = content.rendered().filter(|other| {
            (phase(other), content::wave(other)) < place
                && op.selects(other)
                && (op.selected.is_empty() || phase(other) == 1)
        });
        for other in earlier {
            let key = facts::key_of(other)?;
            if content::is_hook(other) {
                let done = self.hooks_done.get(&key.name).is_some_and(|done| *done >= started);
                if !done {
                    return Some(format!("written before hook {key} was complete"));
                }
            } else if !self.was_well(content, &key, other, started.min(self.horizon(at))) {
                return Some(format!("written before {key} was as the commit says and well"));
            }
        }
        None
    }

    /// Whether an object was as a commit says and well at some moment since then.
    fn was_well(&self, content: &Content, key: &Key, expected: &Value, since: Timestamp) -> bool {
        let scaled = self.is_scaled(content, key);
        // What somebody changes after it was applied is drift; it must be well, and no more.
        let drifted = self.meddled.get(key).is_some_and(|at| *at >= since);
        let spells = self.spells.get(key).into_iter().flatten();
        spells
            .filter(|spell| spell.until.is_none_or(|until| until >= since))
            .any(|spell| drifted || facts::differs(expected, &spell.value, scaled).is_none())
    }

    /// S7: the project must not have refused it all the time that can have been seen.
    fn within_limits(&mut self, key: &Key, at: Timestamp) {
        // The project's watch may be behind by itself.
        let horizon = self
            .horizon(at)
            .saturating_sub(SignedDuration::from_secs(2))
            .unwrap_or(at);
        let refused = within(&self.projects, horizon).all(|project| facts::is_refused(project, key));
        if refused && !self.projects.is_empty() {
            self.blame_for(
                Rule::S7,
                at,
                &key.to_string(),
                "written beyond the project's limits",
                "no write that the project does not permit",
            );
        }
    }

    /// Judges an accepted write of a controller to an object.
    pub(super) fn object_written(&mut self, commit: &Commit) {
        let is_leaving = |object: &Value| !text(object, "/metadata/deletionTimestamp").is_empty();
        match (&commit.before, &commit.after) {
            (Some(before), after)
                if commit.verb == Verb::Delete && !is_leaving(before) && after.as_deref().is_none_or(is_leaving) =>
            {
                self.deleted(&commit.key, before, commit.at);
            }
            (Some(before), Some(after)) if commit.verb == Verb::Apply => self.fields_kept(commit, before, after),
            _ => {}
        }
    }

    /// S6: what others own in an object that is applied.
    fn fields_kept(&mut self, commit: &Commit, before: &Value, after: &Value) {
        let key = &commit.key;
        if key.kind == Kind::Service && facts::selected_hash(before).is_some() {
            let kept = facts::selected_hash(before) == facts::selected_hash(after);
            if !kept {
                self.blame_for(
                    Rule::S6,
                    commit.at,
                    &key.to_string(),
                    format!(
                        "selector {} after {}",
                        after["spec"]["selector"], before["spec"]["selector"]
                    ),
                    "the pod hash a Rollout put there",
                );
            }
        }
        let replicas = |object: &Value| object["spec"]["replicas"].clone();
        // What was on its way when the autoscaler first acted could not know of it.
        let horizon = self.horizon(commit.at);
        let known = self.scaled.get(key).is_some_and(|since| *since < horizon) && !self.rescaled.contains(key);
        if known && replicas(before) != replicas(after) {
            self.blame_for(
                Rule::S6,
                commit.at,
                &key.to_string(),
                format!("{} replicas after {}", replicas(after), replicas(before)),
                "the replicas its autoscaler chose",
            );
        }
    }

    /// S3: what is deleted.
    fn deleted(&mut self, key: &Key, before: &Arc<Value>, at: Timestamp) {
        if content::is_hook(before) {
            return;
        }
        let running = self.running(at);
        let problems: Vec<String> = running
            .iter()
            .filter_map(|op| self.prune_problem(op, key, before, at))
            .collect();
        if problems.len() == running.len() {
            let found = problems.into_iter().next_back();
            let found = found.unwrap_or_else(|| "deleted without an operation under way".to_owned());
            self.blame_for(
                Rule::S3,
                at,
                &key.to_string(),
                found,
                "only tracked objects that a good commit no longer names, and not too many",
            );
        }
        let Some(op) = running.last() else { return };
        let (live, pruned) = self.pruned.entry(op.name()).or_insert((0, BTreeSet::new()));
        pruned.insert(key.clone());
        let (live, count) = (*live, pruned.len());
        // Who allows an empty source allows everything to go with it.
        let emptied = self
            .content(&op.revision)
            .is_some_and(|content| content.form == content::Form::Empty);
        if op.automated && !emptied && count > FREE && live > 0 && count * 2 > live {
            self.blame_for(
                Rule::S3,
                at,
                &key.to_string(),
                format!("{count} of {live} objects deleted by one automated operation"),
                "at most half of them",
            );
        }
        self.within_limits(key, at);
    }

    fn prune_problem(&self, op: &Op, key: &Key, before: &Value, at: Timestamp) -> Option<String> {
        let content = self.content(&op.revision)?;
        let allows_empty = within(&self.apps, self.horizon(at))
            .any(|app| app["spec"]["syncPolicy"]["automated"]["allowEmpty"] == true);
        if !facts::is_tracked(key, before) {
            return Some("an object was deleted that is not tracked".to_owned());
        }
        if !op.prune {
            return Some("deleted by an operation that does not prune".to_owned());
        }
        if content.form != content::Form::Good && !(allows_empty && content.form == content::Form::Empty) {
            return Some(format!(
                "deleted for commit {}, which cannot be rendered to objects",
                op.revision
            ));
        }
        if content.find(key.kind.facts().kind, &key.name).is_some() {
            return Some(format!("deleted though commit {} names it", op.revision));
        }
        let options = before["metadata"]["annotations"].get(OPTIONS).and_then(Value::as_str);
        if options.is_some_and(|options| options.contains("Prune=false")) {
            return Some("deleted though it says Prune=false".to_owned());
        }
        None
    }
}
