//! From templates to the specification of a run: nested templates are flattened, arguments merged, and what is wrong is
//! said in the original's words (reference, rollouts 1.6 and 1.8). Does not read objects: the caller gives all it knows.

use super::{
    args,
    validate::{self, Limits},
};
use crate::api::{
    analysis::{
        AnalysisRunSpec, AnalysisTemplate, AnalysisTemplateSpec, Argument, ClusterAnalysisTemplate, DryRun,
        MeasurementRetention, Metric,
    },
    strategy::{AnalysisTemplateRef, RolloutAnalysis, RolloutAnalysisBackground},
};
use std::collections::{BTreeSet, HashSet};

/// How deep templates may refer to templates. Ten levels is beyond any sensible use; it bounds the recursion.
pub const NESTING_MAX: usize = 10;

/// The templates that are known, of the namespace and of the cluster. Unrelated ones do no harm.
#[derive(Clone, Copy, Debug)]
pub struct TemplateSet<'a> {
    /// Templates of the rollout's namespace.
    pub namespaced: &'a [&'a AnalysisTemplate],
    /// Templates of the cluster.
    pub cluster: &'a [&'a ClusterAnalysisTemplate],
}

/// The parts of an analysis in a rollout that shape a run.
#[derive(Clone, Copy, Debug)]
pub struct AnalysisParts<'a> {
    /// The templates to run together.
    pub templates: &'a [AnalysisTemplateRef],
    /// Metrics whose verdict does not count, in addition to those the templates name.
    pub dry_run: &'a [DryRun],
    /// How many measurements are kept, in addition to what the templates say.
    pub measurement_retention: &'a [MeasurementRetention],
}

impl<'a> From<&'a RolloutAnalysis> for AnalysisParts<'a> {
    fn from(analysis: &'a RolloutAnalysis) -> Self {
        Self {
            templates: &analysis.templates,
            dry_run: &analysis.dry_run,
            measurement_retention: &analysis.measurement_retention,
        }
    }
}

impl<'a> From<&'a RolloutAnalysisBackground> for AnalysisParts<'a> {
    fn from(analysis: &'a RolloutAnalysisBackground) -> Self {
        Self {
            templates: &analysis.templates,
            dry_run: &analysis.dry_run,
            measurement_retention: &analysis.measurement_retention,
        }
    }
}

/// The specification of a run of `analysis`, or everything that is wrong with it (never an empty list).
///
/// `args` are the rollout's arguments with their values; those no template asks for are left out, and those the rollout
/// does not give take the template's default. Secret references stay references. The metrics are valid, numbers and
/// durations included, as far as arguments without secrets decide that.
///
/// `field` gives the value at a path into the object that the run is for, to templates whose own arguments ask for one.
pub fn run_spec<'a>(
    analysis: impl Into<AnalysisParts<'a>>,
    args: Vec<Argument>,
    templates: &TemplateSet<'_>,
    field: impl Fn(&str) -> Result<String, String>,
) -> Result<AnalysisRunSpec, Vec<String>> {
    let analysis = analysis.into();
    let flat = flatten(analysis.templates, templates)?;
    let mut problems = Vec::new();
    let metrics = merge_metrics(&flat, &mut problems);
    let dry_run = merge_dry_run(&flat, analysis.dry_run, &mut problems);
    let measurement_retention = merge_retention(&flat, analysis.measurement_retention, &mut problems);
    let mut merged = merge_args(&flat, &args, &mut problems);
    resolve_fields(&mut merged, field, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let spec = AnalysisRunSpec {
        metrics,
        args: merged,
        dry_run,
        measurement_retention,
        ..AnalysisRunSpec::default()
    };
    let known = args::Known::public(&spec.args).map_err(one)?;
    let metrics = args::resolve_metrics(&spec.metrics, &known).map_err(one)?;
    let problems = validate::problems(&metrics, &spec.dry_run, &spec.measurement_retention);
    if problems.is_empty() { Ok(spec) } else { Err(problems) }
}

/// Names of the metrics that measure until somebody ends them: they have an interval, and neither `count` nor
/// `consecutiveSuccessLimit`. A step that waits for one never ends.
pub fn endless_metrics(spec: &AnalysisRunSpec) -> Vec<String> {
    let resolved = args::Known::public(&spec.args).and_then(|known| args::resolve_metrics(&spec.metrics, &known));
    let is_endless = |metric: &&Metric| {
        Limits::of(metric).is_ok_and(|limits| limits.count.is_none() && limits.consecutive_success.is_none())
    };
    let metrics = resolved.unwrap_or_default();
    metrics
        .iter()
        .filter(is_endless)
        .map(|metric| metric.name.clone())
        .collect()
}

fn one(problem: args::ArgsError) -> Vec<String> {
    vec![problem.to_string()]
}

/// Names of templates, of the namespace and of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Referred {
    /// Names of `AnalysisTemplate`s.
    pub namespaced: BTreeSet<String>,
    /// Names of `ClusterAnalysisTemplate`s.
    pub cluster: BTreeSet<String>,
}

