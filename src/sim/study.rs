//! A whole study of an update: the scenario itself, and how long promotion and rollback take at worst.
//!
//! The worst cases leave out the scenario's own events and faults: promotion when everything takes as long as it may, an
//! abort at every step, and a version that fails all its requests from every step on.

use super::{
    cast::Cast,
    models::people::Verb,
    play::{PlayError, play},
    scenario::{Event, Fault, Moment, Scenario, Trouble, When},
    timeline::{Catch, Frame, Story, Worst},
};
use crate::json::At as _;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// Steps at which the worst cases are looked for; more are thinned out evenly.
const MOMENTS_MAX: usize = 12;

/// Plays the scenario, then the worst cases.
pub fn study(cast: &Cast, scenario: &Scenario) -> Result<Story, PlayError> {
    let mut story = play(cast, scenario, false)?;
    let plain = Scenario {
        events: Vec::new(),
        faults: Vec::new(),
        expect: Vec::new(),
        ..scenario.clone()
    };
    let undisturbed = if scenario.events.is_empty() && scenario.faults.is_empty() {
        None
    } else {
        Some(play(cast, &plain, false)?)
    };
    let usual = undisturbed.as_ref().unwrap_or(&story);
    if usual.totals.promoted_after.is_none() {
        return Ok(story);
    }
    let moments = moments(&usual.frames);
    let slowest = play(cast, &plain, true)?.totals.promoted_after;
    let (mut worst, mut catches): (Option<Worst>, Vec<Catch>) = (None, Vec::new());
    let judged = has_analysis(&cast.rollout);
    for (step, moment) in moments {
        let aborted = Scenario {
            events: vec![Event {
                when: moment,
                does: Verb::Abort,
            }],
            ..plain.clone()
        };
        if let Some(seconds) = play(cast, &aborted, false)?.totals.rolled_back_after
            && worst.is_none_or(|worst| seconds > worst.seconds)
        {
            worst = Some(Worst { seconds, step });
        }
        if judged {
            catches.push(caught(cast, &plain, step, moment)?);
        }
    }
    story.totals.promoted_after_at_worst = slowest;
    story.totals.rollback_at_worst = worst;
    story.totals.catches = catches;
    Ok(story)
}

fn caught(cast: &Cast, plain: &Scenario, step: i64, from: Moment) -> Result<Catch, PlayError> {
    let failing = Scenario {
        faults: vec![Fault {
            what: Trouble::Errors(1.0),
            when: When { from, lasts: None },
            text: String::new(),
        }],
        ..plain.clone()
    };
    let totals = play(cast, &failing, false)?.totals;
    Ok(Catch {
        step,
        caught_at: totals.aborted_at.and(totals.caught_at_step),
        rolled_back_after: totals.rolled_back_after,
    })
}

/// The steps that were gone through, or without steps, the moment at which the new version was ready.
fn moments(frames: &[Frame]) -> Vec<(i64, Moment)> {
    let underway = || frames.iter().filter(|frame| frame.phase != "Healthy");
    let steps: BTreeSet<i64> = underway().filter_map(|frame| frame.step).collect();
    let steps: Vec<i64> = steps.into_iter().collect();
    if steps.is_empty() {
        let ready = underway().find(|frame| frame.new.ready > 0 && frame.new.ready == frame.new.wanted);
        let at = ready.map(|frame| Duration::try_from_secs_f64(frame.at + 1.0).unwrap_or_default());
        return at.map(|at| (0, Moment::After(at))).into_iter().collect();
    }
    let every = steps.len().div_ceil(MOMENTS_MAX).max(1);
    steps
        .into_iter()
        .step_by(every)
        .map(|step| (step, Moment::Step(step)))
        .collect()
}

fn has_analysis(rollout: &Value) -> bool {
    fn names_template(value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.contains_key("templateName") || fields.values().any(names_template),
            Value::Array(items) => items.iter().any(names_template),
            _ => false,
        }
    }
    rollout.at("/spec/strategy").is_some_and(names_template)
}
