//! What some lives have beside what all of them may have.
//!
//! Each feature is drawn from a stream of its own, and what people do because of it comes on top of what they do anyway:
//! a seed that does not draw it stands for the same life as before there was such a feature.

use crate::{
    case::{Case, Family, TROUBLE_MILLIS},
    faults::deeds::{Deed, Event},
};
use serde_json::{Value, json};
use tidegate::sim::{dice::Dice, models::people::Verb};

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
