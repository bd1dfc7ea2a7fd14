//! What is wrong with fields that say what becomes of pods: metadata of roles, anti-affinity, and the rollback window.

use super::Problem;
use crate::{
    api::{
        strategy::{AntiAffinity, PodTemplateMetadata},
        well_known,
    },
    rollout::view::View,
};

/// Kubernetes' limit on the value of a label and on the name in a key.
const LABEL_LENGTH_MAX: usize = 63;
/// Kubernetes' limit on the prefix of a key.
const PREFIX_LENGTH_MAX: usize = 253;

pub(super) fn problems(view: &View<'_>, problems: &mut Vec<Problem>) {
    let window = view.spec.rollback_window.as_ref().map(|window| window.revisions);
    if let Some(revisions) = window.filter(|revisions| *revisions < 0) {
        let message = "must be greater than or equal to 0";
        problems.push(Problem::invalid("spec.rollbackWindow.revisions", revisions, message));
    }
    let strategy = &view.spec.strategy;
    if let Some(canary) = &strategy.canary {
        let field = "spec.strategy.canary";
        anti_affinity(canary.anti_affinity.as_ref(), field, problems);
        metadata(
            view,
            canary.canary_metadata.as_ref(),
            &format!("{field}.canaryMetadata"),
            problems,
        );
        metadata(
            view,
            canary.stable_metadata.as_ref(),
            &format!("{field}.stableMetadata"),
            problems,
        );
    }
    if let Some(blue_green) = &strategy.blue_green {
        let field = "spec.strategy.blueGreen";
        anti_affinity(blue_green.anti_affinity.as_ref(), field, problems);
        metadata(
            view,
            blue_green.preview_metadata.as_ref(),
            &format!("{field}.previewMetadata"),
            problems,
        );
        metadata(
            view,
            blue_green.active_metadata.as_ref(),
            &format!("{field}.activeMetadata"),
            problems,
        );
    }
}

fn anti_affinity(anti_affinity: Option<&AntiAffinity>, strategy: &str, problems: &mut Vec<Problem>) {
    let Some(anti_affinity) = anti_affinity else { return };
    let field = format!("{strategy}.antiAffinity");
    let preferred = anti_affinity
        .preferred_during_scheduling_ignored_during_execution
        .as_ref();
    let required = anti_affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref();
    if preferred.is_some() == required.is_some() {
        let found = serde_json::to_value(anti_affinity).unwrap_or_default();
        let message = "AntiAffinity must have exactly one strategy listed";
        problems.push(Problem::invalid(field.as_str(), found, message));
    }
    if let Some(weight) = preferred
        .map(|preferred| preferred.weight)
        .filter(|weight| !(1..=100).contains(weight))
    {
        let field = format!("{field}.preferredDuringSchedulingIgnoredDuringExecution.weight");
        let message = "AntiAffinity weight must be between 1-100";
        problems.push(Problem::invalid(field, weight, message));
    }
}

/// Labels by which pods are selected are not to be changed, and what no pod can have would fail at each write.
fn metadata(view: &View<'_>, metadata: Option<&PodTemplateMetadata>, field: &str, problems: &mut Vec<Problem>) {
    let Some(metadata) = metadata else { return };
    let selector = view.spec.selector.as_ref();
    let expressions = selector.and_then(|selector| selector.match_expressions.as_ref());
    for (key, value) in &metadata.labels {
        let at = format!("{field}.labels[{key}]");
        let required = selector.and_then(|selector| selector.match_labels.as_ref()?.get(key));
        let selects = expressions
            .into_iter()
            .flatten()
            .any(|expression| expression.key == *key);
        if key == well_known::POD_TEMPLATE_HASH || selects || required.is_some_and(|required| required != value) {
            let message = "pods are selected by this label, so metadata of a role cannot set it";
            problems.push(Problem::invalid(at, value.as_str(), message));
        } else if !is_key(key) {
            problems.push(Problem::invalid(at, key.as_str(), KEY));
        } else if !value.is_empty() && !is_name(value) {
            let message = "a label is at most 63 characters of letters, digits, '-', '_' and '.', and begins and ends with a letter or digit";
            problems.push(Problem::invalid(at, value.as_str(), message));
        }
    }
    for key in metadata.annotations.keys().filter(|key| !is_key(&key.to_lowercase())) {
        problems.push(Problem::invalid(
            format!("{field}.annotations[{key}]"),
            key.as_str(),
            KEY,
        ));
    }
}

const KEY: &str = "expected a name such as 'role' or 'example.com/role'";

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name(key),
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
    }
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= LABEL_LENGTH_MAX
        && text.chars().all(inner)
        && ends(text.chars().next())
        && ends(text.chars().next_back())
}

fn is_prefix(text: &str) -> bool {
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= PREFIX_LENGTH_MAX && text.split('.').all(part)
}
