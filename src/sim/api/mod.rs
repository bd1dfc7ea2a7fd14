//! A deterministic API server in the process, behind the same `kube::Client` the controllers use.
//!
//! It keeps the promises controllers rely on: resource versions and conflicts, no-op writes that change nothing,
//! server-side apply with field ownership, status, scale and eviction subresources, generations, finalizers, deletion
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

mod commit;
mod defaults;
mod delete;
mod discovery;
mod evict;
mod garbage;
mod list;
mod log;
mod ownership;
mod patch;
mod route;
mod scale;
mod selector;
mod serve;
mod settle;
mod stored;
mod stream;
mod validate;
mod watch;
mod write;

use self::{
    commit::{By, Inner, SharedFaults},
    delete::Deleted,
    faults::{Faults, Verb},
    kinds::{Key, Kind},
    observe::Commit,
    refusal::{Refused, bad_request},
    serve::Session,
    state::{State, meta},
    stored::Stored,
};
use crate::clock::SharedClock;
use kube::Client;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
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
    inner: Mutex<Inner>,
    faults: SharedFaults,
    sessions: Mutex<Sessions>,
    requests: AtomicU64,
}

#[derive(Default)]
struct Sessions {
    opened: u64,
    alive: BTreeMap<Arc<str>, Vec<Session>>,
}

impl fmt::Debug for SimApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimApi").finish_non_exhaustive()
    }
}

/// The state, locked for reading; nobody writes meanwhile, so it must be let go before the server is called or anything
/// is awaited.
pub struct StateGuard<'a>(MutexGuard<'a, Inner>);

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl fmt::Debug for StateGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.state.fmt(f)
    }
}

