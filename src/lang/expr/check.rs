//! Static types: what the original refuses when it compiles, before any value is looked at.

use super::ast::{Binary, Kind, Node, Pointer, Unary};
use super::{ConditionError, Measured, builtin, predicate, text, time};

type Checked<T = Type> = Result<T, ConditionError>;

/// The type of an expression as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Only known at evaluation.
    Unknown,
    Nil,
    Bool,
    Int,
    Float,
    Text,
    List(Box<Self>),
    /// With string keys, or (from `groupBy`) with any.
    Map {
        any_key: bool,
    },
    Time,
    Duration,
}

impl Type {
    /// The type a measured value has for the compiler of the original: only the outermost level of JSON counts.
    pub(super) fn of(measured: &Measured) -> Self {
        use serde_json::Value as Json;
        match measured {
            Measured::Scalar(_) | Measured::Json(Json::Number(_)) => Self::Float,
            Measured::Vector(_) => Self::List(Box::new(Self::Float)),
            Measured::Matrix(_) => Self::List(Box::new(Self::List(Box::new(Self::Float)))),
            Measured::Json(Json::Null) => Self::Nil,
            Measured::Json(Json::Bool(_)) => Self::Bool,
            Measured::Json(Json::String(_)) => Self::Text,
            Measured::Json(Json::Array(_)) => Self::List(Box::new(Self::Unknown)),
            Measured::Json(Json::Object(_)) => Self::Map { any_key: false },
        }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Unknown | Self::Nil => "unknown".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Float => "float64".to_owned(),
            Self::Text => "string".to_owned(),
            Self::List(item) if **item == Self::Unknown => "[]interface {}".to_owned(),
            Self::List(item) => format!("[]{}", item.name()),
            Self::Map { any_key: false } => "map[string]interface {}".to_owned(),
            Self::Map { any_key: true } => "map[interface {}][]interface {}".to_owned(),
            Self::Time => "time.Time".to_owned(),
            Self::Duration => "time.Duration".to_owned(),
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    fn comparable(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil | Self::Unknown, _) | (_, Self::Nil | Self::Unknown) => true,
            (Self::List(_), Self::List(_)) | (Self::Map { .. }, Self::Map { .. }) => true,
            _ => self == other || self.is_number() && other.is_number(),
        }
    }
}

/// Checks the tree against the type of `result`, and marks comparisons that the original specialises.
pub(super) fn check(root: &mut Node, result: &Type) -> Checked<()> {
    let mut checker = Checker {
        result: result.clone(),
        variables: Vec::new(),
        items: Vec::new(),
    };
    checker.of(root).map(|_| ())
}

pub(super) struct Checker {
    result: Type,
    variables: Vec<(String, Type)>,
    /// Types of `#`, innermost last.
    items: Vec<Type>,
}

impl Checker {
    pub(super) fn of(&mut self, node: &mut Node) -> Checked {
        let at = node.at;
        match &mut node.kind {
            Kind::Nil => Ok(Type::Nil),
            Kind::Bool(_) => Ok(Type::Bool),
            Kind::Int(_) => Ok(Type::Int),
            Kind::Float(_) => Ok(Type::Float),
            Kind::Text(_) => Ok(Type::Text),
            Kind::List(items) => self.list(items),
            Kind::Map(pairs) => self.map(pairs),
            Kind::Name(name) => self.name(at, name),
            Kind::Pointer(Pointer::Item) => Ok(self.items.last().cloned().unwrap_or(Type::Unknown)),
            Kind::Pointer(Pointer::Index) => Ok(Type::Int),
            Kind::Pointer(Pointer::Accumulator) => Ok(Type::Unknown),
            Kind::Unary(unary, operand) => self.unary(at, *unary, operand),
            Kind::Binary(binary, left, right) => self.binary(at, binary, left, right),
            Kind::Conditional(condition, then, otherwise) => self.conditional(condition, then, otherwise),
            Kind::Member { base, key, .. } => self.member(base, key),
            Kind::Slice { base, from, to } => self.slice(base, from.as_deref_mut(), to.as_deref_mut()),
            Kind::Call { name, args } => match predicate::check(self, at, name, args) {
                Some(checked) => checked,
                None => self.call(at, name, args),
            },
            Kind::Method { base, name, args, .. } => self.method(at, base, name, args),
            Kind::Let { name, value, body } => self.variable(at, name, value, body),
            Kind::Sequence(items) => {
                let mut last = Type::Nil;
                for item in items {
                    last = self.of(item)?;
                }
                Ok(last)
            }
            Kind::Group(inner) => self.of(inner),
        }
    }

