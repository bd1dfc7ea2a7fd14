//! The table of `list rollouts`. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::images::{Images, collect_images};
use super::info::{self, Phase};
use super::style::{clean, columns, human_duration};
use super::tree;
use crate::api::rollout::Rollout;

/// Which columns are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns {
    /// `NAMESPACE`, with `-A`.
    pub namespace: bool,
    /// `TIMESTAMP`, with `--timestamps`.
    pub timestamp: bool,
    /// `AGE`, `MESSAGE` and `IMAGES`, with `-o wide`.
    pub wide: bool,
}

/// The least width of each column, so that rows printed later, while watching, stay aligned.
const WIDTHS: [usize; 9] = [10, 9, 12, 4, 10, 5, 7, 10, 9];

/// The header and one line for each Rollout, by namespace and name.
pub fn render(rollouts: &[Rollout], now: Timestamp, shown: Columns) -> String {
    let mut rows = vec![header(shown)];
    rows.extend(sorted(rollouts).into_iter().map(|rollout| row(rollout, now, shown)));
    columns(&rows)
}

/// One line without the header, for a change seen while watching.
pub fn render_change(rollout: &Rollout, now: Timestamp, shown: Columns) -> String {
    columns(&[row(rollout, now, shown)])
}

fn header(shown: Columns) -> Vec<String> {
    let names = [
        "NAME",
        "STRATEGY",
        "STATUS",
        "STEP",
        "SET-WEIGHT",
        "READY",
        "DESIRED",
        "UP-TO-DATE",
        "AVAILABLE",
    ];
    let mut cells: Vec<String> = names.map(str::to_owned).to_vec();
    if shown.wide {
        cells.extend(["AGE", "MESSAGE", "IMAGES"].map(str::to_owned));
    }
    line("NAMESPACE", cells, "TIMESTAMP", shown)
}

fn row(rollout: &Rollout, now: Timestamp, shown: Columns) -> Vec<String> {
    let status = rollout.status.clone().unwrap_or_default();
    let desired = rollout.spec.replicas.unwrap_or(1);
    let canary = rollout.spec.strategy.canary.is_some();
    let mut cells = vec![
        clean(rollout.metadata.name.as_deref().unwrap_or_default()),
        info::strategy(rollout).to_owned(),
        Phase::of(rollout).phase,
        info::step(rollout).unwrap_or_else(|| "-".to_owned()),
        if canary {
            info::set_weight(rollout).to_string()
        } else {
            "-".to_owned()
        },
        format!("{}/{desired}", status.ready_replicas),
        desired.to_string(),
        status.updated_replicas.to_string(),
        status.available_replicas.to_string(),
    ];
    if shown.wide {
        let age = tree::created(&rollout.metadata).map(|created| human_duration(now.duration_since(created)));
        let message = Phase::of(rollout).message;
        cells.extend([
            age.unwrap_or_default(),
            if message.is_empty() { "-".to_owned() } else { message },
            images(rollout).join(","),
        ]);
    }
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    line(
        &clean(rollout.metadata.namespace.as_deref().unwrap_or_default()),
        cells,
        &seconds.to_string(),
        shown,
    )
}

/// What the table shows of a Rollout, for programs.
pub fn facts(rollout: &Rollout) -> Value {
    let status = rollout.status.clone().unwrap_or_default();
    let phase = Phase::of(rollout);
    let canary = rollout.spec.strategy.canary.is_some();
    json!({
        "name": tree::name(&rollout.metadata),
        "namespace": tree::namespace(&rollout.metadata),
        "strategy": info::strategy(rollout),
        "status": phase.phase,
        "message": phase.message,
        "step": info::step(rollout),
        "setWeight": canary.then(|| info::set_weight(rollout)),
        "ready": status.ready_replicas,
        "desired": rollout.spec.replicas.unwrap_or(1),
        "upToDate": status.updated_replicas,
        "available": status.available_replicas,
        "createdAt": tree::created(&rollout.metadata).map(|created| created.to_string()),
        "images": images(rollout),
    })
}

/// `rollout.argoproj.io/NAME`.
pub fn resource_name(rollout: &Rollout) -> String {
    format!("rollout.{}/{}", crate::api::GROUP, tree::name(&rollout.metadata))
}

/// By namespace and name.
pub(crate) fn sorted(rollouts: &[Rollout]) -> Vec<&Rollout> {
    let mut sorted: Vec<&Rollout> = rollouts.iter().collect();
    sorted.sort_by_key(|rollout| (rollout.metadata.namespace.clone(), rollout.metadata.name.clone()));
    sorted
}

fn images(rollout: &Rollout) -> Vec<String> {
    let mut images = Images::new();
    if let Some(template) = &rollout.spec.template {
        collect_images(template, &[], &mut images);
    }
    images.into_iter().map(|(image, _)| image).collect()
}

fn line(namespace: &str, cells: Vec<String>, timestamp: &str, shown: Columns) -> Vec<String> {
    let mut out = Vec::new();
    if shown.namespace {
        out.push(format!("{namespace:<13}"));
    }
    let widths = WIDTHS.into_iter().chain(std::iter::repeat(0));
    out.extend(
        cells
            .into_iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}")),
    );
    if shown.timestamp {
        out.push(timestamp.to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_sorted() {
        let rollout = |name: &str, strategy: serde_json::Value, status: serde_json::Value| -> Rollout {
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop", "generation": 1},
                "spec": {"replicas": 5, "strategy": strategy}, "status": status
            }))
            .unwrap()
        };
        let canary = json!({"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}});
        let paused = json!({"observedGeneration": "1", "phase": "Paused", "message": "CanaryPauseStep", "currentStepIndex": 1,
            "currentPodHash": "b", "stableRS": "a", "readyReplicas": 5, "updatedReplicas": 1, "availableReplicas": 5});
        let rollouts = [
            rollout("web", canary, paused),
            rollout("api", json!({"blueGreen": {"activeService": "a"}}), json!({})),
        ];
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        assert_eq!(
            render(&rollouts, now, Columns::default()),
            "\
NAME        STRATEGY   STATUS        STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
api         BlueGreen  Progressing   -     -           0/5    5        0           0        
web         Canary     Paused        1/2   20          5/5    5        1           5        
"
        );
        let shown = Columns {
            namespace: true,
            timestamp: true,
            wide: false,
        };
        let line = render_change(&rollouts[0], now, shown);
        assert!(line.starts_with("shop           web         Canary"), "{line}");
        assert!(line.ends_with("  2026-01-01T00:00:00Z\n"), "{line}");
        let wide = Columns {
            wide: true,
            ..Columns::default()
        };
        let line = render_change(&rollouts[0], now, wide);
        assert!(line.contains("  CanaryPauseStep  "), "{line}");
        let facts = facts(&rollouts[0]);
        assert_eq!((&facts["step"], &facts["setWeight"]), (&json!("1/2"), &json!(20)));
        assert_eq!(resource_name(&rollouts[0]), "rollout.argoproj.io/web");
    }
}
