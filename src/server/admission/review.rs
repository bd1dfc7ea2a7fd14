//! What is answered to one admission request. Pure: the request alone decides, so that a dry run and the write agree, and
//! objects that come in any order are allowed in any order.
//!
//! Only the object itself is judged, never what it names: that may come later. An update is refused for what it breaks
//! newly; what was wrong before may stay wrong, and is answered as a warning. So an object from before the webhook can
//! be mended in several edits, and its metadata and status can always be written.

use crate::{
    analysis,
    api::{
        API_VERSION, GROUP,
        analysis::{AnalysisTemplate, ClusterAnalysisTemplate},
        experiment::Experiment,
        rollout::Rollout,
        unknown_fields::unknown_fields,
        well_known,
    },
    experiment,
    json::At as _,
    rollout,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Clients print every warning; the API server cuts off what goes beyond 4096 characters in all.
const WARNINGS_MAX: usize = 20;
/// The API server's advice for one warning is 120 characters, its limit 256.
const WARNING_CHARS_MAX: usize = 256;
/// Errors in one answer; more would only hide each other.
const ERRORS_MAX: usize = 50;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Path of the field.
    pub field: String,
    /// What was found there and what is wrong with it.
    pub message: String,
}

/// What is answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Kind and name of the object.
    pub subject: (String, String),
    /// Why it is refused; empty: it is allowed.
    pub errors: Vec<Fault>,
    /// What the user should know in any case.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// The member `response` of the review, without its `uid`.
    pub fn response(&self) -> Value {
        let mut warnings: Vec<String> = (self.warnings.iter().take(WARNINGS_MAX))
            .map(|warning| warning.chars().take(WARNING_CHARS_MAX).collect())
            .collect();
        if self.warnings.len() > WARNINGS_MAX {
            warnings.push(format!("{} more warnings", self.warnings.len() - WARNINGS_MAX));
        }
        let mut response = json!({ "allowed": self.errors.is_empty() });
        if let (false, Some(response)) = (warnings.is_empty(), response.as_object_mut()) {
            response.insert("warnings".to_owned(), json!(warnings));
        }
        if let (false, Some(response)) = (self.errors.is_empty(), response.as_object_mut()) {
            response.insert("status".to_owned(), self.refusal());
        }
        response
    }

    /// As the API server itself refuses what is invalid.
    fn refusal(&self) -> Value {
        let told = self.errors.iter().take(ERRORS_MAX);
        let texts: Vec<String> = told
            .clone()
            .map(|fault| format!("{}: {}", fault.field, fault.message))
            .collect();
        let causes: Vec<Value> = told
            .map(|fault| json!({ "reason": "FieldValueInvalid", "field": fault.field, "message": fault.message }))
            .collect();
        let (kind, name) = &self.subject;
        // kubectl shows the causes one by one, and names the object only if it is named here.
        json!({
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": format!("{kind} \"{name}\" is invalid: {}", texts.join("; ")),
            "details": { "group": GROUP, "kind": kind, "name": name, "causes": causes },
        })
    }
}

