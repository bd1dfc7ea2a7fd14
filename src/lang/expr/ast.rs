//! The syntax tree of a condition.

/// One node and where it starts, in characters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// A variable: `result` or one declared by `let`.
    Name(String),
    Pointer(Pointer),
    Unary(Unary, Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    Member {
        base: Box<Node>,
        key: Box<Node>,
        optional: bool,
    },
    Slice {
        base: Box<Node>,
        from: Option<Box<Node>>,
        to: Option<Box<Node>>,
    },
    Call {
        name: String,
        args: Vec<Node>,
    },
    Method {
        base: Box<Node>,
        name: String,
        args: Vec<Node>,
        optional: bool,
    },
    Let {
        name: String,
        value: Box<Node>,
        body: Box<Node>,
    },
    Sequence(Vec<Node>),
    /// Parentheses, where they end a chain of `?.`.
    Group(Box<Node>),
}

impl Node {
    /// The nodes directly below.
    pub(super) fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Nil
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::Name(_)
            | Kind::Pointer(_) => Vec::new(),
            Kind::List(items) | Kind::Sequence(items) | Kind::Call { args: items, .. } => items.iter().collect(),
            Kind::Map(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
            Kind::Unary(_, operand) | Kind::Group(operand) => vec![operand],
            Kind::Binary(_, left, right) => vec![left, right],
            Kind::Conditional(condition, then, otherwise) => vec![condition, then, otherwise],
            Kind::Member { base, key, .. } => vec![base, key],
            Kind::Slice { base, from, to } => std::iter::once(base)
                .chain(from)
                .chain(to)
                .map(|node| &**node)
                .collect(),
            Kind::Method { base, args, .. } => std::iter::once(&**base).chain(args).collect(),
            Kind::Let { value, body, .. } => vec![value, body],
        }
    }

    /// How many nodes there are, this one included; without recursion.
    pub(super) fn size(&self) -> usize {
        let (mut pending, mut size) = (vec![self], 0);
        while let Some(node) = pending.pop() {
            size += 1;
            pending.extend(node.children());
        }
        size
    }
}

/// What a closure can point at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pointer {
    /// `#`
    Item,
    /// `#index`
    Index,
    /// `#acc`
    Accumulator,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unary {
    /// `!` or `not`
    Not,
    Minus,
    Plus,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Binary {
    Or,
    And,
    Coalesce,
    Equal,
    /// `==` of two static ints or two static strings: a nil on either side is an error. Set by the checker.
    EqualStrict,
    NotEqual,
    /// The same for `!=`.
    NotEqualStrict,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

impl Binary {
    /// The operator as written.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Coalesce => "??",
            Self::Equal | Self::EqualStrict => "==",
            Self::NotEqual | Self::NotEqualStrict => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::Matches => "matches",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "**",
        }
    }
}
