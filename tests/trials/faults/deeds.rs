//! What people and the surroundings do at bad moments.

use crate::case::{self, Family};
use serde_json::{Value, json};
use std::fmt;
use tidegate::sim::{
    api::kinds::Kind,
    dice::{Dice, Range},
    models::{people::Verb, truth::Source},
};

/// Something that happens at a moment, and may last.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, since the beginning of the trouble. In milliseconds.
    pub at: u64,
    /// For how long, where that makes a difference. In milliseconds.
    pub lasts: u64,
    /// What.
    pub deed: Deed,
}

/// Whether requests may fail because of a deed, whatever a controller does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Danger {
    /// They must not.
    None,
    /// Until a while after it ended.
    Passing,
    /// Until a person has put things right.
    Lasting,
}

/// Which version is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The recorded stable one.
    Stable,
    /// The one being rolled out.
    New,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A person uses the command line.
    Act(Verb),
    /// An autoscaler sets the size through the scale subresource.
    Autoscale(u32),
    /// A ReplicaSet is deleted.
    DeleteSet(Side),
    /// An object is missing for a while.
    Missing(Kind, &'static str),
    /// The Rollout is deleted and created again.
    Recreate,
    /// A person asks for a restart, at once or so many seconds later.
    Restart(u64),
    /// Somebody writes a weight into the canary Ingress.
    EditWeight(u32),
    /// Somebody annotates an object, which changes its version and nothing else.
    Annotate(Kind, &'static str),
    /// A part of a version's pods is down for a while.
    PodsDown(Side, usize),
    /// A version begins to fail requests.
    Errors(Side),
    /// The metrics system is not well for a while.
    Metrics(Source),
    /// The data plane is slow for a while.
    DataPlane(Range),
    /// The wall clock of a replica jumps, by milliseconds.
    Jump(usize, i64),
    /// Somebody takes the Lease against its rules, and never renews it.
    StealLease,
    /// A replica is killed.
    Kill(usize),
    /// A replica is stopped in good order.
    Stop(usize),
    /// Watches end.
    BreakWatches(Option<Kind>),
    /// Watches end and cannot be resumed.
    Compact,
}

impl Deed {
    /// What it does to requests.
    pub fn danger(&self) -> Danger {
        match self {
            Self::Missing(..) | Self::EditWeight(_) | Self::PodsDown(..) | Self::Act(Verb::EditSelector { .. }) => {
                Danger::Passing
            }
            Self::DeleteSet(_) | Self::Recreate => Danger::Lasting,
            _ => Danger::None,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Act(verb) => write!(f, "user: {verb}"),
            Self::Autoscale(replicas) => write!(f, "autoscaler: scales to {replicas}"),
            Self::DeleteSet(side) => write!(f, "user: deletes the {side:?} ReplicaSet"),
            Self::Missing(kind, name) => write!(f, "user: deletes {kind} {name} for a while"),
            Self::Recreate => f.write_str("user: deletes the Rollout and creates it again"),
            Self::Restart(seconds) => write!(f, "user: restart in {seconds} s"),
            Self::EditWeight(weight) => write!(f, "user: writes weight {weight} into the router's object"),
            Self::Annotate(kind, name) => write!(f, "user: annotates {kind} {name}"),
            Self::PodsDown(side, count) => write!(f, "{count} pods of the {side:?} version go down for a while"),
            Self::Errors(side) => write!(f, "the {side:?} version begins to fail requests"),
            Self::Metrics(source) => write!(f, "metrics: {source:?} for a while"),
            Self::DataPlane(range) => write!(f, "the data plane takes up to {:?} for a while", range.longest),
            Self::Jump(replica, millis) => write!(f, "the clock of replica {replica} jumps by {millis} ms"),
            Self::StealLease => f.write_str("somebody takes the Lease"),
            Self::Kill(replica) => write!(f, "replica {replica} is killed"),
            Self::Stop(replica) => write!(f, "replica {replica} is stopped"),
            Self::BreakWatches(kind) => write!(
                f,
                "watches of {} end",
                kind.map_or("everything".to_owned(), |kind| kind.to_string())
            ),
            Self::Compact => f.write_str("watches end and cannot be resumed"),
        }
    }
}

fn image(dice: &mut Dice) -> Deed {
    let version = 1 + dice.below(5);
    let option = match dice.below(20) {
        0..2 => "-errors60",
        2..4 => "-crash",
        4..7 => "-ready10",
        _ => "",
    };
    Deed::Act(Verb::SetImage {
        container: "*".to_owned(),
        image: format!("shop:v{version}{option}"),
    })
}

fn side(dice: &mut Dice) -> Side {
    if dice.chance(50) { Side::New } else { Side::Stable }
}

/// A person's verb, as often as they come.
fn verb(family: Family, dice: &mut Dice) -> Deed {
    Deed::Act(match dice.below(16) {
        0..6 => Verb::Promote,
        6 => Verb::PromoteFull,
        7 | 8 => Verb::Abort,
        9 | 10 => Verb::Retry,
        11 => Verb::Scale(u32::try_from(dice.below(8)).unwrap_or(1)),
        12 => Verb::Pause,
        13 => Verb::Resume,
        14 if family != Family::BlueGreen => Verb::Steps(case::steps(family, dice)),
        _ => return image(dice),
    })
}

/// What breaks things, by a seed's own choice of kinds.
fn trouble(kind: u64, family: Family, controllers: usize, dice: &mut Dice) -> (u64, Deed) {
    let replica = usize::try_from(dice.below(controllers as u64)).unwrap_or(0);
    let while_ = 2_000 + dice.below(25_000);
    let objects: &[(Kind, &'static str)] = match family {
        Family::Basic => &[(Kind::Service, "web-stable"), (Kind::Service, "web-canary")],
        Family::BlueGreen => &[(Kind::Service, "web-canary")],
        Family::Gateway => &[
            (Kind::Service, "web-canary"),
            (Kind::Service, "web-stable"),
            (Kind::HTTPRoute, "web"),
        ],
        Family::Nginx => &[
            (Kind::Service, "web-canary"),
            (Kind::Service, "web-stable"),
            (Kind::Ingress, "web"),
            (Kind::Ingress, "web-web-canary"),
        ],
    };
    let deed = match kind {
        0 => Deed::DeleteSet(side(dice)),
        1 => {
            let (kind, name) = dice.pick(objects).copied().unwrap_or((Kind::Service, "web-canary"));
            Deed::Missing(kind, name)
        }
        2 => {
            let hash = dice.pick(&[Value::Null, json!("nobody")]).cloned().unwrap_or_default();
            let service = dice
                .pick(&["web-stable", "web-canary"])
                .copied()
                .unwrap_or("web-canary");
            Deed::Act(Verb::EditSelector {
                service: service.to_owned(),
                selector: json!({ case::HASH: hash }),
            })
        }
        3 => Deed::Recreate,
        4 if family.is_routed() => Deed::EditWeight(u32::try_from(dice.below(101)).unwrap_or(0)),
        4 | 5 => {
            let (kind, name) = dice
                .pick(&[
                    (Kind::Rollout, "web"),
                    (Kind::Service, "web-stable"),
                    (Kind::Service, "web-canary"),
                    (Kind::Ingress, "web"),
                    (Kind::Ingress, "web-web-canary"),
                    (Kind::ReplicaSet, ""),
                ])
                .copied()
                .unwrap_or((Kind::Rollout, "web"));
            Deed::Annotate(kind, name)
        }
        6 => Deed::PodsDown(side(dice), 1 + usize::try_from(dice.below(4)).unwrap_or(0)),
        7 => Deed::Errors(side(dice)),
        8 => {
            let sources = [
                Source::Down,
                Source::Absent,
                Source::Nan,
                Source::Error,
                Source::Slow,
                Source::Hangs,
            ];
            Deed::Metrics(dice.pick(&sources).copied().unwrap_or(Source::Down))
        }
        9 => Deed::DataPlane(Range::millis(2_500, 4_300)),
        10 => Deed::Autoscale(1 + u32::try_from(dice.below(8)).unwrap_or(0)),
        11 => Deed::Jump(replica, i64::try_from(dice.below(1_000)).unwrap_or(0) - 500),
        12 if controllers > 1 => Deed::StealLease,
        // One that is alone is not started anew before it is gone.
        14 if controllers > 1 => Deed::Stop(replica),
        12..=14 => Deed::Kill(replica),
        15 => {
            let kinds = [
                None,
                Some(Kind::Rollout),
                Some(Kind::ReplicaSet),
                Some(Kind::AnalysisRun),
                Some(Kind::Ingress),
            ];
            Deed::BreakWatches(dice.pick(&kinds).copied().flatten())
        }
        _ => Deed::Compact,
    };
    (while_, deed)
}

/// Kinds of trouble there are.
const KINDS: u64 = 17;

/// The events of a seed. Each kind of trouble is on or off for the whole of it, so that some lives are only disturbed
/// by what must not endanger anything.
pub fn some(family: Family, controllers: usize, dice: &mut Dice) -> Vec<Event> {
    let on: Vec<u64> = (0..KINDS).filter(|_| dice.chance(18)).collect();
    // A slow data plane leaves no room for clocks that are wrong.
    let on: Vec<u64> = on
        .iter()
        .copied()
        .filter(|kind| *kind != 11 || !on.contains(&9))
        .collect();
    let count = 2 + dice.below(10);
    let mut events = vec![Event {
        at: 0,
        lasts: 0,
        deed: image(dice),
    }];
    for _ in 0..count {
        // Many things happen shortly after one another, some in the middle of a pass.
        let last = events.last().map_or(0, |event| event.at);
        let gap = match dice.below(4) {
            0 => dice.below(60),
            1 => dice.below(3_000),
            _ => dice.below(25_000),
        };
        let at = last + gap;
        if at > case::TROUBLE_MILLIS {
            break;
        }
        let (lasts, deed) = match dice.pick(&on).copied().filter(|_| dice.chance(45)) {
            Some(kind) => trouble(kind, family, controllers, dice),
            None => (0, verb(family, dice)),
        };
        events.push(Event { at, lasts, deed });
    }
    events
}
