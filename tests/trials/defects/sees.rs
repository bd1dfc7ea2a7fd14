//! Defects in what is seen: the planner decides rightly about a world that is not so.

#![expect(clippy::indexing_slicing, reason = "reading and writing JSON of a known shape")]

use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use serde_json::{Value, json};
use tidegate::{
    api::{
        analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
        experiment::Experiment,
        replica_set::ReplicaSet,
        rollout::Rollout,
        workload::Workload,
    },
    controllers::Planner,
    plan::Plan,
    rollout::{
        snapshot::{Pods, Settings, Snapshot},
        workload::Referred,
    },
    traffic::foreign::{Foreign, ForeignKind, ForeignObject},
};
use tidegate_trials::oracle::Rule;

/// Name, planner, the seed that shows it, and the promise that is broken.
pub(crate) const ALL: &[(&str, Planner, u64, Rule)] = &[
    ("every ReplicaSet looks available", all_available, 1, Rule::T2),
    ("the new ReplicaSet looks available", new_available, 1, Rule::T2),
    (
        "the stable pods look available in an abort",
        stable_available_in_abort,
        141,
        Rule::T4,
    ),
    ("too short a drain time", short_drain, 23, Rule::T2),
    ("a written weight is traffic at once", weight_is_traffic, 18, Rule::D3),
    ("an abort is not seen", no_abort, 23, Rule::T5),
    ("a pause is over when it begins", no_pause, 4, Rule::D3),
    ("every analysis is successful", all_successful, 4, Rule::D1),
    (
        "an inconclusive analysis is successful",
        inconclusive_successful,
        25,
        Rule::D1,
    ),
    ("an analysis in error is successful", error_successful, 66, Rule::D1),
    (
        "a failed background analysis is successful",
        background_successful,
        96,
        Rule::D1,
    ),
    ("an analysis of another version counts", any_hash, 31, Rule::D1),
    ("analysis before the switch is forgotten", no_pre_promotion, 9, Rule::D1),
    (
        "analysis after the switch is forgotten",
        no_post_promotion,
        10,
        Rule::D1,
    ),
    ("a manual promotion is automatic", auto_promotion, 39, Rule::D3),
    ("every update is promoted in full", promote_full, 7, Rule::D1),
    ("a scale-down deadline is forgotten", no_deadline, 1, Rule::C1),
    ("the steps of an analysis are skipped", no_analysis_steps, 4, Rule::D1),
    ("the surge is always everything", endless_surge, 1, Rule::T6),
    ("a selector looks as it should be", selectors_fine, 37, Rule::T7),
    ("analysis runs are not seen", no_runs, 8, Rule::C1),
    ("a hold by the user is not seen", no_hold, 58, Rule::D3),
    ("everything may be unavailable", all_unavailable, 5, Rule::T6),
    (
        "automatic promotion does not wait",
        no_auto_promotion_delay,
        20,
        Rule::D3,
    ),
    ("the size of the last pass is wanted", last_size, 4, Rule::T6),
    ("a failed analysis goes on for ever", failed_runs_on, 71, Rule::C1),
    ("a pause begins anew at every pass", endless_pause, 9, Rule::C1),
    (
        "a weight written by others is not seen",
        weight_as_recorded,
        86,
        Rule::C1,
    ),
    ("new steps are not noticed", old_steps, 43, Rule::D3),
];

/// A snapshot that can be changed.
pub(super) struct Owned<'a> {
    pub(super) rollout: Rollout,
    pub(super) replica_sets: Vec<ReplicaSet>,
    pub(super) services: Vec<Service>,
    pub(super) ingresses: Vec<Ingress>,
    foreign: Vec<(ForeignKind, ForeignObject)>,
    experiments: Vec<Experiment>,
    pub(super) analysis_runs: Vec<AnalysisRun>,
    templates: Vec<AnalysisTemplate>,
    cluster_templates: Vec<ClusterAnalysisTemplate>,
    settings: Settings,
    now: jiff::Timestamp,
    referred: Option<Referred<'a>>,
    scaled_down: Vec<&'a Workload>,
    pods: Pods<'a>,
}

