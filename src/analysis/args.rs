//! `{{args.name}}` in metrics (reference, rollouts 6.4): which values there are, putting them in, and hiding the secret
//! ones again. Secrets are read elsewhere; this file only says which are needed.

use crate::{
    api::analysis::{Argument, Metric, SecretKeyRef},
    lang::template::{self, TemplateError},
};
use std::collections::BTreeMap;
use thiserror::Error;

/// What stands for a value that is not known when a specification is checked, as in the original.
const PLACEHOLDER: &str = "dummy-value";
/// What stands for a secret in messages and logs, as in the original.
pub const MASK: &str = "*****";
/// A secret shorter than this is left in measured values (not in messages): it would hide parts of ordinary numbers.
const MASK_IN_VALUES_MIN: usize = 4;

/// Why arguments cannot be put into a metric.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ArgsError {
    /// An argument without a value.
    #[error("argument \"{0}\" was not supplied")]
    NotSupplied(String),
    /// The text asks for something that is no argument, or is not well-formed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The metric with values in it is no metric any more.
    #[error("metric '{metric}' is not valid with its arguments: {reason}")]
    Metric {
        /// Its name.
        metric: String,
        /// What the decoder says.
        reason: String,
    },
}

/// Arguments with their values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    values: BTreeMap<String, String>,
    secrets: Vec<String>,
}

impl Known {
    /// The values that need no reading; a placeholder stands for secrets and for fields of an owner. For checking.
    pub fn public(args: &[Argument]) -> Result<Self, ArgsError> {
        let mut known = Self::default();
        for argument in args {
            let value = match (&argument.value, &argument.value_from) {
                (Some(value), _) => value.clone(),
                (None, Some(from)) if from.secret_key_ref.is_some() || from.field_ref.is_some() => {
                    PLACEHOLDER.to_owned()
                }
                (None, _) => return Err(ArgsError::NotSupplied(argument.name.clone())),
            };
            known.values.insert(argument.name.clone(), value);
        }
        Ok(known)
    }

    /// The values for a measurement: `secret` gives the text of a Secret's key. A field reference must have been
    /// resolved by the run's owner.
    pub fn with_secrets<E: From<ArgsError>>(
        args: &[Argument],
        secret: impl Fn(&SecretKeyRef) -> Result<String, E>,
    ) -> Result<Self, E> {
        let mut known = Self::default();
        for argument in args {
            let reference = argument
                .value_from
                .as_ref()
                .and_then(|from| from.secret_key_ref.as_ref());
            let value = match (&argument.value, reference) {
                (Some(value), _) => value.clone(),
                (None, Some(reference)) => {
                    let value = secret(reference)?;
                    known.secrets.push(value.clone());
                    value
                }
                (None, None) => return Err(ArgsError::NotSupplied(argument.name.clone()).into()),
            };
            known.values.insert(argument.name.clone(), value);
        }
        Ok(known)
    }

    /// `text` with every secret value masked. For messages, metadata and logs.
    pub fn mask(&self, text: &str) -> String {
        self.mask_longer_than(text, 1)
    }

    /// A measured value with secrets masked.
    pub fn mask_value(&self, text: &str) -> String {
        self.mask_longer_than(text, MASK_IN_VALUES_MIN)
    }

    fn mask_longer_than(&self, text: &str, bytes: usize) -> String {
        let mut masked = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| secret.len() >= bytes) {
            masked = masked.replace(secret.as_str(), MASK);
        }
        masked
    }
}

/// The Secrets that measuring needs, each key once.
pub fn secrets_needed(args: &[Argument]) -> Vec<SecretKeyRef> {
    let mut needed: Vec<SecretKeyRef> = Vec::new();
    for argument in args.iter().filter(|argument| argument.value.is_none()) {
        if let Some(reference) = argument
            .value_from
            .as_ref()
            .and_then(|from| from.secret_key_ref.as_ref())
            && !needed.contains(reference)
        {
            needed.push(reference.clone());
        }
    }
    needed
}

