//! The story as text, for a terminal.

use crate::sim::timeline::{Analysis, Frame, Pods, Story, seconds};
use std::fmt::Write as _;

/// Rows of the timeline; what is longer is thinned out in the middle.
const ROWS_MAX: usize = 200;
/// Values of a metric that are shown.
const VALUES_MAX: usize = 5;

/// The story. With `ascii`, no other characters.
pub fn render(story: &Story, ascii: bool) -> String {
    let mut out = String::new();
    let arrow = if ascii { "->" } else { "→" };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "Rollout {}: {}, {} {arrow} {}, seed {}",
        story.rollout, story.strategy, story.from, story.to, story.seed
    );
    if !story.supplied.is_empty() {
        let _ = writeln!(
            out,
            "Not in the files, supplied by the simulation: {}",
            story.supplied.join(", ")
        );
    }
    for note in &story.notes {
        let _ = writeln!(out, "Note: {note}");
    }
    out.push('\n');
    timeline(&mut out, story);
    analyses(&mut out, story);
    totals(&mut out, story);
    expectations(&mut out, story, ascii);
    out
}

/// A line of the timeline.
struct Row {
    at: f64,
    /// Step, weight, old and new pods.
    cells: [String; 4],
    happened: Vec<String>,
}

fn timeline(out: &mut String, story: &Story) {
    let mut rows = frame_rows(&story.frames);
    let mut beside: Vec<(f64, String)> = Vec::new();
    for act in &story.acts {
        let refused = act
            .refused
            .as_ref()
            .map(|why| format!(", refused: {why}"))
            .unwrap_or_default();
        beside.push((act.at, format!("person: {}{refused}", act.does)));
    }
    for fault in &story.faults {
        beside.extend(fault.began.map(|at| (at, format!("fault begins: {}", fault.fault))));
        beside.extend(fault.ended.map(|at| (at, format!("fault ends: {}", fault.fault))));
    }
    for decision in &story.decisions {
        let told = matches!(
            decision.reason.as_str(),
            "RolloutAborted" | "RolloutCompleted" | "RolloutPaused" | "RolloutResumed" | "SwitchService"
        );
        if told || decision.warning {
            beside.push((decision.at, decision.message.clone()));
        }
    }
    beside.sort_by(|one, other| one.0.total_cmp(&other.0));
    for (at, text) in beside {
        let index = rows.iter().rposition(|row| row.at <= at + 0.5).unwrap_or(0);
        if let Some(row) = rows.get_mut(index)
            && row.happened.last() != Some(&text)
        {
            row.happened.push(text);
        }
    }
    let mut table = vec![
        ["time", "step", "weight", "old pods", "new pods", "what happened"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let count = rows.len();
    for (index, row) in rows.into_iter().enumerate() {
        if count > ROWS_MAX && index == ROWS_MAX / 2 {
            table.push(vec!["…".to_owned()]);
        }
        if count > ROWS_MAX && (ROWS_MAX / 2..count - ROWS_MAX / 2).contains(&index) {
            continue;
        }
        let mut happened = row.happened.into_iter();
        let mut cells = vec![seconds(row.at)];
        cells.extend(row.cells);
        cells.push(happened.next().unwrap_or_default());
        table.push(cells);
        for more in happened {
            let mut cells = vec![String::new(); 6];
            if let Some(last) = cells.last_mut() {
                *last = more;
            }
            table.push(cells);
        }
    }
    out.push_str(&aligned(&table));
    out.push('\n');
}

/// A row for each step, weight and phase; the pods are those at its end.
fn frame_rows(frames: &[Frame]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut before: Option<(Option<i64>, i64, &str, &str)> = None;
    for frame in frames {
        let headline = (frame.step, frame.weight, frame.phase.as_str(), waits(frame));
        let cells = cells(frame);
        if before == Some(headline)
            && let Some(row) = rows.last_mut()
        {
            row.cells = cells;
            continue;
        }
        let waiting = waits(frame);
        let happened = match (frame.phase.as_str(), waiting) {
            ("Degraded", _) => format!("Degraded: {}", frame.message),
            ("Healthy", _) => "Healthy".to_owned(),
            (_, "") => String::new(),
            (_, waiting) => waiting.to_owned(),
        };
        let happened: Vec<String> = Some(happened).filter(|text| !text.is_empty()).into_iter().collect();
        rows.push(Row {
            at: frame.at,
            cells,
            happened,
        });
        before = Some(headline);
    }
    rows
}

/// What it waits for, without the counts in it that change all the time.
fn waits(frame: &Frame) -> &str {
    if frame.waiting_for.starts_with(|c: char| c.is_ascii_digit()) {
        ""
    } else {
        &frame.waiting_for
    }
}

fn cells(frame: &Frame) -> [String; 4] {
    let step = match frame.step {
        Some(step) => format!("{step} {}", frame.doing),
        None => String::new(),
    };
    let weight = match (frame.weight as f64 - frame.share).abs() < 1.0 {
        true => format!("{}%", frame.weight),
        false => format!("{}% ({}%)", frame.weight, frame.share),
    };
    let old = Pods {
        wanted: frame.stable.wanted + frame.other.wanted,
        there: frame.stable.there + frame.other.there,
        ready: frame.stable.ready + frame.other.ready,
    };
    [step, weight, pods(old), pods(frame.new)]
}

fn pods(pods: Pods) -> String {
    format!("{}/{}", pods.ready, pods.wanted)
}

fn analyses(out: &mut String, story: &Story) {
    if story.analyses.is_empty() {
        return;
    }
    out.push_str("Analyses\n");
    let mut table = Vec::new();
    for analysis in &story.analyses {
        let place = match analysis.step {
            Some(step) => format!("step {step}"),
            None => analysis.kind.to_lowercase(),
        };
        let span = match analysis.ended {
            Some(ended) => format!("{} to {}", seconds(analysis.began), seconds(ended)),
            None => format!("{} on", seconds(analysis.began)),
        };
        table.push(vec![
            format!("  {span}"),
            place,
            analysis.phase.clone(),
            verdict(analysis),
        ]);
    }
    out.push_str(&aligned(&table));
    out.push('\n');
}

fn verdict(analysis: &Analysis) -> String {
    let metrics = analysis.metrics.iter().map(|metric| {
        let shown = metric
            .values
            .iter()
            .rev()
            .take(VALUES_MAX)
            .rev()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if metric.values.len() > VALUES_MAX { "…, " } else { "" };
        format!("{} {} ({more}{shown})", metric.name, metric.phase)
    });
    let metrics: Vec<String> = metrics.collect();
    match analysis.message.as_str() {
        "" => metrics.join("; "),
        message => format!("{message}: {}", metrics.join("; ")),
    }
}

fn totals(out: &mut String, story: &Story) {
    let totals = &story.totals;
    let mut table: Vec<Vec<String>> = Vec::new();
    let mut line = |name: &str, value: String| table.push(vec![format!("  {name}"), value]);
    line("outcome", story.outcome.text());
    if let Some(after) = totals.promoted_after {
        let worst = totals
            .promoted_after_at_worst
            .map(|worst| format!(", {} when everything takes longest", seconds(worst)));
        line(
            "full promotion",
            format!("after {}{}", seconds(after), worst.unwrap_or_default()),
        );
    } else if let Some(worst) = totals.promoted_after_at_worst {
        line(
            "full promotion",
            format!(
                "not here; {} without the faults, when everything takes longest",
                seconds(worst)
            ),
        );
    }
    if let Some(at) = totals.aborted_at {
        let step = totals
            .caught_at_step
            .map(|step| format!(", caught at step {step}"))
            .unwrap_or_default();
        let back = totals
            .rolled_back_after
            .map(|after| format!(", all requests back after {}", seconds(after)));
        line(
            "rollback",
            format!(
                "aborted at {}{step}{}",
                seconds(at),
                back.unwrap_or_else(|| ", not complete".to_owned())
            ),
        );
    } else if story
        .faults
        .iter()
        .any(|fault| fault.of_version && fault.began.is_some())
    {
        let stopped = match story.totals.promoted_after {
            Some(_) => "none: no step caught the fault".to_owned(),
            None => format!(
                "none: it stopped with at most {}% of requests on the new version",
                totals.peak_share
            ),
        };
        line("rollback", stopped);
    }
    if let Some(worst) = totals.rollback_at_worst {
        line(
            "rollback at worst",
            format!("{} from an abort, at step {}", seconds(worst.seconds), worst.step),
        );
    }
    if !totals.catches.is_empty() {
        let catches = totals
            .catches
            .iter()
            .map(|catch| match (catch.caught_at, catch.rolled_back_after) {
                (Some(at), Some(after)) => format!(
                    "from step {}: caught at {at}, back after {}",
                    catch.step,
                    seconds(after)
                ),
                (Some(at), None) => format!("from step {}: caught at {at}, not back in time", catch.step),
                (None, _) => format!("from step {}: not caught", catch.step),
            });
        line("if all requests fail", catches.collect::<Vec<_>>().join("\n"));
    }
    line(
        "pods",
        format!("at most {}, at least {} ready", totals.peak_pods, totals.least_ready),
    );
    line("requests", requests(story));
    out.push_str("Totals\n");
    out.push_str(&aligned(&split(table)));
}

fn requests(story: &Story) -> String {
    let totals = &story.totals;
    let failed = format!("{:.2}% failed", totals.failed_share * 100.0);
    match &totals.first_loss {
        None => format!("{failed}, none for want of a ready pod"),
        Some((at, service)) => format!(
            "{failed}, {} of them for want of a ready pod behind Service {service}, from {} on",
            totals.lost_requests.ceil(),
            seconds(*at)
        ),
    }
}

/// Rows whose last cell has several lines, one row each.
fn split(table: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for row in table {
        let [name, value] = row.as_slice() else { continue };
        for (index, line) in value.lines().enumerate() {
            let name = if index == 0 { name.clone() } else { "  ".to_owned() };
            rows.push(vec![name, line.to_owned()]);
        }
    }
    rows
}

fn expectations(out: &mut String, story: &Story, ascii: bool) {
    if story.expectations.is_empty() {
        return;
    }
    out.push_str("\nExpectations\n");
    let (yes, no) = if ascii { ("+", "x") } else { ("✔", "✖") };
    for checked in &story.expectations {
        let icon = if checked.held { yes } else { no };
        let verdict = if checked.held { "holds" } else { "does not hold" };
        let _ = writeln!(out, "  {icon} {} {verdict}: {}", checked.expected, checked.found);
    }
}

/// Cells in aligned columns, two blanks apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(
                line,
                "{cell}{:padding$}",
                "",
                padding = width - cell.chars().count() + 2
            );
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
