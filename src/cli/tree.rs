//! The text of `get rollout`: a header and the tree of revisions, icon for icon as users know it. Pure: objects and the
//! time in, text out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::info::{self, Phase};
use super::style::{Icon, Style, clean, columns, human_duration};
use super::{pod, style::Branches};
use crate::api::{analysis::AnalysisRun, replica_set::ReplicaSet, rollout::Rollout, well_known};

/// A Rollout and what belongs to it; lists may hold foreign objects, which are left out by owner.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// The Rollout.
    pub rollout: Rollout,
    /// Candidates for its ReplicaSets and those of its experiments.
    pub replica_sets: Vec<ReplicaSet>,
    /// Candidates for their pods.
    pub pods: Vec<Pod>,
    /// Candidates for its AnalysisRuns and those of its experiments.
    pub analysis_runs: Vec<AnalysisRun>,
    /// Candidates for its Experiments, as JSON.
    pub experiments: Vec<Value>,
}

/// The whole output of `get rollout`.
pub fn render(family: &Family, now: Timestamp, style: Style) -> String {
    let mut sets: Vec<ReplicaSet> = family
        .replica_sets
        .iter()
        .filter(|set| owned(&set.metadata, uid(&family.rollout.metadata)))
        .cloned()
        .collect();
    sets.sort_by(|left, right| {
        right
            .revision()
            .cmp(&left.revision())
            .then_with(|| left.name().cmp(right.name()))
    });
    let painter = Painter {
        family,
        sets: &sets,
        now,
        style,
    };
    format!("{}\n{}", painter.header(), painter.table())
}

struct Painter<'f> {
    family: &'f Family,
    /// The Rollout's own, newest revision first.
    sets: &'f [ReplicaSet],
    now: Timestamp,
    style: Style,
}

/// One line of the tree and what hangs below it.
struct Branch {
    name: String,
    /// Kind, status, age and info; empty for a revision.
    cells: [String; 4],
    below: Vec<Self>,
}

