//! An API server in the process, for tests: lists, watches, patches and preconditions, and the faults a test asks for.
//!
//! No port and no task of its own, so that it runs on a paused clock. Server-side apply is a merge that may create;
//! admission, validation and garbage collection are not played.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures::stream;
use kube::Client;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::{broadcast, watch};

/// Where an object is: `group/version`, plural, namespace and name.
type Path = (String, String, String, String);
/// Answers a request instead of the server: HTTP status and `Status.reason`.
type Fault = Box<dyn Fn(&Recorded) -> Option<(u16, &'static str)> + Send>;

/// A write as the server received it.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

#[derive(Clone, Debug)]
struct Event {
    version: u64,
    path: Path,
    line: String,
}

#[derive(Default)]
struct Contents {
    version: u64,
    objects: BTreeMap<Path, Value>,
    history: Vec<Event>,
    writes: Vec<Recorded>,
    faults: Vec<Fault>,
}

/// The server. Cloning shares it.
#[derive(Clone)]
pub(crate) struct FakeApi {
    contents: Arc<Mutex<Contents>>,
    events: broadcast::Sender<Event>,
    held: watch::Sender<Option<&'static str>>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        Self {
            contents: Arc::default(),
            events: broadcast::channel(1024).0,
            held: watch::Sender::new(None),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(Router::new().fallback(serve).with_state(self.clone()), "shop")
    }

    /// Stores objects as if another client had created or replaced them.
    pub(crate) fn put(&self, object: Value) -> Value {
        let path = path_of(&object);
        let mut contents = self.lock();
        let kept = contents.objects.get(&path).cloned();
        let mut object = object;
        let uid = kept.as_ref().map_or_else(
            || json!(format!("uid-{}", contents.version + 1)),
            |old| old["metadata"]["uid"].clone(),
        );
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = uid;
        }
        self.store(&mut contents, path, object)
    }

    /// The object as the server holds it.
    pub(crate) fn get(&self, api_version: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let path = (
            api_version.to_owned(),
            plural.to_owned(),
            namespace.to_owned(),
            name.to_owned(),
        );
        self.lock().objects.get(&path).cloned()
    }

    /// Every object of a kind.
    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        self.lock()
            .objects
            .iter()
            .filter(|((_, kind, ..), _)| kind == plural)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Deletes as if another client had.
    pub(crate) fn delete(&self, api_version: &str, plural: &str, namespace: &str, name: &str) {
        let path = (
            api_version.to_owned(),
            plural.to_owned(),
            namespace.to_owned(),
            name.to_owned(),
        );
        self.erase(&mut self.lock(), &path);
    }

    /// Every write so far, in order, and forgets them.
    pub(crate) fn take_writes(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.lock().writes)
    }

    /// Lets `fault` answer requests first.
    pub(crate) fn inject(&self, fault: impl Fn(&Recorded) -> Option<(u16, &'static str)> + Send + 'static) {
        self.lock().faults.push(Box::new(fault));
    }

    /// Undoes all faults.
    pub(crate) fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Holds back the watch events of one kind, given in the plural, or lets all of them go.
    pub(crate) fn hold_watches(&self, plural: Option<&'static str>) {
        self.held.send_replace(plural);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    fn store(&self, contents: &mut Contents, path: Path, mut object: Value) -> Value {
        let before = contents.objects.get(&path);
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let mut same = before.cloned().unwrap_or_default();
        same["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        if before.is_some() && same == object {
            return before.cloned().unwrap_or_default();
        }
        contents.version += 1;
        object["metadata"]["resourceVersion"] = json!(contents.version.to_string());
        contents.objects.insert(path.clone(), object.clone());
        self.announce(contents, kind, path, &object);
        object
    }

    fn erase(&self, contents: &mut Contents, path: &Path) -> Option<Value> {
        let mut object = contents.objects.remove(path)?;
        contents.version += 1;
        object["metadata"]["resourceVersion"] = json!(contents.version.to_string());
        self.announce(contents, "DELETED", path.clone(), &object);
        Some(object)
    }

    fn announce(&self, contents: &mut Contents, kind: &str, path: Path, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        let event = Event {
            version: contents.version,
            path,
            line,
        };
        contents.history.push(event.clone());
        let _nobody_watches = self.events.send(event);
    }

    fn list(&self, target: &Target) -> Value {
        let contents = self.lock();
        let items: Vec<&Value> = contents
            .objects
            .iter()
            .filter(|(path, _)| target.covers(path))
            .map(|(_, object)| object)
            .collect();
        json!({"kind": "List", "apiVersion": target.api_version, "metadata": {"resourceVersion": contents.version.to_string()}, "items": items})
    }

    fn watch(&self, target: Target, since: u64) -> Response {
        let (backlog, live) = {
            let contents = self.lock();
            let missed = contents
                .history
                .iter()
                .filter(|event| event.version > since && target.covers(&event.path));
            (
                missed.cloned().collect::<std::collections::VecDeque<_>>(),
                self.events.subscribe(),
            )
        };
        let state = (backlog, live, self.held.subscribe(), target);
        let lines = stream::unfold(state, async |(mut backlog, mut live, mut held, target)| {
            let event = loop {
                let next = match backlog.pop_front() {
                    Some(event) => event,
                    None => live.recv().await.ok()?,
                };
                if target.covers(&next.path) {
                    break next;
                }
            };
            held.wait_for(|held| *held != Some(target.plural.as_str())).await.ok()?;
            Some((
                Ok::<_, std::convert::Infallible>(event.line),
                (backlog, live, held, target),
            ))
        });
        Body::from_stream(lines).into_response()
    }
}

/// A path of the API, taken apart.
#[derive(Clone, Debug)]
struct Target {
    api_version: String,
    plural: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/').map(str::to_owned);
        let api_version = match parts.next()?.as_str() {
            "api" => parts.next()?,
            "apis" => format!("{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut plural = parts.next()?;
        let mut rest: Vec<String> = parts.collect();
        let mut namespace = None;
        if plural == "namespaces" && rest.len() >= 2 {
            namespace = Some(rest.remove(0));
            plural = rest.remove(0);
        }
        let mut rest = rest.into_iter();
        Some(Self {
            api_version,
            plural,
            namespace,
            name: rest.next(),
            subresource: rest.next(),
        })
    }

    fn covers(&self, (api_version, plural, namespace, _): &Path) -> bool {
        *api_version == self.api_version
            && *plural == self.plural
            && self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
    }

    fn path(&self) -> Path {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        (
            self.api_version.clone(),
            self.plural.clone(),
            text(&self.namespace),
            text(&self.name),
        )
    }
}

fn path_of(object: &Value) -> Path {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]).to_lowercase();
    let plural = if kind.ends_with("ss") {
        format!("{kind}es")
    } else {
        format!("{kind}s")
    };
    (
        text(&object["apiVersion"]),
        plural,
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"]),
    )
}

