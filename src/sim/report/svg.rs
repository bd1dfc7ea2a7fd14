//! The story as a picture: the new version's share of requests, the pods of both versions, analyses, faults and steps
//! over time. One file without scripts, fonts or links.

use crate::sim::timeline::{Frame, Story, seconds};
use std::fmt::Write as _;

/// Width of the plotted area.
const WIDTH: f64 = 860.0;
/// Left edge of the plotted area.
const LEFT: f64 = 70.0;
/// Top and height of the chart of shares.
const SHARES: (f64, f64) = (70.0, 170.0);
/// Top and height of the chart of pods.
const PODS: (f64, f64) = (275.0, 110.0);
/// Top of the lanes below.
const LANES: f64 = 405.0;
/// Height of a lane.
const LANE: f64 = 22.0;
/// Ticks of the time axis, about.
const TICKS: f64 = 8.0;
/// Lanes of analyses that are drawn.
const ANALYSES_MAX: usize = 12;

struct Canvas<'s> {
    story: &'s Story,
    end: f64,
    out: String,
}

/// The picture.
pub fn render(story: &Story) -> String {
    let end = story.frames.last().map_or(1.0, |frame| frame.at).max(1.0);
    let lanes = 1 + story.analyses.len().min(ANALYSES_MAX) + story.faults.len();
    let height = LANES + LANE * lanes as f64 + 70.0;
    let mut canvas = Canvas {
        story,
        end,
        out: String::new(),
    };
    canvas.open(height);
    canvas.axis(height);
    canvas.shares();
    canvas.pods();
    canvas.lanes();
    canvas.line("</svg>");
    canvas.out
}

