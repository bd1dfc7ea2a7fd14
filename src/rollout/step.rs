//! Steps of a canary as alternatives, parsed once from the wire's "exactly one key" form.

use crate::{
    api::{
        scalar::IntOrString,
        strategy::{
            CanaryStep, CanaryStrategy, RolloutAnalysis, RolloutExperimentStep, SetCanaryScale, SetHeaderRoute,
            SetMirrorRoute,
        },
    },
    lang::duration,
};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step<'a> {
    /// Weight of the canary from here on.
    SetWeight(i32),
    /// Wait this many seconds, or for a person.
    Pause(Option<i64>),
    /// Size of the canary, apart from its weight.
    SetCanaryScale(&'a SetCanaryScale),
    /// Run an Experiment and wait for it.
    Experiment(&'a RolloutExperimentStep),
    /// Run an analysis and wait for it.
    Analysis(&'a RolloutAnalysis),
    /// Requests with certain headers go to the canary, or do no more.
    SetHeaderRoute(&'a SetHeaderRoute),
    /// Requests are copied to the canary, or are no more.
    SetMirrorRoute(&'a SetMirrorRoute),
    /// A step that is not supported, by its field name.
    Unsupported(&'static str),
}

impl<'a> Step<'a> {
    /// Reads a step; `None` when no member is set.
    pub(crate) fn of(step: &'a CanaryStep) -> Option<Self> {
        let CanaryStep {
            set_weight,
            pause,
            experiment,
            analysis,
            set_canary_scale,
            set_header_route,
            set_mirror_route,
            plugin,
        } = step;
        if let Some(experiment) = experiment {
            return Some(Self::Experiment(experiment));
        }
        if let Some(analysis) = analysis {
            return Some(Self::Analysis(analysis));
        }
        if let Some(weight) = set_weight {
            return Some(Self::SetWeight(*weight));
        }
        if let Some(pause) = pause {
            return Some(Self::Pause(
                pause.duration.as_ref().map(|duration| seconds(duration).unwrap_or(0)),
            ));
        }
        if let Some(scale) = set_canary_scale {
            return Some(Self::SetCanaryScale(scale));
        }
        if let Some(route) = set_header_route {
            return Some(Self::SetHeaderRoute(route));
        }
        if let Some(route) = set_mirror_route {
            return Some(Self::SetMirrorRoute(route));
        }
        plugin.is_some().then_some(Self::Unsupported("plugin"))
    }

    /// The text of events (reference, rollouts 9.2).
    pub(crate) fn text(&self, wire: &CanaryStep) -> String {
        match self {
            Self::SetWeight(weight) => format!("setWeight: {weight}"),
            Self::Pause(_) => match wire.pause.as_ref().and_then(|pause| pause.duration.as_ref()) {
                Some(duration) => format!("pause: {duration}"),
                None => "pause".to_owned(),
            },
            Self::SetCanaryScale(SetCanaryScale {
                weight: Some(weight), ..
            }) => format!("setCanaryScale{{weight: {weight}}}"),
            Self::SetCanaryScale(SetCanaryScale {
                replicas: Some(replicas),
                ..
            }) => {
                format!("setCanaryScale{{replicas: {replicas}}}")
            }
            Self::SetCanaryScale(_) => "setCanaryScale{matchTrafficWeight: true}".to_owned(),
            Self::Experiment(_) => "experiment".to_owned(),
            Self::Analysis(_) => "analysis".to_owned(),
            Self::SetHeaderRoute(route) => format!("setHeaderRoute: {}", route.name),
            Self::SetMirrorRoute(route) => format!("setMirrorRoute: {}", route.name),
            Self::Unsupported(name) => (*name).to_owned(),
        }
    }
}

/// Seconds of a pause: a whole number, or a duration such as `10m`. `None` when it is neither.
pub(crate) fn seconds(duration: &IntOrString) -> Option<i64> {
    match duration {
        IntOrString::Int(seconds) => Some(*seconds),
        IntOrString::String(text) => text
            .parse()
            .ok()
            .or_else(|| duration::parse(text).ok().map(|parsed| parsed.as_secs())),
    }
}

/// The weight in force at a step: that of the last `setWeight` up to and including it; `total` past the last step.
pub(crate) fn weight_at(canary: &CanaryStrategy, index: usize, total: i32) -> i32 {
    if index >= canary.steps.len() {
        return total;
    }
    canary
        .steps
        .iter()
        .take(index + 1)
        .rev()
        .find_map(|step| step.set_weight)
        .unwrap_or(0)
}

/// The explicit size of the canary in force at a step, if there is one (`setCanaryScale` is sticky until
/// `matchTrafficWeight`).
pub(crate) fn scale_at(canary: &CanaryStrategy, index: usize) -> Option<&SetCanaryScale> {
    if index >= canary.steps.len() {
        return None;
    }
    let latest = canary
        .steps
        .iter()
        .take(index + 1)
        .rev()
        .find_map(|step| step.set_canary_scale.as_ref());
    latest.filter(|scale| !scale.match_traffic_weight)
}
