//! Where the fields of a document are in its text, and keys that a map holds twice: reading keeps the last of them, as
//! kubectl does, but who checks a manifest should be told.

use super::event::{NodeId, NodeKind, Tree};
use super::{DEPTH_MAX, event};
use crate::json::member_path;
use std::collections::{BTreeMap, HashSet};

/// Fields of one document by path (`spec.steps[2].pause`, `metadata.labels["a.b"]`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    lines: BTreeMap<String, usize>,
    /// Keys that occur more than once in their map, each with its path and the line where it occurs again.
    pub duplicates: Vec<(String, usize)>,
}

impl Places {
    /// The 1-based line of a field, or of the nearest one around it that is written down.
    pub fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = path.get(..path.rfind(['.', '['])?)?;
        }
    }

    /// Of the first document of `text`, whose first line is line `first` of the file. Aliases are not followed.
    pub(super) fn of(text: &str, first: usize) -> Self {
        let mut places = Self::default();
        if let Ok(tree) = event::read(text)
            && let Some(root) = tree.root
        {
            places.walk(&tree, root, "", first, 0);
        }
        places
    }

    fn walk(&mut self, tree: &Tree, id: NodeId, path: &str, first: usize, depth: usize) {
        let Some(node) = tree.nodes.get(id).filter(|_| depth < DEPTH_MAX) else {
            return;
        };
        match &node.kind {
            NodeKind::Map(pairs) => {
                let mut seen: HashSet<&str> = HashSet::new();
                for (key, value) in pairs {
                    let Some(key_node) = tree.nodes.get(*key) else { continue };
                    let NodeKind::Scalar { text, .. } = &key_node.kind else {
                        continue;
                    };
                    let below = member_path(path, text);
                    let line = key_node.line + first - 1;
                    if !seen.insert(text) && text != "<<" {
                        self.duplicates.push((below.clone(), line));
                    }
                    self.lines.insert(below.clone(), line);
                    self.walk(tree, *value, &below, first, depth + 1);
                }
            }
            NodeKind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    if let Some(item) = tree.nodes.get(*item) {
                        self.lines.insert(below.clone(), item.line + first - 1);
                    }
                    self.walk(tree, *item, &below, first, depth + 1);
                }
            }
            NodeKind::Scalar { .. } | NodeKind::Alias { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_paths() {
        let text = "a:\n  b.c: 1\n  list:\n  - x: 1\n    y: [1, 2]\n  - z\n";
        let places = Places::of(text, 10);
        for (path, line) in [
            ("a", Some(10)),
            ("a[\"b.c\"]", Some(11)),
            ("a.list[0].x", Some(13)),
            ("a.list[0].y[1]", Some(14)),
            ("a.list[1]", Some(15)),
            ("a.list[0].missing.deeper", Some(13)),
            ("elsewhere", None),
        ] {
            assert_eq!(places.line(path), line, "{path}");
        }
        assert_eq!(places.duplicates, []);
    }

    #[test]
    fn a_key_that_occurs_twice_is_told() {
        let places = Places::of("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n<<: {e: 1}\n", 1);
        assert_eq!(places.duplicates, [("b.c".to_owned(), 5)]);
    }
}
