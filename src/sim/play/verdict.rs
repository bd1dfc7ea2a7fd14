//! Whether an expectation held.

use crate::sim::{
    scenario::{Expectation, Wish},
    timeline::{Checked, Outcome, Story, seconds, short},
};
use std::time::Duration;

pub(super) fn check(expected: &Expectation, story: &Story) -> Checked {
    let (held, found) = judge(&expected.what, story);
    Checked {
        expected: expected.text.clone(),
        held,
        found,
    }
}

fn judge(wish: &Wish, story: &Story) -> (bool, String) {
    let totals = &story.totals;
    let last = story.frames.last().cloned().unwrap_or_default();
    let step = |step: Option<i64>| step.map_or_else(|| "no step".to_owned(), |step| format!("step {step}"));
    match wish {
        Wish::Promoted(within) => timely(totals.promoted_after, *within, "promoted", story),
        Wish::RolledBack(within) => timely(totals.rolled_back_after, *within, "rolled back", story),
        Wish::NotPromoted => match totals.promoted_after {
            Some(after) => (false, format!("promoted after {}", seconds(after))),
            None => (true, story.outcome.text()),
        },
        Wish::AtStep(wanted) => (last.step == Some(*wanted), format!("ended at {}", step(last.step))),
        Wish::CaughtAtStep(wanted) => match totals.aborted_at {
            Some(_) => (
                totals.caught_at_step == Some(*wanted),
                format!("caught at {}", step(totals.caught_at_step)),
            ),
            None => (false, "never aborted".to_owned()),
        },
        Wish::Paused => (
            matches!(story.outcome, Outcome::Held(_)),
            format!("ended {}", story.outcome.text()),
        ),
        Wish::MaxPods(most) => {
            let peak = story.frames.iter().find(|frame| frame.pods() == totals.peak_pods);
            let at = peak.map_or(0.0, |frame| frame.at);
            (
                totals.peak_pods <= *most,
                format!("at most {} pods, at {}", totals.peak_pods, seconds(at)),
            )
        }
        Wish::MinReady(least) => {
            let low = story.frames.iter().find(|frame| frame.ready() == totals.least_ready);
            let at = low.map_or(0.0, |frame| frame.at);
            (
                totals.least_ready >= *least,
                format!("at least {} ready pods, at {}", totals.least_ready, seconds(at)),
            )
        }
        Wish::NoFailedRequests => match &totals.first_loss {
            None => (true, "none was lost".to_owned()),
            Some((at, service)) => {
                let lost = totals.lost_requests.ceil();
                (
                    false,
                    format!("{lost} lost on the way to Service {service}, from {} on", seconds(*at)),
                )
            }
        },
        Wish::ErrorsBelow(share) => (
            totals.failed_share <= *share,
            format!("{:.2}% of all requests failed", totals.failed_share * 100.0),
        ),
        Wish::WeightNeverAbove(weight) => (
            totals.peak_share <= f64::from(*weight) + 0.5,
            format!("at most {}%", totals.peak_share),
        ),
    }
}

fn timely(after: Option<f64>, within: Option<Duration>, done: &str, story: &Story) -> (bool, String) {
    let Some(after) = after else {
        return (false, format!("not {done}: {}", story.outcome.text()));
    };
    let found = format!("{done} after {}", seconds(after));
    match within {
        Some(within) if after > within.as_secs_f64() => {
            (false, format!("{found}, {} too late", short(late(after, within))))
        }
        Some(_) | None => (true, found),
    }
}

fn late(after: f64, within: Duration) -> Duration {
    Duration::try_from_secs_f64(after)
        .unwrap_or_default()
        .saturating_sub(within)
}
