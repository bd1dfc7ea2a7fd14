//! What is shown of Experiments: the picture of `get experiment` and the table of `list experiments`. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::images::{Images, collect_images, image_lines, images_json};
use super::picture::{Picture, Piece};
use super::style::{clean, columns, human_duration};
use super::tree::{Painter, Relatives, created, name, namespace, phase_piece};
use crate::api::experiment::Experiment;
use crate::lang::duration;

/// The picture of an Experiment. `wide`: with images and nodes in the tree.
pub fn picture(experiment: &Experiment, relatives: &Relatives, now: Timestamp, wide: bool) -> Picture {
    let status = experiment.status.clone().unwrap_or_default();
    let message = clean(&status.message);
    let mut images = Images::new();
    for template in experiment
        .spec
        .templates
        .iter()
        .filter_map(|template| template.template.as_ref())
    {
        collect_images(template, &[], &mut images);
    }
    let (name, namespace) = (name(&experiment.metadata), namespace(&experiment.metadata));
    let phase = phase_piece(Some(&status.phase));
    let facts = Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("namespace".to_owned(), json!(namespace)),
        ("status".to_owned(), json!(phase.text)),
        ("message".to_owned(), json!(message)),
        ("images".to_owned(), images_json(&images)),
    ]);
    let mut lines = vec![
        ("Name:", Piece::plain(name)),
        ("Namespace:", Piece::plain(namespace)),
        ("Status:", phase),
    ];
    if !message.is_empty() {
        lines.push(("Message:", Piece::plain(message)));
    }
    lines.extend(image_lines(&images));
    let painter = Painter { relatives, now, wide };
    Picture {
        lines,
        facts,
        root: painter.experiment(experiment),
    }
}

