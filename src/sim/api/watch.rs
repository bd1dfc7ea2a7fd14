//! Watches: the log of events they start from, and the queue of each of them.
//!
//! An event is queued to every watch it concerns in the moment of the write, in the order the watches were opened; the
//! fault schedule is asked about each. A queue keeps its order: a delayed event delays those after it.

use super::{
    faults::{EventFate, EventInfo, Faults, Happening, WatchInfo},
    kinds::Kind,
    log::{Event, Log, Selection},
    stored::{Form, Stored, encode},
};
use axum::body::Bytes;
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};
use tokio::time::Instant;

/// How a stream ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// In order.
    Closed,
    /// With an error: the client was cut.
    Cut,
}

struct Line {
    due: Option<Instant>,
    text: Bytes,
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<Line>,
    /// Nothing may be delivered before what is already queued.
    last_due: Option<Instant>,
    end: Option<End>,
    waker: Option<Waker>,
    is_abandoned: bool,
}

/// What waits to be read from one watch.
#[derive(Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// What a reader finds.
pub(super) enum Next {
    Line(Bytes),
    /// The next line is not due before this time.
    NotBefore(Instant),
    End(End),
    /// Nothing is queued.
    Nothing,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: Bytes, delay: Option<Duration>) {
        let mut lines = self.lock();
        if let Some(delay) = delay {
            let due = Instant::now() + delay;
            lines.last_due = lines.last_due.max(Some(due));
        }
        let due = lines.last_due;
        lines.lines.push_back(Line { due, text });
        lines.wake();
    }

    pub(super) fn end(&self, end: End) {
        let mut lines = self.lock();
        if end == End::Cut {
            lines.lines.clear();
        }
        if lines.end != Some(End::Cut) {
            lines.end = Some(end);
        }
        lines.wake();
    }

    pub(super) fn abandon(&self) {
        self.lock().is_abandoned = true;
    }

    fn is_over(&self) -> bool {
        let lines = self.lock();
        lines.is_abandoned || lines.end.is_some()
    }

    /// Takes the next line; if there is none, `waker` is woken when something changes.
    pub(super) fn take(&self, waker: &Waker) -> Next {
        let mut lines = self.lock();
        if let Some(line) = lines.lines.front() {
            if let Some(due) = line.due.filter(|due| *due > Instant::now()) {
                lines.waker = Some(waker.clone());
                return Next::NotBefore(due);
            }
            if let Some(line) = lines.lines.pop_front() {
                return Next::Line(line.text);
            }
        }
        if let Some(end) = lines.end {
            return Next::End(end);
        }
        lines.waker = Some(waker.clone());
        Next::Nothing
    }
}

impl Lines {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One open watch.
#[derive(Debug)]
struct Watch {
    info: WatchInfo,
    selection: Selection,
    form: Form,
    session: u64,
    queue: Arc<Queue>,
}

/// All open watches.
#[derive(Debug, Default)]
pub(super) struct Hub {
    watches: BTreeMap<Kind, Vec<Watch>>,
    opened: u64,
    /// Clients from whom an event was kept, and its version: they must list again.
    lost: BTreeMap<(Arc<str>, Kind), u64>,
    /// The version every watch has been told of, for bookmarks.
    pub(super) told: Arc<AtomicU64>,
}

impl Hub {
    /// Queues an event to every watch it concerns.
    pub(super) fn publish(&mut self, kind: Kind, event: &Event, mut faults: Option<&mut dyn Faults>) {
        if let Some(watches) = self.watches.get_mut(&kind) {
            watches.retain(|watch| !watch.queue.is_over());
            for watch in watches {
                let Some((happening, stored)) = event.seen_by(&watch.selection) else {
                    continue;
                };
                let info = EventInfo {
                    happening,
                    namespace: &event.namespace,
                    name: &event.name,
                    version: event.version,
                };
                let fate = match &mut faults {
                    Some(faults) => faults.on_event(&watch.info, &info),
                    None => EventFate::Deliver,
                };
                let line = || line(happening, &stored, watch.form);
                match fate {
                    EventFate::Deliver => watch.queue.push(line(), None),
                    EventFate::Delay(delay) => watch.queue.push(line(), Some(delay)),
                    EventFate::Repeat => {
                        watch.queue.push(line(), None);
                        watch.queue.push(line(), None);
                    }
                    EventFate::Break => watch.queue.end(End::Closed),
                    EventFate::Drop => {
                        self.lost.insert((Arc::clone(&watch.info.actor), kind), event.version);
                        watch.queue.end(End::Closed);
                    }
                    EventFate::Expire => {
                        watch.queue.push(expired_line(event.version), None);
                        watch.queue.end(End::Closed);
                    }
                }
            }
        }
        self.told.store(event.version, Ordering::Relaxed);
    }

