//! What `get` shows, as a value: lines above, a tree below, and the same as facts for programs. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::style::{Branches, Icon, Style, clean, columns, human_duration};

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Labels and what stands behind them, in order.
    pub(crate) lines: Vec<(&'static str, Piece)>,
    /// What the lines say, for programs.
    pub(crate) facts: Map<String, Value>,
    /// The tree.
    pub(crate) root: Node,
}

/// A text with an icon and a colour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) icon: Option<Icon>,
    pub(crate) text: String,
    /// An SGR code, or nothing.
    pub(crate) color: &'static str,
}

/// One line of the tree and what hangs below it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) icon: Icon,
    pub(crate) name: String,
    /// Empty for a revision, which is no object.
    pub(crate) kind: &'static str,
    pub(crate) status: Option<Piece>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) info: Vec<Piece>,
    pub(crate) below: Vec<Self>,
}

impl Piece {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self {
            text: clean(&text.into()),
            ..Self::default()
        }
    }

    pub(crate) fn with(icon: Icon, text: impl Into<String>) -> Self {
        Self {
            icon: Some(icon),
            ..Self::plain(text)
        }
    }

    fn draw(&self, style: Style) -> String {
        let text = style.paint(&self.text, self.color);
        match self.icon {
            Some(icon) => format!("{} {text}", style.icon(icon)),
            None => text,
        }
    }
}

impl Picture {
    /// As people read it.
    pub fn text(&self, now: Timestamp, style: Style) -> String {
        let lines: String = self
            .lines
            .iter()
            .map(|(label, value)| format!("{label:<17}{}\n", value.draw(style)))
            .collect();
        let mut rows = vec![["NAME", "KIND", "STATUS", "AGE", "INFO"].map(str::to_owned).to_vec()];
        self.root.draw(("", ""), now, style, &mut rows);
        format!("{lines}\n{}", columns(&rows))
    }

    /// As programs read it: the lines' facts, and the tree under `tree`.
    pub fn json(&self) -> Value {
        let mut facts = self.facts.clone();
        facts.insert("tree".to_owned(), self.root.json());
        Value::Object(facts)
    }
}

impl Node {
    /// `first` stands before the name, `rest` before the names below.
    fn draw(&self, (first, rest): (&str, &str), now: Timestamp, style: Style, rows: &mut Vec<Vec<String>>) {
        let age = self.created.map(|created| human_duration(now.duration_since(created)));
        let info: Vec<String> = self.info.iter().map(|piece| piece.draw(style)).collect();
        rows.push(vec![
            format!("{first}{} {}", style.icon(self.icon), clean(&self.name)),
            self.kind.to_owned(),
            self.status
                .as_ref()
                .map(|status| status.draw(style))
                .unwrap_or_default(),
            age.unwrap_or_default(),
            info.join(","),
        ]);
        let Branches {
            branch,
            last,
            line,
            space,
        } = style.branches();
        for (index, below) in self.below.iter().enumerate() {
            let (mark, continued) = if index + 1 == self.below.len() {
                (last, space)
            } else {
                (branch, line)
            };
            let prefixes = (format!("{rest}{mark}"), format!("{rest}{continued}"));
            below.draw((&prefixes.0, &prefixes.1), now, style, rows);
        }
    }

    fn json(&self) -> Value {
        let info: Vec<String> = self
            .info
            .iter()
            .map(|piece| match piece.icon {
                Some(icon) => format!("{} {}", icon.word(), piece.text),
                None => piece.text.clone(),
            })
            .collect();
        let kind = if self.kind.is_empty() { "Revision" } else { self.kind };
        let mut fields = Map::from_iter([
            ("kind".to_owned(), json!(kind)),
            ("name".to_owned(), json!(clean(&self.name))),
        ]);
        let optional = [
            ("status", self.status.as_ref().map(|status| json!(status.text))),
            ("createdAt", self.created.map(|created| json!(created.to_string()))),
            ("info", (!info.is_empty()).then(|| json!(info))),
            (
                "children",
                (!self.below.is_empty()).then(|| self.below.iter().map(Self::json).collect()),
            ),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        }
        Value::Object(fields)
    }
}
