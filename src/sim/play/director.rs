//! Lets happen what a scenario orders: people's acts and faults, each at its moment.

use super::interference::{Interference, Orders};
use crate::{
    api::well_known,
    k8s::lease::LEASE_NAME,
    sim::{
        api::{
            Change,
            kinds::{Key, Kind},
        },
        dice::Range,
        models::{
            Timing,
            behaviour::Behaviour,
            later,
            people::Verb,
            text,
            truth::{Source, Truth},
        },
        replica,
        scenario::{Event, Fault, Moment, Role, Scenario, Trouble},
        timeline::{FaultSpan, Frame, Versions, since},
        world::World,
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::time::Duration;

/// A killed controller is started again after this time when the scenario does not say.
const DOWN_FOR: Duration = Duration::from_secs(10);

/// The director.
pub(super) struct Director {
    events: Vec<Event>,
    faults: Vec<Staged>,
    began: Option<f64>,
    zero: Timestamp,
    interference: Interference,
    /// How long the data plane takes when nothing is wrong with it.
    data_plane: Range,
}

struct Staged {
    fault: Fault,
    state: State,
    span: FaultSpan,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Ahead,
    /// Since when, and on which version.
    Active(Timestamp, String),
    Over,
}

impl Director {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let faults = scenario.faults.iter().map(|fault| Staged {
            fault: fault.clone(),
            state: State::Ahead,
            span: FaultSpan {
                fault: fault.text.clone(),
                of_version: matches!(fault.what, Trouble::Errors(_) | Trouble::Slow(_) | Trouble::Crash),
                began: None,
                ended: None,
            },
        });
        Self {
            events: scenario.events.clone(),
            faults: faults.collect(),
            began: None,
            zero: Timestamp::default(),
            interference: Interference::default(),
            data_plane: Timing::default().data_plane,
        }
    }

    /// Lets the orders about the API server take hold.
    pub(super) fn take_hold(&mut self, world: &World) {
        self.data_plane = world.traffic().lock().delay;
        self.interference.take_hold(world.handle());
    }

    /// When the first fault began, in seconds since the update.
    pub(super) fn began(&self) -> Option<f64> {
        self.began
    }

    /// Whether something is still to happen at a time of its own.
    pub(super) fn is_busy(&self) -> bool {
        let timed = |event: &Event| matches!(event.when, Moment::After(_) | Moment::Start);
        let down = |staged: &Staged| {
            let kills = matches!(staged.fault.what, Trouble::Kill | Trouble::KillAtWrite(_));
            kills && matches!(staged.state, State::Active(..))
        };
        self.events.iter().any(timed) || self.faults.iter().any(down)
    }

    /// The next moment that is a time.
    pub(super) fn next(&self, zero: Timestamp) -> Option<Timestamp> {
        let time = |moment: Moment| match moment {
            Moment::After(after) => Some(later(zero, after)),
            Moment::Start | Moment::Weight(_) | Moment::Step(_) => None,
        };
        let events = self.events.iter().filter_map(|event| time(event.when));
        let faults = self.faults.iter().filter_map(|staged| match &staged.state {
            State::Ahead => time(staged.fault.when.from),
            State::Active(since, _) => self.ends(&staged.fault, *since),
            State::Over => None,
        });
        events.chain(faults).min()
    }

    pub(super) fn spans(&self) -> Vec<FaultSpan> {
        self.faults.iter().map(|staged| staged.span.clone()).collect()
    }

    /// When an active fault ends. Killed controllers come back in any case; one that is to be killed at a write may
    /// still be alive.
    fn ends(&self, fault: &Fault, since: Timestamp) -> Option<Timestamp> {
        match fault.what {
            Trouble::Kill => Some(later(since, fault.when.lasts.unwrap_or(DOWN_FOR))),
            Trouble::KillAtWrite(_) => {
                let killed = self.interference.orders().killed?;
                Some(later(killed, fault.when.lasts.unwrap_or(DOWN_FOR)))
            }
            _ => fault.when.lasts.map(|lasts| later(since, lasts)),
        }
    }

    /// Begins and ends faults, and returns what people do now.
    pub(super) fn due(&mut self, world: &mut World, zero: Timestamp, frame: &Frame, versions: &Versions) -> Vec<Verb> {
        self.zero = zero;
        let now = world.now();
        let reached = |moment: Moment| match moment {
            Moment::Start => !versions.new.is_empty(),
            Moment::After(after) => now >= later(zero, after),
            Moment::Weight(weight) => frame.share + 0.5 >= f64::from(weight),
            Moment::Step(step) => frame.step.is_some_and(|present| present >= step),
        };
        let (due, ahead): (Vec<Event>, Vec<Event>) = self.events.drain(..).partition(|event| reached(event.when));
        self.events = ahead;
        let mut changed = false;
        let mut faults = std::mem::take(&mut self.faults);
        for Staged { fault, state, span } in &mut faults {
            match state {
                State::Ahead if reached(fault.when.from) => {
                    self.began = Some(self.began.unwrap_or_else(|| since(zero, now)));
                    self.begin(world, fault, versions);
                    span.began = Some(since(zero, now));
                    *state = State::Active(now, versions.new.clone());
                }
                State::Active(began, _) if self.ends(fault, *began).is_some_and(|end| now >= end) => {
                    self.end(world, fault);
                    span.ended = Some(since(zero, now));
                    *state = State::Over;
                }
                State::Ahead | State::Active(..) | State::Over => continue,
            }
            changed = true;
        }
        self.faults = faults;
        if changed {
            self.set(world);
        }
        due.into_iter().map(|event| event.does).collect()
    }

    /// What a fault does once, when it begins.
    fn begin(&self, world: &mut World, fault: &Fault, versions: &Versions) {
        match fault.what {
            Trouble::Kill => (0..world.replicas()).for_each(|replica| world.kill(replica)),
            Trouble::KillAtWrite(writes) => self.interference.orders().writes_left = Some(writes),
            Trouble::Clock(seconds) => jump(world, seconds),
            Trouble::Api(_) => world.api().break_watches(None),
            Trouble::WatchesEnd => {
                world.api().compact();
                world.api().break_watches(None);
            }
            Trouble::LeaseStolen => {
                let lease = Key::new(Kind::Lease, replica::NAMESPACE, LEASE_NAME);
                let patch = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}});
                // A controller that runs alone has no Lease.
                let _ = world.api().patch("thief", &lease, &Change::Merge(patch));
            }
            Trouble::PodsDown(count, role) => {
                let hash = match role {
                    Role::Stable => &versions.stable,
                    Role::New => &versions.new,
                };
                let until = fault
                    .when
                    .lasts
                    .map_or(Timestamp::MAX, |lasts| later(world.now(), lasts));
                let pods: Vec<String> = {
                    let state = world.api().state();
                    let pods = state.list(Kind::Pod, None).into_iter();
                    let of_version = pods.filter(|pod| {
                        text(pod, &format!("/metadata/labels/{}", well_known::POD_TEMPLATE_HASH)) == hash
                    });
                    of_version.map(|pod| text(pod, "/metadata/name").to_owned()).collect()
                };
                world.truth(|truth| truth.down.extend(pods.into_iter().take(count).map(|pod| (pod, until))));
            }
            _ => {}
        }
    }

    /// What is to be undone when it ends.
    fn end(&self, world: &mut World, fault: &Fault) {
        match fault.what {
            Trouble::Kill => world.start_all(),
            Trouble::KillAtWrite(_) => {
                self.interference.orders().killed = None;
                world.start_all();
            }
            Trouble::Clock(seconds) => jump(world, -seconds),
            Trouble::DataPlaneDelay(_) => world.handle().data_plane_delay(self.data_plane),
            _ => {}
        }
    }

    /// Makes true what the active faults say.
    fn set(&self, world: &mut World) {
        let active = |staged: &Staged| match &staged.state {
            State::Active(_, version) => Some((staged.fault.what, version.clone())),
            State::Ahead | State::Over => None,
        };
        let active: Vec<(Trouble, String)> = self.faults.iter().filter_map(active).collect();
        let metrics = self
            .faults
            .iter()
            .any(|staged| matches!(staged.fault.what, Trouble::Metrics(_)));
        world.truth(|truth| {
            truth.versions.clear();
            truth.requests = Truth::default().requests;
            if metrics {
                truth.source = Source::Up;
            }
            for (trouble, version) in &active {
                let made = match trouble {
                    Trouble::Errors(errors) => Behaviour {
                        errors: *errors,
                        ..Behaviour::default()
                    },
                    Trouble::Slow(slow) => Behaviour {
                        slow: *slow,
                        ..Behaviour::default()
                    },
                    Trouble::Crash => Behaviour {
                        crashes: true,
                        ..Behaviour::default()
                    },
                    Trouble::Metrics(source) => {
                        truth.source = *source;
                        continue;
                    }
                    Trouble::NoTraffic => {
                        truth.requests = 0.0;
                        continue;
                    }
                    _ => continue,
                };
                let known = truth.versions.entry(version.clone()).or_default();
                *known = known.and(made);
            }
        });
        let mut orders = self.interference.orders();
        *orders = Orders {
            writes_left: orders.writes_left,
            killed: orders.killed,
            ..Orders::default()
        };
        for (trouble, _) in &active {
            match trouble {
                Trouble::DataPlaneDelay(delay) => world.handle().data_plane_delay(Range {
                    shortest: *delay,
                    longest: *delay,
                }),
                Trouble::Api(connection) => orders.connection = Some(*connection),
                Trouble::ApiDelay(late) => orders.answers = *late,
                Trouble::WatchDelay(late) => orders.events = *late,
                _ => {}
            }
        }
    }
}

fn jump(world: &mut World, seconds: i64) {
    (0..world.replicas()).for_each(|replica| world.jump(replica, SignedDuration::from_secs(seconds)));
}
