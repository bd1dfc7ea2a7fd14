//! The server's end of a connection: what becomes of a request on its way, and the answer to it.

use super::{
    SimApi,
    commit::{By, Inner},
    delete::Deleted,
    discovery,
    faults::{Faults, RequestFate, RequestInfo, Verb},
    kinds::{Key, Kind},
    refusal::{Refused, bad_request, refused},
    route::{self, Query, Target},
    stored::{Form, Stored, encode},
    stream::WatchStream,
    watch::{Opening, bookmark, expired_line, line},
};
use axum::{
    body::{Body, Bytes},
    http::{Method, Request, Response, StatusCode, header, request::Parts},
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// One client's connection.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) actor: Arc<str>,
    pub(super) is_alive: Arc<AtomicBool>,
}

impl Session {
    fn check(&self) -> io::Result<()> {
        match self.is_alive.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

/// A request that was read.
struct Asked {
    target: Target,
    query: Query,
    verb: Verb,
    media_type: String,
    form: Form,
    is_aggregated: bool,
    manager: String,
    body: Value,
}

type Answer = Result<Response<Body>, Refused>;

impl SimApi {
    /// Serves one request of a client.
    pub(super) async fn serve(
        self,
        session: Session,
        request: Request<kube::client::Body>,
    ) -> io::Result<Response<Body>> {
        session.check()?;
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(io::Error::other)?;
        let asked = match read(&parts, &body, &session) {
            Ok(asked) => asked,
            Err(refused) => return Ok(refusal(&refused)),
        };
        let fate = self.fate(&session, &asked);
        session.check()?;
        match fate {
            RequestFate::Pass => Ok(self.answer(&session, asked)),
            RequestFate::Refuse(refused) => Ok(refusal(&refused)),
            RequestFate::Delay(delay) if asked.verb.is_write() => {
                let (api, to) = (self.clone(), session.clone());
                // On its own, so that it arrives even when the client has gone away.
                let arrival = tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    api.answer(&to, asked)
                });
                let answer = arrival.await.map_err(io::Error::other)?;
                session.check()?;
                Ok(answer)
            }
            RequestFate::Delay(delay) => {
                tokio::time::sleep(delay).await;
                session.check()?;
                Ok(self.answer(&session, asked))
            }
            RequestFate::DelayAnswer(delay) => {
                let answer = self.answer(&session, asked);
                tokio::time::sleep(delay).await;
                session.check()?;
                Ok(answer)
            }
            RequestFate::Lose { applied, after } => {
                if applied && asked.verb.is_write() {
                    let _lost = self.answer(&session, asked);
                }
                tokio::time::sleep(after).await;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            RequestFate::Kill { applied } => {
                if applied && asked.verb.is_write() {
                    let _lost = self.answer(&session, asked);
                }
                self.cut(&session.actor);
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }

    /// Asks the fault schedule, which may call the server meanwhile and is therefore not locked.
    fn fate(&self, session: &Session, asked: &Asked) -> RequestFate {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let lock = || self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut faults): Option<Box<dyn Faults>> = lock().take() else {
            return RequestFate::Pass;
        };
        let (kind, namespace, name, subresource) = match &asked.target {
            Target::Objects {
                kind,
                namespace,
                name,
                subresource,
            } => (Some(*kind), namespace.as_str(), name.as_str(), *subresource),
            Target::Other(_) => (None, "", "", ""),
        };
        let fate = faults.on_request(&RequestInfo {
            number,
            actor: &session.actor,
            verb: asked.verb,
            kind,
            namespace,
            name,
            subresource,
            dry_run: asked.query.is_dry_run(),
            body: &asked.body,
        });
        // Unless the schedule was replaced meanwhile.
        lock().get_or_insert(faults);
        fate
    }

    fn answer(&self, session: &Session, asked: Asked) -> Response<Body> {
        let answer = match asked.target.clone() {
            Target::Other(path) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                discovery::answer(&path, asked.is_aggregated).map_or_else(
                    || {
                        Err(refused(
                            404,
                            "NotFound",
                            "the server could not find the requested resource",
                        ))
                    },
                    |value| Ok(body(200, encode(&value))),
                )
            }
            Target::Objects {
                kind,
                namespace,
                name,
                subresource,
            } => {
                let key = Key::new(kind, namespace, name);
                self.lock().answer(session, asked, &key, subresource)
            }
        };
        answer.unwrap_or_else(|refused| refusal(&refused))
    }
}

impl Inner {
    fn answer(&mut self, session: &Session, asked: Asked, key: &Key, subresource: &'static str) -> Answer {
        let Asked {
            query,
            verb,
            media_type,
            form,
            manager,
            body: sent,
            ..
        } = asked;
        let by = By {
            actor: Arc::clone(&session.actor),
            manager,
            verb,
            subresource,
            dry_run: query.is_dry_run(),
        };
        if subresource == "scale" {
            return self.answer_scale(&by, key, &media_type, sent);
        }
        if subresource == "eviction" {
            return match verb {
                Verb::Create => Ok(body(201, encode(&self.evict(&by, key, &sent)?))),
                _ => Err(refused(
                    405,
                    "MethodNotAllowed",
                    "the eviction subresource is only created",
                )),
            };
        }
        match verb {
            Verb::Get => {
                self.serves(key, subresource)?;
                Ok(object(200, &*self.existing(key)?, form))
            }
            Verb::List => {
                let selection = query.selection(key.kind, &key.namespace)?;
                Ok(body(200, self.list(key.kind, &selection, &query.paging()?, form)?))
            }
            Verb::Watch => self.open_watch(session, key, &query, form),
            Verb::Create => Ok(object(201, &*self.create(&by, key.kind, &key.namespace, sent)?, form)),
            Verb::Update => Ok(object(200, &*self.update(&by, key, sent)?, form)),
            Verb::Patch => {
                let change = route::change(&media_type, sent)?;
                Ok(object(200, &*self.patch(&by, key, &change)?, form))
            }
            Verb::Apply => {
                let is_new = self.state.stored(key).is_none();
                let stored = self.apply(&by, key, sent, query.is("force"))?;
                Ok(object(if is_new { 201 } else { 200 }, &stored, form))
            }
            Verb::Delete => {
                let by = By {
                    dry_run: route::deletion_is_dry_run(&query, &sent),
                    ..by
                };
                let deleted = self.delete(&by, key, &route::deletion(&query, &sent))?;
                Ok(self.deletion_answer(key, &deleted, form))
            }
            Verb::DeleteCollection => {
                let selection = query.selection(key.kind, &key.namespace)?;
                let listed = self.list(key.kind, &selection, &query.paging()?, form)?;
                let matching = self.state.all(key.kind, selection.namespace.as_deref());
                let keys: Vec<Key> = matching
                    .filter(|(_, _, stored)| selection.matches(stored))
                    .map(|(namespace, name, _)| Key::new(key.kind, namespace, name))
                    .collect();
                let how = route::deletion(&query, &sent);
                for key in keys {
                    self.delete(&by, &key, &how)?;
                }
                Ok(body(200, listed))
            }
            Verb::Discover => Err(bad_request("a path of discovery was expected")),
        }
    }

