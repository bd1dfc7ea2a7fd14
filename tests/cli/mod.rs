//! The verbs against an API server in this process: what is written, what is said, and what happens in a race.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a broken fixture fails the test"
)]

mod completion;
mod simulate;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{StreamExt as _, channel::mpsc};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidegate::{
    cli::{cluster::Cluster, error::CliError, output::Format, promote::Ask, terminal::Terminal, verbs::Session},
    clock::SystemClock,
};

/// One Rollout named `web`, and what happens right before the first write to it.
#[derive(Clone)]
struct Server(Arc<Mutex<Stored>>);

struct Stored {
    rollout: Value,
    /// Changes of others, each made just before one write arrives.
    overtaken_by: Vec<Value>,
    writes: Vec<Value>,
    /// Open watches of Rollouts.
    watches: Vec<mpsc::UnboundedSender<Value>>,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            if !target[key].is_object() {
                target[key] = json!({});
            }
            merge(&mut target[key], value);
        }
    }
}

impl Stored {
    fn change(&mut self, patch: &Value) {
        merge(&mut self.rollout, patch);
        let version: i64 = self.rollout["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        self.rollout["metadata"]["resourceVersion"] = (version + 1).to_string().into();
    }
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason,
        "code": code.as_u16()});
    (code, Json(status)).into_response()
}

async fn read(State(server): State<Server>, Path(name): Path<String>) -> Response {
    match name.as_str() {
        "web" => Json(server.0.lock().unwrap().rollout.clone()).into_response(),
        _ => refusal(StatusCode::NOT_FOUND, "NotFound", "not found"),
    }
}

async fn list(
    State(server): State<Server>,
    Query(query): Query<HashMap<String, String>>,
    headers: axum::http::HeaderMap,
) -> Response {
    let mut stored = server.0.lock().unwrap();
    if query.get("watch").is_some_and(|watch| watch == "true") {
        let (events, watch) = mpsc::unbounded();
        stored.watches.push(events);
        return stream(watch);
    }
    let accept = headers
        .get("accept")
        .map(|accept| accept.to_str().unwrap().to_owned())
        .unwrap_or_default();
    if accept.contains("PartialObjectMetadataList") {
        let item = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": stored.rollout["metadata"]});
        return Json(json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": [item]}))
            .into_response();
    }
    let version = json!({"resourceVersion": stored.rollout["metadata"]["resourceVersion"]});
    Json(json!({"kind": "RolloutList", "apiVersion": "argoproj.io/v1alpha1", "metadata": version, "items": [stored.rollout]}))
        .into_response()
}

/// Lists and watches of kinds of which there are none.
async fn none(Query(query): Query<HashMap<String, String>>) -> Response {
    if query.get("watch").is_some_and(|watch| watch == "true") {
        return stream(futures::stream::pending());
    }
    Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []})).into_response()
}

fn stream(events: impl futures::Stream<Item = Value> + Send + 'static) -> Response {
    let lines = events.map(|event| Ok::<_, std::convert::Infallible>(format!("{event}\n")));
    axum::body::Body::from_stream(lines).into_response()
}

async fn write(State(server): State<Server>, Path(name): Path<String>, body: String) -> Response {
    if name != "web" {
        return refusal(StatusCode::NOT_FOUND, "NotFound", "not found");
    }
    let mut stored = server.0.lock().unwrap();
    if !stored.overtaken_by.is_empty() {
        let change = stored.overtaken_by.remove(0);
        stored.change(&change);
    }
    let patch: Value = serde_json::from_str(&body).unwrap();
    let wanted = &patch["metadata"]["resourceVersion"];
    if !wanted.is_null() && *wanted != stored.rollout["metadata"]["resourceVersion"] {
        return refusal(StatusCode::CONFLICT, "Conflict", "the object has been modified");
    }
    stored.writes.push(patch.clone());
    stored.change(&patch);
    Json(stored.rollout.clone()).into_response()
}

/// A session with a Rollout at step 1 of 3, and its output.
fn session(status: &Value, overtaken_by: Vec<Value>) -> (Session, Server, Text, Text) {
    let mut rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 1},
        "spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}]}}},
        "status": {"observedGeneration": "1", "currentStepIndex": 1, "currentPodHash": "b", "stableRS": "a", "phase": "Progressing"},
    });
    merge(&mut rollout["status"], status);
    let server = Server(Arc::new(Mutex::new(Stored {
        rollout,
        overtaken_by,
        writes: Vec::new(),
        watches: Vec::new(),
    })));
    let base = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts";
    let app = Router::new()
        .route(base, get(list))
        .route("/apis/apps/v1/namespaces/shop/replicasets", get(none))
        .route("/api/v1/namespaces/shop/pods", get(none))
        .route("/apis/argoproj.io/v1alpha1/namespaces/shop/analysisruns", get(none))
        .route("/apis/argoproj.io/v1alpha1/namespaces/shop/experiments", get(none))
        .route(&format!("{base}/{{name}}"), get(read).patch(write))
        .route(&format!("{base}/{{name}}/status"), get(read).patch(write))
        .with_state(server.clone());
    let client = kube::Client::new(app, "shop");
    let (out, notes) = (Text::default(), Text::default());
    let terminal = Terminal::plain(Box::new(out.clone()), Box::new(notes.clone()));
    let session = Session {
        cluster: Cluster::from_client(client, "shop"),
        terminal,
        clock: Arc::new(SystemClock),
    };
    (session, server, out, notes)
}

