//! A deterministic API server in the process, behind the same `kube::Client` the controllers use.
//!
//! It keeps the promises controllers rely on: resource versions and conflicts, no-op writes that change nothing,
//! server-side apply with field ownership, status and scale subresources, generations, finalizers, deletion
//! propagation, selectors, pagination, watches with bookmarks and 410. `tests/e2e/api_conformance.rs` runs the same
//! scenarios against it and a real API server.
//!
//! It leaves out: authentication and permissions, OpenAPI and CEL validation (there is an extension point,
//! [`SimApi::admit`]), conversion between versions, and pruning of unknown fields. Nothing happens by itself: garbage is
//! collected when the world says so, and time is what `tokio::time` and the clock say.

pub mod faults;
pub mod kinds;
pub mod observe;
pub mod refusal;
pub mod state;

use self::{
    faults::Faults,
    kinds::{Key, Kind},
    observe::Commit,
    refusal::{Refused, refused},
    state::State,
};
use crate::clock::SharedClock;
use kube::Client;
use serde_json::Value;
use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How the server behaves where real ones differ or can be configured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Watch events kept of each kind; a watch or a list continuation from before the oldest is answered 410.
    pub retained_events: usize,
    /// Between two bookmarks of an idle watch that asked for them.
    pub bookmark_interval: Duration,
    /// Whether objects show `metadata.managedFields`. Ownership is kept in any case; showing it costs time.
    pub show_managed_fields: bool,
    /// Whether a namespaced object needs its Namespace to exist, as on a real server.
    pub require_namespaces: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retained_events: 1000,
            bookmark_interval: Duration::from_secs(60),
            show_managed_fields: true,
            require_namespaces: false,
        }
    }
}

/// How an object is to be deleted; the default is what `DELETE` without a body means.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    /// The object must have this uid, else 409.
    pub uid: Option<String>,
    /// The object must have this version, else 409.
    pub resource_version: Option<String>,
    /// What becomes of dependents; absent: background.
    pub propagation: Propagation,
    /// Seconds until a Pod is gone; absent: as its spec says. Other kinds go at once.
    pub grace_seconds: Option<i64>,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Propagation {
    /// They are collected afterwards.
    #[default]
    Background,
    /// The object stays until those that block it are gone.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// A change of an object, in one of the forms the server takes.
#[derive(Clone, Debug)]
pub enum Change {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
    /// Kubernetes' own; refused for custom resources.
    Strategic(Value),
}

/// The server. Cloning shares it.
#[derive(Clone)]
pub struct SimApi {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<State>,
}

/// The state, locked for reading; nobody writes meanwhile, so it must be let go before anything is awaited.
pub struct StateGuard<'a>(MutexGuard<'a, State>);

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl SimApi {
    /// A server without objects. `clock` tells the time of timestamps; delays follow `tokio::time`.
    pub fn new(clock: SharedClock, options: Options) -> Self {
        let _ = (clock, options);
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(State::default()),
            }),
        }
    }

    /// A client of `identity`, with `namespace` as its default. Must be called inside a tokio runtime. Every client
    /// is a connection of its own; all of one identity are cut together.
    pub fn client(&self, identity: &str, namespace: &str) -> Client {
        let _ = identity;
        let service = tower::service_fn(|_: axum::http::Request<kube::client::Body>| async {
            Ok::<_, std::io::Error>(axum::http::Response::new(axum::body::Body::empty()))
        });
        Client::new(service, namespace)
    }

    /// Ends all clients and watches that `identity` has, as when its process is killed: requests under way get no
    /// answer, later ones fail. Clients made afterwards work: the restarted process.
    pub fn cut(&self, identity: &str) {
        let _ = identity;
    }

    /// Ends all watch streams of a kind, or of all kinds, as when a connection is lost; clients may resume.
    pub fn break_watches(&self, kind: Option<Kind>) {
        let _ = kind;
    }

    /// Forgets all watch events so far: a watch from an older version, or a list continuation, is answered 410.
    pub fn compact(&self) {}

    /// Sets the fault schedule; `None` ends all faults that have not happened yet.
    pub fn set_faults(&self, faults: Option<Box<dyn Faults>>) {
        let _ = faults;
    }

    /// Calls `hook` with every accepted write and the state after it, in order, before anybody else learns of it. The
    /// server must not be called from the hook.
    pub fn observe(&self, hook: impl FnMut(&Commit, &State) + Send + 'static) {
        let _ = hook;
    }

    /// Lets `check` refuse creations and updates: what admission and validation do on a real server. It is given the
    /// key, the object before, and the object as it would be stored.
    pub fn admit(&self, check: impl FnMut(&Key, Option<&Value>, &Value) -> Result<(), Refused> + Send + 'static) {
        let _ = check;
    }

    /// The objects, for models and oracles.
    pub fn state(&self) -> StateGuard<'_> {
        StateGuard(self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Creates an object, as `POST` does.
    pub fn create(&self, actor: &str, object: Value) -> Result<Arc<Value>, Refused> {
        let _ = (actor, object);
        Err(refused(501, "NotImplemented", "not yet"))
    }

    /// Replaces an object, as `PUT` does; its `resourceVersion`, when given, must be the present one.
    pub fn update(&self, actor: &str, object: Value) -> Result<Arc<Value>, Refused> {
        self.create(actor, object)
    }

    /// Replaces an object's status, as `PUT …/status` does.
    pub fn update_status(&self, actor: &str, object: Value) -> Result<Arc<Value>, Refused> {
        self.create(actor, object)
    }

    /// Server-side apply with `actor` as the field manager.
    pub fn apply(&self, actor: &str, object: Value, force: bool) -> Result<Arc<Value>, Refused> {
        let _ = force;
        self.create(actor, object)
    }

    /// Patches an object.
    pub fn patch(&self, actor: &str, key: &Key, change: &Change) -> Result<Arc<Value>, Refused> {
        let _ = (key, change);
        self.create(actor, Value::Null)
    }

    /// Patches an object's status.
    pub fn patch_status(&self, actor: &str, key: &Key, change: &Change) -> Result<Arc<Value>, Refused> {
        self.patch(actor, key, change)
    }

    /// Sets the replicas through the scale subresource, as an autoscaler does; returns the object.
    pub fn scale(&self, actor: &str, key: &Key, replicas: u32) -> Result<Arc<Value>, Refused> {
        let _ = (key, replicas);
        self.create(actor, Value::Null)
    }

    /// Deletes an object. Returns it as it was last, or as it is while finalizers hold it up.
    pub fn delete(&self, actor: &str, key: &Key, how: &Deletion) -> Result<Arc<Value>, Refused> {
        let _ = (key, how);
        self.create(actor, Value::Null)
    }

    /// One pass of the garbage collector: dependents whose owners are all gone, foreground and orphan deletions, and
    /// the contents of Namespaces being deleted. Returns the number of writes; 0 means nothing is left to do.
    pub fn collect_garbage(&self) -> usize {
        0
    }
}
