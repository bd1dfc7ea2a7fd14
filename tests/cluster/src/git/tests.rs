use std::time::Duration;

use axum::{body::Bytes, http::HeaderMap, routing::post};
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;

const NOBODY: Option<&Credentials> = None;

struct Scene {
    server: GitServer,
    _dir: tempfile::TempDir,
}

async fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let server = GitServer::start(dir.path().to_owned()).await.unwrap();
    Scene { server, _dir: dir }
}

/// A receiver of webhooks: its address, and what it got.
async fn receiver() -> (String, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (sender, received) = mpsc::unbounded_channel();
    let router = axum::Router::new().route(
        "/hook",
        post(async move |headers: HeaderMap, body: Bytes| {
            sender.send((headers, body)).unwrap();
        }),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    serve(listener, router);
    (url, received)
}

async fn next(received: &mut mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) -> (HeaderMap, Bytes, Value) {
    let (headers, body) = tokio::time::timeout(Duration::from_secs(10), received.recv())
        .await
        .unwrap()
        .unwrap();
    let payload = serde_json::from_slice(&body).unwrap();
    (headers, body, payload)
}

#[tokio::test]
async fn what_is_pushed_is_what_is_cloned() {
    let scene = scene().await;
    let url = scene.server.create("team/shop").await.unwrap();
    let first = Repository::clone(&url, NOBODY).await.unwrap();
    first.write("apps/web.yaml", "kind: Rollout\n").unwrap();
    let commit = first.commit_and_push("Add web").await.unwrap();

    let second = Repository::clone(&url, NOBODY).await.unwrap();
    assert_eq!(second.head().await.unwrap(), commit);
    assert_eq!(second.read("apps/web.yaml").unwrap(), "kind: Rollout\n");
    assert_eq!(second.git(&["branch", "--show-current"]).await.unwrap(), "main");
}

#[tokio::test]
async fn a_large_push_arrives_in_chunks() {
    let scene = scene().await;
    let url = scene.server.create("large").await.unwrap();
    let repository = Repository::clone(&url, NOBODY).await.unwrap();
    // Above Git's buffer for one request (1 MiB) also when compressed, so that it sends chunks of unknown length.
    let mut number: u64 = 1;
    let text: String = std::iter::repeat_with(|| {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{number:x}\n")
    })
    .take(200_000)
    .collect();
    repository.write("large.txt", &text).unwrap();
    repository.commit_and_push("Large").await.unwrap();
    let other = Repository::clone(&url, NOBODY).await.unwrap();
    assert!(other.read("large.txt").unwrap() == text);
}

#[tokio::test]
async fn reverts_tags_and_branches_reach_the_server() {
    let scene = scene().await;
    let url = scene.server.create("shop").await.unwrap();
    let repository = Repository::clone(&url, NOBODY).await.unwrap();
    repository.write("a", "1").unwrap();
    repository.write("b", "1").unwrap();
    repository.commit_and_push("One").await.unwrap();
    repository.tag("v1").await.unwrap();
    repository.write("a", "2").unwrap();
    repository.remove("b").unwrap();
    let two = repository.commit_and_push("Two").await.unwrap();
    let reverted = repository.revert(&two).await.unwrap();
    repository.branch("next").await.unwrap();

    let other = Repository::clone(&url, NOBODY).await.unwrap();
    assert_eq!(other.head().await.unwrap(), reverted);
    assert_eq!(
        (other.read("a").unwrap(), other.read("b").unwrap()),
        ("1".to_owned(), "1".to_owned())
    );
    let refs = other.git(&["ls-remote", "origin"]).await.unwrap();
    for name in ["refs/heads/main", "refs/heads/next", "refs/tags/v1"] {
        assert!(refs.contains(name), "{name} is not in {refs}");
    }
}

#[tokio::test]
async fn passwords_are_asked_for() {
    let scene = scene().await;
    let url = scene.server.create("closed").await.unwrap();
    scene.server.set_auth("closed", Some(("robot", "p@ss/word")));
    let right = Credentials {
        username: "robot".to_owned(),
        password: "p@ss/word".to_owned(),
    };
    let wrong = Credentials {
        username: "robot".to_owned(),
        password: "guess".to_owned(),
    };

    for refused in [NOBODY, Some(&wrong)] {
        let error = Repository::clone(&url, refused).await.unwrap_err().to_string();
        assert!(
            error.contains("Authentication failed") || error.contains("could not read"),
            "{error}"
        );
    }
    let status = reqwest::get(format!("{url}/info/refs?service=git-upload-pack"))
        .await
        .unwrap()
        .status();
    assert_eq!(status, 401);
    let repository = Repository::clone(&url, Some(&right)).await.unwrap();
    repository.write("a", "1").unwrap();
    repository.commit_and_push("One").await.unwrap();

    scene.server.set_auth("closed", None);
    Repository::clone(&url, NOBODY).await.unwrap();
}

#[tokio::test]
async fn a_push_is_told_to_the_webhook_signed() {
    let scene = scene().await;
    let url = scene.server.create("team/shop").await.unwrap();
    let (hook, mut received) = receiver().await;
    scene.server.set_webhook(
        "team/shop",
        Some(Webhook {
            url: hook,
            secret: "s3cret".to_owned(),
        }),
    );
    let repository = Repository::clone(&url, NOBODY).await.unwrap();
    repository.write("a", "1").unwrap();
    repository.write("b", "1").unwrap();
    let one = repository.commit_and_push("One").await.unwrap();

    let (headers, body, payload) = next(&mut received).await;
    assert_eq!(headers["x-github-event"], "push");
    assert_eq!(
        headers["x-hub-signature-256"],
        webhook::signature("s3cret", &body).as_str()
    );
    assert_eq!(payload["ref"], "refs/heads/main");
    assert_eq!(payload["created"], true);
    assert_eq!(payload["before"], "0".repeat(40));
    assert_eq!(payload["after"], one.as_str());
    assert_eq!(payload["repository"]["clone_url"], url.as_str());
    assert_eq!(payload["repository"]["html_url"], url.trim_end_matches(".git"));
    assert_eq!(payload["repository"]["default_branch"], "main");
    assert_eq!(payload["commits"][0]["added"], serde_json::json!(["a", "b"]));

    repository.write("a", "2").unwrap();
    repository.remove("b").unwrap();
    let two = repository.commit_and_push("Two\n\nIn more words.").await.unwrap();
    let (_, _, payload) = next(&mut received).await;
    assert_eq!(
        (&payload["before"], &payload["after"]),
        (&Value::from(one.as_str()), &Value::from(two.as_str()))
    );
    assert_eq!(payload["commits"].as_array().unwrap().len(), 1);
    assert_eq!(payload["head_commit"]["message"], "Two\n\nIn more words.");
    assert_eq!(payload["head_commit"]["modified"], serde_json::json!(["a"]));
    assert_eq!(payload["head_commit"]["removed"], serde_json::json!(["b"]));

    repository
        .git(&["push", "--quiet", "--force", "origin", &format!("{one}:main")])
        .await
        .unwrap();
    let (_, _, payload) = next(&mut received).await;
    assert_eq!(
        (&payload["forced"], &payload["commits"]),
        (&Value::from(true), &serde_json::json!([]))
    );

    repository.tag("v1").await.unwrap();
    let (_, _, payload) = next(&mut received).await;
    assert_eq!(
        (&payload["ref"], &payload["after"]),
        (&Value::from("refs/tags/v1"), &Value::from(two.as_str()))
    );
}

#[test]
fn the_signature_is_the_one_of_githubs_documentation() {
    assert_eq!(
        webhook::signature("It's a Secret to Everybody", b"Hello, World!"),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[tokio::test]
async fn settings_change_from_another_process() {
    let scene = scene().await;
    let control = Control::new(scene.server.control_url());
    let url = control
        .apply(&Change::Create {
            name: "shop".to_owned(),
        })
        .await
        .unwrap();
    assert_eq!(url, format!("{}/shop.git", scene.server.url()));
    Repository::clone(&url, NOBODY).await.unwrap();

    control.apply(&Change::Available { available: false }).await.unwrap();
    let error = Repository::clone(&url, NOBODY).await.unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    control.apply(&Change::Available { available: true }).await.unwrap();
    Repository::clone(&url, NOBODY).await.unwrap();

    let credentials = Some(Credentials {
        username: "robot".to_owned(),
        password: "word".to_owned(),
    });
    control
        .apply(&Change::Auth {
            name: "shop".to_owned(),
            credentials,
        })
        .await
        .unwrap();
    assert!(Repository::clone(&url, NOBODY).await.is_err());
    let error = control
        .apply(&Change::Create {
            name: "../etc".to_owned(),
        })
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not a repository's name"), "{error}");
}

#[tokio::test]
async fn a_repository_nobody_made_is_not_found() {
    let scene = scene().await;
    let error = Repository::clone(&format!("{}/shop.git", scene.server.url()), NOBODY)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not found"), "{error}");
}
