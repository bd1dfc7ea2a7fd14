//! Which tool a source is for (reference, applications 4.2). Pure.

use super::RenderError;
use crate::api::application::ApplicationSource;

/// Files that make a folder a Kustomization.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The tool that the source itself names. `Ok(true)` when it says "directory", so that no file is asked any more.
pub(super) fn explicit(source: &ApplicationSource) -> Result<bool, RenderError> {
    // In the order in which the original lists them.
    let blocks = [
        ("Kustomize", source.kustomize.is_some()),
        ("Helm", source.helm.is_some()),
        ("Directory", source.directory.is_some()),
        ("Plugin", source.plugin.is_some()),
    ];
    let named: Vec<&'static str> = blocks
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| name)
        .collect();
    if named.len() > 1 {
        return Err(RenderError::SeveralTypes(named.join(",")));
    }
    let unsupported = |tool, field: &str| RenderError::UnsupportedTool {
        tool,
        reason: format!("source.{field} is set"),
    };
    match named.first() {
        _ if !source.chart.is_empty() => Err(unsupported("Helm", "chart")),
        Some(&"Kustomize") => Err(unsupported("Kustomize", "kustomize")),
        Some(&"Helm") => Err(unsupported("Helm", "helm")),
        Some(&"Plugin") => Err(unsupported("Plugin", "plugin")),
        Some(_) => Ok(true),
        None => Ok(false),
    }
}

/// The tool that the files of the folder ask for; names are those of its first level.
pub(super) fn by_files<'a>(folder: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), RenderError> {
    for name in names {
        let tool = match name {
            "Chart.yaml" => "Helm",
            _ if KUSTOMIZATIONS.contains(&name) => "Kustomize",
            _ => continue,
        };
        return Err(RenderError::UnsupportedTool {
            tool,
            reason: format!("{folder} has a file {name}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(source: serde_json::Value, expect: &str) {
        let found = match explicit(&serde_json::from_value(source.clone()).unwrap()) {
            Ok(is_directory) => is_directory.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{source}");
    }

    #[test]
    fn one_block_decides_and_two_are_an_error() {
        check(json!({}), "false");
        check(json!({"directory": {}}), "true");
        check(
            json!({"helm": {}, "kustomize": {}}),
            "multiple application sources defined: Kustomize,Helm",
        );
        check(
            json!({"directory": {}, "plugin": {}}),
            "multiple application sources defined: Directory,Plugin",
        );
        check(
            json!({"helm": {"values": "x"}}),
            "Helm is not supported yet (a directory of plain YAML or JSON is): source.helm is set",
        );
        check(
            json!({"chart": "nginx"}),
            "Helm is not supported yet (a directory of plain YAML or JSON is): source.chart is set",
        );
    }

    #[test]
    fn files_decide_when_nothing_is_said() {
        assert!(by_files("apps", ["deployment.yaml", "chart.yaml", "values.yaml"]).is_ok());
        let error = by_files("apps", ["deployment.yaml", "kustomization.yml"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Kustomize is not supported yet (a directory of plain YAML or JSON is): apps has a file kustomization.yml"
        );
        assert!(matches!(
            by_files("x", ["Chart.yaml"]),
            Err(RenderError::UnsupportedTool { tool: "Helm", .. })
        ));
    }
}
