//! Parser events into a tree of nodes, and the places where the parser reads more, or other, than kubectl's.

use super::{DEPTH_MAX, YamlError};
use libyaml_safer::{EventData, MappingStyle, Mark, Parser, ScalarStyle, SequenceStyle};
use std::collections::HashMap;

/// Index of a node in [`Tree::nodes`].
pub(super) type NodeId = usize;

/// The first document of a text.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// Absent when the text holds no document.
    pub(super) root: Option<NodeId>,
}

/// One node and where it starts.
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) kind: NodeKind,
}

pub(super) enum NodeKind {
    Scalar {
        tag: Option<String>,
        plain: bool,
        text: String,
    },
    List(Vec<NodeId>),
    Map(Vec<(NodeId, NodeId)>),
    Alias {
        target: NodeId,
        anchor: String,
    },
}

/// Parses the first document of `text`, to its end.
pub(super) fn read(text: &str) -> Result<Tree, YamlError> {
    check_characters(text)?;
    check_tags(text)?;
    // The parser is not ours: should it panic on some text after all, that text is bad and nothing else.
    let tree = std::panic::catch_unwind(|| parse(text));
    tree.unwrap_or_else(|_| Err(YamlError::new(1, 1, "the parser failed on this text")))
}

fn parse(text: &str) -> Result<Tree, YamlError> {
    let mut source = text.to_owned();
    if !text.ends_with('\n') {
        // Without a final newline the parser panics on a literal block that ends the text.
        source.push('\n');
    }
    let mut reader = Reader {
        parser: Parser::new(),
        text,
        offsets: None,
        nodes: Vec::new(),
        anchors: HashMap::new(),
        depth: 0,
        flow_depth: 0,
    };
    let bytes = source.as_bytes();
    reader.parser.set_input(bytes);
    reader.document()
}

/// The characters that YAML 1.1 permits in a text.
fn check_characters(text: &str) -> Result<(), YamlError> {
    let permitted = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
    let Some((offset, found)) = text.char_indices().find(|(_, c)| !permitted(*c)) else {
        return Ok(());
    };
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Err(YamlError::new(
        line,
        column,
        format!("control characters are not allowed, found U+{:04X}", u32::from(found)),
    ))
}

