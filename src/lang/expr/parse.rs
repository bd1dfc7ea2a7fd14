//! Tokens into a syntax tree, by precedence.

use super::ast::{Binary, Kind, Node, Pointer, Unary};
use super::lex::{Kind as T, Token, tokens};
use super::{ConditionError, DEPTH_MAX, NODES_MAX, predicate};

type Parsed<T = Node> = Result<T, ConditionError>;

/// Parses a whole condition.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parser = Parser {
        tokens: tokens(text)?,
        position: 0,
        nodes: 0,
        depth: 0,
        closures: 0,
    };
    let root = parser.sequence()?;
    match parser.peek() {
        T::End => {}
        _ => return Err(parser.unexpected()),
    }
    Ok(root)
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
    nodes: usize,
    depth: usize,
    closures: usize,
}

/// How tightly operators bind.
mod power {
    pub(super) const LOWEST: u16 = 0;
    pub(super) const NOT: u16 = 50;
    pub(super) const SIGN: u16 = 90;
}

impl Parser {
    fn peek(&self) -> &T {
        self.tokens.get(self.position).map_or(&T::End, |token| &token.kind)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.position).map_or(0, |token| token.at)
    }

    fn advance(&mut self) {
        self.position += 1;
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), T::Mark(found) if *found == mark)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), T::Name(found) if found == word)
    }

    fn take(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, mark: &str) -> Parsed<()> {
        if self.take(mark) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> ConditionError {
        let token = match self.peek() {
            T::End => "EOF".to_owned(),
            T::Int(value) => format!("Number({value})"),
            T::Float(value) => format!("Number({value})"),
            T::Text(text) => format!("String({text:?})"),
            T::Name(name) => format!("Identifier({name:?})"),
            T::Mark(mark @ ("(" | ")" | "[" | "]" | "{" | "}")) => format!("Bracket({mark:?})"),
            T::Mark(mark) => format!("Operator({mark:?})"),
        };
        ConditionError::at(self.at(), format!("unexpected token {token}"))
    }

    fn node(&mut self, at: usize, kind: Kind) -> Parsed {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(ConditionError::at(
                at,
                "compilation failed: expression exceeds maximum allowed nodes",
            ));
        }
        Ok(Node { at, kind })
    }

    /// `first; second; last`, each of which may be a `let`.
    fn sequence(&mut self) -> Parsed {
        let at = self.at();
        let mut items = vec![self.statement()?];
        while self.take(";") {
            // A separator behind the last one is allowed.
            if matches!(self.peek(), T::End) || self.is("}") || self.is(")") {
                break;
            }
            items.push(self.statement()?);
        }
        match items.pop() {
            Some(only) if items.is_empty() => Ok(only),
            Some(last) => {
                items.push(last);
                self.node(at, Kind::Sequence(items))
            }
            None => Err(self.unexpected()),
        }
    }

    fn statement(&mut self) -> Parsed {
        if !self.is_word("let") {
            return self.expression(power::LOWEST);
        }
        let at = self.at();
        self.enter()?;
        self.advance();
        let name = self.name()?;
        self.expect("=")?;
        let value = self.expression(power::LOWEST)?;
        self.expect(";")?;
        let body = self.sequence()?;
        self.depth -= 1;
        self.node(
            at,
            Kind::Let {
                name,
                value: Box::new(value),
                body: Box::new(body),
            },
        )
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        self.check_depth(0)
    }

    /// `chain` counts the links of a chain (`a || b || c`, `a.b.c`), whose tree grows downwards to the left.
    fn check_depth(&self, chain: usize) -> Parsed<()> {
        if self.depth + chain <= DEPTH_MAX {
            return Ok(());
        }
        let message = format!("the expression is nested deeper than {DEPTH_MAX} levels");
        Err(ConditionError::at(self.at(), message))
    }

    /// A copy, for constructs that use an operand twice; counted, so that nesting them cannot grow without limit.
    fn copy(&mut self, node: &Node) -> Parsed {
        self.nodes += node.size();
        self.node(node.at, Kind::Nil)?;
        Ok(node.clone())
    }

    fn name(&mut self) -> Parsed<String> {
        let T::Name(name) = self.peek() else {
            return Err(self.unexpected());
        };
        let name = name.clone();
        self.advance();
        Ok(name)
    }

    fn expression(&mut self, least: u16) -> Parsed {
        self.enter()?;
        let at = self.at();
        if least == power::LOWEST && self.is_word("if") {
            let conditional = self.if_else()?;
            self.depth -= 1;
            return Ok(conditional);
        }
        let left = self.unary()?;
        let mut left = self.operators(left, least)?;
        if least == power::LOWEST {
            left = self.conditional(at, left)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operators(&mut self, mut left: Node, least: u16) -> Parsed {
        let mut after_coalesce = false;
        for chain in 0.. {
            self.check_depth(chain)?;
            if least == power::LOWEST && self.is("|") {
                self.advance();
                let name_at = self.at();
                let name = self.name()?;
                let call = self.call(name_at, name, Some(left))?;
                left = self.postfix(call)?;
                continue;
            }
            let Some(found) = self.operator() else { return Ok(left) };
            if found.power < least {
                return Ok(left);
            }
            if after_coalesce && found.binary != Binary::Coalesce {
                let message = format!(
                    "operator ({}) and coalesce expressions (??) cannot be mixed, wrap either by parentheses",
                    found.binary.symbol()
                );
                return Err(ConditionError::at(self.at(), message));
            }
            let at = left.at;
            self.position += found.words;
            let right = self.expression(if found.right_first {
                found.power
            } else {
                found.power + 1
            })?;
            left = if is_ordering(found.binary) {
                self.comparison(at, left, found.binary, right, found.power)?
            } else {
                self.node(at, Kind::Binary(found.binary, Box::new(left), Box::new(right)))?
            };
            if found.negated {
                left = self.node(at, Kind::Unary(Unary::Not, Box::new(left)))?;
            }
            after_coalesce = found.binary == Binary::Coalesce;
        }
        Ok(left)
    }

    /// `1 <= x <= 10` means `1 <= x && x <= 10`.
    fn comparison(&mut self, at: usize, left: Node, binary: Binary, right: Node, power: u16) -> Parsed {
        let mut middle = self.copy(&right)?;
        let mut whole = self.node(at, Kind::Binary(binary, Box::new(left), Box::new(right)))?;
        for chain in 0.. {
            self.check_depth(chain)?;
            let next = self
                .operator()
                .filter(|next| is_ordering(next.binary) && next.power >= power);
            let Some(next) = next else { break };
            self.position += next.words;
            let right = self.expression(next.power + 1)?;
            let next_middle = self.copy(&right)?;
            let pair = self.node(middle.at, Kind::Binary(next.binary, Box::new(middle), Box::new(right)))?;
            whole = self.node(at, Kind::Binary(Binary::And, Box::new(whole), Box::new(pair)))?;
            middle = next_middle;
        }
        Ok(whole)
    }

    fn conditional(&mut self, at: usize, mut condition: Node) -> Parsed {
        while self.is("?") || self.is("?:") {
            self.check_depth(0)?;
            let (then, otherwise) = if self.take("?:") {
                (self.copy(&condition)?, self.expression(power::LOWEST)?)
            } else {
                self.advance();
                let then = self.expression(power::LOWEST)?;
                self.expect(":")?;
                (then, self.expression(power::LOWEST)?)
            };
            let kind = Kind::Conditional(Box::new(condition), Box::new(then), Box::new(otherwise));
            condition = self.node(at, kind)?;
        }
        Ok(condition)
    }

    fn if_else(&mut self) -> Parsed {
        self.enter()?;
        let at = self.at();
        self.advance();
        let condition = self.expression(power::LOWEST)?;
        let then = self.block()?;
        if !self.is_word("else") {
            return Err(self.unexpected());
        }
        self.advance();
        let otherwise = if self.is_word("if") {
            self.if_else()?
        } else {
            self.block()?
        };
        self.depth -= 1;
        self.node(
            at,
            Kind::Conditional(Box::new(condition), Box::new(then), Box::new(otherwise)),
        )
    }

    fn block(&mut self) -> Parsed {
        self.expect("{")?;
        let content = self.sequence()?;
        self.expect("}")?;
        Ok(content)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        let (unary, power) = match self.peek() {
            T::Mark("!") => (Unary::Not, power::NOT),
            T::Name(word) if word == "not" => (Unary::Not, power::NOT),
            T::Mark("-") => (Unary::Minus, power::SIGN),
            T::Mark("+") => (Unary::Plus, power::SIGN),
            _ => return self.primary(),
        };
        self.advance();
        let operand = self.expression(power)?;
        self.node(at, Kind::Unary(unary, Box::new(operand)))
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let token = self.peek().clone();
        let node = match token {
            T::Int(value) => self.literal(Kind::Int(value))?,
            T::Float(value) => self.literal(Kind::Float(value))?,
            T::Text(text) => self.literal(Kind::Text(text))?,
            T::Name(name) => {
                self.advance();
                self.word(at, name)?
            }
            T::Mark("(") => {
                self.advance();
                let inner = self.sequence()?;
                self.expect(")")?;
                self.node(at, Kind::Group(Box::new(inner)))?
            }
            T::Mark("[") => {
                self.advance();
                let items = self.list_until("]")?;
                self.node(at, Kind::List(items))?
            }
            T::Mark("{") => self.map(at)?,
            T::Mark("#") if self.closures > 0 => {
                self.advance();
                self.pointer(at)?
            }
            T::Mark(".") if self.closures > 0 => self.node(at, Kind::Pointer(Pointer::Item))?,
            _ => return Err(self.unexpected()),
        };
        self.postfix(node)
    }

    fn literal(&mut self, kind: Kind) -> Parsed {
        let at = self.at();
        self.advance();
        self.node(at, kind)
    }

    fn word(&mut self, at: usize, name: String) -> Parsed {
        match name.as_str() {
            "true" => self.node(at, Kind::Bool(true)),
            "false" => self.node(at, Kind::Bool(false)),
            "nil" => self.node(at, Kind::Nil),
            _ if self.is("(") => self.call(at, name, None),
            "in" | "and" | "or" | "matches" | "contains" | "startsWith" | "endsWith" | "let" | "if" | "else" => {
                self.position -= 1;
                Err(self.unexpected())
            }
            _ => self.node(at, Kind::Name(name)),
        }
    }

    fn pointer(&mut self, at: usize) -> Parsed {
        let pointer = match self.peek() {
            // Only a word that touches the `#` belongs to it.
            T::Name(word) if self.at() == at + 1 => match word.as_str() {
                "acc" => Some(Pointer::Accumulator),
                "index" => Some(Pointer::Index),
                _ => return Err(ConditionError::at(at, format!("unknown pointer #{word}"))),
            },
            _ => None,
        };
        if pointer.is_some() {
            self.advance();
        }
        self.node(at, Kind::Pointer(pointer.unwrap_or(Pointer::Item)))
    }

    fn list_until(&mut self, close: &str) -> Parsed<Vec<Node>> {
        let mut items = Vec::new();
        while !self.is(close) {
            items.push(self.expression(power::LOWEST)?);
            if !self.take(",") {
                break;
            }
        }
        self.expect(close)?;
        Ok(items)
    }

    fn map(&mut self, at: usize) -> Parsed {
        self.expect("{")?;
        let mut pairs = Vec::new();
        while !self.is("}") {
            let key_at = self.at();
            let key = match self.peek().clone() {
                T::Text(text) | T::Name(text) => self.literal(Kind::Text(text))?,
                T::Int(value) => self.literal(Kind::Text(value.to_string()))?,
                T::Float(value) => self.literal(Kind::Text(super::value::go_float(value)))?,
                T::Mark("(") => self.expression(power::LOWEST)?,
                _ => {
                    let message = "a map key must be a quoted string, a number, a identifier, or an expression enclosed in parentheses";
                    return Err(ConditionError::at(key_at, message));
                }
            };
            self.expect(":")?;
            pairs.push((key, self.expression(power::LOWEST)?));
            if !self.take(",") {
                break;
            }
        }
        self.expect("}")?;
        self.node(at, Kind::Map(pairs))
    }

    /// The arguments of `name(`; the piped value comes first.
    fn call(&mut self, at: usize, name: String, piped: Option<Node>) -> Parsed {
        self.expect("(")?;
        let mut args: Vec<Node> = piped.into_iter().collect();
        let closure_at = predicate::closure_position(&name);
        while !self.is(")") {
            let argument = if closure_at == Some(args.len()) {
                self.closure()?
            } else {
                self.expression(power::LOWEST)?
            };
            args.push(argument);
            if !self.take(",") {
                break;
            }
        }
        self.expect(")")?;
        self.node(at, Kind::Call { name, args })
    }

    fn closure(&mut self) -> Parsed {
        self.closures += 1;
        let body = if self.is("{") {
            self.block()
        } else {
            self.expression(power::LOWEST)
        };
        self.closures -= 1;
        body
    }

    fn postfix(&mut self, mut node: Node) -> Parsed {
        for chain in 0.. {
            self.check_depth(chain)?;
            let at = node.at;
            if self.is(".") || self.is("?.") {
                let optional = self.is("?.");
                self.advance();
                if optional && self.is("[") {
                    self.advance();
                    node = self.index(node, true)?;
                    continue;
                }
                let key_at = self.at();
                let name = self.name()?;
                node = if self.take("(") {
                    let args = self.list_until(")")?;
                    self.node(
                        at,
                        Kind::Method {
                            base: Box::new(node),
                            name,
                            args,
                            optional,
                        },
                    )?
                } else {
                    let key = Box::new(self.node(key_at, Kind::Text(name))?);
                    self.node(
                        at,
                        Kind::Member {
                            base: Box::new(node),
                            key,
                            optional,
                        },
                    )?
                };
            } else if self.take("[") {
                node = self.index(node, false)?;
            } else {
                break;
            }
        }
        Ok(node)
    }

    /// Behind `[`: an index or a slice.
    fn index(&mut self, base: Node, optional: bool) -> Parsed {
        let at = base.at;
        let from = if self.is(":") {
            None
        } else {
            Some(Box::new(self.expression(power::LOWEST)?))
        };
        if self.take(":") {
            let to = if self.is("]") {
                None
            } else {
                Some(Box::new(self.expression(power::LOWEST)?))
            };
            self.expect("]")?;
            return self.node(
                at,
                Kind::Slice {
                    base: Box::new(base),
                    from,
                    to,
                },
            );
        }
        self.expect("]")?;
        let Some(key) = from else { return Err(self.unexpected()) };
        self.node(
            at,
            Kind::Member {
                base: Box::new(base),
                key,
                optional,
            },
        )
    }

    fn operator(&self) -> Option<Operator> {
        let negated = self.is_word("not");
        let token = if negated {
            self.tokens.get(self.position + 1).map(|token| &token.kind)?
        } else {
            self.peek()
        };
        let (T::Mark(_) | T::Name(_)) = token else { return None };
        let text = match token {
            T::Mark(mark) => mark,
            T::Name(word) => word.as_str(),
            _ => return None,
        };
        let (binary, power, right_first) = match text {
            "||" | "or" => (Binary::Or, 10, false),
            "&&" | "and" => (Binary::And, 15, false),
            "==" => (Binary::Equal, 20, false),
            "!=" => (Binary::NotEqual, 20, false),
            "<" => (Binary::Less, 20, false),
            "<=" => (Binary::LessEqual, 20, false),
            ">" => (Binary::Greater, 20, false),
            ">=" => (Binary::GreaterEqual, 20, false),
            "in" => (Binary::In, 20, false),
            "matches" => (Binary::Matches, 20, false),
            "contains" => (Binary::Contains, 20, false),
            "startsWith" => (Binary::StartsWith, 20, false),
            "endsWith" => (Binary::EndsWith, 20, false),
            ".." => (Binary::Range, 25, false),
            "+" => (Binary::Add, 30, false),
            "-" => (Binary::Subtract, 30, false),
            "*" => (Binary::Multiply, 60, false),
            "/" => (Binary::Divide, 60, false),
            "%" => (Binary::Remainder, 60, false),
            "**" | "^" => (Binary::Power, 100, true),
            "??" => (Binary::Coalesce, 500, false),
            _ => return None,
        };
        let negatable = matches!(
            binary,
            Binary::In | Binary::Matches | Binary::Contains | Binary::StartsWith | Binary::EndsWith
        );
        if negated && !negatable {
            return None;
        }
        Some(Operator {
            binary,
            power,
            right_first,
            negated,
            words: 1 + usize::from(negated),
        })
    }
}

struct Operator {
    binary: Binary,
    power: u16,
    /// `a ** b ** c` is `a ** (b ** c)`.
    right_first: bool,
    /// `not in`
    negated: bool,
    /// Tokens it takes.
    words: usize,
}

fn is_ordering(binary: Binary) -> bool {
    matches!(
        binary,
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual
    )
}
