//! What happened in a run, as a story to read: when, who, what, and in the end which promise broke.

use crate::{
    case::Case,
    oracle::{CONTROLLERS, Violation, scene},
};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate::{
    api::well_known,
    json::At as _,
    plan,
    sim::api::{
        faults::{EventFate, EventInfo, RequestFate, RequestInfo, Verb, WatchInfo},
        kinds::Kind,
        observe::Commit,
    },
};

/// A story in the making. Cloning shares it. Nothing is kept unless it is to be told.
#[derive(Clone, Debug, Default)]
pub struct Story {
    lines: Option<Arc<Mutex<Vec<Line>>>>,
}

#[derive(Debug)]
struct Line {
    at: Timestamp,
    who: String,
    what: String,
}

impl Story {
    /// A story that will be told.
    pub fn told() -> Self {
        Self {
            lines: Some(Arc::default()),
        }
    }

    /// Adds a line, if the story is to be told.
    pub fn line(&self, at: Timestamp, who: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let line = Line {
                at,
                who: who.to_owned(),
                what: what(),
            };
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    /// A request that did not go as it should.
    pub fn fate(&self, at: Timestamp, request: &RequestInfo<'_>, fate: &RequestFate) {
        self.line(at, request.actor, || {
            let asked = format!(
                "{:?} {} {} {}",
                request.verb,
                request.kind.map_or_else(String::new, |kind| kind.to_string()),
                request.name,
                request.subresource
            );
            let fate = match fate {
                RequestFate::Pass => "served".to_owned(),
                RequestFate::Delay(time) => format!("arrives {time:?} later"),
                RequestFate::DelayAnswer(time) => format!("answered {time:?} later"),
                RequestFate::Refuse(refused) => format!("refused with {}", refused.code),
                RequestFate::Lose { applied: true, .. } => "done, but the answer is lost".to_owned(),
                RequestFate::Lose { applied: false, .. } => "lost".to_owned(),
                RequestFate::Kill { applied: true } => "done, and the replica is killed".to_owned(),
                RequestFate::Kill { applied: false } => "not done: the replica is killed".to_owned(),
            };
            format!("[{}: {fate}]", asked.trim())
        });
    }

    /// An event that did not come as it should.
    pub fn event(&self, at: Timestamp, watch: &WatchInfo, event: &EventInfo<'_>, fate: EventFate) {
        self.line(at, &watch.actor, || {
            format!(
                "[event {:?} of {} {}: {fate:?}]",
                event.happening, watch.kind, event.name
            )
        });
    }

    /// An accepted write.
    pub fn commit(&self, commit: &Commit) {
        let about_lease = commit.key.kind == Kind::Lease && commit.actor.starts_with(CONTROLLERS);
        let noise = matches!(commit.key.kind, Kind::Event | Kind::EventsEvent | Kind::EndpointSlice);
        if self.lines.is_none() || noise || about_lease {
            return;
        }
        if commit.key.kind == Kind::Pod && commit.verb != Verb::Patch {
            return;
        }
        if let Some(what) = told(commit) {
            self.line(commit.at, &commit.actor, || what);
        }
    }

    /// The story as text, times counted from `begin`.
    pub fn text(&self, begin: Timestamp) -> String {
        let Some(lines) = &self.lines else {
            return String::new();
        };
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        let mut last: Option<(&str, &str)> = None;
        for line in lines.iter() {
            if last == Some((&line.who, &line.what)) {
                continue;
            }
            last = Some((&line.who, &line.what));
            let seconds = line.at.duration_since(begin).as_secs_f64();
            let _ = writeln!(text, "{seconds:>9.3}s  {:<22} {}", line.who, line.what);
        }
        text
    }
}

/// What a write changed, in a few words.
fn told(commit: &Commit) -> Option<String> {
    let key = &commit.key;
    let name = format!("{} {}", key.kind, key.name);
    let Some(after) = commit.after.as_deref() else {
        return Some(format!("deletes {name}"));
    };
    let before = commit.before.as_deref().unwrap_or(&Value::Null);
    let created = commit.before.is_none();
    let verb = if created { "creates" } else { "writes" };
    let detail = match key.kind {
        Kind::Ingress => format!("weight {} to {}", scene::weight_of(before), scene::weight_of(after)),
        Kind::Service => format!(
            "selects {:?} to {:?}",
            scene::selected_hash(before),
            scene::selected_hash(after)
        ),
        Kind::ReplicaSet => sizes(before, after, created),
        Kind::Pod => {
            let ready = |pod: &Value| pod.at("/status/conditions/0/status") == Some(&Value::String("True".to_owned()));
            if ready(before) == ready(after) {
                return None;
            }
            format!("ready: {}", ready(after))
        }
        Kind::Rollout if commit.subresource == "status" => status(before, after),
        Kind::Application => application(before, after),
        _ => changes(before, after),
    };
    Some(format!("{verb} {name}: {detail}"))
}

fn sizes(before: &Value, after: &Value, created: bool) -> String {
    let of = |set: &Value, pointer: &str| set.at(pointer).and_then(Value::as_i64).unwrap_or(0);
    let mut text = String::new();
    let size = |set: &Value| of(set, "/spec/replicas");
    if created || size(before) != size(after) {
        let _ = write!(text, "size {} to {} ", size(before), size(after));
    }
    let available = |set: &Value| of(set, "/status/availableReplicas");
    if available(before) != available(after) {
        let _ = write!(text, "available {} to {} ", available(before), available(after));
    }
    let deadline = |set: &Value| {
        let annotations = set.at("/metadata/annotations");
        annotations
            .and_then(|all| all.get(well_known::SCALE_DOWN_DEADLINE))
            .cloned()
    };
    if deadline(before) != deadline(after) {
        let _ = write!(text, "deadline {} ", deadline(after).unwrap_or_default());
    }
    text
}

fn status(before: &Value, after: &Value) -> String {
    let quiet = [
        "conditions",
        "selector",
        "observedGeneration",
        "HPAReplicas",
        "duration",
    ];
    let fields = |object: &Value| {
        object
            .get("status")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (old, new) = (fields(before), fields(after));
    let mut text = String::new();
    for (name, value) in new.iter().filter(|(name, _)| !quiet.contains(&name.as_str())) {
        if old.get(name) != Some(value) {
            let _ = write!(text, "{name}={value} ");
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        let _ = write!(text, "{name} gone ");
    }
    text
}

/// The parts of an Application that tell what is going on.
fn application(before: &Value, after: &Value) -> String {
    let parts = [
        "/spec",
        "/operation",
        "/metadata/annotations",
        "/status/sync/status",
        "/status/sync/revision",
        "/status/health/status",
        "/status/operationState/phase",
        "/status/operationState/message",
        "/status/operationState/syncResult/revision",
        "/status/hold",
        "/status/conditions",
    ];
    let mut text = String::new();
    for part in parts {
        let value = after.at(part).unwrap_or(&Value::Null);
        if before.at(part).unwrap_or(&Value::Null) != value {
            let shown: String = value.to_string().chars().take(400).collect();
            let _ = write!(text, "{}={shown} ", part.trim_start_matches("/status"));
        }
    }
    text
}

fn changes(before: &Value, after: &Value) -> String {
    let ignored = |patch: &mut Value| {
        if let Some(Value::Object(metadata)) = patch.get_mut("metadata") {
            metadata.remove("resourceVersion");
            metadata.remove("generation");
            metadata.remove("managedFields");
        }
    };
    if before.is_null() {
        return String::new();
    }
    let mut patch = plan::merge_patch(before, after).unwrap_or_default();
    ignored(&mut patch);
    let text = patch.to_string();
    let short: String = text.chars().take(300).collect();
    short
}

/// A failed case as a page to read.
pub fn page(case: &Case, violation: &Violation, story: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:?} rollout, {} controller(s), seed {}",
        case.family, case.controllers, case.seed
    );
    let spec = &case.rollout["spec"];
    let _ = writeln!(
        text,
        "replicas {}, deadline {} (abort {}), strategy {}",
        spec["replicas"], spec["progressDeadlineSeconds"], spec["progressDeadlineAbort"], spec["strategy"]
    );
    for field in ["rollbackWindow", "workloadRef"] {
        if !spec[field].is_null() {
            let _ = writeln!(text, "{field} {}", spec[field]);
        }
    }
    for fault in &case.faults {
        let _ = writeln!(
            text,
            "  from {:.1}s to {:.1}s: {}",
            fault.from as f64 / 1000.0,
            fault.to as f64 / 1000.0,
            fault.flaw
        );
    }
    for event in &case.events {
        let _ = writeln!(text, "  at {:.3}s: {}", event.at as f64 / 1000.0, event.deed);
    }
    let _ = write!(
        text,
        "\n{story}\n{} broke at {}: {violation}\n",
        violation.rule, violation.at
    );
    text
}
