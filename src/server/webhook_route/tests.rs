use super::*;
use crate::repo::{SourcesOptions, webhook::sign};
use axum::http::Request as HttpRequest;
use tower::ServiceExt;

const PUSH: &str = r#"{"ref":"refs/heads/main","before":"1111111111111111111111111111111111111111",
    "after":"2222222222222222222222222222222222222222","repository":{"html_url":"https://git.example/team/app","default_branch":"main"}}"#;

async fn status(secret: Option<&str>, requires: bool, event: Option<&str>, signature: Option<&str>, body: &str) -> u16 {
    let directory = tempfile::tempdir().unwrap();
    let sources = Sources::new(SourcesOptions::new(directory.path())).unwrap();
    let held = WebhookSecret::default();
    held.set(secret.map(str::to_owned));
    let mut request = HttpRequest::post("/api/webhook");
    if let Some(event) = event {
        request = request.header("X-GitHub-Event", event);
    }
    if let Some(signature) = signature {
        request = request.header("X-Hub-Signature-256", signature);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = routes(WebhookState::new(sources, held, requires))
        .oneshot(request)
        .await
        .unwrap();
    response.status().as_u16()
}

#[tokio::test]
async fn events_are_answered_as_documented() {
    let signed = format!("sha256={}", sign(PUSH.as_bytes(), "s").trim_start_matches("sha256="));
    let large = "x".repeat(WEBHOOK_BODY_BYTES_MAX + 1);
    for (what, secret, requires, event, signature, body, expected) in [
        (
            "signed push",
            Some("s"),
            true,
            Some("push"),
            Some(signed.as_str()),
            PUSH,
            200,
        ),
        (
            "wrong signature",
            Some("other"),
            false,
            Some("push"),
            Some(signed.as_str()),
            PUSH,
            401,
        ),
        ("missing signature", Some("s"), false, Some("push"), None, PUSH, 401),
        ("no secret set", None, false, Some("push"), None, PUSH, 200),
        ("no secret set, but required", None, true, Some("push"), None, PUSH, 401),
        ("ping", None, false, Some("ping"), None, "{}", 200),
        ("unknown event", None, false, None, None, "{}", 400),
        ("malformed", None, false, Some("push"), None, "{", 400),
        ("too large", None, false, Some("push"), None, large.as_str(), 413),
    ] {
        assert_eq!(
            status(secret, requires, event, signature, body).await,
            expected,
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let sources = Sources::new(SourcesOptions::new(directory.path())).unwrap();
    let state = WebhookState::new(sources, WebhookSecret::default(), false);
    let _all = state
        .events
        .clone()
        .try_acquire_many_owned(u32::try_from(EVENTS_MAX).unwrap())
        .unwrap();
    let request = HttpRequest::post("/api/webhook")
        .header("X-GitHub-Event", "push")
        .body(Body::from(PUSH))
        .unwrap();
    assert_eq!(routes(state).oneshot(request).await.unwrap().status().as_u16(), 503);
}