impl<'a> Owned<'a> {
    pub(super) fn of(snapshot: &Snapshot<'a>) -> Self {
        Self {
            rollout: snapshot.rollout.clone(),
            replica_sets: snapshot.replica_sets.iter().copied().cloned().collect(),
            services: snapshot.services.iter().copied().cloned().collect(),
            ingresses: snapshot.ingresses.iter().copied().cloned().collect(),
            foreign: (snapshot.foreign.iter())
                .map(|foreign| (foreign.kind, foreign.object.clone()))
                .collect(),
            experiments: snapshot.experiments.iter().copied().cloned().collect(),
            analysis_runs: snapshot.analysis_runs.iter().copied().cloned().collect(),
            templates: snapshot.analysis_templates.iter().copied().cloned().collect(),
            cluster_templates: snapshot.cluster_analysis_templates.iter().copied().cloned().collect(),
            settings: snapshot.settings.clone(),
            now: snapshot.now,
            referred: snapshot.referred,
            scaled_down: snapshot.scaled_down.clone(),
            pods: snapshot.pods.clone(),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        tidegate::rollout::plan(&Snapshot {
            rollout: &self.rollout,
            referred: self.referred,
            scaled_down: self.scaled_down.clone(),
            replica_sets: self.replica_sets.iter().collect(),
            services: self.services.iter().collect(),
            ingresses: self.ingresses.iter().collect(),
            foreign: (self.foreign.iter())
                .map(|(kind, object)| Foreign { kind: *kind, object })
                .collect(),
            unserved: &[],
            served: &[],
            experiments: self.experiments.iter().collect(),
            analysis_runs: self.analysis_runs.iter().collect(),
            analysis_templates: self.templates.iter().collect(),
            cluster_analysis_templates: self.cluster_templates.iter().collect(),
            pods: self.pods.clone(),
            settings: &self.settings,
            now: self.now,
        })
    }

    pub(super) fn status(&self, field: &str) -> String {
        let rollout = serde_json::to_value(&self.rollout).unwrap_or_default();
        rollout["status"][field].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn change_rollout(&mut self, change: impl FnOnce(&mut Value)) {
        changed(&mut self.rollout, change);
    }

    pub(super) fn change_runs(&mut self, mut change: impl FnMut(&mut Value)) {
        self.analysis_runs.iter_mut().for_each(|run| changed(run, &mut change));
    }
}

fn changed<K: serde::Serialize + serde::de::DeserializeOwned>(object: &mut K, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::to_value(&*object).unwrap_or_default();
    change(&mut value);
    if let Ok(after) = serde_json::from_value(value) {
        *object = after;
    }
}

pub(super) fn seeing(snapshot: &Snapshot<'_>, change: impl FnOnce(&mut Owned<'_>)) -> Plan {
    let mut owned = Owned::of(snapshot);
    change(&mut owned);
    owned.plan()
}

fn make_available(set: &mut ReplicaSet) {
    let replicas = set.replicas();
    set.status.replicas = replicas;
    set.status.ready_replicas = replicas;
    set.status.available_replicas = replicas;
}

fn all_available(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| owned.replica_sets.iter_mut().for_each(make_available))
}

fn new_available(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        let new = owned.status("currentPodHash");
        owned
            .replica_sets
            .iter_mut()
            .filter(|set| set.pod_hash() == new)
            .for_each(make_available);
    })
}

fn stable_available_in_abort(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        let aborted = owned.rollout.status.as_ref().is_some_and(|status| status.abort);
        let stable = owned.status("stableRS");
        owned
            .replica_sets
            .iter_mut()
            .filter(|set| aborted && set.pod_hash() == stable)
            .for_each(make_available);
    })
}

/// The data plane takes up to 4.3 seconds.
fn short_drain(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| owned.settings.drain_seconds = 1)
}

