//! Replays inputs whose answers were recorded from the Go originals (`tests/wire/README.md`).
#![expect(clippy::panic, clippy::unwrap_used, reason = "a broken fixture fails the test")]

use serde_json::Value;
use tidegate::lang::expr::{Condition, Measured};
use tidegate::lang::yaml;

/// Lines of `yaml.jsonl` that we knowingly answer otherwise, with the reason.
const YAML_KNOWN: &[(&str, &str)] = &[];

/// Lines of `conditions.jsonl` that we knowingly answer otherwise, with the reason.
const CONDITIONS_KNOWN: &[(&str, &str)] = &[];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Fails with every differing line at once; a line listed as known must really differ.
#[track_caller]
fn report(total: usize, failed: &[(String, String)], known: &[(&str, &str)]) {
    let is_known = |name: &str| known.iter().any(|(known, _)| *known == name);
    let news: Vec<String> = failed
        .iter()
        .filter(|(name, _)| !is_known(name))
        .map(|(name, text)| format!("{name}: {text}"))
        .collect();
    assert!(
        news.is_empty(),
        "{} of {total} differ:\n{}",
        news.len(),
        news.join("\n")
    );
    for (name, _) in known {
        assert!(
            failed.iter().any(|(failed, _)| failed == name),
            "{name} is answered as the original does"
        );
    }
}

#[test]
fn yaml_is_read_as_kubectl_reads_it() {
    let cases = lines(include_str!("yaml.jsonl"));
    assert_eq!(cases.len(), 398);
    let mut failed = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let found = yaml::to_json(case["yaml"].as_str().unwrap());
        let agrees = match (&found, case["error"] == true) {
            (Ok(found), false) => same(found, &case["expect"]),
            (Err(_), true) => true,
            _ => false,
        };
        if !agrees {
            let expect = if case["error"] == true {
                "an error".to_owned()
            } else {
                case["expect"].to_string()
            };
            let found = found.map_or_else(|error| format!("error: {error}"), |found| found.to_string());
            failed.push((
                name.to_owned(),
                format!("{} gave {found:.300}, not {expect:.300}", case["yaml"]),
            ));
        }
    }
    report(cases.len(), &failed, YAML_KNOWN);
}

/// Equal values, where an integer is not a float and `-0` is not `0`.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.to_string() == right.to_string(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

#[test]
fn conditions_answer_as_the_original() {
    let cases = lines(include_str!("conditions.jsonl"));
    assert_eq!(cases.len(), 381);
    let now = "2026-11-21T00:00:00Z".parse().unwrap();
    let mut failed = Vec::new();
    for case in &cases {
        let text = case["condition"].as_str().unwrap();
        let measured = measured(case["kind"].as_str().unwrap(), &case["result"]);
        let answer = Condition::parse(text).and_then(|condition| condition.at(now).evaluate(&measured));
        let found = answer
            .as_ref()
            .map_or("error", |answer| if *answer { "true" } else { "false" });
        if found != case["expect"] {
            let detail = answer.err().map(|error| error.to_string()).unwrap_or_default();
            let expect = format!("{} {}", case["expect"], case["error"]);
            failed.push((
                text.to_owned(),
                format!("{} gave {found} {detail}, not {expect}", case["result"]),
            ));
        }
    }
    report(cases.len(), &failed, CONDITIONS_KNOWN);
}

fn measured(kind: &str, result: &Value) -> Measured {
    let float = |value: &Value| match value {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_f64().unwrap(),
    };
    match kind {
        "scalar" => Measured::Scalar(float(result)),
        "vector" => Measured::Vector(result.as_array().unwrap().iter().map(float).collect()),
        "json" => Measured::Json(result.clone()),
        other => panic!("unknown kind {other}"),
    }
}
