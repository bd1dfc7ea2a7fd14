//! How problems are shown.

use serde_json::{Value, json};

use super::{Problem, Report};
use crate::cli::error::CliError;
use crate::cli::style::clean;
use crate::cli::terminal::Terminal;

/// Writes them; nothing as text when there are none.
pub(super) fn write(problems: &[Problem], report: Report, terminal: &mut Terminal) -> Result<(), CliError> {
    match report {
        Report::Text => problems.iter().try_for_each(|problem| terminal.line(&line(problem))),
        Report::Json => {
            let items: Vec<Value> = problems.iter().map(facts).collect();
            terminal.text(&format!("{:#}\n", json!({"problems": items})))
        }
        Report::Sarif => terminal.text(&format!("{:#}\n", sarif(problems))),
    }
}

/// `web.yaml:7: Rollout web: spec.replica: unknown field, did you mean `replicas`?`
pub(super) fn line(problem: &Problem) -> String {
    let parts = [
        problem.object.as_str(),
        problem.field.as_str(),
        problem.message.as_str(),
    ];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.trim().is_empty()).collect();
    clean(&format!("{}:{}: {}", problem.file, problem.line, parts.join(": ")))
}

fn facts(problem: &Problem) -> Value {
    json!({"file": problem.file, "line": problem.line, "object": problem.object, "field": problem.field,
        "message": problem.message, "rule": problem.rule})
}

fn sarif(problems: &[Problem]) -> Value {
    let results = problems.iter().map(|problem| {
        let parts = [
            problem.object.as_str(),
            problem.field.as_str(),
            problem.message.as_str(),
        ];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.trim().is_empty()).collect();
        json!({"ruleId": problem.rule, "level": "error", "message": {"text": parts.join(": ")},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": problem.file},
                "region": {"startLine": problem.line.max(1)}}}]})
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "tidegate lint", "version": env!("CARGO_PKG_VERSION")}},
            "results": results.collect::<Vec<_>>()}],
    })
}
