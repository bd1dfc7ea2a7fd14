//! Where a fault schedule takes hold: before each request, and before each watch event.
//!
//! The server consults one [`Faults`] at well-defined points and does what it says; without one nothing goes wrong. The
//! points are reached in a deterministic order, so a schedule that draws from a seeded generator is reproducible.

use super::{kinds::Kind, refusal::Refused};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// What a client wants done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// `POST`.
    Create,
    /// `PUT`.
    Update,
    /// `PATCH` by merge, JSON or strategic merge patch.
    Patch,
    /// `PATCH` by server-side apply.
    Apply,
    /// `DELETE` of one object.
    Delete,
    /// `DELETE` of a collection.
    DeleteCollection,
    /// Read which kinds are served.
    Discover,
}

impl Verb {
    /// Whether the request can change anything.
    pub fn is_write(self) -> bool {
        match self {
            Self::Get | Self::List | Self::Watch | Self::Discover => false,
            Self::Create | Self::Update | Self::Patch | Self::Apply | Self::Delete | Self::DeleteCollection => true,
        }
    }
}

/// A request, as it reaches the server.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    /// Counts requests of all clients, from 1.
    pub number: u64,
    /// Identity of the client, as given to `SimApi::client`.
    pub actor: &'a str,
    /// What is asked.
    pub verb: Verb,
    /// Of which kind; absent for discovery and paths nobody serves.
    pub kind: Option<Kind>,
    /// Namespace; empty for all of them or a cluster-scoped kind.
    pub namespace: &'a str,
    /// Name; empty for a collection, and for a creation until the body is read (see `body`).
    pub name: &'a str,
    /// `status` or `scale`; empty for the object itself.
    pub subresource: &'a str,
    /// Whether only a dry run is asked for.
    pub dry_run: bool,
    /// The body; `Null` when there is none.
    pub body: &'a Value,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum RequestFate {
    /// It is served at once.
    Pass,
    /// It reaches the server after this long. It arrives even when the client has given it up, or was cut, meanwhile:
    /// what is on the wire cannot be called back.
    Delay(Duration),
    /// It is served at once, but the answer (the first byte of it, for a watch) takes this long.
    DelayAnswer(Duration),
    /// The server refuses it.
    Refuse(Refused),
    /// The client gets no answer: after `after`, the connection breaks. With `applied`, the request was served.
    Lose {
        /// Whether the server did what was asked.
        applied: bool,
        /// How long the client is kept waiting.
        after: Duration,
    },
    /// The client is cut at this very moment, as by `SimApi::cut`. With `applied`, the request was served.
    Kill {
        /// Whether the server did what was asked.
        applied: bool,
    },
}

/// One watch of one client.
#[derive(Clone, Debug)]
pub struct WatchInfo {
    /// Counts watches of all clients, from 1.
    pub id: u64,
    /// Identity of the client.
    pub actor: Arc<str>,
    /// What is watched.
    pub kind: Kind,
    /// In which namespace; empty for all of them.
    pub namespace: String,
}

/// What a watch event says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happening {
    /// `ADDED`
    Added,
    /// `MODIFIED`
    Modified,
    /// `DELETED`
    Deleted,
}

/// An event about to be queued to one watch.
#[derive(Clone, Copy, Debug)]
pub struct EventInfo<'a> {
    /// What it says.
    pub happening: Happening,
    /// Of which object.
    pub namespace: &'a str,
    /// Of which object.
    pub name: &'a str,
    /// The version of the write that caused it.
    pub version: u64,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventFate {
    /// It is delivered at once, after those before it.
    Deliver,
    /// It is delivered after this long, and those after it not before it: a watch keeps its order.
    Delay(Duration),
    /// It is never delivered to this watch: the stream ends, and a watch of this client from an older version is
    /// answered 410, so that it must list again. (A real server never drops an event in silence.)
    Drop,
    /// It is delivered twice.
    Repeat,
    /// The stream ends before it; a new watch from the last version seen receives it.
    Break,
    /// The stream ends with the error 410 instead of it, so that the client must list again.
    Expire,
}

/// A fault schedule. Both methods do nothing unless told otherwise.
pub trait Faults: Send {
    /// Before a client's request is looked at. The server may be called from here (`cut`, writes of a user at a bad
    /// moment), except for what would send a request and wait for it.
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        let _ = request;
        RequestFate::Pass
    }

    /// Before a watch event is queued to one watch. Called while the state is locked: the server must not be called.
    fn on_event(&mut self, watch: &WatchInfo, event: &EventInfo<'_>) -> EventFate {
        let _ = (watch, event);
        EventFate::Deliver
    }
}
