//! Names of an Experiment's children (reference, rollouts 3.3), and which of them an observer has to look up because
//! somebody else may hold them.

use crate::api::experiment::{Experiment, TemplateSpec};

/// Names that the next decision may ask about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// ReplicaSets.
    pub replica_sets: Vec<String>,
    /// Services.
    pub services: Vec<String>,
    /// First names of AnalysisRuns; of each, further attempts ([`attempt`]) matter as long as one is taken.
    pub analysis_runs: Vec<String>,
}

/// The names of the children that this Experiment's specification asks for.
pub fn wanted(experiment: &Experiment) -> Wanted {
    let name = experiment.metadata.name.as_deref().unwrap_or_default();
    let statuses = experiment
        .status
        .as_ref()
        .map(|status| status.template_statuses.as_slice());
    let collisions = |template: &TemplateSpec| {
        let mut known = statuses.into_iter().flatten();
        known
            .find(|status| status.name == template.name)
            .and_then(|status| status.collision_count)
    };
    Wanted {
        replica_sets: (experiment.spec.templates.iter())
            .map(|template| replica_set(name, &template.name, collisions(template)))
            .collect(),
        services: (experiment.spec.templates.iter())
            .filter_map(|template| service(name, template))
            .collect(),
        analysis_runs: (experiment.spec.analyses.iter())
            .map(|analysis| analysis_run(name, &analysis.name))
            .collect(),
    }
}

/// `<experiment>-<template>`, with a number behind it after collisions with somebody else's ReplicaSet.
pub(super) fn replica_set(experiment: &str, template: &str, collisions: Option<i32>) -> String {
    match collisions {
        None | Some(0) => format!("{experiment}-{template}"),
        Some(count) => format!("{experiment}-{template}-{count}"),
    }
}

/// The Service of a template: the name given, or that of the ReplicaSet; `None` without a Service.
pub(super) fn service(experiment: &str, template: &TemplateSpec) -> Option<String> {
    let service = template.service.as_ref()?;
    Some(match service.name.as_str() {
        "" => replica_set(experiment, &template.name, None),
        name => name.to_owned(),
    })
}

/// `<experiment>-<analysis>`.
pub(super) fn analysis_run(experiment: &str, analysis: &str) -> String {
    format!("{experiment}-{analysis}")
}

/// The name of the attempt of this number: `base`, `base.1`, `base.2` …
pub fn attempt(base: &str, number: usize) -> String {
    match number {
        0 => base.to_owned(),
        number => format!("{base}.{number}"),
    }
}
