//! What happens to an Application, its repository, its project and its objects.

use super::content::Change;
use crate::case::TROUBLE_MILLIS;
use serde_json::{Value, json};
use std::{fmt, time::Duration};
use tidegate::sim::{
    api::kinds::Kind,
    dice::{Dice, Range},
    models::git::Condition,
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

/// What happens.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Somebody pushes a commit on top.
    Push(Change),
    /// Somebody moves the branch back by so many commits.
    Back(usize),
    /// Somebody edits a live object.
    Drift(Kind, &'static str, Value),
    /// Somebody deletes a live object.
    Delete(Kind, &'static str),
    /// Somebody creates an object beside those of the Application, with this tracking id.
    Stranger(&'static str),
    /// Somebody asks for a sync: of the newest commit, or of the one so many before it.
    Sync {
        /// Commits back; `None` is "whatever the branch is at", without a name.
        back: Option<usize>,
        /// Whether it prunes.
        prune: bool,
    },
    /// Somebody stops the operation.
    Terminate,
    /// Somebody asks for a refresh.
    Refresh,
    /// The sync policy is changed.
    Policy(Value),
    /// Git is not well for a while.
    Git(Condition),
    /// The project permits less for a while.
    Limits(Value),
    /// An autoscaler scales.
    Autoscale(u32),
    /// Somebody aborts the Rollout.
    Abort,
    /// A replica is killed.
    Kill(usize),
    /// A replica is stopped in good order.
    Stop(usize),
    /// Somebody takes the Lease against its rules.
    StealLease,
    /// Watches end.
    BreakWatches(Option<Kind>),
    /// Watches end and cannot be resumed.
    Compact,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push(change) => write!(f, "user: pushes {change:?}"),
            Self::Back(commits) => write!(f, "user: moves the branch back by {commits}"),
            Self::Drift(kind, name, patch) => write!(f, "user: edits {kind} {name}: {patch}"),
            Self::Delete(kind, name) => write!(f, "user: deletes {kind} {name}"),
            Self::Stranger(id) => write!(f, "user: creates ConfigMap stranger tracked by {id:?}"),
            Self::Sync { back, prune } => write!(f, "user: syncs, {back:?} commits back, prune {prune}"),
            Self::Terminate => f.write_str("user: terminates the operation"),
            Self::Refresh => f.write_str("user: asks for a refresh"),
            Self::Policy(patch) => write!(f, "user: sync policy {patch}"),
            Self::Git(condition) => write!(f, "Git: {condition:?} for a while"),
            Self::Limits(patch) => write!(f, "user: project permits {patch} for a while"),
            Self::Autoscale(replicas) => write!(f, "autoscaler: scales the Deployment to {replicas}"),
            Self::Abort => f.write_str("user: aborts the Rollout"),
            Self::Kill(replica) => write!(f, "replica {replica} is killed"),
            Self::Stop(replica) => write!(f, "replica {replica} is stopped"),
            Self::StealLease => f.write_str("somebody takes the Lease"),
            Self::BreakWatches(kind) => write!(
                f,
                "watches of {} end",
                kind.map_or("everything".to_owned(), |kind| kind.to_string())
            ),
            Self::Compact => f.write_str("watches end and cannot be resumed"),
        }
    }
}

/// Objects people meddle with.
const OBJECTS: [(Kind, &str); 7] = [
    (Kind::ConfigMap, "cm-0"),
    (Kind::ConfigMap, "cm-1"),
    (Kind::ConfigMap, "late"),
    (Kind::ConfigMap, "kept"),
    (Kind::Service, "web-stable"),
    (Kind::Deployment, "api"),
    (Kind::Rollout, "web"),
];

fn object(dice: &mut Dice) -> (Kind, &'static str) {
    dice.pick(&OBJECTS).copied().unwrap_or((Kind::ConfigMap, "cm-0"))
}

fn drift(dice: &mut Dice) -> Deed {
    let (kind, name) = object(dice);
    let patch = match (kind, dice.below(4)) {
        (_, 0) => json!({"metadata": {"annotations": {"team.example.com/note": dice.below(100).to_string()}}}),
        (Kind::ConfigMap, 1) => json!({"data": {"own": "somebody's"}}),
        (Kind::ConfigMap, _) => json!({"data": {"value": "drifted"}}),
        (Kind::Service, _) => json!({"spec": {"sessionAffinity": "ClientIP", "selector": {"app": "elsewhere"}}}),
        (_, 1) => json!({"spec": {"replicas": 1 + dice.below(5)}}),
        _ => json!({"spec": {"template": {"metadata": {"annotations": {"edited": dice.below(100).to_string()}}}}}),
    };
    Deed::Drift(kind, name, patch)
}

fn trouble(kind: u64, controllers: usize, dice: &mut Dice) -> (u64, Deed) {
    let replica = usize::try_from(dice.below(controllers as u64)).unwrap_or(0);
    let while_ = 2_000 + dice.below(40_000);
    let deed = match kind {
        0..3 => {
            let conditions = [
                Condition::Unreachable,
                Condition::Denied,
                Condition::Slow(Range::millis(1_000, 100_000)),
                Condition::Behind(Duration::from_secs(5 + dice.below(60))),
            ];
            Deed::Git(dice.pick(&conditions).copied().unwrap_or_default())
        }
        3 => Deed::Back(1 + usize::try_from(dice.below(3)).unwrap_or(0)),
        4 | 5 => drift(dice),
        6 => {
            let (kind, name) = object(dice);
            Deed::Delete(kind, name)
        }
        7 => {
            let ids = [
                "",
                "other:/ConfigMap:shop/stranger",
                "shop:/ConfigMap:shop/somebody-else",
            ];
            Deed::Stranger(dice.pick(&ids).copied().unwrap_or_default())
        }
        8 => {
            let limits = [
                json!({"namespaceResourceBlacklist": [{"group": "", "kind": "ConfigMap"}]}),
                json!({"namespaceResourceBlacklist": [{"group": "apps", "kind": "*"}]}),
                json!({"destinations": []}),
                json!({"sourceRepos": []}),
            ];
            Deed::Limits(dice.pick(&limits).cloned().unwrap_or_default())
        }
        9 => Deed::Policy(policy(dice)),
        10 => Deed::Autoscale(1 + u32::try_from(dice.below(6)).unwrap_or(0)),
        11 => Deed::Abort,
        12 if controllers > 1 => Deed::StealLease,
        13 if controllers > 1 => Deed::Stop(replica),
        12..=14 => Deed::Kill(replica),
        15 => {
            let kinds = [
                None,
                Some(Kind::Application),
                Some(Kind::ConfigMap),
                Some(Kind::Deployment),
            ];
            Deed::BreakWatches(dice.pick(&kinds).copied().flatten())
        }
        _ => Deed::Compact,
    };
    (while_, deed)
}

/// A random sync policy, as a merge patch of `spec.syncPolicy`.
pub fn policy(dice: &mut Dice) -> Value {
    if dice.chance(20) {
        return json!({"automated": null});
    }
    json!({"automated": {
        "prune": dice.chance(65),
        "selfHeal": dice.chance(65),
        "allowEmpty": dice.chance(10),
    }})
}

/// Kinds of trouble there are.
const KINDS: u64 = 17;

/// The events of a seed; each kind of trouble is on or off for the whole of it.
pub fn some(controllers: usize, dice: &mut Dice) -> Vec<Event> {
    let on: Vec<u64> = (0..KINDS).filter(|_| dice.chance(18)).collect();
    let count = 2 + dice.below(11);
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..count {
        let last = events.last().map_or(0, |event| event.at);
        let gap = match dice.below(4) {
            0 => dice.below(60),
            1 => dice.below(4_000),
            _ => dice.below(30_000),
        };
        let at = last + gap;
        if at > TROUBLE_MILLIS {
            break;
        }
        let (lasts, deed) = match dice.pick(&on).copied().filter(|_| dice.chance(50)) {
            Some(kind) => trouble(kind, controllers, dice),
            None => (0, everyday(dice)),
        };
        events.push(Event { at, lasts, deed });
    }
    events
}

/// What people do every day.
fn everyday(dice: &mut Dice) -> Deed {
    match dice.below(16) {
        0..9 => Deed::Push(Change::one(dice)),
        9..12 => {
            let back = [None, Some(0), Some(1), Some(2)];
            Deed::Sync {
                back: dice.pick(&back).copied().flatten(),
                prune: dice.chance(60),
            }
        }
        12 => Deed::Terminate,
        13 => drift(dice),
        _ => Deed::Refresh,
    }
}