impl SimApi {
    /// A server without objects. `clock` tells the time of timestamps; delays follow `tokio::time`.
    pub fn new(clock: SharedClock, options: Options) -> Self {
        let faults = SharedFaults::default();
        let inner = Inner {
            state: State::default(),
            clock,
            options,
            observers: Vec::new(),
            checks: Vec::new(),
            faults: Arc::clone(&faults),
        };
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                faults,
                sessions: Mutex::default(),
                requests: AtomicU64::new(0),
            }),
        }
    }

    /// A client of `identity`, with `namespace` as its default. Must be called inside a tokio runtime. Every client
    /// is a connection of its own; all of one identity are cut together.
    pub fn client(&self, identity: &str, namespace: &str) -> Client {
        let session = {
            let mut sessions = self.sessions();
            sessions.opened += 1;
            let session = Session {
                id: sessions.opened,
                actor: identity.into(),
                is_alive: Arc::new(AtomicBool::new(true)),
            };
            let alive = sessions.alive.entry(Arc::clone(&session.actor)).or_default();
            alive.push(session.clone());
            session
        };
        let api = self.clone();
        let service = tower::service_fn(move |request| api.clone().serve(session.clone(), request));
        Client::new(service, namespace)
    }

    /// Ends all clients and watches that `identity` has, as when its process is killed: requests under way get no
    /// answer, later ones fail. Clients made afterwards work: the restarted process.
    pub fn cut(&self, identity: &str) {
        let gone = self.sessions().alive.remove(identity).unwrap_or_default();
        for session in &gone {
            session.is_alive.store(false, Ordering::Relaxed);
        }
        let ids: Vec<u64> = gone.iter().map(|session| session.id).collect();
        self.lock().state.hub.cut(&ids);
    }

    /// Ends all watch streams of a kind, or of all kinds, as when a connection is lost; clients may resume.
    pub fn break_watches(&self, kind: Option<Kind>) {
        self.lock().state.hub.break_all(kind);
    }

    /// Forgets all watch events so far: a watch from an older version, or a list continuation, is answered 410.
    pub fn compact(&self) {
        let mut inner = self.lock();
        let version = inner.state.version;
        inner
            .state
            .tables
            .values_mut()
            .for_each(|table| table.log.forget(version));
    }

    /// Sets the fault schedule; `None` ends all faults that have not happened yet.
    pub fn set_faults(&self, faults: Option<Box<dyn Faults>>) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Calls `hook` with every accepted write and the state after it, in order, before anybody can act on it. The
    /// server must not be called from the hook.
    pub fn observe(&self, hook: impl FnMut(&Commit, &State) + Send + 'static) {
        self.lock().observers.push(Box::new(hook));
    }

    /// Lets `check` refuse creations and updates: what admission and validation do on a real server. It is given the
    /// key, the object before, and the object as it would be stored. The server must not be called from it.
    pub fn admit(&self, check: impl FnMut(&Key, Option<&Value>, &Value) -> Result<(), Refused> + Send + 'static) {
        self.lock().checks.push(Box::new(check));
    }

    /// The objects, for models and oracles.
    pub fn state(&self) -> StateGuard<'_> {
        StateGuard(self.lock())
    }

    /// Requests of all clients so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Creates an object, as `POST` does. Answers 409 `AlreadyExists` or 422.
    pub fn create(&self, actor: &str, object: Value) -> Result<Arc<Value>, Refused> {
        let key = key_of(&object)?;
        let stored = self
            .lock()
            .create(&By::new(actor, Verb::Create), key.kind, &key.namespace, object)?;
        Ok(shown(stored))
    }

    /// Replaces an object, as `PUT` does; its `resourceVersion`, when given, must be the present one (and must be given
    /// for custom resources). Answers 404, 409 or 422.
    pub fn update(&self, actor: &str, object: Value) -> Result<Arc<Value>, Refused> {
        let key = key_of(&object)?;
        Ok(shown(self.lock().update(
            &By::new(actor, Verb::Update),
            &key,
            object,
        )?))
    }

    /// Replaces an object's status, as `PUT …/status` does; see [`Self::update`].
    pub fn update_status(&self, actor: &str, object: Value) -> Result<Arc<Value>, Refused> {
        let key = key_of(&object)?;
        let by = By::new(actor, Verb::Update).on("status");
        Ok(shown(self.lock().update(&by, &key, object)?))
    }

    /// Server-side apply with `actor` as the field manager. Answers 409 when others own the fields, unless forced.
    pub fn apply(&self, actor: &str, object: Value, force: bool) -> Result<Arc<Value>, Refused> {
        let key = key_of(&object)?;
        let by = By::new(actor, Verb::Apply);
        Ok(shown(self.lock().apply(&by, &key, object, force)?))
    }

    /// Patches an object. A `resourceVersion` or uid in it is a precondition.
    pub fn patch(&self, actor: &str, key: &Key, change: &Change) -> Result<Arc<Value>, Refused> {
        Ok(shown(self.lock().patch(&By::new(actor, Verb::Patch), key, change)?))
    }

    /// Patches an object's status.
    pub fn patch_status(&self, actor: &str, key: &Key, change: &Change) -> Result<Arc<Value>, Refused> {
        let by = By::new(actor, Verb::Patch).on("status");
        Ok(shown(self.lock().patch(&by, key, change)?))
    }

    /// Sets the replicas through the scale subresource, as an autoscaler does; returns the object.
    pub fn scale(&self, actor: &str, key: &Key, replicas: u32) -> Result<Arc<Value>, Refused> {
        let by = By::new(actor, Verb::Update).on("scale");
        let scale = json!({"spec": {"replicas": replicas}});
        Ok(shown(self.lock().update_scale(&by, key, &scale)?))
    }

    /// Deletes an object. Returns it as it was last, or as it is while finalizers or a Pod's grace hold it up.
    pub fn delete(&self, actor: &str, key: &Key, how: &Deletion) -> Result<Arc<Value>, Refused> {
        match self.lock().delete(&By::new(actor, Verb::Delete), key, how)? {
            Deleted::Gone(stored) | Deleted::Marked(stored) => Ok(shown(stored)),
        }
    }

    /// One pass of the garbage collector: dependents whose owners are all gone, foreground and orphan deletions, and
    /// the contents of Namespaces being deleted. Returns the number of writes; 0 means nothing is left to do.
    pub fn collect_garbage(&self) -> usize {
        self.lock().collect_garbage()
    }

    /// Whether an object is deleted in the foreground and waits for its dependents to be gone.
    pub fn awaits_dependents(&self) -> bool {
        self.lock().awaits_dependents()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(stored: Arc<Stored>) -> Arc<Value> {
    Arc::clone(&stored.value)
}

/// The key an object states about itself.
fn key_of(object: &Value) -> Result<Key, Refused> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let known = Kind::named(api_version, kind);
    let kind =
        known.ok_or_else(|| bad_request(format!("the server does not serve kind {kind:?} in {api_version:?}")))?;
    Ok(Key::new(kind, meta(object, "namespace"), meta(object, "name")))
}

#[cfg(test)]
mod tests;