    /// Whether a watch of this client from this version would miss an event that was kept from it.
    pub(super) fn has_lost(&self, actor: &Arc<str>, kind: Kind, since: u64) -> bool {
        self.lost
            .get(&(Arc::clone(actor), kind))
            .is_some_and(|version| since < *version)
    }

    /// Opens a watch whose first lines are `initial`, followed by what the log has since `since`.
    pub(super) fn open(&mut self, opening: Opening, log: &Log, initial: Vec<Bytes>) -> Arc<Queue> {
        self.opened += 1;
        let queue = Arc::new(Queue::default());
        initial.into_iter().for_each(|line| queue.push(line, None));
        let Opening {
            kind,
            actor,
            session,
            selection,
            form,
            since,
        } = opening;
        for event in log.since(since) {
            if let Some((happening, stored)) = event.seen_by(&selection) {
                queue.push(line(happening, &stored, form), None);
            }
        }
        let info = WatchInfo {
            id: self.opened,
            actor,
            kind,
            namespace: selection.namespace.clone().unwrap_or_default(),
        };
        self.watches.entry(kind).or_default().push(Watch {
            info,
            selection,
            form,
            session,
            queue: Arc::clone(&queue),
        });
        queue
    }

    /// Ends the watches of these sessions.
    pub(super) fn cut(&mut self, sessions: &[u64]) {
        for watch in self.watches.values().flatten() {
            if sessions.contains(&watch.session) {
                watch.queue.end(End::Cut);
            }
        }
    }

    /// Ends the watches of a kind, or of all.
    pub(super) fn break_all(&mut self, kind: Option<Kind>) {
        let watches = self
            .watches
            .iter()
            .filter(|(of, _)| kind.is_none_or(|kind| kind == **of));
        watches
            .flat_map(|(_, watches)| watches)
            .for_each(|watch| watch.queue.end(End::Closed));
    }
}

/// What a new watch asks for.
pub(super) struct Opening {
    pub(super) kind: Kind,
    pub(super) actor: Arc<str>,
    pub(super) session: u64,
    pub(super) selection: Selection,
    pub(super) form: Form,
    pub(super) since: u64,
}

/// An event as it stands in a stream.
pub(super) fn line(happening: Happening, stored: &Stored, form: Form) -> Bytes {
    let object = stored.encoded(form);
    let head: &[u8] = match happening {
        Happening::Added => br#"{"type":"ADDED","object":"#,
        Happening::Modified => br#"{"type":"MODIFIED","object":"#,
        Happening::Deleted => br#"{"type":"DELETED","object":"#,
    };
    [head, object, b"}\n"].concat().into()
}

/// A bookmark; the one after the initial events says so.
pub(super) fn bookmark(kind: Kind, form: Form, version: u64, ends_initial: bool) -> Bytes {
    let facts = kind.facts();
    let (api_version, kind) = match form {
        Form::Whole => (facts.api_version, facts.kind),
        Form::Metadata => ("meta.k8s.io/v1", "PartialObjectMetadata"),
    };
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if ends_initial && let Some(metadata) = metadata.as_object_mut() {
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        metadata.insert("annotations".to_owned(), annotations);
    }
    let event = json!({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": api_version, "metadata": metadata}});
    [&encode(&event), &b"\n"[..]].concat().into()
}

/// The error that tells a client to list again.
pub(super) fn expired_line(version: u64) -> Bytes {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410,
        "message": format!("too old resource version: {version}")});
    let event = json!({"type": "ERROR", "object": status});
    [&encode(&event), &b"\n"[..]].concat().into()
}