    /// The type of a closure's body for items of a type.
    pub(super) fn closure(&mut self, body: &mut Node, item: Type) -> Checked {
        self.items.push(item);
        let of = self.of(body);
        self.items.pop();
        of
    }

    fn list(&mut self, items: &mut [Node]) -> Checked {
        let types = items
            .iter_mut()
            .map(|item| self.of(item))
            .collect::<Checked<Vec<Type>>>()?;
        let same = match types.split_first() {
            Some((first, rest)) if rest.iter().all(|of| of == first) && *first != Type::Nil => first.clone(),
            _ => Type::Unknown,
        };
        Ok(Type::List(Box::new(same)))
    }

    fn map(&mut self, pairs: &mut [(Node, Node)]) -> Checked {
        for (key, value) in pairs {
            let of = self.of(key)?;
            if !matches!(of, Type::Text | Type::Unknown) {
                return Err(ConditionError::at(
                    key.at,
                    format!("a map key must be a string (got {})", of.name()),
                ));
            }
            self.of(value)?;
        }
        Ok(Type::Map { any_key: false })
    }

    fn name(&self, at: usize, name: &str) -> Checked {
        if let Some((_, of)) = self.variables.iter().rev().find(|(variable, _)| variable == name) {
            return Ok(of.clone());
        }
        if name == "result" {
            return Ok(self.result.clone());
        }
        let what = if builtin::find(name).is_some() {
            "is a function and needs ()"
        } else {
            "is not known"
        };
        Err(ConditionError::at(at, format!("unknown name {name}: it {what}")))
    }

    fn variable(&mut self, at: usize, name: &str, value: &mut Node, body: &mut Node) -> Checked {
        let taken = name == "result"
            || builtin::find(name).is_some()
            || predicate::closure_position(name).is_some()
            || self.variables.iter().any(|(variable, _)| variable == name);
        if taken {
            return Err(ConditionError::at(at, format!("cannot redeclare {name}")));
        }
        let of = self.of(value)?;
        self.variables.push((name.to_owned(), of));
        let body = self.of(body);
        self.variables.pop();
        body
    }

    fn unary(&mut self, at: usize, unary: Unary, operand: &mut Node) -> Checked {
        let of = self.of(operand)?;
        let (symbol, fits) = match unary {
            Unary::Not => ("!", matches!(of, Type::Bool | Type::Unknown)),
            Unary::Minus => ("-", of.is_number() || matches!(of, Type::Unknown | Type::Duration)),
            Unary::Plus => ("+", of.is_number() || of.is_unknown()),
        };
        if fits {
            return Ok(if unary == Unary::Not { Type::Bool } else { of });
        }
        Err(ConditionError::at(
            at,
            format!("invalid operation: {symbol} (mismatched type {})", of.name()),
        ))
    }

    fn conditional(&mut self, condition: &mut Node, then: &mut Node, otherwise: &mut Node) -> Checked {
        let of = self.of(condition)?;
        if !matches!(of, Type::Bool | Type::Unknown) {
            let message = format!("non-bool expression (type {}) used as condition", of.name());
            return Err(ConditionError::at(condition.at, message));
        }
        let (then, otherwise) = (self.of(then)?, self.of(otherwise)?);
        Ok(match (then, otherwise) {
            (Type::Nil, other) | (other, Type::Nil) => other,
            (then, otherwise) if then == otherwise => then,
            _ => Type::Unknown,
        })
    }