/// `metric` with values in place of `{{args.name}}`, in every field.
pub fn resolve_metric(metric: &Metric, known: &Known) -> Result<Metric, ArgsError> {
    let unfit = |error: serde_json::Error| ArgsError::Metric {
        metric: metric.name.clone(),
        reason: error.to_string(),
    };
    let tree = serde_json::to_value(metric).map_err(unfit)?;
    let lookup = |name: &str| known.values.get(name.strip_prefix("args.")?).cloned();
    let resolved = template::resolve_json(&tree, &lookup)?;
    serde_json::from_value(resolved).map_err(unfit)
}

/// [`resolve_metric`] for each.
pub fn resolve_metrics(metrics: &[Metric], known: &Known) -> Result<Vec<Metric>, ArgsError> {
    metrics.iter().map(|metric| resolve_metric(metric, known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn args(value: Value) -> Vec<Argument> {
        serde_json::from_value(value).unwrap()
    }

    fn metric(value: Value) -> Metric {
        serde_json::from_value(value).unwrap()
    }

    fn secret(reference: &SecretKeyRef) -> Result<String, ArgsError> {
        Ok(format!("s3cr3t-{}", reference.key))
    }

    #[test]
    fn values_reach_every_field() {
        let args = args(json!([{"name": "n", "value": "3"}, {"name": "svc", "value": "a\"b"}]));
        let written = metric(json!({"name": "{{ args.svc }}", "count": "{{args.n}}", "provider": {
            "prometheus": {"query": "up{s='{{args.svc}}'}"}, "job": {"spec": {"x": ["{{args.n}}", 1]}}}}));
        let resolved = resolve_metric(&written, &Known::public(&args).unwrap()).unwrap();
        assert_eq!(
            serde_json::to_value(resolved).unwrap(),
            json!({"name": "a\"b", "count": "3", "provider": {
                "prometheus": {"query": "up{s='a\"b'}"}, "job": {"spec": {"x": ["3", 1]}}}})
        );
    }

    #[test]
    fn errors_are_in_the_originals_words() {
        let error = Known::public(&args(json!([{"name": "a"}]))).unwrap_err();
        assert_eq!(error.to_string(), "argument \"a\" was not supplied");
        let error = Known::with_secrets(
            &args(json!([{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}])),
            secret,
        );
        assert_eq!(error.unwrap_err().to_string(), "argument \"a\" was not supplied");
        let error = resolve_metric(&metric(json!({"name": "{{args.a}}"})), &Known::default()).unwrap_err();
        assert_eq!(error.to_string(), "failed to resolve {{args.a}}");
        let error = resolve_metric(&metric(json!({"name": "{{other}}"})), &Known::default()).unwrap_err();
        assert_eq!(error.to_string(), "failed to resolve {{other}}");
    }

    #[test]
    fn secrets_are_asked_for_once_and_masked() {
        let args = args(json!([
            {"name": "t", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
            {"name": "u", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
            {"name": "v", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "unused"}}},
        ]));
        let needed = secrets_needed(&args);
        assert_eq!(
            needed,
            [SecretKeyRef {
                name: "s".into(),
                key: "token".into()
            }]
        );
        let known = Known::with_secrets(&args, secret).unwrap();
        assert_eq!(
            known.mask("Bearer s3cr3t-token was refused"),
            "Bearer ***** was refused"
        );
        let short = Known {
            secrets: vec!["9".into(), String::new()],
            ..Known::default()
        };
        assert_eq!(
            (short.mask("pin 9"), short.mask_value("[0.95]")),
            ("pin *****".to_owned(), "[0.95]".to_owned())
        );
        let public = Known::public(&args).unwrap();
        assert_eq!(
            resolve_metric(&metric(json!({"name": "{{args.t}}"})), &public)
                .unwrap()
                .name,
            "dummy-value"
        );
    }
}
