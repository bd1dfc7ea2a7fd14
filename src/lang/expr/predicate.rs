//! The functions that take a closure: `all`, `filter`, `map`, `reduce`, … — their types and their evaluation.

use std::rc::Rc;

use super::ConditionError;
use super::ast::Node;
use super::check::{Checker, Type};
use super::eval::{Evaluation, Frame};
use super::value::{Key, Value, compare_for_sort};

const NAMES: [&str; 15] = [
    "all",
    "none",
    "any",
    "one",
    "filter",
    "map",
    "count",
    "sum",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "groupBy",
    "sortBy",
    "reduce",
];

/// Which argument of `name` is a closure, if any.
pub(super) fn closure_position(name: &str) -> Option<usize> {
    NAMES.contains(&name).then_some(1)
}

/// The static type of a call; `None` when `name` takes no closure here.
pub(super) fn check(
    checker: &mut Checker,
    at: usize,
    name: &str,
    args: &mut [Node],
) -> Option<Result<Type, ConditionError>> {
    closure_position(name)?;
    Some(check_call(checker, at, name, args))
}

fn check_call(checker: &mut Checker, at: usize, name: &str, args: &mut [Node]) -> Result<Type, ConditionError> {
    let optional = matches!(name, "count" | "sum");
    let (list, rest) = match args {
        [] => return Err(wrong_count(at, if optional { 1 } else { 2 }, 0)),
        [_] if !optional => return Err(ConditionError::at(at, "expected at least 2 arguments")),
        [list, rest @ ..] => (list, rest),
    };
    let most = if matches!(name, "sortBy" | "reduce") { 2 } else { 1 };
    if rest.len() > most {
        return Err(wrong_count(at, most + 1, rest.len() + 1));
    }
    let item = match checker.of(list)? {
        Type::List(item) => *item,
        Type::Unknown => Type::Unknown,
        other => {
            let message = format!("builtin {name} takes only array (got {})", other.name());
            return Err(ConditionError::at(list.at, message));
        }
    };
    let mut rest = rest.iter_mut();
    let closure = match rest.next() {
        Some(body) => Some((body.at, checker.closure(body, item.clone())?)),
        None => None,
    };
    if let Some(extra) = rest.next() {
        checker.of(extra)?;
    }
    let gives_bool = matches!(
        name,
        "all" | "none" | "any" | "one" | "filter" | "count" | "find" | "findIndex" | "findLast" | "findLastIndex"
    );
    if let Some((body_at, closure)) = closure.as_ref().filter(|_| gives_bool)
        && !matches!(closure, Type::Bool | Type::Unknown)
    {
        let message = format!("predicate should return boolean (got {})", closure.name());
        return Err(ConditionError::at(*body_at, message));
    }
    Ok(match name {
        "all" | "none" | "any" | "one" => Type::Bool,
        "count" | "findIndex" | "findLastIndex" => Type::Int,
        "filter" | "sortBy" => Type::List(Box::new(item)),
        "map" => Type::List(Box::new(closure.map_or(Type::Unknown, |(_, of)| of))),
        "find" | "findLast" => item,
        "sum" => closure.map_or(item, |(_, of)| of),
        "groupBy" => Type::Map { any_key: true },
        _ => Type::Unknown,
    })
}

fn wrong_count(at: usize, expected: usize, got: usize) -> ConditionError {
    ConditionError::at(
        at,
        format!("invalid number of arguments (expected {expected}, got {got})"),
    )
}

/// Evaluates a call; `None` when `name` takes no closure here.
pub(super) fn call(evaluation: &mut Evaluation<'_>, name: &str, args: &[Node]) -> Option<Result<Value, String>> {
    closure_position(name)?;
    Some(evaluate(evaluation, name, args))
}

fn evaluate(evaluation: &mut Evaluation<'_>, name: &str, args: &[Node]) -> Result<Value, String> {
    let mut args = args.iter();
    let (list, body, extra) = (args.next(), args.next(), args.next());
    let list = list.ok_or("an argument is missing")?;
    let Value::List(items) = evaluation.value(list)? else {
        return Err(format!("builtin {name} takes only array"));
    };
    let mut each = Each {
        evaluation,
        items: &items,
        body,
    };
    match name {
        "all" => Ok(Value::Bool(each.find(false, false)?.is_none())),
        "none" => Ok(Value::Bool(each.find(true, false)?.is_none())),
        "any" => Ok(Value::Bool(each.find(true, false)?.is_some())),
        "one" => Ok(Value::Bool(each.count()? == 1)),
        "count" => Ok(Value::Int(each.count()?)),
        "find" | "findLast" => {
            let found = each.find(true, name == "findLast")?;
            Ok(found.and_then(|index| items.get(index).cloned()).unwrap_or(Value::Nil))
        }
        "findIndex" | "findLastIndex" => {
            let found = each.find(true, name == "findLastIndex")?;
            Ok(found
                .and_then(|index| i64::try_from(index).ok())
                .map_or(Value::Nil, Value::Int))
        }
        "filter" => each.filter(),
        "map" => each.map().map(|values| Value::List(Rc::new(values))),
        "sum" => each
            .map()?
            .into_iter()
            .try_fold(Value::Int(0), |total, value| total.add(&value)),
        "groupBy" => each.group(),
        "sortBy" => each.sort(extra),
        _ => each.reduce(extra),
    }
}

