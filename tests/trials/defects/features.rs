//! Defects in what only some lives have: windows of rollbacks, restarts, ping-pong Services.

use super::{
    sees::seeing,
    writes::{actions, drop_actions, fields, first, is_updating, select},
};
use serde_json::{Value, json};
use tidegate::{
    api::well_known,
    controllers::Planner,
    plan::{ObjectRef, Plan, PodWrite},
    rollout::{
        plan,
        snapshot::{Pods, Snapshot},
    },
};
use tidegate_trials::{features::Feature, oracle::Rule};

/// Name, planner, the feature without which it shows nothing, the seed that shows it, and the promise that is broken.
pub(crate) const ALL: &[(&str, Planner, Option<Feature>, u64, Rule)] = &[
    ("every older version was stable", all_were_stable, None, 134, Rule::D3),
    (
        "the rollback window is not seen",
        no_window,
        Some(Feature::RollbackWindow),
        19,
        Rule::C6,
    ),
    (
        "a restart takes all pods at once",
        all_at_once,
        Some(Feature::Restart),
        37,
        Rule::T6,
    ),
    (
        "a restart is forgotten",
        no_restart,
        Some(Feature::Restart),
        37,
        Rule::C1,
    ),
    (
        "a Deployment loses its pods at once",
        emptied,
        Some(Feature::Workload),
        193,
        Rule::T6,
    ),
    (
        "scaleDown is always onsuccess",
        on_success,
        Some(Feature::Workload),
        50,
        Rule::T8,
    ),
    (
        "a ping-pong Service goes back with its requests",
        canary_side_goes_back,
        Some(Feature::PingPong),
        36,
        Rule::T3,
    ),
];

/// And any number of revisions may lie between.
fn all_were_stable(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_rollout(|rollout| {
            if let Some(spec) = rollout.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
                spec.insert("rollbackWindow".to_owned(), json!({"revisions": 1000}));
            }
        });
        for set in &mut owned.replica_sets {
            let annotations = set.metadata.annotations.get_or_insert_default();
            annotations.insert(well_known::WAS_STABLE.to_owned(), "1".to_owned());
        }
    })
}

fn no_window(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        owned.change_rollout(|rollout| {
            if let Some(spec) = rollout.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
                spec.remove("rollbackWindow");
            }
        });
    })
}

fn all_at_once(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let (Some(asked), Pods::Listed(pods)) = (&snapshot.rollout.spec.restart_at, &snapshot.pods) else {
        return plan;
    };
    let old = pods.iter().filter(|pod| {
        let metadata = &pod.metadata;
        metadata.deletion_timestamp.is_none()
            && metadata
                .creation_timestamp
                .as_ref()
                .is_some_and(|created| created.0 < asked.0)
    });
    let evictions = old.filter_map(|pod| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        let target = ObjectRef::namespaced("v1", "Pod", &namespace, &name);
        Some(PodWrite::Evict {
            target,
            uid: pod.metadata.uid.clone()?,
        })
    });
    plan.pods.extend(evictions.collect::<Vec<_>>());
    plan
}

fn no_restart(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| owned.rollout.spec.restart_at = None)
}

fn emptied(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    for action in actions(&mut plan).filter(|action| action.target().kind == "Deployment") {
        if let Some(Value::Number(size)) = fields(action).and_then(|fields| fields.pointer_mut("/spec/replicas")) {
            *size = 0.into();
        }
    }
    plan
}

fn on_success(snapshot: &Snapshot<'_>) -> Plan {
    seeing(snapshot, |owned| {
        if let Some(named) = &mut owned.rollout.spec.workload_ref {
            "onsuccess".clone_into(&mut named.scale_down);
        }
    })
}

/// Back to the old pods, with the requests of the new ones.
fn canary_side_goes_back(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = plan(snapshot);
    let canary = snapshot.rollout.spec.strategy.canary.as_ref();
    let Some(pair) = canary.and_then(|canary| canary.ping_pong.as_ref()) else {
        return plan;
    };
    let status = snapshot.rollout.status.clone().unwrap_or_default();
    let canary = status.canary.unwrap_or_default();
    let weighs = (canary.weights.as_ref()).is_some_and(|weights| weights.canary.weight.0 > 0);
    if !weighs || status.abort || !is_updating(snapshot) {
        return plan;
    }
    let service = match canary.stable_ping_pong.as_str() {
        "ping" => &pair.pong_service,
        _ => &pair.ping_service,
    };
    if let Some(action) = select(snapshot, service, &status.stable_rs) {
        drop_actions(&mut plan, |other| other.target() == action.target());
        first(&mut plan, action);
    }
    plan
}
