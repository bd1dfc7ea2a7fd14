//! The phases of runs, metrics and measurements (reference, rollouts 2.7), and which of two is worse.

use std::fmt;

/// `AnalysisRun.status.phase`, `metricResults[].phase` and `measurements[].phase`. Ordered from best to worst.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Everything measured was good enough.
    Successful,
    /// Under way.
    Running,
    /// Not begun.
    Pending,
    /// Neither good nor bad.
    Inconclusive,
    /// Could not be measured.
    Error,
    /// Bad.
    Failed,
}

impl Phase {
    /// The phase written as `text`; `None` when it is empty or unknown.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Successful" => Self::Successful,
            "Failed" => Self::Failed,
            "Error" => Self::Error,
            "Inconclusive" => Self::Inconclusive,
            _ => return None,
        })
    }

    /// The phase as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Successful => "Successful",
            Self::Running => "Running",
            Self::Pending => "Pending",
            Self::Inconclusive => "Inconclusive",
            Self::Error => "Error",
            Self::Failed => "Failed",
        }
    }

    /// Whether nothing more comes after it.
    pub fn is_completed(self) -> bool {
        match self {
            Self::Successful | Self::Failed | Self::Error | Self::Inconclusive => true,
            Self::Pending | Self::Running => false,
        }
    }

    /// Whether a run with a metric in this phase stops measuring the others.
    pub fn ends_the_run(self) -> bool {
        self.is_completed() && self != Self::Successful
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the text of a phase says that nothing more comes.
pub fn completed(text: &str) -> bool {
    Phase::parse(text).is_some_and(Phase::is_completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_ordered_as_the_reference_has_them() {
        let order = ["Successful", "Running", "Pending", "Inconclusive", "Error", "Failed"];
        let phases: Vec<Phase> = order.iter().filter_map(|text| Phase::parse(text)).collect();
        assert!(phases.is_sorted() && phases.len() == 6);
        assert!(phases.iter().zip(order).all(|(phase, text)| phase.as_str() == text));
        assert!(completed("Error") && !completed("Running") && !completed("") && !completed("Odd"));
    }
}
