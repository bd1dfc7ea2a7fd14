//! Text into tokens.

use super::{ConditionError, TEXT_BYTES_MAX};

/// One token and where it starts, in characters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Int(i64),
    Float(f64),
    Text(String),
    /// An identifier or keyword.
    Name(String),
    /// An operator, bracket or separator.
    Mark(&'static str),
    End,
}

/// Longest first, so that `??` is not read as two `?`.
const MARKS: [&str; 36] = [
    "?.", "??", "?:", "..", "**", "||", "&&", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ";", ":", "?",
    ".", "|", "!", "<", ">", "=", "+", "-", "*", "/", "%", "^", "#", "&", "~",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ConditionError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ConditionError::at(
            0,
            format!("the expression is longer than {TEXT_BYTES_MAX} bytes"),
        ));
    }
    let mut lexer = Lexer { rest: text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.kind == Kind::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn next(&mut self) -> Result<Token, ConditionError> {
        self.skip_blanks()?;
        let at = self.at;
        let kind = match self.rest.chars().next() {
            None => Kind::End,
            Some('0'..='9') => self.number()?,
            Some('.') if self.rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => self.number()?,
            Some(quote @ ('"' | '\'')) => self.text(quote)?,
            Some('`') => self.raw_text()?,
            Some(c) if is_name_start(c) => {
                let end = self
                    .rest
                    .find(|c: char| !is_name_start(c) && !c.is_ascii_digit())
                    .unwrap_or(self.rest.len());
                Kind::Name(self.take(end).to_owned())
            }
            Some(c) => match MARKS.into_iter().find(|mark| self.rest.starts_with(mark)) {
                // `a ?.5 : 1` is a condition, not a member.
                Some("?.") if self.rest.chars().nth(2).is_some_and(|c| c.is_ascii_digit()) => {
                    self.take(1);
                    Kind::Mark("?")
                }
                Some(mark) => {
                    self.take(mark.len());
                    Kind::Mark(mark)
                }
                None => return Err(ConditionError::at(at, format!("unrecognized character: {c:?}"))),
            },
        };
        Ok(Token { at, kind })
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.at += taken.chars().count();
        taken
    }

    fn skip_blanks(&mut self) -> Result<(), ConditionError> {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.take(blanks);
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(end);
            } else if self.rest.starts_with("/*") {
                let Some(end) = self.rest.find("*/") else {
                    return Err(ConditionError::at(self.at, "unclosed comment"));
                };
                self.take(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn number(&mut self) -> Result<Kind, ConditionError> {
        let at = self.at;
        let lower = self.rest.get(..2).unwrap_or_default().to_ascii_lowercase();
        if let Some(radix) = [("0x", 16), ("0b", 2), ("0o", 8)]
            .iter()
            .find(|(prefix, _)| *prefix == lower)
        {
            self.take(2);
            let end = self
                .rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(self.rest.len());
            let digits = self.take(end).replace('_', "");
            return i64::from_str_radix(&digits, radix.1)
                .map(Kind::Int)
                .map_err(|error| ConditionError::at(at, format!("invalid integer literal: {error}")));
        }
        let (mut float, mut written) = (false, String::new());
        self.digits(&mut written);
        let mut following = self.rest.chars();
        if following.next() == Some('.') && following.next() != Some('.') {
            float = true;
            written.push_str(self.take(1));
            self.digits(&mut written);
        }
        if self.rest.starts_with(['e', 'E']) {
            float = true;
            written.push_str(self.take(1));
            if self.rest.starts_with(['+', '-']) {
                written.push_str(self.take(1));
            }
            self.digits(&mut written);
        }
        if self.rest.chars().next().is_some_and(is_name_start) {
            return Err(ConditionError::at(
                self.at,
                format!("bad number syntax after {written:?}"),
            ));
        }
        let invalid = |kind: &str, error: &dyn std::fmt::Display| {
            ConditionError::at(at, format!("invalid {kind} literal {written}: {error}"))
        };
        if float {
            let value: f64 = written.parse().map_err(|error| invalid("float", &error))?;
            if value.is_infinite() {
                return Err(invalid("float", &"value out of range"));
            }
            return Ok(Kind::Float(value));
        }
        written
            .parse()
            .map(Kind::Int)
            .map_err(|error| invalid("integer", &error))
    }

    fn digits(&mut self, written: &mut String) {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(self.rest.len());
        written.extend(self.take(end).chars().filter(|c| *c != '_'));
    }

    fn raw_text(&mut self) -> Result<Kind, ConditionError> {
        let at = self.at;
        self.take(1);
        let Some(end) = self.rest.find('`') else {
            return Err(ConditionError::at(at, "literal not terminated"));
        };
        let text = self.take(end).to_owned();
        self.take(1);
        Ok(Kind::Text(text))
    }

    fn text(&mut self, quote: char) -> Result<Kind, ConditionError> {
        let at = self.at;
        self.take(1);
        let mut text = String::new();
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(ConditionError::at(at, "literal not terminated"));
            };
            self.take(c.len_utf8());
            match c {
                '\n' => return Err(ConditionError::at(at, "literal not terminated")),
                '\\' => text.push(self.escape(at)?),
                _ if c == quote => return Ok(Kind::Text(text)),
                _ => text.push(c),
            }
        }
    }

    fn escape(&mut self, at: usize) -> Result<char, ConditionError> {
        let invalid = || ConditionError::at(at, "unable to unescape string");
        let c = self.rest.chars().next().ok_or_else(invalid)?;
        self.take(c.len_utf8());
        let digits = match c {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            '\\' | '\'' | '"' | '`' | '?' => return Ok(c),
            'x' => 2,
            'u' if self.rest.starts_with('{') => {
                self.take(1);
                let end = self.rest.find('}').ok_or_else(invalid)?;
                let code = u32::from_str_radix(self.take(end), 16).map_err(|_| invalid())?;
                self.take(1);
                return char::from_u32(code).ok_or_else(invalid);
            }
            'u' => 4,
            'U' => 8,
            '0'..='3' => {
                let tail = self.rest.get(..2).ok_or_else(invalid)?;
                let code = u32::from_str_radix(&format!("{c}{tail}"), 8).map_err(|_| invalid())?;
                self.take(2);
                return char::from_u32(code).ok_or_else(invalid);
            }
            _ => return Err(invalid()),
        };
        let hex = self.rest.get(..digits).ok_or_else(invalid)?;
        let code = u32::from_str_radix(hex, 16).map_err(|_| invalid())?;
        self.take(digits);
        char::from_u32(code).ok_or_else(invalid)
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphabetic()
}
