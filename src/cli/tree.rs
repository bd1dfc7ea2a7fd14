//! The picture of `get rollout`, icon for icon as users know it, and the nodes it shares with `get experiment`. Pure:
//! objects and the time in, a picture out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::images::{Images, collect_images, image_lines, images_json};
use super::info::{self, Phase};
use super::picture::{Node, Picture, Piece};
use super::pod;
use super::style::{Icon, clean, human_duration};
use crate::api::{
    analysis::{AnalysisRun, MetricResult},
    experiment::Experiment,
    replica_set::ReplicaSet,
    rollout::Rollout,
    well_known,
};

/// What may belong to a Rollout or an Experiment; foreign objects are left out by owner.
#[derive(Clone, Debug, Default)]
pub struct Relatives {
    /// Candidates for its ReplicaSets and those of its experiments.
    pub replica_sets: Vec<ReplicaSet>,
    /// Candidates for their pods.
    pub pods: Vec<Pod>,
    /// Candidates for its AnalysisRuns and those of its experiments.
    pub analysis_runs: Vec<AnalysisRun>,
    /// Candidates for its Experiments.
    pub experiments: Vec<Experiment>,
}

/// The picture of a Rollout. `wide`: with images and nodes.
pub fn rollout(rollout: &Rollout, relatives: &Relatives, now: Timestamp, wide: bool) -> Picture {
    let mut sets = relatives.sets_of(uid(&rollout.metadata));
    sets.sort_by(|left, right| {
        right
            .revision()
            .cmp(&left.revision())
            .then_with(|| left.name().cmp(right.name()))
    });
    let view = View {
        rollout,
        sets,
        painter: Painter { relatives, now, wide },
    };
    let (lines, facts) = view.header();
    let phase = Phase::of(rollout);
    let root = Node {
        icon: Icon::Rollout,
        name: name(&rollout.metadata),
        kind: "Rollout",
        status: Some(Piece::with(phase.icon(), phase.phase)),
        created: created(&rollout.metadata),
        info: Vec::new(),
        below: view.revisions(),
    };
    Picture { lines, facts, root }
}

impl Relatives {
    pub(crate) fn sets_of(&self, owner: &str) -> Vec<&ReplicaSet> {
        let mut sets: Vec<&ReplicaSet> = self
            .replica_sets
            .iter()
            .filter(|set| owned(&set.metadata, owner))
            .collect();
        sets.sort_by(|left, right| left.name().cmp(right.name()));
        sets
    }

    pub(crate) fn runs_of(&self, owner: &str) -> Vec<&AnalysisRun> {
        let mut runs: Vec<&AnalysisRun> = self
            .analysis_runs
            .iter()
            .filter(|run| owned(&run.metadata, owner))
            .collect();
        runs.sort_by(|left, right| by_age(&left.metadata, &right.metadata));
        runs
    }

    fn experiments_of(&self, owner: &str) -> Vec<&Experiment> {
        let mut experiments: Vec<&Experiment> = self
            .experiments
            .iter()
            .filter(|experiment| owned(&experiment.metadata, owner))
            .collect();
        experiments.sort_by(|left, right| by_age(&left.metadata, &right.metadata));
        experiments
    }
}

struct View<'f> {
    rollout: &'f Rollout,
    /// The Rollout's own, newest revision first.
    sets: Vec<&'f ReplicaSet>,
    painter: Painter<'f>,
}