fn said(text: &Text) -> String {
    String::from_utf8(text.0.lock().unwrap().clone()).unwrap()
}

fn index(server: &Server) -> Value {
    server.0.lock().unwrap().rollout["status"]["currentStepIndex"].clone()
}

#[tokio::test]
async fn promote_writes_the_version_it_was_decided_on() {
    let (mut session, server, out, _) = session(&json!({}), vec![]);
    session.promote("web", Ask::Next).await.unwrap();
    assert_eq!(said(&out), "rollout 'web' promoted\n");
    let writes = server.0.lock().unwrap().writes.clone();
    let expect =
        json!({"metadata": {"resourceVersion": "7"}, "status": {"pauseConditions": null, "currentStepIndex": 2}});
    assert_eq!(writes, [expect]);
}

#[tokio::test]
async fn two_promotions_at_once_skip_one_step() {
    let other = json!({"status": {"currentStepIndex": 2}});
    let (mut session, server, out, notes) = session(&json!({}), vec![other]);
    session.promote("web", Ask::Next).await.unwrap();
    assert_eq!(index(&server), 2);
    assert!(server.0.lock().unwrap().writes.is_empty());
    assert_eq!(said(&out), "rollout 'web' promoted\n");
    assert!(said(&notes).contains("under way already"), "{}", said(&notes));
}

#[tokio::test]
async fn promote_decides_again_when_the_step_is_still_the_same() {
    let (mut first, server, _, _) = session(
        &json!({}),
        vec![
            json!({"status": {"availableReplicas": 3}}),
            json!({"status": {"readyReplicas": 3}}),
        ],
    );
    first.promote("web", Ask::Next).await.unwrap();
    assert_eq!((index(&server), server.0.lock().unwrap().writes.len()), (2.into(), 1));
    // A rollout that never stands still is not chased for ever.
    let restless = (0..20).map(|n| json!({"status": {"availableReplicas": n}})).collect();
    let (mut second, server, _, _) = session(&json!({}), restless);
    let error = second.promote("web", Ask::Next).await.unwrap_err();
    assert_eq!(error.message, "rollout `web` changed during each of 5 attempts");
    assert_eq!(index(&server), 1);
}

