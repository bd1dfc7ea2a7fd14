//! What a user writes survives the types: nothing is lost, and nothing the API server accepts fails to decode.

use super::{
    analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate},
    app_project::AppProject,
    application::Application,
    application_set::ApplicationSet,
    crd::schema,
    experiment::Experiment,
    rollout::Rollout,
};
use crate::lang::yaml;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

const KINDS: [&str; 8] = [
    "AnalysisRun",
    "AnalysisTemplate",
    "Application",
    "ApplicationSet",
    "AppProject",
    "ClusterAnalysisTemplate",
    "Experiment",
    "Rollout",
];

/// Decodes with the type of a kind and encodes again.
#[track_caller]
fn again(kind: &str, object: &Value) -> Value {
    #[track_caller]
    fn through<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
        let typed: K = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}\n{object:#}"));
        serde_json::to_value(typed).unwrap()
    }
    match kind {
        "AnalysisRun" => through::<AnalysisRun>(object),
        "AnalysisTemplate" => through::<AnalysisTemplate>(object),
        "Application" => through::<Application>(object),
        "ApplicationSet" => through::<ApplicationSet>(object),
        "AppProject" => through::<AppProject>(object),
        "ClusterAnalysisTemplate" => through::<ClusterAnalysisTemplate>(object),
        "Experiment" => through::<Experiment>(object),
        "Rollout" => through::<Rollout>(object),
        _ => panic!("no such kind: {kind}"),
    }
}

/// Nothing, said in one of the ways that mean the same: `0`, `""`, an empty list, an object of nothings.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_nothing),
    }
}

/// Paths at which an object changed by going through its type. `schema` tells an object with fields of its own, which
/// must survive even when empty (`pause: {}`), from a map.
fn changes(schema: &Value, before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                let path = format!("{path}.{name}");
                let schema = schema
                    .pointer(&format!("/properties/{name}"))
                    .or(schema.get("additionalProperties"));
                let schema = schema.unwrap_or(&Value::Null);
                match after.get(name) {
                    Some(after) => changes(schema, value, after, &path, found),
                    None if is_nothing(value) && !(value.is_object() && schema.get("properties").is_some()) => {}
                    None => found.push(format!("{path} is lost")),
                }
            }
            let added = after
                .iter()
                .filter(|(name, value)| !before.contains_key(*name) && !is_nothing(value));
            found.extend(added.map(|(name, _)| format!("{path}.{name} is new")));
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let schema = schema.get("items").unwrap_or(&Value::Null);
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                changes(schema, before, after, &format!("{path}[{index}]"), found);
            }
        }
        _ if before == after => {}
        _ => found.push(format!("{path}: {before} became {after}")),
    }
}

#[track_caller]
fn check_survives(kind: &str, object: &Value) {
    let mut found = Vec::new();
    changes(schema::of(kind).unwrap(), object, &again(kind, object), "", &mut found);
    assert!(found.is_empty(), "{kind}: {found:#?}\n{object:#}");
}

/// Bytes that decide what is generated; when they are used up everything left is absent, so fewer bytes shrink.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[usize::from(self.next()) % from.len()]
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 12] = [
            "x",
            "",
            "null",
            "true",
            "5",
            "25%",
            "1e3",
            "{{args.n}}",
            " a: b ",
            "é\u{1F30A}",
            "two\nlines",
            "\u{0}",
        ];
        (*self.pick(&TEXTS)).to_owned()
    }

    fn integer(&mut self, narrow: bool) -> Value {
        let limits = if narrow {
            [i64::from(i32::MAX), i64::from(i32::MIN)]
        } else {
            [i64::MAX, i64::MIN]
        };
        json!(*self.pick(&[1, 0, -1, 80, limits[0], limits[1]]))
    }

    /// Any JSON at all.
    fn anything(&mut self, depth: u8) -> Value {
        match self.next() % if depth > 3 { 5 } else { 7 } {
            0 => Value::Bool(self.coin()),
            1 => self.integer(false),
            2 => json!(0.5),
            3 => Value::String(self.text()),
            4 => Value::Null,
            5 => (0..self.next() % 3).map(|_| self.anything(depth + 1)).collect(),
            _ => self.any_object(depth),
        }
    }

    fn any_object(&mut self, depth: u8) -> Value {
        (0..self.next() % 4)
            .map(|_| (self.text(), self.anything(depth + 1)))
            .collect::<Map<_, _>>()
            .into()
    }

    /// A value that the API server would accept for a schema.
    fn value(&mut self, schema: &Value) -> Value {
        let is = |member: &str| schema.get(member) == Some(&Value::Bool(true));
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return self.pick(values).clone();
        }
        if is("x-kubernetes-int-or-string") {
            return if self.coin() {
                self.integer(false)
            } else {
                json!(self.text())
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            None => match self.anything(0) {
                Value::Null => json!(1), // The API server drops a null here.
                value => value,
            },
            Some("object") if is("x-kubernetes-preserve-unknown-fields") => self.any_object(0),
            Some("object") => self.object(schema),
            Some("array") => (0..self.next() % 3).map(|_| self.value(&schema["items"])).collect(),
            Some("boolean") => Value::Bool(self.coin()),
            Some("integer") => self.integer(schema["format"] == "int32"),
            Some("string") if schema["format"] == "date-time" => json!("2026-11-21T07:08:09Z"),
            Some("string") => json!(self.text()),
            Some(other) => panic!("no generator for type {other}"),
        }
    }

    fn object(&mut self, schema: &Value) -> Value {
        let mut object = Map::new();
        if let Some(properties) = schema["properties"].as_object() {
            // Starting anywhere keeps the first properties from using up the bytes every time.
            let start = usize::from(self.next()) % properties.len().max(1);
            for (name, schema) in properties.iter().cycle().skip(start).take(properties.len()) {
                if self.next() > 150 {
                    object.insert(name.clone(), self.value(schema));
                }
            }
        } else if let Some(values) = schema.get("additionalProperties") {
            object.extend((0..self.next() % 3).map(|_| (self.text(), self.value(values))));
        }
        object.into()
    }
}

