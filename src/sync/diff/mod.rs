//! Whether a live object is what its source says: one strategy, the comparison of owned fields.
//!
//! Every field the target names must be there with that value; a field we applied before and no longer name must be
//! gone (the API server's record of our field manager tells); whatever else is in the live object belongs to somebody
//! else (guarantee S6). Where that cannot be told locally (inside lists the API server treats as one value, where
//! defaults appear) the verdict is [`Verdict::Unsure`], and a server-side dry run decides.

mod fields;
pub mod foreign;
pub mod ignore;
pub mod managed;
pub mod normalize;

use ignore::IgnoreRules;
use serde_json::Value;

/// Differences kept for people; more would only repeat the message.
pub const DIFFERENCES_MAX: usize = 10;

/// The outcome of a comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Applying the target would change nothing.
    Same,
    /// These fields differ (JSON-pointer-like paths, at most [`DIFFERENCES_MAX`]).
    Different(Vec<String>),
    /// These fields may be defaults or leftovers; only the API server can tell.
    Unsure(Vec<String>),
}

/// Compares a prepared target (see [`foreign::prepare`]) with its live object.
pub fn compare(target: &Value, live: &Value, ignore: &IgnoreRules) -> Verdict {
    let mut owned = managed::owned_by_us(live);
    let previous = managed::last_applied(live);
    let (mut target, mut live) = (normalize::target(target), normalize::live(live));
    ignore.remove_from(&mut target);
    ignore.remove_from(&mut live);
    ignore.remove_from_owned(&mut owned);
    let mut previous = previous.map(|previous| normalize::target(&previous));
    if let Some(previous) = &mut previous {
        ignore.remove_from(previous);
    }
    fields::compare(&target, &live, &owned, previous.as_ref())
}

/// Judges by what the API server would make of the target (a server-side dry run) instead.
pub fn confirm(dry_run: &Value, live: &Value, ignore: &IgnoreRules) -> Verdict {
    let (mut after, mut before) = (normalize::live(dry_run), normalize::live(live));
    ignore.remove_from(&mut after);
    ignore.remove_from(&mut before);
    let mut paths = Vec::new();
    fields::changed_paths(&before, &after, &mut String::new(), &mut paths);
    if paths.is_empty() {
        Verdict::Same
    } else {
        Verdict::Different(paths)
    }
}

#[cfg(test)]
mod tests;
