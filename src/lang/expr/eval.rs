//! Evaluates a checked tree, within limits on steps and memory.

use std::rc::Rc;

use jiff::Timestamp;

use super::ast::{Binary, Kind, Node, Pointer, Unary};
use super::value::{Key, Value};
use super::{MEMORY_MAX, STEPS_MAX, builtin, predicate, text, time};

type Evaluated<T = Value> = Result<T, String>;

/// The value of `root` for a `result` and a time of `now()`.
pub(super) fn evaluate(root: &Node, result: &Value, now: Option<Timestamp>) -> Evaluated {
    let mut evaluation = Evaluation {
        result,
        now,
        steps: 0,
        memory: 0,
        variables: Vec::new(),
        frames: Vec::new(),
    };
    evaluation.value(root)
}

pub(super) struct Evaluation<'r> {
    pub(super) result: &'r Value,
    pub(super) now: Option<Timestamp>,
    steps: usize,
    memory: usize,
    variables: Vec<(String, Value)>,
    frames: Vec<Frame>,
}

/// What a closure sees.
pub(super) struct Frame {
    pub(super) item: Value,
    pub(super) index: usize,
    pub(super) accumulator: Value,
}

impl Evaluation<'_> {
    pub(super) fn value(&mut self, node: &Node) -> Evaluated {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(format!("the expression takes more than {STEPS_MAX} steps"));
        }
        match &node.kind {
            Kind::Nil => Ok(Value::Nil),
            Kind::Bool(value) => Ok(Value::Bool(*value)),
            Kind::Int(value) => Ok(Value::Int(*value)),
            Kind::Float(value) => Ok(Value::Float(*value)),
            Kind::Text(text) => Ok(Value::text(text)),
            Kind::List(items) => self.values(items).map(Value::list),
            Kind::Map(pairs) => self.map(pairs),
            Kind::Name(name) => Ok(self.variable(name)),
            Kind::Pointer(pointer) => self.pointer(*pointer),
            Kind::Unary(unary, operand) => self.unary(*unary, operand),
            Kind::Binary(binary, left, right) => self.binary(*binary, left, right),
            Kind::Conditional(condition, then, otherwise) => {
                let holds = self.boolean(condition)?;
                self.value(if holds { then } else { otherwise })
            }
            Kind::Member { .. } | Kind::Method { .. } => Ok(self.chain(node)?.unwrap_or(Value::Nil)),
            Kind::Slice { base, from, to } => self.slice(base, from.as_deref(), to.as_deref()),
            Kind::Call { name, args } => match predicate::call(self, name, args) {
                Some(value) => value,
                None => self.call(name, args),
            },
            Kind::Let { name, value, body } => {
                let value = self.value(value)?;
                self.variables.push((name.clone(), value));
                let body = self.value(body);
                self.variables.pop();
                body
            }
            Kind::Sequence(items) => {
                let mut last = Value::Nil;
                for item in items {
                    last = self.value(item)?;
                }
                Ok(last)
            }
            Kind::Group(inner) => self.value(inner),
        }
    }

    /// Evaluates a closure's body.
    pub(super) fn in_closure(&mut self, frame: Frame, body: &Node) -> Evaluated {
        self.frames.push(frame);
        let value = self.value(body);
        self.frames.pop();
        value
    }

    /// Accounts for new list or map entries.
    pub(super) fn allocate(&mut self, entries: usize) -> Evaluated<()> {
        self.memory = self.memory.saturating_add(entries);
        if self.memory > MEMORY_MAX {
            Err("memory budget exceeded".to_owned())
        } else {
            Ok(())
        }
    }

    fn values(&mut self, nodes: &[Node]) -> Evaluated<Vec<Value>> {
        self.allocate(nodes.len())?;
        nodes.iter().map(|node| self.value(node)).collect()
    }

    fn map(&mut self, pairs: &[(Node, Node)]) -> Evaluated {
        self.allocate(pairs.len())?;
        let mut map = std::collections::BTreeMap::new();
        for (key, value) in pairs {
            let Value::Text(key) = self.value(key)? else {
                return Err("a map key must be a string".to_owned());
            };
            map.insert(Key::Text(key), self.value(value)?);
        }
        Ok(Value::Map(Rc::new(map)))
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(variable, _)| variable == name);
        found.map_or_else(|| self.result.clone(), |(_, value)| value.clone())
    }

    fn pointer(&self, pointer: Pointer) -> Evaluated {
        let frame = self.frames.last().ok_or("# is only known inside a closure")?;
        Ok(match pointer {
            Pointer::Item => frame.item.clone(),
            Pointer::Accumulator => frame.accumulator.clone(),
            Pointer::Index => i64::try_from(frame.index).map_or(Value::Nil, Value::Int),
        })
    }

    fn boolean(&mut self, node: &Node) -> Evaluated<bool> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            other => Err(format!("expected bool, but got {}", other.type_name())),
        }
    }

    fn unary(&mut self, unary: Unary, operand: &Node) -> Evaluated {
        match unary {
            Unary::Not => Ok(Value::Bool(!self.boolean(operand)?)),
            Unary::Minus => self.value(operand)?.negate(),
            Unary::Plus => self.value(operand),
        }
    }

    fn binary(&mut self, binary: Binary, left: &Node, right: &Node) -> Evaluated {
        match binary {
            Binary::Or => {
                return if self.boolean(left)? {
                    Ok(Value::Bool(true))
                } else {
                    self.value(right)
                };
            }
            Binary::And => {
                return if self.boolean(left)? {
                    self.value(right)
                } else {
                    Ok(Value::Bool(false))
                };
            }
            Binary::Coalesce => {
                return match self.value(left)? {
                    Value::Nil => self.value(right),
                    value => Ok(value),
                };
            }
            _ => {}
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        self.operation(binary, &left, &right)
    }

    fn operation(&mut self, binary: Binary, left: &Value, right: &Value) -> Evaluated {
        match binary {
            Binary::EqualStrict | Binary::NotEqualStrict
                if matches!(left, Value::Nil) || matches!(right, Value::Nil) =>
            {
                Err("interface conversion: interface {} is nil".to_owned())
            }
            Binary::Equal | Binary::EqualStrict => Ok(Value::Bool(left.equals(right))),
            Binary::NotEqual | Binary::NotEqualStrict => Ok(Value::Bool(!left.equals(right))),
            Binary::Less => left.less(right).map(Value::Bool),
            Binary::LessEqual => left.less_or_equal(right).map(Value::Bool),
            Binary::Greater => left.greater(right).map(Value::Bool),
            Binary::GreaterEqual => left.greater_or_equal(right).map(Value::Bool),
            Binary::In => left.is_in(right).map(Value::Bool),
            Binary::Matches | Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                text::compare(binary, left, right).map(Value::Bool)
            }
            Binary::Range => self.range(left, right),
            Binary::Add => left.add(right),
            Binary::Subtract => left.subtract(right),
            Binary::Multiply => left.multiply(right),
            Binary::Divide => left.divide(right),
            Binary::Remainder => left.remainder(right),
            Binary::Power => left.power(right),
            Binary::Or | Binary::And | Binary::Coalesce => Err("the right side was not evaluated".to_owned()),
        }
    }

    fn range(&mut self, from: &Value, to: &Value) -> Evaluated {
        let (Some(from), Some(to)) = (from.to_int(), to.to_int()) else {
            return Err(format!("invalid operation: {} .. {}", from.type_name(), to.type_name()));
        };
        let entries = to.saturating_sub(from).saturating_add(1).max(0);
        self.allocate(usize::try_from(entries).unwrap_or(usize::MAX))?;
        Ok(Value::list((from..=to).map(Value::Int).collect()))
    }

    /// A member or method; `None` when a `?.` before it found nil, which ends the chain.
    fn chain(&mut self, node: &Node) -> Evaluated<Option<Value>> {
        let (base, optional) = match &node.kind {
            Kind::Member { base, optional, .. } | Kind::Method { base, optional, .. } => (base, *optional),
            _ => return self.value(node).map(Some),
        };
        let base = match &base.kind {
            Kind::Member { .. } | Kind::Method { .. } => self.chain(base)?,
            _ => Some(self.value(base)?),
        };
        let Some(base) = base else { return Ok(None) };
        if optional && matches!(base, Value::Nil) {
            return Ok(None);
        }
        match &node.kind {
            Kind::Member { key, .. } => {
                let key = self.value(key)?;
                base.fetch(&key).map(Some)
            }
            Kind::Method { name, args, .. } => {
                let args = self.values(args)?;
                time::call_method(&base, name, &args).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn slice(&mut self, base: &Node, from: Option<&Node>, to: Option<&Node>) -> Evaluated {
        let base = self.value(base)?;
        let length = match &base {
            Value::List(items) => items.len(),
            Value::Text(text) => text.len(),
            other => return Err(format!("cannot slice {}", other.type_name())),
        };
        let mut edge = |node: Option<&Node>, default: usize| -> Evaluated<usize> {
            let Some(node) = node else { return Ok(default) };
            let value = self.value(node)?;
            let index = value
                .to_int()
                .ok_or_else(|| format!("non-integer slice index {}", value.type_name()))?;
            let signed_length = i64::try_from(length).unwrap_or(i64::MAX);
            let index = if index < 0 {
                index.saturating_add(signed_length)
            } else {
                index
            };
            Ok(usize::try_from(index).unwrap_or(0).min(length))
        };
        let (from, to) = (edge(from, 0)?, edge(to, length)?);
        let from = from.min(to);
        match &base {
            Value::List(items) => {
                let part = items.get(from..to).unwrap_or_default().to_vec();
                self.allocate(part.len())?;
                Ok(Value::list(part))
            }
            Value::Text(text) => {
                let part = text.get(from..to).ok_or("slice inside of a character")?;
                Ok(Value::text(part))
            }
            _ => Ok(Value::Nil),
        }
    }

    fn call(&mut self, name: &str, args: &[Node]) -> Evaluated {
        let args = self.values(args)?;
        builtin::call(self, name, &args)
    }
}
