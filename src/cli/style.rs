//! Icons, colours and the cleaning of strings that come from the cluster. State is never shown by colour alone: every
//! icon stands beside a word.

use std::fmt::Write as _;

/// How text is drawn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Style {
    /// Colour sequences may be written.
    pub color: bool,
    /// Only ASCII may be written by ourselves.
    pub ascii: bool,
}

/// What an icon stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Icon {
    Rollout,
    Revision,
    ReplicaSet,
    Pod,
    Job,
    Experiment,
    AnalysisRun,
    Ok,
    Bad,
    Progressing,
    Waiting,
    Paused,
    Warning,
    Neutral,
    Unknown,
}

impl Icon {
    /// What the icon says, where it cannot be drawn.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "successful",
            Self::Bad => "failed",
            Self::Unknown => "inconclusive",
            Self::Warning => "error",
            Self::Progressing => "progressing",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Neutral => "neutral",
            Self::Rollout => "rollout",
            Self::Revision => "revision",
            Self::ReplicaSet => "replicaset",
            Self::Pod => "pod",
            Self::Job => "job",
            Self::Experiment => "experiment",
            Self::AnalysisRun => "analysisrun",
        }
    }
}

impl Style {
    /// The icon as drawn, in its colour.
    pub(crate) fn icon(self, icon: Icon) -> String {
        let (unicode, ascii, color) = match icon {
            Icon::Rollout => ("⟳", "@", ""),
            Icon::Revision => ("#", "#", ""),
            Icon::ReplicaSet => ("⧉", "=", ""),
            Icon::Pod => ("□", "o", ""),
            Icon::Job => ("⊞", "j", ""),
            Icon::Experiment => ("Σ", "E", ""),
            Icon::AnalysisRun => ("α", "A", ""),
            Icon::Ok => ("✔", "+", "32"),
            Icon::Bad => ("✖", "x", "31"),
            Icon::Progressing => ("◌", "~", "36"),
            Icon::Waiting => ("◷", "w", "33"),
            Icon::Paused => ("॥", "p", "33"),
            Icon::Warning => ("⚠", "!", "31"),
            Icon::Neutral => ("•", "-", ""),
            Icon::Unknown => ("?", "?", ""),
        };
        self.paint(if self.ascii { ascii } else { unicode }, color)
    }

    /// The text in a colour (an SGR code), or bare.
    pub(crate) fn paint(self, text: &str, color: &str) -> String {
        if self.color && !color.is_empty() {
            format!("\u{1b}[{color}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// The parts of a tree: branch, last branch, line, and the space below a last branch.
    pub(crate) fn branches(self) -> Branches {
        if self.ascii {
            Branches {
                branch: "|--",
                last: "`--",
                line: "|  ",
                space: "   ",
            }
        } else {
            Branches {
                branch: "├──",
                last: "└──",
                line: "│  ",
                space: "   ",
            }
        }
    }
}

/// The parts of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branches {
    pub(crate) branch: &'static str,
    pub(crate) last: &'static str,
    pub(crate) line: &'static str,
    pub(crate) space: &'static str,
}

/// A string from the cluster made safe for a terminal: escape sequences and control characters removed, also those that
/// change the direction of writing; line breaks and tabs become blanks.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_until(&mut rest, |c| ('@'..='~').contains(&c)),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {}
            _ if c.is_control() => {}
            _ => out.push(c),
        }
    }
    out
}

/// Behind an escape character: a control sequence (`[ … letter`), a string (`] … BEL`), or one character.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => skip_until(rest, |c| ('@'..='~').contains(&c)),
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    return;
                }
                if c == '\u{1b}' {
                    rest.next();
                    return;
                }
            }
        }
        Some(_) | None => {}
    }
}

fn skip_until(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, ends: fn(char) -> bool) {
    for c in rest.by_ref() {
        if ends(c) {
            return;
        }
    }
}

/// How many columns a text takes: characters, without colour sequences.
pub(crate) fn width(text: &str) -> usize {
    clean(text).chars().count()
}

/// Lines of cells in aligned columns, two blanks apart; the last cell is not padded.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        for (index, (cell, column)) in row.iter().zip(&widths).enumerate() {
            out.push_str(cell);
            if index + 1 < row.len() {
                let padding = column.saturating_sub(width(cell)) + 2;
                // Writing to a string cannot fail.
                let _ = write!(out, "{:padding$}", "");
            }
        }
        out.push('\n');
    }
    out
}

/// An age or remaining time as kubectl prints it: two units at most, `7d`, `3h20m`, `45s`.
pub(crate) fn human_duration(duration: jiff::SignedDuration) -> String {
    let seconds = duration.as_secs();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn control_sequences_are_removed() {
        for (text, expect) in [
            ("a\u{1b}[31mb\u{1b}[0m", "ab"),
            ("x\u{1b}]0;title\u{7}y", "xy"),
            ("x\u{1b}]8;;http://e\u{1b}\\link", "xlink"),
            ("a\nb\tc\u{7}\u{9b}2Jd", "a b cd"),
            ("re\u{202e}vo", "revo"),
            ("\u{1b}", ""),
            ("é日", "é日"),
        ] {
            assert_eq!(clean(text), expect, "{text:?}");
        }
    }

    #[test]
    fn ages_are_printed_as_kubectl_does() {
        for (seconds, expect) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 120, "3h2m"),
            (9 * 3600 + 60, "9h"),
            (50 * 3600, "2d2h"),
            (9 * 86_400, "9d"),
            (800 * 86_400, "2y70d"),
            (-10, "<invalid>"),
        ] {
            assert_eq!(human_duration(SignedDuration::from_secs(seconds)), expect);
        }
    }

    #[test]
    fn colour_does_not_shift_columns() {
        let style = Style {
            color: true,
            ascii: false,
        };
        let rows = vec![
            vec![style.icon(Icon::Ok), "a".to_owned()],
            vec!["long".to_owned(), "b".to_owned()],
        ];
        assert_eq!(columns(&rows), "\u{1b}[32m✔\u{1b}[0m     a\nlong  b\n");
    }
}
