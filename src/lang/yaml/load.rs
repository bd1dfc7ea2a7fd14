//! Nodes into JSON: keys become strings, merges and aliases are expanded within limits.

use super::event::{Node, NodeId, NodeKind, Tree};
use super::resolve::{Scalar, resolve};
use super::{ALIASED_VISITS_FREE, DEPTH_MAX, VISITS_FREE, VISITS_HIGH, VISITS_LOW, YamlError};
use serde_json::{Map, Value};

/// The value of the first document; `null` when there is none.
pub(super) fn to_value(tree: &Tree) -> Result<Value, YamlError> {
    let Some(root) = tree.root else { return Ok(Value::Null) };
    let mut loader = Loader {
        nodes: &tree.nodes,
        open: vec![false; tree.nodes.len()],
        alias_depth: 0,
        depth: 0,
        visits: 0,
        aliased: 0,
    };
    loader.value(root)
}

struct Loader<'t> {
    nodes: &'t [Node],
    /// Aliases being expanded, to notice one that contains itself.
    open: Vec<bool>,
    alias_depth: usize,
    depth: usize,
    visits: u64,
    aliased: u64,
}

impl<'t> Loader<'t> {
    fn value(&mut self, id: NodeId) -> Result<Value, YamlError> {
        let node = self.node(id)?;
        self.count(node)?;
        match &node.kind {
            NodeKind::Scalar { .. } => scalar(node)?.into_value().map_err(|message| error(node, message)),
            NodeKind::List(items) => self
                .within(node, |loader| items.iter().map(|&item| loader.value(item)).collect())
                .map(Value::Array),
            NodeKind::Map(pairs) => {
                let mut map = Map::new();
                self.within(node, |loader| loader.fill(pairs, &mut map))?;
                Ok(Value::Object(map))
            }
            NodeKind::Alias { target, anchor } => self.expand(node, *target, anchor, |loader| loader.value(*target)),
        }
    }

    fn fill(&mut self, pairs: &'t [(NodeId, NodeId)], map: &mut Map<String, Value>) -> Result<(), YamlError> {
        for &(key, value) in pairs {
            let key_node = self.resolved(key)?;
            self.count(key_node)?;
            let NodeKind::Scalar { .. } = &key_node.kind else {
                return Err(error(key_node, "a map key must be a scalar"));
            };
            match scalar(key_node)? {
                Scalar::Merge => self.merge(value, map)?,
                key => {
                    let key = key.into_key().map_err(|message| error(key_node, message))?;
                    let value = self.value(value)?;
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    }

    /// `<<: *map` or `<<: [*first, *second]`; keys of the first win over those of the second, and whatever comes
    /// later in the map wins over both.
    fn merge(&mut self, id: NodeId, map: &mut Map<String, Value>) -> Result<(), YamlError> {
        match &self.resolved(id)?.kind {
            NodeKind::Map(_) => self.merge_map(id, map),
            NodeKind::List(items) => items.iter().rev().try_for_each(|&item| self.merge_map(item, map)),
            NodeKind::Scalar { .. } | NodeKind::Alias { .. } => Err(self.merge_wants_map(id)),
        }
    }

    fn merge_map(&mut self, id: NodeId, map: &mut Map<String, Value>) -> Result<(), YamlError> {
        let node = self.node(id)?;
        self.count(node)?;
        match &node.kind {
            NodeKind::Map(pairs) => self.within(node, |loader| loader.fill(pairs, map)),
            NodeKind::Alias { target, anchor } => {
                self.expand(node, *target, anchor, |loader| loader.merge_map(*target, map))
            }
            NodeKind::Scalar { .. } | NodeKind::List(_) => Err(self.merge_wants_map(id)),
        }
    }

    fn merge_wants_map(&self, id: NodeId) -> YamlError {
        let message = "a merge needs a map or a list of maps as its value";
        self.node(id).map_or_else(|error| error, |node| error(node, message))
    }

    /// The node, through an alias.
    fn resolved(&self, id: NodeId) -> Result<&'t Node, YamlError> {
        let node = self.node(id)?;
        match node.kind {
            NodeKind::Alias { target, .. } => self.node(target),
            _ => Ok(node),
        }
    }

    fn node(&self, id: NodeId) -> Result<&'t Node, YamlError> {
        self.nodes
            .get(id)
            .ok_or_else(|| YamlError::new(1, 1, "a node is missing"))
    }

    fn within<T>(&mut self, node: &Node, read: impl FnOnce(&mut Self) -> Result<T, YamlError>) -> Result<T, YamlError> {
        if self.depth >= DEPTH_MAX {
            return Err(error(node, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let content = read(self)?;
        self.depth -= 1;
        Ok(content)
    }

    fn expand<T>(
        &mut self,
        node: &Node,
        target: NodeId,
        anchor: &str,
        read: impl FnOnce(&mut Self) -> Result<T, YamlError>,
    ) -> Result<T, YamlError> {
        let already_open = self
            .open
            .get_mut(target)
            .is_none_or(|open| std::mem::replace(open, true));
        if already_open {
            return Err(error(node, format!("the value of anchor `{anchor}` contains itself")));
        }
        self.alias_depth += 1;
        let content = read(self)?;
        self.alias_depth -= 1;
        if let Some(open) = self.open.get_mut(target) {
            *open = false;
        }
        Ok(content)
    }

    fn count(&mut self, node: &Node) -> Result<(), YamlError> {
        self.visits += 1;
        if self.alias_depth > 0 {
            self.aliased += 1;
        }
        if self.aliased <= ALIASED_VISITS_FREE || self.visits <= VISITS_FREE {
            return Ok(());
        }
        #[expect(clippy::cast_precision_loss, reason = "only a share is wanted")]
        let (visits, aliased) = (self.visits as f64, self.aliased as f64);
        let above = ((visits - VISITS_LOW) / (VISITS_HIGH - VISITS_LOW)).clamp(0.0, 1.0);
        if aliased / visits > 0.99 - 0.89 * above {
            return Err(error(node, "the document contains excessive aliasing"));
        }
        Ok(())
    }
}

fn scalar(node: &Node) -> Result<Scalar, YamlError> {
    let NodeKind::Scalar { tag, plain, text } = &node.kind else {
        return Err(error(node, "expected a scalar"));
    };
    resolve(tag.as_deref(), *plain, text).map_err(|message| error(node, message))
}

fn error(node: &Node, message: impl Into<String>) -> YamlError {
    YamlError::new(node.line, node.column, message)
}