struct Each<'e, 'r, 'n> {
    evaluation: &'e mut Evaluation<'r>,
    items: &'n [Value],
    body: Option<&'n Node>,
}

impl Each<'_, '_, '_> {
    /// The value of the closure at an index; without a closure, the item itself.
    fn at(&mut self, index: usize, accumulator: Option<&Value>) -> Result<Value, String> {
        let item = self.items.get(index).cloned().unwrap_or(Value::Nil);
        let Some(body) = self.body else { return Ok(item) };
        let accumulator = accumulator.cloned().unwrap_or(Value::Nil);
        self.evaluation.in_closure(
            Frame {
                item,
                index,
                accumulator,
            },
            body,
        )
    }

    fn test(&mut self, index: usize) -> Result<bool, String> {
        match self.at(index, None)? {
            Value::Bool(answer) => Ok(answer),
            other => Err(format!("predicate should return boolean (got {})", other.type_name())),
        }
    }

    fn find(&mut self, wanted: bool, backwards: bool) -> Result<Option<usize>, String> {
        for step in 0..self.items.len() {
            let index = if backwards { self.items.len() - 1 - step } else { step };
            if self.test(index)? == wanted {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn count(&mut self) -> Result<i64, String> {
        let mut count = 0;
        for index in 0..self.items.len() {
            count += i64::from(self.test(index)?);
        }
        Ok(count)
    }

    fn filter(&mut self) -> Result<Value, String> {
        let mut kept = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            if self.test(index)? {
                kept.push(item.clone());
            }
        }
        self.evaluation.allocate(kept.len())?;
        Ok(Value::List(Rc::new(kept)))
    }

    fn map(&mut self) -> Result<Vec<Value>, String> {
        self.evaluation.allocate(self.items.len())?;
        (0..self.items.len()).map(|index| self.at(index, None)).collect()
    }

    fn group(&mut self) -> Result<Value, String> {
        let keys = self.map()?;
        let mut groups = std::collections::BTreeMap::<Key, Vec<Value>>::new();
        for (key, item) in keys.into_iter().zip(self.items) {
            groups.entry(key.into_key()?).or_default().push(item.clone());
        }
        Ok(Value::Map(Rc::new(
            groups
                .into_iter()
                .map(|(key, items)| (key, Value::List(Rc::new(items))))
                .collect(),
        )))
    }

    fn sort(&mut self, order: Option<&Node>) -> Result<Value, String> {
        let order = order.map(|order| self.evaluation.value(order)).transpose()?;
        let descending = descending(order.as_ref())?;
        let mut keyed: Vec<(Value, Value)> = self.map()?.into_iter().zip(self.items.iter().cloned()).collect();
        check_sortable(keyed.iter().map(|(key, _)| key))?;
        keyed.sort_by(|(left, _), (right, _)| {
            let (left, right) = if descending { (right, left) } else { (left, right) };
            compare_for_sort(left, right)
        });
        Ok(Value::List(Rc::new(keyed.into_iter().map(|(_, item)| item).collect())))
    }

    fn reduce(&mut self, initial: Option<&Node>) -> Result<Value, String> {
        let initial = initial.map(|initial| self.evaluation.value(initial)).transpose()?;
        let (mut accumulator, first) = match (initial, self.items.first()) {
            (Some(initial), _) => (initial, 0),
            (None, Some(first)) => (first.clone(), 1),
            (None, None) => return Err("reduce of empty array with no initial value".to_owned()),
        };
        for index in first..self.items.len() {
            accumulator = self.at(index, Some(&accumulator))?;
        }
        Ok(accumulator)
    }
}

/// Reads the order of `sort` and `sortBy`.
pub(super) fn descending(order: Option<&Value>) -> Result<bool, String> {
    match order {
        None => Ok(false),
        Some(Value::Text(text)) if &**text == "asc" => Ok(false),
        Some(Value::Text(text)) if &**text == "desc" => Ok(true),
        Some(other) => Err(format!("invalid order {}, expected asc or desc", other.print())),
    }
}

/// Sorting needs keys that can be ordered with each other.
pub(super) fn check_sortable<'v>(keys: impl Iterator<Item = &'v Value>) -> Result<(), String> {
    let keys: Vec<&Value> = keys.collect();
    for pair in keys.windows(2) {
        if let [left, right] = pair {
            left.less(right)?;
        }
    }
    Ok(())
}