impl View<'_> {
    fn header(&self) -> (Vec<(&'static str, Piece)>, Map<String, Value>) {
        let rollout = self.rollout;
        let phase = Phase::of(rollout);
        let (name, namespace) = (name(&rollout.metadata), namespace(&rollout.metadata));
        let strategy = info::strategy(rollout);
        let mut facts = Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("namespace".to_owned(), json!(namespace)),
            ("status".to_owned(), json!(phase.phase)),
            ("message".to_owned(), json!(phase.message)),
            ("strategy".to_owned(), json!(strategy)),
        ]);
        let mut lines = vec![
            ("Name:", Piece::plain(name)),
            ("Namespace:", Piece::plain(namespace)),
            ("Status:", Piece::with(phase.icon(), phase.phase)),
        ];
        if !phase.message.is_empty() {
            lines.push(("Message:", Piece::plain(phase.message)));
        }
        lines.push(("Strategy:", Piece::plain(strategy)));
        if rollout.spec.strategy.canary.is_some() {
            let step = info::step(rollout).unwrap_or_default();
            let (set, actual) = (
                info::set_weight(rollout),
                info::actual_weight(rollout, self.sets.iter().copied()),
            );
            facts.extend([
                ("step".to_owned(), json!(step)),
                ("setWeight".to_owned(), json!(set)),
                ("actualWeight".to_owned(), json!(actual)),
            ]);
            lines.push(("  Step:", Piece::plain(step)));
            lines.push(("  SetWeight:", Piece::plain(set.to_string())));
            lines.push(("  ActualWeight:", Piece::plain(actual.to_string())));
        }
        let images = self.images();
        facts.insert("images".to_owned(), images_json(&images));
        lines.extend(image_lines(&images));
        let status = rollout.status.clone().unwrap_or_default();
        lines.push(("Replicas:", Piece::default()));
        let mut replicas = Map::new();
        for (label, key, count) in [
            ("  Desired:", "desired", rollout.spec.replicas.unwrap_or(1)),
            ("  Current:", "current", status.replicas),
            ("  Updated:", "updated", status.updated_replicas),
            ("  Ready:", "ready", status.ready_replicas),
            ("  Available:", "available", status.available_replicas),
        ] {
            lines.push((label, Piece::plain(count.to_string())));
            replicas.insert(key.to_owned(), json!(count));
        }
        facts.insert("replicas".to_owned(), Value::Object(replicas));
        if let Some(waiting) = &status.waiting_for {
            facts.insert("waitingFor".to_owned(), json!(waiting));
        }
        (lines, facts)
    }

    /// Images of ReplicaSets with pods, each with the roles it has.
    fn images(&self) -> Images {
        let mut images = Images::new();
        for set in self.sets.iter().filter(|set| set.replicas() > 0) {
            collect_images(&set.spec.template, &self.roles(set), &mut images);
        }
        images
    }

    /// The roles of one of the Rollout's ReplicaSets: `stable`, `canary`, `active`, `preview`, `ping`, `pong`.
    fn roles(&self, set: &ReplicaSet) -> Vec<&'static str> {
        let (hash, Some(status)) = (set.pod_hash(), &self.rollout.status) else {
            return Vec::new();
        };
        if hash.is_empty() {
            return Vec::new();
        }
        let mut roles = Vec::new();
        let stable = hash == status.stable_rs;
        if let Some(canary) = &self.rollout.spec.strategy.canary {
            let is_canary = !stable && hash == status.current_pod_hash;
            roles.extend(stable.then_some("stable").or(is_canary.then_some("canary")));
            let stable_side = status.canary.as_ref().map(|canary| canary.stable_ping_pong.as_str());
            if canary.ping_pong.is_some() && (stable || is_canary) {
                let ping = (stable_side == Some("ping")) == stable;
                roles.push(if ping { "ping" } else { "pong" });
            }
        }
        if self.rollout.spec.strategy.blue_green.is_some() {
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

    /// Newest first; in each the ReplicaSets, Experiments and AnalysisRuns.
    fn revisions(&self) -> Vec<Node> {
        let owner = uid(&self.rollout.metadata);
        let mut revisions: BTreeMap<std::cmp::Reverse<i64>, Vec<Node>> = BTreeMap::new();
        let mut put = |revision: i64, node: Node| {
            revisions.entry(std::cmp::Reverse(revision)).or_default().push(node);
        };
        for set in &self.sets {
            put(set.revision(), self.painter.replica_set(set, &self.roles(set)));
        }
        for experiment in self.painter.relatives.experiments_of(owner) {
            put(revision(&experiment.metadata), self.painter.experiment(experiment));
        }
        for run in self.painter.relatives.runs_of(owner) {
            put(revision(&run.metadata), self.painter.analysis_run(run));
        }
        revisions
            .into_iter()
            .map(|(std::cmp::Reverse(revision), below)| Node {
                icon: Icon::Revision,
                name: format!("revision:{revision}"),
                kind: "",
                status: None,
                created: None,
                info: Vec::new(),
                below,
            })
            .collect()
    }
}

/// Turns objects into nodes.
pub(crate) struct Painter<'f> {
    pub(crate) relatives: &'f Relatives,
    pub(crate) now: Timestamp,
    /// With images and nodes.
    pub(crate) wide: bool,
}

