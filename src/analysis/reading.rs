//! What passes between the decision and the providers: a measurement that is due, a provider's answer, and the reading
//! made of it. Values only.

use super::{args::Known, condition, phase::Phase};
use crate::{
    api::analysis::{Measurement, Metric},
    lang::expr::Measured,
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Longest value kept in the status, in bytes. A status holds ten of them for each metric, and an object 1.5 MB.
pub const VALUE_BYTES_MAX: usize = 4 << 10;
/// Longest message kept in the status, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Message of a measurement that was ended because its run ended.
pub const METRIC_TERMINATED: &str = "Metric Terminated";

/// A measurement to take now.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// Name of the metric, arguments in place.
    pub metric: String,
    /// Its place in the run's specification. Names may hold arguments, places do not.
    pub index: usize,
    /// Which of the metric's measurements it is, from 1: completed ones and errors so far, plus one. Names the Job, and
    /// keeps a measurement from being recorded twice.
    pub sequence: i64,
    /// What to do.
    pub attempt: Attempt,
}

/// What to do about a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// Take a new one.
    Begin,
    /// Ask again about one that is under way.
    Resume(Measurement),
    /// End one that is under way.
    Terminate(Measurement),
}

/// What a provider says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A value, to be judged by the metric's conditions.
    Value {
        /// The value.
        measured: Measured,
        /// How it is shown.
        text: String,
    },
    /// A judgement of the provider's own, a Job's for instance.
    Judged {
        /// A completed phase.
        phase: Phase,
        /// Why.
        message: String,
    },
    /// A judgement of the provider's own and the number it comes from, Kayenta's score for instance.
    Scored {
        /// A completed phase.
        phase: Phase,
        /// The number, as it is shown.
        text: String,
    },
    /// No value could be had.
    Error(String),
    /// Not known yet.
    UnderWay {
        /// When to ask again.
        resume_at: Timestamp,
    },
}

/// An answer with what the provider says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// Goes to `measurements[].metadata`: by what a later attempt finds what this one began. Made by the provider, never
    /// from arguments, so it is not masked; a secret may be any text, also one that occurs in a name by chance.
    pub metadata: BTreeMap<String, String>,
    /// Goes to `metricResults[].metadata`.
    pub metric_metadata: BTreeMap<String, String>,
}

impl Answered {
    /// An answer alone.
    pub fn plain(answer: Answer) -> Self {
        Self {
            answer,
            metadata: BTreeMap::new(),
            metric_metadata: BTreeMap::new(),
        }
    }

    /// An error alone.
    pub fn error(message: impl Into<String>) -> Self {
        Self::plain(Answer::Error(message.into()))
    }
}

/// A measurement that was taken, judged and cleared of secrets; ready to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What was due.
    pub due: Due,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When the answer came.
    pub finished_at: Timestamp,
    /// `Running` while it is under way.
    pub phase: Phase,
    /// Why.
    pub message: String,
    /// What was read, as text.
    pub value: String,
    /// For `measurements[].metadata`.
    pub metadata: BTreeMap<String, String>,
    /// For `metricResults[].metadata`.
    pub metric_metadata: BTreeMap<String, String>,
    /// When to ask again, while it is under way.
    pub resume_at: Option<Timestamp>,
}

impl Reading {
    /// Judges an answer by the metric's conditions and masks secrets. `metric` has its arguments, secrets included, in place.
    pub fn judge(due: Due, metric: &Metric, known: &Known, answered: Answered, times: (Timestamp, Timestamp)) -> Self {
        let Answered {
            answer,
            metadata,
            metric_metadata,
        } = answered;
        let (mut value, mut resume_at) = (String::new(), None);
        let (phase, message) = match answer {
            Answer::Value { measured, text } => {
                value = clip(known.mask_value(&text), VALUE_BYTES_MAX);
                condition::judge(metric, &measured, times.1)
            }
            Answer::Judged { phase, message } => (phase, message),
            Answer::Scored { phase, text } => {
                value = text;
                (phase, String::new())
            }
            Answer::Error(message) => (Phase::Error, message),
            Answer::UnderWay { resume_at: at } => {
                resume_at = Some(at);
                (Phase::Running, String::new())
            }
        };
        let clipped = |map: BTreeMap<String, String>, text: &dyn Fn(String) -> String| {
            map.into_iter()
                .map(|(key, value)| (key, clip(text(value), VALUE_BYTES_MAX)))
                .collect()
        };
        let message = match (&due.attempt, message) {
            (Attempt::Terminate(_), message) if message.is_empty() => METRIC_TERMINATED.to_owned(),
            (_, message) => clip(known.mask(&message), MESSAGE_BYTES_MAX),
        };
        Self {
            due,
            started_at: times.0,
            finished_at: times.1,
            phase,
            message,
            value,
            metadata: clipped(metadata, &|text| text),
            metric_metadata: clipped(metric_metadata, &|text| known.mask(&text)),
            resume_at,
        }
    }