impl Painter<'_> {
    fn header(&self) -> String {
        let rollout = &self.family.rollout;
        let phase = Phase::of(rollout);
        let mut lines = vec![
            ("Name:", clean(rollout.metadata.name.as_deref().unwrap_or_default())),
            (
                "Namespace:",
                clean(rollout.metadata.namespace.as_deref().unwrap_or_default()),
            ),
            ("Status:", format!("{} {}", self.style.icon(phase.icon()), phase.phase)),
        ];
        if !phase.message.is_empty() {
            lines.push(("Message:", phase.message.clone()));
        }
        lines.push(("Strategy:", info::strategy(rollout).to_owned()));
        if rollout.spec.strategy.canary.is_some() {
            lines.push(("  Step:", info::step(rollout).unwrap_or_default()));
            lines.push(("  SetWeight:", info::set_weight(rollout).to_string()));
            lines.push(("  ActualWeight:", info::actual_weight(rollout, self.sets).to_string()));
        }
        for (index, image) in self.images().into_iter().enumerate() {
            lines.push((if index == 0 { "Images:" } else { "" }, image));
        }
        let status = rollout.status.clone().unwrap_or_default();
        lines.push(("Replicas:", String::new()));
        for (label, count) in [
            ("  Desired:", rollout.spec.replicas.unwrap_or(1)),
            ("  Current:", status.replicas),
            ("  Updated:", status.updated_replicas),
            ("  Ready:", status.ready_replicas),
            ("  Available:", status.available_replicas),
        ] {
            lines.push((label, count.to_string()));
        }
        lines
            .into_iter()
            .map(|(label, value)| format!("{label:<17}{value}\n"))
            .collect()
    }

    /// Images of ReplicaSets with pods, each with the roles it has.
    fn images(&self) -> Vec<String> {
        let mut images: Vec<(String, Vec<&'static str>)> = Vec::new();
        for set in self.sets.iter().filter(|set| set.replicas() > 0) {
            let containers = set.spec.template.pointer("/spec/containers").and_then(Value::as_array);
            for container in containers.into_iter().flatten() {
                let image = clean(container.get("image").and_then(Value::as_str).unwrap_or_default());
                let roles = self.roles(set);
                match images.iter_mut().find(|(known, _)| *known == image) {
                    Some((_, known)) => known.extend(roles),
                    None => images.push((image, roles)),
                }
            }
        }
        let text = |(image, mut roles): (String, Vec<&str>)| {
            let mut seen = Vec::new();
            roles.retain(|role| {
                !seen.contains(role) && {
                    seen.push(*role);
                    true
                }
            });
            if roles.is_empty() {
                image
            } else {
                format!("{image} ({})", roles.join(", "))
            }
        };
        images.into_iter().map(text).collect()
    }

    /// The roles of one of the Rollout's ReplicaSets: `stable`, `canary`, `active`, `preview`, `ping`, `pong`.
    fn roles(&self, set: &ReplicaSet) -> Vec<&'static str> {
        let rollout = &self.family.rollout;
        let (hash, Some(status)) = (set.pod_hash(), &rollout.status) else {
            return Vec::new();
        };
        if hash.is_empty() {
            return Vec::new();
        }
        let mut roles = Vec::new();
        let stable = hash == status.stable_rs;
        if let Some(canary) = &rollout.spec.strategy.canary {
            let is_canary = !stable && hash == status.current_pod_hash;
            roles.extend(stable.then_some("stable").or(is_canary.then_some("canary")));
            let stable_side = status.canary.as_ref().map(|canary| canary.stable_ping_pong.as_str());
            if canary.ping_pong.is_some() && (stable || is_canary) {
                let ping = (stable_side == Some("ping")) == stable;
                roles.push(if ping { "ping" } else { "pong" });
            }
        }
        if rollout.spec.strategy.blue_green.is_some() {
            let selected = status.blue_green.clone().unwrap_or_default();
            roles.extend(stable.then_some("stable"));
            if hash == selected.active_selector {
                roles.push("active");
            } else if hash == selected.preview_selector {
                roles.push("preview");
            }
        }
        roles
    }

    fn table(&self) -> String {
        let rollout = &self.family.rollout;
        let phase = Phase::of(rollout);
        let root = Branch {
            name: self.named(Icon::Rollout, &rollout.metadata),
            cells: [
                "Rollout".to_owned(),
                self.status(phase.icon(), &phase.phase),
                self.age(&rollout.metadata),
                String::new(),
            ],
            below: self.revisions(),
        };
        let header = ["NAME", "KIND", "STATUS", "AGE", "INFO"].map(str::to_owned).to_vec();
        let mut rows = vec![header];
        self.draw(&root, "", "", &mut rows);
        columns(&rows)
    }

    /// `first` stands before the name, `rest` before the names below.
    fn draw(&self, branch: &Branch, first: &str, rest: &str, rows: &mut Vec<Vec<String>>) {
        let mut row = vec![format!("{first}{}", branch.name)];
        row.extend(branch.cells.iter().cloned());
        rows.push(row);
        let Branches {
            branch: fork,
            last,
            line,
            space,
        } = self.style.branches();
        for (index, below) in branch.below.iter().enumerate() {
            let (mark, continued) = if index + 1 == branch.below.len() {
                (last, space)
            } else {
                (fork, line)
            };
            self.draw(below, &format!("{rest}{mark}"), &format!("{rest}{continued}"), rows);
        }
    }

    /// Newest first; in each the ReplicaSets, Experiments and AnalysisRuns.
    fn revisions(&self) -> Vec<Branch> {
        let owner = uid(&self.family.rollout.metadata);
        let mut revisions: BTreeMap<std::cmp::Reverse<i64>, Vec<Branch>> = BTreeMap::new();
        let mut put = |revision: i64, branch: Branch| {
            revisions.entry(std::cmp::Reverse(revision)).or_default().push(branch);
        };
        for set in self.sets {
            put(set.revision(), self.replica_set(set, &self.roles(set)));
        }
        let mut experiments: Vec<(ObjectMeta, &Value)> = self
            .family
            .experiments
            .iter()
            .map(|experiment| (metadata(experiment), experiment))
            .collect();
        experiments.retain(|(meta, _)| owned(meta, owner));
        experiments.sort_by(|(left, _), (right, _)| by_age(left, right));
        for (meta, experiment) in &experiments {
            put(revision(meta), self.experiment(meta, experiment));
        }
        for run in self.runs_of(owner) {
            put(revision(&run.metadata), self.analysis_run(run));
        }
        revisions
            .into_iter()
            .map(|(std::cmp::Reverse(revision), below)| Branch {
                name: format!("{} revision:{revision}", self.style.icon(Icon::Revision)),
                cells: Default::default(),
                below,
            })
            .collect()
    }

    fn runs_of(&self, owner: &str) -> Vec<&AnalysisRun> {
        let mut runs: Vec<&AnalysisRun> = self
            .family
            .analysis_runs
            .iter()
            .filter(|run| owned(&run.metadata, owner))
            .collect();
        runs.sort_by(|left, right| by_age(&left.metadata, &right.metadata));
        runs
    }

    fn replica_set(&self, set: &ReplicaSet, roles: &[&str]) -> Branch {
        let failed = set
            .status
            .conditions
            .iter()
            .any(|condition| condition.r#type == "ReplicaFailure" && condition.status == "True");
        let observed = set.metadata.generation.unwrap_or(0) <= set.status.observed_generation;
        let (icon, status) = if failed {
            (Icon::Bad, "ReplicaFailure")
        } else if set.replicas() == 0 {
            (Icon::Neutral, "ScaledDown")
        } else if observed && set.status.available_replicas >= set.replicas() {
            (Icon::Ok, "Healthy")
        } else {
            (Icon::Progressing, "Progressing")
        };
        let mut info: Vec<String> = roles
            .iter()
            .map(|role| self.style.paint(role, role_color(role)))
            .collect();
        if let Some(deadline) = set.scale_down_deadline().filter(|_| set.replicas() > 0) {
            let left = deadline.duration_since(self.now);
            let passed = !left.is_positive();
            info.push(if passed {
                "delay:passed".to_owned()
            } else {
                format!("delay:{}", human_duration(left))
            });
        }
        let mut pods: Vec<&Pod> = self
            .family
            .pods
            .iter()
            .filter(|pod| owned(&pod.metadata, uid(&set.metadata)))
            .collect();
        pods.sort_by(|left, right| by_age(&left.metadata, &right.metadata));
        Branch {
            name: self.named(Icon::ReplicaSet, &set.metadata),
            cells: [
                "ReplicaSet".to_owned(),
                self.status(icon, status),
                self.age(&set.metadata),
                info.join(","),
            ],
            below: pods.into_iter().map(|pod| self.pod(pod)).collect(),
        }
    }

    fn pod(&self, pod: &Pod) -> Branch {
        let (icon, status) = pod::status(pod);
        Branch {
            name: self.named(Icon::Pod, &pod.metadata),
            cells: [
                "Pod".to_owned(),
                self.status(icon, &status),
                self.age(&pod.metadata),
                pod::readiness(pod),
            ],
            below: Vec::new(),
        }
    }

    fn experiment(&self, meta: &ObjectMeta, experiment: &Value) -> Branch {
        let phase = experiment
            .pointer("/status/phase")
            .and_then(Value::as_str)
            .unwrap_or("Pending");
        let mut sets: Vec<&ReplicaSet> = self
            .family
            .replica_sets
            .iter()
            .filter(|set| owned(&set.metadata, uid(meta)))
            .collect();
        sets.sort_by(|left, right| left.name().cmp(right.name()));
        let mut below: Vec<Branch> = sets.into_iter().map(|set| self.replica_set(set, &[])).collect();
        below.extend(self.runs_of(uid(meta)).into_iter().map(|run| self.analysis_run(run)));
        Branch {
            name: self.named(Icon::Experiment, meta),
            cells: [
                "Experiment".to_owned(),
                self.status(analysis_icon(phase), phase),
                self.age(meta),
                String::new(),
            ],
            below,
        }
    }

    fn analysis_run(&self, run: &AnalysisRun) -> Branch {
        let status = run.status.clone().unwrap_or_default();
        let phase = if status.phase.is_empty() {
            "Pending"
        } else {
            status.phase.as_str()
        };
        let results = || status.metric_results.iter().filter(|result| !result.dry_run);
        let total = |count: fn(&crate::api::analysis::MetricResult) -> i32| results().map(count).sum::<i32>();
        let counts = [
            (Icon::Ok, total(|result| result.successful)),
            (Icon::Bad, total(|result| result.failed)),
            (Icon::Unknown, total(|result| result.inconclusive)),
            (Icon::Warning, total(|result| result.error)),
        ];
        let info: Vec<String> = counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(icon, count)| format!("{} {count}", self.style.icon(icon)))
            .collect();
        let measurements = status.metric_results.iter().flat_map(|result| &result.measurements);
        let jobs = measurements.filter_map(|measurement| {
            let name = clean(measurement.metadata.get("job-name")?);
            let age = measurement
                .started_at
                .as_ref()
                .map(|time| human_duration(self.now.duration_since(time.0)));
            let status = self.status(analysis_icon(&measurement.phase), &measurement.phase);
            Some(Branch {
                name: format!("{} {name}", self.style.icon(Icon::Job)),
                cells: ["Job".to_owned(), status, age.unwrap_or_default(), String::new()],
                below: Vec::new(),
            })
        });
        Branch {
            name: self.named(Icon::AnalysisRun, &run.metadata),
            cells: [
                "AnalysisRun".to_owned(),
                self.status(analysis_icon(phase), phase),
                self.age(&run.metadata),
                info.join(","),
            ],
            below: jobs.collect(),
        }
    }

    fn named(&self, icon: Icon, meta: &ObjectMeta) -> String {
        format!(
            "{} {}",
            self.style.icon(icon),
            clean(meta.name.as_deref().unwrap_or_default())
        )
    }

    fn status(&self, icon: Icon, word: &str) -> String {
        format!("{} {}", self.style.icon(icon), clean(word))
    }

    fn age(&self, meta: &ObjectMeta) -> String {
        let created = meta.creation_timestamp.as_ref();
        created
            .map(|created| human_duration(self.now.duration_since(created.0)))
            .unwrap_or_default()
    }
}

