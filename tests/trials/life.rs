//! What a seed stands for: the life of a Rollout, or, for one seed in six, of an Application.

use crate::{
    case::{Case, Family},
    features::Feature,
    frame::{Failure, Statistics},
    run, shrink, story,
    sync::{self, case::SyncCase},
};
use tidegate::sim::replica::Seams;

/// One seed in so many is about an Application.
const SYNC_EVERY: u64 = 6;

/// Which lives are wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Choice {
    /// As the seed says.
    #[default]
    Mixed,
    /// Only of Applications.
    Sync,
    /// Only of Rollouts.
    Rollout,
}

/// A random life.
#[derive(Clone, Debug)]
pub enum Life {
    /// Of a Rollout.
    Rollout(Box<Case>),
    /// Of an Application.
    Sync(Box<SyncCase>),
}

impl Life {
    /// The life of a seed.
    pub fn of(seed: u64, choice: Choice) -> Self {
        let is_sync = match choice {
            Choice::Mixed => seed % SYNC_EVERY == SYNC_EVERY - 1,
            Choice::Sync => true,
            Choice::Rollout => false,
        };
        if is_sync {
            Self::Sync(Box::new(SyncCase::of(seed)))
        } else {
            Self::Rollout(Box::new(Case::of(seed)))
        }
    }

    /// Which kind of rollout it is about; `None` for an Application.
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::Rollout(case) => Some(case.family),
            Self::Sync(_) => None,
        }
    }

    /// Whether it has this feature.
    pub fn has(&self, feature: Feature) -> bool {
        match self {
            Self::Rollout(case) => case.features.contains(&feature),
            Self::Sync(_) => false,
        }
    }

    /// Runs it.
    pub fn run(&self, seams: &Seams) -> Result<Statistics, Box<Failure>> {
        match self {
            Self::Rollout(case) => run::run(case, seams),
            Self::Sync(case) => sync::run::run(case, seams),
        }
    }

    /// Runs it again, to tell what happened.
    pub fn tell(&self, seams: &Seams) -> Result<Statistics, Box<Failure>> {
        match self {
            Self::Rollout(case) => run::tell(case, seams),
            Self::Sync(case) => sync::run::tell(case, seams),
        }
    }

    /// The smallest life found that breaks the same promise, and how it fails.
    pub fn shrink(&self, failure: &Failure, seams: &Seams) -> (Self, Option<Box<Failure>>) {
        let rule = failure.violation.rule;
        match self {
            Self::Rollout(case) => {
                let (small, told) = shrink::shrink(case, rule, seams);
                (Self::Rollout(Box::new(small)), told)
            }
            Self::Sync(case) => {
                let (small, told) = sync::shrink::shrink(case, rule, seams);
                (Self::Sync(Box::new(small)), told)
            }
        }
    }

    /// A failed life as a page to read.
    pub fn page(&self, failure: &Failure) -> String {
        match self {
            Self::Rollout(case) => story::page(case, &failure.violation, &failure.story),
            Self::Sync(case) => sync::run::page(case, failure),
        }
    }
}
