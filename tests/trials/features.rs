//! What some lives have beside what all of them may have.
//!
//! Each feature is drawn from a stream of its own, and what people do because of it comes on top of what they do anyway:
//! a seed that does not draw it stands for the same life as before there was such a feature.

use crate::{
    case::{Case, Family, NAME, NAMESPACE, TROUBLE_MILLIS},
    faults::{
        Fault, Flaw, LAG_MILLIS,
        deeds::{Deed, Event},
    },
};
use serde_json::{Value, json};
use tidegate::sim::{api::kinds::Kind, dice::Dice, models::people::Verb};

/// Lives with one of these, in percent.
const PERCENT: u64 = 10;
/// Lives behind a Gateway with ping-pong Services, in percent.
const PING_PONG_PERCENT: u64 = 40;

/// What only some lives have.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Feature {
    /// `rollbackWindow`, and people who go back.
    RollbackWindow,
    /// People who restart everything, by `restartAt`.
    Restart,
    /// `pingPong`, behind a Gateway.
    PingPong,
    /// `workloadRef` to a Deployment whose pods were there before.
    Workload,
}

/// Draws all of them.
pub(crate) fn draw(case: &mut Case, dice: &Dice) {
    let mut with = |feature: Feature, name: &str, change: fn(&mut Case, &mut Dice)| {
        let mut dice = dice.fork(name);
        if dice.chance(PERCENT) {
            case.features.push(feature);
            change(case, &mut dice);
        }
    };
    with(Feature::RollbackWindow, "rollback-window", rollback_window);
    with(Feature::Restart, "restart", restart);
    with(Feature::Workload, "workload", workload);
    ping_pong(case, &mut dice.fork("ping-pong"));
}

fn rollback_window(case: &mut Case, dice: &mut Dice) {
    set(case, "rollbackWindow", json!({"revisions": 1 + dice.below(3)}));
    let count = 1 + dice.below(3);
    let back = (0..count).map(|_| {
        let image = format!("shop:v{}", 1 + dice.below(2));
        let container = "*".to_owned();
        some_time(Deed::Act(Verb::SetImage { container, image }), dice)
    });
    let back = back.collect();
    also(case, back);
}

fn restart(case: &mut Case, dice: &mut Dice) {
    let count = 1 + dice.below(3);
    let restarts = (0..count).map(|_| {
        let seconds = if dice.chance(75) { 0 } else { dice.below(25) };
        some_time(Deed::Restart(seconds), dice)
    });
    let restarts = restarts.collect();
    also(case, restarts);
}

fn workload(case: &mut Case, dice: &mut Dice) {
    let modes = ["never", "onsuccess", "progressively", "progressively"];
    let mode = dice.pick(&modes).copied().unwrap_or("never");
    let Some(Value::Object(spec)) = case.rollout.pointer_mut("/spec") else {
        return;
    };
    let template = spec.remove("template").unwrap_or_default();
    let named = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME, "scaleDown": mode});
    spec.insert("workloadRef".to_owned(), named);
    case.workload = Some(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": {"team.example.com/owner": "shop"}},
        "spec": {"replicas": spec.get("replicas"), "selector": spec.get("selector"), "template": template},
    }));
    if dice.chance(50) {
        spec.remove("selector");
    }
    if dice.chance(20) {
        let deed = Deed::Missing(Kind::Deployment, NAME);
        let lasts = 2_000 + dice.below(25_000);
        let missing = Event {
            lasts,
            ..some_time(deed, dice)
        };
        also(case, vec![missing]);
    }
    if dice.chance(20) {
        let from = dice.below(TROUBLE_MILLIS);
        case.faults.push(Fault {
            from,
            to: (from + 2_000 + dice.below(60_000)).min(TROUBLE_MILLIS),
            seed: dice.bits(),
            flaw: Flaw::Lag(Kind::Deployment, 200 + dice.below(LAG_MILLIS - 200)),
        });
    }
}

fn ping_pong(case: &mut Case, dice: &mut Dice) {
    if case.family != Family::Gateway || !dice.chance(PING_PONG_PERCENT) {
        return;
    }
    case.features.push(Feature::PingPong);
    if let Some(Value::Object(canary)) = case.rollout.pointer_mut("/spec/strategy/canary") {
        canary.remove("canaryService");
        canary.remove("stableService");
        let pair = json!({"pingService": "web-stable", "pongService": "web-canary"});
        canary.insert("pingPong".to_owned(), pair);
    }
}

/// An event at any time of the trouble.
fn some_time(deed: Deed, dice: &mut Dice) -> Event {
    Event {
        at: dice.below(TROUBLE_MILLIS),
        lasts: 0,
        deed,
    }
}

/// Sets a field of the specification.
fn set(case: &mut Case, field: &str, value: Value) {
    if let Some(Value::Object(spec)) = case.rollout.pointer_mut("/spec") {
        spec.insert(field.to_owned(), value);
    }
}

/// These events happen as well, each at its time.
fn also(case: &mut Case, events: Vec<Event>) {
    case.events.extend(events);
    case.events.sort_by_key(|event| event.at);
}