    fn answer_scale(&mut self, by: &By, key: &Key, media_type: &str, sent: Value) -> Answer {
        let scale = self.scale_of(key)?;
        let changed = match by.verb {
            Verb::Get => return Ok(body(200, encode(&scale))),
            Verb::Update => sent,
            Verb::Patch => {
                let mut changed = scale;
                match route::change(media_type, sent)? {
                    super::Change::Merge(fields) | super::Change::Strategic(fields) => {
                        json_patch::merge(&mut changed, &fields);
                    }
                    super::Change::Json(operations) => json_patch::patch(&mut changed, &operations)
                        .map_err(|error| refused(422, "Invalid", error.to_string()))?,
                }
                changed
            }
            _ => {
                return Err(refused(
                    405,
                    "MethodNotAllowed",
                    "the scale subresource is read, updated and patched",
                ));
            }
        };
        self.update_scale(by, key, &changed)?;
        Ok(body(200, encode(&self.scale_of(key)?)))
    }

    fn open_watch(&mut self, session: &Session, key: &Key, query: &Query, form: Form) -> Answer {
        let kind = key.kind;
        let mut selection = query.selection(kind, &key.namespace)?;
        if !key.name.is_empty() {
            let by_name = format!("metadata.name={}", key.name);
            selection.fields = super::selector::Fields::parse(kind, &by_name)?;
        }
        let now = self.state.version;
        let asked = query.version()?;
        let floor = self.state.tables.get(&kind).map_or(0, |table| table.log.floor);
        let is_lost = |since| since < floor || self.state.hub.has_lost(&session.actor, kind, since);
        let mut initial = Vec::new();
        let sends_initial = query.is("sendInitialEvents");
        if let Some(since) = asked.filter(|since| !sends_initial && is_lost(*since)) {
            let text = expired_line(since);
            return Ok(stream(futures::stream::once(async { Ok(text) }).boxed()));
        }
        let wants_bookmarks = query.is("allowWatchBookmarks");
        if sends_initial || asked.is_none() {
            let all = self.state.all(kind, selection.namespace.as_deref());
            let matching = all.filter(|(_, _, stored)| selection.matches(stored));
            initial.extend(matching.map(|(_, _, stored)| line(super::faults::Happening::Added, stored, form)));
            if sends_initial && wants_bookmarks {
                initial.push(bookmark(kind, form, now, true));
            }
        }
        let since = if sends_initial { now } else { asked.unwrap_or(now) };
        let opening = Opening {
            kind,
            actor: Arc::clone(&session.actor),
            session: session.id,
            selection,
            form,
            since,
        };
        let Some(table) = self.state.tables.get(&kind) else {
            return Err(bad_request("nothing to watch"));
        };
        let queue = self.state.hub.open(opening, &table.log, initial);
        let told = Arc::clone(&self.state.hub.told);
        let interval = wants_bookmarks.then_some(self.options.bookmark_interval);
        Ok(stream(
            WatchStream::new(queue, (kind, form), told, interval, query.timeout()).boxed(),
        ))
    }

