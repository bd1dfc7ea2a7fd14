//! `--output`: the forms that results have for programs, beside the one for people.

use clap::ValueEnum;
use serde_json::Value;

use super::error::CliError;
use super::terminal::Terminal;

/// How a result is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    #[value(hide = true)]
    Text,
    /// For people, with more columns.
    Wide,
    /// The same facts, for programs.
    Json,
    /// The same facts as YAML.
    Yaml,
    /// `rollout.argoproj.io/NAME` only.
    Name,
}

impl Format {
    /// Whether people read it.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Wide)
    }

    /// Whether there is more room.
    pub(crate) fn is_wide(self) -> bool {
        self == Self::Wide
    }

    /// Writes facts as JSON or YAML. `stream`: one of many, each JSON text on a line of its own and each YAML text
    /// behind a separator.
    pub(crate) fn write(self, facts: &Value, stream: bool, terminal: &mut Terminal) -> Result<(), CliError> {
        let text = match (self, stream) {
            (Self::Yaml, false) => yaml(facts),
            (Self::Yaml, true) => format!("---\n{}", yaml(facts)),
            (_, true) => format!("{facts}\n"),
            (_, false) => format!("{facts:#}\n"),
        };
        terminal.text(&text)
    }
}

/// As YAML. Plain data always has that form; JSON, which YAML includes, stands in if a writer disagrees.
fn yaml(facts: &Value) -> String {
    serde_saphyr::to_string(facts).unwrap_or_else(|_| format!("{facts:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_reads_back_as_what_was_written() {
        let facts = json!({"name": "on", "step": "1/2", "weights": [0, 20], "message": "", "until": null});
        assert_eq!(crate::lang::yaml::to_json(&yaml(&facts)), Ok(facts));
    }
}
