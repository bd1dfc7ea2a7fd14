//! Records Kubernetes events. A repeated event raises the count of the first instead of adding another object.
//!
//! Events are news, not state: one that cannot be written is logged and dropped, and never fails a pass.

use crate::{
    clock::SharedClock,
    k8s::{action::objects::answer, error::ApiError},
    plan::{EventKind, EventRecord},
};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Client,
    api::{Patch, PatchParams, PostParams},
    core::Request,
};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// `Event.source.component`; clients filter by it.
pub const COMPONENT: &str = "rollouts-controller";
/// Repetitions within this time raise a count; the server forgets events after an hour.
const AGGREGATED_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Events whose repetition is recognised; protects memory.
const REMEMBERED_MAX: usize = 1024;
/// The API server's limit on `Event.message`.
const MESSAGE_BYTES_MAX: usize = 1024;
/// More events than any pass has reason for; protects the API server.
const EVENTS_PER_PLAN_MAX: usize = 64;

/// Writes events.
pub struct EventRecorder {
    client: Client,
    clock: SharedClock,
    /// Name of the replica, for `Event.reportingInstance`.
    instance: String,
    recent: Mutex<Recent>,
    serial: AtomicU64,
}

impl fmt::Debug for EventRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRecorder")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Identity {
    uid: Option<String>,
    kind: EventKindKey,
    reason: String,
    message: String,
}

type EventKindKey = &'static str;

#[derive(Clone, Debug)]
struct Seen {
    name: String,
    count: u32,
    last: Timestamp,
}

#[derive(Debug, Default)]
struct Recent {
    seen: HashMap<Identity, Seen>,
    order: VecDeque<Identity>,
}

impl EventRecorder {
    /// A recorder for this replica.
    pub fn new(client: Client, clock: SharedClock, instance: impl Into<String>) -> Self {
        Self {
            client,
            clock,
            instance: instance.into(),
            recent: Mutex::default(),
            serial: AtomicU64::new(0),
        }
    }

    /// Records events in order; returns how many were accepted.
    pub async fn record(&self, events: &[EventRecord]) -> usize {
        let mut accepted = 0;
        for event in events.iter().take(EVENTS_PER_PLAN_MAX) {
            match self.record_one(event).await {
                Ok(()) => accepted += 1,
                Err(error) => {
                    tracing::warn!(about = %event.about, reason = %event.reason, %error, "An event could not be recorded.");
                }
            }
        }
        accepted
    }

    async fn record_one(&self, event: &EventRecord) -> Result<(), ApiError> {
        let now = self.clock.now();
        let identity = Identity {
            uid: event.uid.clone(),
            kind: kind_text(event.kind),
            reason: event.reason.clone(),
            message: event.message.clone(),
        };
        let namespace = event.about.namespace.as_deref().unwrap_or("default");
        let requests = Request::new(format!("/api/v1/namespaces/{namespace}/events"));
        if let Some(seen) = self.seen(&identity, now) {
            let patch = Patch::Merge(json!({"count": seen.count + 1, "lastTimestamp": time(now)}));
            let request = requests
                .patch(&seen.name, &PatchParams::default(), &patch)
                .map_err(kube::Error::BuildRequest)?;
            match answer(self.client.request::<Value>(request)).await {
                Err(ApiError::Refused { code: 404, .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    self.remember(
                        identity,
                        Seen {
                            name: seen.name,
                            count: seen.count + 1,
                            last: now,
                        },
                    );
                    return Ok(());
                }
            }
        }
        let name = self.name(event, now);
        let body = serde_json::to_vec(&self.object(event, namespace, &name, now));
        let body = body.map_err(|error| ApiError::Malformed(error.to_string()))?;
        let request = requests
            .create(&PostParams::default(), body)
            .map_err(kube::Error::BuildRequest)?;
        answer(self.client.request::<Value>(request)).await?;
        self.remember(
            identity,
            Seen {
                name,
                count: 1,
                last: now,
            },
        );
        Ok(())
    }

    /// Unique, as client-go forms it: the object's name and a number from the time.
    fn name(&self, event: &EventRecord, now: Timestamp) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u128::try_from(now.as_nanosecond()).unwrap_or_default() + u128::from(serial);
        // A name may have 253 bytes; object names are ASCII.
        let about: String = event.about.name.chars().take(220).collect();
        format!("{about}.{nanoseconds:x}")
    }

    fn object(&self, event: &EventRecord, namespace: &str, name: &str, now: Timestamp) -> Value {
        let about = &event.about;
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.api_version, "kind": about.kind, "name": about.name,
                "namespace": about.namespace, "uid": event.uid,
            },
            "type": kind_text(event.kind),
            "reason": event.reason,
            "message": shortened(&event.message),
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self.instance,
            "firstTimestamp": time(now),
            "lastTimestamp": time(now),
            "count": 1,
        })
    }

    fn seen(&self, identity: &Identity, now: Timestamp) -> Option<Seen> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .seen
            .get(identity)
            .filter(|seen| now.duration_since(seen.last) < AGGREGATED_FOR)
            .cloned()
    }

    fn remember(&self, identity: Identity, seen: Seen) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.seen.insert(identity.clone(), seen).is_none() {
            recent.order.push_back(identity);
        }
        while recent.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = recent.order.pop_front() {
                recent.seen.remove(&oldest);
            }
        }
    }
}

/// `Event.type`.
pub fn kind_text(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Normal => "Normal",
        EventKind::Warning => "Warning",
    }
}

fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default()
}