    /// A reading that could not even be asked for, because of arguments or a missing Secret.
    pub fn failed(due: Due, message: String, at: Timestamp) -> Self {
        Self::judge(
            due,
            &Metric::default(),
            &Known::default(),
            Answered::error(message),
            (at, at),
        )
    }
}

/// At most `bytes` of a text, cut at a character and marked when cut.
fn clip(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept: String = text.get(..end).unwrap_or_default().to_owned();
    format!("{kept}… ({} bytes)", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::analysis::{Argument, SecretKeyRef};
    use serde_json::json;

    fn due(attempt: Attempt) -> Due {
        Due {
            metric: "m".into(),
            index: 0,
            sequence: 1,
            attempt,
        }
    }

    fn known() -> Known {
        let args: Vec<Argument> = serde_json::from_value(json!([
            {"name": "t", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]))
        .unwrap();
        Known::with_secrets(&args, |_: &SecretKeyRef| {
            Ok::<_, super::super::args::ArgsError>("hidden".to_owned())
        })
        .unwrap()
    }

    #[test]
    fn secrets_never_reach_a_reading() {
        let metric = Metric {
            success_condition: "result == \"hidden\" && foo".into(),
            ..Metric::default()
        };
        let answered = Answered {
            answer: Answer::Value {
                measured: Measured::Json(json!("hidden")),
                text: "hidden".into(),
            },
            metadata: BTreeMap::new(),
            metric_metadata: BTreeMap::from([("q".to_owned(), "hidden".to_owned())]),
        };
        let reading = Reading::judge(
            due(Attempt::Begin),
            &metric,
            &known(),
            answered,
            (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH),
        );
        assert_eq!(reading.phase, Phase::Error);
        assert!(
            reading
                .message
                .starts_with("could not evaluate successCondition \"result == \"*****\""),
            "{}",
            reading.message
        );
        assert_eq!(reading.value, "*****");
        assert!(!format!("{reading:?}").contains("hidden"), "{reading:?}");
    }

    #[test]
    fn a_secret_that_occurs_in_a_name_does_not_lose_what_was_begun() {
        let name = BTreeMap::from([("job-name".to_owned(), "uid.hidden.1".to_owned())]);
        let answered = Answered {
            metadata: name.clone(),
            ..Answered::plain(Answer::UnderWay {
                resume_at: Timestamp::UNIX_EPOCH,
            })
        };
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let reading = Reading::judge(due(Attempt::Begin), &Metric::default(), &known(), answered, times);
        assert_eq!(reading.metadata, name);
    }

    #[test]
    fn long_values_are_cut() {
        let answered = Answered::plain(Answer::Value {
            measured: Measured::Json(json!(1)),
            text: "ä".repeat(VALUE_BYTES_MAX),
        });
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let reading = Reading::judge(due(Attempt::Begin), &Metric::default(), &known(), answered, times);
        assert!(reading.value.len() < VALUE_BYTES_MAX + 30 && reading.value.ends_with("… (8192 bytes)"));
    }

    #[test]
    fn a_score_is_shown_with_its_judgement() {
        let answered = Answered::plain(Answer::Scored {
            phase: Phase::Failed,
            text: "62.5".into(),
        });
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let reading = Reading::judge(due(Attempt::Begin), &Metric::default(), &known(), answered, times);
        assert_eq!(
            (reading.phase, reading.value.as_str(), reading.message.as_str()),
            (Phase::Failed, "62.5", "")
        );
    }

    #[test]
    fn an_ended_measurement_says_so() {
        let answered = Answered::plain(Answer::Judged {
            phase: Phase::Inconclusive,
            message: String::new(),
        });
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let due = due(Attempt::Terminate(Measurement::default()));
        let reading = Reading::judge(due, &Metric::default(), &known(), answered, times);
        assert_eq!(
            (reading.phase, reading.message.as_str()),
            (Phase::Inconclusive, "Metric Terminated")
        );
    }
}