impl Painter<'_> {
    fn replica_set(&self, set: &ReplicaSet, roles: &[&'static str]) -> Node {
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
        let mut info: Vec<Piece> = roles
            .iter()
            .map(|role| Piece {
                color: role_color(role),
                ..Piece::plain(*role)
            })
            .collect();
        if let Some(deadline) = set.scale_down_deadline().filter(|_| set.replicas() > 0) {
            let left = deadline.duration_since(self.now);
            info.push(Piece::plain(if left.is_positive() {
                format!("delay:{}", human_duration(left))
            } else {
                "delay:passed".to_owned()
            }));
        }
        if self.wide {
            let mut images = Images::new();
            collect_images(&set.spec.template, &[], &mut images);
            info.extend(
                images
                    .into_iter()
                    .map(|(image, _)| Piece::plain(format!("image:{image}"))),
            );
        }
        let mut pods: Vec<&Pod> = self
            .relatives
            .pods
            .iter()
            .filter(|pod| owned(&pod.metadata, uid(&set.metadata)))
            .collect();
        pods.sort_by(|left, right| by_age(&left.metadata, &right.metadata));
        Node {
            icon: Icon::ReplicaSet,
            name: set.name().to_owned(),
            kind: "ReplicaSet",
            status: Some(Piece::with(icon, status)),
            created: created(&set.metadata),
            info,
            below: pods.into_iter().map(|pod| self.pod(pod)).collect(),
        }
    }

    fn pod(&self, pod: &Pod) -> Node {
        let (icon, status) = pod::status(pod);
        let mut info = vec![Piece::plain(pod::readiness(pod))];
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        info.extend(
            node.filter(|_| self.wide)
                .map(|node| Piece::plain(format!("node:{node}"))),
        );
        Node {
            icon: Icon::Pod,
            name: name(&pod.metadata),
            kind: "Pod",
            status: Some(Piece::with(icon, status)),
            created: created(&pod.metadata),
            info,
            below: Vec::new(),
        }
    }

    /// An Experiment with its ReplicaSets and AnalysisRuns.
    pub(crate) fn experiment(&self, experiment: &Experiment) -> Node {
        let owner = uid(&experiment.metadata);
        let sets = self.relatives.sets_of(owner);
        let mut below: Vec<Node> = sets.into_iter().map(|set| self.replica_set(set, &[])).collect();
        below.extend(
            self.relatives
                .runs_of(owner)
                .into_iter()
                .map(|run| self.analysis_run(run)),
        );
        let phase = experiment.status.as_ref().map(|status| status.phase.as_str());
        Node {
            icon: Icon::Experiment,
            name: name(&experiment.metadata),
            kind: "Experiment",
            status: Some(phase_piece(phase)),
            created: created(&experiment.metadata),
            info: Vec::new(),
            below,
        }
    }

    fn analysis_run(&self, run: &AnalysisRun) -> Node {
        let status = run.status.clone().unwrap_or_default();
        let results = || status.metric_results.iter().filter(|result| !result.dry_run);
        let total = |count: fn(&MetricResult) -> i32| results().map(count).sum::<i32>();
        let counts = [
            (Icon::Ok, total(|result| result.successful)),
            (Icon::Bad, total(|result| result.failed)),
            (Icon::Unknown, total(|result| result.inconclusive)),
            (Icon::Warning, total(|result| result.error)),
        ];
        let counted = counts.into_iter().filter(|(_, count)| *count > 0);
        let measurements = status.metric_results.iter().flat_map(|result| &result.measurements);
        let jobs = measurements.filter_map(|measurement| {
            Some(Node {
                icon: Icon::Job,
                name: measurement.metadata.get("job-name")?.clone(),
                kind: "Job",
                status: Some(phase_piece(Some(&measurement.phase))),
                created: measurement.started_at.as_ref().map(|time| time.0),
                info: Vec::new(),
                below: Vec::new(),
            })
        });
        Node {
            icon: Icon::AnalysisRun,
            name: name(&run.metadata),
            kind: "AnalysisRun",
            status: Some(phase_piece(Some(&status.phase))),
            created: created(&run.metadata),
            info: counted
                .map(|(icon, count)| Piece::with(icon, count.to_string()))
                .collect(),
            below: jobs.collect(),
        }
    }
}

fn role_color(role: &str) -> &'static str {
    match role {
        "stable" | "active" => "32",
        _ => "33",
    }
}

/// A phase of an Experiment, AnalysisRun or measurement; none counts as `Pending`.
pub(crate) fn phase_piece(phase: Option<&str>) -> Piece {
    let phase = phase.filter(|phase| !phase.is_empty()).unwrap_or("Pending");
    let icon = match phase {
        "Successful" => Icon::Ok,
        "Failed" => Icon::Bad,
        "Error" => Icon::Warning,
        "Running" => Icon::Progressing,
        "Pending" => Icon::Waiting,
        _ => Icon::Unknown,
    };
    Piece::with(icon, phase)
}

/// `metadata.name`, clean.
pub(crate) fn name(meta: &ObjectMeta) -> String {
    clean(meta.name.as_deref().unwrap_or_default())
}

/// `metadata.namespace`, clean.
pub(crate) fn namespace(meta: &ObjectMeta) -> String {
    clean(meta.namespace.as_deref().unwrap_or_default())
}

/// `metadata.creationTimestamp`.
pub(crate) fn created(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.creation_timestamp.as_ref().map(|time| time.0)
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
    created(left)
        .cmp(&created(right))
        .then_with(|| left.name.cmp(&right.name))
}

#[cfg(test)]
mod tests;
