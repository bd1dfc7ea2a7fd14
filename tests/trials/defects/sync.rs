//! Defects in what decides about an Application: what it sees is altered, or what it decides.

#![expect(clippy::indexing_slicing, reason = "reading and writing JSON of a known shape")]

use serde_json::{Value, json};
use std::{process::ExitCode, sync::Arc};
use tidegate::{
    api::{
        application::Application,
        well_known::{POD_TEMPLATE_HASH, SYNC_MANAGER},
    },
    controllers::SyncPlanner,
    sim::replica::Seams,
    sync::{
        self, Decision, Desired, Outcome, Snapshot, auto_sync::Ancestry, compare::LiveObjects, project::Project,
        work::Deed,
    },
};
use tidegate_trials::{
    oracle::Rule,
    sync::{case::SyncCase, run},
};

/// Name, the defect, a seed that shows it, and the promise broken then.
type Entry = (&'static str, SyncPlanner, u64, Rule);

/// Runs within which a defect must be noticed.
const RUNS_MAX: u64 = 400;

const ALL: &[Entry] = &[
    ("an older commit counts as a newer one", forward_always, 34, Rule::S1),
    ("an operation follows the branch", follows_the_branch, 19, Rule::S1),
    ("the commit first deployed stays the newest", never_newer, 183, Rule::S2),
    ("every operation prunes", prunes_always, 26, Rule::S3),
    ("any share may be pruned", approved_always, 59, Rule::S3),
    ("a source is rendered in part", half_rendered, 0, Rule::S8),
    ("a status of an older generation counts", observed_always, 1, Rule::S4),
    ("everything counts as healthy", healthy_always, 0, Rule::S4),
    ("a hold is forgotten", holds_nothing, 3, Rule::S5),
    ("the pod hash of a Service is healed", heals_selectors, 2, Rule::S6),
    ("replicas of an autoscaler are healed", heals_replicas, 92, Rule::S6),
    ("a project permits everything", unlimited, 93, Rule::S7),
    ("everything is shown as Synced", synced_always, 0, Rule::S8),
    ("drift is shown as Synced", drift_is_synced, 0, Rule::S8),
    ("a status is written at every look", restless, 0, Rule::C1),
    ("deletions name no version", unpinned, 0, Rule::C3),
];

/// Shows for each defect with this text in its name the seed and the promise that catch it: those that are noted, or
/// else the first found.
pub(crate) fn prove(filter: &str, from: u64) -> ExitCode {
    let mut missed = 0;
    for (name, planner, seed, rule) in ALL.iter().filter(|(name, ..)| name.contains(filter)) {
        let seams = Seams {
            sync_planner: *planner,
            ..Seams::default()
        };
        let breaks = |seed: u64| {
            let case = SyncCase::of(seed);
            let failure = run::run(&case, &seams).err()?;
            run::run(&case, &Seams::default()).is_ok().then_some((seed, failure))
        };
        let noted = breaks(*seed).filter(|(_, failure)| failure.violation.rule == *rule);
        let was_noted = noted.is_some();
        let found = noted.or_else(|| {
            let mut others = None;
            for (seed, failure) in (from..from + RUNS_MAX).filter_map(breaks) {
                if failure.violation.rule == *rule {
                    return Some((seed, failure));
                }
                others = others.or(Some((seed, failure)));
            }
            others
        });
        match found {
            Some((seed, failure)) => {
                let mark = if was_noted { "" } else { " (not as noted)" };
                say!("{name:<44} seed {seed:>5}  {}{mark}", failure.violation.rule);
            }
            None => {
                missed += 1;
                say!("{name:<44} NOT NOTICED within {RUNS_MAX} runs");
            }
        }
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn decided(outcome: Outcome, change: impl FnOnce(&mut Decision)) -> Outcome {
    match outcome {
        Outcome::Decision(mut decision) => {
            change(&mut decision);
            Outcome::Decision(decision)
        }
        other => other,
    }
}

fn with_app(snapshot: &Snapshot<'_>, change: impl FnOnce(&mut Application)) -> Outcome {
    let mut app = snapshot.app.clone();
    change(&mut app);
    sync::plan(&Snapshot { app: &app, ..*snapshot })
}

fn with_live(snapshot: &Snapshot<'_>, change: impl Fn(&mut Value)) -> Outcome {
    let live: LiveObjects = snapshot
        .live
        .iter()
        .map(|(key, object)| {
            let mut object = (**object).clone();
            change(&mut object);
            (key.clone(), Arc::new(object))
        })
        .collect();
    sync::plan(&Snapshot {
        live: &live,
        ..*snapshot
    })
}

fn forward_always(snapshot: &Snapshot<'_>) -> Outcome {
    sync::plan(&Snapshot {
        ancestry: Ancestry::Forward,
        ..*snapshot
    })
}

fn follows_the_branch(snapshot: &Snapshot<'_>) -> Outcome {
    let Ok(desired) = snapshot.desired else {
        return sync::plan(snapshot);
    };
    decided(
        sync::plan(&Snapshot {
            pinned: None,
            ..*snapshot
        }),
        |decision| {
            let state = decision.status.operation_state.as_mut();
            if let Some(result) = state
                .filter(|state| state.phase == "Running")
                .and_then(|state| state.sync_result.as_mut())
            {
                result.revision.clone_from(&desired.revisions.single);
            }
        },
    )
}

fn never_newer(snapshot: &Snapshot<'_>) -> Outcome {
    // While an operation is under way, what it is pinned to is the newest there is.
    let is_running = snapshot
        .app
        .status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref());
    match (
        snapshot.pinned,
        is_running.is_some_and(|state| state.phase == "Running"),
    ) {
        (Some(Ok(pinned)), true) => sync::plan(&Snapshot {
            desired: Ok(pinned),
            ..*snapshot
        }),
        _ => sync::plan(snapshot),
    }
}

fn prunes_always(snapshot: &Snapshot<'_>) -> Outcome {
    with_app(snapshot, |app| {
        let running = app.status.as_mut().and_then(|status| status.operation_state.as_mut());
        if let Some(sync) = running.and_then(|state| state.operation.sync.as_mut()) {
            sync.prune = true;
        }
        if let Some(sync) = app.operation.as_mut().and_then(|operation| operation.sync.as_mut()) {
            sync.prune = true;
        }
    })
    .without_trace(snapshot)
}

/// What was altered in the status to be seen must not be written.
trait WithoutTrace {
    fn without_trace(self, snapshot: &Snapshot<'_>) -> Self;
}

impl WithoutTrace for Outcome {
    fn without_trace(self, snapshot: &Snapshot<'_>) -> Self {
        let asked = snapshot
            .app
            .operation
            .as_ref()
            .and_then(|operation| operation.sync.as_ref());
        let running = snapshot
            .app
            .status
            .as_ref()
            .and_then(|status| status.operation_state.as_ref());
        let running = running.and_then(|state| state.operation.sync.as_ref());
        let Some(prune) = asked.or(running).map(|sync| sync.prune) else {
            return self;
        };
        decided(self, |decision| {
            let state = decision.status.operation_state.as_mut();
            if let Some(sync) = state.and_then(|state| state.operation.sync.as_mut()) {
                sync.prune = prune;
            }
        })
    }
}

fn approved_always(snapshot: &Snapshot<'_>) -> Outcome {
    with_app(snapshot, |app| {
        let annotations = app.metadata.annotations.get_or_insert_default();
        annotations.insert(
            "argocd.argoproj.io/deletion-approved".to_owned(),
            snapshot.now.to_string(),
        );
    })
}

fn half_rendered(snapshot: &Snapshot<'_>) -> Outcome {
    let Ok(desired) = snapshot.desired else {
        return sync::plan(snapshot);
    };
    let half = |part: &Arc<Vec<Value>>| Arc::new(part.iter().skip(part.len() / 2).cloned().collect::<Vec<_>>());
    let desired = Desired {
        parts: desired.parts.iter().map(half).collect(),
        ..desired.clone()
    };
    sync::plan(&Snapshot {
        desired: Ok(&desired),
        ..*snapshot
    })
}

fn observed_always(snapshot: &Snapshot<'_>) -> Outcome {
    with_live(snapshot, |object| {
        if !object["status"]["observedGeneration"].is_null() {
            let generation = object["metadata"]["generation"].clone();
            object["status"]["observedGeneration"] = match object["kind"].as_str() {
                Some("Rollout") => json!(generation.to_string()),
                _ => generation,
            };
        }
    })
}

fn healthy_always(snapshot: &Snapshot<'_>) -> Outcome {
    with_live(snapshot, |object| {
        let generation = object["metadata"]["generation"].clone();
        match object["kind"].as_str() {
            Some("Deployment") => {
                let replicas = object["spec"]["replicas"].clone();
                object["status"] = json!({"observedGeneration": generation, "replicas": replicas,
                    "updatedReplicas": replicas, "availableReplicas": replicas});
            }
            Some("Rollout") => {
                object["status"] = json!({"observedGeneration": generation.to_string(), "phase": "Healthy"})
            }
            Some("Job") => object["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]}),
            _ => {}
        }
    })
}

fn holds_nothing(snapshot: &Snapshot<'_>) -> Outcome {
    let outcome = with_app(snapshot, |app| {
        if let Some(status) = &mut app.status {
            status.hold = None;
        }
    });
    decided(outcome, |decision| decision.status.hold = None)
}

fn heals_selectors(snapshot: &Snapshot<'_>) -> Outcome {
    with_live(snapshot, |object| {
        if object["kind"] == "Service"
            && let Some(selector) = object.pointer_mut("/spec/selector").and_then(Value::as_object_mut)
            && selector.remove(POD_TEMPLATE_HASH).is_some()
        {
            selector.insert("healed".to_owned(), json!("yes"));
        }
    })
}

fn heals_replicas(snapshot: &Snapshot<'_>) -> Outcome {
    with_live(snapshot, |object| {
        if let Some(entries) = object
            .pointer_mut("/metadata/managedFields")
            .and_then(Value::as_array_mut)
        {
            entries.retain(|entry| entry["manager"] == SYNC_MANAGER || entry["subresource"] != "scale");
        }
    })
}

fn unlimited(snapshot: &Snapshot<'_>) -> Outcome {
    sync::plan(&Snapshot {
        project: Project::Everything,
        ..*snapshot
    })
}

fn synced_always(snapshot: &Snapshot<'_>) -> Outcome {
    decided(sync::plan(snapshot), |decision| {
        "Synced".clone_into(&mut decision.status.sync.status);
    })
}

fn drift_is_synced(snapshot: &Snapshot<'_>) -> Outcome {
    let was_synced = snapshot.app.status.as_ref().is_some_and(|status| {
        status
            .operation_state
            .as_ref()
            .is_some_and(|state| state.phase == "Succeeded")
    });
    decided(sync::plan(snapshot), |decision| {
        if was_synced
            && decision
                .status
                .operation_state
                .as_ref()
                .is_some_and(|state| state.phase == "Succeeded")
        {
            "Synced".clone_into(&mut decision.status.sync.status);
        }
    })
}

fn restless(snapshot: &Snapshot<'_>) -> Outcome {
    decided(sync::plan(snapshot), |decision| {
        decision.status.summary.images = vec![snapshot.now.to_string()];
    })
}

fn unpinned(snapshot: &Snapshot<'_>) -> Outcome {
    decided(sync::plan(snapshot), |decision| {
        for work in decision.work.iter_mut().flatten() {
            if let Deed::Delete { precondition, .. } = &mut work.deed {
                precondition.resource_version = None;
            }
        }
    })
}