/// Decides about the member `request` of a review.
pub fn decide(request: &Value, instance_id: &str) -> Verdict {
    let text = |pointer: &str| request.at(pointer).and_then(Value::as_str).unwrap_or_default();
    let (operation, kind) = (text("/operation"), text("/kind/kind"));
    let (new, old) = (
        request.get("object"),
        request.get("oldObject").filter(|old| !old.is_null()),
    );
    let Some(new) = new.filter(|new| new.get("apiVersion").and_then(Value::as_str) == Some(API_VERSION)) else {
        return Verdict::default();
    };
    let is_ours = label(new, well_known::INSTANCE_ID) == instance_id;
    // An object that is going may lose its finalizers, whatever else is wrong with it.
    let is_going = new.at("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
    if !matches!(operation, "CREATE" | "UPDATE") || !text("/subResource").is_empty() || !is_ours || is_going {
        return Verdict::default();
    }
    let same_spec = old.is_some_and(|old| old.get("spec") == new.get("spec"));
    let same_source = old.is_some_and(|old| applied(old) == applied(new));
    if same_spec && same_source {
        return Verdict::default();
    }
    let mut verdict = Verdict {
        subject: (kind.to_owned(), name(new).to_owned()),
        errors: Vec::new(),
        warnings: unknown(kind, new),
    };
    verdict.warnings.extend(inert(kind, new));
    let (standing, fresh) = split(faults(kind, new), old.map(|old| faults(kind, old)).unwrap_or_default());
    verdict.warnings.extend(
        standing
            .iter()
            .map(|fault| format!("still wrong: {}: {}", fault.field, fault.message)),
    );
    // What is in the source only, as an unknown field, does not change what is asked for.
    verdict.errors = if same_spec { Vec::new() } else { fresh };
    verdict
}

fn name(object: &Value) -> &str {
    let text = |pointer: &str| object.at(pointer).and_then(Value::as_str);
    text("/metadata/name")
        .or_else(|| text("/metadata/generateName"))
        .unwrap_or_default()
}

fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    let labels = object.at("/metadata/labels").and_then(Value::as_object);
    labels
        .and_then(|labels| labels.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What a client applied, as it wrote it: the API server has dropped unknown fields from the object itself by now.
fn applied(object: &Value) -> Option<&str> {
    let annotations = object.at("/metadata/annotations").and_then(Value::as_object)?;
    annotations.get(well_known::LAST_APPLIED)?.as_str()
}

/// Warnings about unknown fields, of the object and of what was applied.
fn unknown(kind: &str, object: &Value) -> Vec<String> {
    let source = applied(object).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let found = source
        .iter()
        .chain([object])
        .flat_map(|object| unknown_fields(kind, object));
    let each: BTreeSet<_> = found.collect();
    let told = each.into_iter().map(|field| match field.suggestion {
        Some(suggestion) => format!("unknown field \"{}\": did you mean \"{suggestion}\"?", field.path),
        None => format!("unknown field \"{}\"", field.path),
    });
    told.collect()
}

fn inert(kind: &str, object: &Value) -> Vec<String> {
    let rollout = (kind == "Rollout").then(|| serde_json::from_value::<Rollout>(object.clone()).ok());
    let fields = rollout.flatten().map(|rollout| rollout::inert::fields(&rollout.spec));
    let fields = fields.unwrap_or_default().into_iter();
    fields
        .map(|inert| format!("{} {}", inert.field, inert.because))
        .collect()
}

/// Everything that is wrong with an object by itself.
fn faults(kind: &str, object: &Value) -> Vec<Fault> {
    let template = |spec: &_| {
        let flaws = analysis::check::flaws(spec).into_iter();
        flaws
            .map(|flaw| Fault {
                field: flaw.field,
                message: flaw.message,
            })
            .collect()
    };
    let found = match kind {
        "Rollout" => decoded::<Rollout>(object).map(|rollout| {
            let flaws = rollout::check::spec_flaws(&rollout).into_iter();
            flaws
                .map(|flaw| Fault {
                    field: flaw.field,
                    message: flaw.message,
                })
                .collect()
        }),
        "AnalysisTemplate" => decoded::<AnalysisTemplate>(object).map(|found| template(&found.spec)),
        "Experiment" => decoded::<Experiment>(object).map(|found| {
            let problems = experiment::problems(&found).into_iter();
            problems
                .map(|problem| Fault {
                    field: problem.field,
                    message: match problem.found {
                        Some(found) => format!("Invalid value: {found}: {}", problem.message),
                        None => format!("Required value: {}", problem.message),
                    },
                })
                .collect()
        }),
        "ClusterAnalysisTemplate" => decoded::<ClusterAnalysisTemplate>(object).map(|found| template(&found.spec)),
        _ => Ok(Vec::new()),
    };
    found.unwrap_or_else(|fault| vec![fault])
}

fn decoded<K: DeserializeOwned>(object: &Value) -> Result<K, Fault> {
    serde_path_to_error::deserialize(object).map_err(|error| Fault {
        field: error.path().to_string(),
        message: error.inner().to_string(),
    })
}

/// What was wrong before, and what is so newly. Positions in lists do not count: an entry that is taken out in front of
/// a wrong one makes nothing wrong.
fn split(now: Vec<Fault>, before: Vec<Fault>) -> (Vec<Fault>, Vec<Fault>) {
    let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
    for fault in &before {
        *known.entry(identity(fault)).or_default() += 1;
    }
    now.into_iter()
        .partition(|fault| match known.get_mut(&identity(fault)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        })
}

fn identity(fault: &Fault) -> (String, String) {
    let mut is_index = false;
    let field = fault.field.chars().filter(|letter| {
        let kept = !(is_index && letter.is_ascii_digit());
        is_index = *letter == '[' || (is_index && letter.is_ascii_digit());
        kept
    });
    (field.collect(), fault.message.clone())
}