fn weight_is_traffic(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_rollout(|rollout| {
            if let Some(Value::Object(canary)) = rollout.pointer_mut("/status/canary") {
                canary.remove("weightsWrittenAt");
                if let Some(Value::Object(weights)) = canary.get_mut("weights") {
                    weights.remove("verified");
                }
            }
        });
    })
}

fn no_abort(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        if let Some(status) = &mut owned.rollout.status {
            status.abort = false;
            status.aborted_at = None;
        }
    })
}

fn no_pause(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        let status = owned.rollout.status.as_mut();
        if let Some(status) = status.filter(|status| !status.pause_conditions.is_empty()) {
            status.pause_conditions.clear();
            status.controller_pause = true;
        }
    })
}

fn succeed(run: &mut Value) {
    run["status"]["phase"] = json!("Successful");
    run["status"]["message"] = json!("");
    run["status"]["completedAt"] = json!("2026-01-01T00:00:00Z");
    run["status"]["metricResults"] =
        json!([{"name": "success-rate", "phase": "Successful", "count": 2, "successful": 2}]);
}

fn all_successful(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| owned.change_runs(succeed))
}

fn successful_if(snapshot: &Snapshot<'_>, when: impl Fn(&Value) -> bool) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_runs(|run| {
            if when(run) {
                succeed(run);
            }
        });
    })
}

fn inconclusive_successful(snapshot: &Snapshot<'_>) -> Plan {
    successful_if(snapshot, |run| run["status"]["phase"] == "Inconclusive")
}

fn error_successful(snapshot: &Snapshot<'_>) -> Plan {
    successful_if(snapshot, |run| run["status"]["phase"] == "Error")
}

fn background_successful(snapshot: &Snapshot<'_>) -> Plan {
    successful_if(snapshot, |run| {
        run["status"]["phase"] == "Failed" && run["metadata"]["labels"]["rollout-type"] == "Background"
    })
}

/// Takes a successful run of another version for the one that the status names.
fn any_hash(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        let hash = owned.status("currentPodHash");
        let rollout = serde_json::to_value(&owned.rollout).unwrap_or_default();
        let named = rollout["status"]["canary"]["currentStepAnalysisRunStatus"]["name"].clone();
        let good = |run: &AnalysisRun| {
            let labels = run.metadata.labels.as_ref();
            let about = labels.and_then(|labels| labels.get("rollouts-pod-template-hash"));
            about != Some(&hash) && run.status.as_ref().is_some_and(|status| status.phase == "Successful")
        };
        let Some(donor) = owned.analysis_runs.iter().find(|run| good(run)).cloned() else {
            return;
        };
        let donor = serde_json::to_value(donor).unwrap_or_default();
        owned.change_runs(|run| {
            if run["metadata"]["name"] == named {
                run["status"] = donor["status"].clone();
                run["metadata"]["labels"]["rollouts-pod-template-hash"] = json!(hash);
            }
        });
    })
}

fn without(snapshot: &Snapshot<'_>, strategy: &str, field: &str) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_rollout(|rollout| {
            if let Some(Value::Object(strategy)) = rollout.pointer_mut(&format!("/spec/strategy/{strategy}")) {
                strategy.remove(field);
            }
        });
    })
}

fn no_pre_promotion(snapshot: &Snapshot<'_>) -> Plan {
    without(snapshot, "blueGreen", "prePromotionAnalysis")
}

fn no_post_promotion(snapshot: &Snapshot<'_>) -> Plan {
    without(snapshot, "blueGreen", "postPromotionAnalysis")
}

fn auto_promotion(snapshot: &Snapshot<'_>) -> Plan {
    without(snapshot, "blueGreen", "autoPromotionEnabled")
}

fn promote_full(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        if let Some(status) = owned.rollout.status.as_mut().filter(|status| {
            !status.abort && !status.stable_rs.is_empty() && status.stable_rs != status.current_pod_hash
        }) {
            status.promote_full = true;
        }
    })
}

fn no_deadline(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        for set in &mut owned.replica_sets {
            if let Some(annotations) = &mut set.metadata.annotations {
                annotations.remove("scale-down-deadline");
            }
        }
    })
}