/// Every template that `roots` need, directly and through the templates known so far, whether it is known or not.
/// An observer asks again when one of them becomes known. Cycles are harmless here.
pub fn referred<'a>(roots: impl IntoIterator<Item = &'a AnalysisTemplateRef>, templates: &TemplateSet<'_>) -> Referred {
    let mut referred = Referred::default();
    let mut open: Vec<Key> = roots.into_iter().map(Key::of).collect();
    while let Some(key) = open.pop() {
        let names = if key.cluster {
            &mut referred.cluster
        } else {
            &mut referred.namespaced
        };
        if !names.insert(key.name.clone()) {
            continue;
        }
        if let Some(spec) = templates.find(&key) {
            open.extend(spec.templates.iter().map(Key::of));
        }
    }
    referred
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    cluster: bool,
    name: String,
}

impl Key {
    fn of(reference: &AnalysisTemplateRef) -> Self {
        Self {
            cluster: reference.cluster_scope == Some(true),
            name: reference.template_name.clone(),
        }
    }

    fn kind(&self) -> &'static str {
        if self.cluster {
            "ClusterAnalysisTemplate"
        } else {
            "AnalysisTemplate"
        }
    }
}

impl<'a> TemplateSet<'a> {
    fn find(&self, key: &Key) -> Option<&'a AnalysisTemplateSpec> {
        let named = |name: &Option<String>| name.as_deref() == Some(key.name.as_str());
        if key.cluster {
            self.cluster
                .iter()
                .find(|template| named(&template.metadata.name))
                .map(|template| &template.spec)
        } else {
            self.namespaced
                .iter()
                .find(|template| named(&template.metadata.name))
                .map(|template| &template.spec)
        }
    }
}

/// Every template the roots stand for, each once, in order of first mention, parents before children.
fn flatten<'a>(
    roots: &[AnalysisTemplateRef],
    templates: &TemplateSet<'a>,
) -> Result<Vec<&'a AnalysisTemplateSpec>, Vec<String>> {
    let mut walk = Walk {
        templates,
        seen: HashSet::new(),
        path: Vec::new(),
        flat: Vec::new(),
        problems: Vec::new(),
    };
    for root in roots {
        walk.visit(&Key::of(root));
    }
    if walk.problems.is_empty() {
        Ok(walk.flat)
    } else {
        Err(walk.problems)
    }
}

struct Walk<'s, 'a> {
    templates: &'s TemplateSet<'a>,
    seen: HashSet<Key>,
    path: Vec<Key>,
    flat: Vec<&'a AnalysisTemplateSpec>,
    problems: Vec<String>,
}

impl<'a> Walk<'_, 'a> {
    fn visit(&mut self, key: &Key) {
        if let Some(start) = self.path.iter().position(|above| above == key) {
            let cycle: Vec<&str> = self
                .path
                .iter()
                .skip(start)
                .chain([key])
                .map(|key| key.name.as_str())
                .collect();
            self.problems.push(format!(
                "{} '{}' refers to itself: {}",
                key.kind(),
                key.name,
                cycle.join(" -> ")
            ));
            return;
        }
        if self.path.len() >= NESTING_MAX {
            self.problems.push(format!(
                "{} '{}' is nested deeper than {NESTING_MAX} templates",
                key.kind(),
                key.name
            ));
            return;
        }
        if !self.seen.insert(key.clone()) {
            return;
        }
        let Some(spec) = self.templates.find(key) else {
            self.problems.push(format!("{} '{}' not found", key.kind(), key.name));
            return;
        };
        self.flat.push(spec);
        self.path.push(key.clone());
        for nested in &spec.templates {
            self.visit(&Key::of(nested));
        }
        self.path.pop();
    }
}

