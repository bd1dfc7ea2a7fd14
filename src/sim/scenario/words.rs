//! Lines of words in a scenario: a head word and what follows, written as `head rest` or `head: rest`.

use super::{Moment, Span, When};
use crate::lang::duration;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::{collections::VecDeque, str::FromStr, time::Duration};

/// A line, being read from its start.
pub(super) struct Words {
    head: String,
    rest: VecDeque<String>,
    value: Option<Value>,
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::String(text) => Ok(Self::of_text(&text)),
            Value::Object(fields) if fields.len() == 1 => {
                let (head, value) = fields.into_iter().next().unwrap_or_default();
                Ok(Self::of_pair(head, value))
            }
            other => Err(D::Error::custom(format!(
                "expected a line of words such as `crash from step 2`, found {other}"
            ))),
        }
    }
}

impl Words {
    pub(super) fn of_text(text: &str) -> Self {
        let mut words = text.split_whitespace().map(str::to_owned);
        let head = words.next().unwrap_or_default();
        Self {
            head: head.trim_end_matches(':').to_owned(),
            rest: words.collect(),
            value: None,
        }
    }

    fn of_pair(head: String, value: Value) -> Self {
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(true) => String::new(),
            other => other.to_string(),
        };
        let structured = value.is_object() || value.is_array();
        let rest = if structured {
            VecDeque::new()
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        };
        Self {
            head,
            rest,
            value: structured.then_some(value),
        }
    }

    /// The whole line.
    pub(super) fn text(&self) -> String {
        let mut text = self.head.clone();
        for word in &self.rest {
            text.push(' ');
            text.push_str(word);
        }
        text
    }

    pub(super) fn head(&self) -> &str {
        &self.head
    }

    /// The next word.
    pub(super) fn word(&mut self, what: &str) -> Result<String, String> {
        let next = self.rest.pop_front();
        next.ok_or_else(|| format!("expected {what} after `{}`, found nothing", self.head))
    }

    pub(super) fn next_if(&mut self, word: &str) -> bool {
        let there = self.rest.front().is_some_and(|next| next == word);
        if there {
            self.rest.pop_front();
        }
        there
    }

    pub(super) fn number<N: FromStr>(&mut self) -> Result<N, String> {
        let word = self.word("a number")?;
        word.parse().map_err(|_| format!("expected a number, found `{word}`"))
    }

    /// `5%`, from 0 to 1.
    pub(super) fn percent(&mut self) -> Result<f64, String> {
        let word = self.word("a share such as `5%`")?;
        let number = word.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
        let share = number.filter(|percent| (0.0..=100.0).contains(percent));
        share
            .map(|percent| percent / 100.0)
            .ok_or_else(|| format!("expected a share from 0% to 100%, found `{word}`"))
    }

    pub(super) fn span(&mut self) -> Result<Duration, String> {
        Span::parse(&self.word("a duration such as `300ms`")?).map(|span| span.0)
    }

    /// A length of time with a sign, such as `-5m`, in seconds.
    pub(super) fn seconds(&mut self) -> Result<i64, String> {
        let word = self.word("a duration such as `5m` or `-5m`")?;
        let parsed = duration::parse(&word).map_err(|error| error.to_string())?;
        Ok(parsed.as_secs())
    }

    pub(super) fn choice<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, String> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let word = self.word(&format!("one of {}", names.join(", ")))?;
        let found = choices.iter().find(|(name, _)| *name == word);
        found
            .map(|(_, choice)| *choice)
            .ok_or_else(|| unknown(&self.head.clone(), &word, &names))
    }

    /// `[from MOMENT] [for DURATION]`; `at` is the same as `from`.
    pub(super) fn when(&mut self) -> Result<When, String> {
        let mut when = When::default();
        if self.next_if("from") || self.next_if("at") {
            when.from = self.moment()?;
        }
        if self.next_if("for") {
            when.lasts = Some(self.span()?);
        }
        Ok(when)
    }

    fn moment(&mut self) -> Result<Moment, String> {
        let word = self.word("a moment such as `2m`, `step 3` or `weight 40`")?;
        Ok(match word.as_str() {
            "start" => Moment::Start,
            "weight" => {
                let weight = self.word("a weight")?;
                let number = weight.trim_end_matches('%').parse();
                Moment::Weight(number.map_err(|_| format!("expected a weight, found `{weight}`"))?)
            }
            "step" => Moment::Step(self.number()?),
            text => Moment::After(Span::parse(text)?.0),
        })
    }

    /// `[within DURATION]`.
    pub(super) fn within(&mut self) -> Result<Option<Duration>, String> {
        if self.next_if("within") {
            self.span().map(Some)
        } else {
            Ok(None)
        }
    }

    /// What stands behind the head as YAML.
    pub(super) fn value(&mut self) -> Result<Value, String> {
        let value = self.value.take();
        value.ok_or_else(|| format!("expected a map or list after `{}:`", self.head))
    }

    pub(super) fn end(&mut self) -> Result<(), String> {
        if let Some(value) = &self.value {
            return Err(format!("expected words after `{}`, found {value}", self.head));
        }
        match self.rest.pop_front() {
            None => Ok(()),
            Some(word) => Err(format!("`{}` is complete before `{word}`", self.head)),
        }
    }
}

/// An unknown word, and what there is.
pub(super) fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    format!("unknown {what} `{found}`; expected one of {}", known.join(", "))
}