/// Refuses a tag that a comma follows directly (`[!x, 1]`), as kubectl does; the parser panics on it.
///
/// Whether a `!` in the text starts a tag is only known to the parser, so it reads a copy with a blank before each such
/// comma; the blank changes nothing else.
fn check_tags(text: &str) -> Result<(), YamlError> {
    let mut padded = String::new();
    let mut blanks = Vec::new();
    let mut length = 0;
    let mut suspect = false;
    for c in text.chars() {
        if c == ',' && suspect {
            padded.push(' ');
            blanks.push(length);
            length += 1;
        }
        padded.push(c);
        length += 1;
        suspect = c == '!' || suspect && c != ',' && !c.is_whitespace();
    }
    if blanks.is_empty() {
        return Ok(());
    }
    padded.push('\n');
    let mut parser = Parser::new();
    let bytes = padded.as_bytes();
    parser.set_input(bytes);
    // An error here is found again, and then reported, when the text itself is read.
    while let Ok(event) = parser.parse() {
        match event.data {
            EventData::Scalar { value, .. }
                if value.is_empty() && blanks.binary_search(&bounded(event.end_mark.index)).is_ok() =>
            {
                return Err(error_at(
                    event.start_mark,
                    "did not find expected whitespace or line break behind a tag",
                ));
            }
            EventData::StreamEnd => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

struct Reader<'t, 's> {
    parser: Parser<&'s [u8]>,
    text: &'t str,
    /// Byte offset of each character, computed when first needed and only for texts that are not ASCII.
    offsets: Option<Vec<usize>>,
    nodes: Vec<Node>,
    anchors: HashMap<String, NodeId>,
    depth: usize,
    flow_depth: usize,
}

/// One event without the fields we do not use.
struct Step {
    data: EventData,
    start: Mark,
    end: Mark,
}

impl Reader<'_, '_> {
    fn document(mut self) -> Result<Tree, YamlError> {
        let root = loop {
            let step = self.next()?;
            match step.data {
                EventData::StreamEnd => break None,
                EventData::DocumentStart { version_directive, .. } => {
                    if version_directive.is_some_and(|version| (version.major, version.minor) != (1, 1)) {
                        return Err(error_at(step.start, "found an incompatible YAML version, expected 1.1"));
                    }
                    let first = self.next()?;
                    let root = self.node(first)?;
                    // An error right behind the root belongs to this document.
                    self.next()?;
                    break Some(root);
                }
                _ => {}
            }
        };
        Ok(Tree {
            nodes: self.nodes,
            root,
        })
    }

    fn next(&mut self) -> Result<Step, YamlError> {
        match self.parser.parse() {
            Ok(event) => Ok(Step {
                data: event.data,
                start: event.start_mark,
                end: event.end_mark,
            }),
            Err(error) => {
                let mark = error
                    .problem_mark()
                    .or_else(|| error.context_mark())
                    .unwrap_or_default();
                let message = match error.context() {
                    Some(context) => format!("{context}, {}", error.problem()),
                    None => error.problem().to_owned(),
                };
                Err(error_at(mark, &message))
            }
        }
    }

    fn add(&mut self, start: Mark, anchor: Option<String>, kind: NodeKind) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node {
            line: place(start.line),
            column: place(start.column),
            kind,
        });
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, id);
        }
        id
    }

    fn node(&mut self, step: Step) -> Result<NodeId, YamlError> {
        let Step { data, start, end } = step;
        match data {
            EventData::Scalar {
                anchor,
                tag,
                value,
                plain_implicit,
                style,
                ..
            } => {
                let text = self.scalar(style, value, start, end)?;
                let plain = plain_implicit && style == ScalarStyle::Plain;
                Ok(self.add(start, anchor, NodeKind::Scalar { tag, plain, text }))
            }
            EventData::SequenceStart { anchor, style, .. } => {
                let id = self.add(start, anchor, NodeKind::List(Vec::new()));
                let items = self.inside(start, style == SequenceStyle::Flow, Self::items)?;
                self.set(id, NodeKind::List(items));
                Ok(id)
            }
            EventData::MappingStart { anchor, style, .. } => {
                let id = self.add(start, anchor, NodeKind::Map(Vec::new()));
                let pairs = self.inside(start, style == MappingStyle::Flow, Self::pairs)?;
                self.set(id, NodeKind::Map(pairs));
                Ok(id)
            }
            EventData::Alias { anchor } => match self.anchors.get(&anchor) {
                Some(&target) => Ok(self.add(start, None, NodeKind::Alias { target, anchor })),
                None => Err(error_at(start, &format!("unknown anchor `{anchor}` referenced"))),
            },
            _ => Err(error_at(start, "unexpected end of the document")),
        }
    }

    fn set(&mut self, id: NodeId, kind: NodeKind) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.kind = kind;
        }
    }

    fn inside<T>(
        &mut self,
        start: Mark,
        flow: bool,
        read: fn(&mut Self) -> Result<T, YamlError>,
    ) -> Result<T, YamlError> {
        if self.depth >= DEPTH_MAX {
            return Err(error_at(start, &format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        self.flow_depth += usize::from(flow);
        let content = read(self)?;
        self.depth -= 1;
        self.flow_depth -= usize::from(flow);
        Ok(content)
    }

    fn items(&mut self) -> Result<Vec<NodeId>, YamlError> {
        let mut items = Vec::new();
        loop {
            let step = self.next()?;
            if matches!(step.data, EventData::SequenceEnd) {
                return Ok(items);
            }
            items.push(self.node(step)?);
        }
    }

    fn pairs(&mut self) -> Result<Vec<(NodeId, NodeId)>, YamlError> {
        let mut pairs = Vec::new();
        loop {
            let step = self.next()?;
            if matches!(step.data, EventData::MappingEnd) {
                return Ok(pairs);
            }
            let key = self.node(step)?;
            let step = self.next()?;
            pairs.push((key, self.node(step)?));
        }
    }

    /// Mends the value of a scalar, or refuses what the parser accepts and kubectl's does not.
    fn scalar(&mut self, style: ScalarStyle, mut value: String, start: Mark, end: Mark) -> Result<String, YamlError> {
        match style {
            ScalarStyle::DoubleQuoted if self.text.contains("\\/") && escapes_slash(self.raw(start, end)) => {
                Err(error_at(start, "found unknown escape character `/`"))
            }
            ScalarStyle::Plain if self.flow_depth > 0 => {
                if self.text.contains('?') && self.raw(start, end).contains('?') {
                    return Err(error_at(start, "a plain scalar inside [] or {} must not contain `?`"));
                }
                if value.starts_with(':') {
                    return Err(error_at(
                        start,
                        "a plain scalar inside [] or {} must not start with `:`",
                    ));
                }
                Ok(value)
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let unfinished = !self.text.ends_with('\n') && place(end.line) > self.text.matches('\n').count() + 1;
                if unfinished && value.ends_with('\n') && last_line_counts(self.raw(start, end)) {
                    // This newline is the one that was added to the text.
                    value.pop();
                }
                Ok(value)
            }
            _ => Ok(value),
        }
    }

    /// The text between two marks, which count characters.
    fn raw(&mut self, start: Mark, end: Mark) -> &str {
        let (start, end) = (bounded(start.index), bounded(end.index));
        let text = self.text;
        if text.is_ascii() {
            return text.get(start.min(text.len())..end.min(text.len())).unwrap_or_default();
        }
        let offsets = self
            .offsets
            .get_or_insert_with(|| text.char_indices().map(|(offset, _)| offset).collect());
        let offset = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
        text.get(offset(start)..offset(end)).unwrap_or_default()
    }
}

/// Whether a double-quoted scalar as written uses `\/`, which YAML 1.2 added.
fn escapes_slash(raw: &str) -> bool {
    let mut characters = raw.chars();
    while let Some(c) = characters.next() {
        if c == '\\' && characters.next() == Some('/') {
            return true;
        }
    }
    false
}

/// Whether the newline added behind the last line of a block scalar became part of its value: it did if the scalar
/// keeps all newlines (`+`) or if that line has content, that is, reaches further than the indentation.
fn last_line_counts(raw: &str) -> bool {
    let mut lines = raw.split('\n');
    let header = lines.next().unwrap_or_default();
    let indicators = header.split(['#', ' ', '\t']).next().unwrap_or_default();
    if indicators.contains('+') {
        return true;
    }
    let last = raw.rsplit('\n').next().unwrap_or_default();
    if !last.trim_matches([' ', '\r']).is_empty() {
        return true;
    }
    let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let first_content = lines.find(|line| !line.trim_matches([' ', '\r']).is_empty());
    first_content.is_some_and(|line| blanks(last) > blanks(line))
}

fn error_at(mark: Mark, message: &str) -> YamlError {
    YamlError::new(place(mark.line), place(mark.column), message)
}

/// Marks count from 0, people from 1.
fn place(zero_based: u64) -> usize {
    bounded(zero_based).saturating_add(1)
}

fn bounded(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