/// The table of `list experiments`, by namespace and name.
pub fn table(experiments: &[Experiment], now: Timestamp, with_namespace: bool) -> String {
    let mut header = vec!["NAMESPACE", "NAME", "STATUS", "DURATION", "REMAINING", "AGE"];
    if !with_namespace {
        header.remove(0);
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
    for experiment in sorted(experiments) {
        let row = Row::of(experiment, now);
        let mut cells = vec![
            row.namespace,
            row.name,
            row.status,
            row.duration,
            row.remaining,
            row.age,
        ];
        if !with_namespace {
            cells.remove(0);
        }
        rows.push(cells);
    }
    columns(&rows)
}

/// The same for programs.
pub fn facts(experiments: &[Experiment], now: Timestamp) -> Value {
    let items = sorted(experiments).into_iter().map(|experiment| {
        let row = Row::of(experiment, now);
        json!({"name": row.name, "namespace": row.namespace, "status": row.status, "duration": row.duration,
            "remaining": row.remaining, "createdAt": created(&experiment.metadata).map(|at| at.to_string())})
    });
    json!({"items": items.collect::<Vec<_>>()})
}

pub(crate) fn sorted(experiments: &[Experiment]) -> Vec<&Experiment> {
    let mut sorted: Vec<&Experiment> = experiments.iter().collect();
    sorted.sort_by_key(|experiment| (experiment.metadata.namespace.clone(), experiment.metadata.name.clone()));
    sorted
}

struct Row {
    namespace: String,
    name: String,
    status: String,
    duration: String,
    remaining: String,
    age: String,
}

impl Row {
    fn of(experiment: &Experiment, now: Timestamp) -> Self {
        let status = experiment.status.clone().unwrap_or_default();
        let written = &experiment.spec.duration;
        let none = || "-".to_owned();
        // Counted from when everything was available; before that nothing of it has passed.
        let remaining = duration::parse(written)
            .ok()
            .filter(|_| !is_over(&status.phase))
            .map(|duration| {
                let passed = status
                    .available_at
                    .as_ref()
                    .map_or(SignedDuration::ZERO, |at| now.duration_since(at.0));
                human_duration(duration.saturating_sub(passed).max(SignedDuration::ZERO))
            });
        Self {
            namespace: namespace(&experiment.metadata),
            name: name(&experiment.metadata),
            status: phase_piece(Some(&status.phase)).text,
            duration: if written.is_empty() { none() } else { clean(written) },
            remaining: remaining.unwrap_or_else(none),
            age: created(&experiment.metadata).map_or_else(none, |at| human_duration(now.duration_since(at))),
        }
    }
}

/// Whether a phase is an end.
pub(crate) fn is_over(phase: &str) -> bool {
    matches!(phase, "Successful" | "Failed" | "Error" | "Inconclusive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::style::Style;

    fn experiment(name: &str, spec: &Value, status: &Value) -> Experiment {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn owned(owner: &str, name: &str, rest: &Value) -> Value {
        let mut object = rest.clone();
        object["metadata"] = json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-01-01T00:50:00Z", "annotations": rest["annotations"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": owner, "uid": format!("uid-{owner}")}]});
        object
    }

    #[test]
    fn the_tree_holds_replica_sets_and_analyses() {
        let container = |image: &str| json!({"spec": {"containers": [{"name": "web", "image": image}]}});
        let spec = json!({"duration": "20m", "templates": [
            {"name": "canary", "template": container("demo:v2")}, {"name": "baseline", "template": container("demo:v1")}]});
        let trial = experiment("trial", &spec, &json!({"phase": "Running", "message": "a\u{7}b"}));
        let set = |name: &str, replicas: i32, annotations: &Value| {
            let rest = json!({"spec": {"replicas": replicas, "template": container("demo:v2")}, "annotations": annotations,
                "status": {"replicas": replicas, "availableReplicas": replicas}});
            serde_json::from_value(owned("trial", name, &rest)).unwrap()
        };
        let run = json!({"spec": {}, "status": {"phase": "Failed", "metricResults": [{"name": "m", "failed": 1}]}});
        let relatives = Relatives {
            replica_sets: vec![
                set(
                    "trial-canary",
                    1,
                    &json!({"scale-down-deadline": "2026-01-01T01:00:09Z"}),
                ),
                set("trial-baseline", 0, &Value::Null),
            ],
            analysis_runs: vec![serde_json::from_value(owned("trial", "trial-check", &run)).unwrap()],
            ..Relatives::default()
        };
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let text = picture(&trial, &relatives, now, false).text(now, Style::default());
        let expect = "\
Name:            trial
Namespace:       shop
Status:          ◌ Running
Message:         ab
Images:          demo:v2
                 demo:v1

NAME                 KIND         STATUS        AGE  INFO
Σ trial              Experiment   ◌ Running     60m  
├──⧉ trial-baseline  ReplicaSet   • ScaledDown  10m  
├──⧉ trial-canary    ReplicaSet   ✔ Healthy     10m  delay:9s
└──α trial-check     AnalysisRun  ✖ Failed      10m  ✖ 1
";
        assert_eq!(text, expect, "\n{text}");
        let facts = picture(&trial, &relatives, now, true).json();
        assert_eq!(
            facts["tree"]["children"][1]["info"],
            json!(["delay:9s", "image:demo:v2"])
        );
        assert_eq!(facts["tree"]["children"][2]["info"], json!(["failed 1"]));
    }

    #[test]
    fn the_table_tells_what_remains() {
        let running = json!({"phase": "Running", "availableAt": "2026-01-01T00:50:00Z"});
        let experiments = [
            experiment("b", &json!({"duration": "15m"}), &running),
            experiment("a", &json!({}), &json!({})),
            experiment("c", &json!({"duration": "1h"}), &json!({"phase": "Successful"})),
        ];
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let expect = "\
NAME  STATUS      DURATION  REMAINING  AGE
a     Pending     -         -          60m
b     Running     15m       5m         60m
c     Successful  1h        -          60m
";
        assert_eq!(table(&experiments, now, false), expect);
        assert!(table(&experiments, now, true).contains("\nshop       a "));
        assert_eq!(facts(&experiments, now)["items"][1]["remaining"], "5m");
    }
}