fn role_color(role: &str) -> &'static str {
    match role {
        "stable" | "active" => "32",
        _ => "33",
    }
}

fn analysis_icon(phase: &str) -> Icon {
    match phase {
        "Successful" => Icon::Ok,
        "Failed" => Icon::Bad,
        "Error" => Icon::Warning,
        "Inconclusive" => Icon::Unknown,
        "Running" => Icon::Progressing,
        "Pending" => Icon::Waiting,
        _ => Icon::Unknown,
    }
}

fn metadata(object: &Value) -> ObjectMeta {
    object
        .get("metadata")
        .cloned()
        .and_then(|metadata| serde_json::from_value(metadata).ok())
        .unwrap_or_default()
}

fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

fn owned(meta: &ObjectMeta, owner: &str) -> bool {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    !owner.is_empty() && owners.iter().any(|reference| reference.uid == owner)
}

fn revision(meta: &ObjectMeta) -> i64 {
    let annotations = meta.annotations.as_ref();
    annotations
        .and_then(|all| all.get(well_known::REVISION))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Oldest first, then by name.
fn by_age(left: &ObjectMeta, right: &ObjectMeta) -> std::cmp::Ordering {
    let created = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map(|time| time.0);
    created(left)
        .cmp(&created(right))
        .then_with(|| left.name.cmp(&right.name))
}

#[cfg(test)]
mod tests;