#[tokio::test]
async fn a_lifted_pause_is_not_followed_by_a_skipped_step() {
    let paused = json!({"controllerPause": true, "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]});
    let (mut session, server, out, _) = session(&paused, vec![]);
    session.promote("web", Ask::Next).await.unwrap();
    session.promote("web", Ask::Next).await.unwrap();
    assert_eq!((index(&server), server.0.lock().unwrap().writes.len()), (1.into(), 1));
    assert_eq!(said(&out), "rollout 'web' promoted\nrollout 'web' promoted\n");
}

#[tokio::test]
async fn the_simple_verbs_patch_and_say_so() {
    let (mut session, server, out, _) = session(&json!({}), vec![]);
    session.abort("web").await.unwrap();
    session.retry("web").await.unwrap();
    session.pause("web").await.unwrap();
    assert_eq!(
        said(&out),
        "rollout 'web' aborted\nrollout 'web' retried\nrollout 'web' paused\n"
    );
    let writes = server.0.lock().unwrap().writes.clone();
    assert_eq!(
        writes,
        [
            json!({"status": {"abort": true}}),
            json!({"status": {"abort": false}}),
            json!({"spec": {"paused": true}})
        ]
    );
}

#[tokio::test]
async fn an_unknown_rollout_comes_with_a_hint() {
    let (mut session, _, _, _) = session(&json!({}), vec![]);
    let text = |result: Result<(), CliError>| result.unwrap_err().to_string();
    let expect = "Error: rollouts.argoproj.io \"wbe\" not found\nhint: did you mean `web`?";
    assert_eq!(text(session.promote("wbe", Ask::Next).await), expect);
    assert_eq!(text(session.abort("wbe").await), expect);
    assert_eq!(text(session.status("wbe", false, None, Format::Text).await), expect);
}

#[tokio::test]
async fn status_ends_as_the_original_does() {
    for (status, said_line, error) in [
        (json!({"phase": "Healthy"}), "Healthy\n", None),
        (
            json!({"phase": "Paused", "message": "CanaryPauseStep"}),
            "Paused - CanaryPauseStep\n",
            None,
        ),
        (
            json!({"phase": "Degraded", "message": "RolloutAborted: x"}),
            "Degraded - RolloutAborted: x\n",
            Some("Error: The rollout is in a degraded state with message: RolloutAborted: x"),
        ),
    ] {
        let (mut session, _, out, _) = session(&status, vec![]);
        let found = session.status("web", false, None, Format::Text).await;
        assert_eq!(said(&out), said_line);
        assert_eq!(
            found.err().map(|error| (error.exit_code(), error.to_string())),
            error.map(|text| (1, text.to_owned()))
        );
    }
}

/// Changes the status and tells every open watch, once there is one.
async fn announce(server: &Server, status: Value) {
    while server.0.lock().unwrap().watches.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut stored = server.0.lock().unwrap();
    stored.change(&json!({"status": status}));
    let event = json!({"type": "MODIFIED", "object": stored.rollout});
    stored
        .watches
        .iter()
        .for_each(|watch| watch.unbounded_send(event.clone()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn status_follows_until_healthy_and_prints_each_change_once() {
    let (mut session, server, out, _) = session(&json!({}), vec![]);
    let changes = async {
        announce(&server, json!({"phase": "Paused", "message": "CanaryPauseStep"})).await;
        announce(&server, json!({"availableReplicas": 3})).await;
        announce(&server, json!({"phase": "Healthy", "message": null})).await;
    };
    let (ended, ()) = futures::join!(session.status("web", true, None, Format::Text), changes);
    ended.unwrap();
    assert_eq!(said(&out), "Progressing\nPaused - CanaryPauseStep\nHealthy\n");
}

#[tokio::test(start_paused = true)]
async fn status_that_is_not_healthy_in_time_is_an_error() {
    let (mut session, _, out, _) = session(&json!({}), vec![]);
    let error = session
        .status("web", true, Some(Duration::from_secs(60)), Format::Text)
        .await
        .unwrap_err();
    assert_eq!(
        (error.exit_code(), error.message.as_str()),
        (1, "Rollout status watch exceeded timeout")
    );
    assert_eq!(said(&out), "Progressing\n");
}

#[tokio::test(start_paused = true)]
async fn the_tree_is_drawn_anew_for_a_change_and_not_for_an_age() {
    let (mut session, server, out, _) = session(&json!({}), vec![]);
    let change = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        announce(&server, json!({"phase": "Degraded", "message": "RolloutAborted: x"})).await;
    };
    let (ended, ()) = futures::join!(
        session.get("web", true, Some(Duration::from_secs(60)), Format::Text),
        change
    );
    ended.unwrap();
    let text = said(&out);
    let pictures: Vec<&str> = text.split("Name: ").skip(1).collect();
    assert_eq!(pictures.len(), 2, "{text}");
    assert!(
        pictures[0].contains("◌ Progressing") && pictures[1].contains("✖ Degraded"),
        "{text}"
    );
}

#[tokio::test]
async fn a_picture_without_watching_is_drawn_once() {
    let (mut session, _, out, _) = session(&json!({}), vec![]);
    session.get("web", false, None, Format::Text).await.unwrap();
    assert!(
        said(&out).starts_with("Name:            web\nNamespace:       shop\nStatus:          ◌ Progressing\n"),
        "{}",
        said(&out)
    );
}

/// The binary itself: exit codes and streams, without a cluster.
#[test]
fn exit_codes_are_those_of_the_table() {
    let run = |args: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("tidegate").unwrap();
        command
            .env_clear()
            .env("KUBECONFIG", "/nowhere/kubeconfig")
            .args(args)
            .output()
            .unwrap()
    };
    let version = run(&["version", "--short"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        concat!("tidegate: v", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = run(&["--help"]);
    assert_eq!((help.status.code(), help.stderr.is_empty()), (Some(0), true));
    let usage = run(&["promote"]);
    assert_eq!((usage.status.code(), usage.stdout.is_empty()), (Some(2), true));
    assert!(String::from_utf8(usage.stderr).unwrap().starts_with("Error: "));
    let unreachable = run(&["status", "web", "--kubeconfig", "/nowhere/kubeconfig"]);
    assert_eq!(unreachable.status.code(), Some(3));
    let text = String::from_utf8(unreachable.stderr).unwrap();
    assert!(
        text.starts_with("Error: cannot use the kubeconfig: ") && text.contains("\nhint: "),
        "{text}"
    );
    let shell = run(&["completion", "zsh"]);
    assert!(shell.stdout.starts_with(b"#compdef tidegate\n"), "{shell:?}");
    // Words are completed without a cluster as far as that goes.
    let words = run(&["__complete", "promote", "--fu"]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.starts_with("--full\t") && words.ends_with("\n:4\n"), "{words}");
    assert_eq!(run(&["__complete", "promote", ""]).stdout, b":4\n");
    let both = run(&["promote", "web", "-c", "-a"]);
    assert_eq!(both.status.code(), Some(2), "told before a cluster is asked");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    std::fs::write(
        &file,
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec:\n  replica: 1\n",
    )
    .unwrap();
    let lint = run(&["lint", "-f", file.to_str().unwrap()]);
    let text = String::from_utf8(lint.stdout).unwrap();
    assert!(lint.status.code() == Some(1) && text.contains("web.yaml:4: "), "{text}");
    assert!(String::from_utf8(lint.stderr).unwrap().starts_with("Error: "));
    let crds = run(&["crds"]);
    assert!(
        crds.status.success()
            && String::from_utf8(crds.stdout)
                .unwrap()
                .contains("name: rollouts.argoproj.io")
    );
}
