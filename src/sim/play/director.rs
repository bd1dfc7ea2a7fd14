//! Lets happen what a scenario orders: people's acts and faults, each at its moment.

use crate::sim::{
    dice::Range,
    models::{
        behaviour::Behaviour,
        later,
        people::Verb,
        truth::{Source, Truth},
    },
    scenario::{Event, Fault, Moment, Scenario, Trouble},
    timeline::{FaultSpan, Frame, since},
    world::World,
};
use jiff::Timestamp;
use std::time::Duration;

/// A killed controller is started again after this time when the scenario does not say.
const DOWN_FOR: Duration = Duration::from_secs(10);

/// The director.
pub(super) struct Director {
    events: Vec<Event>,
    faults: Vec<Staged>,
    began: Option<f64>,
    zero: Timestamp,
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
        }
    }

    /// When the first fault began, in seconds since the update.
    pub(super) fn began(&self) -> Option<f64> {
        self.began
    }

    /// Whether something is still to happen at a time of its own.
    pub(super) fn is_busy(&self) -> bool {
        let timed = |event: &Event| matches!(event.when, Moment::After(_) | Moment::Start);
        let down = |staged: &Staged| staged.fault.what == Trouble::Kill && matches!(staged.state, State::Active(..));
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
            State::Active(since, _) => lasts(&staged.fault).map(|lasts| later(*since, lasts)),
            State::Over => None,
        });
        events.chain(faults).min()
    }

    pub(super) fn spans(&self) -> Vec<FaultSpan> {
        self.faults.iter().map(|staged| staged.span.clone()).collect()
    }

    /// Begins and ends faults, and returns what people do now.
    pub(super) fn due(&mut self, world: &mut World, zero: Timestamp, frame: &Frame, version: &str) -> Vec<Verb> {
        self.zero = zero;
        let now = world.now();
        let reached = |moment: Moment| match moment {
            Moment::Start => !version.is_empty(),
            Moment::After(after) => now >= later(zero, after),
            Moment::Weight(weight) => frame.share + 0.5 >= f64::from(weight),
            Moment::Step(step) => frame.step.is_some_and(|present| present >= step),
        };
        let (due, ahead): (Vec<Event>, Vec<Event>) = self.events.drain(..).partition(|event| reached(event.when));
        self.events = ahead;
        let mut changed = false;
        for staged in &mut self.faults {
            match &staged.state {
                State::Ahead if reached(staged.fault.when.from) => {
                    staged.state = State::Active(now, version.to_owned());
                    staged.span.began = Some(since(zero, now));
                    self.began = Some(self.began.unwrap_or_else(|| since(zero, now)));
                    changed = true;
                    if staged.fault.what == Trouble::Kill {
                        (0..world.replicas()).for_each(|replica| world.kill(replica));
                    }
                }
                State::Active(began, _) if lasts(&staged.fault).is_some_and(|lasts| now >= later(*began, lasts)) => {
                    staged.state = State::Over;
                    staged.span.ended = Some(since(zero, now));
                    changed = true;
                    if staged.fault.what == Trouble::Kill {
                        world.start_all();
                    }
                }
                State::Ahead | State::Active(..) | State::Over => {}
            }
        }
        if changed {
            self.set(world);
        }
        due.into_iter().map(|event| event.does).collect()
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
                    Trouble::Kill | Trouble::DataPlaneDelay(_) => continue,
                };
                let known = truth.versions.entry(version.clone()).or_default();
                *known = known.and(made);
            }
        });
        for (trouble, _) in &active {
            if let Trouble::DataPlaneDelay(delay) = trouble {
                world.handle().data_plane_delay(Range {
                    shortest: *delay,
                    longest: *delay,
                });
            }
        }
    }
}

/// How long a fault lasts; killed controllers come back in any case.
fn lasts(fault: &Fault) -> Option<Duration> {
    match fault.what {
        Trouble::Kill => Some(fault.when.lasts.unwrap_or(DOWN_FOR)),
        _ => fault.when.lasts,
    }
}
