//! What the demo prints: one line for each thing that happens, with the seconds since it began.

use crate::cluster::Stage;
use std::{
    io::{IsTerminal, Write},
    sync::OnceLock,
    time::Instant,
};

static START: OnceLock<(Instant, bool)> = OnceLock::new();

pub(crate) fn start(no_color: bool) {
    let colour = !no_color && std::io::stdout().is_terminal();
    START.get_or_init(|| (Instant::now(), colour));
}

fn paint(code: &str, text: &str) -> String {
    let colour = START.get().is_some_and(|(_, colour)| *colour);
    if colour {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

fn line(text: &str) {
    let seconds = START.get().map_or(0.0, |(start, _)| start.elapsed().as_secs_f64());
    // A reader that went away is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{} {text}", paint("2", &format!("{seconds:7.1}s")));
}

pub(crate) fn act(title: &str) {
    line("");
    line(&paint("1;36", title));
}

pub(crate) fn note(text: &str) {
    line(text);
}

pub(crate) fn event(reason: &str, message: &str) {
    line(&format!("  {} {message}", paint("33", reason)));
}

pub(crate) fn tree(text: &str) {
    for row in text.lines() {
        line(&format!("  {row}"));
    }
}

pub(crate) fn seen(text: &str) {
    line(&format!("{} {text}", paint("1;32", "✔")));
}

pub(crate) fn failed(text: &str) {
    line(&format!("{} {text}", paint("1;31", "✖")));
}

/// A weight and the share of real responses beside it, both as bars of 20 characters.
pub(crate) fn share(weight: i64, measured: f64, requests: u64) {
    let bar = |percent: f64| {
        let filled = (percent / 5.0).round().clamp(0.0, 20.0) as usize;
        format!("{}{}", "█".repeat(filled), "░".repeat(20 - filled))
    };
    line(&format!("  weight   {} {weight:>3} %", bar(weight as f64)));
    line(&format!(
        "  measured {} {:>5.1} % of {requests} responses",
        bar(measured),
        measured
    ));
}

pub(crate) fn try_next(stage: &Stage) {
    act("Everything stays up until Ctrl-C. Try next:");
    let kubeconfig = stage.kubeconfig.display();
    note(&format!("  export KUBECONFIG={kubeconfig}"));
    note("  target/debug/tidegate get rollout shop -n shop --watch");
    note("  target/debug/tidegate set image shop shop=demo:v4-slow500 -n shop");
    note("  target/debug/tidegate promote shop -n shop --full");
    note(&format!("  curl -H 'Host: shop.example.com' {}/", stage.ingress));
    note(&format!(
        "  git clone {}   # edit shop/rollout.yaml, commit, push",
        stage.repository_url
    ));
}

pub(crate) fn try_later() {
    act("Try next:");
    note("  examples/demo/run --keep       and then kubectl, the plugin and git on the running cluster");
    note("  examples/demo/run --kills 20   the same with the controller killed 20 times");
}
