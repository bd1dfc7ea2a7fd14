//! When to try again after a pass failed: one policy for all controllers.

use crate::{
    class::Class,
    k8s::{apply::ApplyError, error::ApiError},
};
use std::{error::Error, fmt, time::Duration};

/// First delay after an error that may pass by itself; doubles each time.
const TRANSIENT_DELAY_MIN: Duration = Duration::from_millis(500);
/// First delay after an error that a person has to mend; a change of the object is acted on at once all the same.
const LASTING_DELAY_MIN: Duration = Duration::from_secs(10);
/// First delay after a conflict: the watch event that explains it is usually here sooner.
const CONFLICT_DELAY_MIN: Duration = Duration::from_millis(20);
/// A conflict is never a reason to wait longer.
const CONFLICT_DELAY_MAX: Duration = Duration::from_secs(2);
/// What passes by itself is never waited for longer: after an outage nobody must wait minutes for the next look.
const TRANSIENT_DELAY_MAX: Duration = Duration::from_secs(30);
/// Nothing waits longer, so that what was mended outside our sight is noticed.
pub const DELAY_MAX: Duration = Duration::from_secs(300);

/// Where a pass failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// While reading.
    Observe,
    /// While writing.
    Apply,
    /// A defect of ours.
    Panic,
}

/// A pass over one object failed.
#[derive(Debug)]
pub struct ReconcileError {
    /// Where.
    pub step: Step,
    /// What it means for trying again.
    pub class: Class,
    /// One word for metrics.
    pub label: &'static str,
    /// What went wrong.
    pub source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for ReconcileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for ReconcileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

impl ReconcileError {
    /// An object could not be read.
    pub fn from_reading(target: &impl fmt::Display, error: ApiError) -> Self {
        Self {
            step: Step::Observe,
            class: error.class(),
            label: error.label(),
            source: format!("failed to read {target}: {error}").into(),
        }
    }
}

impl From<ApplyError> for ReconcileError {
    fn from(error: ApplyError) -> Self {
        Self {
            step: Step::Apply,
            class: error.class(),
            label: error.label(),
            source: Box::new(error),
        }
    }
}

/// How long to wait before the next pass. `failures` counts passes that failed in a row, this one included; `jitter` is
/// from 0 to 1.
pub fn error_policy(class: Class, failures: u32, jitter: f64) -> Duration {
    let (first, longest) = match class {
        Class::Conflict => (CONFLICT_DELAY_MIN, CONFLICT_DELAY_MAX),
        Class::Transient => (TRANSIENT_DELAY_MIN, TRANSIENT_DELAY_MAX),
        Class::Throttled(asked) => (asked.max(TRANSIENT_DELAY_MIN), TRANSIENT_DELAY_MAX),
        Class::Denied | Class::NotFound | Class::Permanent => (LASTING_DELAY_MIN, DELAY_MAX),
    };
    let doublings = failures.saturating_sub(1).min(16);
    let delay = first.saturating_mul(1 << doublings).min(longest.max(first));
    // Between 75 % and 100 %, so that objects that failed together do not come back together.
    delay.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound() {
        let seconds = |class, failures| error_policy(class, failures, 0.0).as_secs_f64();
        assert!(seconds(Class::Conflict, 1) < 0.1);
        assert!(seconds(Class::Conflict, 100) <= 2.0);
        assert_eq!(seconds(Class::Transient, 1), 0.5);
        assert_eq!(seconds(Class::Transient, 3), 2.0);
        assert_eq!(seconds(Class::Transient, 40), 30.0);
        assert_eq!(seconds(Class::Throttled(Duration::from_secs(90)), 9), 90.0);
        assert_eq!(seconds(Class::Permanent, 40), 300.0);
        assert_eq!(seconds(Class::Throttled(Duration::from_secs(7)), 1), 7.0);
        assert_eq!(seconds(Class::Denied, 1), 10.0);
        assert_eq!(error_policy(Class::Transient, 2, 1.0), Duration::from_millis(750));
    }
}