/// The steps are replaced by pauses that are over at once.
fn no_analysis_steps(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_rollout(|rollout| {
            if let Some(Value::Array(steps)) = rollout.pointer_mut("/spec/strategy/canary/steps") {
                for step in steps.iter_mut().filter(|step| step.get("analysis").is_some()) {
                    *step = json!({"pause": {"duration": 0}});
                }
            }
        });
    })
}

fn endless_surge(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_rollout(|rollout| {
            if rollout["spec"]["strategy"]["canary"]["trafficRouting"].is_null()
                && !rollout["spec"]["strategy"]["canary"].is_null()
            {
                rollout["spec"]["strategy"]["canary"]["maxSurge"] = json!("100%");
            }
        });
    })
}

/// A Service without a hash looks as if it selected the recorded one.
fn selectors_fine(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        let stable = owned.status("stableRS");
        for service in &mut owned.services {
            let selector = service.spec.as_mut().and_then(|spec| spec.selector.as_mut());
            if let Some(selector) = selector
                && !stable.is_empty()
                && !owned
                    .replica_sets
                    .iter()
                    .any(|set| selector.get("rollouts-pod-template-hash").map(String::as_str) == Some(set.pod_hash()))
            {
                selector.insert("rollouts-pod-template-hash".to_owned(), stable.clone());
            }
        }
    })
}

fn no_runs(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| owned.analysis_runs.clear())
}

fn no_hold(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| owned.rollout.spec.paused = false)
}

fn all_unavailable(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_rollout(|rollout| {
            let canary = &mut rollout["spec"]["strategy"]["canary"];
            if !canary.is_null() && canary["trafficRouting"].is_null() {
                canary["maxUnavailable"] = json!("100%");
            }
        });
    })
}

fn no_auto_promotion_delay(snapshot: &Snapshot<'_>) -> Plan {
    without(snapshot, "blueGreen", "autoPromotionSeconds")
}

fn last_size(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        let last = owned.rollout.status.as_ref().map_or(0, |status| status.hpa_replicas);
        if last > 0 {
            owned.rollout.spec.replicas = Some(last);
        }
    })
}

fn failed_runs_on(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_runs(|run| {
            if run["status"]["phase"] == "Failed" {
                run["status"]["phase"] = json!("Running");
            }
        });
    })
}

fn endless_pause(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        let now = owned.now;
        owned.change_rollout(|rollout| {
            if let Some(Value::Array(pauses)) = rollout.pointer_mut("/status/pauseConditions") {
                for pause in pauses {
                    pause["startTime"] = json!(now.to_string());
                }
            }
        });
    })
}

/// Whatever the canary Ingress says, it seems to say what the status does.
fn weight_as_recorded(snapshot: &Snapshot<'_>) -> Plan {
    const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
    seeing(snapshot, |owned| {
        let rollout = serde_json::to_value(&owned.rollout).unwrap_or_default();
        let Some(recorded) = rollout["status"]["canary"]["weights"]["canary"]["weight"].as_i64() else {
            return;
        };
        for ingress in &mut owned.ingresses {
            if let Some(weight) = ingress
                .metadata
                .annotations
                .as_mut()
                .and_then(|all| all.get_mut(WEIGHT))
            {
                *weight = recorded.to_string();
            }
        }
    })
}

/// Steps are what they were when the update began, as far as their digest tells.
fn old_steps(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = tidegate::rollout::plan(snapshot);
    let status = snapshot.rollout.status.clone().unwrap_or_default();
    let (index, hash) = (status.current_step_index, status.current_pod_hash.clone());
    if let tidegate::plan::StatusChange::Merge { patch, .. } = &mut plan.status
        && let Some(Value::Object(fields)) = patch.get_mut("status")
        && fields.contains_key("currentStepHash")
        && !fields.contains_key("currentPodHash")
        && !hash.is_empty()
        && let Some(index) = index.filter(|index| *index > 0)
    {
        fields.insert("currentStepIndex".to_owned(), json!(index));
    }
    plan
}