    fn member(&mut self, base: &mut Node, key: &mut Node) -> Checked {
        let base_type = self.of(base)?;
        let key_type = self.of(key)?;
        let field = matches!(&key.kind, Kind::Text(_));
        let invalid = |message: String| Err(ConditionError::at(key.at, message));
        match (base_type, key_type) {
            (Type::Unknown, _) => Ok(Type::Unknown),
            (Type::List(item), Type::Int | Type::Unknown) => Ok(*item),
            (Type::List(_), other) => invalid(format!(
                "array elements can only be selected using an integer (got {})",
                other.name()
            )),
            (Type::Map { any_key: false }, Type::Text | Type::Unknown) => Ok(Type::Unknown),
            (Type::Map { any_key: true }, _) => Ok(Type::List(Box::new(Type::Unknown))),
            (base @ Type::Map { .. }, other) => invalid(format!(
                "cannot use {} to get an element from {}",
                other.name(),
                base.name()
            )),
            (Type::Nil, _) if field => invalid("type nil has no field".to_owned()),
            (base, _) if field => invalid(format!("type {} has no field", base.name())),
            (base, other) => invalid(format!("type {}[{}] is undefined", base.name(), other.name())),
        }
    }

    fn slice(&mut self, base: &mut Node, from: Option<&mut Node>, to: Option<&mut Node>) -> Checked {
        let of = self.of(base)?;
        if !matches!(of, Type::List(_) | Type::Text | Type::Unknown) {
            return Err(ConditionError::at(base.at, format!("cannot slice {}", of.name())));
        }
        for edge in [from, to].into_iter().flatten() {
            let edge_type = self.of(edge)?;
            if !matches!(edge_type, Type::Int | Type::Unknown) {
                let message = format!("non-integer slice index {}", edge_type.name());
                return Err(ConditionError::at(edge.at, message));
            }
        }
        Ok(of)
    }

    fn call(&mut self, at: usize, name: &str, args: &mut [Node]) -> Checked {
        let Some(function) = builtin::find(name) else {
            return Err(ConditionError::at(at, format!("unknown name {name}")));
        };
        let types = args
            .iter_mut()
            .map(|argument| self.of(argument))
            .collect::<Checked<Vec<Type>>>()?;
        let whole: Vec<bool> = args.iter().map(is_whole_constant).collect();
        function
            .check(&types, &whole)
            .map_err(|message| ConditionError::at(at, message))
    }

    fn method(&mut self, at: usize, base: &mut Node, name: &str, args: &mut [Node]) -> Checked {
        let of = self.of(base)?;
        let types = args
            .iter_mut()
            .map(|argument| self.of(argument))
            .collect::<Checked<Vec<Type>>>()?;
        match of {
            Type::Unknown => Ok(Type::Unknown),
            Type::Time | Type::Duration => match time::method_type(&of, name, types.len()) {
                Some(gives) => Ok(gives),
                None => Err(ConditionError::at(
                    at,
                    format!("type {} has no method {name}", of.name()),
                )),
            },
            other => Err(ConditionError::at(
                at,
                format!("type {} has no method {name}", other.name()),
            )),
        }
    }

    fn binary(&mut self, at: usize, binary: &mut Binary, left: &mut Node, right: &mut Node) -> Checked {
        if let (Binary::Matches, Kind::Text(pattern)) = (*binary, &right.kind) {
            text::pattern(pattern).map_err(|message| ConditionError::at(right.at, message))?;
        }
        let (left, right) = (self.of(left)?, self.of(right)?);
        if let (Type::Int, Type::Int) | (Type::Text, Type::Text) = (&left, &right) {
            *binary = match *binary {
                Binary::Equal => Binary::EqualStrict,
                Binary::NotEqual => Binary::NotEqualStrict,
                other => other,
            };
        }
        if let (Binary::In, Type::Map { any_key: false }) = (*binary, &right)
            && !matches!(left, Type::Text | Type::Unknown | Type::Nil)
        {
            return Err(ConditionError::at(
                at,
                format!("cannot use {} as type string in map key", left.name()),
            ));
        }
        result_of(*binary, &left, &right).ok_or_else(|| {
            let (symbol, left, right) = (binary.symbol(), left.name(), right.name());
            ConditionError::at(
                at,
                format!("invalid operation: {symbol} (mismatched types {left} and {right})"),
            )
        })
    }
}