fn object_of(kind: &str, bytes: &[u8]) -> Value {
    let mut object = Choices(bytes.iter()).object(schema::of(kind).unwrap());
    object["apiVersion"] = json!(super::API_VERSION);
    object["kind"] = json!(kind);
    object["metadata"] = json!({ "name": "x", "labels": { "a": "b" }, "finalizers": ["c/d"] });
    object
}

proptest! {
    #[test]
    fn every_kind_survives(kind in prop::sample::select(&KINDS[..]), bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check_survives(kind, &object_of(kind, &bytes));
    }
}

/// So that the property above cannot pass by generating next to nothing.
#[test]
fn every_field_is_generated() {
    for kind in KINDS {
        let mut missing = Vec::new();
        fields(schema::of(kind).unwrap(), "", &mut missing);
        let count = missing.len();
        for seed in 0..=255_u8 {
            let bytes: Vec<u8> = (0..900_u32)
                .map(|n| (n * 7 + n * n * u32::from(seed)) as u8 ^ seed)
                .collect();
            let object = object_of(kind, &bytes);
            missing.retain(|pointer: &String| !has(&object, pointer));
        }
        assert!(
            missing.len() * 5 < count,
            "{kind}: {} of {count} never generated: {missing:#?}",
            missing.len()
        );
    }
}

/// Paths of all fields, without the deep repetitions below `status` and `operation`.
fn fields(schema: &Value, path: &str, into: &mut Vec<String>) {
    for (name, child) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = format!("{path}.{name}");
        let always = [".apiVersion", ".kind", ".metadata"].contains(&path.as_str());
        if !always && path.split('.').count() < 8 && path != ".status" && path != ".operation" {
            fields(child, &path, into);
            into.push(path);
        }
    }
    if let Some(items) = schema.get("items") {
        fields(items, &format!("{path}.*"), into);
    }
}

fn has(value: &Value, path: &str) -> bool {
    match (path.split_once('.'), value) {
        (None, _) => true,
        (Some((_, rest)), value) => {
            let (name, rest) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
            match value {
                Value::Array(items) if name == "*" => items.iter().any(|item| has(item, rest)),
                value => value.get(name).is_some_and(|value| has(value, rest)),
            }
        }
    }
}

/// Every field may be null, in every kind: it then counts as absent.
#[test]
fn null_is_absent() {
    for kind in KINDS {
        let mut paths = Vec::new();
        fields(schema::of(kind).unwrap(), "", &mut paths);
        for path in paths {
            let object =
                path.split('.')
                    .skip(1)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .fold(Value::Null, |inner, name| {
                        if name == "*" {
                            json!([inner])
                        } else {
                            json!({ name: inner })
                        }
                    });
            let free = ["template", "jsonBody", "valuesObject", "elements"];
            assert!(
                is_nothing(&strip(&again(kind, &object))) || free.iter().any(|free| path.contains(free)),
                "{path}"
            );
        }
    }
}

