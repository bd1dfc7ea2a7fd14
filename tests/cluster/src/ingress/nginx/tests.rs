//! What a real nginx makes of the decisions, without a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddrV4,
};

use axum::{Router, routing::get};

use super::{
    super::{
        canary::{CanaryRule, HeaderMatch, HeaderRule},
        routing::{Canary, Location, Match},
    },
    *,
};
use crate::eventually;

/// A server that answers `GET` of any path with its name.
async fn upstream(name: &'static str) -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!("it was bound to an IPv4 address");
    };
    let router = Router::new().fallback(get(move || async move { name }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// The processes that answer for an nginx now.
fn workers(nginx: &Nginx) -> BTreeSet<String> {
    let pid = nginx.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(ToOwned::to_owned).collect()
}

fn header(name: &str, value: HeaderMatch) -> Option<HeaderRule> {
    let name = name.to_owned();
    Some(HeaderRule { name, value })
}

/// One path for each rule.
fn paths() -> Vec<(&'static str, CanaryRule)> {
    let rule = |header, cookie: Option<&str>, weight| {
        let cookie = cookie.map(ToOwned::to_owned);
        CanaryRule { header, cookie, weight }
    };
    vec![
        (
            "/always",
            rule(header("X-Canary", HeaderMatch::AlwaysNever), Some("my-c"), 0),
        ),
        (
            "/never",
            rule(header("X-Canary", HeaderMatch::AlwaysNever), Some("my-c"), 10_000),
        ),
        (
            "/exact",
            rule(
                header("X-Canary", HeaderMatch::Exact("a.\\\"$b".to_owned())),
                Some("my-c"),
                0,
            ),
        ),
        (
            "/pattern",
            rule(
                header("X-Canary", HeaderMatch::Pattern("^(de|a\\d{2});?$|^$".to_owned())),
                None,
                0,
            ),
        ),
        ("/tiny", rule(None, None, 1)),
    ]
}

#[tokio::test]
async fn asks_header_before_cookie_before_weight() {
    let endpoints = |address| BTreeSet::from([address]);
    let upstreams = BTreeMap::from([
        ("up_c".to_owned(), endpoints(upstream("canary").await)),
        ("up_s".to_owned(), endpoints(upstream("stable").await)),
    ]);
    let locations = paths().into_iter().map(|(path, rule)| {
        let canary = Canary {
            upstream: "up_c".to_owned(),
            rule,
        };
        let location = Location {
            stable: Some("up_s".to_owned()),
            canary: Some(canary),
        };
        (Match::Prefix(path.to_owned()), location)
    });
    let hosts = BTreeMap::from([(String::new(), locations.collect())]);
    let dir = tempfile::tempdir().unwrap();
    let mut nginx = Nginx::start(dir.path(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let old = eventually(Duration::from_secs(20), "nginx has a worker", async || {
        let workers = workers(&nginx);
        if workers.is_empty() {
            Err(nginx.running.log_tail())
        } else {
            Ok(workers)
        }
    })
    .await
    .unwrap();
    let text = render::render(&Routing { hosts, upstreams }, nginx.settings());
    assert!(nginx.apply(text.clone()).unwrap());
    assert!(!nginx.apply(text).unwrap(), "the same text needs no reload");

    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let url = format!("http://{}", nginx.address());
    let answer = async |path: &str, header: Option<&str>, cookie: Option<&str>| {
        let request = client.get(format!("{url}{path}"));
        let request = header
            .into_iter()
            .fold(request, |request, value| request.header("x-canary", value));
        let request = cookie
            .into_iter()
            .fold(request, |request, value| request.header("cookie", value));
        request.send().await.unwrap().text().await.unwrap()
    };
    // New workers are there before the old one leaves; as long as both are, either may answer.
    eventually(Duration::from_secs(20), "nginx has reloaded", async || {
        let now = workers(&nginx);
        if !now.is_empty() && now.is_disjoint(&old) {
            Ok(())
        } else {
            Err(format!("workers {now:?}, before {old:?}\n{}", nginx.running.log_tail()))
        }
    })
    .await
    .unwrap();

    for (path, header, cookie, expect) in [
        ("/always", None, None, "stable"),
        ("/always", Some("always"), None, "canary"),
        ("/always/below", Some("always"), None, "canary"),
        ("/always", Some("Always"), None, "stable"),
        ("/always", Some("always"), Some("my-c=never"), "canary"),
        ("/always", Some("else"), Some("my-c=always"), "canary"),
        ("/always", None, Some("x=1; my-c=always; y=2"), "canary"),
        ("/always", None, Some("not-my-c=always"), "stable"),
        ("/always", None, Some("my-c=alwaysnot"), "stable"),
        ("/never", None, None, "canary"),
        ("/never", Some("never"), Some("my-c=always"), "stable"),
        ("/never", None, Some("my-c=never"), "stable"),
        ("/exact", Some("a.\\\"$b"), None, "canary"),
        ("/exact", Some("always"), None, "stable"),
        ("/exact", Some("always"), Some("my-c=always"), "canary"),
        ("/pattern", Some("de"), None, "canary"),
        ("/pattern", Some("a12;"), None, "canary"),
        ("/pattern", Some("xde"), None, "stable"),
        ("/pattern", None, None, "stable"),
    ] {
        assert_eq!(
            answer(path, header, cookie).await,
            expect,
            "{path} {header:?} {cookie:?}"
        );
    }
    nginx.stop().await;
}