fn merge_metrics(flat: &[&AnalysisTemplateSpec], problems: &mut Vec<String>) -> Vec<Metric> {
    let mut names = HashSet::new();
    let mut merged = Vec::new();
    for metric in flat.iter().flat_map(|spec| &spec.metrics) {
        if !names.insert(metric.name.as_str()) {
            problems.push(format!("two metrics have the same name '{}'", metric.name));
        }
        merged.push(metric.clone());
    }
    merged
}

fn merge_dry_run(flat: &[&AnalysisTemplateSpec], own: &[DryRun], problems: &mut Vec<String>) -> Vec<DryRun> {
    let mut names = HashSet::new();
    let all = flat.iter().flat_map(|spec| &spec.dry_run).chain(own);
    all.inspect(|rule| {
        if !names.insert(rule.metric_name.as_str()) {
            problems.push(format!(
                "two Dry-Run metric rules have the same name '{}'",
                rule.metric_name
            ));
        }
    })
    .cloned()
    .collect()
}

fn merge_retention(
    flat: &[&AnalysisTemplateSpec],
    own: &[MeasurementRetention],
    problems: &mut Vec<String>,
) -> Vec<MeasurementRetention> {
    let mut names = HashSet::new();
    let all = flat.iter().flat_map(|spec| &spec.measurement_retention).chain(own);
    all.inspect(|rule| {
        if !names.insert(rule.metric_name.as_str()) {
            problems.push(format!(
                "two Measurement Retention metric rules have the same name '{}'",
                rule.metric_name
            ));
        }
    })
    .cloned()
    .collect()
}

/// The templates' arguments in order of first mention, with the rollout's values where it gives them.
fn merge_args(flat: &[&AnalysisTemplateSpec], given: &[Argument], problems: &mut Vec<String>) -> Vec<Argument> {
    let mut merged: Vec<Argument> = Vec::new();
    for argument in flat.iter().flat_map(|spec| &spec.args) {
        let Some(earlier) = merged.iter_mut().find(|earlier| earlier.name == argument.name) else {
            merged.push(argument.clone());
            continue;
        };
        match (&earlier.value, &argument.value) {
            (Some(first), Some(second)) if first != second => problems.push(format!(
                "Argument `{}` specified multiple times with different values: '{first}', '{second}'",
                argument.name
            )),
            (Some(_), _) => {}
            (None, Some(_)) => *earlier = argument.clone(),
            (None, None) if earlier.value_from.is_none() => *earlier = argument.clone(),
            (None, None) => {}
        }
    }
    for argument in &mut merged {
        // The last one given wins, as in a list of command-line options.
        if let Some(own) = given.iter().rev().find(|own| own.name == argument.name)
            && (own.value.is_some() || own.value_from.is_some())
        {
            *argument = own.clone();
        }
        if argument.value.is_none() && argument.value_from.is_none() {
            problems.push(format!(
                "missing analysis arguments in rollout spec: args.{} was not resolved",
                argument.name
            ));
        }
    }
    merged
}

/// Replaces references to fields by the fields' values.
fn resolve_fields(args: &mut [Argument], field: impl Fn(&str) -> Result<String, String>, problems: &mut Vec<String>) {
    for argument in args.iter_mut().filter(|argument| argument.value.is_none()) {
        let path = argument.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let Some(path) = path else { continue };
        match field(&path.field_path) {
            Ok(value) => {
                argument.value = Some(value);
                argument.value_from = None;
            }
            Err(problem) => problems.push(format!("args.{}: {problem}", argument.name)),
        }
    }
}

#[cfg(test)]
mod tests;
