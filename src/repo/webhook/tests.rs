use super::*;
use crate::repo::url::loose_key;
use proptest::prelude::*;
use serde_json::{Value, json};

const SECRET: &str = "It's a Secret to Everybody";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

fn zeros() -> String {
    "0".repeat(40)
}

fn github_push() -> Value {
    json!({
        "ref": "refs/heads/main",
        "before": "a".repeat(40),
        "after": "b".repeat(40),
        "forced": false,
        "repository": {
            "html_url": "https://github.com/org/repo",
            "clone_url": "https://github.com/org/repo.git",
            "ssh_url": "git@github.com:org/repo.git",
            "default_branch": "main",
        },
        "commits": [
            {"added": ["a.yaml"], "modified": ["b.yaml"], "removed": []},
            {"added": [], "modified": ["b.yaml", "c.yaml"], "removed": ["d.yaml"]},
        ],
    })
}

fn parse(pairs: &[(&'static str, &str)], body: &Value) -> Result<WebhookEvent, WebhookError> {
    verify_and_parse(&headers(pairs), body.to_string().as_bytes(), None)
}

fn push(pairs: &[(&'static str, &str)], body: &Value) -> Push {
    match parse(pairs, body) {
        Ok(WebhookEvent::Push(push)) => push,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_github_push_is_read() {
    let push = push(&[("x-github-event", "push")], &github_push());
    assert_eq!(push.reference, "refs/heads/main");
    assert_eq!(push.after, Sha::parse(&"b".repeat(40)));
    assert_eq!(
        push.changed_files.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a.yaml", "b.yaml", "c.yaml", "d.yaml"]
    );
    assert!(push.changed_files_complete);
    assert_eq!(push.default_branch.as_deref(), Some("main"));
    for url in &push.repository_urls {
        assert_eq!(loose_key(url).as_deref(), Some("github.com/org/repo"), "{url}");
    }
}

#[test]
fn incomplete_file_lists_are_marked() {
    let complete = |pointer: &str, value: Value| {
        let mut body = github_push();
        *body.pointer_mut(pointer).unwrap() = value;
        push(&[("x-github-event", "push")], &body).changed_files_complete
    };
    assert!(!complete("/forced", json!(true)));
    assert!(!complete("/before", json!(zeros())));
    assert!(!complete("/after", json!(zeros())));
    assert!(!complete("/commits", Value::Array(vec![json!({}); GITHUB_COMMITS_MAX])));
    assert!(complete("/commits", json!([{"added": null}])));
}

#[test]
fn other_servers_are_read() {
    let gitlab = json!({
        "object_kind": "push", "ref": "refs/heads/main", "before": "a".repeat(40), "after": "b".repeat(40),
        "project": {"web_url": "https://gitlab.com/org/repo", "git_http_url": "https://gitlab.com/org/repo.git",
                    "git_ssh_url": "git@gitlab.com:org/repo.git", "default_branch": "main"},
        "commits": [{"added": ["a"], "modified": [], "removed": []}], "total_commits_count": 1,
    });
    let found = push(&[("x-gitlab-event", "Push Hook")], &gitlab);
    assert!(found.changed_files_complete && found.changed_files.contains("a"));
    let mut many = gitlab.clone();
    many["total_commits_count"] = json!(21);
    assert!(!push(&[("x-gitlab-event", "System Hook")], &many).changed_files_complete);
    let mut other = gitlab;
    other["object_kind"] = json!("merge_request");
    assert_eq!(
        parse(&[("x-gitlab-event", "System Hook")], &other),
        Ok(WebhookEvent::Ignored {
            event: "merge_request".to_owned()
        })
    );
    let gitea = [
        ("x-gitea-event", "push"),
        ("x-gogs-event", "push"),
        ("x-github-event", "push"),
    ];
    assert_eq!(push(&gitea, &github_push()).reference, "refs/heads/main");
}

#[test]
fn pings_and_other_events_are_not_errors() {
    assert_eq!(
        parse(&[("x-github-event", "ping")], &json!({"zen": "x"})),
        Ok(WebhookEvent::Ping)
    );
    assert_eq!(
        parse(&[("x-github-event", "issues")], &json!({})),
        Ok(WebhookEvent::Ignored {
            event: "issues".to_owned()
        })
    );
    let error = parse(&[], &json!({})).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("Unknown webhook event", 400)
    );
}

#[test]
fn a_form_body_is_read() {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &github_push().to_string())
        .finish();
    let pairs = [
        ("x-github-event", "push"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let signature = sign(body.as_bytes(), SECRET);
    let mut headers = headers(&pairs);
    headers.insert("x-hub-signature-256", signature.parse().unwrap());
    assert!(matches!(
        verify_and_parse(&headers, body.as_bytes(), Some(SECRET)),
        Ok(WebhookEvent::Push(_))
    ));
}

/// The example of GitHub's documentation.
#[test]
fn the_signature_is_the_one_github_documents() {
    assert_eq!(
        sign(b"Hello, World!", SECRET),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[test]
fn webhook_signature_constant_time() {
    let body = github_push().to_string();
    let good = sign(body.as_bytes(), SECRET);
    let check = |header: Option<&str>, secret: Option<&str>| {
        let mut headers = headers(&[("x-github-event", "push")]);
        if let Some(value) = header {
            headers.insert("x-hub-signature-256", value.parse().unwrap());
        }
        verify_and_parse(&headers, body.as_bytes(), secret).map(drop)
    };
    assert_eq!(check(Some(&good), Some(SECRET)), Ok(()));
    assert_eq!(check(Some(&good), None), Ok(()));
    assert_eq!(check(None, None), Ok(()));
    assert_eq!(check(None, Some("")), Ok(()), "an empty secret is no secret");
    assert_eq!(
        check(None, Some(SECRET)),
        Err(WebhookError::Unsigned {
            header: "X-Hub-Signature-256"
        })
    );
    let wrong_last = format!(
        "{}{}",
        good.get(..good.len() - 1).unwrap(),
        if good.ends_with('0') { '1' } else { '0' }
    );
    for bad in [
        wrong_last.as_str(),
        "sha256=",
        "sha256=zz",
        "sha1=00",
        "",
        &sign(body.as_bytes(), "other"),
    ] {
        assert_eq!(check(Some(bad), Some(SECRET)), Err(WebhookError::BadSignature), "{bad}");
    }
}

#[test]
fn each_server_has_its_own_signature() {
    let body = json!({"object_kind": "other"}).to_string();
    let hmac = sign(body.as_bytes(), SECRET).trim_start_matches("sha256=").to_owned();
    for (event, header, good) in [
        ("x-gitlab-event", "x-gitlab-token", SECRET),
        ("x-gitea-event", "x-gitea-signature", hmac.as_str()),
        ("x-gogs-event", "x-gogs-signature", hmac.as_str()),
    ] {
        let ask = |value: &str| {
            verify_and_parse(
                &headers(&[(event, "System Hook"), (header, value)]),
                body.as_bytes(),
                Some(SECRET),
            )
            .map(drop)
        };
        assert_eq!(ask(good), Ok(()), "{event}");
        assert_eq!(ask("wrong"), Err(WebhookError::BadSignature), "{event}");
        let unsigned = verify_and_parse(&headers(&[(event, "push")]), body.as_bytes(), Some(SECRET));
        assert!(matches!(unsigned, Err(WebhookError::Unsigned { .. })), "{event}");
    }
}

#[test]
fn webhook_body_cap() {
    let body = vec![b' '; WEBHOOK_BODY_BYTES_MAX + 1];
    let error = verify_and_parse(&headers(&[("x-github-event", "push")]), &body, None).unwrap_err();
    assert_eq!((error.clone(), error.status()), (WebhookError::TooLarge, 413));
}

#[test]
fn malformed_payloads_say_what_is_wrong() {
    for (body, reason) in [
        (json!({}), "missing field `ref`"),
        (
            json!({"ref": "main", "repository": {"clone_url": "https://h/r"}}),
            "`ref` must start with refs/, found `main`",
        ),
        (
            json!({"ref": "refs/heads/x", "repository": {}}),
            "no address of the repository",
        ),
        (json!({"ref": 7}), "invalid type"),
        (json!([]), "invalid"),
    ] {
        let error = parse(&[("x-github-event", "push")], &body).unwrap_err().to_string();
        assert!(error.contains(reason), "{body}: {error}");
    }
}

proptest! {
    #[test]
    fn webhook_malformed_each_provider_no_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0..700_usize, server in 0..4_usize, signature in "\\PC{0,20}",
    ) {
        let (server, event) = Server::ALL[server];
        let name = if server == Server::GitLab { "Push Hook" } else { "push" };
        let whole = github_push().to_string();
        let pairs = headers(&[(event, name)]);
        for body in [bytes.as_slice(), whole.as_bytes().get(..cut).unwrap_or_default()] {
            let _ = verify_and_parse(&pairs, body, None);
            let mut signed = pairs.clone();
            if let Ok(value) = signature.parse() {
                let header: axum::http::HeaderName = server.signature_header().to_lowercase().parse().unwrap();
                signed.insert(header, value);
            }
            prop_assert!(verify_and_parse(&signed, body, Some(SECRET)).is_err());
        }
    }
}