async fn serve(State(api): State<FakeApi>, method: Method, uri: Uri, body: Bytes) -> Response {
    let query = uri.query().unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let request = Recorded {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query,
        body,
    };
    let fault = api.lock().faults.iter().find_map(|fault| fault(&request));
    if let Some((code, reason)) = fault {
        return refused(code, reason, "an injected fault");
    }
    let Some(target) = Target::parse(uri.path()) else {
        return refused(404, "NotFound", "no such path");
    };
    if method == Method::GET {
        return read(&api, target, &request.query);
    }
    api.lock().writes.push(request.clone());
    write(&api, &target, request)
}

fn read(api: &FakeApi, target: Target, query: &str) -> Response {
    if target.name.is_some() {
        let found = api.lock().objects.get(&target.path()).cloned();
        return found.map_or_else(|| not_found(&target), answer);
    }
    let parameter = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    if parameter("watch").is_some() {
        let since = parameter("resourceVersion")
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        return api.watch(target, since);
    }
    answer(api.list(&target))
}

fn write(
    api: &FakeApi,
    target: &Target,
    Recorded {
        method, query, body, ..
    }: Recorded,
) -> Response {
    let mut contents = api.lock();
    let mut path = target.path();
    if method == "POST" {
        path.3 = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if contents.objects.contains_key(&path) {
            return refused(409, "AlreadyExists", "it is there already");
        }
    }
    let current = contents.objects.get(&path).cloned();
    let asked = if method == "DELETE" {
        &body["preconditions"]
    } else {
        &body["metadata"]
    };
    for field in ["uid", "resourceVersion"] {
        let wanted = &asked[field];
        let found = current
            .as_ref()
            .map_or(&Value::Null, |object| &object["metadata"][field]);
        if method != "POST"
            && !wanted.is_null()
            && (current.is_some() || method == "PATCH" && query.contains("force"))
            && wanted != found
        {
            return refused(409, "Conflict", &format!("the {field} is {found}, not {wanted}"));
        }
    }
    match (method.as_str(), current) {
        ("DELETE", Some(_)) => answer(api.erase(&mut contents, &path).unwrap_or_default()),
        ("POST", _) => answer(create(api, &mut contents, path, body)),
        ("PATCH", None) if query.contains("force") => answer(create(api, &mut contents, path, body)),
        ("PATCH", Some(mut object)) => {
            let (uid, generation) = (
                object["metadata"]["uid"].clone(),
                object["metadata"]["generation"].as_i64().unwrap_or(1),
            );
            let spec = object["spec"].clone();
            match target.subresource.as_deref() {
                Some("status") => json_patch::merge(&mut object["status"], &body["status"]),
                _ => json_patch::merge(&mut object, &body),
            }
            object["metadata"]["uid"] = uid;
            if object["spec"] != spec {
                object["metadata"]["generation"] = json!(generation + 1);
            }
            answer(api.store(&mut contents, path, object))
        }
        _ => not_found(target),
    }
}

fn create(api: &FakeApi, contents: &mut Contents, path: Path, mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!(path.2);
    object["metadata"]["uid"] = json!(format!("uid-{}", contents.version + 1));
    object["metadata"]["generation"] = json!(1);
    api.store(contents, path, object)
}

fn answer(object: Value) -> Response {
    axum::Json(object).into_response()
}

fn not_found(target: &Target) -> Response {
    refused(
        404,
        "NotFound",
        &format!(
            "{} \"{}\" not found",
            target.plural,
            target.name.clone().unwrap_or_default()
        ),
    )
}

fn refused(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (StatusCode::from_u16(code).unwrap(), axum::Json(status)).into_response()
}