impl Canvas<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + WIDTH * at / self.end
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let escaped = escaped(text);
        self.line(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{escaped}</text>"#
        ));
    }

    fn open(&mut self, height: f64) {
        let width = LEFT + WIDTH + 30.0;
        self.line(&format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" font-family="sans-serif" font-size="12">"#
        ));
        let (rollout, from, to) = (&self.story.rollout, &self.story.from, &self.story.to);
        let title = format!("Rollout {rollout}: {from} → {to}");
        let subtitle = format!(
            "{}, {}, seed {}",
            self.story.strategy,
            self.story.outcome.text(),
            self.story.seed
        );
        self.line(&format!("<title>{}</title>", escaped(&title)));
        self.line(
            "<style>.h{font-size:16px;font-weight:bold}.s{fill:#5a6472}.a{fill:#5a6472;font-size:11px}.e{text-anchor:end}\
             .m{text-anchor:middle}.g{stroke:#dfe3e8;fill:none}.b{fill:#ffffff}</style>",
        );
        self.line(&format!(r#"<rect class="b" width="{width}" height="{height}"/>"#));
        self.text(LEFT, 26.0, "h", &title);
        self.text(LEFT, 44.0, "s", &subtitle);
    }

    /// Vertical lines at round times, and where steps begin.
    fn axis(&mut self, height: f64) {
        let tick = round_tick(self.end / TICKS);
        let bottom = height - 40.0;
        let mut at = 0.0;
        while at <= self.end {
            let x = self.x(at);
            self.line(&format!(r#"<path class="g" d="M{x:.1} {} V{bottom:.1}"/>"#, SHARES.0));
            self.text(x, bottom + 16.0, "a m", &seconds(at));
            at += tick;
        }
    }

    /// A stepped line: at each frame the value of the frame.
    fn stepped(&self, (top, height): (f64, f64), most: f64, value: impl Fn(&Frame) -> f64) -> String {
        let y = |value: f64| top + height * (1.0 - value / most.max(1.0));
        let mut path = String::new();
        let mut last = None;
        for frame in &self.story.frames {
            let (x, y) = (self.x(frame.at), y(value(frame)));
            if last == Some(y) {
                continue;
            }
            // Writing to a string cannot fail.
            let _ = match last {
                None => write!(path, "M{x:.1} {y:.1}"),
                Some(_) => write!(path, "H{x:.1}V{y:.1}"),
            };
            last = Some(y);
        }
        let _ = write!(path, "H{:.1}", self.x(self.end));
        path
    }

    fn scale(&mut self, (top, height): (f64, f64), most: f64, unit: &str, name: &str) {
        for part in [0.0, 0.5, 1.0] {
            let y = top + height * (1.0 - part);
            let (left, right) = (LEFT, LEFT + WIDTH);
            self.line(&format!(r#"<path class="g" d="M{left} {y:.1} H{right}"/>"#));
            self.text(LEFT - 8.0, y + 4.0, "a e", &format!("{}{unit}", most * part));
        }
        self.text(LEFT + 6.0, top + 14.0, "a", name);
    }

    fn shares(&mut self) {
        self.scale(
            SHARES,
            100.0,
            "%",
            "requests that the new version gets (line: the weight that was ordered)",
        );
        let bottom = SHARES.0 + SHARES.1;
        let real = self.stepped(SHARES, 100.0, |frame| frame.share);
        self.line(&format!(
            r##"<path d="{real}V{bottom:.1}H{:.1}Z" fill="#2f7dd1" fill-opacity="0.35" stroke="none"/>"##,
            LEFT
        ));
        let ordered = self.stepped(SHARES, 100.0, |frame| frame.weight as f64);
        self.line(&format!(
            r##"<path d="{ordered}" fill="none" stroke="#1a5ca3" stroke-width="1.5"/>"##
        ));
        let lost = self.stepped(SHARES, 100.0, |frame| frame.lost);
        if self.story.frames.iter().any(|frame| frame.lost > 0.0) {
            self.line(&format!(
                r##"<path d="{lost}" fill="none" stroke="#c62828" stroke-width="2"/>"##
            ));
        }
        let acts: Vec<(f64, String)> = self.story.acts.iter().map(|act| (act.at, act.does.clone())).collect();
        for (at, does) in acts {
            let x = self.x(at);
            self.line(&format!(
                r##"<circle cx="{x:.1}" cy="{bottom:.1}" r="4" fill="#6b7683"><title>{}</title></circle>"##,
                escaped(&does)
            ));
        }
    }

    fn pods(&mut self) {
        // Even, so that the middle of the scale is a number of pods.
        let most = ((self.story.totals.peak_pods.max(1) + 1) / 2 * 2) as f64;
        self.scale(PODS, most, "", "ready pods: old (grey), new (green)");
        let old = self.stepped(PODS, most, |frame| (frame.stable.ready + frame.other.ready) as f64);
        let new = self.stepped(PODS, most, |frame| frame.new.ready as f64);
        self.line(&format!(
            r##"<path d="{old}" fill="none" stroke="#6b7683" stroke-width="2"/>"##
        ));
        self.line(&format!(
            r##"<path d="{new}" fill="none" stroke="#2e8b57" stroke-width="2"/>"##
        ));
    }

    fn lanes(&mut self) {
        self.steps(LANES);
        let mut y = LANES + LANE;
        let analyses: Vec<_> = self.story.analyses.iter().take(ANALYSES_MAX).cloned().collect();
        for analysis in analyses {
            let color = match analysis.phase.as_str() {
                "Successful" => "#2e8b57",
                "Failed" | "Error" => "#c62828",
                _ => "#c98a00",
            };
            let metrics: Vec<&str> = analysis.metrics.iter().map(|metric| metric.name.as_str()).collect();
            let label = format!("{} {}", metrics.join(", "), analysis.phase);
            self.bar(y, (analysis.began, analysis.ended.unwrap_or(self.end)), color, &label);
            y += LANE;
        }
        let faults: Vec<_> = self.story.faults.clone();
        for fault in faults {
            if let Some(began) = fault.began {
                self.bar(
                    y,
                    (began, fault.ended.unwrap_or(self.end)),
                    "#8e3bb0",
                    &format!("fault: {}", fault.fault),
                );
            }
            y += LANE;
        }
    }

    /// The steps, one box each.
    fn steps(&mut self, y: f64) {
        let mut boxes: Vec<(f64, f64, i64, String)> = Vec::new();
        for frame in &self.story.frames {
            let Some(step) = frame.step else { continue };
            match boxes.last_mut() {
                Some((_, end, same, _)) if *same == step => *end = frame.at,
                _ => {
                    if let Some((_, end, ..)) = boxes.last_mut() {
                        *end = frame.at;
                    }
                    boxes.push((frame.at, frame.at, step, frame.doing.clone()));
                }
            }
        }
        if let Some((_, end, ..)) = boxes.last_mut() {
            *end = self.end;
        }
        for (index, (from, to, step, doing)) in boxes.into_iter().enumerate() {
            let (x, width) = (self.x(from), self.x(to) - self.x(from));
            let fill = if index % 2 == 0 { "#eef2f6" } else { "#dde5ed" };
            self.line(&format!(
                r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="18" fill="{fill}"><title>{step} {}</title></rect>"#,
                escaped(&doing)
            ));
            let shown = [format!("{step} {doing}"), step.to_string()];
            if let Some(text) = shown.iter().find(|text| text.chars().count() as f64 * 6.2 < width) {
                self.text(x + 4.0, y + 13.0, "a", text);
            }
        }
    }

    fn bar(&mut self, y: f64, (from, to): (f64, f64), color: &str, label: &str) {
        let (x, width) = (self.x(from), (self.x(to) - self.x(from)).max(3.0));
        self.line(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="16" rx="3" fill="{color}" fill-opacity="0.75"/>"#
        ));
        let right = x + width + 6.0;
        let fits = right + label.chars().count() as f64 * 6.2 < LEFT + WIDTH + 25.0;
        if fits {
            self.text(right, y + 12.0, "a", label);
        } else {
            self.text(x - 6.0, y + 12.0, "a e", label);
        }
    }
}

/// A round time of about this many seconds.
fn round_tick(about: f64) -> f64 {
    const ROUND: [f64; 16] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0,
    ];
    ROUND.into_iter().find(|round| *round >= about).unwrap_or(86_400.0)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