/// Without what is always written, and lists of nothings as nothing.
fn strip(object: &Value) -> Value {
    match object {
        Value::Object(members) => {
            let own = members
                .iter()
                .filter(|(name, _)| *name != "apiVersion" && *name != "kind");
            own.map(|(name, value)| (name.clone(), strip(value)))
                .filter(|(_, value)| !is_nothing(value))
                .collect()
        }
        Value::Array(items) => items.iter().map(strip).filter(|item| !is_nothing(item)).collect(),
        other => other.clone(),
    }
}

/// Zeros and empties that mean something other than absence.
#[test]
fn a_meant_zero_survives() {
    for (kind, pointer) in [
        ("Rollout", "/spec/replicas=0"),
        ("Rollout", "/spec/revisionHistoryLimit=0"),
        ("Rollout", "/spec/analysis/successfulRunHistoryLimit=0"),
        ("Rollout", "/spec/strategy/blueGreen/autoPromotionEnabled=false"),
        ("Rollout", "/spec/strategy/blueGreen/previewReplicaCount=0"),
        ("Rollout", "/spec/strategy/canary/maxSurge=0"),
        ("Rollout", "/spec/strategy/canary/maxUnavailable=0"),
        ("Rollout", "/spec/strategy/canary/scaleDownDelaySeconds=0"),
        ("Rollout", "/spec/strategy/canary/abortScaleDownDelaySeconds=0"),
        ("Rollout", "/spec/strategy/canary/steps/*/setWeight=0"),
        ("Rollout", "/spec/strategy/canary/steps/*/pause={}"),
        ("Rollout", "/spec/strategy/canary/steps/*/pause/duration=0"),
        ("Rollout", "/spec/strategy/canary/steps/*/setCanaryScale/replicas=0"),
        ("Rollout", "/spec/strategy/canary/steps/*/setCanaryScale/weight=0"),
        ("Rollout", "/spec/strategy/canary/steps/*/setMirrorRoute/percentage=0"),
        ("Rollout", "/spec/strategy/canary/replicaProgressThreshold/value=0"),
        (
            "Rollout",
            "/spec/strategy/canary/trafficRouting/alb/stickinessConfig/enabled=false",
        ),
        (
            "Rollout",
            "/spec/strategy/canary/antiAffinity/requiredDuringSchedulingIgnoredDuringExecution={}",
        ),
        ("Rollout", "/status/currentStepIndex=0"),
        ("Rollout", "/status/canary/weights/canary/weight=0"),
        ("AnalysisRun", "/spec/measurementRetention/*/limit=0"),
        ("AnalysisRun", "/spec/metrics/*/failureLimit=0"),
        ("AnalysisRun", "/spec/args/*/value=\"\""),
        ("Application", "/spec/revisionHistoryLimit=0"),
        ("Application", "/spec/syncPolicy/automated={}"),
        ("Application", "/spec/syncPolicy/automated/enabled=false"),
        ("Application", "/spec/syncPolicy/automated/prune=false"),
        ("Application", "/spec/source/plugin/parameters/*/array=[]"),
        ("Application", "/spec/source/plugin/parameters/*/map={}"),
        ("Application", "/spec/source/plugin/parameters/*/string=\"\""),
        ("Application", "/spec/source/kustomize/replicas/*/count=0"),
        ("AppProject", "/spec/namespaceResourceWhitelist=[]"),
        ("AppProject", "/spec/clusterResourceWhitelist=[]"),
        ("AppProject", "/spec/orphanedResources={}"),
        ("AppProject", "/spec/orphanedResources/warn=false"),
        ("ApplicationSet", "/spec/generators/*/clusters={}"),
        ("ApplicationSet", "/spec/generators/*/clusters/selector={}"),
        ("ApplicationSet", "/spec/strategy/rollingSync/steps/*/maxUpdate=0"),
    ] {
        let (pointer, value) = pointer.split_once('=').unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        let object =
            pointer
                .split('/')
                .skip(1)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .fold(value.clone(), |inner, name| {
                    if name == "*" {
                        json!([inner])
                    } else {
                        json!({ name: inner })
                    }
                });
        let after = again(kind, &object);
        assert_eq!(
            after.pointer(&pointer.replace('*', "0")),
            Some(&value),
            "{kind} {pointer}"
        );
    }
}

/// The manifests people have: they parse, and come out as they went in.
#[test]
fn manifests_survive() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests");
    let mut count = 0;
    for folder in fs::read_dir(root).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let object: Value = yaml::to_json(&fs::read_to_string(&path).unwrap()).unwrap();
            let kind = object["kind"].as_str().unwrap();
            check_survives(kind, &object);
            assert_eq!(
                super::unknown_fields::unknown_fields(kind, &object),
                [],
                "{}",
                path.display()
            );
            count += 1;
        }
    }
    assert_eq!(count, 9);
}