    fn deletion_answer(&self, key: &Key, deleted: &Deleted, form: Form) -> Response<Body> {
        match deleted {
            Deleted::Marked(stored) => object(200, stored, form),
            Deleted::Gone(stored) if matches!(key.kind, Kind::Pod | Kind::Service) => object(200, stored, form),
            Deleted::Gone(stored) => {
                let facts = key.kind.facts();
                let details = json!({"name": key.name, "group": facts.group(), "kind": facts.plural,
                    "uid": super::state::uid_of(&stored.value)});
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
                body(200, encode(&status))
            }
        }
    }
}

fn read(parts: &Parts, body: &Bytes, session: &Session) -> Result<Asked, Refused> {
    let target = Target::parse(parts.uri.path());
    let query = Query::parse(parts.uri.query());
    let media_type = route::media_type(&parts.headers).to_owned();
    let verb = route::verb(&parts.method, &target, &query, &media_type)?;
    let body = match body.is_empty() || parts.method == Method::GET {
        true => Value::Null,
        false => serde_json::from_slice(body).map_err(|error| bad_request(format!("the body is no JSON: {error}")))?,
    };
    let agent = parts
        .headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let agent = agent.and_then(|agent| agent.split('/').next());
    let manager = query.get("fieldManager").or(agent).unwrap_or(&session.actor).to_owned();
    Ok(Asked {
        form: route::form(&parts.headers),
        is_aggregated: route::is_aggregated(&parts.headers),
        target,
        query,
        verb,
        media_type,
        manager,
        body,
    })
}

fn object(code: u16, stored: &Stored, form: Form) -> Response<Body> {
    body(code, stored.encoded(form).clone())
}

fn body(code: u16, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn stream(lines: futures::stream::BoxStream<'static, io::Result<Bytes>>) -> Response<Body> {
    Response::new(Body::from_stream(lines))
}

fn refusal(refused: &Refused) -> Response<Body> {
    let mut status = serde_json::to_value(refused).unwrap_or_default();
    if let Some(status) = status.as_object_mut() {
        status.insert("kind".to_owned(), json!("Status"));
        status.insert("apiVersion".to_owned(), json!("v1"));
        status.entry("metadata").or_insert_with(|| json!({}));
    }
    body(refused.code, encode(&status))
}