/// The type of a binary operation, or `None` when it does not exist for these types.
fn result_of(binary: Binary, left: &Type, right: &Type) -> Option<Type> {
    let both = |fits: fn(&Type) -> bool| (fits(left) || left.is_unknown()) && (fits(right) || right.is_unknown());
    let number: fn(&Type) -> bool = Type::is_number;
    let text: fn(&Type) -> bool = |of| *of == Type::Text;
    let time: fn(&Type) -> bool = |of| *of == Type::Time;
    let duration: fn(&Type) -> bool = |of| *of == Type::Duration;
    let whole: fn(&Type) -> bool = |of| *of == Type::Int;
    let boolean: fn(&Type) -> bool = |of| *of == Type::Bool;
    let either_unknown = left.is_unknown() || right.is_unknown();
    let numeric = || match (left, right) {
        (Type::Int, Type::Int) => Type::Int,
        _ if either_unknown => Type::Unknown,
        _ => Type::Float,
    };
    match binary {
        Binary::Or | Binary::And => both(boolean).then_some(Type::Bool),
        Binary::Coalesce => Some(match (left, right) {
            (Type::Nil, other) | (other, Type::Nil) => other.clone(),
            _ if left == right => left.clone(),
            _ => Type::Unknown,
        }),
        Binary::Equal | Binary::EqualStrict | Binary::NotEqual | Binary::NotEqualStrict => {
            left.comparable(right).then_some(Type::Bool)
        }
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
            (both(number) || both(text) || both(time) || both(duration)).then_some(Type::Bool)
        }
        Binary::In => match right {
            Type::List(item) => left.comparable(item),
            Type::Map { .. } | Type::Unknown | Type::Nil => true,
            _ => false,
        }
        .then_some(Type::Bool),
        Binary::Matches | Binary::Contains | Binary::StartsWith | Binary::EndsWith => both(text).then_some(Type::Bool),
        Binary::Range => both(whole).then(|| Type::List(Box::new(Type::Int))),
        Binary::Add if both(number) => Some(numeric()),
        Binary::Add if both(text) => Some(if either_unknown { Type::Unknown } else { Type::Text }),
        Binary::Add => match (left, right) {
            (Type::Time, Type::Duration | Type::Unknown) | (Type::Duration | Type::Unknown, Type::Time) => {
                Some(Type::Time)
            }
            _ => both(duration).then_some(Type::Duration),
        },
        Binary::Subtract if both(number) => Some(numeric()),
        Binary::Subtract => match (left, right) {
            (Type::Time, Type::Time) => Some(Type::Duration),
            (Type::Time, Type::Duration) => Some(Type::Time),
            (Type::Time, Type::Unknown) | (Type::Unknown, Type::Time | Type::Duration) => Some(Type::Unknown),
            _ => both(duration).then_some(Type::Duration),
        },
        Binary::Multiply if both(number) => Some(numeric()),
        Binary::Multiply => {
            let scaled = |left: &Type, right: &Type| {
                *left == Type::Duration && (right.is_number() || right.is_unknown() || *right == Type::Duration)
            };
            (scaled(left, right) || scaled(right, left)).then_some(Type::Duration)
        }
        Binary::Divide if both(number) => Some(Type::Float),
        Binary::Divide => None,
        Binary::Power => both(number).then_some(Type::Float),
        Binary::Remainder => both(whole).then_some(if either_unknown { Type::Unknown } else { Type::Int }),
    }
}

/// Whether a node is arithmetic on integer literals, which the original converts where a float is wanted.
fn is_whole_constant(node: &Node) -> bool {
    match &node.kind {
        Kind::Int(_) => true,
        Kind::Unary(Unary::Minus | Unary::Plus, operand) | Kind::Group(operand) => is_whole_constant(operand),
        Kind::Binary(Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide, left, right) => {
            is_whole_constant(left) && is_whole_constant(right)
        }
        _ => false,
    }
}
